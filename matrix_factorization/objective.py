"""What is minimised: X's bridging objective, and the plain evaluation of it that defines everything else in this room."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from matrix_factorization.ratings import RatingTable


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


@dataclass(frozen=True)
class RaterParameters:
    """Intercept and factor of every rater of a table, (n_raters,) each. Rating units; positive intercept: rates generously."""

    intercept: np.ndarray
    factor: np.ndarray


@dataclass(frozen=True)
class NoteParameters:
    """Intercept and factor of every note of a table, (n_notes,) each. Positive intercept: helpful to raters of both signs."""

    intercept: np.ndarray
    factor: np.ndarray


@dataclass(frozen=True)
class Parameters:
    raters: RaterParameters
    notes: NoteParameters
    global_intercept: float

    def flipped(self) -> Parameters:
        """The same predictions with the sign of every factor turned."""
        return Parameters(
            RaterParameters(self.raters.intercept, -self.raters.factor),
            NoteParameters(self.notes.intercept, -self.notes.factor),
            self.global_intercept,
        )


def predictions(table: RatingTable, parameters: Parameters) -> np.ndarray:
    """Predicted value of every rating in `by_note` order: mu + i_u + i_n + f_u f_n."""
    note, rater, _ = table.triples()
    raters, notes = parameters.raters, parameters.notes
    return (
        parameters.global_intercept
        + raters.intercept[rater]
        + notes.intercept[note]
        + raters.factor[rater] * notes.factor[note]
    )


def objective(table: RatingTable, parameters: Parameters, regularisation: Regularisation) -> float:
    """The value X minimises: weighted mean squared error plus the penalties (README, eq. 1). Slow and plain on purpose.

    Zero for a table without ratings.
    """
    if table.n_ratings == 0:
        return 0.0
    value = table.triples()[2]
    error = np.sum(table.weights() * (value - predictions(table, parameters)) ** 2)
    ridge = regularisation.ridges(table.n_ratings, table.n_raters, table.n_notes)
    penalty = (
        ridge.rater_intercept * np.sum(np.square(parameters.raters.intercept, dtype=np.float64))
        + ridge.rater_factor * np.sum(np.square(parameters.raters.factor, dtype=np.float64))
        + ridge.note_intercept * np.sum(np.square(parameters.notes.intercept, dtype=np.float64))
        + ridge.note_factor * np.sum(np.square(parameters.notes.factor, dtype=np.float64))
        + ridge.global_intercept * parameters.global_intercept**2
    )
    return float((error + penalty) / table.n_ratings)
