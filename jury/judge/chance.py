"""The chance that a text reaches Helpful: what a score is for.

X shows a note whose fitted intercept is at least 0.40 and whose factor stays under 0.50 in size. A score is what that intercept is expected to be,
its deviation how far it may turn out otherwise; the two chances multiply. What comes out is then fitted to how notes really fared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_ndtr, logit, ndtr

from nouns.x import HELPFUL_AT, HELPFUL_FACTOR

Array = NDArray[Any]

FACTOR_SD = 0.20
"""How far a later fitted factor lies from the expected one, where nobody says: that of unrated notes in folds of four data sets."""
AS_IS = (0.0, 1.0)


def helpful_chance(score: Array, sd: Array, factor: Array, fitted: tuple[float, float] = AS_IS) -> Array:
    """Chance of reaching Helpful, the shape of `score`, from expected intercept, its deviation and the expected factor.

    `fitted`: shift and slope of the log-odds (`fit_chance`). Not a number where one of the three is none. Rises with `score`.
    """
    reaches = log_ndtr((score - HELPFUL_AT) / np.maximum(sd, 1e-6))
    inside = ndtr((HELPFUL_FACTOR - factor) / FACTOR_SD) - ndtr((-HELPFUL_FACTOR - factor) / FACTOR_SD)
    raw = np.exp(np.clip(reaches + np.log(np.clip(inside, 1e-9, 1.0)), -20.0, -1e-9))
    shift, slope = fitted
    return expit(shift + slope * logit(raw))


def fit_chance(chance: Array, helpful: Array, weight: Array) -> tuple[float, float]:
    """Shift and slope of the log-odds with which `chance` (n,) fits what happened (`helpful`, 0 or 1), by weighted likelihood.

    Both are pulled weakly towards none at all, so that a handful of notes changes little; without notes of both kinds nothing is changed.
    """
    from scipy.optimize import minimize

    known = np.isfinite(chance)
    x, y, w = logit(np.clip(chance[known], 1e-6, 1 - 1e-6)), helpful[known], weight[known]
    if len(y) == 0 or y.min() == y.max():
        return AS_IS

    def loss(p: Array) -> float:
        z = p[0] + p[1] * x
        return float(w @ (np.logaddexp(0.0, z) - y * z)) + 2.0 * (p[0] ** 2 + (p[1] - 1.0) ** 2)

    found = minimize(loss, np.array(AS_IS), method="L-BFGS-B", bounds=[(-4.0, 4.0), (0.1, 3.0)])
    return float(found.x[0]), float(found.x[1])
