"""Parameters of new notes (or new raters) while the other side stays as fitted: one 2 x 2 system each, in closed form.

This is X's final scoring stage and the jury's aggregator. With raters and mu frozen a note's part of the objective (README, eq. 1) is a
ridge regression of its ratings on the raters' factors:

    [ W + l_i   S w f        ] [intercept]   [ S w y   ]      y = r - mu - i_u,  f = f_u,  W = S w,
    [ S w f     S w f^2 + l_f] [factor   ] = [ S w y f ]      l_i = 0.15 q,  l_f = 0.03 q,  q = ratings per note of the fit.

`ratings_per_note` (q) is what keeps scores on X's scale: it must be the q of the fit the raters come from, not that of the new notes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from matrix_factorization.kernels.loops import solve_2x2
from matrix_factorization.model.objective import NoteParameters, RaterParameters, Regularisation
from nouns.errors import InputError


@dataclass(frozen=True)
class BridgingScores:
    """One entry per note, (n_notes,) each: intercept and factor on X's scale and their standard deviations."""

    intercept: np.ndarray
    factor: np.ndarray
    intercept_sd: np.ndarray
    factor_sd: np.ndarray


@dataclass(frozen=True)
class FoldedIn:
    """Parameters of folded-in rows, (n,) each, with standard deviations, the ratings that counted, and their squared error."""

    intercept: np.ndarray
    factor: np.ndarray
    intercept_sd: np.ndarray
    factor_sd: np.ndarray
    n_ratings: np.ndarray
    squared_error: np.ndarray


def bridging_scores(
    ratings: np.ndarray,
    rater_intercept: np.ndarray,
    rater_factor: np.ndarray,
    global_intercept: float,
    *,
    ratings_per_note: float,
    residual_variance: float | None = None,
    regularisation: Regularisation | None = None,
) -> BridgingScores:
    """Bridging intercept and factor of many notes that the same raters all rated, in one go.

    `ratings`: (n_raters, n_notes), each in [0, 1], expected values allowed. `rater_intercept`, `rater_factor`: (n_raters,).
    An intercept of 0.40 means what it means for X only if `ratings_per_note` is that of the fit that gave the raters (about 37 for X):
    a large value shrinks scores, and with few raters shrinks them strongly. Since all notes share their raters, the 2 x 2 matrix is
    inverted once and the notes are one matrix product. `residual_variance`: of a single rating about its prediction; `None` takes each
    note's own residuals. No raters: intercept and factor 0 (the prior) and its standard deviation. Raises `InputError` for shapes that differ.
    Source: communitynotes `matrix_factorization.py`, `run_mf` with raters frozen and `ratingPerNoteLossRatio`.
    """
    ratings = np.asarray(ratings, dtype=np.float64)
    factor = np.asarray(rater_factor, dtype=np.float64)
    base = np.asarray(rater_intercept, dtype=np.float64) + global_intercept
    if ratings.ndim != 2 or ratings.shape[0] != factor.shape[0] or base.shape != factor.shape:
        raise InputError(
            f"ratings of shape {ratings.shape} do not fit {base.shape[0]} rater intercepts and {factor.shape[0]} factors: "
            "(n_raters, n_notes) is expected."
        )
    ridge = (regularisation or Regularisation()).with_ratio(ratings_per_note).ridges(1.0, 1, 1)
    n, sum_f, sum_ff = float(len(factor)), float(factor.sum()), float(factor @ factor)
    a11, a22 = n + ridge.note_intercept, sum_ff + ridge.note_factor
    inverse = np.array([[a22, -sum_f], [-sum_f, a11]]) / (a11 * a22 - sum_f * sum_f)
    features = np.stack([np.ones_like(factor), factor])  # (2, n_raters)
    right = features @ ratings - (features @ base)[:, None]  # (2, n_notes)
    solution = inverse @ right
    if residual_variance is None:
        # Squared residuals from sums: |y|^2 - 2 x.right + x' G x, G the Gram matrix without ridge.
        squares = np.einsum("un,un->n", ratings, ratings) - 2.0 * (base @ ratings) + base @ base
        gram = np.array([[n, sum_f], [sum_f, sum_ff]])
        error = (
            squares - 2.0 * np.einsum("kn,kn->n", solution, right) + np.einsum("kn,kl,ln->n", solution, gram, solution)
        )
        freedom = max(n - float(np.trace(inverse @ gram)), 1.0)
        variance = np.maximum(error, 0.0) / freedom
    else:
        variance = np.full(ratings.shape[1], residual_variance)
    return BridgingScores(
        solution[0], solution[1], np.sqrt(variance * inverse[0, 0]), np.sqrt(variance * inverse[1, 1])
    )


def fold_in_notes(
    start: np.ndarray,
    rater_index: np.ndarray,
    value: np.ndarray,
    raters: RaterParameters,
    global_intercept: float,
    *,
    ratings_per_note: float,
    weight: np.ndarray | None = None,
    residual_variance: float | None = None,
    regularisation: Regularisation | None = None,
    one_more: tuple[float, float, float] | None = None,
) -> FoldedIn:
    """Parameters of notes from their ratings, raters and mu frozen; a million notes take a fraction of a second.

    Note k's ratings are `start[k]:start[k + 1]` of `rater_index` and `value` (any numbers in [0, 1]); `weight`: one per rating, default 1.
    Raters whose parameters are NaN do not count. A note nobody with parameters rated gets the prior: 0, 0 and its spread.
    `residual_variance`: variance of one rating about its prediction (of the fit); `None` estimates it from these very ratings.
    `one_more`: (rater intercept, rater factor, value) of an invented rating added to every note, see `intervals.py`.
    """
    ridge = (regularisation or Regularisation()).with_ratio(ratings_per_note).ridges(1.0, 1, 1)
    return _fold_in(
        start, rater_index, value, weight, raters.intercept, raters.factor, global_intercept,
        ridge.note_intercept, ridge.note_factor, residual_variance, one_more,
    )  # fmt: skip


def fold_in_raters(
    start: np.ndarray,
    note_index: np.ndarray,
    value: np.ndarray,
    notes: NoteParameters,
    global_intercept: float,
    *,
    ratings_per_rater: float,
    weight: np.ndarray | None = None,
    residual_variance: float | None = None,
    regularisation: Regularisation | None = None,
) -> FoldedIn:
    """Parameters of raters from the ratings they made, notes and mu frozen: `fold_in_notes` with the roles exchanged.

    `ratings_per_rater` is that of the fit (about 110 for X), for the same reason.
    """
    base = regularisation or Regularisation()
    return _fold_in(
        start, note_index, value, weight, notes.intercept, notes.factor, global_intercept,
        base.rater_intercept * ratings_per_rater, base.rater_factor * ratings_per_rater, residual_variance,
    )  # fmt: skip


def _fold_in(
    start: np.ndarray,
    index: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray | None,
    intercept: np.ndarray,
    factor: np.ndarray,
    mu: float,
    ridge_i: float,
    ridge_f: float,
    residual_variance: float | None,
    one_more: tuple[float, float, float] | None = None,
) -> FoldedIn:
    if len(index) != len(value) or (len(start) and start[-1] != len(index)):
        raise InputError(
            f"row starts end at {start[-1]}, but there are {len(index)} indices and {len(value)} values; all must agree."
        )
    if weight is not None and len(weight) != len(value):
        raise InputError(f"{len(weight)} weights for {len(value)} ratings: one each is expected.")
    out = np.zeros((max(len(start) - 1, 0), 7))
    _fold_in_rows(
        np.asarray(start, np.int64),
        np.ascontiguousarray(index),
        np.ascontiguousarray(value),
        np.zeros(0) if weight is None else np.ascontiguousarray(weight, dtype=np.float64),
        np.ascontiguousarray(intercept, dtype=np.float64),
        np.ascontiguousarray(factor, dtype=np.float64),
        float(mu), ridge_i, ridge_f, np.array(one_more or (), dtype=np.float64), out,
    )  # fmt: skip
    if residual_variance is None:
        residual_variance = float(out[:, 5].sum() / max(out[:, 4].sum() - out[:, 6].sum(), 1.0))
    return FoldedIn(
        out[:, 0].copy(),
        out[:, 1].copy(),
        np.sqrt(residual_variance * out[:, 2]),
        np.sqrt(residual_variance * out[:, 3]),
        out[:, 4].astype(np.int64),
        out[:, 5].copy(),
    )


@njit(nogil=True, cache=True, error_model="numpy")
def _fold_in_rows(
    start, index, value, weight, intercept, factor, mu, ridge_i, ridge_f, one_more, out
):  # pragma: no cover
    """Per row: intercept, factor, the two diagonal entries of the inverse, ratings used, squared error, fitted degrees of freedom."""
    for row in range(len(start) - 1):
        n = 0.0
        used = 0
        sy = 0.0
        sf = 0.0
        syf = 0.0
        sff = 0.0
        syy = 0.0
        for k in range(start[row], start[row + 1]):
            j = index[k]
            f = factor[j]
            y = value[k] - mu - intercept[j]
            if np.isnan(f) or np.isnan(y):
                continue
            w = weight[k] if len(weight) else 1.0
            used += 1
            n += w
            sy += w * y
            sf += w * f
            syf += w * y * f
            sff += w * f * f
            syy += w * y * y
        if len(one_more):
            y = one_more[2] - mu - one_more[0]
            f = one_more[1]
            n += 1.0
            sy += y
            sf += f
            syf += y * f
            sff += f * f
            syy += y * y
        a11 = n + ridge_i
        a22 = sff + ridge_f
        i, g = solve_2x2(a11, sf, a22, sy, syf)
        det = a11 * a22 - sf * sf
        out[row, 0] = i
        out[row, 1] = g
        out[row, 2] = a22 / det if det > 0.0 else np.inf
        out[row, 3] = a11 / det if det > 0.0 else np.inf
        out[row, 4] = used
        out[row, 5] = max(syy - 2.0 * (i * sy + g * syf) + i * i * n + 2.0 * i * g * sf + g * g * sff, 0.0)
        out[row, 6] = (a22 * n - 2.0 * sf * sf + a11 * sff) / det if det > 0.0 else 0.0
