from __future__ import annotations

import numpy as np

from benchmarks.loop import SLOTS, TOPICS, Benches, World, over_seeds


def test_the_loops_world_reads_back_what_it_wrote_and_refuses_what_it_did_not():
    world = World(3, n_raters=60, n_notes=80)
    for (topic, text), truth in zip(world.notes, world.truth, strict=True):
        assert world.read(topic, text) == truth
    assert world.read("bridge fire", "wake up people : this is no note") is None
    assert not set(world.train_topics) & set(world.test_topics)
    assert len(TOPICS) == 100
    assert len(SLOTS) == 4


def test_both_juries_of_the_loop_see_the_truth_and_share_no_rater():
    world = World(3, n_raters=120, n_notes=400)
    benches = Benches(world, 3)
    drafts = benches.judge(world.notes[0][0], [text for _, text in world.notes[:150]])
    truth = [q for q, _ in world.truth[:150]]
    for name in ("proxy", "gold"):
        assert np.corrcoef([getattr(draft, name) for draft in drafts], truth)[0, 1] > 0.6
    assert not set(benches.proxy[1].rater_ids) & set(benches.gold[1].rater_ids)


def test_the_gain_over_seeds_has_the_t_interval():
    def line(seed, round_, gold):
        return {
            "seed": seed,
            "round": round_,
            "proxy": gold,
            "gold": gold,
            "truth": gold,
            "gold_of_one_draft": gold,
            "distinct_2_ratio": 1.0,
        }

    lines = [line(s, 0, 0.1) for s in range(3)] + [line(s, 1, 0.2 + 0.01 * s) for s in range(3)]
    (found,) = over_seeds(lines)
    assert found["gold"]["value"] == 0.11
    half = 4.302652729911275 * 0.01 / np.sqrt(3)  # Student's t, two degrees of freedom
    assert found["gold"]["lo"] == round(0.11 - half, 4)
