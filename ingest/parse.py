"""From a block of tab-separated bytes to typed columns: the compiled inner loop of `ingest`.

One pass over the bytes splits lines and cells, reads and checks the wanted columns and notes at most one problem a
line. Nothing is quoted in X's files and a line break always ends a row, so a row is a line: its number is known, and
a broken line costs exactly itself. (We considered DuckDB, Polars and pyarrow readers: each either stops at a broken
line, drops it unseen, keeps a fragment of it as a row, or can't say which line it was; and checking ids, times and
words afterwards costs as much again.) Speed: see benchmarks/ingest.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import pyarrow as pa
from numba.core import types
from numba.extending import intrinsic

# Kinds of cells. "Optional" cells may be empty (and -1 or 0, X's marks for "never"), the others may not.
SKIP = 0
ID = 1  # 1 .. 2**63-1, digits only
OPTIONAL_ID = 2
TIME = 3  # milliseconds since 1970 within MIN_MILLIS .. MAX_MILLIS; a decimal fraction is cut off
OPTIONAL_TIME = 4
NUMBER = 5  # any 64-bit integer or nothing; a decimal fraction is cut off
FLAG = 6  # 0, 1 or nothing
WORD = 7  # one of a vocabulary, another word, or nothing
TEXT = 8  # UTF-8, may be empty
PARTICIPANT = 9  # 1 .. 128 visible ASCII characters
OPTIONAL_PARTICIPANT = 10
ANYTHING = 11  # any bytes: what is wrong with them costs the cell, not the row

# Problems of a line, in REASONS order. The first one found wins, except that a wrong number of cells beats all.
REASONS: tuple[str, ...] = (
    "",
    "column_count",
    "empty_line",
    "nul_byte",
    "bad_id",
    "bad_timestamp",
    "bad_number",
    "bad_flag",
    "bad_encoding",
    "bad_participant_id",
)
(_OK, _COUNT, _EMPTY, _NUL, _BAD_ID, _BAD_TIME, _BAD_NUMBER, _BAD_FLAG, _BAD_TEXT, _BAD_PARTICIPANT) = range(
    len(REASONS)
)

UNKNOWN = -2  # a word outside its column's vocabulary
MISSING = np.int64(-(2**63))  # an optional integer that is not there
MIN_MILLIS = 1_142_899_200_000  # 21 March 2006: Twitter's first post
MAX_MILLIS = 4_102_444_800_000  # 1 January 2100
_MAX_PARTICIPANT = 128
_LARGEST = np.uint64(2**63 - 1)


@dataclass(frozen=True)
class Layout:
    """How the columns of one file are read: kind and output row of each, vocabularies as one byte string."""

    names: tuple[str, ...]  # as in the file
    kinds: np.ndarray  # (n_columns,) int8
    slots: np.ndarray  # (n_columns,) int16: row in `integers`, `spans` or `words`, or bit in `ones`
    words: np.ndarray  # uint8: all vocabularies joined
    word_ends: np.ndarray  # (n_words,) int32: end of each word in `words`
    first_word: np.ndarray  # (n_columns,) int32: first word of a column's vocabulary ...
    last_word: np.ndarray  # ... and one past its last
    n_integers: int
    n_spans: int
    n_words: int

    @classmethod
    def build(
        cls,
        names: Sequence[str],
        kinds: Sequence[int],
        vocabularies: Sequence[Sequence[str]],
        flag_bits: Mapping[str, int],
    ) -> Layout:
        """`vocabularies`: the words of each column, empty for kinds other than WORD. `flag_bits`: the bit of each FLAG
        column by name, the same in every file, so that bits can be stored as they are."""
        n = len(names)
        slots = np.zeros(n, dtype=np.int16)
        used = {"integers": 0, "spans": 0, "words": 0}
        for column, kind in enumerate(kinds):
            if kind == SKIP:
                continue
            if kind == FLAG:
                slots[column] = flag_bits[names[column]]
                continue
            if kind == WORD:
                group = "words"
            elif kind in (TEXT, PARTICIPANT, OPTIONAL_PARTICIPANT, ANYTHING):
                group = "spans"
            else:
                group = "integers"
            slots[column] = used[group]
            used[group] += 1
        if any(bit > 63 for bit in flag_bits.values()):
            raise ValueError("at most 64 check boxes fit into one row")
        joined = b""
        ends: list[int] = []
        first, last = [], []
        for vocabulary in vocabularies:
            first.append(len(ends))
            for word in vocabulary:
                joined += word.encode()
                ends.append(len(joined))
            last.append(len(ends))
        return cls(
            names=tuple(names),
            kinds=np.array(kinds, dtype=np.int8),
            slots=slots,
            words=np.frombuffer(joined or b"\0", dtype=np.uint8),
            word_ends=np.array(ends or [0], dtype=np.int32),
            first_word=np.array(first, dtype=np.int32),
            last_word=np.array(last, dtype=np.int32),
            n_integers=used["integers"],
            n_spans=used["spans"],
            n_words=used["words"],
        )

    def slot(self, name: str) -> int:
        return int(self.slots[self.names.index(name)])


@dataclass(frozen=True)
class Lines:
    """The typed cells of one block; cells of a line with a problem may hold anything."""

    data: np.ndarray  # (n_bytes,) uint8
    layout: Layout
    line_start: np.ndarray  # (n_lines + 1,) int32; a line's bytes end one before the next line's start
    integers: np.ndarray  # (n_integers, n_lines) int64, MISSING where an optional cell is empty
    span_start: np.ndarray  # (n_spans, n_lines) int32
    span_end: np.ndarray
    words: np.ndarray  # (n_words, n_lines) int8: place in the column's vocabulary, -1 where empty, -2 for another word
    ones: np.ndarray  # (n_lines,) uint64: bit set where the check box is 1
    present: np.ndarray  # (n_lines,) uint64: bit set where the check box is 0 or 1
    problem: np.ndarray  # (n_lines,) int8: index into REASONS
    problem_column: np.ndarray  # (n_lines,) int16: column of the file, -1 for the whole line

    @property
    def n_lines(self) -> int:
        return len(self.problem)

    def hashes(self, name: str) -> np.ndarray:
        """(n_lines,) uint64: a hash of each cell of a participant column (for a table, not against forgery)."""
        slot = self.layout.slot(name)
        out = np.empty(self.n_lines, dtype=np.uint64)
        _hash_cells(self.data, self.span_start[slot], self.span_end[slot], out)
        return out

    def longest_line(self) -> tuple[int, int]:
        """The row of the longest line, and its length in bytes without the line break."""
        lengths = np.diff(self.line_start)
        row = int(np.argmax(lengths))
        return row, int(lengths[row]) - 1

    def flag(self, name: str) -> np.ndarray:
        """(n_lines,) bool: the check box is 1. False where it is empty."""
        return (self.ones >> np.uint64(self.layout.slot(name))) & np.uint64(1) != 0

    def has_flag(self, name: str) -> np.ndarray:
        """(n_lines,) bool: the check box is 0 or 1, not empty."""
        return (self.present >> np.uint64(self.layout.slot(name))) & np.uint64(1) != 0

    def texts(self, name: str, rows: np.ndarray) -> pa.Array:
        """The cells of a text column for the given lines, as an Arrow string array; empty cells are empty strings."""
        slot = self.layout.slot(name)
        start, end = self.span_start[slot][rows], self.span_end[slot][rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int32)
        np.cumsum(end - start, out=offsets[1:])
        gathered = np.empty(int(offsets[-1]), dtype=np.uint8)
        _gather(self.data, start, offsets, gathered)
        return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(gathered))

    def cell(self, row: int, column: int) -> bytes:
        """The raw bytes of one cell, or of the whole line for column -1; at most 4,000 bytes."""
        start, end = int(self.line_start[row]), int(self.line_start[row + 1]) - 1
        line = bytes(self.data[start : min(end, start + (1 << 20))])
        if column < 0:
            return line[:4000]
        cells = line.rstrip(b"\r").split(b"\t")
        return cells[column][:4000] if column < len(cells) else b""


def parse(data: np.ndarray, n_lines: int, layout: Layout) -> Lines:
    """Read a block: `data` (uint8) holds `n_lines` whole lines and ends with a line break.

    `n_lines` comes from an independent count of the line breaks; a block in which this reader finds another number is
    refused with RuntimeError, because then one of the two is wrong.
    """
    integers = np.empty((layout.n_integers, n_lines), dtype=np.int64)
    span_start = np.zeros((layout.n_spans, n_lines), dtype=np.int32)
    span_end = np.zeros((layout.n_spans, n_lines), dtype=np.int32)
    words = np.empty((layout.n_words, n_lines), dtype=np.int8)
    ones = np.empty(n_lines, dtype=np.uint64)
    present = np.empty(n_lines, dtype=np.uint64)
    problem = np.empty(n_lines, dtype=np.int8)
    problem_column = np.empty(n_lines, dtype=np.int16)
    line_start = np.empty(n_lines + 1, dtype=np.int32)
    if data[-1] != 10:
        raise ValueError("a block must end with a line break")
    found = _parse(
        data,
        len(layout.names),
        layout.kinds,
        layout.slots,
        layout.words,
        layout.word_ends,
        layout.first_word,
        layout.last_word,
        line_start,
        integers,
        span_start,
        span_end,
        words,
        ones,
        present,
        problem,
        problem_column,
    )
    if found != n_lines:
        raise RuntimeError(f"the reader found {found} lines in a block of {n_lines}; this is a bug, please report it")
    return Lines(
        data, layout, line_start, integers, span_start, span_end, words, ones, present, problem, problem_column
    )


# Loads without numba's test for negative indices, and of eight bytes at once: they halve the time of the parser. The
# callers stay inside the array: a block ends with a line break, which stops every loop over bytes, and eight bytes are
# read only where eight are left.
_intrinsic: Any = intrinsic  # its type says nothing of the context argument, which callers leave out


@_intrinsic
def _byte(typing_context, array, index):
    """The byte array[index], as an integer."""

    def generate(context, builder, signature, arguments):
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        value = builder.load(builder.gep(source.data, [arguments[1]]))
        return builder.zext(value, context.get_value_type(types.int64))

    return types.int64(array, types.int64), generate


@_intrinsic
def word_at(typing_context, array, index):
    """The eight bytes array[index : index + 8], the first one lowest."""

    def generate(context, builder, signature, arguments):
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(source.data, [arguments[1]])
        kind = context.get_value_type(types.uint64)
        value = builder.load(builder.bitcast(place, kind.as_pointer()))
        value.align = 1
        return value

    return types.uint64(array, types.int64), generate


_TOP_BITS = np.uint64(0x8080808080808080)
_SPACES = np.uint64(0x2020202020202020)
_BANGS = np.uint64(0x2121212121212121)
_ONES = np.uint64(0x0101010101010101)


@numba.njit(cache=True, nogil=True)
def _gather(data, start, offsets, out):
    for row in range(len(start)):
        at = np.int64(start[row])
        for k in range(offsets[row], offsets[row + 1]):
            out[k] = _byte(data, at)
            at += 1


@numba.njit(cache=True, nogil=True)
def _hash_cells(data, start, end, out):
    """Multiply and fold, eight bytes at a time; ids are hexadecimal digests already, so little mixing is needed."""
    for row in range(len(start)):
        h = np.uint64(0x9E3779B97F4A7C15)
        p = np.int64(start[row])
        stop = np.int64(end[row])
        while p + 8 <= stop:
            h = (h ^ word_at(data, p)) * np.uint64(0xBF58476D1CE4E5B9)
            h ^= h >> np.uint64(32)
            p += 8
        while p < stop:
            h = (h ^ np.uint64(_byte(data, p))) * np.uint64(0x94D049BB133111EB)
            h ^= h >> np.uint64(29)
            p += 1
        out[row] = h ^ (h >> np.uint64(29))


@numba.njit(cache=True, nogil=True)
def _integer(data, start, end, fraction):
    """(value, ok): the decimal integer in data[start:end]; with `fraction` a tail of '.' and digits is cut off."""
    p = start
    negative = _byte(data, p) == 45
    if negative:
        p += 1
    first = p
    value = np.uint64(0)
    ok = True
    while p < end:
        digit = _byte(data, p) - 48
        if digit < 0 or digit > 9:
            break
        value = value * np.uint64(10) + np.uint64(digit)
        p += 1
    # 19 digits never overflow 64 unsigned bits
    if p == first or p - first > 19 or value > _LARGEST:
        ok = False
    if fraction and p + 1 < end and _byte(data, p) == 46:
        p += 1
        while p < end and _byte(data, p) >= 48 and _byte(data, p) <= 57:
            p += 1
    if p != end:
        ok = False
    signed = np.int64(value)
    return (-signed if negative else signed), ok


@numba.njit(cache=True, nogil=True)
def _is_utf8(data, start, end):
    p = start
    while p < end:
        while p + 8 <= end and word_at(data, p) & _TOP_BITS == 0:
            p += 8
        if p >= end:
            break
        c = _byte(data, p)
        if c < 0x80:
            p += 1
            continue
        if c < 0xC2 or c > 0xF4:
            return False
        n = 1 if c < 0xE0 else (2 if c < 0xF0 else 3)
        if p + n >= end:
            return False
        second = _byte(data, p + 1)
        if second & 0xC0 != 0x80:
            return False
        # overlong forms, surrogates, beyond U+10FFFF
        if (
            (c == 0xE0 and second < 0xA0)
            or (c == 0xED and second > 0x9F)
            or (c == 0xF0 and second < 0x90)
            or (c == 0xF4 and second > 0x8F)
        ):
            return False
        for k in range(2, n + 1):
            if _byte(data, p + k) & 0xC0 != 0x80:
                return False
        p += n + 1
    return True


@numba.njit(cache=True, nogil=True)
def _is_visible(data, start, end):
    """Every byte is a visible ASCII character, 33 to 126."""
    p = start
    while p + 8 <= end:
        word = word_at(data, p)
        # A byte below 33 borrows from its top bit, one of 127 carries into it, one above has it.
        if ((word - _BANGS) | (word + _ONES) | word) & _TOP_BITS != 0:
            break
        p += 8
    while p < end:
        c = _byte(data, p)
        if c < 33 or c > 126:
            return False
        p += 1
    return True


@numba.njit(cache=True, nogil=True)
def _cell_end(data, p, n):
    """The first byte from p on below 32; data[n - 1] is one."""
    while p + 8 <= n:
        word = word_at(data, p)
        if (word - _SPACES) & ~word & _TOP_BITS != 0:
            break
        p += 8
    while _byte(data, p) >= 32:
        p += 1
    return p


@numba.njit(cache=True, nogil=True)
def _word_code(data, start, end, vocabulary, word_ends, first, last):
    """The place of data[start:end] among the words first .. last, or -1."""
    length = end - start
    for word in range(first, last):
        word_start = word_ends[word - 1] if word > 0 else 0
        if word_ends[word] - word_start != length:
            continue
        same = True
        for k in range(length):
            if vocabulary[word_start + k] != _byte(data, start + k):
                same = False
                break
        if same:
            return word - first
    return -1


@numba.njit(cache=True, nogil=True)
def _parse(
    data,
    n_columns,
    kinds,
    slots,
    vocabulary,
    word_ends,
    first_word,
    last_word,
    line_start,
    integers,
    span_start,
    span_end,
    words,
    ones,
    present,
    problem,
    problem_column,
):
    """Fill the output arrays; returns the number of lines (one more than there is room for if there are more)."""
    n = len(data)
    room = len(problem)
    row = 0
    p = 0
    while p < n:
        if row >= room:
            return row + 1
        line_start[row] = p
        begin = p
        bad = _OK
        bad_column = -1
        nul = False
        one_bits = np.uint64(0)
        seen_bits = np.uint64(0)
        column = 0
        line_done = False
        while not line_done:
            start = p
            kind = kinds[column] if column < n_columns else SKIP
            # Most cells are a check box with one digit and a tab.
            if kind == FLAG and p + 1 < n and _byte(data, p + 1) == 9:
                digit = _byte(data, p)
                if digit == 48 or digit == 49:
                    bit = np.uint64(1) << np.uint64(slots[column])
                    seen_bits |= bit
                    if digit == 49:
                        one_bits |= bit
                    p += 2
                    column += 1
                    continue
            # Every byte from the space upwards belongs to the cell; of the rest only tab and line break end it.
            while True:
                p = _cell_end(data, p, n)
                c = _byte(data, p)
                if c == 9 or c == 10:
                    break
                if c == 0:
                    nul = True
                p += 1
            end = p
            line_done = c == 10
            p += 1
            if line_done and end > start and _byte(data, end - 1) == 13:
                end -= 1
            if kind != SKIP and bad == _OK:
                slot = slots[column]
                length = end - start
                found = _OK
                if kind == FLAG:
                    if length == 1 and (_byte(data, start) == 48 or _byte(data, start) == 49):
                        bit = np.uint64(1) << np.uint64(slot)
                        seen_bits |= bit
                        if _byte(data, start) == 49:
                            one_bits |= bit
                    elif length != 0:
                        found = _BAD_FLAG
                elif kind <= NUMBER:
                    if length == 0:
                        value = MISSING
                        ok = kind == OPTIONAL_ID or kind >= OPTIONAL_TIME
                    else:
                        value, ok = _integer(data, start, end, kind >= TIME)
                        if ok:
                            if kind == ID:
                                ok = value > 0
                            elif kind == OPTIONAL_ID:
                                if value <= 0:
                                    ok = value >= -1
                                    value = MISSING
                            elif kind == TIME:
                                ok = value >= MIN_MILLIS and value <= MAX_MILLIS
                            elif kind == OPTIONAL_TIME:
                                # X writes -1, 0 or 1 for "never"
                                if value <= 1:
                                    ok = value >= -1
                                    value = MISSING
                                else:
                                    ok = value >= MIN_MILLIS and value <= MAX_MILLIS
                    integers[slot, row] = value
                    if not ok:
                        found = (
                            _BAD_ID if kind <= OPTIONAL_ID else (_BAD_TIME if kind <= OPTIONAL_TIME else _BAD_NUMBER)
                        )
                elif kind == WORD:
                    code = -1
                    if length != 0:
                        code = _word_code(
                            data, start, end, vocabulary, word_ends, first_word[column], last_word[column]
                        )
                        if code < 0:
                            code = UNKNOWN  # a word X has begun to use costs its cell, not its row
                    words[slot, row] = code
                else:
                    span_start[slot, row] = start
                    span_end[slot, row] = end
                    if kind == TEXT:
                        if not _is_utf8(data, start, end):
                            found = _BAD_TEXT
                    elif kind != ANYTHING and (
                        length > _MAX_PARTICIPANT
                        or (length == 0 and kind == PARTICIPANT)
                        or not _is_visible(data, start, end)
                    ):
                        found = _BAD_PARTICIPANT
                if found != _OK:
                    bad = found
                    bad_column = column
            column += 1
        if column != n_columns:
            bad = _COUNT
            bad_column = -1
            # A single column can't be told from an empty line, but no table has one.
            if column == 1 and end == begin:
                bad = _EMPTY
        elif nul:
            bad = _NUL
            bad_column = -1
        problem[row] = bad
        problem_column[row] = bad_column
        ones[row] = one_bits
        present[row] = seen_bits
        row += 1
    line_start[row] = p
    return row
