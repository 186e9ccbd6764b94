"""How far analysts agree with each other and with the jury: Krippendorff's alpha with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

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


def krippendorff_alpha(units: Sequence[Unit]) -> float | None:
    """Krippendorff's alpha for nominal values, 1 - D_o / D_e, for any number of coders, with missing values.

    With o[c, k] the coincidences: each ordered pair of values c, k by two coders within a unit of m values counts
    1 / (m - 1); n_c = Σ_k o[c, k] and n = Σ_c n_c:

        D_o = Σ_{c≠k} o[c, k] / n        D_e = Σ_{c≠k} n_c n_k / (n (n - 1))

    1 is perfect agreement, 0 is what chance gives, negative is systematic disagreement. Units with fewer than two values
    say nothing and are left out. None if no unit is left, or if all values are equal: then there is no disagreement to
    expect and the ratio is 0 / 0. Source: K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011).
    """
    pairable = [unit for unit in units if len(unit) >= 2]
    return _alpha(_coincidences(pairable).sum(axis=0)) if pairable else None


def _coincidences(units: Sequence[Unit]) -> np.ndarray:
    """Each unit's coincidences, (n_units, n_values, n_values)."""
    index = {value: k for k, value in enumerate(sorted({v for unit in units for v in unit.values()}))}  # type: ignore[type-var]
    counts = np.array([np.bincount([index[v] for v in unit.values()], minlength=len(index)) for unit in units], float)
    pairs = counts[:, :, None] * counts[:, None, :] - np.eye(len(index)) * counts[:, :, None]
    return pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _alpha(coincidences: np.ndarray) -> float | None:
    n_c = coincidences.sum(axis=1)
    n = n_c.sum()
    differ = 1.0 - np.eye(len(n_c))
    expected = (np.outer(n_c, n_c) * differ).sum() / (n * (n - 1))
    return float(1 - (coincidences * differ).sum() / n / expected) if expected > 0 else None


def alpha_with_interval(units: Sequence[Unit], rng: np.random.Generator, draws: int = 1000) -> Alpha:
    """Alpha and a percentile bootstrap over units (whole units are drawn, so values of one unit stay together).

    No interval with fewer than two units, or if fewer than half of the draws have a defined alpha.
    """
    pairable = [unit for unit in units if len(unit) >= 2]
    value = krippendorff_alpha(pairable)
    lower = upper = None
    if value is not None and len(pairable) > 1:
        # A unit enters alpha only through its coincidences: one small matrix each, summed over the draw.
        each, n = _coincidences(pairable), len(pairable)
        drawn = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(draws))
        alphas = [_alpha(np.tensordot(weights, each, axes=1)) for weights in drawn]
        found = [alpha for alpha in alphas if alpha is not None]
        if len(found) >= draws / 2:
            lower, upper = map(float, np.quantile(found, [0.025, 0.975]))
    return Alpha(value, lower, upper, len(pairable), sum(map(len, pairable)))


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
    if n < 2:
        return Estimate(float(cases[0]) if n else None, None, None, n)
    # In batches, so that a hundred thousand cases need little memory.
    batch = max(1, 2_000_000 // n)
    found = bootstrap((cases,), np.mean, n_resamples=draws, batch=batch, method="percentile", rng=rng)
    low, high = found.confidence_interval
    return Estimate(float(cases.mean()), float(low), float(high), n)
