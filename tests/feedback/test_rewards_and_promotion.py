from __future__ import annotations

import json

import polars as pl
import pytest

from feedback.settings import CompareWritersSettings
from feedback.tune.reward import FAILED, jury_reward, make_jury_reward
from feedback.tune.settings import TuneWriterSettings
from feedback.tune.stage import compare_writers, tune_writer
from jury.settings import JudgeCandidatesSettings
from nouns.errors import InputError
from tests.jury.world import CANDIDATES, CHECKS, MISLEADING, PlantedRater, World, planted

WHERE = ("jury", "snapshot", "parameters", "clusters")


def test_the_reward_is_higher_for_the_better_note_and_lowest_for_what_is_none(run):
    reward = make_jury_reward(**run.inputs(*WHERE), settings=JudgeCandidatesSettings(n_jurors=60), model=PlantedRater())
    texts = [planted("A", 0.1), planted("B", 0.3), "", "word " * 100]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    found = reward(
        ["p"] * 4, completions, post_id=["1000"] * 4, classification=[MISLEADING] * 4, source_note_ids=[["1"]] * 4
    )
    assert found[1] > found[0] > FAILED
    assert found[2:] == [FAILED, FAILED]
    assert reward(["p"], [planted("A", 0.1)], post_id=["1000"]) == pytest.approx(found[:1], abs=1e-6)
    assert reward(["p"], [planted("A", 0.1)], post_id=["999"]) == [FAILED]


def test_a_reward_without_posts_or_jury_says_what_to_set(run, monkeypatch):
    reward = make_jury_reward(**run.inputs(*WHERE), model=PlantedRater())
    with pytest.raises(InputError, match="remove_unused_columns"):
        reward(["p"], ["text"])
    for name in WHERE:
        monkeypatch.delenv(f"SUPERNOTES_REWARD_{name.upper()}", raising=False)
    with pytest.raises(InputError, match="SUPERNOTES_REWARD_JURY"):
        jury_reward(["p"], ["text"], post_id=["1"])


def test_grpo_without_a_jury_is_refused(tmp_path):
    with pytest.raises(InputError, match="jury is its reward"):
        tune_writer(tmp_path, TuneWriterSettings(method="grpo"), data=tmp_path)


def drafts(folder, posts, gain):
    """A writer's drafts on the posts, better by `gain`, and their checks."""
    folder.mkdir()
    rows = []
    for post in posts:
        for i in range(3):
            text = planted(f"{folder.name}{post}x{i}", 0.05 * i + gain + (post % 5) * 0.01)
            rows.append(
                {
                    "candidate_id": f"{folder.name}-{post}-{i}",
                    "post_id": post,
                    "cluster_id": "c",
                    "text": text,
                    "language": "en",
                    "classification": MISLEADING,
                    "source_note_ids": [],
                    "writer": folder.name,
                    "prompt_version": "v",
                    "seed": i,
                    "parent_id": None,
                    "round": 0,
                    "request_id": "q",
                }
            )
    pl.DataFrame(rows, schema=CANDIDATES).write_parquet(folder / "candidates.parquet")
    checks = [
        {
            "candidate_id": row["candidate_id"],
            "post_id": row["post_id"],
            "check": "length",
            "outcome": "passed",
            "reason": "",
            "start": None,
            "end": None,
            "principle": "",
        }
        for row in rows
    ]
    pl.DataFrame(checks, schema=CHECKS).write_parquet(folder / "checks.parquet")
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("writers")
    posts = {5000 + p: {"notes": {100 + p: (0.1, 0.0)}} for p in range(150)}
    world = World(root / "world", posts)
    old, new = drafts(root / "old", posts, 0.0), drafts(root / "new", posts, 0.1)
    results = []
    for n, (a, b) in enumerate(((old, new), (new, old))):
        out = root / f"out{n}"
        out.mkdir()
        counts = compare_writers(
            out,
            CompareWritersSettings(draws=200),
            **world.inputs(*WHERE),
            current=a,
            current_checks=a,
            new=b,
            new_checks=b,
            judge_settings=JudgeCandidatesSettings(n_jurors=60, n_appeal=60),
            proxy_model=PlantedRater(),
            gold_model=PlantedRater(),
        )
        results.append((counts, json.loads((out / "comparison.json").read_text())))
    return results


def test_the_better_writer_is_promoted_and_the_worse_one_refused_with_a_reason(compared):
    (counts, better), (_, worse) = compared
    assert counts["decision"] == better["decision"] == "promote", better["reason"]
    assert better["score_difference"]["value"] == pytest.approx(0.1, abs=0.02)
    assert worse["decision"] == "refuse"
    assert "not surely better" in worse["reason"]
    assert 5 <= counts["in"] <= 30  # about a tenth of 150 posts is held out
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
