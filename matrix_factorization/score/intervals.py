"""How far a note's intercept could move: standard deviations from the curvature, and X's pseudo-rating bounds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from matrix_factorization.foldin import fold_in_notes
from matrix_factorization.model.objective import RaterParameters, Regularisation


@dataclass(frozen=True)
class PseudoBounds:
    """Smallest and largest intercept of each note when one more extreme rating were added, (n_notes,) each."""

    lower: np.ndarray
    upper: np.ndarray


def normal_interval(centre: np.ndarray, sd: np.ndarray, content: float) -> tuple[np.ndarray, np.ndarray]:
    """Central interval of `content` (0.90: 5 % on each side) of a normal distribution, per entry."""
    z = NormalDist().inv_cdf(0.5 + content / 2)
    return centre - z * sd, centre + z * sd


def pseudo_rating_bounds(
    start: np.ndarray,
    rater_index: np.ndarray,
    value: np.ndarray,
    raters: RaterParameters,
    global_intercept: float,
    *,
    ratings_per_note: float,
    extremes: RaterParameters | None = None,
    regularisation: Regularisation | None = None,
    weight: np.ndarray | None = None,
) -> PseudoBounds:
    """X's bounds: every note solved again with one more rating by each of six invented raters, closed form.

    Upwards: a helpful rating by a rater with the smallest intercept of all and the smallest, zero, or largest factor. Downwards: a not-helpful one
    by a rater with the largest intercept. The penalty is that of X's run, whose copied settings lose the ratings-per-note ratio: with
    one more rating on each note the mean-based penalty equals q + 1 ratings per note. `extremes`: the raters whose ranges count
    (default: `raters`). Source: communitynotes `pseudo_raters.py` (which computes the upward three only).
    """
    known = extremes or raters
    intercepts, factors = known.intercept[~np.isnan(known.intercept)], known.factor[~np.isnan(known.factor)]
    if len(intercepts) == 0:
        nothing = np.zeros(max(len(start) - 1, 0))
        return PseudoBounds(nothing, nothing.copy())

    def solved(extra_intercept: float, extra_factor: float, extra_value: float) -> np.ndarray:
        return fold_in_notes(
            start, rater_index, value, raters, global_intercept, weight=weight, ratings_per_note=ratings_per_note + 1.0,
            regularisation=regularisation, residual_variance=1.0, one_more=(extra_intercept, extra_factor, extra_value),
        ).intercept  # fmt: skip

    plain = fold_in_notes(
        start, rater_index, value, raters, global_intercept, weight=weight,
        ratings_per_note=ratings_per_note, regularisation=regularisation, residual_variance=1.0,
    ).intercept  # fmt: skip
    extreme_factors = (float(factors.min()), 0.0, float(factors.max()))
    upward = [solved(float(intercepts.min()), f, 1.0) for f in extreme_factors]
    downward = [solved(float(intercepts.max()), f, 0.0) for f in extreme_factors]
    return PseudoBounds(np.minimum.reduce([plain, *downward]), np.maximum.reduce([plain, *upward]))
