"""One post through the machine gives what the run wrote about it."""

from __future__ import annotations

import json

import pytest

from nouns.errors import InputError
from nouns.post import MISLEADING, Note, NotedPost, Post
from pipeline import Machine
from pipeline.plan import Plan
from storage.store import Store


@pytest.fixture(scope="module")
def opened(sample_run):
    workspace, run_id = sample_run
    run = Plan(Store(workspace), run_id).open("export")
    lines = (run.path("select_winners") / "selections.jsonl").read_text(encoding="utf-8").splitlines()
    return Machine.of_run(f"{workspace}/runs/{run_id}"), run, [json.loads(line) for line in lines]


def rows(frame):
    return tuple(frame.iter_rows(named=True))


def test_its_outcome_on_every_post_is_the_runs(opened):
    machine, run, selections = opened
    assert len(selections) > 70
    for line in selections:
        post_id = int(line["post_id"])
        outcome, written = machine.run(machine.post(post_id)), run.with_posts([post_id])
        assert outcome.selection == line
        assert outcome.clusters == rows(written.table("cluster_notes", "clusters"))
        for name in ("candidates", "checks", "verdicts"):
            assert getattr(outcome, name) == rows(getattr(written, name)()), (post_id, name)
        assert outcome.lineage == rows(written.table("revise_candidates", "lineage"))
        assert outcome.winner == (line["text"] if line["outcome"] == "winner" else None)
        kept = {row["pair_id"] for row in rows(written.table("build_pairs", "pairs"))}
        assert kept <= {pair.pair_id for pair in outcome.pairs}


def test_a_text_is_assessed_as_the_run_judged_it(opened):
    machine, _, selections = opened
    line = next(line for line in selections if line["outcome"] == "winner")
    seen = machine.assess(machine.post(int(line["post_id"])), line["text"])
    assert seen["passed"]
    assert 0 <= seen["helpful"]["negative"] <= 1
    assert seen["lower"] < seen["score"] < seen["upper"]
    assert machine.assess(machine.post(int(line["post_id"])), " ")["score"] is None


def test_a_post_of_ones_own_goes_through_the_loop(opened):
    machine, _, _ = opened
    texts = (
        "The photo was taken in Port Lisle in 2019. https://www.lislecourier.example/2019/10/14/storm",
        "This picture is from 2019, not from this week. https://www.lislecourier.example/2019/10/14/storm",
    )
    notes = tuple(Note(n, 7, text, MISLEADING, created_at=1_700_000_000_000 + n) for n, text in enumerate(texts, 1))
    outcome = machine.run(NotedPost(Post(7, "Look at the storm this week", "en"), notes))
    assert outcome.selection["post_id"] == "7"
    assert outcome.candidates


def test_an_unknown_post_and_a_foreign_note_are_named(opened):
    machine, _, _ = opened
    with pytest.raises(InputError, match="Post 5 has no notes"):
        machine.post(5)
    with pytest.raises(ValueError, match="written on other posts"):
        NotedPost(Post(1), (Note(2, 3, "x", MISLEADING),))
