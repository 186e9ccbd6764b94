"""Helpful to people all along the factor line: X's Gaussian score, a geometric mean of kernel-smoothed helpful rates."""

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
UNEXPECTED_FROM = 0.14  # a not-helpful rating this far from the mean of the note's others is unexpected


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


def gaussian_scores(
    table: RatingTable,
    rater_factor: np.ndarray,
    points: np.ndarray | None = None,
    author: np.ndarray | None = None,
) -> GaussianScores:
    """Score of every note of a table.

    At each point of the factor line the helpful rate is a weighted mean of the ratings: Gaussian kernel of bandwidth 0.1 (normalised over the
    points for each rater), somewhat = 0.7, not-helpful ratings 1.75-fold (and up to twice that where they come from unexpected places), pulled to
    a prior of weight 0.4 log_9 max(n, 9); clipped to 0.05 .. 0.8. The score is the geometric mean over the points, so one cold stretch of the
    line pulls it down. `author`: (n_notes,) rater index or -1; who did not rate his own note counts as one helpful rating. Raters with NaN factor
    do not count. `sd`: first-order, from each rating's influence.

    The prior is 0.35 lowered on the side that disliked the note (at least 0.2); with fewer than three raters on a side, 0.1. X's empirical prior
    from look-alike notes is that of its Not Helpful score alone.
    Left out: X's Not Helpful score. Source: communitynotes `gaussian_scorer.py`.
    """
    points = factor_points(rater_factor) if points is None else points
    factor, points = np.asarray(rater_factor, np.float64), np.asarray(points, np.float64)
    own = np.full(table.n_notes, -1, np.int64) if author is None else np.asarray(author, np.int64)
    out = np.zeros((table.n_notes, 3))
    _score(table.note_start, table.by_note, factor, points, own, out)
    return GaussianScores(out[:, 0], out[:, 1], out[:, 2])


@njit(nogil=True, cache=True)
def _score(start, stream, rater_factor, points, author, out):  # pragma: no cover - compiled
    n_points = len(points)
    weight = np.zeros(n_points)
    total = np.zeros(n_points)
    kernel = np.zeros(n_points)
    value_at = np.zeros(n_points)
    prior = np.zeros(n_points)
    for row in range(len(start) - 1):
        weight[:] = 0.0
        total[:] = 0.0
        used = 0
        negative = 0
        positive = 0
        lean = 0.0
        # The author's own rating is one more at the end, unless it is there already.
        end = start[row + 1]
        own = author[row]
        if own >= 0 and not np.isnan(rater_factor[own]):
            end += 1
            for k in range(start[row], start[row + 1]):
                if stream[k] >> np.uint32(2) == own:
                    end = start[row + 1]
        against = 0.0
        n_against = 0
        for k in range(start[row], start[row + 1]):
            f = rater_factor[stream[k] >> np.uint32(2)]
            if stream[k] & np.uint32(3) == 0 and not np.isnan(f):
                against += f
                n_against += 1
        unexpected = 0.0
        for k in range(start[row], end):
            f, code = _rating(k, start[row + 1], stream, rater_factor, own)
            if np.isnan(f):
                continue
            used += 1
            if code == 0:
                unexpected += 1.0 / (1.0 + np.exp(-200.0 * (abs(f - against / n_against) - UNEXPECTED_FROM)))
        against_weight = NOT_HELPFUL_WEIGHT * min(1.0 + 3.0 * unexpected / max(used, 1), 2.0)
        for k in range(start[row], end):
            f, code = _rating(k, start[row + 1], stream, rater_factor, own)
            if np.isnan(f):
                continue
            negative += f < 0.0
            positive += f > 0.0
            lean += (np.float64(code) - 1.0) * f
            _kernel(f, points, kernel)
            w = against_weight if code == 0 else 1.0
            v = 0.0 if code == 0 else (SOMEWHAT if code == 1 else 1.0)
            for q in range(n_points):
                weight[q] += w * kernel[q]
                total[q] += w * v * kernel[q]
        lean = lean / used if used else 0.0
        prior_weight = PRIOR_WEIGHT * np.log(max(used, ADAPTIVE_BASE)) / np.log(ADAPTIVE_BASE)
        if negative < 3 or positive < 3:
            prior[:] = THIN_PRIOR
        else:
            for q in range(n_points):
                prior[q] = max(min(lean * points[q] / 2.0 + PRIOR_VALUE, PRIOR_VALUE), LEAST_PRIOR)
        mean_log = 0.0
        for q in range(n_points):
            weight[q] += prior_weight
            value_at[q] = (total[q] + prior[q] * prior_weight) / weight[q]
            clipped = min(max(value_at[q], CLIP_LOWER), CLIP_UPPER)
            mean_log += np.log(clipped)
        score = np.exp(mean_log / n_points)
        variance = 0.0
        for k in range(start[row], start[row + 1]):
            f, code = _rating(k, start[row + 1], stream, rater_factor, own)
            if np.isnan(f):
                continue
            _kernel(f, points, kernel)
            w = against_weight if code == 0 else 1.0
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
def _rating(k, end, stream, rater_factor, author):  # pragma: no cover - compiled
    """(rater factor, code) of a rating; what lies behind the note's last one is the author's, helpful."""
    if k >= end:
        return rater_factor[author], 2
    return rater_factor[stream[k] >> np.uint32(2)], np.int64(stream[k] & np.uint32(3))


@njit(nogil=True, cache=True, inline="always")
def _kernel(f, points, kernel):  # pragma: no cover - compiled
    total = 0.0
    for q in range(len(points)):
        kernel[q] = np.exp(-0.5 * ((f - points[q]) / BANDWIDTH) ** 2)
        total += kernel[q]
    for q in range(len(points)):
        kernel[q] = kernel[q] / total if total > 0.0 else 0.0
