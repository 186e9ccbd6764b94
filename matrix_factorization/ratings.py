"""The rating matrix as arrays: who rated which note how, ready for both directions of a sweep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from matrix_factorization import kernels
from matrix_factorization.errors import InputError

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
        kernels.transpose_weights(self.note_parts, self.by_note, weight, self.rater_parts.copy(), by_rater_weight)
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
        note_index = np.repeat(new_note, self.note_degree())[alive].astype(np.uint32)
        packed = (new_rater[rater_of[alive]] << np.uint32(2)) | (self.by_note[alive] & np.uint32(3))
        table = _from_sorted_by_note(
            self.note_ids[notes],
            self.rater_ids.filter(pl.Series(raters)),
            note_index,
            packed,
            int(notes.sum()),
            int(raters.sum()),
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
    with ThreadPoolExecutor(1) as second:  # the compiled loops run without the interpreter's lock
        raters = second.submit(dense_index, ratings["raterParticipantId"])
        note_ids, note_index = dense_index(ratings["noteId"])
        rater_ids, rater_index = raters.result()
    return from_indices(note_index, rater_index, ratings["helpfulness"].to_numpy(), note_ids.to_numpy(), rater_ids)


def dense_index(ids: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The distinct ids in ascending order, and for each row the position of its id among them (uint32).

    No Python object is made per row. Raises `InputError` if an id is missing.
    """
    if ids.null_count():
        raise InputError(
            f"{ids.null_count()} rows have no {ids.name}; every rating needs one. Drop them while ingesting."
        )
    if len(ids) and ids.dtype.is_integer() and ids.is_sorted():
        values = ids.to_numpy()
        fresh = np.concatenate(([True], values[1:] != values[:-1]))
        return ids.filter(pl.Series(fresh)), (np.cumsum(fresh) - 1).astype(np.uint32)
    if ids.dtype.is_integer():
        number = np.empty(len(ids), dtype=np.uint32)
        first_seen = kernels.number_by_first_sight(ids.cast(pl.Int64).to_numpy(), number)
        order = np.argsort(first_seen, kind="stable")
        place = np.empty(len(order), dtype=np.uint32)
        place[order] = np.arange(len(order), dtype=np.uint32)
        kernels.renumber(number, place)
        return pl.Series(ids.name, first_seen[order]).cast(ids.dtype), number
    distinct = ids.unique().sort()
    lookup = pl.DataFrame({"id": distinct, "index": np.arange(len(distinct), dtype=np.uint32)})
    found = pl.DataFrame({"id": ids}).join(lookup, on="id", how="left", maintain_order="left")
    return distinct, found["index"].to_numpy()


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
    code = np.empty(len(value), dtype=np.uint8)
    bad = kernels.encode_values(np.ascontiguousarray(value, dtype=np.float32), code)
    if bad >= 0:
        raise InputError(
            f"rating {bad} has helpfulness {value[bad]!r}; 0 (not helpful), 0.5 (somewhat) or 1 (helpful) is expected."
        )
    n_notes, n_raters = len(note_ids), len(rater_ids)
    ascending = kernels.ascends(note_index)
    note_index = np.ascontiguousarray(note_index, dtype=np.uint32)
    rater_index = np.ascontiguousarray(rater_index, dtype=np.uint32)
    with ThreadPoolExecutor(1) as second:  # the compiled loops run without the interpreter's lock
        other = second.submit(_one_direction, rater_index, note_index, code, n_raters, ascending)
        note_parts, by_note = _one_direction(note_index, rater_index, code, n_notes, False)
        rater_parts, by_rater = other.result()
    table = RatingTable(np.asarray(note_ids), rater_ids, note_parts, by_note, rater_parts, by_rater)
    if check_repeated:
        rater, note = kernels.first_repeated(rater_parts, by_rater, n_notes)
        if rater >= 0:
            raise InputError(
                f"note {table.note_ids[note]} was rated twice by rater {table.rater_ids[rater]}; one rating per note and rater is "
                "expected. Keep the last one (`drop_repeated`) before building the table."
            )
    return table


def _one_direction(
    row: np.ndarray, column: np.ndarray, code: np.ndarray, n_rows: int, columns_ascend: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(parts, packed ratings) of one direction: a counting sort by row and value, then a small sort within each part."""
    parts = kernels.part_starts(row, code, n_rows)
    packed = np.empty(len(code), dtype=np.uint32)
    kernels.scatter(row, column, code, parts[:-1].copy(), packed)
    if not columns_ascend:
        kernels.sort_parts(parts, packed)
    return parts, packed


def _from_sorted_by_note(
    note_ids: np.ndarray, rater_ids: pl.Series, note_index: np.ndarray, packed: np.ndarray, n_notes: int, n_raters: int
) -> RatingTable:
    note_parts = kernels.part_starts(note_index, (packed & np.uint32(3)).astype(np.uint8), n_notes)
    rater_parts = kernels.part_starts_of_packed(packed, n_raters)
    by_rater = np.empty(len(packed), dtype=np.uint32)
    kernels.transpose(note_parts, packed, rater_parts.copy(), by_rater)
    return RatingTable(note_ids, rater_ids, note_parts, packed, rater_parts, by_rater)


def drop_repeated(ratings: pl.DataFrame) -> pl.DataFrame:
    """The ratings without all but the latest of several by one rater on one note (by `createdAtMillis`, then row order)."""
    keys = ["noteId", "raterParticipantId"]
    if ratings.select(keys).is_duplicated().any():
        order = ["createdAtMillis"] if "createdAtMillis" in ratings.columns else []
        ratings = (ratings.sort(order, maintain_order=True) if order else ratings).unique(
            keys, keep="last", maintain_order=True
        )
    return ratings
