"""More than one factor: the one-factor solver, planted factors, and the laws of the objective as judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from matrix_factorization.model.objective import Regularisation, objective
from matrix_factorization.model.ratings import RatingTable, from_indices
from matrix_factorization.settings import FitRatersSettings
from matrix_factorization.solve.exact import ExactSolver
from matrix_factorization.solve.several import (
    SeveralFactorsSolver,
    held_out_by_factors,
    objective_of_several,
    several_factors,
)

X = Regularisation()


def planted(n_factors: int, seed: int = 0, n_raters: int = 300, n_notes: int = 200, share: float = 0.25):
    """Raters and notes with so many independent factors, the second half as strong as the first; ratings are rounded to X's three values.

    Noise of a fifth before rounding: without it, rounding and clipping make products of factors, which are factors themselves.
    """
    rng = np.random.default_rng(seed)
    raters, notes = rng.choice([-0.6, 0.6], (n_raters, n_factors)), rng.choice([-0.6, 0.6], (n_notes, n_factors))
    strength = np.array([1.0, 0.6, 0.4])[:n_factors]
    level = 0.5 + rng.normal(0, 0.1, n_notes)[:, None] + rng.normal(0, 0.05, n_raters)
    score = level + (notes * strength) @ raters.T + rng.normal(0, 0.2, (n_notes, n_raters))
    note, rater = np.nonzero(rng.random(score.shape) < share)
    value = np.clip(np.round(2 * score[note, rater]) / 2, 0, 1)
    ids = pl.Series([f"{k:06d}" for k in range(n_raters)])
    return from_indices(note, rater, value, np.arange(n_notes, dtype=np.int64), ids), raters, notes


@pytest.fixture(scope="module")
def two() -> tuple[RatingTable, np.ndarray, np.ndarray]:
    return planted(2)


@pytest.fixture(scope="module")
def models(two):
    return SeveralFactorsSolver(3, tolerance=1e-9, max_sweeps=3000).fit(two[0])


def test_with_one_factor_it_is_the_bridging_factorisation(two, models):
    fit = ExactSolver().fit(two[0])
    assert models[0].loss == fit.loss
    assert objective_of_several(two[0], models[0], X) == pytest.approx(objective(two[0], fit.parameters, X), rel=1e-12)


def test_planted_factors_are_found_in_the_order_of_their_strength(two, models):
    _, raters, notes = two
    found = models[1]
    for k in range(2):
        assert abs(np.corrcoef(found.rater_factors[:, k], raters[:, k])[0, 1]) > 0.9
        assert abs(np.corrcoef(found.note_factors[:, k], notes[:, k])[0, 1]) > 0.9
    assert found.spread[0] > found.spread[1]


def test_no_small_step_lowers_the_objective(two, models):
    """At a minimum every parameter's slope is zero: finite differences of the plain objective, the largest over ten of each kind."""
    model = models[1]
    rng = np.random.default_rng(1)
    step = 1e-4
    for name in ("rater_intercept", "rater_factors", "note_intercept", "note_factors"):
        values = getattr(model, name)
        for at in rng.choice(values.size, 10, replace=False):
            losses = []
            for sign in (1, -1):
                moved = values.copy()
                moved.flat[at] += sign * step
                losses.append(objective_of_several(two[0], replace(model, **{name: moved}), X))
            assert abs(losses[0] - losses[1]) / (2 * step) < 1e-6


def test_every_factor_lowers_the_objective_and_losses_never_rise(models):
    assert models[0].loss > models[1].loss > models[2].loss
    for model in models[1:]:
        assert np.all(np.diff(model.losses) <= 1e-12)


def test_factors_of_raters_are_orthogonal_and_the_larger_group_is_negative(models):
    gram = models[1].rater_factors.T @ models[1].rater_factors
    assert abs(gram[0, 1]) < 1e-8 * np.trace(gram)
    assert np.all((models[1].rater_factors < 0).sum(axis=0) >= (models[1].rater_factors > 0).sum(axis=0))


def test_held_out_ratings_tell_how_many_factors_there_are(two):
    """A second factor helps where there are two, and does not where there is one; a third helps in neither."""
    solver = SeveralFactorsSolver(3)
    rng = np.random.default_rng
    here = held_out_by_factors(two[0], solver, 2, 0.1, rng(0))
    assert here[1]["gain"] > 0.01
    assert here[2]["gain"] < 0.1 * here[1]["gain"]
    elsewhere = held_out_by_factors(planted(1)[0], solver, 2, 0.1, rng(0))
    assert elsewhere[1]["gain"] < 0.1 * here[1]["gain"]


def test_the_tables_bear_ids_and_one_column_per_factor(two):
    tables, facts = several_factors(two[0], FitRatersSettings(extra_factors=1, held_out_splits=1))
    assert tables["rater_factors.parquet"].columns == ["raterParticipantId", "intercept", "factor1", "factor2"]
    assert tables["note_factors.parquet"]["noteId"].to_list() == two[0].note_ids.tolist()
    assert [entry["factors"] for entry in facts] == [1, 2]
    assert facts[1]["held_out"] < facts[0]["held_out"]


@pytest.mark.parametrize(("notes", "raters"), [([], []), ([0], [0]), ([0, 0, 1, 1], [0, 1, 0, 1])])
def test_fewer_raters_or_notes_than_factors_give_fewer_factors(notes, raters):
    n, u = len(set(notes)), len(set(raters))
    table = from_indices(
        np.array(notes, dtype=np.int64), np.array(raters, dtype=np.int64), np.ones(len(notes)),
        np.arange(n, dtype=np.int64), pl.Series([f"{k}" for k in range(u)], dtype=pl.String),
    )  # fmt: skip
    models = SeveralFactorsSolver(3).fit(table)
    assert len(models) == 1
    assert held_out_by_factors(table, SeveralFactorsSolver(3), 2, 0.1, np.random.default_rng(0)) == []


def test_no_factor_at_all_is_refused(two):
    with pytest.raises(ValueError, match="at least one factor"):
        SeveralFactorsSolver(0).fit(two[0])


@pytest.mark.parametrize("wanted", [-1, 21, 10**9])
def test_a_number_of_further_factors_that_makes_no_sense_is_refused_before_anything_is_fitted(wanted):
    with pytest.raises(ValueError, match="not between 0 and 20"):
        FitRatersSettings(extra_factors=wanted)
