"""From a block of tab-separated bytes to typed columns: the compiled inner loop of `ingest`.

One pass over the bytes splits lines and cells, reads and checks the wanted columns and notes at most one problem a
line. Nothing is quoted in X's files and a line break always ends a row, so a row is a line: its number is known, and
a broken line costs exactly itself. (We considered DuckDB, Polars and pyarrow readers: each either stops at a broken
line, drops it unseen, keeps a fragment of it as a row, or can't say which line it was; and checking ids, times and
words afterwards costs as much again.) Speed: see benchmarks/ingest.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pyarrow as pa

# Kinds of cells. "Optional" cells may be empty (and -1 or 0, X's marks for "never"), the others may not.
SKIP = 0
ID = 1  # 1 .. 2**63-1, digits only
OPTIONAL_ID = 2
TIME = 3  # milliseconds since 1970 within MIN_MILLIS .. MAX_MILLIS; a decimal fraction is cut off
OPTIONAL_TIME = 4
NUMBER = 5  # any 64-bit integer or nothing; a decimal fraction is cut off
FLAG = 6  # 0, 1 or nothing
WORD = 7  # one of a vocabulary, or nothing
TEXT = 8  # UTF-8, may be empty
PARTICIPANT = 9  # 1 .. 128 visible ASCII characters
OPTIONAL_PARTICIPANT = 10

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
    "unknown_word",
    "bad_encoding",
    "bad_participant_id",
)
(_OK, _COUNT, _EMPTY, _NUL, _BAD_ID, _BAD_TIME, _BAD_NUMBER, _BAD_FLAG, _BAD_WORD, _BAD_TEXT, _BAD_PARTICIPANT) = range(
    len(REASONS)
)

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
    def build(cls, names: Sequence[str], kinds: Sequence[int], vocabularies: Sequence[Sequence[str]]) -> Layout:
        """`vocabularies` holds the words of each column, empty for kinds other than WORD."""
        n = len(names)
        slots = np.zeros(n, dtype=np.int16)
        used = {"integers": 0, "spans": 0, "words": 0, "flags": 0}
        for column, kind in enumerate(kinds):
            if kind == SKIP:
                continue
            if kind == FLAG:
                group = "flags"
            elif kind == WORD:
                group = "words"
            elif kind in (TEXT, PARTICIPANT, OPTIONAL_PARTICIPANT):
                group = "spans"
            else:
                group = "integers"
            slots[column] = used[group]
            used[group] += 1
        if used["flags"] > 64:
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
    words: np.ndarray  # (n_words, n_lines) int8: place in the column's vocabulary, -1 where empty
    ones: np.ndarray  # (n_lines,) uint64: bit set where the check box is 1
    present: np.ndarray  # (n_lines,) uint64: bit set where the check box is 0 or 1
    problem: np.ndarray  # (n_lines,) int8: index into REASONS
    problem_column: np.ndarray  # (n_lines,) int16: column of the file, -1 for the whole line

    @property
    def n_lines(self) -> int:
        return len(self.problem)

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


@numba.njit(cache=True, nogil=True)
def _gather(data, start, offsets, out):
    for row in range(len(start)):
        at = start[row]
        for k in range(offsets[row], offsets[row + 1]):
            out[k] = data[at]
            at += 1


@numba.njit(cache=True, nogil=True)
def _integer(data, start, end, fraction):
    """(value, ok): the decimal integer in data[start:end]; with `fraction` a tail of '.' and digits is cut off."""
    p = start
    negative = False
    if p < end and data[p] == 45:
        negative = True
        p += 1
    first = p
    value = np.uint64(0)
    ok = True
    while p < end:
        digit = data[p] - 48  # uint64 in numba would wrap; data is uint8, the difference an int64
        if digit < 0 or digit > 9:
            break
        value = value * np.uint64(10) + np.uint64(digit)
        p += 1
    # 19 digits never overflow 64 unsigned bits
    if p == first or p - first > 19 or value > _LARGEST:
        ok = False
    if fraction and p + 1 < end and data[p] == 46:
        p += 1
        while p < end and data[p] >= 48 and data[p] <= 57:
            p += 1
    if p != end:
        ok = False
    signed = np.int64(value)
    return (-signed if negative else signed), ok


@numba.njit(cache=True, nogil=True)
def _is_utf8(data, start, end):
    p = start
    while p < end:
        c = data[p]
        if c < 0x80:
            p += 1
            continue
        if c < 0xC2 or c > 0xF4:
            return False
        n = 1 if c < 0xE0 else (2 if c < 0xF0 else 3)
        if p + n >= end:
            return False
        second = data[p + 1]
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
            if data[p + k] & 0xC0 != 0x80:
                return False
        p += n + 1
    return True


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
    n = len(data)
    room = len(problem)
    row = 0
    p = 0
    while p < n:
        if row >= room:
            return row + 1
        line_start[row] = p
        bad = 0
        bad_column = -1
        nul = False
        one_bits = np.uint64(0)
        seen_bits = np.uint64(0)
        column = 0
        begin = p
        line_done = False
        while not line_done:
            start = p
            # Every byte from the space upwards belongs to the cell; of the rest only tab and line break end it.
            while True:
                while data[p] >= 32:
                    p += 1
                c = data[p]
                if c == 9 or c == 10:
                    break
                if c == 0:
                    nul = True
                p += 1
            end = p
            line_done = c == 10
            p += 1
            if line_done and end > start and data[end - 1] == 13:
                end -= 1
            if column < n_columns:
                kind = kinds[column]
                if kind != 0 and bad == 0:
                    slot = slots[column]
                    length = end - start
                    if kind == 6:
                        if length == 1 and (data[start] == 48 or data[start] == 49):
                            bit = np.uint64(1) << np.uint64(slot)
                            seen_bits |= bit
                            if data[start] == 49:
                                one_bits |= bit
                        elif length != 0:
                            bad = 7
                            bad_column = column
                    elif kind <= 5:
                        if length == 0:
                            value = MISSING
                            ok = kind == 2 or kind >= 4
                        else:
                            value, ok = _integer(data, start, end, kind >= 3)
                            if ok:
                                if kind == 1:
                                    ok = value > 0
                                elif kind == 2:
                                    if value <= 0:
                                        ok = value >= -1
                                        value = MISSING
                                elif kind == 3:
                                    ok = value >= MIN_MILLIS and value <= MAX_MILLIS
                                elif kind == 4:
                                    # X writes -1, 0 or 1 for "never"
                                    if value <= 1:
                                        ok = value >= -1
                                        value = MISSING
                                    else:
                                        ok = value >= MIN_MILLIS and value <= MAX_MILLIS
                        integers[slot, row] = value
                        if not ok:
                            bad = 4 if kind <= 2 else (5 if kind <= 4 else 6)
                            bad_column = column
                    elif kind == 7:
                        code = -1
                        if length != 0:
                            for word in range(first_word[column], last_word[column]):
                                word_start = word_ends[word - 1] if word > 0 else 0
                                if word_ends[word] - word_start != length:
                                    continue
                                same = True
                                for k in range(length):
                                    if vocabulary[word_start + k] != data[start + k]:
                                        same = False
                                        break
                                if same:
                                    code = word - first_word[column]
                                    break
                            if code < 0:
                                bad = 8
                                bad_column = column
                        words[slot, row] = code
                    else:
                        span_start[slot, row] = start
                        span_end[slot, row] = end
                        if kind == 8:
                            if not _is_utf8(data, start, end):
                                bad = 9
                                bad_column = column
                        else:
                            ok = length <= 128 and (length > 0 or kind == 10)
                            for k in range(start, end):
                                if data[k] <= 32 or data[k] > 126:
                                    ok = False
                            if not ok:
                                bad = 10
                                bad_column = column
            column += 1
        if column != n_columns:
            bad = 1
            bad_column = -1
            if column == 1 and end == begin:
                bad = 2
        elif nul:
            bad = 3
            bad_column = -1
        problem[row] = bad
        problem_column[row] = bad_column
        ones[row] = one_bits
        present[row] = seen_bits
        row += 1
    line_start[row] = p
    return row
