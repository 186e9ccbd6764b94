"""How sure an order is, against a world in which the errors are known; and when a jury is refused or marked."""

from __future__ import annotations

import numpy as np
import pytest

from jury.train.certainty import within_scale
from jury.train.stage import gate, order_earned


@pytest.mark.parametrize("claimed", [0.5, 1.0, 2.0])
def test_a_deviation_that_is_claimed_too_small_or_too_large_is_set_right(claimed):
    rng = np.random.default_rng(4)
    n = 6_000
    predicted = np.repeat(rng.normal(0, 0.3, n // 2), 2) + rng.normal(0, 0.15, n)
    label = predicted + rng.normal(0, 0.15, n)
    true = 0.15 * np.sqrt(2)
    scale = within_scale(np.repeat(np.arange(n // 2), 2), label, predicted, true * claimed, np.ones(n))
    # Pairs far apart in truth are wrong less often than all pairs, so that a little less than the whole error is seen.
    assert 0.65 < scale * claimed < 1.05


def test_few_pairs_change_nothing():
    assert within_scale(np.arange(50), np.zeros(50), np.zeros(50), 0.1, np.ones(50)) == 1.0


def outcome(ours: float, theirs: float, ece: float, base: float) -> dict:
    entry = lambda v: {"value": v, "lo": v * 0.9, "hi": v * 1.1, "n": 500}  # noqa: E731
    return {
        "metrics": {"log_loss": entry(ours), "ece": entry(ece)},
        "baselines": {"rater_intercept": {"log_loss": entry(theirs), "ece": entry(base)}},
    }


def test_a_jury_worse_calibrated_than_the_baselines_is_refused_however_well_it_orders():
    assert not gate(outcome(0.4, 0.5, 0.117, 0.05), 200, 30)["passed"]
    assert "0.117" in gate(outcome(0.4, 0.5, 0.117, 0.05), 200, 30)["reason"]
    assert gate(outcome(0.4, 0.5, 0.035, 0.03), 200, 30)["passed"]
    assert gate(outcome(0.4, 0.5, 0.117, 0.05), 10, 30)["passed"]  # too few posts to tell
    assert not gate(outcome(0.6, 0.5, 0.02, 0.05), 200, 30)["passed"]


def test_an_order_no_better_than_a_baselines_is_marked():
    row = {"pairs": "same_stance", "against": "siblings", "value": 0.05, "lo": 0.01, "hi": 0.09, "n": 400}
    assert order_earned({"pairs_against": [row]})["better"] is True
    worse = row | {"against": "length_links", "value": 0.01, "lo": -0.03}
    found = order_earned({"pairs_against": [row, worse]})
    assert found["better"] is False
    assert "length links" in found["reason"]
    assert order_earned({"pairs_against": []})["better"] is None
