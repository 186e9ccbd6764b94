# mypy: ignore-errors
# (Numba gives these functions their types when it compiles them; mypy cannot see them.)
"""Compiled loops that turn columns of ids and values into the two sorted directions of a `RatingTable`.

Sorting is counting in two levels. Writing each rating straight to its row touches as many places of memory as there are rows and waits for each
(42 ns a rating at 5 million); so ratings are first spilled into a few hundred buckets of neighbouring rows, each written front to back, and then
settled bucket by bucket inside the cache (`spill_*`, `settle`). Every kernel is `nogil` and works on a range of chunks or buckets; chunks are taken in
order, so the sort is stable and its result does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from matrix_factorization.kernels.loops import CODE_MASK, TWO
from matrix_factorization.kernels.simd import fetch_ahead

LOW_HALF = np.uint64(0xFFFFFFFF)
HIGH_HALF = np.uint64(32)
ONE = np.uint64(1)
# A hash table of more slots than this (16 bytes each) does not stay in a core's own cache: the slots of later rows are fetched ahead.
NEAR_SLOTS = 1 << 15
SLOTS_AHEAD = 16


@njit(nogil=True, cache=True)
def pack(index, value, packed):  # pragma: no cover - compiled
    """packed = index << 2 | 2 value; the position of the first value other than 0, 0.5 and 1, or -1. `packed` may be `index` itself."""
    wrong = 0
    for k in range(len(index)):
        v = value[k]
        code = np.uint32(v >= 0.5) + np.uint32(v >= 1.0)
        wrong += (v != 0.0) & (v != 0.5) & (v != 1.0)
        packed[k] = (index[k] << TWO) | code
    if wrong:
        for k in range(len(value)):
            if value[k] != 0.0 and value[k] != 0.5 and value[k] != 1.0:
                return k
    return -1


@njit(nogil=True, cache=True)
def ascends(index):  # pragma: no cover - compiled
    """Whether no entry is smaller than the one before it."""
    descents = 0
    for k in range(1, len(index)):
        descents += index[k] < index[k - 1]
    return descents == 0


@njit(nogil=True, cache=True)
def number_runs(ids, number):  # pragma: no cover - compiled
    """For ascending `ids`: fill `number` with the rank of each id, return the distinct ids. For others: an empty array."""
    steps = 0
    descents = 0
    for k in range(1, len(ids)):
        steps += ids[k] != ids[k - 1]
        descents += ids[k] < ids[k - 1]
    if descents or len(ids) == 0:
        return np.empty(0, ids.dtype)
    distinct = np.empty(steps + 1, ids.dtype)
    distinct[0] = ids[0]
    number[0] = 0
    found = np.uint32(0)
    for k in range(1, len(ids)):
        found += np.uint32(ids[k] != ids[k - 1])
        distinct[found] = ids[k]
        number[k] = found
    return distinct


@njit(nogil=True, cache=True, inline="always")
def _first_slot(key, size):  # pragma: no cover - compiled
    """Where the search for `key` begins."""
    return ((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20) << ONE) & np.uint64(2 * size - 1)


@njit(nogil=True, cache=True, inline="always")
def _slot(slots, key, size):  # pragma: no cover - compiled
    """Position in `slots` of `key`, or of the empty place where it belongs."""
    last = np.uint64(2 * size - 1)
    at = _first_slot(key, size)
    while slots[at + ONE] >= 0 and slots[at] != key:
        at = (at + np.uint64(2)) & last
    return at


@njit(nogil=True, cache=True)
def number_by_first_sight(ids, number):  # pragma: no cover - compiled
    """Fill `number` with 0, 1, 2... by order of first occurrence of each id; returns the distinct ids in that order.

    Open addressing with linear probing, grown at half full; key and number lie side by side (2 at, 2 at + 1), so a row costs one cache miss.
    Positions are unsigned: numba tests signed ones for being negative, which made this loop six times slower.
    """
    size = 1 << 16
    slots = np.full(2 * size, -1, np.int64)
    distinct = np.empty(size // 2, np.int64)
    found = 0
    for k in range(len(ids)):
        key = ids[k]
        if size > NEAR_SLOTS and k + SLOTS_AHEAD < len(ids):
            fetch_ahead(slots, _first_slot(ids[k + SLOTS_AHEAD], size))
        at = _slot(slots, key, size)
        if slots[at + ONE] < 0:
            slots[at] = key
            slots[at + ONE] = found
            distinct[found] = key
            number[k] = found
            found += 1
            if 2 * found >= size:
                size *= 2
                slots = np.full(2 * size, -1, np.int64)
                more = np.empty(size // 2, np.int64)
                more[:found] = distinct[:found]
                distinct = more
                for j in range(found):
                    again = _slot(slots, distinct[j], size)
                    slots[again] = distinct[j]
                    slots[again + ONE] = j
        else:
            number[k] = slots[at + ONE]
    return distinct[:found].copy()


@njit(nogil=True, cache=True)
def renumber(number, new):  # pragma: no cover - compiled
    """In place: number[k] -> new[number[k]]."""
    for k in range(len(number)):
        number[k] = new[number[k]]


@njit(nogil=True, cache=True)
def count_pairs(row, bounds, lo, hi, shift, counts):  # pragma: no cover - compiled
    """counts[chunk, bucket]: how many entries of `row` in each chunk lo..hi-1 fall into each bucket of 2^shift rows."""
    for chunk in range(lo, hi):
        for k in range(bounds[chunk], bounds[chunk + 1]):
            counts[chunk, row[k] >> shift] += 1


@njit(nogil=True, cache=True)
def spill_pairs(row, packed, bounds, lo, hi, shift, cursor, out):  # pragma: no cover - compiled
    """Write `row << 32 | packed` of each rating into its bucket; `cursor[chunk, bucket]`: where the chunk's share begins (used up)."""
    for chunk in range(lo, hi):
        for k in range(bounds[chunk], bounds[chunk + 1]):
            b = row[k] >> shift
            at = cursor[chunk, b]
            out[at] = (np.uint64(row[k]) << HIGH_HALF) | np.uint64(packed[k])
            cursor[chunk, b] = at + 1


@njit(nogil=True, cache=True)
def count_rows(start, stream, bounds, lo, hi, shift, counts):  # pragma: no cover - compiled
    """`count_pairs` for packed ratings of the other direction: the new row is the index packed in each rating."""
    for chunk in range(lo, hi):
        for k in range(start[bounds[chunk]], start[bounds[chunk + 1]]):
            counts[chunk, (stream[k] >> TWO) >> shift] += 1


@njit(nogil=True, cache=True)
def spill_rows(start, stream, bounds, lo, hi, shift, cursor, out):  # pragma: no cover - compiled
    """`spill_pairs` for packed ratings of the other direction: what was the row becomes the packed index."""
    for chunk in range(lo, hi):
        for row in range(bounds[chunk], bounds[chunk + 1]):
            tag = np.uint32(row) << TWO
            for k in range(start[row], start[row + 1]):
                packed = stream[k]
                new_row = packed >> TWO
                b = new_row >> shift
                at = cursor[chunk, b]
                out[at] = (np.uint64(new_row) << HIGH_HALF) | np.uint64(tag | (packed & CODE_MASK))
                cursor[chunk, b] = at + 1


@njit(nogil=True, cache=True)
def settle(spilled, bucket_start, shift, lo, hi, parts, out):  # pragma: no cover - compiled
    """Sort buckets lo..hi-1 by row and value, keeping the order within; fills `parts` (zeros before) and `out`.

    While a bucket is written, parts[p + 1] is where the next rating of part p goes; when it is done, that is where part p ends.
    """
    n_rows = (len(parts) - 1) // 3
    for bucket in range(lo, hi):
        first = bucket_start[bucket]
        last = bucket_start[bucket + 1]
        for k in range(first, last):
            packed = spilled[k]
            parts[3 * np.int64(packed >> HIGH_HALF) + np.int64(packed & np.uint64(3)) + 1] += 1
        at = first
        for p in range(3 * (bucket << shift), 3 * min((bucket + 1) << shift, n_rows)):
            count = parts[p + 1]
            parts[p + 1] = at
            at += count
        for k in range(first, last):
            packed = spilled[k]
            p = 3 * np.int64(packed >> HIGH_HALF) + np.int64(packed & np.uint64(3)) + 1
            out[parts[p]] = np.uint32(packed & LOW_HALF)
            parts[p] += 1


@njit(nogil=True, cache=True)
def take_rows(parts, stream, rows, new_parts, out):  # pragma: no cover - compiled
    """Copy the chosen `rows` one behind the other to `out`; fills `new_parts`, (3 rows + 1)."""
    at = 0
    for new in range(len(rows)):
        first = 3 * rows[new]
        for part in range(3):
            new_parts[3 * new + part] = at
            for k in range(parts[first + part], parts[first + part + 1]):
                out[at] = stream[k]
                at += 1
    new_parts[3 * len(rows)] = at


@njit(nogil=True, cache=True)
def transpose_weights(parts, stream, weight, cursor, out):  # pragma: no cover - compiled
    """`weight` in the order of the other direction; `cursor` (a copy of the other parts) is used up."""
    for row in range((len(parts) - 1) // 3):
        for k in range(parts[3 * row], parts[3 * row + 3]):
            b = 3 * np.int64(stream[k] >> TWO) + np.int64(stream[k] & CODE_MASK)
            out[cursor[b]] = weight[k]
            cursor[b] += 1


@njit(nogil=True, cache=True)
def first_repeated(start, stream, bounds, lo, hi, n_other, found):  # pragma: no cover - compiled
    """found[chunk] = (row, other) of the chunk's first rating whose pair occurred before, untouched where there is none."""
    seen = np.full(n_other, -1, np.int32)
    for chunk in range(lo, hi):
        for row in range(bounds[chunk], bounds[chunk + 1]):
            for k in range(start[row], start[row + 1]):
                j = np.int64(stream[k] >> TWO)
                if seen[j] == row:
                    found[chunk, 0] = row
                    found[chunk, 1] = j
                    return
                seen[j] = row
