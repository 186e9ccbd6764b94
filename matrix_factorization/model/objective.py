"""What is minimised: X's bridging objective, and the plain evaluation of it that defines everything else in this room."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from matrix_factorization.model.penalties import Regularisation, Ridges
from matrix_factorization.model.ratings import RatingTable

__all__ = ["NoteParameters", "Parameters", "RaterParameters", "Regularisation", "Ridges", "objective", "predictions"]


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
