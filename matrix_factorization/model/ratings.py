"""The rating matrix as arrays: who rated which note how, ready for both directions of a sweep."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from matrix_factorization.kernels import building
from matrix_factorization.kernels.threads import MOST_CHUNKS, RATINGS_PER_CHUNK, Workers, chunk_bounds
from nouns.errors import InputError

# A packed rating is `index << 2 | code`: 30 bits of row or column index, 2 bits of value. 0 = not helpful, 1 = somewhat,
# 2 = helpful. X has 2e6 raters and 6e6 notes; 2^30 leaves room.
LARGEST_INDEX = (1 << 30) - 1
VALUE_OF_CODE = np.array([0.0, 0.5, 1.0], dtype=np.float32)


@dataclass(frozen=True)
class RatingTable:
    """All ratings of a set of notes by a set of raters, stored twice: by note (CSR) and by rater (CSC).

    `note_ids` (n_notes,) int64 and `rater_ids` (a polars Series of strings or integers) are the public ids of the rows; both
    ascend, and this object alone knows id <-> index. `by_note[note_start[i]:note_start[i + 1]]` are the packed ratings
    `rater_index << 2 | code` of note i, sorted by value, then rater; `note_parts[3 i + code]` is where those of one value begin (3 n + 1
    entries). `by_rater`, `rater_parts` likewise. So two tables with the same ratings are equal byte for byte whatever the order of the
    input, and a sum over ratings of one value needs no value (`simd.py`). `note_weight` and `rater_weight` hold one float32 per rating,
    aligned with `by_note` and `by_rater`; both `None` when every rating weighs 1.
    """

    note_ids: np.ndarray
    rater_ids: pl.Series
    note_parts: np.ndarray
    by_note: np.ndarray
    rater_parts: np.ndarray
    by_rater: np.ndarray
    note_weight: np.ndarray | None = None
    rater_weight: np.ndarray | None = None

    @cached_property
    def note_start(self) -> np.ndarray:
        """(n_notes + 1,) first rating of each note in `by_note`."""
        return np.ascontiguousarray(self.note_parts[::3])

    @cached_property
    def rater_start(self) -> np.ndarray:
        """(n_raters + 1,) first rating of each rater in `by_rater`."""
        return np.ascontiguousarray(self.rater_parts[::3])

    @property
    def n_ratings(self) -> int:
        return len(self.by_note)

    @property
    def n_notes(self) -> int:
        return (len(self.note_parts) - 1) // 3

    @property
    def n_raters(self) -> int:
        return (len(self.rater_parts) - 1) // 3

    def note_degree(self) -> np.ndarray:
        """Number of ratings of each note, (n_notes,) int64."""
        return np.diff(self.note_start)

    def rater_degree(self) -> np.ndarray:
        """Number of ratings each rater made, (n_raters,) int64."""
        return np.diff(self.rater_start)

    def mean_value(self) -> float:
        """Mean of all ratings; 0 for none."""
        if self.n_ratings == 0:
            return 0.0
        counts = np.diff(self.note_parts)
        return float((0.5 * counts[1::3].sum() + counts[2::3].sum()) / self.n_ratings)

    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(note_index, rater_index, value) of every rating in `by_note` order; for slow twins, plots and tests."""
        note_index = np.repeat(np.arange(self.n_notes), self.note_degree())
        return note_index, (self.by_note >> 2).astype(np.int64), VALUE_OF_CODE[self.by_note & 3].astype(np.float64)

    def weights(self) -> np.ndarray:
        """Weight of every rating in `by_note` order, ones when the table is unweighted."""
        return np.ones(self.n_ratings) if self.note_weight is None else self.note_weight.astype(np.float64)

    def with_weights(self, weight: np.ndarray) -> RatingTable:
        """The same ratings with `weight` (n_ratings,), one non-negative number per rating in `by_note` order."""
        weight = np.ascontiguousarray(weight, dtype=np.float32)
        if weight.shape != (self.n_ratings,) or not np.all(np.isfinite(weight)) or np.any(weight < 0):
            raise InputError(
                f"weights of shape {weight.shape} do not fit {self.n_ratings} ratings: one finite number >= 0 for each is expected."
            )
        by_rater_weight = np.empty_like(weight)
        building.transpose_weights(self.note_parts, self.by_note, weight, self.rater_parts.copy(), by_rater_weight)
        return replace(self, note_weight=weight, rater_weight=by_rater_weight)

    def with_rater_weights(self, weight: np.ndarray) -> RatingTable:
        """The same ratings, each weighing what `weight` (n_raters,) says of its rater."""
        return self.with_weights(np.asarray(weight, dtype=np.float32)[self.by_note >> 2])

    def keep(self, notes: np.ndarray, raters: np.ndarray, ratings: np.ndarray | None = None) -> RatingTable:
        """The ratings of the notes and raters marked True (and, of those, the ones marked True in `ratings`, `by_note` order).

        Marked notes and raters stay in the table even if none of their ratings does. Indices are dense again.
        """
        new_note = np.cumsum(notes) - 1
        new_rater = (np.cumsum(raters) - 1).astype(np.uint32)
        rater_of = self.by_note >> 2
        alive = np.repeat(notes, self.note_degree()) & raters[rater_of]
        if ratings is not None:
            alive &= ratings
        note = np.repeat(new_note, self.note_degree())[alive].astype(np.uint32)
        columns = [new_rater[rater_of[alive]], (note << np.uint32(2)) | (self.by_note[alive] & np.uint32(3))]
        with Workers() as workers:
            table = table_of_columns(
                columns, True, self.note_ids[notes], self.rater_ids.filter(pl.Series(raters)), False, workers
            )
        return table if self.note_weight is None else table.with_weights(self.note_weight[alive])


def rating_table(ratings: pl.DataFrame) -> RatingTable:
    """The table of a frame with columns `noteId`, `raterParticipantId` and `helpfulness` (0, 0.5 or 1).

    Ids may be integers or strings; rows may come in any order. Raises `InputError` for another value of helpfulness, a missing
    value, or two ratings of one note by one rater (decide before which one counts, see `drop_repeated`).
    """
    missing = [name for name in ("noteId", "raterParticipantId", "helpfulness") if name not in ratings.columns]
    if missing:
        raise InputError(
            f"the ratings have no column {missing[0]!r}; found {ratings.columns}. Pass an ingested ratings table."
        )
    value = ratings["helpfulness"].to_numpy()
    with Workers() as workers, Workers(1) as alone, ThreadPoolExecutor(1) as beside:
        notes = beside.submit(dense_index, ratings["noteId"], alone)
        rater_ids, rater_index = dense_index(ratings["raterParticipantId"], workers)
        note_ids, note_index = notes.result()
        ascending = building.ascends(note_index)
        columns = [rater_index, pack_values(note_index, value, note_index, workers)]
        del rater_index, note_index, notes  # `table_of_columns` frees them on the way
        return table_of_columns(columns, ascending, note_ids.to_numpy(), rater_ids, True, workers)


def dense_index(ids: pl.Series, workers: Workers) -> tuple[pl.Series, np.ndarray]:
    """The distinct ids in ascending order, and for each row the position of its id among them (uint32).

    No Python object is made per row. Raises `InputError` if an id is missing.
    """
    if ids.null_count():
        raise InputError(
            f"{ids.null_count()} rows have no {ids.name}; every rating needs one. Drop them while ingesting."
        )
    if not ids.dtype.is_integer():
        distinct = ids.unique().sort()
        lookup = pl.DataFrame({"id": distinct, "index": np.arange(len(distinct), dtype=np.uint32)})
        found = pl.DataFrame({"id": ids}).join(lookup, on="id", how="left", maintain_order="left")
        return distinct, found["index"].to_numpy()
    values = ids.cast(pl.Int64).to_numpy()
    number = np.empty(len(values), dtype=np.uint32)
    runs = building.number_runs(values, number)
    if len(runs) or len(values) == 0:
        return pl.Series(ids.name, runs).cast(ids.dtype), number
    # Each thread numbers its share of the rows in its own order; only the short lists of distinct ids are then merged.
    bounds = np.linspace(0, len(values), workers.threads + 1).astype(np.int64)
    shares: list[np.ndarray] = [np.empty(0, np.int64)] * workers.threads
    orders: list[np.ndarray] = shares.copy()

    def number_share(lo: int, hi: int) -> None:
        for share in range(lo, hi):
            rows = slice(bounds[share], bounds[share + 1])
            seen = building.number_by_first_sight(values[rows], number[rows])
            orders[share] = np.argsort(seen)
            shares[share] = seen[orders[share]]

    workers.run(workers.threads, number_share)
    every = np.sort(np.concatenate(shares))
    distinct_ids = every[np.append(True, every[1:] != every[:-1])]

    def renumber_share(lo: int, hi: int) -> None:
        for share in range(lo, hi):
            place = np.empty(len(shares[share]), np.uint32)
            place[orders[share]] = np.searchsorted(distinct_ids, shares[share])
            building.renumber(number[bounds[share] : bounds[share + 1]], place)

    workers.run(workers.threads, renumber_share)
    return pl.Series(ids.name, distinct_ids).cast(ids.dtype), number


def from_indices(
    note_index: np.ndarray,
    rater_index: np.ndarray,
    value: np.ndarray,
    note_ids: np.ndarray,
    rater_ids: pl.Series,
    check_repeated: bool = True,
) -> RatingTable:
    """The table of parallel arrays of dense indices and values in {0, 0.5, 1}; `note_ids`, `rater_ids` name the indices.

    `check_repeated=False` skips the search for a pair that was rated twice, where the source is known to have none (a snapshot).
    """
    if len(note_ids) > LARGEST_INDEX or len(rater_ids) > LARGEST_INDEX:
        raise InputError(
            f"{len(note_ids)} notes and {len(rater_ids)} raters: at most {LARGEST_INDEX} of each fit. Split the data."
        )
    note_index = np.ascontiguousarray(note_index, dtype=np.uint32)
    ascending = building.ascends(note_index)
    with Workers() as workers:
        packed = pack_values(note_index, value, np.empty(len(value), dtype=np.uint32), workers)
        columns = [np.ascontiguousarray(rater_index, dtype=np.uint32), packed]
        del note_index, packed
        return table_of_columns(columns, ascending, np.asarray(note_ids), rater_ids, check_repeated, workers)


def pack_values(note_index: np.ndarray, value: np.ndarray, into: np.ndarray, workers: Workers) -> np.ndarray:
    """`into` (may be `note_index` itself), filled with `note_index << 2 | code`; raises `InputError` for a value other than 0, 0.5 and 1."""
    value = np.ascontiguousarray(value)
    bounds = np.linspace(0, len(value), workers.threads + 1).astype(np.int64)
    wrong = [-1] * workers.threads

    def pack(lo: int, hi: int) -> None:
        for share in range(lo, hi):
            rows = slice(bounds[share], bounds[share + 1])
            found = building.pack(note_index[rows], value[rows], into[rows])
            wrong[share] = found + int(bounds[share]) if found >= 0 else -1

    workers.run(workers.threads, pack)
    if max(wrong) >= 0:
        first = min(k for k in wrong if k >= 0)
        raise InputError(
            f"rating {first} has helpfulness {value[first]!r}; 0 (not helpful), 0.5 (somewhat) or 1 (helpful) is expected."
        )
    return into


def table_of_columns(
    columns: list[np.ndarray],
    notes_ascend: bool,
    note_ids: np.ndarray,
    rater_ids: pl.Series,
    check_repeated: bool,
    workers: Workers,
) -> RatingTable:
    """`columns`: [rater index, packed rating of the note]; emptied here, so that their memory is free for the second direction."""
    n_notes, n_raters = len(note_ids), len(rater_ids)
    rater_parts, by_rater = _rows_of_pairs(columns[0], columns[1], n_raters, workers)
    columns.clear()
    note_parts, by_note = rows_of_rows(rater_parts, by_rater, n_notes, workers)
    if not notes_ascend:
        # Sorted by rater, then by note, and once more by rater: now both directions ascend in both indices.
        del rater_parts, by_rater
        rater_parts, by_rater = rows_of_rows(note_parts, by_note, n_raters, workers)
    table = RatingTable(note_ids, rater_ids, note_parts, by_note, rater_parts, by_rater)
    if check_repeated:
        bounds = chunk_bounds(table.note_start)
        found = np.full((len(bounds) - 1, 2), -1, np.int64)
        workers.run(
            len(found),
            lambda lo, hi: building.first_repeated(table.note_start, by_note, bounds, lo, hi, n_raters, found),
        )
        if (found >= 0).any():
            note, rater = found[found[:, 0] >= 0][0]
            raise InputError(
                f"note {note_ids[note]} was rated twice by rater {rater_ids[int(rater)]}; one rating per note and rater is "
                "expected. Keep the last one (`drop_repeated`) before building the table."
            )
    return table


# The first level of a sort makes buckets of about so many ratings (0.4 MB: they stay in a core's cache), at most so many of them.
RATINGS_PER_BUCKET = 1 << 15
MOST_BUCKETS = 1 << 10


def _rows_of_pairs(row: np.ndarray, packed: np.ndarray, n_rows: int, workers: Workers) -> tuple[np.ndarray, np.ndarray]:
    """(parts, packed ratings) by `row` and value of parallel arrays, in the order given within a part."""
    n_chunks = max(1, min(MOST_CHUNKS, len(row) // RATINGS_PER_CHUNK))
    bounds = np.linspace(0, len(row), n_chunks + 1).astype(np.int64)
    return _sorted_rows(n_rows, len(row), bounds, (row,), building.count_pairs, (row, packed), building.spill_pairs, workers)  # fmt: skip


def rows_of_rows(parts: np.ndarray, stream: np.ndarray, n_rows: int, workers: Workers) -> tuple[np.ndarray, np.ndarray]:
    """The other direction: (parts, packed ratings) by the packed index of `stream`; rows of the old direction ascend in each part."""
    start = np.ascontiguousarray(parts[::3])
    arguments = (start, stream)
    return _sorted_rows(n_rows, len(stream), chunk_bounds(start), arguments, building.count_rows, arguments, building.spill_rows, workers)  # fmt: skip


def _sorted_rows(
    n_rows: int,
    n_ratings: int,
    bounds: np.ndarray,
    counted: tuple[np.ndarray, ...],
    count: Callable[..., None],
    spilled_from: tuple[np.ndarray, ...],
    spill: Callable[..., None],
    workers: Workers,
) -> tuple[np.ndarray, np.ndarray]:
    """A stable counting sort in two levels, see `building.py`."""
    n_chunks = len(bounds) - 1
    most = max(1, min(MOST_BUCKETS, n_ratings // RATINGS_PER_BUCKET))
    shift = 0
    while (max(n_rows, 1) - 1) >> shift >= most:
        shift += 1
    counts = np.zeros((n_chunks, ((max(n_rows, 1) - 1) >> shift) + 1), np.int64)
    shift_by = np.uint32(shift)
    workers.run(n_chunks, lambda lo, hi: count(*counted, bounds, lo, hi, shift_by, counts))
    bucket_start = np.concatenate(([0], np.cumsum(counts.sum(axis=0))))
    cursor = bucket_start[:-1] + np.cumsum(counts, axis=0) - counts
    spilled = np.empty(n_ratings, np.uint64)
    workers.run(n_chunks, lambda lo, hi: spill(*spilled_from, bounds, lo, hi, shift_by, cursor, spilled))
    parts, out = np.zeros(3 * n_rows + 1, np.int64), np.empty(n_ratings, np.uint32)
    shares = chunk_bounds(bucket_start)
    workers.run(
        len(shares) - 1,
        lambda lo, hi: building.settle(spilled, bucket_start, shift, shares[lo], shares[hi], parts, out),
    )
    return parts, out


def drop_repeated(ratings: pl.DataFrame) -> pl.DataFrame:
    """The ratings without all but the latest of several by one rater on one note (by `createdAtMillis`, then row order)."""
    keys = ["noteId", "raterParticipantId"]
    if ratings.select(keys).is_duplicated().any():
        order = ["createdAtMillis"] if "createdAtMillis" in ratings.columns else []
        ratings = (ratings.sort(order, maintain_order=True) if order else ratings).unique(
            keys, keep="last", maintain_order=True
        )
    return ratings
