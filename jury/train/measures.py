"""Measures of a jury's predictions, each with a 95 % interval from resampling posts.

Ratings of one post are not independent, so whole posts are drawn with replacement; the interval is the 2.5 to 97.5 % range of the
resampled values. Every measure comes as `{"value", "lo", "hi", "n"}`, finite or None (too few cases, or only one class).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
EMPTY: dict[str, Any] = {"value": None, "lo": None, "hi": None, "n": 0}


def auc(truth: Array, score: Array, weight: Array | None = None) -> float:
    """Probability that a positive case scores above a negative one, ties counting half; NaN with only one class."""
    weight = np.ones(len(score)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    s, t, w = score[order], truth[order] > 0.5, weight[order]
    positive, negative = np.where(t, w, 0.0), np.where(t, 0.0, w)
    total = positive.sum() * negative.sum()
    if total <= 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    # Ties: every member of a group of equal scores sees half of the group's negatives below it.
    edges = np.flatnonzero(np.diff(s)) + 1
    starts = np.concatenate([[0], edges])
    group = np.repeat(np.arange(len(starts)), np.diff(np.concatenate([starts, [len(s)]])))
    mass = np.bincount(group, weights=negative)
    return float((positive * (below[starts][group] + 0.5 * mass[group])).sum() / total)


def log_loss(truth: Array, chance: Array) -> Array:
    """Per case: -log of the probability given to what happened, probabilities kept within 1e-6 of 0 and 1."""
    p = np.clip(chance, 1e-6, 1 - 1e-6)
    return -np.where(truth > 0.5, np.log(p), np.log1p(-p))


def calibration_error(truth: Array, chance: Array, bins: int = 15, weight: Array | None = None) -> float:
    """Mean distance of predicted and observed share over `bins` bins of equal mass (ECE). Biased upwards by about 0.3/sqrt(cases per bin)."""
    weight = np.ones(len(chance)) if weight is None else weight
    if weight.sum() <= 0:
        return float("nan")
    order = np.argsort(chance, kind="stable")
    w = weight[order]
    place = np.minimum((np.cumsum(w) - 0.5 * w) / w.sum() * bins, bins - 1e-9).astype(np.int64)
    gap = np.bincount(place, weights=w * (chance[order] - truth[order]), minlength=bins)
    return float(np.abs(gap).sum() / w.sum())


def spearman(a: Array, b: Array, weight: Array | None = None) -> float:
    """Rank correlation (ties share their mean rank); NaN with fewer than three cases or without variance."""
    if weight is not None:
        rows = np.repeat(np.arange(len(a)), weight.astype(np.int64))
        a, b = a[rows], b[rows]
    if len(a) < 3:
        return float("nan")
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def _measure(
    post: NDArray[np.int64], value: Callable[[Array], float], n: int, bootstrap: int, seed: int
) -> dict[str, Any]:
    """`value(weight per case)` with its interval over resampled posts."""
    if n == 0:
        return dict(EMPTY)
    centre = value(np.ones(n))
    if not np.isfinite(centre):
        return {**EMPTY, "n": int(n)}
    unique, inverse = np.unique(post, return_inverse=True)
    if len(unique) < 2 or bootstrap < 2:
        return {"value": float(centre), "lo": None, "hi": None, "n": int(n)}
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(bootstrap):
        count = np.bincount(rng.integers(0, len(unique), len(unique)), minlength=len(unique)).astype(np.float64)
        draws.append(value(count[inverse]))
    finite = np.array([d for d in draws if np.isfinite(d)])
    if len(finite) < bootstrap / 2:
        return {"value": float(centre), "lo": None, "hi": None, "n": int(n)}
    low, high = np.quantile(finite, [0.025, 0.975])
    return {"value": float(centre), "lo": float(low), "hi": float(high), "n": int(n)}


def mean_measure(post: NDArray[np.int64], case: Array, bootstrap: int = 300, seed: int = 0) -> dict[str, Any]:
    """The mean of `case` (n,) over cases, e.g. of hits or of log-losses."""

    def value(weight: Array) -> float:
        total = weight.sum()
        return float(weight @ case / total) if total > 0 else float("nan")

    return _measure(post, value, len(case), bootstrap, seed)


def auc_measure(
    post: NDArray[np.int64], truth: Array, score: Array, bootstrap: int = 300, seed: int = 0
) -> dict[str, Any]:
    return _measure(post, lambda w: auc(truth, score, w), len(truth), bootstrap, seed)


def calibration_measure(
    post: NDArray[np.int64], truth: Array, chance: Array, bootstrap: int = 300, seed: int = 0
) -> dict[str, Any]:
    return _measure(post, lambda w: calibration_error(truth, chance, weight=w), len(truth), bootstrap, seed)


def spearman_measure(
    post: NDArray[np.int64], truth: Array, score: Array, bootstrap: int = 300, seed: int = 0
) -> dict[str, Any]:
    return _measure(post, lambda w: spearman(truth, score, w), len(truth), bootstrap, seed)
