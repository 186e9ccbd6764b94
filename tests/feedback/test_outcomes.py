from __future__ import annotations

import json

import polars as pl
import pytest

from feedback.outcomes.stage import drift
from feedback.settings import LearnOutcomesSettings
from nouns import snapshot as snapshots
from tests.calling import learn_outcomes

INPUTS = ("clusters", "candidates", "verdicts", "selections", "revisions")


@pytest.fixture
def later(run, tmp_path):
    """A later snapshot: the first post's winner was published, the second post's first note deleted, the third's became Helpful."""
    folder, fitted = tmp_path / "snapshot", tmp_path / "parameters"
    folder.mkdir()
    fitted.mkdir()
    lines = [json.loads(line) for line in (run.root / "selections" / "selections.jsonl").open()]
    won = {line["post_id"]: line for line in lines if line["outcome"] == "winner"}
    notes = pl.read_parquet(run.root / "snapshot" / "notes.parquet")
    published = notes.head(1).with_columns(
        noteId=pl.lit(777, pl.Int64), tweetId=pl.lit(1000, pl.Int64), summary=pl.lit(won["1000"]["text"])
    )
    notes = pl.concat([notes.filter(pl.col("noteId") != 11), published])
    snapshots.write(folder, "notes", notes)
    ids = notes["noteId"].to_list()
    ratings = [
        {"noteId": note, "raterParticipantId": f"x{k}", "createdAtMillis": k, "helpfulness": 1.0, "version": 2}
        for note in ids
        for k in range(20)
    ]
    snapshots.write(folder, "ratings", pl.DataFrame(ratings))
    status = [
        {
            "noteId": note,
            "createdAtMillis": 1,
            "currentStatus": "CURRENTLY_RATED_HELPFUL" if note == 21 else "NEEDS_MORE_RATINGS",
        }
        for note in ids
    ]
    snapshots.write(folder, "note_status_history", pl.DataFrame(status))
    real = {777: 0.45}
    pl.DataFrame(
        {"noteId": ids, "intercept": [real.get(note, 0.3 if note % 10 == 1 else 0.1) for note in ids]}
    ).write_parquet(fitted / "notes.parquet")
    return {"snapshot": folder, "parameters": fitted}


def test_outcomes_of_judged_notes_and_published_winners_are_counted(run, later, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    counts = learn_outcomes(out, LearnOutcomesSettings(), **later, **run.inputs(*INPUTS))
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    rows = pl.read_parquet(out / "outcomes.parquet")
    assert rows.filter(kind="winner").select("post_id", "note_id", "real").rows() == [(1000, 777, 0.45)]
    assert counts["rejected"]["deleted"] == 1
    assert counts["rejected"]["not_published"] == 3
    assert rows.filter(kind="existing")["n_ratings_before"].unique().to_list() == [7]


def test_outcome_pairs_follow_reality_and_tell_whether_the_jury_agreed(run, later, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    learn_outcomes(out, LearnOutcomesSettings(), **later, **run.inputs(*INPUTS))
    pairs = pl.read_parquet(out / "pairs.parquet")
    assert (pairs["real_gap"] >= 0.05).all()
    assert (pairs["chosen"] != pairs["rejected"]).all()
    assert pairs["jury_agreed"].all()  # the planted jury knows the order
    assert set(pairs["label_source"]) == {"outcome"}


def test_winners_are_withdrawn_for_a_deleted_source_or_a_note_that_became_helpful(run, later, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    learn_outcomes(out, LearnOutcomesSettings(), **later, **run.inputs(*INPUTS))
    lines = {line["post_id"]: line["reason_code"] for line in map(json.loads, (out / "withdrawals.jsonl").open())}
    assert lines == {"1001": "source_note_deleted", "1002": "note_became_helpful"}


def test_nothing_is_withdrawn_for_notes_that_are_lost_rather_than_deleted(run, later, tmp_path):
    kept = pl.read_parquet(later["snapshot"] / "notes.parquet").sort("noteId").head(1)
    snapshots.write(later["snapshot"], "notes", kept)
    out = tmp_path / "out"
    out.mkdir()
    counts = learn_outcomes(out, LearnOutcomesSettings(), **later, **run.inputs(*INPUTS))
    assert counts["rejected"]["lost"] > 3
    assert "deleted" not in counts["rejected"]
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert (out / "withdrawals.jsonl").read_text() == ""
    assert counts["notices"][0]["level"] == "warned"
    assert "supernotes diff" in counts["notices"][0]["text"]


def test_drift_is_said_only_where_it_is_sure():
    def row(error):
        return {"predicted": 0.2 + error, "real": 0.2, "covered": True, "kind": "existing"}

    settings = LearnOutcomesSettings()
    assert drift([row(0.1 + 0.01 * (i % 3)) for i in range(30)], [], settings)["drift"] is True
    assert drift([row(0.3), row(-0.1)], [], settings)["drift"] is False
    assert drift([], [], settings)["mean_error"] is None
