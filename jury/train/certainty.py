"""How far labels and predictions are to be trusted: errors of fitted parameters, widths of intervals, how often an order is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.train.table import TrainingData

Array = NDArray[Any]
Ints = NDArray[np.int64]


def rating_variances(data: TrainingData) -> tuple[float, float]:
    """Variance of one rating around mu + i_u + i_n + f_u f_n: as fitted, and as it is; 0.12 both where there is nothing to measure it on.

    A fitted note lies nearer to the ratings it was fitted on than to others: of a rating with leverage h only 1 - h of the variance is left.
    Where a fit rests on more ratings than are at hand, each has that much less leverage. The first, smaller one describes the errors of fitted
    parameters, which a fit's shrinkage keeps small, too; the second what a single new rating is worth as evidence.
    """
    i, f = data.intercept[data.rating_note], data.factor[data.rating_note]
    known = np.isfinite(i) & np.isfinite(f)
    if known.sum() < 50:
        return 0.12, 0.12
    miss = (data.value - data.global_intercept - data.rater_intercept - i - data.rater_factor * f)[known]
    note = data.rating_note[known]
    count = np.bincount(note, minlength=len(data))
    rests_on = np.where(np.isfinite(data.n_ratings), np.maximum(data.n_ratings, count), count)
    x, gram = _note_grams(note, data.rater_factor[known], len(data))
    gram = gram * (rests_on / np.maximum(count, 1))[:, None, None]
    inverse = np.linalg.inv(gram + np.diag(NOTE_PENALTY) * len(note) / np.count_nonzero(count))
    left = 1.0 - np.minimum(np.einsum("ni,nij,nj->n", x, inverse[note], x), 0.95)
    return float(np.clip(np.mean(miss**2), 0.04, 0.25)), float(np.clip(np.sum(miss**2) / np.sum(left), 0.04, 0.25))


NOTE_PENALTY = (0.15, 0.03)
"""X's penalties on a note's intercept and factor, for a note with an average number of ratings."""


def _note_grams(note: Ints, rater_factor: Array, n_notes: int) -> tuple[Array, Array]:
    """Rows [1, f_u] of ratings (n, 2), and their sums of products by note (n_notes, 2, 2)."""
    x = np.stack([np.ones(len(note)), rater_factor], axis=1)
    gram = np.zeros((n_notes, 2, 2))
    np.add.at(gram, note, x[:, :, None] * x[:, None, :])
    return x, gram


def folded_error(note: Ints, rater_factor: Array, n_notes: int, ratings_per_note: float) -> Array:
    """Error variance (n_notes, 2) of intercepts and factors folded in with frozen raters, for ratings of variance 1: ridge, sandwich form."""
    _, gram = _note_grams(note, rater_factor, n_notes)
    inverse = np.linalg.inv(gram + np.diag(NOTE_PENALTY) * ratings_per_note)
    return np.diagonal(inverse @ gram @ inverse, axis1=1, axis2=2)


def interval_scale(residual: Array, variance: Array, noise: float) -> float:
    """Factor on the latent deviation with which 90 % of later fitted parameters fall within ±1.645 sd; shrunk to 1 with few notes.

    `noise` is the error variance of a fit on a typical number of ratings: how many there will be is not known when a text is judged.
    """
    if len(residual) < 20:
        return 1.0
    grid = np.linspace(0.4, 2.0, 81)
    covered = np.array([(np.abs(residual) <= 1.6449 * np.sqrt(g * g * variance + noise)).mean() for g in grid])
    best = float(grid[np.argmin(np.abs(covered - 0.9))])
    trust = len(residual) / (len(residual) + 40.0)
    return trust * best + (1 - trust)


PAIR_GAP = 0.10
"""Fitted intercepts closer than this are no evidence that one note is better."""


def within_scale(post: Ints, label: Array, predicted: Array, sd: float, trust: Array) -> float:
    """What `sd` of a predicted difference must be multiplied by for wrong orders to be as frequent as foreseen, on notes of one post left out.

    `predicted` (n,) never saw a label of the note's post. Pairs whose labels lie PAIR_GAP apart; posts weigh the square root of their number of
    pairs. The foreseen share is the normal's tail beyond the predicted difference. With few pairs it is shrunk to 1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    first, second, weight = [], [], []
    order = np.argsort(post, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(post[order])) + 1) if len(order) else []:
        a, b = np.triu_indices(min(len(rows), 24), 1)
        apart = np.abs(label[rows[a]] - label[rows[b]]) >= PAIR_GAP
        first.append(rows[a[apart]])
        second.append(rows[b[apart]])
        weight.append(trust[rows[a[apart]]] / np.sqrt(max(int(apart.sum()), 1)))
    a, b, w = np.concatenate(first), np.concatenate(second), np.concatenate(weight)
    if len(a) < 20:
        return 1.0
    difference = predicted[a] - predicted[b]
    wrong = float(w @ (difference * (label[a] - label[b]) < 0) / w.sum())

    def surplus(logarithm: float) -> float:
        return float(w @ ndtr(-np.abs(difference) / (sd * np.exp(logarithm))) / w.sum()) - wrong

    low, high = np.log(0.4), np.log(6.0)
    best = low if surplus(low) > 0 else high if surplus(high) < 0 else float(brentq(surplus, low, high))
    return float(np.exp(best * len(a) / (len(a) + 50.0)))
