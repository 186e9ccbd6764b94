"""Aggregators: one number a text from the jury's predicted ratings, all from the same ratings matrix.

Every aggregator is a frozen dataclass with a `name` and `aggregate(rated, jury) -> Aggregated`; nothing is registered
but the dictionary `AGGREGATORS`. Direction: a higher score is better received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jury.judge.social_choice import schulze_scores
from jury.records import SIDES, Jury, RatedTexts, side_of
from matrix_factorization.foldin import bridging_scores
from nouns.errors import InputError
from nouns.x import X_RATINGS_PER_NOTE

Z90 = 1.6448536269514722
"""Half-width of a two-sided 90 % normal interval in standard deviations."""

CURVE_POINTS = np.linspace(-1.0, 1.0, 21)
"""Points of the factor line at which a verdict's curve of helpful shares is given."""


@dataclass(frozen=True)
class Aggregated:
    """Scores of T texts.

    score  : (T,) higher is better
    factor : (T,) which side likes the text better, in X's factor units (0 for aggregators that have none)
    sd     : (T,) standard deviation of the score from the model's error and the finite jury; NaN for an ordinal method
    """

    score: NDArray[np.float64]
    factor: NDArray[np.float64]
    sd: NDArray[np.float64]


class Aggregator(Protocol):
    @property
    def name(self) -> str: ...

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated: ...


# -- the bridging intercept ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BridgingIntercept:
    """X's note intercept, raters frozen: ridge of what raters' own intercepts leave on [1, rater factor].

        minimise over i, f:  sum_j (r_j - mu - i_j - i - f f_j)^2  +  rho (lambda_i i^2 + lambda_f f^2)

    rho is the number of ratings of an average note in the fit that gave the raters: X's penalties are means over notes
    and its loss a mean over ratings, so a note's penalty weighs rho of its own ratings (facts.md section 2). With X's
    values (lambda_i = 0.15, lambda_f = 0.03) 0.40 means Helpful. r_j is the expected rating: sampling a class for each juror would only add noise.
    Degenerate input: no jurors is refused when the jury is drawn; jurors all of one factor leave the factor to the ridge.
    """

    ratings_per_note: float = X_RATINGS_PER_NOTE
    name: str = "bridging_intercept"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        found = bridging_scores(
            rated.expected(),
            jury.intercept,
            jury.factor,
            jury.global_intercept,
            ratings_per_note=self.ratings_per_note,
        )
        # Two errors that have nothing to do with each other: the model's, and which raters happened to be drawn.
        sd = np.hypot(np.asarray(rated.sd, dtype=np.float64), found.intercept_sd)
        return Aggregated(found.intercept, found.factor, sd)


# -- the others ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianGeometricMean:
    """X's 2025 pilot: the geometric mean of the helpful rate along the factor line, smoothed by a Gaussian kernel.

    At each of 25 points a side (quantiles of the jurors' factors there) the rate is a weighted mean in which somewhat
    helpful counts 0.7 and a not-helpful rating weighs 1.75; a prior of weight 0.4 log(n)/log(9) pulls towards 0.35 (or
    lower on the side that likes the text less); rates are clipped to [0.05, 0.8]. Expected ratings take the place of counts.
    A side without jurors has no points. Source: communitynotes gaussian_scorer.py and constants.GaussianParams (CRH
    parameters); left out: the extra weight of not-helpful ratings that come from unexpected places.
    """

    bandwidth: float = 0.1
    points_per_side: int = 25
    somewhat: float = 0.7
    not_helpful_weight: float = 1.75
    clip_low: float = 0.05
    clip_high: float = 0.8
    prior_value: float = 0.35
    prior_floor: float = 0.2
    prior_weight: float = 0.4
    prior_base: float = 9.0
    name: str = "gaussian"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        return _with_slope(self._score, rated, jury)

    def _score(self, p: NDArray[np.float64], jury: Jury) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        centers = np.concatenate(
            [self._points(jury.factor[jury.factor < 0]), self._points(jury.factor[jury.factor >= 0])]
        )
        kernel = np.exp(-0.5 * ((jury.factor[:, None] - centers[None, :]) / self.bandwidth) ** 2)  # (n_jurors, points)
        kernel /= kernel.sum(axis=1, keepdims=True)
        value = p[:, :, 2] + self.somewhat * p[:, :, 1]
        weight = p[:, :, 2] + p[:, :, 1] + self.not_helpful_weight * p[:, :, 0]
        factor = ((p[:, :, 2] - p[:, :, 0]) * jury.factor[:, None]).mean(axis=0)  # (T,)
        prior = np.clip(factor[None, :] * centers[:, None] / 2 + self.prior_value, self.prior_floor, self.prior_value)
        strength = self.prior_weight * np.log(max(len(jury), self.prior_base)) / np.log(self.prior_base)
        rate = (kernel.T @ value + strength * prior) / (kernel.T @ weight + strength)  # (points, T)
        score = np.exp(np.log(np.clip(rate, self.clip_low, self.clip_high)).mean(axis=0))
        return score, factor

    def _points(self, factor: NDArray[np.float64]) -> NDArray[np.float64]:
        if not len(factor):
            return np.zeros(0)
        return np.quantile(factor, (np.arange(self.points_per_side) + 0.5) / self.points_per_side)


@dataclass(frozen=True)
class WorstSide:
    """The mean expected rating on the side that likes the text least, over the sides that have jurors, in [0, 1]."""

    name: str = "worst_side"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        return _with_slope(self._score, rated, jury)

    def _score(self, p: NDArray[np.float64], jury: Jury) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        expected = p[:, :, 2] + 0.5 * p[:, :, 1]
        sides = _side_rows(jury)
        score = np.min([expected[rows].mean(axis=0) for rows in sides.values()], axis=0)
        return score, np.zeros_like(score)


@dataclass(frozen=True)
class GroupAware:
    """Group-aware consensus: the product over sides of the smoothed chance that a member finds the text helpful.

    (helpful + 1) / (jurors + 2) for each side with jurors, expected counts for counts; in [0, 1]. Source: Small et al.,
    "Polis: Scaling deliberation by mapping high dimensional opinion spaces" (2021), section on group-aware consensus.
    """

    name: str = "group_aware"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        return _with_slope(self._score, rated, jury)

    def _score(self, p: NDArray[np.float64], jury: Jury) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        shares = [(p[rows, :, 2].sum(axis=0) + 1) / (len(rows) + 2) for rows in _side_rows(jury).values()]
        score = np.prod(shares, axis=0)
        return score, np.zeros_like(score)


@dataclass(frozen=True)
class Mean:
    """The mean expected rating of all jurors, in [0, 1]: applause from a big side passes for agreement."""

    name: str = "mean"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        return _with_slope(self._score, rated, jury)

    def _score(self, p: NDArray[np.float64], jury: Jury) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        score = (p[:, :, 2] + 0.5 * p[:, :, 1]).mean(axis=0)
        return score, np.zeros_like(score)


@dataclass(frozen=True)
class Schulze:
    """Schulze's method over the jurors' rankings of these texts: the share of the others a text beats, ties half.

    Ordinal: `sd` is NaN, and scores of different sets of texts are not comparable. Jurors whose expected ratings of two
    texts differ by at most `indifference` rating units have no preference between them.
    """

    indifference: float = 1e-6
    name: str = "schulze"

    def aggregate(self, rated: RatedTexts, jury: Jury) -> Aggregated:
        score = schulze_scores(rated.expected(), indifference=self.indifference)
        return Aggregated(score, np.zeros_like(score), np.full_like(score, np.nan))


AGGREGATORS: dict[str, type] = {
    "bridging_intercept": BridgingIntercept,
    "gaussian": GaussianGeometricMean,
    "worst_side": WorstSide,
    "group_aware": GroupAware,
    "schulze": Schulze,
    "mean": Mean,
}


def make_aggregator(name: str, ratings_per_note: float) -> Aggregator:
    """The aggregator of that name. Raises InputError for an unknown one, naming those there are."""
    if name not in AGGREGATORS:
        raise InputError(f"judge_candidates.aggregator = {name!r} is not known; choose from {', '.join(AGGREGATORS)}.")
    if name == "bridging_intercept":
        return BridgingIntercept(ratings_per_note=ratings_per_note)
    return AGGREGATORS[name]()


def _side_rows(jury: Jury) -> dict[str, NDArray[np.int64]]:
    """Rows of the jurors on each side that has any."""
    side = side_of(jury.factor)
    rows = {name: np.flatnonzero(side == k) for k, name in enumerate(SIDES)}
    return {name: found for name, found in rows.items() if len(found)}


def _with_slope(score, rated: RatedTexts, jury: Jury) -> Aggregated:  # type: ignore[no-untyped-def]
    """Score, factor, and the model's error carried over to the score's own units.

    The model states its error on the bridging scale, where moving every expected rating by d moves the score by d
    (but for the ridge). The same move - chances taken from 'not helpful' to 'helpful' and back - shows how much this
    score moves per unit.
    """
    p = rated.probabilities.astype(np.float64)
    value, factor = score(p, jury)
    step = 0.02
    slope = (score(_moved(p, step), jury)[0] - score(_moved(p, -step), jury)[0]) / (2 * step)
    return Aggregated(value, factor, np.abs(slope) * np.asarray(rated.sd, dtype=np.float64))


def _moved(p: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Probabilities with `step` moved from not helpful to helpful (negative: back), as far as there is any to move."""
    amount = np.minimum(step, p[:, :, 0]) if step > 0 else -np.minimum(-step, p[:, :, 2])
    moved = p.copy()
    moved[:, :, 0] -= amount
    moved[:, :, 2] += amount
    return moved


# -- X's gates and the rest of a verdict ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Gates:
    """X's conditions besides the intercept (facts.md section 2).

    `max_factor`: |note factor| must be below it. `net_helpful_share`: on each sign of the factor line the expected
    helpful minus not-helpful ratings must be at least this share of all the ratings. X's other limits are absolute
    counts (10, or 4 with that share) of a note's real ratings; the size of a simulated jury is our choice, so only the share means something.
    """

    max_factor: float = 0.50
    net_helpful_share: float = 0.05


@dataclass(frozen=True)
class Reception:
    """How a jury received T texts, beside the score: all that a verdict row needs."""

    helpful: NDArray[np.float64]  # (T, 3) helpful share per side of SIDES, NaN without jurors there
    net_helpful: NDArray[np.float64]  # (T, 2) net helpful ratings on the negative and positive sign over all jurors
    curve: NDArray[np.float32]  # (T, 21) helpful share at CURVE_POINTS
    reasons: tuple[tuple[tuple[str, str, float], ...], ...] = field(default=())


def receive(rated: RatedTexts, jury: Jury, reasons_per_side: int = 2) -> Reception:
    """Helpful share per side, net helpful share per sign, the curve over the factor line and the likeliest reasons."""
    p = rated.probabilities
    n_texts = p.shape[1]
    helpful = np.full((n_texts, 3), np.nan)
    rows_of = _side_rows(jury)
    for k, side in enumerate(SIDES):
        if side in rows_of:
            helpful[:, k] = p[rows_of[side], :, 2].mean(axis=0, dtype=np.float64)
    net = (p[:, :, 2] - p[:, :, 0]).astype(np.float64)
    signs = np.stack([net[jury.factor < 0].sum(axis=0), net[jury.factor > 0].sum(axis=0)], axis=1) / len(jury)
    # The log of the kernel, shifted by its maximum: far from all jurors the nearest ones speak, without a zero division.
    log_kernel = -0.5 * ((CURVE_POINTS[:, None] - jury.factor[None, :]) / 0.1) ** 2  # (21, n_jurors)
    kernel = np.exp(log_kernel - log_kernel.max(axis=1, keepdims=True))
    kernel /= kernel.sum(axis=1, keepdims=True)
    curve = (kernel.astype(np.float32) @ p[:, :, 2]).T.astype(np.float32)
    told = tuple(_likeliest(rated.reasons[t], rated.tags, reasons_per_side) for t in range(n_texts))
    return Reception(helpful, signs, curve, told)


def _likeliest(reasons: NDArray[np.float32], tags: Sequence[str], per_side: int) -> tuple[tuple[str, str, float], ...]:
    """For each side the likeliest reasons for and the likeliest against, as (side, tag, probability), likeliest first."""
    against = np.array([tag.startswith("notHelpful") for tag in tags], dtype=bool)
    told: list[tuple[str, str, float]] = []
    for k, side in enumerate(SIDES):
        chosen: list[int] = []
        for group in (np.flatnonzero(~against), np.flatnonzero(against)):
            chosen += group[np.argsort(-reasons[k, group], kind="stable")][:per_side].tolist()
        chosen.sort(key=lambda column: (-float(reasons[k, column]), column))
        told += [(side, tags[column], float(reasons[k, column])) for column in chosen]
    return tuple(told)
