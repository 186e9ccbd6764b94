from __future__ import annotations

import numpy as np
import pytest

from feedback.compare.compare import Draft, bootstrap, compare, distinct, pick, spread
from feedback.settings import CompareWritersSettings

SETTINGS = CompareWritersSettings(draws=300)
WORDS = [
    "harbour",
    "village",
    "council",
    "record",
    "budget",
    "survey",
    "bridge",
    "school",
    "doctor",
    "report",
    "minister",
    "study",
    "figure",
    "river",
    "museum",
]


def drafts(
    gain: float, seed: int, n_posts: int = 60, n: int = 4, slant: float = 0.0, words: int = 12, variety: int = 15
):
    """Drafts whose gold score is noise plus `gain`; the proxy sees it with noise of its own."""
    rng = np.random.default_rng(seed)
    made = {}
    for post in range(n_posts):
        rows = []
        for _ in range(n):
            gold = rng.normal(gain, 0.1)
            text = " ".join(rng.choice(WORDS[:variety], words))
            rows.append(
                Draft(
                    text, True, gold + rng.normal(0, 0.05), gold, (0.5 + gold - slant, 0.5 + gold, 0.5 + gold + slant)
                )
            )
        made[post] = rows
    return made


def compared(a, b, **how):
    return compare(a, b, CompareWritersSettings(**({"draws": 300} | how)), np.random.default_rng(0))


def test_a_writer_that_is_better_on_both_sides_is_promoted():
    found = compared(drafts(0.0, 1), drafts(0.1, 2))
    assert found.decision == "promote", found.refusals
    assert found.measures["score_difference"]["value"] == pytest.approx(0.1, abs=0.05)
    assert found.measures["win_rate"]["lo"] > 0.5
    assert found.to_json()["decision"] == "promote"


def test_the_same_drafts_are_a_tie_and_refused():
    same = drafts(0.0, 1)
    found = compared(same, same)
    assert found.measures["win_rate"]["value"] == 0.5
    assert found.measures["score_difference"]["value"] == 0.0
    assert found.decision == "refuse"


def test_swapping_the_writers_swaps_the_sign():
    a, b = drafts(0.0, 1), drafts(0.05, 2)
    one, other = compared(a, b), compared(b, a)
    assert one.measures["score_difference"]["value"] == pytest.approx(-other.measures["score_difference"]["value"])
    assert one.measures["win_rate"]["value"] == pytest.approx(1 - other.measures["win_rate"]["value"])


def test_a_gain_that_one_side_pays_for_is_refused_and_the_side_is_named():
    found = compared(drafts(0.0, 1), drafts(0.1, 2, slant=0.3))
    assert any("negative side may lose" in why for why in found.refusals)


def test_a_writer_that_repeats_itself_is_refused():
    found = compared(drafts(0.0, 1), drafts(0.1, 2, variety=3))
    assert any("less varied" in why for why in found.refusals)


def test_a_writer_whose_texts_grow_is_refused():
    found = compared(drafts(0.0, 1), drafts(0.1, 2, words=20))
    assert any("length drifted" in why for why in found.refusals)


def test_a_writer_whose_drafts_fail_more_often_is_refused_and_loses_the_post_it_has_nothing_for():
    better = drafts(0.1, 2)
    for post in range(20):
        better[post] = [Draft(draft.text, False) for draft in better[post]]
    found = compared(drafts(0.0, 1), better)
    assert any("pass the checks" in why for why in found.refusals)
    assert found.measures["win_rate"]["n"] == 60
    assert found.measures["score_difference"]["n"] == 40


def test_the_pick_is_what_the_proxy_likes_best_among_those_that_passed():
    rows = [Draft("a", True, 0.2, 0.9), Draft("b", True, 0.3, 0.1), Draft("c", False, 0.9, 0.9), Draft("d", True, None)]
    assert pick(rows).text == "b"
    assert pick([rows[2]]) is None


def test_distinct_counts_different_n_grams():
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct([], 2) == 0.0


def test_spread_is_zero_for_equal_and_one_for_orthogonal_vectors():
    assert spread(np.tile([1.0, 0.0], (3, 1))) == pytest.approx(0.0)
    assert spread(np.eye(4)) == pytest.approx(1.0)
    assert spread(np.eye(1)) == 0.0


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        found = bootstrap(rng.normal(0.2, 1.0, 80), 200, 0.9, rng)
        hits += found["lo"] <= 0.2 <= found["hi"]
    assert 80 <= hits <= 98


def test_no_post_gives_nulls_and_a_refusal():
    found = compared({}, {})
    assert found.measures["score_difference"] == {"value": None, "lo": None, "hi": None, "n": 0}
    assert found.decision == "refuse"
