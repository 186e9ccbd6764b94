"""Every solver against the same contract: planted truth, laws of the objective, the slow twin, degenerate input."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.worlds import make_world
from matrix_factorization.kernels import loops as kernels
from matrix_factorization.model.objective import (
    NoteParameters,
    Parameters,
    RaterParameters,
    Regularisation,
    objective,
    predictions,
)
from matrix_factorization.model.ratings import RatingTable, from_indices, rating_table
from matrix_factorization.solve.exact import ExactSolver, random_start
from matrix_factorization.solve.turning import communities
from nouns.errors import InputError
from tests.reference.descent_twin import AdamSolver
from tests.reference.plain_twin import PlainSolver

X = Regularisation()

# A new solver is one more row. The last number: how far above the optimum it may stop, relative.
SOLVERS = [
    pytest.param(ExactSolver(tolerance=1e-11), 1e-9, id="exact"),
    pytest.param(ExactSolver(tolerance=1e-11, threads=1, gauge=False, max_sweeps=2000), 1e-9, id="exact without gauge"),
    pytest.param(PlainSolver(), 1e-8, id="plain"),
    # With X's cold rate of 1.0 its stopping rule ends a world this small in mid-swing; at 0.2 it comes to rest.
    pytest.param(AdamSolver(cold_learning_rate=0.2), 2e-2, id="adam"),
]


def small_world(n: int = 12_000, kind: str = "mix", seed: int = 3):
    world = make_world(n, kind, seed)
    used_notes, note = np.unique(world.note_index, return_inverse=True)
    used_raters, rater = np.unique(world.rater_index, return_inverse=True)
    table = from_indices(
        note,
        rater,
        world.value,
        used_notes.astype(np.int64) + 10**18,
        pl.Series(used_raters).cast(pl.String).str.zfill(8),
    )
    return world, used_notes, used_raters, table


@pytest.fixture(scope="module")
def world():
    return small_world()


@pytest.fixture(scope="module")
def optimum(world):
    return ExactSolver(tolerance=1e-13, max_sweeps=2000).fit(world[3])


@pytest.mark.parametrize(("solver", "excess"), SOLVERS)
def test_it_reaches_the_optimum_and_reports_its_own_loss(world, optimum, solver, excess):
    table = world[3]
    found = solver.fit(table, rng=np.random.default_rng(1))
    assert found.loss == pytest.approx(objective(table, found.parameters, X), rel=1e-6)
    assert optimum.loss * (1 - 1e-9) <= found.loss <= optimum.loss * (1 + excess)


@pytest.mark.parametrize(("solver", "excess"), SOLVERS)
def test_it_finds_the_planted_factors(world, solver, excess):
    truth, notes, raters, table = world
    found = solver.fit(table, rng=np.random.default_rng(1)).parameters
    busy = table.rater_degree() >= 20
    assert abs(np.corrcoef(found.raters.factor[busy], truth.rater_factor[raters][busy])[0, 1]) > 0.9
    much_rated = table.note_degree() >= 20
    assert np.corrcoef(found.notes.intercept[much_rated], truth.note_intercept[notes][much_rated])[0, 1] > 0.7


@pytest.mark.parametrize(("solver", "excess"), SOLVERS)
def test_the_larger_group_of_raters_is_negative(world, solver, excess):
    factor = solver.fit(world[3], rng=np.random.default_rng(1)).parameters.raters.factor
    assert np.count_nonzero(factor < 0) >= np.count_nonzero(factor > 0)


@pytest.mark.parametrize(("solver", "excess"), SOLVERS[:3])
def test_weights_of_two_are_the_same_as_rating_twice(world, solver, excess):
    """A weight of 2 everywhere doubles the error and leaves the penalties: lambda / 2, in the unweighted problem."""
    table = world[3]
    half = Regularisation(*(x / 2 for x in (0.15, 0.03, 0.15, 0.03, 0.15)))
    weighted = solver.fit(table.with_weights(np.full(table.n_ratings, 2.0)))
    plain = ExactSolver(tolerance=1e-12, regularisation=half).fit(table)
    assert weighted.loss == pytest.approx(2 * plain.loss, rel=1e-7)


@pytest.mark.parametrize(("solver", "excess"), SOLVERS[:3])
def test_uneven_weights_agree_with_the_slow_twin(world, solver, excess):
    table = world[3]
    weighted = table.with_weights(np.random.default_rng(0).uniform(0.2, 3.0, table.n_ratings))
    assert solver.fit(weighted).loss == pytest.approx(PlainSolver().fit(weighted).loss, rel=1e-8)


def test_the_optimum_is_stationary_in_every_coordinate(world, optimum):
    """Moving any parameter by a little raises the objective: an independent check of the closed forms."""
    table, p = world[3], optimum.parameters
    rng = np.random.default_rng(5)
    for _ in range(20):
        step = 1e-2
        a, f, b, g = (x.copy() for x in (p.raters.intercept, p.raters.factor, p.notes.intercept, p.notes.factor))
        side = [a, f, b, g][rng.integers(4)]
        side[rng.integers(len(side))] += rng.choice([-step, step])
        assert (
            objective(table, Parameters(RaterParameters(a, f), NoteParameters(b, g), p.global_intercept), X)
            > optimum.loss
        )
    for change in (-1e-3, 1e-3):
        moved = Parameters(p.raters, p.notes, p.global_intercept + change)
        assert objective(table, moved, X) > optimum.loss


def test_the_gauge_step_changes_no_prediction_and_never_raises_the_objective(world):
    table = world[3]
    rng = np.random.default_rng(7)
    for _ in range(10):
        raters = rng.normal(0.1, rng.uniform(0.1, 2), (table.n_raters, 2)).astype(np.float32)
        notes = rng.normal(-0.1, rng.uniform(0.1, 2), (table.n_notes, 2)).astype(np.float32)
        before = _parameters(raters, notes, 0.3)

        def moments(x):
            i, f = x[:, 0].astype(float), x[:, 1].astype(float)
            return np.array([len(x), i.sum(), f.sum(), i @ i, i @ f, f @ f])

        ridges = np.array(X.ridges(table.n_ratings, table.n_raters, table.n_notes))
        c, s, t, alpha, beta, fall = kernels.gauge_step(moments(raters), moments(notes), 0.3, ridges)
        kernels.move_along_gauge(raters, c, s, t, alpha)
        kernels.move_along_gauge(notes, 1.0 / c, t, s, beta)
        after = _parameters(raters, notes, 0.3 - s * t - alpha - beta)
        np.testing.assert_allclose(predictions(table, after), predictions(table, before), atol=2e-5)
        drop = objective(table, before, X) - objective(table, after, X)
        assert drop >= -1e-6
        assert drop * table.n_ratings == pytest.approx(fall, rel=1e-3, abs=1e-2)


def _parameters(raters, notes, mu):
    columns = [x[:, k].astype(np.float64) for x in (raters, notes) for k in (0, 1)]
    return Parameters(RaterParameters(*columns[:2]), NoteParameters(*columns[2:]), mu)


def test_the_gauge_step_saves_most_sweeps(world, optimum):
    goal = optimum.loss * (1 + 1e-6)
    with_gauge = ExactSolver(tolerance=1e-12, random_starts=0).fit(world[3]).losses
    without = ExactSolver(tolerance=1e-12, random_starts=0, gauge=False, max_sweeps=2000).fit(world[3]).losses
    assert np.argmax(with_gauge <= goal) * 2 < np.argmax(without <= goal)


def test_losses_fall_with_every_sweep(world):
    losses = ExactSolver(tolerance=1e-10).fit(world[3]).losses
    assert np.all(np.diff(losses) <= 1e-15)


def test_shuffled_rows_give_the_same_bytes(world):
    table = world[3]
    note, rater, value = table.triples()
    order = np.random.default_rng(0).permutation(len(note))
    frame = pl.DataFrame(
        {"noteId": table.note_ids[note], "raterParticipantId": table.rater_ids.gather(rater), "helpfulness": value}
    )
    shuffled = rating_table(frame[order])
    np.testing.assert_array_equal(shuffled.by_note, table.by_note)
    np.testing.assert_array_equal(shuffled.by_rater, table.by_rater)
    first, second = ExactSolver().fit(table).parameters, ExactSolver().fit(shuffled).parameters
    np.testing.assert_array_equal(first.notes.intercept, second.notes.intercept)


def test_the_number_of_threads_does_not_change_a_bit():
    table = small_world(400_000)[3]
    one, three = (ExactSolver(threads=n, random_starts=0, max_sweeps=4).fit(table).parameters for n in (1, 3))
    np.testing.assert_array_equal(one.notes.intercept, three.notes.intercept)
    np.testing.assert_array_equal(one.raters.factor, three.raters.factor)


def test_swapping_helpful_and_not_helpful_mirrors_the_note_intercepts_without_the_global_penalty(world):
    """r -> 1 - r turns mu -> 1 - mu and every other sign when mu is free of penalty."""
    table = world[3]
    note, rater, value = table.triples()
    mirrored = from_indices(note, rater, 1.0 - value, table.note_ids, table.rater_ids)
    free = Regularisation(global_intercept=0.0)
    one, other = (ExactSolver(tolerance=1e-13, regularisation=free).fit(t).parameters for t in (table, mirrored))
    assert one.global_intercept == pytest.approx(1 - other.global_intercept, abs=1e-4)
    np.testing.assert_allclose(one.notes.intercept, -other.notes.intercept, atol=1e-3)


def test_frozen_raters_stay_and_notes_solve_their_own_equation(world, optimum):
    table, p = world[3], optimum.parameters
    start = Parameters(p.raters, NoteParameters(np.zeros(table.n_notes), np.zeros(table.n_notes)), p.global_intercept)
    found = ExactSolver(freeze_raters=True).fit(table, start=start)
    assert found.sweeps == 1
    np.testing.assert_allclose(found.parameters.raters.factor, p.raters.factor, atol=1e-6)
    np.testing.assert_allclose(found.parameters.notes.intercept, p.notes.intercept, atol=1e-4)


@pytest.mark.parametrize("kind", ["mix", "hard", "islands", "tough"])
def test_no_random_start_ends_lower_than_the_default_fit(kind):
    table = small_world(20_000, kind, seed=1)[3]
    found = ExactSolver().fit(table)
    rng = np.random.default_rng(11)
    others = [ExactSolver(max_sweeps=500).fit(table, start=random_start(table, rng)).loss for _ in range(8)]
    assert found.loss <= min(others) * (1 + 1e-6)


@pytest.mark.parametrize("seed", [1, 4])
def test_communities_turned_against_each_other_are_found_and_turned_back(seed):
    """Five communities with few links: most random starts end in a false minimum; one look at the communities leads out of each."""
    table = small_world(60_000, "islands", seed)[3]
    rng = np.random.default_rng(seed)
    starts = [random_start(table, rng) for _ in range(6)]
    plain = [ExactSolver(turn_communities=False, tolerance=1e-8).fit(table, start=start).loss for start in starts]
    turning = [ExactSolver(tolerance=1e-8).fit(table, start=start).loss for start in starts]
    assert max(plain) > min(plain) * 1.005
    assert max(turning) <= min(plain) * (1 + 1e-6)


def test_communities_are_those_that_were_planted():
    world, _, used_raters, table = small_world(60_000, "islands", 2)
    found, _ = communities(table)
    sides = np.sign(world.rater_factor[used_raters])
    assert found.max() + 1 == 5
    assert all(abs(sides[found == k].sum()) == np.count_nonzero(found == k) for k in range(5))


def test_ratio_corrected_penalties_do_not_depend_on_which_notes_are_fitted(world, optimum):
    """With raters frozen and q fixed, a note alone gets the parameters it gets among all: X's reason for the correction."""
    table, p = world[3], optimum.parameters
    fixed = X.with_ratio(20.0)
    some = np.zeros(table.n_notes, bool)
    some[::3] = True
    part = table.keep(some, np.ones(table.n_raters, bool))
    zero = NoteParameters(np.zeros(part.n_notes), np.zeros(part.n_notes))
    alone = ExactSolver(freeze_raters=True, regularisation=fixed).fit(
        part, start=Parameters(p.raters, zero, p.global_intercept)
    )
    together = ExactSolver(freeze_raters=True, regularisation=fixed).fit(table, start=p)
    np.testing.assert_allclose(alone.parameters.notes.intercept, together.parameters.notes.intercept[some], atol=1e-6)


def one_by_one(value: float) -> RatingTable:
    return from_indices(np.zeros(1), np.zeros(1), np.array([value]), np.array([5]), pl.Series(["A"]))


@pytest.mark.parametrize(("solver", "excess"), SOLVERS[:3])
def test_one_rating_is_shared_between_the_intercepts(solver, excess):
    found = solver.fit(one_by_one(1.0)).parameters
    assert found.notes.intercept[0] == pytest.approx(found.raters.intercept[0], abs=1e-3)
    assert 0 < found.notes.intercept[0] < 1


@pytest.mark.parametrize(("solver", "excess"), SOLVERS[:3])
def test_all_helpful_leaves_no_factor(solver, excess):
    note, rater = np.divmod(np.arange(60), 10)
    table = from_indices(note, rater, np.ones(60), np.arange(6), pl.Series([f"{k:02}" for k in range(10)]))
    found = solver.fit(table)
    assert np.all(np.isfinite(found.parameters.notes.intercept))
    # Intercepts alone explain everything a factor could, more cheaply or as cheaply: what is left of it is small.
    assert found.loss <= 0.2


def test_a_table_without_ratings_gives_the_prior():
    empty = from_indices(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64), pl.Series([], dtype=pl.String))
    found = ExactSolver().fit(empty)
    assert found.loss == 0.0
    assert found.converged


def test_bad_ratings_are_refused_with_their_value():
    with pytest.raises(InputError, match=r"0\.7"):
        from_indices(np.zeros(1), np.zeros(1), np.array([0.7]), np.array([5]), pl.Series(["A"]))


def test_a_pair_rated_twice_is_refused_by_name():
    frame = pl.DataFrame({"noteId": [7, 7], "raterParticipantId": ["A", "A"], "helpfulness": [1.0, 0.0]})
    with pytest.raises(InputError, match="note 7 was rated twice by rater A"):
        rating_table(frame)


def test_integer_and_string_ids_give_the_same_table():
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 90_000, 3000))
    ids = pairs % 300 * 10**15 - 10**17  # negative and large
    frame = pl.DataFrame(
        {"noteId": pairs // 300, "raterParticipantId": ids, "helpfulness": rng.choice([0.0, 0.5, 1.0], len(pairs))}
    )
    table = rating_table(frame)
    assert table.rater_ids.to_list() == sorted(set(ids.tolist()))
    note, rater, value = table.triples()
    rebuilt = set(
        zip(table.note_ids[note].tolist(), table.rater_ids.gather(rater).to_list(), value.tolist(), strict=True)
    )
    assert rebuilt == set(frame.rows())
    text = rating_table(frame.with_columns(pl.col("raterParticipantId").cast(pl.String)))
    assert text.n_raters == table.n_raters
    assert ExactSolver(tolerance=1e-11).fit(text).loss == pytest.approx(
        ExactSolver(tolerance=1e-11).fit(table).loss, rel=1e-8
    )
