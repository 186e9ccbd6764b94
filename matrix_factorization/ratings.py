"""The rating matrix as arrays: who rated which note how, ready for both directions of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

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
    `rater_index << 2 | code` of note i, ascending; `by_rater` likewise. So two tables with the same ratings are equal byte for byte
    whatever the order of the input. `note_weight` and `rater_weight` hold one float32 per rating, aligned with `by_note` and
    `by_rater`; both `None` when every rating weighs 1.
    """

    note_ids: np.ndarray
    rater_ids: pl.Series
    note_start: np.ndarray
    by_note: np.ndarray
    rater_start: np.ndarray
    by_rater: np.ndarray
    note_weight: np.ndarray | None = None
    rater_weight: np.ndarray | None = None

    @property
    def n_ratings(self) -> int:
        return len(self.by_note)

    @property
    def n_notes(self) -> int:
        return len(self.note_start) - 1

    @property
    def n_raters(self) -> int:
        return len(self.rater_start) - 1

    def note_degree(self) -> np.ndarray:
        """Number of ratings of each note, (n_notes,) int64."""
        return np.diff(self.note_start)

    def rater_degree(self) -> np.ndarray:
        """Number of ratings each rater made, (n_raters,) int64."""
        return np.diff(self.rater_start)

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
        kernels.transpose_weights(self.note_start, self.by_note, weight, self.rater_start.copy(), by_rater_weight)
        return RatingTable(
            self.note_ids,
            self.rater_ids,
            self.note_start,
            self.by_note,
            self.rater_start,
            self.by_rater,
            weight,
            by_rater_weight,
        )

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
    note_ids, note_index = dense_index(ratings["noteId"])
    rater_ids, rater_index = dense_index(ratings["raterParticipantId"])
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
    distinct = ids.unique().sort()
    lookup = pl.DataFrame({"id": distinct, "index": np.arange(len(distinct), dtype=np.uint32)})
    found = pl.DataFrame({"id": ids}).join(lookup, on="id", how="left", maintain_order="left")
    return distinct, found["index"].to_numpy()


def from_indices(
    note_index: np.ndarray, rater_index: np.ndarray, value: np.ndarray, note_ids: np.ndarray, rater_ids: pl.Series
) -> RatingTable:
    """The table of parallel arrays of dense indices and values in {0, 0.5, 1}; `note_ids`, `rater_ids` name the indices."""
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
    note_index = np.ascontiguousarray(note_index, dtype=np.uint32)
    rater_index = np.ascontiguousarray(rater_index, dtype=np.uint32)
    # Two counting sorts, first by rater, then by note, leave each note's row ascending in raters whatever the order of the input.
    rater_start = kernels.starts(rater_index, n_raters)
    first = np.empty(len(code), dtype=np.uint32)
    kernels.scatter(rater_index, note_index, code, rater_start.copy(), first)
    note_start = kernels.starts(note_index, n_notes)
    by_note = np.empty(len(code), dtype=np.uint32)
    kernels.transpose(rater_start, first, note_start.copy(), by_note)
    by_rater = first
    kernels.transpose(note_start, by_note, rater_start.copy(), by_rater)
    return _checked(RatingTable(np.asarray(note_ids), rater_ids, note_start, by_note, rater_start, by_rater))


def _from_sorted_by_note(
    note_ids: np.ndarray, rater_ids: pl.Series, note_index: np.ndarray, packed: np.ndarray, n_notes: int, n_raters: int
) -> RatingTable:
    note_start = kernels.starts(note_index, n_notes)
    rater_start = kernels.starts_of_packed(packed, n_raters)
    by_rater = np.empty(len(packed), dtype=np.uint32)
    kernels.transpose(note_start, packed, rater_start.copy(), by_rater)
    return RatingTable(note_ids, rater_ids, note_start, packed, rater_start, by_rater)


def _checked(table: RatingTable) -> RatingTable:
    repeated = kernels.first_repeated(table.note_start, table.by_note)
    if repeated >= 0:
        note = int(np.searchsorted(table.note_start, repeated, side="right") - 1)
        rater = table.rater_ids[int(table.by_note[repeated] >> 2)]
        raise InputError(
            f"note {table.note_ids[note]} was rated twice by rater {rater}; one rating per note and rater is expected. "
            "Keep the last one (`drop_repeated`) before building the table."
        )
    return table


def drop_repeated(ratings: pl.DataFrame) -> pl.DataFrame:
    """The ratings without all but the latest of several by one rater on one note (by `createdAtMillis`, then row order)."""
    keys = ["noteId", "raterParticipantId"]
    if ratings.select(keys).is_duplicated().any():
        order = ["createdAtMillis"] if "createdAtMillis" in ratings.columns else []
        ratings = (ratings.sort(order, maintain_order=True) if order else ratings).unique(
            keys, keep="last", maintain_order=True
        )
    return ratings
