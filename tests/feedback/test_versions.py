"""Versions of collaborative notes and what raters suggested for them, on planted rows."""

from __future__ import annotations

import shutil
from itertools import pairwise

import polars as pl
import pytest

from feedback.pairs.versions import feedback_on, gain, report, series_of, taken
from feedback.settings import ExportSettings
from nouns import snapshot
from tests.calling import export
from tests.feedback.test_exports import INPUTS, rows_of
from tests.ingest.test_ingest import MISLEADING, NOTES, T0, folder, tsv
from tests.ingest.test_ingest import run as ingested

POST, OTHER = 9001, 9002


@pytest.fixture
def world(request):
    return request.getfixturevalue("run")


FIRST, SECOND, THIRD = (
    "The photo shows a flood. https://a.example/1",
    "The photo shows a flood in Port Lisle in October 2019. https://a.example/1",
    "The photo shows a flood in Port Lisle in October 2019, says the council. https://b.example/council",
)
WHERE, SOURCE, RUDE = (
    "Say it was Port Lisle, October 2019",
    "Cite https://b.example/council",
    "This note is biased rubbish",
)


def a_snapshot(path, texts, ratings, suggestions, author="AI"):
    path.mkdir()
    notes = [
        {"noteId": note, "tweetId": post, "noteAuthorParticipantId": author, "createdAtMillis": note, "classification": MISLEADING, "summary": text, "isCollaborativeNote": collaborative}
        for note, post, text, collaborative in texts
    ]  # fmt: skip
    snapshot.write(path, "notes", pl.DataFrame(notes))
    rows = [
        {"noteId": note, "raterParticipantId": f"r{k}", "createdAtMillis": at + k, "helpfulness": value, "version": 2}
        for note, value, at, n in ratings
        for k in range(n)
    ]
    snapshot.write(path, "ratings", pl.DataFrame(rows))
    said = [
        {"noteId": note, "createdAtMillis": at, "raterParticipantId": "r0", "suggestionId": at, "suggestion": text, "helpfulness": 0.5}
        for note, at, text in suggestions
    ]  # fmt: skip
    snapshot.write(path, "suggestions", pl.DataFrame(said, schema_overrides={"suggestionId": pl.Int64}))
    return path


@pytest.fixture
def rewritten(tmp_path):
    """One post with three versions, each a note of its own; another with one version; and a person's note."""
    texts = [(1, POST, FIRST, True), (2, POST, SECOND, True), (3, POST, THIRD, True), (4, OTHER, FIRST, True), (5, POST, "By a person", False)]  # fmt: skip
    ratings = [(1, 0.0, 10, 6), (2, 0.5, 20, 6), (3, 1.0, 30, 3), (5, 1.0, 5, 9)]
    suggestions = [(1, 12, RUDE), (1, 13, WHERE), (2, 22, SOURCE), (4, 40, WHERE)]
    return a_snapshot(tmp_path / "s", texts, ratings, suggestions)


def test_versions_of_one_note_stand_in_order_with_their_own_ratings_and_suggestions(rewritten):
    (versions,) = series_of(rewritten)
    assert [(v.note_id, v.n_ratings, v.helpfulness) for v in versions] == [(1, 6, 0.0), (2, 6, 0.5), (3, 3, 1.0)]
    assert [v.suggestions for v in versions] == [(RUDE, WHERE), (SOURCE,), ()]
    assert series_of(rewritten, posts=[OTHER]) == []


def test_what_was_suggested_is_found_in_the_next_version_by_its_words_or_its_link():
    assert taken(WHERE, FIRST, SECOND)
    assert taken(SOURCE, SECOND, THIRD)
    assert not taken(RUDE, FIRST, SECOND)
    assert not taken(WHERE, SECOND, THIRD)  # it was there already


def test_a_gain_needs_enough_ratings_of_both_versions(rewritten):
    (versions,) = series_of(rewritten)
    assert [gain(*step) for step in pairwise(versions)] == [0.5, None]
    assert feedback_on(*versions[:2]) == f"Raters suggested: “{WHERE}”; “{RUDE}”"
    assert feedback_on(versions[2], versions[2]) == ""


def test_the_report_says_what_was_taken_and_whether_it_helped(rewritten):
    told = report(series_of(rewritten))
    assert (told["steps"], told["suggestions"], told["taken"]) == (2, 3, 2)
    assert told["steps_with_enough_ratings"] == {"one_taken": 1, "none_taken": 0}
    assert told["mean_gain"] == {"one_taken": 0.5, "none_taken": None}


def test_a_text_rewritten_under_the_same_id_is_two_versions_seen_from_two_snapshots(tmp_path):
    before = a_snapshot(tmp_path / "a", [(1, POST, FIRST, True)], [(1, 0.0, 10, 6)], [(1, 12, WHERE)])
    after = a_snapshot(tmp_path / "b", [(1, POST, SECOND, True)], [(1, 0.0, 10, 6), (1, 1.0, 100, 8)], [(1, 12, WHERE), (1, 105, SOURCE)])  # fmt: skip
    ((old, new),) = series_of(after, before)
    assert (old.text, old.n_ratings, old.helpfulness, old.suggestions) == (FIRST, 6, 0.0, (WHERE,))
    assert (new.text, new.n_ratings, new.helpfulness, new.suggestions) == (SECOND, 8, 1.0, (SOURCE,))
    assert series_of(after) == series_of(after, after) == []


def test_a_snapshot_without_suggestions_has_versions_all_the_same(rewritten):
    (rewritten / "suggestions.parquet").unlink()
    assert [v.suggestions for v in series_of(rewritten)[0]] == [(), (), ()]


def test_ingest_keeps_every_suggestion_and_a_bad_one_costs_its_cell(tmp_path):
    header = "noteId raterParticipantId createdAtMillis helpfulnessLevel suggestion suggestionId"
    rows = [
        (NOTES[0], "A" * 64, T0 + 1, "HELPFUL", "Say when", "77"),
        (NOTES[0], "B" * 64, T0 + 2, "NOT_HELPFUL", "", ""),
        (NOTES[1], "A" * 64, T0 + 3, "SOMEWHAT_HELPFUL", 'The "date"', "not a number"),
        (NOTES[1], "C" * 64, T0 + 4, "HELPFUL", "caf\ufffd", "78"),
    ]
    source = folder(tmp_path / "in", ratings__00000=tsv(header, *rows))
    path = source / "ratings-00000.tsv"
    path.write_bytes(path.read_bytes().replace("caf\ufffd".encode(), b"caf\xe9"))
    out, counts = ingested(tmp_path, source)
    kept = pl.read_parquet(out / "suggestions.parquet")
    assert kept.select("noteId", "suggestionId", "suggestion", "helpfulness").rows() == [
        (NOTES[0], 77, "Say when", 1.0),
        (NOTES[1], None, 'The "date"', 0.5),
        (NOTES[1], 78, "caf\ufffd", 1.0),
    ]
    assert counts["tables"]["ratings"]["out"] == 4
    assert counts["tables"]["ratings"]["suggestions"] == 3


def test_steps_from_version_to_version_are_hindsight_rows(world, tmp_path):
    inputs = world.inputs(*INPUTS, "parameters")
    changed = tmp_path / "snapshot"
    shutil.copytree(inputs["snapshot"], changed)
    notes = pl.read_parquet(changed / "notes.parquet").with_columns(
        isCollaborativeNote=pl.col("noteId").is_in([1, 2]), noteAuthorParticipantId=pl.lit("AI")
    )
    notes = notes.with_columns(createdAtMillis=pl.col("noteId"))
    snapshot.write(changed, "notes", notes)
    ratings = [
        {"noteId": note, "raterParticipantId": f"q{k}", "createdAtMillis": k, "helpfulness": value, "version": 2}
        for note, value in ((1, 0.0), (2, 1.0))
        for k in range(6)
    ]
    snapshot.write(changed, "ratings", pl.DataFrame(ratings))
    said = {
        "noteId": 1,
        "createdAtMillis": 3,
        "raterParticipantId": "q1",
        "suggestion": "Say when it was",
        "helpfulness": 0.0,
    }
    snapshot.write(changed, "suggestions", pl.DataFrame([said]))
    export(tmp_path / "out", ExportSettings(formats=("hindsight",)), **(inputs | {"snapshot": changed}), run_id="r1")
    rows = rows_of(tmp_path / "out", "hindsight").filter(feedback_source="raters")
    assert rows.height == 1
    (row,) = rows.to_dicts()
    text = dict(notes.select("noteId", "summary").iter_rows())
    assert (row["response_id"], row["improved_id"]) == ("note-1", "note-2")
    assert text[1] in row["response"]
    assert text[2] in row["improved"]
    assert row["feedback"] == "Raters suggested: “Say when it was”"
    assert row["score_before"] is not None
