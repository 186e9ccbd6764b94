"""The exact solver: alternating 2 x 2 solves, with an exact step along the directions in which no prediction changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import polars as pl

from matrix_factorization import kernels
from matrix_factorization.adding import with_added
from matrix_factorization.objective import (
    NoteParameters,
    Parameters,
    RaterParameters,
    Regularisation,
    Ridges,
    objective,
)
from matrix_factorization.ratings import RatingTable
from matrix_factorization.turning import turned
from matrix_factorization.workers import Workers, chunk_bounds


@dataclass(frozen=True)
class Start:
    """Where one descent began and where it ended: `name` ('seed note 12', 'random 3', 'given'), final `loss`, `sweeps`."""

    name: str
    loss: float
    sweeps: int


@dataclass(frozen=True)
class Factorization:
    """Parameters at the best minimum found, and how it was found.

    `losses[k]` is the objective after sweep k of the best start (`losses[0]`: before the first); `starts` has one entry per start, in
    order. `converged` is False when the sweeps ran out; `message` says it in words.
    """

    parameters: Parameters
    loss: float
    losses: np.ndarray
    starts: tuple[Start, ...]
    converged: bool
    message: str

    @property
    def sweeps(self) -> int:
        return len(self.losses) - 1

    @property
    def spread(self) -> float:
        """How much higher than the best the worst start ended, relative to the best; 0 for one start."""
        values = np.array([start.loss for start in self.starts])
        return float((values.max() - values.min()) / abs(values.min())) if len(values) and values.min() else 0.0


class Solver(Protocol):
    """Finds parameters of a table. `start`: begin there instead of from the solver's own starts; `rng`: for random starts."""

    def fit(
        self, ratings: RatingTable, start: Parameters | None = None, rng: np.random.Generator | None = None
    ) -> Factorization: ...


@dataclass(frozen=True)
class ExactSolver:
    """Alternating exact solves to the optimum of X's objective.

    `tolerance`: stop when the estimated remaining decrease of the objective is below this share of it. `random_starts`: further descents from
    random factors, beside the deterministic one; the best is kept. They are left out for tables of more than `random_start_limit` ratings.
    `turn_communities`: then see whether communities of the best have the wrong sign relative to each other (`turning.py`).
    `freeze_raters` keeps raters and mu as given in `start` (one exact half sweep over the notes); `freeze_notes` the other way round.
    `threads=None` uses the processors this process may use and never changes the result.
    """

    regularisation: Regularisation = field(default_factory=Regularisation)
    tolerance: float = 1e-9
    max_sweeps: int = 200
    seed_notes: int = 1
    random_starts: int = 3
    random_start_limit: int = 5_000_000
    turn_communities: bool = True
    freeze_raters: bool = False
    freeze_notes: bool = False
    gauge: bool = True
    threads: int | None = None

    def fit(
        self, ratings: RatingTable, start: Parameters | None = None, rng: np.random.Generator | None = None
    ) -> Factorization:
        if (self.freeze_raters or self.freeze_notes) and start is None:
            raise ValueError("frozen raters or notes need a start that holds their parameters; pass start=...")
        if ratings.n_ratings == 0:
            prior = start or _start_with_factors(ratings, np.zeros(ratings.n_raters))
            return Factorization(
                prior, 0.0, np.zeros(1), (), True, "There are no ratings: parameters stay as they were."
            )
        if start is not None:
            begins = [("given", start)]
        else:
            begins = [
                (f"seed note {ratings.note_ids[note]}", seed_start(ratings, note))
                for note in divided_notes(ratings, self.seed_notes)
            ]
            if ratings.n_ratings <= self.random_start_limit:
                rng = rng or np.random.default_rng(0)
                begins += [(f"random {k + 1}", random_start(ratings, rng)) for k in range(self.random_starts)]
        free = not (self.freeze_raters or self.freeze_notes)
        with Workers(self.threads) as workers:
            descent = _Descent(ratings, self, workers)
            runs = [descent.run(begin) for _, begin in begins]
            # Turn communities of the best so far until none gains; each time the descent goes on from there.
            while free and self.turn_communities:
                so_far = min(runs, key=lambda run: float(run.losses[-1]))
                other = turned(ratings, so_far.parameters)
                run = so_far if other is None else descent.run(other)
                if other is None or run.losses[-1] >= so_far.losses[-1] * (1 - 10 * self.tolerance):
                    break
                begins.append(("communities turned", other))
                runs.append(run)
        # The first start that reached the lowest loss: equal up to the tolerance is equal, and then the deterministic one counts.
        lowest = min(run.losses[-1] for run in runs)
        best = next(k for k, run in enumerate(runs) if run.losses[-1] <= lowest * (1 + 10 * self.tolerance))
        run = runs[best]
        reports = tuple(
            Start(name, float(other.losses[-1]), len(other.losses) - 1)
            for (name, _), other in zip(begins, runs, strict=True)
        )
        message = (
            f"{begins[best][0]}: {len(run.losses) - 1} sweeps, remaining excess estimated at {run.remaining:.1e} of the loss."
            if run.converged
            else f"{begins[best][0]}: stopped after {self.max_sweeps} sweeps with an estimated excess of {run.remaining:.1e}; raise max_sweeps."
        )
        parameters = run.parameters
        if free:
            parameters = larger_group_negative(parameters)
        return Factorization(parameters, float(run.losses[-1]), run.losses, reports, run.converged, message)


def refit(
    solver: ExactSolver, table: RatingTable, parameters: Parameters, new_ratings: pl.DataFrame
) -> tuple[RatingTable, Factorization]:
    """Yesterday's fit brought up to date: (the table with `new_ratings` added, its factorisation), descending from `parameters` of `table`.

    The notes that got ratings are solved first, the others being at rest; new raters start at the mean intercept and factor zero. Stops
    by the solver's `tolerance` like every fit: with one rating in a hundred new, half a sweep ends 5e-6 above the optimum, one and a half 4e-7.
    Raises `InputError` as `with_added` does.
    """
    added = with_added(table, new_ratings)
    intercept = np.full(added.table.n_raters, float(np.mean(parameters.raters.intercept)) if table.n_raters else 0.0)
    rater_factor = np.zeros(added.table.n_raters)
    note_intercept, note_factor = np.zeros(added.table.n_notes), np.zeros(added.table.n_notes)
    intercept[added.rater_row], rater_factor[added.rater_row] = parameters.raters.intercept, parameters.raters.factor
    note_intercept[added.note_row], note_factor[added.note_row] = parameters.notes.intercept, parameters.notes.factor
    start = Parameters(
        RaterParameters(intercept, rater_factor),
        NoteParameters(note_intercept, note_factor),
        parameters.global_intercept,
    )
    with Workers(solver.threads) as workers:
        run = _Descent(added.table, solver, workers).run(start, added.changed_notes)
    return added.table, Factorization(
        larger_group_negative(run.parameters),
        float(run.losses[-1]),
        run.losses,
        (Start("given", float(run.losses[-1]), len(run.losses) - 1),),
        run.converged,
        f"{len(run.losses) - 1} sweeps after {len(new_ratings)} new ratings, remaining excess estimated at {run.remaining:.1e} of the loss.",
    )


def divided_notes(ratings: RatingTable, count: int) -> Sequence[int]:
    """Indices of the notes whose smaller camp (helpful or not helpful) is largest; ties: more ratings, then smaller id."""
    if ratings.n_notes == 0:
        return [0]
    counts = np.diff(ratings.note_parts).reshape(-1, 3)
    smaller = np.minimum(counts[:, 0], counts[:, 2])
    order = np.lexsort((np.arange(ratings.n_notes), -counts.sum(axis=1), -smaller))
    return order[: max(count, 1)].tolist()


def seed_start(ratings: RatingTable, note: int) -> Parameters:
    """Raters of `note` get the factor 0.5 (helpful) or -0.5 (not helpful), everybody else 0.

    One divided note spreads a consistent sign over the whole rating graph; random starts can leave two communities with opposite signs.
    """
    factor = np.zeros(ratings.n_raters)
    if ratings.n_notes:
        row = ratings.by_note[ratings.note_start[note] : ratings.note_start[note + 1]]
        factor[row >> 2] = np.array([-0.5, 0.0, 0.5])[row & 3]
        if not factor.any():  # nobody disagreed anywhere: any direction is as good
            factor[row >> 2] = 0.5
    return _start_with_factors(ratings, factor)


def random_start(ratings: RatingTable, rng: np.random.Generator) -> Parameters:
    return _start_with_factors(ratings, rng.uniform(-0.5, 0.5, ratings.n_raters))


def _start_with_factors(ratings: RatingTable, factor: np.ndarray) -> Parameters:
    zeros = np.zeros(ratings.n_notes)
    return Parameters(
        RaterParameters(np.zeros(ratings.n_raters), factor), NoteParameters(zeros, zeros.copy()), ratings.mean_value()
    )


def larger_group_negative(parameters: Parameters) -> Parameters:
    """The sign convention of this project, X's own: more raters have a negative factor than a positive one.

    With equally many, the first rater with a factor (smallest id) is negative. Source: communitynotes `_flip_factors_for_identification`.
    """
    factor = parameters.raters.factor
    negative, positive = np.count_nonzero(factor < 0), np.count_nonzero(factor > 0)
    if positive > negative or (positive == negative and negative and factor[np.flatnonzero(factor)[0]] > 0):
        return parameters.flipped()
    return parameters


@dataclass
class _Run:
    parameters: Parameters
    losses: np.ndarray
    converged: bool
    remaining: float


class _Descent:
    """Buffers and constants that all starts on one table share."""

    def __init__(self, table: RatingTable, solver: ExactSolver, workers: Workers):
        self.table, self.solver, self.workers = table, solver, workers
        self.ridges: Ridges = solver.regularisation.ridges(table.n_ratings, table.n_raters, table.n_notes)
        self.note_bounds = chunk_bounds(table.note_start)
        self.rater_bounds = chunk_bounds(table.rater_start)
        self.total_weight = (
            float(table.n_ratings) if table.note_weight is None else float(np.sum(table.note_weight, dtype=np.float64))
        )

    def run(self, begin: Parameters, changed_notes: np.ndarray | None = None) -> _Run:
        """Descend from `begin`. `changed_notes`: the first half sweep solves only these, the others being at rest already."""
        table, solver, ridges = self.table, self.solver, self.ridges
        raters = _pairs(begin.raters.intercept, begin.raters.factor)
        notes = _pairs(begin.notes.intercept, begin.notes.factor)
        mu = float(begin.global_intercept)
        if solver.freeze_raters and solver.freeze_notes:
            return _Run(begin, np.array([objective(table, begin, solver.regularisation)]), True, 0.0)
        identity = np.array([1.0, 0.0, 0.0, 0.0])
        falls: list[float] = []
        note_gauge, sweep_ends = identity, [0]
        everything, chosen = np.zeros(0, bool), changed_notes if changed_notes is not None else np.zeros(0, bool)
        note_moments = np.zeros(kernels.N_PARTIAL)
        converged, remaining, loss = False, math.inf, math.inf
        solve_notes = not solver.freeze_notes
        scale = 0.1 * table.n_ratings  # the objective, in sums, is near 0.1 a rating; only the stopping rule uses it
        while len(falls) < 2 * solver.max_sweeps and not converged:
            if solve_notes:
                note_moments = self.half(True, raters, notes, mu, note_gauge, chosen)
                fall = note_moments[kernels.DECREASE]
                if len(chosen) == 0:
                    loss = note_moments[kernels.OBJECTIVE] + self.penalty(raters, mu, ridges[:2])
                note_gauge, chosen = identity, everything
            else:
                found = self.half(False, raters, notes, mu, identity, everything)
                loss = found[kernels.OBJECTIVE] + self.penalty(notes, mu, ridges[2:4])
                step, after = _best_global_step(found[kernels.RESIDUAL], mu, self.total_weight, ridges)
                if not solver.freeze_notes:
                    mu += step
                    if solver.gauge:
                        c, s, t, alpha, beta, more = kernels.gauge_step(
                            _moments(found, table.n_raters), _moments(note_moments, table.n_notes), mu, np.array(ridges)
                        )
                        kernels.move_along_gauge(raters, c, s, t, alpha)
                        mu -= s * t + alpha + beta
                        # The notes are solved anew next: they are moved when the descent ends.
                        note_gauge, after = np.array([c, s, t, beta]), after + more
                    loss -= after
                    sweep_ends.append(len(falls) + 1)
                else:
                    after = 0.0
                fall = found[kernels.DECREASE] + after
            falls.append(fall)
            if solver.freeze_raters or solver.freeze_notes:  # convex and separable: one half sweep is the answer
                converged, remaining = True, 0.0
            else:
                remaining = remaining_decrease(falls) / scale
                # Rounding of float32 storage: nothing is gained below 1e-15.
                at_rest = len(falls) > 2 and max(falls[-2:]) / scale <= 1e-15
                converged = remaining <= solver.tolerance or at_rest
                solve_notes = not solve_notes
        c, s, t, beta = note_gauge
        kernels.move_along_gauge(notes, 1.0 / c, t, s, beta)
        if sweep_ends[-1] != len(falls):
            sweep_ends.append(len(falls))
        to_come = np.concatenate((np.cumsum(np.array(falls)[::-1])[::-1], [0.0]))
        return _Run(_unpaired(raters, notes, mu), (loss + to_come[sweep_ends]) / table.n_ratings, converged, remaining)

    def half(
        self,
        solve_notes: bool,
        raters: np.ndarray,
        notes: np.ndarray,
        mu: float,
        gauge: np.ndarray,
        chosen: np.ndarray,
    ) -> np.ndarray:
        """Solve all notes (or all raters, or those marked in `chosen`) in place; returns the summed partials of the kernel."""
        table, ridges = self.table, self.ridges
        if solve_notes:
            start, parts, stream = table.note_start, table.note_parts, table.by_note
            weight, bounds = table.note_weight, self.note_bounds
            other, own, ridge = raters, notes, (ridges.note_intercept, ridges.note_factor)
        else:
            start, parts, stream = table.rater_start, table.rater_parts, table.by_rater
            weight, bounds = table.rater_weight, self.rater_bounds
            other, own, ridge = notes, raters, (ridges.rater_intercept, ridges.rater_factor)
        partial = np.zeros((len(bounds) - 1, kernels.N_PARTIAL))

        def work(lo: int, hi: int) -> None:
            if weight is None:
                kernels.half_sweep(parts, stream, other, own, mu, *ridge, gauge, chosen, bounds, lo, hi, partial)
            else:
                kernels.weighted_half_sweep(
                    start, stream, weight, other, own, mu, *ridge, gauge, chosen, bounds, lo, hi, partial
                )

        self.workers.run(len(partial), work)
        return partial.sum(axis=0)

    def penalty(self, pairs: np.ndarray, mu: float, ridge: Sequence[float]) -> float:
        """What one side and mu add to the objective, in sums."""
        squares = [np.einsum("i,i->", column, column, dtype=np.float64) for column in pairs.T]
        return float(ridge[0] * squares[0] + ridge[1] * squares[1] + self.ridges.global_intercept * mu**2)


def remaining_decrease(falls: list[float]) -> float:
    """What is left of the series of half sweeps' falls, which shrink geometrically in the end: at the rate of the last two or three."""
    if len(falls) < 3:
        return math.inf
    if min(falls[-3:]) <= 0:
        return max(falls[-1], 0.0)
    rate = max(falls[-1] / falls[-2], math.sqrt(falls[-1] / falls[-3]))
    rate = min(rate, 0.99)
    return falls[-1] * rate / (1.0 - rate)


def _best_global_step(residual: float, mu: float, weight: float, ridges: Ridges) -> tuple[float, float]:
    """(change of mu, decrease of the objective in sums) that minimise it over mu alone; `residual`: weighted sum of errors."""
    curvature = weight + ridges.global_intercept
    step = (residual - ridges.global_intercept * mu) / curvature
    return step, curvature * step * step


def _moments(partial: np.ndarray, n_rows: int) -> np.ndarray:
    return np.concatenate(([n_rows], partial[kernels.SUM_I :]))


def _pairs(intercept: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(n, 2) float32: one rater or note per 8 bytes, so that a look-up costs one memory access."""
    return np.stack([intercept, factor], axis=1).astype(np.float32)


def _unpaired(raters: np.ndarray, notes: np.ndarray, mu: float) -> Parameters:
    columns = [np.ascontiguousarray(side[:, k], dtype=np.float64) for side in (raters, notes) for k in (0, 1)]
    return Parameters(RaterParameters(*columns[:2]), NoteParameters(*columns[2:]), mu)


def warm_start(
    ratings: RatingTable,
    raters: tuple[pl.Series, RaterParameters],
    notes: tuple[np.ndarray, NoteParameters],
    global_intercept: float,
) -> Parameters:
    """Yesterday's parameters on today's table, to start an incremental refit from: `solver.fit(ratings, start=warm_start(...))`.

    `raters`: (ids, parameters), `notes`: (ids, parameters) of an earlier fit, in any order; ids need not be in the table. A new rater starts at
    the mean intercept and factor zero; new notes need no start, the first half sweep solves them.
    """
    ids, known = raters
    row = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})
    found = pl.DataFrame({"id": ratings.rater_ids}).join(row, on="id", how="left", maintain_order="left")["row"]
    old = found.is_not_null().to_numpy()
    intercept = np.full(ratings.n_raters, float(np.mean(known.intercept)) if len(known.intercept) else 0.0)
    factor = np.zeros(ratings.n_raters)
    at = found.drop_nulls().to_numpy()
    intercept[old], factor[old] = known.intercept[at], known.factor[at]
    note_ids, known_notes = notes
    order = np.argsort(note_ids, kind="stable")
    slot = np.minimum(np.searchsorted(note_ids, ratings.note_ids, sorter=order), max(len(note_ids) - 1, 0))
    note_intercept, note_factor = np.zeros(ratings.n_notes), np.zeros(ratings.n_notes)
    if len(note_ids):
        same = note_ids[order[slot]] == ratings.note_ids
        note_intercept[same] = known_notes.intercept[order[slot]][same]
        note_factor[same] = known_notes.factor[order[slot]][same]
    return Parameters(RaterParameters(intercept, factor), NoteParameters(note_intercept, note_factor), global_intercept)
