"""More than one factor: the same objective with an inner product of K factors, by alternating exact ridge regressions.

X's model has one factor ("only 1 is supported", communitynotes `matrix_factorization.py`), and so have the statuses and the jury here. Several
answer a question about the data: is there more that divides raters than one line can say? numpy only, some hundred bytes a rating.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from matrix_factorization.model.objective import Regularisation, Ridges
from matrix_factorization.model.ratings import RatingTable
from matrix_factorization.settings import FitRatersSettings
from matrix_factorization.solve.exact import ExactSolver, remaining_decrease


@dataclass(frozen=True)
class SeveralFactors:
    """A rating is predicted as mu + i_u + i_n + f_u . f_n.

    Intercepts (n_raters,), (n_notes,); factors (n_raters, K), (n_notes, K), the most dividing first: the columns of `rater_factors` are
    orthogonal, and in each more raters are negative than positive (neither changes a prediction or a penalty). `losses[k]`: the objective after
    sweep k of the last descent.
    """

    rater_intercept: np.ndarray
    rater_factors: np.ndarray
    note_intercept: np.ndarray
    note_factors: np.ndarray
    global_intercept: float
    losses: np.ndarray
    converged: bool

    @property
    def loss(self) -> float:
        return float(self.losses[-1])

    @property
    def spread(self) -> np.ndarray:
        """(K,) standard deviation, over pairs of a rater and a note, of what each factor adds to a prediction."""
        raters, notes = np.mean(self.rater_factors**2, axis=0), np.mean(self.note_factors**2, axis=0)
        return np.sqrt(raters * notes)

    def predict(self, note: np.ndarray, rater: np.ndarray) -> np.ndarray:
        """Predicted ratings of (note, rater) index pairs, (n_pairs,)."""
        product = np.einsum("ik,ik->i", self.rater_factors[rater], self.note_factors[note])
        return self.global_intercept + self.rater_intercept[rater] + self.note_intercept[note] + product


def objective_of_several(table: RatingTable, model: SeveralFactors, regularisation: Regularisation) -> float:
    """`objective` with K factors, each of which bears the penalty of the one: slow and plain. Zero for a table without ratings."""
    if table.n_ratings == 0:
        return 0.0
    note, rater, value = table.triples()
    ridge = regularisation.ridges(table.n_ratings, table.n_raters, table.n_notes)
    error = np.sum(table.weights() * (value - model.predict(note, rater)) ** 2)
    penalty = (
        ridge.rater_intercept * np.sum(model.rater_intercept**2)
        + ridge.rater_factor * np.sum(model.rater_factors**2)
        + ridge.note_intercept * np.sum(model.note_intercept**2)
        + ridge.note_factor * np.sum(model.note_factors**2)
        + ridge.global_intercept * model.global_intercept**2
    )
    return float((error + penalty) / table.n_ratings)


@dataclass(frozen=True)
class SeveralFactorsSolver:
    """Factors one after the other: the first from `first`, each further one begun at the leading singular pair of what is left over.

    After each addition all parameters descend together until the estimated remaining decrease is below `tolerance` of the objective. A
    local minimum, as every factorisation's; deterministic.
    """

    n_factors: int = 2
    regularisation: Regularisation = field(default_factory=Regularisation)
    tolerance: float = 1e-6
    max_sweeps: int = 500
    first: ExactSolver = field(default_factory=ExactSolver)

    def fit(self, table: RatingTable) -> tuple[SeveralFactors, ...]:
        """The models with 1, 2, ... `n_factors` factors; fewer where there are fewer raters or notes than factors.

        Raises ValueError for fewer than one factor.
        """
        if self.n_factors < 1:
            raise ValueError(f"a factorisation has at least one factor; n_factors is {self.n_factors}.")
        one = self.first.fit(table)
        raters, notes = one.parameters.raters, one.parameters.notes
        now = SeveralFactors(
            raters.intercept, raters.factor[:, None], notes.intercept, notes.factor[:, None],
            one.parameters.global_intercept, one.losses, one.converged,
        )  # fmt: skip
        found = [now]
        while len(found) < min(self.n_factors, table.n_raters - 1, table.n_notes - 1):
            now = self._descend(table, _with_another(table, now))
            found.append(now)
        return tuple(found)

    def _descend(self, table: RatingTable, now: SeveralFactors) -> SeveralFactors:
        note, rater, value = table.triples()
        weight = table.weights()
        ridge: Ridges = self.regularisation.ridges(table.n_ratings, table.n_raters, table.n_notes)
        a, f, b, g, mu = (
            now.rater_intercept, now.rater_factors, now.note_intercept, now.note_factors, now.global_intercept,
        )  # fmt: skip
        losses = [objective_of_several(table, now, self.regularisation)]
        converged = False
        while len(losses) <= self.max_sweeps and not converged:
            b, g = _solve(note, f[rater], value - mu - a[rater], weight, table.n_notes, ridge.note_intercept, ridge.note_factor)  # fmt: skip
            a, f = _solve(rater, g[note], value - mu - b[note], weight, table.n_raters, ridge.rater_intercept, ridge.rater_factor)  # fmt: skip
            rest = value - a[rater] - b[note] - np.einsum("ik,ik->i", f[rater], g[note])
            mu = float(np.sum(weight * rest) / (np.sum(weight) + ridge.global_intercept))
            now = SeveralFactors(a, f, b, g, mu, np.array(losses), False)
            losses.append(objective_of_several(table, now, self.regularisation))
            falls = (-np.diff(losses)).tolist()
            converged = remaining_decrease(falls) <= self.tolerance * losses[-1]
        f, g = _oriented(f, g)
        return SeveralFactors(a, f, b, g, mu, np.array(losses), converged)


def _with_another(table: RatingTable, model: SeveralFactors) -> SeveralFactors:
    """One more factor: the leading singular pair of the residuals, evenly divided between raters and notes."""
    note, rater, value = table.triples()
    rest = table.weights() * (value - model.predict(note, rater))
    matrix = csr_matrix((rest, (note, rater)), shape=(table.n_notes, table.n_raters))
    begin = np.random.default_rng(0).standard_normal(min(matrix.shape))
    u, s, v = svds(matrix, k=1, v0=begin)
    # A rating is one of many of its row and column: full entries would be larger by the share that is rated.
    scale = np.sqrt(s[0] / max(table.n_ratings / (table.n_notes * table.n_raters), 1e-12))
    return SeveralFactors(
        model.rater_intercept,
        np.column_stack([model.rater_factors, scale * v[0]]),
        model.note_intercept,
        np.column_stack([model.note_factors, scale * u[:, 0]]),
        model.global_intercept,
        model.losses,
        False,
    )


def _solve(row, features, target, weight, n_rows, ridge_intercept, ridge_factor) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of `target` on [1, features (n, K)] for each row: intercepts (n_rows,), slopes (n_rows, K)."""
    k = features.shape[1] + 1
    columns = [np.ones(len(row)), *features.T]
    gram, side = np.zeros((n_rows, k, k)), np.zeros((n_rows, k, 1))
    for p in range(k):
        weighted = weight * columns[p]
        side[:, p, 0] = np.bincount(row, weighted * target, n_rows)
        for q in range(p, k):
            gram[:, p, q] = gram[:, q, p] = np.bincount(row, weighted * columns[q], n_rows)
    gram[:, range(k), range(k)] += np.array([ridge_intercept] + [ridge_factor] * (k - 1))
    solved = np.linalg.solve(gram, side)[:, :, 0]
    return solved[:, 0], solved[:, 1:]


def _oriented(raters: np.ndarray, notes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same products with orthogonal columns of `raters`, the longest first, and the larger group of raters negative in each."""
    _, _, turn = np.linalg.svd(raters, full_matrices=False)
    raters, notes = raters @ turn.T, notes @ turn.T
    sign = np.where((raters > 0).sum(axis=0) > (raters < 0).sum(axis=0), -1.0, 1.0)
    return raters * sign, notes * sign


def held_out_by_factors(
    table: RatingTable, solver: SeveralFactorsSolver, splits: int, share: float, rng: np.random.Generator
) -> list[dict[str, float]]:
    """Mean squared error of held-out ratings with 1, 2, ... factors over random splits, the same splits for all.

    One entry for each number of factors: `factors`, `held_out` (mean over splits), `gain` (by how much the error is lower than with one factor
    fewer, mean; 0 for the first) and `gain_sd` (its spread over splits). Empty without splits or with fewer than 20 ratings.
    """
    if splits < 1 or table.n_ratings < 20:
        return []
    note, rater, value = table.triples()
    everyone = np.ones(table.n_notes, bool), np.ones(table.n_raters, bool)
    errors = []
    for _ in range(splits):
        test = rng.random(table.n_ratings) < share
        if not test.any() or test.all():
            continue
        models = solver.fit(table.keep(*everyone, ratings=~test))
        errors.append([float(np.mean((value[test] - model.predict(note[test], rater[test])) ** 2)) for model in models])
    if not errors:
        return []
    table_of_errors = np.array(errors)
    gains = np.column_stack([np.zeros(len(errors)), table_of_errors[:, :-1] - table_of_errors[:, 1:]])
    return [
        {"factors": k + 1, "held_out": float(e.mean()), "gain": float(g.mean()), "gain_sd": float(g.std())}
        for k, (e, g) in enumerate(zip(table_of_errors.T, gains.T, strict=True))
    ]


def several_factors(
    table: RatingTable, settings: FitRatersSettings, progress: Callable[..., None] = lambda *a, **k: None
) -> tuple[dict[str, pl.DataFrame], list[dict[str, Any]]]:
    """What `extra_factors` asks for: tables by file name, and one entry per number of factors for fit.json.

    The tables hold the model with most factors, ids ascending: raterParticipantId or noteId, `intercept`, `factor1` ... `factorK`. An
    entry: `factors`, `loss`, `spread` (of each factor, rating units), `converged`, and of `held_out_by_factors` what was measured (nothing above
    `diagnostics_limit` ratings).
    """
    first = ExactSolver(settings.regularisation, settings.tolerance, settings.max_sweeps, random_starts=0)
    solver = SeveralFactorsSolver(1 + settings.extra_factors, settings.regularisation, first=first)
    progress("fitting further factors")
    models = solver.fit(table)
    splits = settings.held_out_splits if table.n_ratings <= settings.diagnostics_limit else 0
    measured = held_out_by_factors(table, solver, splits, settings.held_out_share, np.random.default_rng(settings.seed))
    facts = [
        {"factors": k + 1, "loss": m.loss, "spread": m.spread.tolist(), "converged": m.converged}
        | (measured[k] if k < len(measured) else {})
        for k, m in enumerate(models)
    ]
    last = models[-1]
    raters = {"raterParticipantId": table.rater_ids.cast(pl.String), "intercept": last.rater_intercept}
    notes = {"noteId": table.note_ids.astype(np.int64), "intercept": last.note_intercept}
    return {
        "rater_factors.parquet": pl.DataFrame(raters | _named(last.rater_factors)),
        "note_factors.parquet": pl.DataFrame(notes | _named(last.note_factors)),
    }, facts


def _named(factors: np.ndarray) -> dict[str, np.ndarray]:
    return {f"factor{k + 1}": column for k, column in enumerate(factors.T)}
