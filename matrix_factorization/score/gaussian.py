"""Helpful to people all along the factor line: X's 2025 pilot score, a geometric mean of kernel-smoothed helpful rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from matrix_factorization.model.ratings import RatingTable

# communitynotes constants.py, GaussianParams (the Helpful side), and gaussian_scorer.py.
POINTS_A_SIDE = 25
BANDWIDTH = 0.1
SOMEWHAT = 0.7
NOT_HELPFUL_WEIGHT = 1.75
PRIOR_VALUE, LEAST_PRIOR, THIN_PRIOR = 0.35, 0.2, 0.1
PRIOR_WEIGHT, ADAPTIVE_BASE = 0.4, 9.0
CLIP_LOWER, CLIP_UPPER = 0.05, 0.8
HELPFUL_SCORE = 0.51


@dataclass(frozen=True)
class GaussianScores:
    """One entry per note. `score`: 0.05 to 0.8; 0.51 and more is Helpful to X. `sd`: of the score. `lean`: X's factor of this score, the mean of
    rater factor times (2 r - 1): the side that liked the note."""

    score: np.ndarray
    sd: np.ndarray
    lean: np.ndarray


def factor_points(rater_factor: np.ndarray) -> np.ndarray:
    """(50,) points along the factor line: 25 quantiles (0.1 % to 99.9 %) of the raters on each side of zero."""
    known = rater_factor[~np.isnan(rater_factor)]
    quantiles = np.linspace(0.001, 0.999, POINTS_A_SIDE)
    sides = [known[known < 0], known[known > 0]]
    empty = (np.linspace(-1, -0.02, POINTS_A_SIDE), np.linspace(0.02, 1, POINTS_A_SIDE))
    return np.concatenate([np.quantile(s, quantiles) if len(s) else e for s, e in zip(sides, empty, strict=True)])


def gaussian_scores(table: RatingTable, rater_factor: np.ndarray, points: np.ndarray | None = None) -> GaussianScores:
    """Score of every note of a table.

    At each point of the factor line the helpful rate is a weighted mean of the ratings: Gaussian kernel of bandwidth 0.1 (normalised over the
    points for each rater), somewhat = 0.7, not-helpful ratings 1.75-fold, pulled to a prior of weight 0.4 log_9 max(n, 9); clipped
    to 0.05 .. 0.8. The score is the geometric mean over the points, so one cold stretch of the line pulls it down. Raters with NaN factor do not
    count. A note without ratings gets the clipped prior. `sd`: first-order, from each rating's influence. Left out of X's scorer: its look-up of
    similar notes as priors, its extra weight of surprising not-helpful ratings, and the author's own rating.
    Source: communitynotes `gaussian_scorer.py`, `_return_all_pts`.
    """
    points = factor_points(rater_factor) if points is None else points
    out = np.zeros((table.n_notes, 3))
    _score(table.note_start, table.by_note, np.asarray(rater_factor, np.float64), np.asarray(points, np.float64), out)
    return GaussianScores(out[:, 0], out[:, 1], out[:, 2])


@njit(nogil=True, cache=True)
def _score(start, stream, rater_factor, points, out):  # pragma: no cover - compiled
    n_points = len(points)
    weight = np.zeros(n_points)
    total = np.zeros(n_points)
    kernel = np.zeros(n_points)
    value_at = np.zeros(n_points)
    for row in range(len(start) - 1):
        weight[:] = 0.0
        total[:] = 0.0
        used = 0
        negative = 0
        positive = 0
        lean = 0.0
        for k in range(start[row], start[row + 1]):
            f = rater_factor[stream[k] >> np.uint32(2)]
            code = stream[k] & np.uint32(3)
            if np.isnan(f):
                continue
            used += 1
            negative += f < 0.0
            positive += f > 0.0
            lean += (np.float64(code) - 1.0) * f
            _kernel(f, points, kernel)
            w = NOT_HELPFUL_WEIGHT if code == 0 else 1.0
            v = 0.0 if code == 0 else (SOMEWHAT if code == 1 else 1.0)
            for q in range(n_points):
                weight[q] += w * kernel[q]
                total[q] += w * v * kernel[q]
        lean = lean / used if used else 0.0
        prior_weight = PRIOR_WEIGHT * np.log(max(used, ADAPTIVE_BASE)) / np.log(ADAPTIVE_BASE)
        thin = negative < 3 or positive < 3
        mean_log = 0.0
        for q in range(n_points):
            prior = THIN_PRIOR
            if not thin:
                prior = max(min(lean * points[q] / 2.0 + PRIOR_VALUE, PRIOR_VALUE), LEAST_PRIOR)
            weight[q] += prior_weight
            value_at[q] = (total[q] + prior * prior_weight) / weight[q]
            mean_log += np.log(min(max(value_at[q], CLIP_LOWER), CLIP_UPPER))
        score = np.exp(mean_log / n_points)
        variance = 0.0
        for k in range(start[row], start[row + 1]):
            f = rater_factor[stream[k] >> np.uint32(2)]
            code = stream[k] & np.uint32(3)
            if np.isnan(f):
                continue
            _kernel(f, points, kernel)
            w = NOT_HELPFUL_WEIGHT if code == 0 else 1.0
            v = 0.0 if code == 0 else (SOMEWHAT if code == 1 else 1.0)
            influence = 0.0
            for q in range(n_points):
                if CLIP_LOWER < value_at[q] < CLIP_UPPER:
                    influence += w * kernel[q] * (v - value_at[q]) / (weight[q] * value_at[q])
            variance += (influence / n_points) ** 2
        out[row, 0] = score
        out[row, 1] = score * np.sqrt(variance)
        out[row, 2] = lean


@njit(nogil=True, cache=True, inline="always")
def _kernel(f, points, kernel):  # pragma: no cover - compiled
    total = 0.0
    for q in range(len(points)):
        kernel[q] = np.exp(-0.5 * ((f - points[q]) / BANDWIDTH) ** 2)
        total += kernel[q]
    for q in range(len(points)):
        kernel[q] = kernel[q] / total if total > 0.0 else 0.0
