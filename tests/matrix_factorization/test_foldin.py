"""Folding in: the closed forms against the solver, the slow twin, and the meaning of the penalties."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from matrix_factorization.foldin import bridging_scores, fold_in_notes, fold_in_raters
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters, Regularisation
from matrix_factorization.model.ratings import VALUE_OF_CODE, from_indices
from matrix_factorization.score.intervals import normal_interval, pseudo_rating_bounds
from matrix_factorization.solve.exact import ExactSolver
from nouns.errors import InputError
from tests.reference.plain_twin import solve_rows

RNG = np.random.default_rng(0)
N_RATERS, N_NOTES = 120, 9
RATERS = RaterParameters(RNG.normal(0, 0.2, N_RATERS), RNG.normal(0, 0.6, N_RATERS))
RATINGS = RNG.random((N_RATERS, N_NOTES))


def test_bridging_scores_are_ridge_regressions_of_each_note_on_the_rater_factors():
    q, mu = 37.0, 0.17
    scores = bridging_scores(RATINGS, RATERS.intercept, RATERS.factor, mu, ratings_per_note=q)
    note = np.repeat(np.arange(N_NOTES), N_RATERS)
    rater = np.tile(np.arange(N_RATERS), N_NOTES)
    target = RATINGS.T.ravel() - mu - RATERS.intercept[rater]
    intercept, factor = solve_rows(note, RATERS.factor[rater], target, np.ones(len(note)), N_NOTES, 0.15 * q, 0.03 * q)
    np.testing.assert_allclose(scores.intercept, intercept, atol=1e-12)
    np.testing.assert_allclose(scores.factor, factor, atol=1e-12)


def test_dense_scores_and_fold_in_agree_with_their_standard_deviations():
    q, mu = 20.0, 0.2
    dense = bridging_scores(RATINGS, RATERS.intercept, RATERS.factor, mu, ratings_per_note=q, residual_variance=0.07)
    start = np.arange(0, N_RATERS * N_NOTES + 1, N_RATERS)
    sparse = fold_in_notes(
        start,
        np.tile(np.arange(N_RATERS), N_NOTES),
        RATINGS.T.ravel(),
        RATERS,
        mu,
        ratings_per_note=q,
        residual_variance=0.07,
    )
    np.testing.assert_allclose(dense.intercept, sparse.intercept, atol=1e-12)
    np.testing.assert_allclose(dense.intercept_sd, sparse.intercept_sd, atol=1e-12)
    np.testing.assert_allclose(dense.factor_sd, sparse.factor_sd, atol=1e-12)


def test_the_residual_spread_of_each_note_is_that_of_its_residuals():
    scores = bridging_scores(RATINGS, RATERS.intercept, RATERS.factor, 0.1, ratings_per_note=5.0)
    rest = RATINGS - 0.1 - RATERS.intercept[:, None] - scores.intercept - RATERS.factor[:, None] * scores.factor
    system = np.array(
        [[N_RATERS + 0.75, RATERS.factor.sum()], [RATERS.factor.sum(), RATERS.factor @ RATERS.factor + 0.15]]
    )
    gram = system - np.diag([0.75, 0.15])
    inverse = np.linalg.inv(system)
    variance = (rest**2).sum(axis=0) / (N_RATERS - np.trace(inverse @ gram))
    np.testing.assert_allclose(scores.intercept_sd, np.sqrt(variance * inverse[0, 0]), rtol=1e-9)


def test_folding_in_agrees_with_the_solver_with_frozen_raters():
    note, rater = np.divmod(np.unique(RNG.integers(0, N_NOTES * N_RATERS, 400)), N_RATERS)
    value = RNG.choice([0.0, 0.5, 1.0], len(note))
    table = from_indices(note, rater, value, np.arange(N_NOTES), pl.Series(np.arange(N_RATERS)))
    q = table.n_ratings / N_NOTES
    zero = NoteParameters(np.zeros(N_NOTES), np.zeros(N_NOTES))
    solved = ExactSolver(freeze_raters=True).fit(table, start=Parameters(RATERS, zero, 0.2)).parameters.notes
    folded = fold_in_notes(
        table.note_start, table.by_note >> 2, VALUE_OF_CODE[table.by_note & 3], RATERS, 0.2, ratings_per_note=q
    )
    np.testing.assert_allclose(folded.intercept, solved.intercept, atol=1e-5)
    np.testing.assert_allclose(folded.factor, solved.factor, atol=1e-5)


def test_raters_fold_in_as_notes_do_with_the_roles_exchanged():
    start, index, value = np.array([0, 3, 5]), np.array([0, 1, 2, 2, 4]), np.array([1.0, 0.5, 0.0, 1.0, 1.0])
    notes = NoteParameters(RATERS.intercept, RATERS.factor)
    as_raters = fold_in_raters(start, index, value, notes, 0.1, ratings_per_rater=30.0)
    as_notes = fold_in_notes(start, index, value, RATERS, 0.1, ratings_per_note=30.0)
    np.testing.assert_array_equal(as_raters.intercept, as_notes.intercept)


def test_a_note_without_ratings_gets_the_prior():
    folded = fold_in_notes(
        np.array([0, 0]), np.zeros(0, int), np.zeros(0), RATERS, 0.2, ratings_per_note=10.0, residual_variance=0.06
    )
    assert (folded.intercept[0], folded.factor[0], folded.n_ratings[0]) == (0.0, 0.0, 0)
    assert folded.intercept_sd[0] == pytest.approx(np.sqrt(0.06 / 1.5))


def test_raters_without_parameters_do_not_count():
    unknown = RaterParameters(np.array([0.1, np.nan]), np.array([0.5, np.nan]))
    both = fold_in_notes(np.array([0, 2]), np.array([0, 1]), np.array([1.0, 0.0]), unknown, 0.2, ratings_per_note=10.0)
    one = fold_in_notes(np.array([0, 1]), np.array([0]), np.array([1.0]), unknown, 0.2, ratings_per_note=10.0)
    assert both.intercept[0] == one.intercept[0]
    assert both.n_ratings[0] == 1


def test_one_more_helpful_vote_never_lowers_the_intercept():
    """From a rater of either side: what the factor takes from it is less than what the vote brings."""
    for factor in (-0.8, -0.1, 0.0, 0.4, 1.0):
        raters = RaterParameters(np.zeros(5), np.array([-0.6, -0.5, 0.5, 0.6, factor]))
        four = np.array([1.0, 0.5, 0.5, 1.0])
        before = bridging_scores(four[:, None], raters.intercept[:4], raters.factor[:4], 0.2, ratings_per_note=3.0)
        after = bridging_scores(
            np.append(four, 1.0)[:, None], raters.intercept, raters.factor, 0.2, ratings_per_note=3.0
        )
        assert after.intercept[0] > before.intercept[0]


def test_applause_from_one_side_scores_below_equal_applause_from_both():
    factor = np.repeat([-0.7, 0.7], 20)
    one_side = np.where(factor < 0, 1.0, 0.0)
    mixed = np.tile([1.0, 0.0], 20)
    from_both = np.where(np.arange(40) % 4 < 3, 1.0, 0.0)
    scores = bridging_scores(
        np.stack([one_side, mixed, from_both], axis=1), np.zeros(40), factor, 0.2, ratings_per_note=10.0
    )
    assert scores.intercept[0] == pytest.approx(
        scores.intercept[1], abs=1e-12
    )  # symmetric sides: only the factor differs
    assert scores.intercept[2] > scores.intercept[0]
    assert scores.factor[0] < -0.4
    assert abs(scores.factor[1]) < 1e-12


def test_a_weight_of_two_is_the_rating_given_twice():
    start, index, value = np.array([0, 2]), np.array([0, 1]), np.array([1.0, 0.0])
    weighted = fold_in_notes(
        start, index, value, RATERS, 0.2, ratings_per_note=8.0, weight=np.array([2.0, 1.0]), residual_variance=1.0
    )
    twice = fold_in_notes(np.array([0, 3]), np.array([0, 0, 1]), np.array([1.0, 1.0, 0.0]), RATERS, 0.2, ratings_per_note=8.0, residual_variance=1.0)  # fmt: skip
    np.testing.assert_allclose(weighted.intercept, twice.intercept)
    np.testing.assert_allclose(weighted.factor_sd, twice.factor_sd)


def test_pseudo_rating_bounds_are_refits_with_one_more_rating():
    start, index, value = np.array([0, 4]), np.array([0, 1, 2, 3]), np.array([1.0, 0.5, 0.0, 1.0])
    q = 6.0
    bounds = pseudo_rating_bounds(start, index, value, RATERS, 0.2, ratings_per_note=q)
    extended = RaterParameters(np.append(RATERS.intercept, RATERS.intercept.min()), np.append(RATERS.factor, 0.0))
    highest = []
    for factor in (RATERS.factor.min(), 0.0, RATERS.factor.max()):
        extended.factor[-1] = factor
        refit = fold_in_notes(
            np.array([0, 5]), np.append(index, N_RATERS), np.append(value, 1.0), extended, 0.2, ratings_per_note=q + 1
        )
        highest.append(refit.intercept[0])
    plain = fold_in_notes(start, index, value, RATERS, 0.2, ratings_per_note=q).intercept[0]
    assert bounds.upper[0] == pytest.approx(max([plain, *highest]))
    assert bounds.lower[0] < plain < bounds.upper[0]


def test_nominal_intervals_cover_what_they_promise():
    """Notes drawn from the prior that the penalty stands for: 90 % intervals hold the truth nine times in ten."""
    rng = np.random.default_rng(4)
    sigma2, q, n = 0.06, 4.0, 12
    sd_intercept, sd_factor = np.sqrt(sigma2 / (0.15 * q)), np.sqrt(sigma2 / (0.03 * q))
    truth = rng.normal(0, sd_intercept, 4000)
    tilt = rng.normal(0, sd_factor, 4000)
    raters = RaterParameters(np.zeros(200), rng.normal(0, 0.6, 200))
    index = rng.integers(0, 200, 4000 * n)
    note = np.repeat(np.arange(4000), n)
    value = 0.2 + truth[note] + tilt[note] * raters.factor[index] + rng.normal(0, np.sqrt(sigma2), len(index))
    folded = fold_in_notes(
        np.arange(0, 4000 * n + 1, n), index, value, raters, 0.2, ratings_per_note=q, residual_variance=sigma2
    )
    lower, upper = normal_interval(folded.intercept, folded.intercept_sd, 0.90)
    assert np.mean((lower <= truth) & (truth <= upper)) == pytest.approx(0.90, abs=0.015)


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(InputError, match=r"\(3, 2\)"):
        bridging_scores(np.zeros((3, 2)), np.zeros(4), np.zeros(4), 0.2, ratings_per_note=10.0)
    with pytest.raises(InputError, match="2 weights for 1 ratings"):
        fold_in_notes(
            np.array([0, 1]), np.zeros(1, int), np.ones(1), RATERS, 0.2, ratings_per_note=1.0, weight=np.ones(2)
        )


def test_the_default_scale_is_the_objective_of_the_fit():
    ridge = Regularisation().with_ratio(36.9).ridges(1000.0, 10, 100)
    assert ridge.note_intercept == pytest.approx(0.15 * 36.9)
    assert ridge.rater_intercept == pytest.approx(0.15 * 100)
