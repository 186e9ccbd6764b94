"""Every rater model keeps the contract of the seam; the baselines find what little they may look at."""

from __future__ import annotations

import numpy as np
import pytest

from jury.model.baselines import BASELINES, load_baselines, save_baselines, sibling_parameters
from jury.model.encoders import NoEncoder
from jury.model.features import MISLEADING
from jury.records import JudgedText, Jury, Ratings, Sibling
from jury.train.stage import train_baselines

TEXTS = [
    JudgedText("a", "Short.", MISLEADING, siblings=(Sibling(1, "Other", MISLEADING, 0.4, 0.2),)),
    JudgedText(
        "b",
        "According to records the bridge stands. https://example.gov/x",
        "NOT_MISLEADING",
        post_text="The bridge fell.",
    ),
]


@pytest.fixture(scope="module")
def baselines(world):
    return train_baselines(world.data, NoEncoder())


@pytest.mark.parametrize("name", [*BASELINES, "hierarchical"])
def test_every_model_keeps_the_contract(name, baselines, model):
    it = model if name == "hierarchical" else baselines[name]
    assert it.name == name
    jury = Jury(("x", "y", "z"), np.array([0.3, 0.0, -0.3]), np.array([-0.5, 0.0, 0.5]), 0.17, "test", 0)
    rated = it.seat(jury).rate(TEXTS)
    assert rated.probabilities.shape == (3, 2, 3)
    assert rated.probabilities.dtype == np.float32
    np.testing.assert_allclose(rated.probabilities.sum(axis=2), 1.0, atol=1e-5)
    assert rated.sd.shape == rated.sd_within.shape == (2,)
    assert rated.reasons.shape == (2, 3, len(rated.tags))
    assert it.seat(jury).rate([]).probabilities.shape == (3, 0, 3)
    alone = it.seat(jury).rate(TEXTS[1:])
    np.testing.assert_allclose(alone.probabilities[:, 0], rated.probabilities[:, 1], atol=1e-5)


def test_the_base_rate_is_the_share_of_each_answer(world, baselines):
    jury = Jury(("x",), np.zeros(1), np.zeros(1), 0.17, "test", 0)
    share = [(world.data.value == v).mean() for v in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(baselines["base_rate"].seat(jury).rate(TEXTS).probabilities[0, 0], share, atol=2e-3)


def test_generous_raters_are_expected_to_rate_generously(baselines):
    jury = Jury(("x", "y"), np.array([-0.3, 0.3]), np.zeros(2), 0.17, "test", 0)
    expected = baselines["rater_intercept"].seat(jury).rate(TEXTS).expected()
    assert (expected[1] > expected[0]).all()


def test_the_sibling_baseline_reads_published_parameters_or_folds_ratings_in():
    assert sibling_parameters(Sibling(1, "x", MISLEADING, 0.3, -0.1)) == (0.3, -0.1)
    assert sibling_parameters(Sibling(1, "x", MISLEADING)) == (None, None)
    liked = Ratings(("",) * 9, np.zeros(9), np.zeros(9), np.ones(9), np.full(9, -1))
    i, f = sibling_parameters(Sibling(1, "x", MISLEADING, ratings=liked))
    assert i == pytest.approx(9 * (1 - 0.17) / 12)  # nine ratings against a ridge of three
    assert f == 0.0


def test_saved_baselines_come_back(baselines, tmp_path):
    save_baselines(baselines, tmp_path)
    again = load_baselines(tmp_path)
    assert list(again) == list(BASELINES)
    np.testing.assert_allclose(again["stance"].coefficients, baselines["stance"].coefficients, atol=1e-8)
    assert load_baselines(tmp_path / "nowhere") == {}
