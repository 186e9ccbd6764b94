"""Two-lane sums over ratings: the innermost loop of every sweep, as LLVM instructions.

Plain numba code for the same sums runs 2.5 times slower (docs/experiments, "The innermost loop"): it loads a rater's intercept and factor one by one,
and turns the value of each rating into a number. Here a rating costs one 8-byte load, one conversion of two floats to doubles, one
add, one multiply and one add of two doubles at once; values need no arithmetic where a row's parts of one value are summed by themselves
(rows are sorted by value, see `ratings.py`), and one conversion where a short row is summed at once.

A table of parameters too large for a core's cache is fetched ahead: the ratings of the next rows are known, and what they look up is on its way while
the end of a row, mispredicted, is waited for. That is worth a factor of 1.5 to 1.8 at 100 million ratings, and costs 15 % where the table is small.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# Independent partial sums, so that an addition need not wait for the one before it.
_UNROLL = 2
# How many ratings ahead a look-up is begun. 16 and 64 do the same within the noise.
_AHEAD = 32

_FLOATS, _DOUBLES = ir.VectorType(ir.FloatType(), 2), ir.VectorType(ir.DoubleType(), 2)
_INT64, _INT32, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()


@intrinsic
def fetch_ahead(typingctx: Any, array: Any, index: Any) -> Any:
    """Begin to load array[index] into the cache; changes nothing. The index is not checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        _prefetch(builder, builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(array, index), generate


def _prefetch(builder: Any, address: Any) -> None:
    declared = ir.FunctionType(ir.VoidType(), [_BYTES, _INT32, _INT32, _INT32])
    function = cgutils.get_or_insert_function(builder.module, declared, "llvm.prefetch.p0")
    builder.call(function, [builder.bitcast(address, _BYTES), _INT32(0), _INT32(3), _INT32(1)])


@intrinsic
def part_sums(typingctx: Any, stream: Any, first: Any, last: Any, table: Any, far: Any) -> Any:
    """(sum x, sum f, sum x f, sum f^2, sum x^2) over k in first..last-1, (x, f) = table[stream[k] >> 2], added up in float64.

    `stream`: uint32, `table`: (n, 2) float32, both C-contiguous; `first`, `last`: int64; `far`: whether to fetch ahead. Indices are not checked.
    """
    return types.UniTuple(types.float64, 5)(stream, first, last, table, far), _generator(valued=False)


@intrinsic
def row_sums(typingctx: Any, stream: Any, first: Any, last: Any, table: Any, far: Any) -> Any:
    """`part_sums` over a row whose values differ, and two sums more: (..., sum c x, sum c f), c = stream[k] & 3 twice the rating's value."""
    return types.UniTuple(types.float64, 7)(stream, first, last, table, far), _generator(valued=True)


def _generator(valued: bool) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        streams = context.make_array(signature.args[0])(context, builder, arguments[0])
        tables = context.make_array(signature.args[3])(context, builder, arguments[3])
        stream, pairs = streams.data, builder.bitcast(tables.data, _FLOATS.as_pointer())
        length = cgutils.unpack_tuple(builder, streams.shape)[0]
        zero = ir.Constant(_DOUBLES, [0.0, 0.0])

        def totals() -> list[Any]:
            return [cgutils.alloca_once_value(builder, zero) for _ in range(_UNROLL)]

        # (sum x, sum f), (sum x f, sum f f), (sum x x, sum f f), (sum c x, sum c f)
        plain, times_f, squares, values = totals(), totals(), totals(), totals()
        position = cgutils.alloca_once_value(builder, arguments[1])
        both_first, both_second = (ir.Constant(ir.VectorType(_INT32, 2), [k, k]) for k in (0, 1))

        def address(k: Any) -> tuple[Any, Any]:
            packed = builder.load(builder.gep(stream, [k]))
            index = builder.zext(builder.lshr(packed, ir.Constant(_INT32, 2)), _INT64)
            return packed, builder.gep(pairs, [index])

        def add_one(k: Any, lane: int, ahead: bool) -> None:
            if ahead:
                later = builder.add(k, ir.Constant(_INT64, _AHEAD))
                inside = builder.icmp_signed("<", later, length)
                _, there = address(builder.select(inside, later, k))
                _prefetch(builder, there)
            packed, here = address(k)
            pair = builder.fpext(builder.load(here, align=4), _DOUBLES)
            builder.store(builder.fadd(builder.load(plain[lane]), pair), plain[lane])
            products = [(times_f, builder.shuffle_vector(pair, pair, both_second)), (squares, pair)]
            if valued:
                code = builder.sitofp(builder.and_(packed, ir.Constant(_INT32, 3)), ir.DoubleType())
                one = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), code, ir.Constant(_INT32, 0))
                products.append((values, builder.shuffle_vector(one, one, both_first)))
            for total, other in products:
                product = builder.fmul(pair, other, flags=["contract"])
                builder.store(builder.fadd(builder.load(total[lane]), product, flags=["contract"]), total[lane])

        def loop(step: int, ahead: bool) -> None:
            test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            k = builder.load(position)
            following = builder.add(k, ir.Constant(_INT64, step))
            builder.cbranch(builder.icmp_signed("<=", following, arguments[2]), body, done)
            builder.position_at_end(body)
            for lane in range(step):
                add_one(builder.add(k, ir.Constant(_INT64, lane)), lane, ahead)
            builder.store(following, position)
            builder.branch(test)
            builder.position_at_end(done)

        with builder.if_else(builder.trunc(arguments[4], ir.IntType(1))) as (distant, near):
            for branch, ahead in ((distant, True), (near, False)):
                with branch:
                    loop(_UNROLL, ahead)
                    loop(1, ahead)
        sums = []
        wanted = [(plain, (0, 1)), (times_f, (0, 1)), (squares, (0,))] + ([(values, (0, 1))] if valued else [])
        for lanes, elements in wanted:
            total = builder.load(lanes[0])
            for lane in lanes[1:]:
                total = builder.fadd(total, builder.load(lane))
            sums += [builder.extract_element(total, ir.Constant(_INT32, k)) for k in elements]
        return context.make_tuple(builder, signature.return_type, sums)

    return generate
