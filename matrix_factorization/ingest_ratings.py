"""Sorting ratings that don't fit into memory, and giving raters numbers without a Python object per row.

A rating becomes a record of 48 bytes: its rater a number, its tags bits. Runs of a few million records are sorted by
note in memory and, if there is more than one run, put on disk; then the runs are cut at the same note ids into buckets
of about one run each, and bucket after bucket is joined, freed of duplicates, sorted and written. Every rating of a
note is in one bucket, so duplicates are found; and the result does not depend on how the rows came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from matrix_factorization import snapshot
from matrix_factorization.reading import MISSING

RECORD = np.dtype(
    [
        ("note_id", "<i8"),
        ("created_at", "<i8"),
        ("rated_on", "<i8"),  # reading.MISSING where empty
        ("line", "<u4"),
        ("rater", "<i4"),
        ("tags", "<u4"),  # bit k: snapshot.RATING_TAGS[k]
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


class RaterNumbers:
    """Numbers for rater ids, in order of first appearance: an open-addressing hash table over bytes.

    Ids are compared in full, so equal hashes do no harm. Memory: about 90 bytes a rater.
    """

    def __init__(self) -> None:
        self._slots = np.full(1 << 16, -1, dtype=np.int32)
        self._hashes = np.empty(1 << 15, dtype=np.uint64)
        self._ends = np.zeros((1 << 15) + 1, dtype=np.int64)
        self._bytes = np.empty(1 << 21, dtype=np.uint8)
        self.n = 0

    def number(self, data: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """(n,) int32: the number of each id `data[start[k]:end[k]]`; new ids get the next free numbers."""
        codes = np.empty(len(start), dtype=np.int32)
        done = 0
        while done < len(start):
            done, self.n = _number(
                data, start, end, done, codes, self._slots, self._hashes, self._ends, self._bytes, self.n
            )
            if done < len(start):
                self._grow()
        return codes

    def _grow(self) -> None:
        if self.n >= len(self._hashes) - 1:
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
            self._ends = np.concatenate([self._ends, np.zeros(len(self._ends) - 1, dtype=np.int64)])
            self._slots = np.full(2 * len(self._slots), -1, dtype=np.int32)
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
def _number(data, start, end, first, codes, slots, hashes, ends, stored, n):
    """Number ids until a table is full; returns the row reached and the number of ids."""
    mask = len(slots) - 1
    for row in range(first, len(start)):
        # FNV-1a over the bytes, eight at a time, with a final mix (the low bits choose the slot).
        h = np.uint64(14695981039346656037)
        p = start[row]
        stop = end[row]
        length = stop - p
        while p + 8 <= stop:
            word = np.uint64(0)
            for k in range(8):
                word |= np.uint64(data[p + k]) << np.uint64(8 * k)
            h = (h ^ word) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(32)
            p += 8
        while p < stop:
            h = (h ^ np.uint64(data[p])) * np.uint64(1099511628211)
            p += 1
        h ^= h >> np.uint64(29)
        h *= np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(32)
        slot = np.int64(h & np.uint64(mask))
        while True:
            code = slots[slot]
            if code < 0:
                at = ends[n]
                if n >= len(hashes) - 1 or at + length > len(stored):
                    return row, n
                for k in range(length):
                    stored[at + k] = data[start[row] + k]
                ends[n + 1] = at + length
                hashes[n] = h
                slots[slot] = n
                codes[row] = n
                n += 1
                break
            if hashes[code] == h and ends[code + 1] - ends[code] == length:
                at = ends[code]
                same = True
                for k in range(length):
                    if stored[at + k] != data[start[row] + k]:
                        same = False
                        break
                if same:
                    codes[row] = code
                    break
            slot = (slot + 1) & mask
    return len(start), n


@numba.njit(cache=True, nogil=True)
def _rehash(slots, hashes, n):
    mask = len(slots) - 1
    for code in range(n):
        slot = np.int64(hashes[code] & np.uint64(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = code


class RatingRuns:
    """Records come in in any order, buckets of records go out in the order of note ids."""

    def __init__(self, scratch: Path, run_rows: int) -> None:
        self._scratch = scratch
        self._run_rows = run_rows
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._runs: list[np.ndarray] = []
        self.n = 0

    def add(self, records: np.ndarray) -> None:
        self._waiting.append(records)
        self._n_waiting += len(records)
        self.n += len(records)
        if self._n_waiting >= self._run_rows:
            self._end_run(to_disk=True)

    def _end_run(self, to_disk: bool) -> None:
        if not self._n_waiting:
            return
        run = np.concatenate(self._waiting)
        self._waiting, self._n_waiting = [], 0
        run = run[np.argsort(run["note_id"])]
        if to_disk:
            path = self._scratch / f"run-{len(self._runs):05d}.bin"
            run.tofile(path)
            run = np.memmap(path, dtype=RECORD, mode="r")
        self._runs.append(run)

    def buckets(self) -> Iterator[np.ndarray]:
        """Records in buckets of about `run_rows`, ascending in note id from bucket to bucket, unsorted within."""
        self._end_run(to_disk=bool(self._runs))
        keys = [run["note_id"] for run in self._runs]
        step = max(1, self._run_rows // 1024)
        samples = np.sort(np.concatenate([key[::step] for key in keys])) if keys else np.empty(0, dtype=np.int64)
        # Every `step`-th key of every run: about run_rows / step of them cover run_rows records.
        bounds = np.unique(samples[1024::1024])
        cuts = [[0, *np.searchsorted(key, bounds, side="right").tolist(), len(key)] for key in keys]
        for bucket in range(len(bounds) + 1):
            parts = [run[cut[bucket] : cut[bucket + 1]] for run, cut in zip(self._runs, cuts, strict=True)]
            if any(len(part) for part in parts):
                yield np.concatenate(parts)


def split_duplicates(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted records with one rating per note and rater, and the ones left out.

    Of several ratings of one note by one rater the latest stays; of equally late ones the one whose contents are
    greatest (so that the choice does not depend on the order of the files). Sorted by note id, time and rater.
    """
    frame = pl.DataFrame({name: records[name] for name in ("note_id", "created_at", "rater")})
    order = frame.select(pl.arg_sort_by("note_id", "created_at", "rater")).to_series().to_numpy()
    records = records[order]
    key = pl.DataFrame({"note_id": records["note_id"], "rater": records["rater"]})
    repeated = key.is_duplicated().to_numpy()
    if not repeated.any():
        return records, records[:0]
    rows = np.flatnonzero(repeated)
    these = records[rows]
    # lexsort: the last key is the first to sort by; file and line in descending order, so the first copy stays.
    best_last = np.lexsort(
        [
            -these["line"].astype(np.int64),
            -these["file"].astype(np.int64),
            *(these[name] for name in ("source", "version", "rated_on", "tags", "value", "created_at")),
            these["rater"],
            these["note_id"],
        ]
    )
    ordered = these[best_last]
    superseded = (ordered["note_id"][1:] == ordered["note_id"][:-1]) & (ordered["rater"][1:] == ordered["rater"][:-1])
    losers = rows[best_last[:-1][superseded]]
    keep = np.ones(len(records), dtype=bool)
    keep[losers] = False
    return records[keep], records[losers]


def rating_table(records: np.ndarray, rater_ids: pa.Array, sources: pa.Array) -> pa.Table:
    """Records as rows of the snapshot's `ratings`; `records['rater']` are rows of `rater_ids`."""
    numbers, local = np.unique(records["rater"], return_inverse=True)
    raters = pa.DictionaryArray.from_arrays(
        pa.array(local.astype(np.int32)), rater_ids.take(pa.array(numbers)).cast(pa.string())
    )
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
    columns += [pa.array((tags >> np.uint32(bit)) & np.uint32(1) != 0) for bit in range(len(snapshot.RATING_TAGS))]
    return pa.table(columns, schema=RATINGS_IN_MEMORY)
