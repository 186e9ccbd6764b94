from __future__ import annotations

import numpy as np
import pytest

from jury.judge.draw import Raters, draw_jury, draw_two, side_of, split_pools, systematic_sample
from nouns.errors import InputError


def some_raters(n: int = 3000, seed: int = 0) -> Raters:
    rng = np.random.default_rng(seed)
    factor = np.where(rng.random(n) < 0.3, rng.normal(-0.6, 0.2, n), rng.normal(0.5, 0.2, n))
    activity = np.where(factor < 0, 40, 10) + rng.integers(0, 5, n)
    ids = tuple(f"rater{i}" for i in range(n))
    return Raters(ids, rng.normal(0, 0.2, n), factor, activity, split_pools(ids))


def test_an_electorate_has_the_sides_in_the_proportion_of_their_ratings():
    raters = some_raters()
    share = raters.n_ratings[raters.factor < 0].sum() / raters.n_ratings.sum()
    draw = draw_jury(raters, 400, seed=3)
    assert abs((draw.jury.factor < 0).mean() - share) <= 1 / 400 + 1e-9
    assert len(set(draw.jury.rater_ids)) == 400
    assert draw.remark == ""


def test_a_systematic_draw_scatters_less_than_independent_draws_would():
    raters = some_raters()
    weight = raters.n_ratings / raters.n_ratings.sum()
    mean = (weight * raters.factor).sum()
    sd = np.sqrt((weight * (raters.factor - mean) ** 2).sum())
    means = [draw_jury(raters, 100, seed=seed).jury.factor.mean() for seed in range(40)]
    assert np.std(means) < 0.25 * sd / 10
    assert abs(np.mean(means) - mean) < 0.01


def test_every_rater_is_drawn_as_often_as_its_weight_says():
    weight = np.array([1.0, 2.0, 3.0, 4.0])
    hits = np.zeros(4)
    rng = np.random.default_rng(1)
    for _ in range(4000):
        hits[systematic_sample(weight, 2, np.arange(4.0), rng)] += 1
    np.testing.assert_allclose(hits / 4000, 2 * weight / weight.sum(), atol=0.03)


def test_a_rater_whose_weight_exceeds_its_share_is_certain_and_enters_once():
    rows = systematic_sample(np.array([100.0, 1, 1, 1, 1]), 3, np.arange(5.0), np.random.default_rng(0))
    assert 0 in rows
    assert len(rows) == 3


def test_a_balanced_jury_has_as_many_jurors_on_each_side():
    jury = draw_jury(some_raters(), 500, composition="balanced").jury
    assert (jury.factor < 0).sum() == 250
    assert len(jury) == 500


def test_a_small_side_makes_a_smaller_jury_not_a_lopsided_one():
    raters = some_raters(60)
    few = int((raters.factor < 0).sum())
    draw = draw_jury(raters, 500, composition="balanced")
    assert (draw.jury.factor < 0).sum() == (draw.jury.factor >= 0).sum() == few
    assert str(2 * few) in draw.remark


def test_custom_bins_get_the_shares_asked_for():
    draw = draw_jury(some_raters(), 200, composition="custom", edges=(-0.3, 0.3), shares=(0.25, 0.25, 0.5))
    assert np.histogram(draw.jury.factor, [-9, -0.3, 0.3, 9])[0].tolist() == [50, 50, 100]


def test_fewer_raters_than_asked_are_all_taken_and_it_is_said():
    draw = draw_jury(some_raters(30), 1000)
    assert len(draw.jury) == 30
    assert "only 30" in draw.remark


def test_the_same_seed_draws_the_same_jury_and_another_seed_another():
    a, b, c = (draw_jury(some_raters(), 100, seed=seed).jury.rater_ids for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_the_appeal_shares_no_rater_with_the_first_jury():
    main, appeal = draw_two(some_raters(), 500, 500, composition="electorate", seed=1)
    assert appeal is not None
    assert not set(main.jury.rater_ids) & set(appeal.jury.rater_ids)
    assert len(appeal.jury) == 500


def test_raters_without_pools_are_shared_out_by_their_ids():
    raters = some_raters()._replace(pool=())
    main, appeal = draw_two(raters, 100, 100, composition="uniform")
    assert appeal is not None
    assert not set(main.jury.rater_ids) & set(appeal.jury.rater_ids)


def test_the_edges_of_the_middle_belong_to_it():
    assert side_of(np.array([-0.9, -1 / 3, 0.0, 1 / 3, 0.34])).tolist() == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"composition": "eletorate"}, "choose from"),
        ({"composition": "custom", "edges": (0.0,), "shares": (0.5, 0.4)}, "sum to one"),
        ({"composition": "custom", "edges": (5.0,), "shares": (0.5, 0.5)}, "No rater lies in part 1"),
    ],
)
def test_a_composition_that_cannot_be_drawn_is_refused_with_what_to_do(how, said):
    with pytest.raises(InputError, match=said):
        draw_jury(some_raters(50), 10, **how)


def test_no_raters_no_jury():
    with pytest.raises(InputError, match="No rater has parameters"):
        draw_jury(Raters((), np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64)), 10)
