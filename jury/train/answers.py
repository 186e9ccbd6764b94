"""From the linear predictor to answers: the response, what a rater's other ratings of a post say, the tags; all by maximum likelihood on notes left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.hierarchical import (
    History,
    Response,
    TagModel,
)
from jury.records import side_of
from jury.train.table import Folded, TrainingData

Array = NDArray[Any]
Ints = NDArray[np.int64]


def fit_response(data: TrainingData, folded: Folded, trust: Array) -> Response:
    """The numbers between linear predictor and probabilities, by maximum likelihood on predictions for unseen notes.

    Every rating enters twice: with the siblings known and, at a third of the weight, with nothing known but the text. Posts weigh the
    square root of their number of ratings, so that one crowded post does not set the calibration of all; `trust` (n_notes,) is what ratings of a
    note count for.
    """
    from scipy.optimize import minimize

    # What counts for nothing must not decide either, on which form the questions were asked for one.
    counting = np.flatnonzero(trust[data.rating_note] > 0)
    # Ratings beyond this many change the fourth digit and cost seconds: every k-th is used.
    picked = counting[:: max(len(counting) // 8_000, 1)]
    n = data.rating_note[picked]
    mean = np.concatenate([folded.warm[n], folded.cold[n]])
    variance = np.concatenate([folded.warm_variance[n], folded.cold_variance[n]])
    i_u, f_u = np.tile(data.rater_intercept[picked], 2), np.tile(data.rater_factor[picked], 2)
    _, inverse, count = np.unique(data.post[n], return_inverse=True, return_counts=True)
    weight = trust[n] / np.sqrt(count[inverse])
    weight = np.concatenate([weight, weight / 3.0])
    weight /= weight.sum()
    answer = np.tile(np.rint(2 * data.value[picked]).astype(np.int64), 2)
    created = data.created_at[picked]
    old = np.tile((created >= 0) & (created < TWO_LEVELS_UNTIL), 2)
    if (~old).mean() < 0.2:
        # Practically everything was asked on the old form: then that is the scale to predict on.
        old[:] = False
    m_i, m_f = mean[:, 0], mean[:, 1]
    v_i, v_f = variance[:, 0], variance[:, 1]
    # Pulled weakly towards X's own equation: with sixty posts the data alone would not settle ten numbers.
    # The thresholds are `somewhat` and a gap above it, in logarithms: they cannot cross, and nobody saying "somewhat" is a small gap.
    start = np.array([data.global_intercept, 1.0, 1.0, 0.0, 1.0, 0.35, np.log(0.25), np.log(0.2), 0.0, 0.5])
    width = np.array([0.3, 0.7, 0.7, 0.3, 0.7, 0.3, 1.5, 0.7, 1.0, 0.3])
    strength = 1.0 / max(len(counting), 1)
    level = data.global_intercept

    def loss(p: Array) -> float:
        k_u, k_i, c_f, k_f, some, gap, log_scale, log_spread = p[1:9]
        high = some + np.exp(gap)
        eta = level + k_u * i_u + k_i * m_i + c_f * f_u + k_f * f_u * m_f
        s = np.sqrt(np.exp(2 * log_scale) + np.exp(log_spread) * (k_i**2 * v_i + (k_f * f_u) ** 2 * v_f))
        z = eta / s
        # Where only two answers could be given, the border between them is a threshold of its own (the last parameter).
        low = 1.0 / (1.0 + np.exp(-np.clip(z - np.where(old, p[9], some) / s, -30, 30)))
        top = 1.0 / (1.0 + np.exp(-np.clip(z - np.where(old, p[9], high) / s, -30, 30)))
        chance = np.where(answer == 2, top, np.where(answer == 1, low - top, 1.0 - low))
        return -float(weight @ np.log(np.clip(chance, 1e-6, 1.0))) + 0.5 * strength * float(
            (((p - start) / width) ** 2).sum()
        )

    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 80})
    p = found.x if np.isfinite(found.fun) and found.fun < loss(start) else start
    return Response(
        level=level,
        rater_intercept=float(max(p[1], 0.05)),
        intercept=float(max(p[2], 0.05)),
        rater_factor=float(p[3]),
        factor=float(max(p[4], 0.05)),
        somewhat=float(p[5]),
        helpful=float(p[5] + np.exp(p[6])),
        scale=float(np.exp(p[7])),
        spread=float(np.exp(p[8])),
    )


def fit_history(data: TrainingData, folded: Folded, response: Response, trust: Array) -> History:
    """The rater-in-this-post effect, by maximum likelihood of ratings whose rater had rated another note of the post before.

    What moments of residuals would say is a third of what predicts best: a fitted note has moved towards the very raters whose residuals are
    multiplied. So each such rating is predicted as it will be in use: the note from its siblings (`folded.warm`), the effect from the rater's
    earlier residuals. Posts weigh the square root of their number of such ratings. With fewer than 30 of them nothing is carried over.
    """
    from scipy.optimize import minimize

    target, earlier = earlier_ratings(data)
    counting = np.flatnonzero(trust[data.rating_note[target]] > 0)
    target, earlier = target[counting], [earlier[k] for k in counting]
    step = max(len(target) // 6_000, 1)
    target, earlier = target[::step], earlier[::step]
    if len(target) < 30:
        return History()
    n = data.rating_note
    truth = np.stack([data.intercept, data.factor], axis=1)[n]
    of_rater = response.rater_intercept * data.rater_intercept + response.rater_factor * data.rater_factor
    residual = data.value - (
        response.level + of_rater + response.intercept * truth[:, 0] + response.factor * data.rater_factor * truth[:, 1]
    )
    f = data.rater_factor[target]
    mean, variance = folded.warm[n[target]], folded.warm_variance[n[target]]
    eta = response.level + of_rater[target] + response.intercept * mean[:, 0] + response.factor * f * mean[:, 1]
    steep = 1.0 / np.sqrt(
        response.scale**2
        + response.spread * (response.intercept**2 * variance[:, 0] + (response.factor * f) ** 2 * variance[:, 1])
    )
    stance = data.stance()[n]
    helpful = data.value[target] > 0.75
    _, inverse, count = np.unique(data.post[n[target]], return_inverse=True, return_counts=True)
    weight = trust[n[target]] / np.sqrt(count[inverse])
    weight /= weight.sum()
    sizes = []
    for size in np.unique([len(e) for e in earlier]):
        rows = np.flatnonzero([len(e) == size for e in earlier])
        others = np.stack([earlier[k] for k in rows])
        sizes.append((
            rows,
            residual[others],
            stance[others] == stance[target[rows]][:, None],
            stance[others][:, :, None] == stance[others][:, None, :],
        ))  # fmt: skip

    def unpacked(p: Array) -> History:
        same = float(np.exp(p[0]))
        return History(same, same * float(np.tanh(p[1])), float(np.exp(p[2])))

    start = np.array([np.log(0.02), np.arctanh(-0.5), np.log(0.06)])
    width = np.array([1.5, 1.0, 0.7])

    def loss(p: Array) -> float:
        h = unpacked(p)
        shift = np.zeros(len(target))
        for rows, left, same, alike in sizes:
            covariance = np.where(alike, h.same_stance, h.other_stance) + h.rating * np.eye(left.shape[1])
            solved = np.linalg.solve(covariance, left[..., None])[..., 0]
            shift[rows] = (np.where(same, h.same_stance, h.other_stance) * solved).sum(axis=1)
        z = np.clip((eta + shift - response.helpful) * steep, -30, 30)
        chance = 1.0 / (1.0 + np.exp(np.where(helpful, -z, z)))
        return -float(weight @ np.log(np.clip(chance, 1e-6, 1.0))) + 0.5 / len(target) * float(
            (((p - start) / width) ** 2).sum()
        )

    bounds = [(np.log(1e-4), np.log(0.3)), (-2.3, 2.3), (np.log(0.01), np.log(0.5))]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return unpacked(found.x if np.isfinite(found.fun) and found.fun < loss(start) else start)


def earlier_ratings(data: TrainingData, most: int = 6) -> tuple[Ints, list[Ints]]:
    """Ratings whose rater had rated other notes of the post before, and for each the rows of those ratings (the latest `most`).

    Only notes with fitted parameters count as earlier ones, and ratings of unknown time neither count nor are predicted.
    """
    n = data.rating_note
    known = np.isfinite(data.intercept[n]) & np.isfinite(data.factor[n])
    order = np.lexsort((data.created_at, data.post[n], data.rater))
    order = order[data.created_at[order] >= 0]
    key = np.stack([data.rater[order], data.post[n[order]]], axis=1)
    targets: list[int] = []
    earlier: list[Ints] = []
    for rows in np.split(order, np.flatnonzero((np.diff(key, axis=0) != 0).any(axis=1)) + 1) if len(order) else []:
        for k in rows[1:]:
            before = rows[(data.created_at[rows] < data.created_at[k]) & (n[rows] != n[k]) & known[rows]]
            if len(before) and known[k]:
                targets.append(int(k))
                earlier.append(before[-most:])
    return np.array(targets, dtype=np.int64), earlier


def fit_tags(data: TrainingData, form: Array) -> TagModel:
    """Base rates by answer and side, shrunk to the answer's rate, and one ridge step of logistic regression on the form block."""
    answer = np.rint(2 * data.value).astype(np.int64)
    side = side_of(data.rater_factor)
    n_tags = len(data.tag_names)
    base = np.zeros((3, 3, n_tags))
    ticks = data.tags.astype(np.float64)
    overall = (ticks.sum(axis=0) + 0.5) / (len(ticks) + 10.0)
    for a in range(3):
        of_answer = (ticks[answer == a].sum(axis=0) + 20 * overall) / ((answer == a).sum() + 20.0)
        for s in range(3):
            rows = (answer == a) & (side == s)
            rate = (ticks[rows].sum(axis=0) + 20 * of_answer) / (rows.sum() + 20.0)
            base[a, s] = np.log(np.clip(rate, 1e-4, 1 - 1e-4) / (1 - np.clip(rate, 1e-4, 1 - 1e-4)))
    slope = np.zeros((form.shape[1], n_tags))
    # Newton steps with one curvature per tag: the matrix is decomposed once for all tags, and only the notes' columns enter.
    rows = np.arange(0, len(answer), max(len(answer) // 20_000, 1))
    x, y = form[data.rating_note[rows]], ticks[rows]
    values, vectors = np.linalg.eigh(x.T @ x)
    offset = base[answer[rows], side[rows]]
    for _ in range(6):
        chance = 1.0 / (1.0 + np.exp(-np.clip(offset + x @ slope, -30, 30)))
        curvature = np.maximum((chance * (1 - chance)).mean(axis=0), 1e-3) * 1.5
        gradient = vectors.T @ (x.T @ (y - chance) - 200.0 * slope)
        slope += vectors @ (gradient / (np.maximum(values, 0.0)[:, None] * curvature + 200.0))
    return TagModel(data.tag_names, base, np.clip(slope, -1.5, 1.5))


TWO_LEVELS_UNTIL = 1_625_011_200_000
"""2021-06-30, in milliseconds: before it X asked helpful or not helpful; "somewhat" came with the new form (facts.md, section 1)."""


def without_own_post(data: TrainingData, per_rater: float | None = None) -> TrainingData:
    """The same ratings with each rater's parameters estimated again *without their ratings of that rating's post*.

    A fitted rater has seen every rating they made; a jury judges posts its raters have not seen. Calibrating the response on parameters that
    saw the answer makes it overconfident (measured: calibration error 0.17 instead of 0.05 on birdwatch-2021). Note parameters stay as they
    are; a rater is one ridge system of two unknowns (X's penalties), so leaving a post out is subtracting its sums. Only for the snapshot
    (or the only source): elsewhere a rater's other ratings are not at hand, and raters with under five other ratings keep what they have.
    """
    i_n, f_n = data.intercept[data.rating_note], data.factor[data.rating_note]
    sources = set(data.source)
    ours = np.array([s == "snapshot" for s in data.source], dtype=bool)[data.rating_note]
    use = np.isfinite(i_n) & np.isfinite(f_n) & (ours if "snapshot" in sources else True)
    if use.sum() == 0 or (len(sources) > 1 and "snapshot" not in sources):
        return data
    rows = np.flatnonzero(use)
    rater, post = data.rater[rows], data.post[data.rating_note[rows]]
    f = f_n[rows]
    y = data.value[rows] - data.global_intercept - i_n[rows]
    sums = np.stack([np.ones(len(rows)), f, f * f, y, f * y], axis=1)
    n_raters = len(data.rater_ids)
    by_rater = np.stack([np.bincount(rater, weights=c, minlength=n_raters) for c in sums.T], axis=1)
    _, group = np.unique(np.stack([rater, post], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    by_group = np.stack([np.bincount(group, weights=c) for c in sums.T], axis=1)
    rest = by_rater[rater] - by_group[group]
    per_rater = per_rater or max(len(rows) / max(len(np.unique(rater)), 1), 1.0)
    a = rest[:, 0] + 0.15 * per_rater
    c = rest[:, 2] + 0.03 * per_rater
    b = rest[:, 1]
    determinant = a * c - b * b
    fresh_i = (c * rest[:, 3] - b * rest[:, 4]) / determinant
    fresh_f = (a * rest[:, 4] - b * rest[:, 3]) / determinant
    enough = rest[:, 0] >= 5
    intercept, factor = data.rater_intercept.copy(), data.rater_factor.copy()
    intercept[rows[enough]], factor[rows[enough]] = fresh_i[enough], fresh_f[enough]
    return replace(data, rater_intercept=intercept, rater_factor=factor)
