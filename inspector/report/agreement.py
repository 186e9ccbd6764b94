"""How far analysts agree with each other and with the jury: Krippendorff's alpha with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Unit = Mapping[str, Hashable]
"""What each coder said of one unit: coder -> value. Coders that said nothing are absent."""


@dataclass(frozen=True)
class Alpha:
    """`value` with its 95 % interval; None where it is not defined. `n_units` with two or more values, `n_values` in them."""

    value: float | None
    lower: float | None
    upper: float | None
    n_units: int
    n_values: int


def krippendorff_alpha(units: Sequence[Unit], level: str = "nominal") -> float | None:
    """Krippendorff's alpha, 1 - D_o / D_e, for any number of coders, with missing values.

    `level`: 'nominal' (values equal or not), 'ordinal' (values can be ordered) or 'interval' (values are numbers).

    With o[c, k] the coincidences: each ordered pair of values c, k by two coders within a unit of m values counts
    1 / (m - 1); n_c = Σ_k o[c, k] and n = Σ_c n_c:

        D_o = Σ_ck o[c, k] δ²(c, k) / n        D_e = Σ_ck n_c n_k δ²(c, k) / (n (n - 1))

        δ² nominal:  1 if c ≠ k else 0
        δ² ordinal:  (n_c / 2 + Σ_{c<g<k} n_g + n_k / 2)²
        δ² interval: (c - k)²

    1 is perfect agreement, 0 is what chance gives, negative is systematic disagreement. Units with fewer than two values
    say nothing and are left out. None if no unit is left, or if all values are equal: then there is no disagreement to
    expect and the ratio is 0 / 0. Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
    """
    pairable = [list(unit.values()) for unit in units if len(unit) >= 2]
    values = sorted({value for unit in pairable for value in unit})  # type: ignore[type-var]
    if len(values) < 2:
        return None
    index = {value: k for k, value in enumerate(values)}
    coincidences = np.zeros((len(values), len(values)))
    for unit in pairable:
        counts = np.bincount([index[value] for value in unit], minlength=len(values)).astype(float)
        coincidences += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    return _alpha(coincidences, _delta(values, coincidences.sum(axis=1), level))


def _delta(values: Sequence[Hashable], n: np.ndarray, level: str) -> np.ndarray:
    """Squared differences between values, (n_values, n_values)."""
    k = len(values)
    if level == "nominal":
        return 1.0 - np.eye(k)
    if level == "ordinal":
        upto = np.cumsum(n)
        i, j = np.meshgrid(np.arange(k), np.arange(k), indexing="ij")
        low, high = np.minimum(i, j), np.maximum(i, j)
        between = upto[high] - upto[low] + n[low] / 2 - n[high] / 2
        return np.where(i == j, 0.0, between**2)
    if level == "interval":
        numbers = np.asarray(values, dtype=float)
        return (numbers[:, None] - numbers[None, :]) ** 2
    raise ValueError(f"level = {level!r} is not known; choose 'nominal', 'ordinal' or 'interval'.")


def _alpha(coincidences: np.ndarray, delta: np.ndarray) -> float | None:
    n_c = coincidences.sum(axis=1)
    n = n_c.sum()
    expected = (np.outer(n_c, n_c) * delta).sum() / (n * (n - 1))
    return float(1 - (coincidences * delta).sum() / n / expected) if expected > 0 else None


def alpha_with_interval(
    units: Sequence[Unit], rng: np.random.Generator, level: str = "nominal", draws: int = 1000
) -> Alpha:
    """Alpha and a percentile bootstrap over units (whole units are drawn, so values of one unit stay together).

    No interval with fewer than two units, or if fewer than half of the draws have a defined alpha.
    """
    pairable = [unit for unit in units if len(unit) >= 2]
    value = krippendorff_alpha(pairable, level)
    n_values = sum(len(unit) for unit in pairable)
    if value is None or len(pairable) < 2:
        return Alpha(value, None, None, len(pairable), n_values)
    # A unit enters alpha only through its coincidences: one small matrix each, summed over the draw.
    values = sorted({v for unit in pairable for v in unit.values()})  # type: ignore[type-var]
    index = {v: k for k, v in enumerate(values)}
    counts = np.array(
        [np.bincount([index[v] for v in unit.values()], minlength=len(values)) for unit in pairable], dtype=float
    )
    each = (counts[:, :, None] * counts[:, None, :] - np.eye(len(values)) * counts[:, :, None]) / (
        counts.sum(axis=1) - 1
    )[:, None, None]
    found = []
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, len(pairable), len(pairable)), minlength=len(pairable))
        summed = np.tensordot(weights, each, axes=1)
        alpha = _alpha(summed, _delta(values, summed.sum(axis=1), level))
        if alpha is not None:
            found.append(alpha)
    if len(found) < draws / 2:
        return Alpha(value, None, None, len(pairable), n_values)
    lower, upper = np.quantile(found, [0.025, 0.975])
    return Alpha(value, float(lower), float(upper), len(pairable), n_values)


@dataclass(frozen=True)
class Estimate:
    """A share or mean with its 95 % bootstrap interval over `n` cases; None without cases."""

    value: float | None
    lower: float | None
    upper: float | None
    n: int


def bootstrap_mean(values: Sequence[float], rng: np.random.Generator, draws: int = 1000) -> Estimate:
    """Mean of independent cases. One case has no interval."""
    cases = np.asarray(values, dtype=float)
    n = len(cases)
    if not n:
        return Estimate(None, None, None, 0)
    if n == 1:
        return Estimate(float(cases[0]), None, None, 1)
    means = _resampled(cases, rng, draws, lambda drawn: drawn.mean(axis=1))
    lower, upper = np.quantile(means, [0.025, 0.975])
    return Estimate(float(cases.mean()), float(lower), float(upper), n)


def _resampled(
    cases: np.ndarray, rng: np.random.Generator, draws: int, statistic: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """The statistic of `draws` resamples, in blocks so that a hundred thousand cases need little memory."""
    block = max(1, 2_000_000 // len(cases))
    found = []
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        found.append(statistic(cases[rng.integers(0, len(cases), (rows, len(cases)))]))
    return np.concatenate(found)
