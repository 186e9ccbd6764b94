from __future__ import annotations

import numpy as np
import pytest

from jury.judge.aggregate import AGGREGATORS, BridgingIntercept, make_aggregator, receive
from jury.records import Jury, RatedTexts
from nouns.errors import InputError
from nouns.tables import AGGREGATORS as NAMES
from tests.jury.world import MU, TAGS, a_jury, rated


def with_ratings(expected: np.ndarray, sd: float = 0.0) -> RatedTexts:
    """Ratings that are helpful with chance `expected` (n_jurors, T) and not helpful otherwise."""
    n_texts = expected.shape[1]
    p = np.stack([1 - expected, np.zeros_like(expected), expected], axis=2).astype(np.float32)
    return RatedTexts(
        p, np.full(n_texts, sd), np.full(n_texts, sd), np.zeros((n_texts, 3, len(TAGS)), np.float32), TAGS
    )


def one_by_one(rated_texts: RatedTexts, jury: Jury, ratings_per_note: float) -> np.ndarray:
    """The slow twin of the bridging intercept: the stationarity conditions of one note at a time, written out."""
    found = []
    for t in range(rated_texts.probabilities.shape[1]):
        a = np.zeros((2, 2))
        b = np.zeros(2)
        for j in range(len(jury)):
            p = rated_texts.probabilities[j, t].astype(float)
            left = p[2] + 0.5 * p[1] - jury.global_intercept - jury.intercept[j]
            x = np.array([1.0, jury.factor[j]])
            a += np.outer(x, x)
            b += x * left
        a += ratings_per_note * np.diag([0.15, 0.03])
        found.append(np.linalg.solve(a, b))
    return np.array(found)


def test_the_bridging_intercept_finds_the_planted_intercept_and_factor():
    jury = a_jury(1000)
    plants = [(0.1, 0.0), (0.25, 0.1), (0.2, -0.2)]
    result = BridgingIntercept(ratings_per_note=1e-9).aggregate(rated(jury, *plants), jury)
    np.testing.assert_allclose(result.score, [q for q, _ in plants], atol=0.005)
    np.testing.assert_allclose(result.factor, [f for _, f in plants], atol=0.01)


def test_the_bridging_intercept_equals_the_slow_twin_with_xs_penalties():
    jury = a_jury(25)
    some = rated(jury, (0.3, 0.2), (0.0, -0.4))
    result = BridgingIntercept(ratings_per_note=37.0).aggregate(some, jury)
    np.testing.assert_allclose(
        np.stack([result.score, result.factor], axis=1), one_by_one(some, jury, 37.0), rtol=1e-5, atol=1e-6
    )


def test_settings_name_every_aggregator_in_the_same_order():
    assert tuple(AGGREGATORS) == NAMES


@pytest.mark.parametrize("name", sorted(set(AGGREGATORS) - {"schulze"}))
def test_one_more_helpful_vote_never_hurts(name):
    jury = a_jury(60)
    rng = np.random.default_rng(2)
    ratings = rng.random((60, 1))
    method = make_aggregator(name, 10.0)
    before = method.aggregate(with_ratings(ratings), jury).score[0]
    for j in np.argsort(ratings[:, 0])[:10]:
        # A jury's mean leverage is positive in X's model unless a juror's factor is far out on a lopsided jury.
        more = ratings.copy()
        more[j] = 1.0
        assert method.aggregate(with_ratings(more), jury).score[0] >= before - 1e-9


@pytest.mark.parametrize("name", ["bridging_intercept", "gaussian", "worst_side", "group_aware"])
def test_applause_from_one_side_scores_below_equal_applause_from_both(name):
    jury = a_jury(100)
    left = jury.factor < 0
    one_side = np.where(left, 0.9, 0.1)[:, None]
    both = np.full((100, 1), one_side.mean())
    result = make_aggregator(name, 10.0).aggregate(with_ratings(np.hstack([one_side, both])), jury)
    if name == "bridging_intercept":  # the mean is shared; what divides goes into the factor, and X's gate stops it
        assert abs(result.factor[0]) > 0.5 > abs(result.factor[1])
    else:
        assert result.score[0] < result.score[1] - 0.05


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_shuffling_the_jurors_changes_nothing(name):
    jury = a_jury(80)
    some = rated(jury, (0.1, 0.3), (0.2, 0.0), (0.3, -0.3))
    order = np.random.default_rng(0).permutation(80)
    mixed = Jury(tuple(np.array(jury.rater_ids)[order]), jury.intercept[order], jury.factor[order], MU, "x", 0)
    again = RatedTexts(some.probabilities[order], some.sd, some.sd_within, some.reasons, some.tags)
    method = make_aggregator(name, 10.0)
    np.testing.assert_allclose(method.aggregate(some, jury).score, method.aggregate(again, mixed).score, atol=1e-6)


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_a_text_everybody_likes_better_scores_higher(name):
    jury = a_jury(200)
    result = make_aggregator(name, 10.0).aggregate(rated(jury, (0.1, 0.1), (0.3, 0.1)), jury)
    assert result.score[1] > result.score[0]


def test_the_gaussian_mean_of_a_unanimous_text_is_its_clipped_rate():
    jury = a_jury(2000)
    ones, zeros = np.ones((2000, 1)), np.zeros((2000, 1))
    result = make_aggregator("gaussian", 10.0).aggregate(with_ratings(np.hstack([ones, zeros])), jury)
    assert result.score[0] == pytest.approx(0.8, abs=1e-6)
    assert result.score[1] == pytest.approx(0.05, abs=0.01)


def test_the_gaussian_mean_counts_somewhat_as_seven_tenths_and_dislike_more_than_once():
    # With a jury of one factor and no prior: (0.2 + 0.7 x 0.4) / (0.2 + 0.4 + 1.75 x 0.4).
    from jury.judge.aggregate import GaussianGeometricMean

    n = 10
    jury = Jury(("j",) * n, np.zeros(n), np.zeros(n), MU, "x", 0)
    p = np.tile(np.array([0.4, 0.4, 0.2], dtype=np.float32), (n, 1, 1))
    some = RatedTexts(p, np.zeros(1), np.zeros(1), np.zeros((1, 3, 0), np.float32), ())
    result = GaussianGeometricMean(prior_weight=0.0).aggregate(some, jury)
    assert result.score[0] == pytest.approx((0.2 + 0.7 * 0.4) / (0.2 + 0.4 + 1.75 * 0.4), abs=1e-6)


def test_the_worst_side_is_the_side_that_likes_it_least():
    jury = Jury(("a", "b", "c"), np.zeros(3), np.array([-0.8, 0.0, 0.8]), MU, "x", 0)
    result = make_aggregator("worst_side", 1.0).aggregate(with_ratings(np.array([[0.9], [0.2], [0.6]])), jury)
    assert result.score[0] == pytest.approx(0.2)


def test_group_aware_consensus_is_the_product_of_smoothed_shares():
    jury = Jury(("a", "b", "c", "d"), np.zeros(4), np.array([-0.8, -0.8, 0.8, 0.8]), MU, "x", 0)
    result = make_aggregator("group_aware", 1.0).aggregate(with_ratings(np.array([[1.0], [1.0], [1.0], [0.0]])), jury)
    assert result.score[0] == pytest.approx((3 / 4) * (2 / 4))


def test_the_models_error_is_in_the_interval():
    jury = a_jury(500)
    small = BridgingIntercept(10.0).aggregate(rated(jury, (0.2, 0.0)), jury).sd[0]
    some = rated(jury, (0.2, 0.0))
    large = RatedTexts(some.probabilities, some.sd + 0.2, some.sd_within, some.reasons, some.tags)
    assert BridgingIntercept(10.0).aggregate(large, jury).sd[0] > 0.2 > small


def test_an_unknown_aggregator_names_the_known_ones():
    with pytest.raises(InputError, match="bridging_intercept"):
        make_aggregator("briding_intercept", 10.0)


def test_reception_tells_each_side_apart():
    jury = a_jury(400)
    told = receive(rated(jury, (0.2, 0.4)), jury)
    assert told.helpful[0, 2] > told.helpful[0, 0]
    assert told.net_helpful[0, 1] > told.net_helpful[0, 0]
    assert told.curve.shape == (1, 21)
    assert told.curve[0, -1] > told.curve[0, 0]
    sides = [side for side, _, _ in told.reasons[0]]
    assert sides == ["negative"] * 4 + ["middle"] * 4 + ["positive"] * 4
    per_side = [p for side, _, p in told.reasons[0] if side == "negative"]
    assert per_side == sorted(per_side, reverse=True)


def test_a_side_without_jurors_is_unknown_not_zero():
    jury = Jury(("a", "b"), np.zeros(2), np.array([0.7, 0.8]), MU, "x", 0)
    assert np.isnan(receive(with_ratings(np.ones((2, 1))), jury).helpful[0, :2]).all()
