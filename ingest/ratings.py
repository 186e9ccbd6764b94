"""Sorting ratings that don't fit into memory, and giving raters numbers without a Python object per row.

A rating becomes a record of 48 bytes: its rater a number, its tags bits. Runs of a few million records are sorted by
note in memory and, if there is more than one run, put on disk; then the runs are cut at the same note ids into buckets
of about one run each, and bucket after bucket is joined, freed of duplicates, sorted and written. Every rating of a
note is in one bucket, so duplicates are found; and the result does not depend on how the rows came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.parse import MISSING, word_at
from nouns import snapshot
from nouns.x import RATING_TAGS

RECORD = np.dtype(
    [
        ("note_id", "<i8"),
        ("created_at", "<i8"),
        ("rated_on", "<i8"),  # reading.MISSING where empty
        ("line", "<u4"),
        ("rater", "<i4"),
        ("tags", "<u4"),  # bit k: RATING_TAGS[k]
        ("file", "<u2"),
        ("value", "i1"),  # 2 helpful, 1 somewhat, 0 not: twice the rating
        ("version", "i1"),
        ("source", "i1"),  # index into the list of sources, -1 where empty
    ],
    align=True,
)
assert RECORD.itemsize == 48


# Rater ids are a dictionary in memory, plain strings (dictionary-encoded) in the file.
RATINGS_IN_MEMORY = snapshot.SCHEMAS["ratings"].set(
    1, pa.field("raterParticipantId", pa.dictionary(pa.int32(), pa.string()), nullable=False)
)


_FREE = np.uint64(2**64 - 1)


class RaterNumbers:
    """Numbers for rater ids, in order of first appearance: an open-addressing hash table over bytes.

    Ids are compared in full, so equal hashes do no harm. Memory: about 100 bytes a rater.
    """

    def __init__(self) -> None:
        # A slot holds the upper half of the hash and the number, so that most other ids are passed over at once.
        self._slots = np.full(1 << 16, _FREE, dtype=np.uint64)
        self._hashes = np.empty(1 << 15, dtype=np.uint64)
        self._ends = np.zeros((1 << 15) + 1, dtype=np.int64)
        self._bytes = np.empty(1 << 21, dtype=np.uint8)
        self.n = 0

    def number(self, data: np.ndarray, start: np.ndarray, end: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """(n,) int32: the number of each id `data[start[k]:end[k]]`; new ids get the next free numbers."""
        codes = np.empty(len(start), dtype=np.int32)
        done = 0
        while done < len(start):
            done, self.n = _number(
                data, start, end, hashes, done, codes, self._slots, self._hashes, self._ends, self._bytes, self.n
            )
            if done < len(start):
                self._grow()
        return codes

    def _grow(self) -> None:
        if self.n >= len(self._hashes) - 1:
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._ends = np.concatenate([self._ends, np.zeros(len(self._ends) - 1, dtype=np.int64)])
            self._slots = np.full(2 * len(self._slots), _FREE, dtype=np.uint64)
            _rehash(self._slots, self._hashes, self.n)
        else:
            self._bytes = np.concatenate([self._bytes, np.empty_like(self._bytes)])

    def ids(self) -> pa.Array:
        """(n,) large_string: the id of each number."""
        n_bytes = int(self._ends[self.n])
        return pa.LargeStringArray.from_buffers(
            self.n, pa.py_buffer(self._ends[: self.n + 1].copy()), pa.py_buffer(self._bytes[:n_bytes].copy())
        )


@numba.njit(cache=True, nogil=True)
def _number(data, start, end, new_hashes, first, codes, slots, hashes, ends, stored, n):
    """Number ids until a table is full; returns the row reached and the number of ids."""
    mask = np.uint64(len(slots) - 1)
    low = np.uint64(0xFFFFFFFF)
    for row in range(first, len(start)):
        begin = np.int64(start[row])
        length = np.int64(end[row]) - begin
        h = new_hashes[row]
        slot = np.int64(h & mask)
        while True:
            entry = slots[slot]
            if entry == _FREE:
                at = ends[n]
                if n >= len(hashes) - 1 or at + length > len(stored):
                    return row, n
                for k in range(length):
                    stored[at + k] = data[begin + k]
                ends[n + 1] = at + length
                hashes[n] = h
                slots[slot] = (h & ~low) | np.uint64(n)
                codes[row] = n
                n += 1
                break
            if (entry ^ h) & ~low == 0:
                code = np.int64(entry & low)
                at = ends[code]
                if ends[code + 1] - at == length:
                    k = 0
                    while k + 8 <= length and word_at(stored, at + k) == word_at(data, begin + k):
                        k += 8
                    while k < length and stored[at + k] == data[begin + k]:
                        k += 1
                    if k == length:
                        codes[row] = code
                        break
            slot = np.int64(np.uint64(slot + 1) & mask)
    return len(start), n


@numba.njit(cache=True, nogil=True)
def _rehash(slots, hashes, n):
    mask = np.uint64(len(slots) - 1)
    low = np.uint64(0xFFFFFFFF)
    for code in range(n):
        slot = np.int64(hashes[code] & mask)
        while slots[slot] != _FREE:
            slot = np.int64(np.uint64(slot + 1) & mask)
        slots[slot] = (hashes[code] & ~low) | np.uint64(code)


@dataclass(frozen=True)
class _SortedRun:
    """Records on disk, sorted by note id, with every `_SPARSE`-th note id in memory."""

    path: Path
    n: int
    sparse: np.ndarray

    def read(self, start: int, stop: int) -> np.ndarray:
        # Read, not mapped: mapped pages would stay in memory.
        return np.fromfile(self.path, dtype=RECORD, count=stop - start, offset=start * RECORD.itemsize)

    def after(self, note_id: int) -> int:
        """The number of records with a note id up to `note_id`."""
        block = max(0, int(np.searchsorted(self.sparse, note_id, side="right")) - 1)
        keys = self.read(block * _SPARSE, min(self.n, (block + 1) * _SPARSE))["note_id"]
        return block * _SPARSE + int(np.searchsorted(keys, note_id, side="right"))


_SPARSE = 1024


@numba.njit(cache=True, nogil=True)
def _spread_bits(tags, boxes):
    """Bit b of tags[row] becomes bit row of boxes[b], the lowest bit of a byte first, as Arrow stores booleans."""
    for row in range(len(tags)):
        word = tags[row]
        byte = row >> 3
        place = np.uint8(1 << (row & 7))
        bit = 0
        while word != 0:
            if word & 1:
                boxes[bit, byte] |= place
            word >>= 1
            bit += 1


class RatingRuns:
    """Records come in in any order, buckets of records go out in the order of note ids."""

    def __init__(self, scratch: Path, run_rows: int) -> None:
        self._scratch = scratch
        self._run_rows = run_rows
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._runs: list[_SortedRun] = []
        self.n = 0

    def add(self, records: np.ndarray) -> None:
        # A run goes to disk only when more comes after it, so that a small table never does.
        if self._n_waiting >= self._run_rows:
            self._end_run()
        self._waiting.append(records)
        self._n_waiting += len(records)
        self.n += len(records)

    def _end_run(self) -> None:
        run = np.concatenate(self._waiting)
        self._waiting, self._n_waiting = [], 0
        # ndarray.take copies a record at a time; indexing with [] copies field by field and is eight times slower.
        run = run.take(np.argsort(np.ascontiguousarray(run["note_id"])))
        path = self._scratch / f"run-{len(self._runs):05d}.bin"
        run.tofile(path)
        self._runs.append(_SortedRun(path, len(run), np.array(run["note_id"][::_SPARSE])))

    def buckets(self) -> Iterator[np.ndarray]:
        """Records in buckets of about `run_rows`, ascending in note id from bucket to bucket, unsorted within."""
        if not self._runs:
            if self._waiting:
                yield np.concatenate(self._waiting)
            return
        if self._waiting:
            self._end_run()
        # Each sample stands for _SPARSE records, so so many of them for a bucket.
        samples = np.sort(np.concatenate([run.sparse for run in self._runs]))
        stride = max(1, self._run_rows // _SPARSE)
        bounds = np.unique(samples[stride::stride]).tolist()
        starts = [0] * len(self._runs)
        for bound in [*bounds, None]:
            stops = [run.n if bound is None else run.after(bound) for run in self._runs]
            parts = [
                run.read(start, stop)
                for run, start, stop in zip(self._runs, starts, stops, strict=True)
                if stop > start
            ]
            starts = stops
            if parts:
                yield np.concatenate(parts)


def sort_ratings(records: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted records with one rating per note and rater, the ones left out, and the distinct note ids.

    Of several ratings of one note by one rater the latest stays; of equally late ones the one whose contents are
    greatest (so that the choice does not depend on the order of the files). Sorted by note id, time and rater.
    """
    records = records.take(np.argsort(np.ascontiguousarray(records["note_id"])))
    note_id = np.ascontiguousarray(records["note_id"])
    first = np.ones(len(records), dtype=bool)
    np.not_equal(note_id[1:], note_id[:-1], out=first[1:])
    note_ids = note_id[first]
    note = np.cumsum(first) - 1  # (n,) rank of the note
    dropped = records[:0]
    # One integer holds note and rater: sorting it shows whether any pair occurs twice. Usually none does.
    pair = (note << 32) | records["rater"]
    sorted_pair = np.sort(pair)
    twice = np.unique(sorted_pair[1:][sorted_pair[1:] == sorted_pair[:-1]])
    if len(twice):
        rows = np.flatnonzero(np.isin(pair, twice))
        losers = rows[_superseded(records.take(rows))]
        keep = np.ones(len(records), dtype=bool)
        keep[losers] = False
        dropped = records.take(losers)
        records, note = records.take(np.flatnonzero(keep)), note[keep]
    created = np.ascontiguousarray(records["created_at"])
    start = int(created.min(initial=2**62))
    bits = max(1, (int(created.max(initial=0)) - start).bit_length()) if len(created) else 1
    if len(note_ids) << bits < 2**63:
        # Again one integer, note and time; the few equal ones are put in the order of their raters.
        key = (note << bits) | (created - start)
        order = np.argsort(key)
        key = key[order]
        equal = np.zeros(len(key) + 1, dtype=bool)
        np.equal(key[1:], key[:-1], out=equal[1:-1])
        tied = np.flatnonzero(equal[1:] | equal[:-1])
        if len(tied):
            order[tied] = order[tied[np.lexsort([records["rater"][order[tied]], key[tied]])]]
    else:
        order = np.lexsort([records["rater"], created, note])
    return records.take(order), dropped, note_ids


def _superseded(records: np.ndarray) -> np.ndarray:
    """Rows of all but the best of each note and rater."""
    # lexsort: the last key is the first to sort by; file and line in descending order, so the first copy is best.
    best_last = np.lexsort(
        [
            -records["line"].astype(np.int64),
            -records["file"].astype(np.int64),
            *(records[name] for name in ("source", "version", "rated_on", "tags", "value", "created_at")),
            records["rater"],
            records["note_id"],
        ]
    )
    ordered = records.take(best_last)
    same = (ordered["note_id"][1:] == ordered["note_id"][:-1]) & (ordered["rater"][1:] == ordered["rater"][:-1])
    return np.sort(best_last[:-1][same])


def rating_table(records: np.ndarray, rater_ids: pa.Array, sources: pa.Array) -> pa.Table:
    """Records as rows of the snapshot's `ratings`; `records['rater']` are rows of `rater_ids`."""
    # The raters of these rows, ascending, and the place of each row's rater among them: np.unique without a sort.
    rater = np.ascontiguousarray(records["rater"])
    here = np.zeros(len(rater_ids), dtype=bool)
    here[rater] = True
    numbers = np.flatnonzero(here)
    place = np.cumsum(here, dtype=np.int32) - np.int32(1)
    raters = pa.DictionaryArray.from_arrays(pa.array(place[rater]), rater_ids.take(pa.array(numbers)).cast(pa.string()))
    rated_on = np.ascontiguousarray(records["rated_on"])
    source = np.ascontiguousarray(records["source"])
    columns = [
        pa.array(np.ascontiguousarray(records["note_id"])),
        raters,
        pa.array(np.ascontiguousarray(records["created_at"])),
        pa.array(records["value"].astype(np.float32) / 2),
        pa.array(rated_on, mask=rated_on == MISSING),
        pa.array(np.ascontiguousarray(records["version"])),
        pc.take(sources, pa.array(source, mask=source < 0)),
    ]
    tags = np.ascontiguousarray(records["tags"])
    boxes = np.zeros((len(RATING_TAGS), (len(tags) + 7) // 8), dtype=np.uint8)
    _spread_bits(tags, boxes)
    columns += [pa.Array.from_buffers(pa.bool_(), len(tags), [None, pa.py_buffer(box)]) for box in boxes]
    return pa.table(columns, schema=RATINGS_IN_MEMORY)
