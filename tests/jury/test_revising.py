from __future__ import annotations

import json

import polars as pl
import pytest

from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from nouns.x import NOT_HELPFUL_TAGS
from synthesis.revise.revise import OBJECTIONS, choose_finalists, feedback_in_words, improvement, objections
from synthesis.settings import ReviseCandidatesSettings
from tests.calling import judge_candidates, revise_candidates, select_winners
from tests.jury.test_selection import verdict
from tests.jury.world import PlantedRater, PlantedWriter, World

JUDGE = JudgeCandidatesSettings(n_jurors=80, n_appeal=80)
INPUTS = ("snapshot", "parameters", "jury", "clusters", "candidates", "checks", "verdicts")
POSTS = {
    101: {"notes": {11: (0.1, 0.0)}, "candidates": {"a1": (0.25, 0.0), "a2": (0.2, 0.1), "a3": (0.15, 0.0)}},
    102: {"notes": {21: (0.1, 0.0)}, "candidates": {"b1": (0.2, 0.0)}, "failed": ["b1"]},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"), POSTS)
    judge_candidates(made.root / "verdicts", JUDGE, **made.inputs(*INPUTS[:-1]), model=PlantedRater())
    return made


def revise(world, out, writer, **how):
    out.mkdir()
    return revise_candidates(
        out,
        ReviseCandidatesSettings(**how),
        **world.inputs(*INPUTS),
        judge_settings=JUDGE,
        model=PlantedRater(),
        writing=writer,
    )


def test_every_not_helpful_reason_of_x_has_words():
    assert set(OBJECTIONS) == set(NOT_HELPFUL_TAGS)


def test_the_feedback_speaks_of_sides_and_reasons_and_holds_no_number():
    settings = ReviseCandidatesSettings()
    words = feedback_in_words(objections(verdict("A", 0.1, 0.4), settings), verdict("A", 0.1, 0.4))
    assert "Readers of one side may find it argumentative" in words
    assert "harder to convince" in words
    assert not any(c.isdigit() for c in words)


def test_nobody_objects_nothing_is_said():
    assert feedback_in_words({}, verdict("A", 0.1)) == ""


def test_finalists_are_the_best_judged_ones():
    rows = [({"candidate_id": n}, verdict(n, q)) for n, q in (("a", 0.1), ("b", 0.3), ("c", 0.2))]
    unjudged = ({"candidate_id": "z"}, {"unjudged_reason": "failed_checks"})
    assert [row["candidate_id"] for row, _ in choose_finalists([unjudged, *rows], 2)] == ["b", "c"]


def test_an_improvement_must_be_large_enough_and_cost_no_side():
    settings = ReviseCandidatesSettings(minimum_gain=0.02, max_side_loss=0.02)
    before = verdict("A", 0.1)
    assert improvement(before, verdict("B", 0.2), settings) == (True, "improved")
    assert improvement(before, verdict("B", 0.11), settings) == (False, "gain_too_small")
    kept, why = improvement(before, verdict("B", 0.15, 0.3), settings)
    assert (kept, why) == (False, "loses_negative_side")


def test_real_improvements_are_kept_with_their_lineage(world, tmp_path):
    writer = PlantedWriter(gain=0.1)
    counts = revise(world, tmp_path / "out", writer, finalists=2, rounds=1)
    assert counts == {"in": 2, "out": 2, "rejected": {}, "training_records": 8, "examined": 0}
    lineage = pl.read_parquet(tmp_path / "out" / "lineage.parquet")
    assert lineage.select("candidate_id", "parent_id", "kept").rows() == [("a1-r1", "a1", True), ("a2-r1", "a2", True)]
    assert (lineage["score_after"] - lineage["score_before"] > 0.05).all()
    assert all("may" in words for words in lineage["feedback"])
    assert {"candidates.parquet", "prompts.parquet", "checks.parquet", "verdicts.parquet", "failures.parquet"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_second_round_revises_the_first_rounds_improvements(world, tmp_path):
    revise(world, tmp_path / "out", PlantedWriter(gain=0.05), finalists=1, rounds=2)
    lineage = pl.read_parquet(tmp_path / "out" / "lineage.parquet")
    assert lineage.select("candidate_id", "parent_id", "round").rows() == [("a1-r1", "a1", 1), ("a1-r1-r2", "a1-r1", 2)]


def test_worse_revisions_are_counted_but_not_kept(world, tmp_path):
    counts = revise(world, tmp_path / "out", PlantedWriter(gain=-0.1), finalists=2)
    assert counts["out"] == 0
    assert counts["rejected"] == {"gain_too_small": 2}
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "out" / "training_records.jsonl").open()]
    assert sorted(kinds) == ["imitation"] * 4 + ["self_critic"] * 2


def test_a_revision_that_fails_its_checks_is_not_judged(world, tmp_path):
    counts = revise(world, tmp_path / "out", PlantedWriter(fails=("a1-r1",)), finalists=1)
    assert counts["rejected"] == {"failed_checks": 1}
    verdicts = pl.read_parquet(tmp_path / "out" / "verdicts.parquet")
    assert verdicts["unjudged_reason"].to_list() == ["failed_checks"]


def test_a_writer_that_repeats_itself_is_counted(world, tmp_path):
    class Parrot(PlantedWriter):
        def revise(self, asks):
            written = super().revise(asks)
            for row, ask in zip(written.candidates, asks, strict=True):
                row["text"] = ask.parent["text"]
            return written

    assert revise(world, tmp_path / "out", Parrot(), finalists=2)["rejected"] == {"same_text": 2}


def test_without_rounds_the_tables_are_there_and_empty(world, tmp_path):
    assert revise(world, tmp_path / "out", PlantedWriter(), rounds=0)["in"] == 0
    assert pl.read_parquet(tmp_path / "out" / "candidates.parquet").height == 0


def test_more_than_two_rounds_are_refused():
    with pytest.raises(ValueError, match="0, 1 or 2"):
        ReviseCandidatesSettings(rounds=3)


def test_a_kept_revision_can_win(world, tmp_path):
    revise(world, tmp_path / "revisions", PlantedWriter(gain=0.1), finalists=1)
    (tmp_path / "out").mkdir()
    select_winners(
        tmp_path / "out",
        SelectWinnersSettings(minimum_score=0.0),
        **world.inputs(*INPUTS),
        revisions=tmp_path / "revisions",
        judge_settings=JUDGE,
        model=PlantedRater(),
    )
    lines = [json.loads(line) for line in (tmp_path / "out" / "selections.jsonl").open()]
    assert lines[0]["candidate_id"] == "a1-r1"


def test_the_real_writing_room_revises_with_the_extractive_writer_and_its_own_checks(tmp_path):
    notes = {11: (0.1, 0.0), 12: (0.05, 0.1), 13: (0.2, -0.1)}
    world = World(tmp_path / "world", {101: {"notes": notes, "candidates": {"a1": (0.25, 0.0), "a2": (0.2, 0.1)}}})
    judge_candidates(world.root / "verdicts", JUDGE, **world.inputs(*INPUTS[:-1]), model=PlantedRater())
    out = tmp_path / "out"
    out.mkdir()
    counts = revise_candidates(
        out, ReviseCandidatesSettings(n=2), **world.inputs(*INPUTS), judge_settings=JUDGE, model=PlantedRater()
    )
    assert counts["in"] == 4 == counts["out"] + sum(counts["rejected"].values())
    made = pl.read_parquet(out / "candidates.parquet")
    assert set(made["parent_id"]) <= {"a1", "a2"}
    prompts = pl.read_parquet(out / "prompts.parquet")
    assert prompts.height == 2
    heard = prompts["messages"].to_list()[0][-1]["content"]
    assert "Readers" in heard
    for name in ("candidates", "prompts", "failures"):
        assert pl.read_parquet_schema(out / f"{name}.parquet") == pl.read_parquet_schema(
            world.root / "candidates" / f"{name}.parquet"
        )
