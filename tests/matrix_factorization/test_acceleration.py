"""Fewer sweeps to the same optimum: extrapolation against linear algebra, samples against the table they are taken from."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from matrix_factorization.kernels.simd import part_sums, row_sums
from matrix_factorization.kernels.threads import Workers
from matrix_factorization.model.objective import objective
from matrix_factorization.solve import acceleration
from matrix_factorization.solve.acceleration import Extrapolation, sampled
from matrix_factorization.solve.exact import ExactSolver
from tests.matrix_factorization.test_solver import X, small_world

PLAIN = ExactSolver(random_starts=0, turn_communities=False, extrapolate=False, sample=False)


@pytest.fixture(scope="module")
def table():
    return small_world(120_000, "hard")[3]


def test_a_linear_map_with_two_slow_directions_is_solved_after_four_sweeps():
    """x -> T x has the fixed point 0; only two eigenvalues differ from 0, so three sweeps say everything about it."""
    rng = np.random.default_rng(0)
    first, second = np.linalg.qr(rng.normal(size=(40, 2)))[0].T
    x, mu = (3.0 * first - 2.0 * second).reshape(20, 2).astype(np.float32), 0.0
    extrapolation = Extrapolation(np.ones(20), 1.0, 1.0)
    for _ in range(4):
        flat = x.ravel().astype(np.float64)
        end = (0.9 * (flat @ first) * first + 0.5 * (flat @ second) * second).reshape(20, 2).astype(np.float32)
        x, mu = extrapolation.ahead((x, mu), (end, mu))
    assert np.abs(x).max() < 1e-4
    assert 0.5 <= extrapolation.rate <= 0.9 + 1e-3


def test_the_rate_it_reports_is_that_of_the_slowest_direction_left():
    x = np.ones((10, 2), np.float32)
    extrapolation = Extrapolation(np.ones(10), 1.0, 0.0)
    for _ in range(2):
        before, x = x, x * np.float32(0.7)
        extrapolation.ahead((before, 0.0), (x, 0.0))
    assert extrapolation.rate == pytest.approx(0.7, abs=1e-5)
    extrapolation.forget()
    assert extrapolation.rate == 0.0


def test_mu_is_extrapolated_with_the_raters():
    """A map that moves only mu: the geometric series is summed at once."""
    still, mu = np.zeros((5, 2), np.float32), 1.0
    extrapolation = Extrapolation(np.ones(5), 1.0, 1.0)
    for _ in range(2):
        _, mu = extrapolation.ahead((still, mu), (still, 0.8 * mu))
    assert abs(mu) < 1e-8


def test_extrapolated_sweeps_end_at_the_same_optimum_in_fewer(table):
    plain = PLAIN.fit(table)
    fast = ExactSolver(random_starts=0, turn_communities=False).fit(table)
    assert fast.loss == pytest.approx(plain.loss, rel=1e-8)
    np.testing.assert_allclose(fast.parameters.notes.intercept, plain.parameters.notes.intercept, atol=2e-3)
    assert fast.sweeps < 0.75 * plain.sweeps
    assert np.all(np.diff(fast.losses) <= 1e-15)
    assert fast.loss == pytest.approx(objective(table, fast.parameters, X), rel=1e-6)


@pytest.mark.parametrize("kind", ["mix", "easy", "hard", "two", "tough", "islands"])
@pytest.mark.parametrize("tolerance", [1e-6, 1e-8])
def test_it_stops_no_higher_than_a_few_tolerances_above_its_optimum(kind, tolerance):
    world = small_world(60_000, kind)[3]
    solver = ExactSolver(random_starts=0, turn_communities=False, tolerance=tolerance)
    found = solver.fit(world)
    down = ExactSolver(random_starts=0, turn_communities=False, tolerance=1e-13, max_sweeps=2000)
    best = down.fit(world, start=found.parameters).loss
    assert found.converged
    assert found.loss <= best * (1 + 5 * tolerance)


def test_a_sample_holds_every_rating_of_its_notes_and_every_rater(table, monkeypatch):
    monkeypatch.setattr(acceleration, "SMALLEST_SAMPLED", 1000)
    with Workers(2) as workers:
        sample = sampled(table, workers)
    rows = np.searchsorted(table.note_ids, sample.note_ids)
    assert 0 < len(rows) < 0.3 * table.n_notes
    assert sample.n_raters == table.n_raters
    expected = np.concatenate([table.by_note[table.note_start[k] : table.note_start[k + 1]] for k in rows])
    np.testing.assert_array_equal(sample.by_note, expected)
    note, rater, value = sample.triples()
    in_all = {(int(table.note_ids[n]), int(r)): v for n, r, v in zip(*table.triples(), strict=True)}
    assert all(in_all[int(sample.note_ids[n]), int(r)] == v for n, r, v in zip(note, rater, value, strict=True))
    other_way = np.bincount(sample.by_rater >> 2, minlength=sample.n_notes)
    np.testing.assert_array_equal(other_way, sample.note_degree())


def test_a_sample_carries_the_weights_of_its_ratings(table, monkeypatch):
    monkeypatch.setattr(acceleration, "SMALLEST_SAMPLED", 1000)
    of_rater = np.random.default_rng(0).uniform(0.5, 2.0, table.n_raters)
    with Workers(1) as workers:
        sample = sampled(table.with_rater_weights(of_rater), workers)
    np.testing.assert_array_equal(sample.note_weight, of_rater.astype(np.float32)[sample.by_note >> 2])


def test_small_tables_and_raters_with_few_ratings_are_not_sampled(table, monkeypatch):
    with Workers(1) as workers:
        assert sampled(table, workers) is None
        monkeypatch.setattr(acceleration, "SMALLEST_SAMPLED", 1000)
        monkeypatch.setattr(acceleration, "RATINGS_A_RATER", table.n_ratings / table.n_raters)
        assert sampled(table, workers) is None


def test_a_start_from_a_sample_ends_at_the_same_optimum(table, monkeypatch):
    whole = ExactSolver().fit(table)
    monkeypatch.setattr(acceleration, "SMALLEST_SAMPLED", 1000)
    assert ExactSolver().fit(table).loss == pytest.approx(whole.loss, rel=1e-7)


def test_a_rows_sums_are_those_of_its_parts():
    """`row_sums` beside plain numpy, for every length around the unrolling, near and far."""

    @njit
    def of_row(stream, first, last, table, far):
        return row_sums(stream, first, last, table, far)

    @njit
    def of_part(stream, first, last, table, far):
        return part_sums(stream, first, last, table, far)

    rng = np.random.default_rng(2)
    pairs = rng.normal(size=(50, 2)).astype(np.float32)
    stream = (rng.integers(0, 50, 40) << 2 | rng.integers(0, 3, 40)).astype(np.uint32)
    for last in (0, 1, 2, 3, 7, 40):
        x, f = pairs[stream[:last] >> 2].astype(np.float64).T
        code = (stream[:last] & 3).astype(np.float64)
        expected = [x.sum(), f.sum(), x @ f, f @ f, x @ x, code @ x, code @ f]
        for far in (False, True):
            np.testing.assert_allclose(of_row(stream, 0, last, pairs, far), expected, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(of_part(stream, 0, last, pairs, far), expected[:5], rtol=1e-12, atol=1e-12)
