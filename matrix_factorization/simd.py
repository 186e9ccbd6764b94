"""Two-lane sums over one part of a row: the innermost loop of every sweep, as LLVM instructions.

Plain numba code for the same sums runs 2.5 times slower (EXPERIMENTS, "The innermost loop"): it loads a rater's intercept and factor one by one,
and turns the value of each rating into a number. Here a rating costs one 8-byte load, one conversion of two floats to doubles, one
add, one multiply and one add of two doubles at once; values need no arithmetic because rows are sorted by value (see `ratings.py`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Independent partial sums, so that an addition need not wait for the one before it.
_UNROLL = 2


@intrinsic
def part_sums(typingctx: Any, stream: Any, first: Any, last: Any, table: Any) -> Any:
    """(sum x, sum f, sum x f, sum f^2, sum x^2) over k in first..last-1, (x, f) = table[stream[k] >> 2], added up in float64.

    `stream`: uint32, `table`: (n, 2) float32, both C-contiguous; `first`, `last`: int64. Indices are not checked.
    """
    signature = types.UniTuple(types.float64, 5)(stream, first, last, table)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        streams = context.make_array(signature.args[0])(context, builder, arguments[0])
        tables = context.make_array(signature.args[3])(context, builder, arguments[3])
        floats, doubles = ir.VectorType(ir.FloatType(), 2), ir.VectorType(ir.DoubleType(), 2)
        int64, int32 = ir.IntType(64), ir.IntType(32)
        pairs = builder.bitcast(tables.data, floats.as_pointer())
        zero = ir.Constant(doubles, [0.0, 0.0])
        plain = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]  # (sum x, sum f)
        times_f = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]  # (sum x f, sum f f)
        squares = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]  # (sum x x, sum f f)
        position = cgutils.alloca_once_value(builder, arguments[1])
        second_twice = ir.Constant(ir.VectorType(int32, 2), [1, 1])

        def add_one(k: Any, lane: int) -> None:
            packed = builder.load(builder.gep(streams.data, [k]))
            index = builder.zext(builder.lshr(packed, ir.Constant(int32, 2)), int64)
            pair = builder.fpext(builder.load(builder.gep(pairs, [index]), align=4), doubles)
            factor = builder.shuffle_vector(pair, pair, second_twice)
            builder.store(builder.fadd(builder.load(plain[lane]), pair), plain[lane])
            product = builder.fmul(pair, factor, flags=["contract"])
            builder.store(builder.fadd(builder.load(times_f[lane]), product, flags=["contract"]), times_f[lane])
            square = builder.fmul(pair, pair, flags=["contract"])
            builder.store(builder.fadd(builder.load(squares[lane]), square, flags=["contract"]), squares[lane])

        def loop(step: int) -> None:
            test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            k = builder.load(position)
            following = builder.add(k, ir.Constant(int64, step))
            builder.cbranch(builder.icmp_signed("<=", following, arguments[2]), body, done)
            builder.position_at_end(body)
            for lane in range(step):
                add_one(builder.add(k, ir.Constant(int64, lane)), lane)
            builder.store(following, position)
            builder.branch(test)
            builder.position_at_end(done)

        loop(_UNROLL)
        loop(1)
        sums = []
        for lanes, wanted in ((plain, (0, 1)), (times_f, (0, 1)), (squares, (0,))):
            total = builder.load(lanes[0])
            for lane in lanes[1:]:
                total = builder.fadd(total, builder.load(lane))
            sums += [builder.extract_element(total, ir.Constant(int32, k)) for k in wanted]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


@intrinsic
def row_sums(typingctx: Any, stream: Any, first: Any, last: Any, table: Any) -> Any:
    """`part_sums` over a whole row whose values differ, and two sums more: (..., sum c x, sum c f), c = stream[k] & 3 twice the rating's value."""
    signature = types.UniTuple(types.float64, 7)(stream, first, last, table)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        streams = context.make_array(signature.args[0])(context, builder, arguments[0])
        tables = context.make_array(signature.args[3])(context, builder, arguments[3])
        floats, doubles = ir.VectorType(ir.FloatType(), 2), ir.VectorType(ir.DoubleType(), 2)
        int64, int32 = ir.IntType(64), ir.IntType(32)
        pairs = builder.bitcast(tables.data, floats.as_pointer())
        zero = ir.Constant(doubles, [0.0, 0.0])
        plain = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]
        times_f = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]
        squares = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]
        valued = [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]
        position = cgutils.alloca_once_value(builder, arguments[1])
        second_twice = ir.Constant(ir.VectorType(int32, 2), [1, 1])
        first_twice = ir.Constant(ir.VectorType(int32, 2), [0, 0])

        def add_one(k: Any, lane: int) -> None:
            packed = builder.load(builder.gep(streams.data, [k]))
            index = builder.zext(builder.lshr(packed, ir.Constant(int32, 2)), int64)
            value = builder.sitofp(builder.and_(packed, ir.Constant(int32, 3)), ir.DoubleType())
            one = builder.insert_element(ir.Constant(doubles, ir.Undefined), value, ir.Constant(int32, 0))
            twice = builder.shuffle_vector(one, one, first_twice)
            pair = builder.fpext(builder.load(builder.gep(pairs, [index]), align=4), doubles)
            factor = builder.shuffle_vector(pair, pair, second_twice)
            builder.store(builder.fadd(builder.load(plain[lane]), pair), plain[lane])
            for total, other in ((times_f, factor), (squares, pair), (valued, twice)):
                product = builder.fmul(pair, other, flags=["contract"])
                builder.store(builder.fadd(builder.load(total[lane]), product, flags=["contract"]), total[lane])

        def loop(step: int) -> None:
            test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            k = builder.load(position)
            following = builder.add(k, ir.Constant(int64, step))
            builder.cbranch(builder.icmp_signed("<=", following, arguments[2]), body, done)
            builder.position_at_end(body)
            for lane in range(step):
                add_one(builder.add(k, ir.Constant(int64, lane)), lane)
            builder.store(following, position)
            builder.branch(test)
            builder.position_at_end(done)

        loop(_UNROLL)
        loop(1)
        sums = []
        for lanes, wanted in ((plain, (0, 1)), (times_f, (0, 1)), (squares, (0,)), (valued, (0, 1))):
            total = builder.load(lanes[0])
            for lane in lanes[1:]:
                total = builder.fadd(total, builder.load(lane))
            sums += [builder.extract_element(total, ir.Constant(int32, k)) for k in wanted]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate
