"""The exact solver: alternating 2 x 2 solves, with an exact step along the directions in which no prediction changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from matrix_factorization.kernels import loops as kernels
from matrix_factorization.kernels.threads import Workers, chunk_bounds
from matrix_factorization.model.objective import (
    NoteParameters,
    Parameters,
    RaterParameters,
    Regularisation,
    Ridges,
)
from matrix_factorization.model.ratings import RatingTable
from matrix_factorization.solve.acceleration import Extrapolation, sampled
from matrix_factorization.solve.turning import turned


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
    `sample`: a table of millions of ratings is begun on a tenth of its notes; `extrapolate`: sweeps are mixed (`acceleration.py`; both change how
    fast the optimum is found, not where it is).
    `freeze_raters` keeps raters and mu as given in `start`: one exact half sweep over the notes.
    `threads=None` uses the processors this process may use and never changes the result.
    """

    regularisation: Regularisation = field(default_factory=Regularisation)
    tolerance: float = 1e-9
    max_sweeps: int = 200
    random_starts: int = 3
    random_start_limit: int = 5_000_000
    turn_communities: bool = True
    freeze_raters: bool = False
    gauge: bool = True
    extrapolate: bool = True
    sample: bool = True
    threads: int | None = None

    def fit(
        self, ratings: RatingTable, start: Parameters | None = None, rng: np.random.Generator | None = None
    ) -> Factorization:
        if self.freeze_raters and start is None:
            raise ValueError("frozen raters need a start that holds their parameters; pass start=...")
        if ratings.n_ratings == 0:
            prior = start or _start_with_factors(ratings, np.zeros(ratings.n_raters))
            return Factorization(
                prior, 0.0, np.zeros(1), (), True, "There are no ratings: parameters stay as they were."
            )
        if start is not None:
            begins = [("given", start)]
        else:
            note = most_divided_note(ratings)
            begins = [(f"seed note {ratings.note_ids[note]}", seed_start(ratings, note))]
            if ratings.n_ratings <= self.random_start_limit:
                rng = rng or np.random.default_rng(0)
                begins += [(f"random {k + 1}", random_start(ratings, rng)) for k in range(self.random_starts)]
        free = not self.freeze_raters
        with Workers(self.threads) as workers:
            descent = _Descent(ratings, self, workers)
            sample = sampled(ratings, workers) if free and start is None and self.sample else None
            if sample is not None:
                rough = _Descent(sample, replace(self, tolerance=SAMPLE_TOLERANCE, max_sweeps=SAMPLE_SWEEPS), workers)
                begins = [
                    (name, _raters_of(rough.run(_raters_of(begin, sample.n_notes)).parameters, ratings.n_notes))
                    for name, begin in begins
                ]
                del rough, sample
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


def most_divided_note(ratings: RatingTable) -> int:
    """The note whose smaller camp (helpful or not helpful) is largest; ties: more ratings, then the smaller id."""
    if ratings.n_notes == 0:
        return 0
    parts = ratings.note_parts
    smaller = np.minimum(parts[1::3] - parts[:-1:3], parts[3::3] - parts[2::3])
    notes = np.flatnonzero(smaller == smaller.max())
    return int(notes[np.argmax(ratings.note_degree()[notes])])


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


# The raters of the sample need be no better than the sample knows them.
SAMPLE_TOLERANCE = 1e-3
SAMPLE_SWEEPS = 12


def _raters_of(parameters: Parameters, n_notes: int) -> Parameters:
    """The same raters and mu, with `n_notes` notes at zero."""
    zeros = np.zeros(n_notes)
    return Parameters(parameters.raters, NoteParameters(zeros, zeros.copy()), parameters.global_intercept)


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


_NO_GAUGE = np.array([1.0, 0.0, 0.0, 0.0])
_UNWEIGHTED = np.zeros(0, np.float32)


@dataclass
class _State:
    """Where a descent stands: (n, 2) float32 pairs of raters and notes, mu, and a gauge step not yet applied to the notes."""

    raters: np.ndarray
    notes: np.ndarray
    mu: float
    note_gauge: np.ndarray = field(default_factory=lambda: _NO_GAUGE)


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

    @cached_property
    def rater_weight(self) -> np.ndarray:
        """(n_raters,) total weight of each rater's ratings."""
        if self.table.rater_weight is None:
            return self.table.rater_degree().astype(np.float64)
        total = np.concatenate(([0.0], np.cumsum(self.table.rater_weight, dtype=np.float64)))
        return np.diff(total[self.table.rater_start])

    def run(self, begin: Parameters) -> _Run:
        """Descend from `begin`."""
        solver = self.solver
        state = _State(
            _pairs(begin.raters.intercept, begin.raters.factor),
            _pairs(begin.notes.intercept, begin.notes.factor),
            float(begin.global_intercept),
        )
        if solver.freeze_raters:
            return self.notes_only(state)
        falls: list[float] = []  # of each half sweep, as long as no extrapolation came between them
        losses: list[float] = []  # before the first sweep and after each
        rates: list[float] = []
        extrapolation = None
        end = None  # where the last sweep ended, while its extrapolation is on trial
        # The objective, in sums, is near 0.1 a rating; only the stopping rule uses it.
        scale = 0.1 * self.table.n_ratings
        halves, converged, rejected, remaining = 0, False, False, math.inf
        while (halves < 2 * solver.max_sweeps or rejected) and not converged:
            found, loss = self.solve_notes(state)
            halves, rejected = halves + 1, False
            if end is not None and extrapolation is not None and loss > losses[-1]:
                (state.raters, state.mu), end = end, None  # too far: go on from where the sweep itself ended
                extrapolation.forget()
                rejected = True
                continue
            if not rates:
                falls.append(found[kernels.DECREASE])
                remaining = remaining_decrease(falls) / scale
                if remaining <= solver.tolerance:
                    losses.append(loss)
                    converged = True
                    break
            before = state.raters.copy(), state.mu
            fall, loss = self.solve_raters(state, found)
            halves += 1
            end = None
            if not losses:
                losses.append(loss + fall + falls[0])
            losses.append(loss)
            if not rates:
                falls.append(fall)
                remaining = remaining_decrease(falls) / scale
            if solver.extrapolate:
                if extrapolation is None:
                    extrapolation = Extrapolation(
                        self.rater_weight, found[kernels.SUM_FF] / self.table.n_notes, self.total_weight
                    )
                end = state.raters, state.mu
                state.raters, state.mu = extrapolation.ahead(before, end)
                if extrapolation.rate:
                    rates.append(extrapolation.rate)
                    rate = max(rates[-3:])
                    # In each direction of rate q, one solve of the raters takes 1 - q of the excess away and leaves q.
                    remaining = fall * rate / (1.0 - rate) / scale
            # Rounding of float32 storage: nothing is gained below 1e-15.
            converged = remaining <= solver.tolerance or (len(losses) > 2 and fall / scale <= 1e-15)
        if end is not None:
            state.raters, state.mu = end
        c, s, t, beta = state.note_gauge
        kernels.move_along_gauge(state.notes, 1.0 / c, t, s, beta)
        return _Run(
            _unpaired(state.raters, state.notes, state.mu),
            np.array(losses) / self.table.n_ratings,
            converged,
            remaining,
        )

    def solve_notes(self, state: _State) -> tuple[np.ndarray, float]:
        """Half a sweep: (partial sums of the kernel, the objective after it, in sums)."""
        found = self.half(True, state, state.note_gauge)
        state.note_gauge = _NO_GAUGE
        return found, found[kernels.OBJECTIVE] + self.penalty(state.raters, state.mu, self.ridges[:2])

    def solve_raters(self, state: _State, of_notes: np.ndarray) -> tuple[float, float]:
        """The other half, then mu, then the step along the invariances: (decrease of the objective, the objective), in sums."""
        found = self.half(False, state, _NO_GAUGE)
        loss = found[kernels.OBJECTIVE] + self.penalty(state.notes, state.mu, self.ridges[2:4])
        step, after = _best_global_step(found[kernels.RESIDUAL], state.mu, self.total_weight, self.ridges)
        state.mu += step
        if self.solver.gauge:
            c, s, t, alpha, beta, more = kernels.gauge_step(
                _moments(found, self.table.n_raters),
                _moments(of_notes, self.table.n_notes),
                state.mu,
                np.array(self.ridges),
            )
            kernels.move_along_gauge(state.raters, c, s, t, alpha)
            state.mu -= s * t + alpha + beta
            # The notes are solved anew next: they are moved when the descent ends.
            state.note_gauge, after = np.array([c, s, t, beta]), after + more
        return found[kernels.DECREASE] + after, loss - after

    def notes_only(self, state: _State) -> _Run:
        """Raters frozen: convex and separable, so half a sweep is the answer."""
        found, loss = self.solve_notes(state)
        losses = np.array([loss + found[kernels.DECREASE], loss]) / self.table.n_ratings
        return _Run(_unpaired(state.raters, state.notes, state.mu), losses, True, 0.0)

    def half(self, solve_notes: bool, state: _State, gauge: np.ndarray) -> np.ndarray:
        """Solve all notes (or all raters) in place; returns the summed partials of the kernel."""
        table, ridges = self.table, self.ridges
        if solve_notes:
            parts, stream, weight, bounds = table.note_parts, table.by_note, table.note_weight, self.note_bounds
            other, own, ridge = state.raters, state.notes, (ridges.note_intercept, ridges.note_factor)
        else:
            parts, stream, weight, bounds = table.rater_parts, table.by_rater, table.rater_weight, self.rater_bounds
            other, own, ridge = state.notes, state.raters, (ridges.rater_intercept, ridges.rater_factor)
        weight = _UNWEIGHTED if weight is None else weight
        partial = np.zeros((len(bounds) - 1, kernels.N_PARTIAL))

        def work(lo: int, hi: int) -> None:
            kernels.half_sweep(parts, stream, weight, other, own, state.mu, *ridge, gauge, bounds, lo, hi, partial)

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
