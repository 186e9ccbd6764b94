"""The penalties of the bridging objective. Imports nothing heavy: settings are read by every command and every task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Regularisation:
    """Penalty weights of the objective (communitynotes `matrix_factorization.py`, constructor defaults and `_get_reg_loss`).

    The factor and intercept penalties are *means* over raters and notes. With `ratings_per_note` (or `ratings_per_rater`) set, the mean
    over notes is replaced by a sum over M / ratings_per_note, so that a note's penalty does not depend on which part of the
    data is fitted: X does so when it scores notes with frozen raters.
    """

    rater_intercept: float = 0.15
    rater_factor: float = 0.03
    note_intercept: float = 0.15
    note_factor: float = 0.03
    global_intercept: float = 0.15
    ratings_per_note: float | None = None
    ratings_per_rater: float | None = None

    def ridges(self, n_ratings: float, n_raters: int, n_notes: int) -> Ridges:
        """The same penalties against *sums* of squared errors: what stands on the diagonal of one row's system."""
        per_note = self.ratings_per_note if self.ratings_per_note is not None else n_ratings / max(n_notes, 1)
        per_rater = self.ratings_per_rater if self.ratings_per_rater is not None else n_ratings / max(n_raters, 1)
        return Ridges(
            self.rater_intercept * per_rater,
            self.rater_factor * per_rater,
            self.note_intercept * per_note,
            self.note_factor * per_note,
            self.global_intercept * n_ratings,
        )

    def with_ratio(self, ratings_per_note: float) -> Regularisation:
        return replace(self, ratings_per_note=ratings_per_note)


class Ridges(NamedTuple):
    rater_intercept: float
    rater_factor: float
    note_intercept: float
    note_factor: float
    global_intercept: float
