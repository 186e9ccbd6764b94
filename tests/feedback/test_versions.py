"""Versions of collaborative notes and what raters suggested for them, on planted rows."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import polars as pl
import pytest

from feedback.pairs.versions import feedback_on, gain, report, series_of, taken
from feedback.settings import BuildPairsSettings, ExportSettings
from nouns import snapshot
from tests.calling import build_pairs, export
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


def test_one_author_on_two_matters_is_no_series(tmp_path):
    flood, vote = "The photo shows a flood in Port Lisle.", "Turnout in the election was counted by the ministry."
    texts = [(1, POST, flood, True), (2, POST, vote, True), (3, POST, flood + " It is from 2019.", True)]
    found = series_of(a_snapshot(tmp_path / "s", texts, [(1, 0.5, 10, 6)], [(1, 12, WHERE)]))
    assert [[version.note_id for version in versions] for versions in found] == [[1, 3]]


def test_one_rating_dated_in_the_future_does_not_move_the_cut_between_versions(tmp_path):
    early = [(1, 0.0, 10, 150), (1, 1.0, 10**14, 1)]
    before = a_snapshot(tmp_path / "a", [(1, POST, FIRST, True)], early, [(1, 12, WHERE)])
    after = a_snapshot(tmp_path / "b", [(1, POST, SECOND, True)], [*early, (1, 1.0, 1000, 8)], [(1, 1005, SOURCE)])
    (series,) = series_of(after, before)
    new = series[1]
    assert (new.n_ratings, new.helpfulness, new.suggestions) == (9, 1.0, (SOURCE,))


def test_what_a_rater_suggested_with_a_rating_that_was_submitted_again_does_not_stay(tmp_path):
    header = "noteId raterParticipantId createdAtMillis helpfulnessLevel suggestion suggestionId"
    rows = [
        (NOTES[0], "A" * 64, T0 + 1, "NOT_HELPFUL", "Say when", "77"),
        (NOTES[0], "A" * 64, T0 + 9, "HELPFUL", "Say where, too", "78"),
        (NOTES[0], "B" * 64, T0 + 2, "HELPFUL", "Say who", "79"),
        (NOTES[1], "A" * 64, T0 + 1, "NOT_HELPFUL", "Say how", "80"),
        (NOTES[1], "A" * 64, T0 + 2, "HELPFUL", "", ""),
    ]
    out, counts = ingested(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(header, *rows)))
    assert set(pl.read_parquet(out / "suggestions.parquet")["suggestion"]) == {"Say where, too", "Say who"}
    assert counts["tables"]["ratings"]["suggestions"] == 2


BUILD = ("snapshot", "clusters", "candidates", "checks", "verdicts", "revisions", "selections", "parameters")


def with_versions(world, tmp_path, intercepts, means=(0.0, 1.0), sd=0.05):
    """The world's inputs with notes 1 and 2 as two versions of one note, six ratings each."""
    inputs = world.inputs(*INPUTS, "parameters")
    changed, fit = tmp_path / "snapshot", tmp_path / "parameters"
    shutil.copytree(inputs["snapshot"], changed)
    shutil.copytree(inputs["parameters"], fit)
    place = pl.read_parquet(fit / "notes.parquet")
    known = dict(zip((1, 2), intercepts, strict=True))
    values = [known.get(note, value) for note, value in place.select("noteId", "intercept").iter_rows()]
    place.with_columns(intercept=pl.Series(values), intercept_sd=pl.lit(sd)).write_parquet(fit / "notes.parquet")
    notes = pl.read_parquet(changed / "notes.parquet").with_columns(
        isCollaborativeNote=pl.col("noteId").is_in([1, 2]),
        noteAuthorParticipantId=pl.lit("AI"),
        createdAtMillis=pl.col("noteId"),
    )
    shared = "The bridge was closed by the council in October 2019 for repairs of the northern pillar"
    texts = {
        1: f"{shared}. https://a.example/1",
        2: f"{shared}, as the minutes of its meeting in May say. https://a.example/1",
    }
    said = [texts.get(note, summary) for note, summary in notes.select("noteId", "summary").iter_rows()]
    snapshot.write(changed, "notes", notes.with_columns(summary=pl.Series(said)))
    ratings = [
        {"noteId": note, "raterParticipantId": f"q{k}", "createdAtMillis": k, "helpfulness": value, "version": 2}
        for note, value in zip((1, 2), means, strict=True)
        for k in range(6)
    ]
    snapshot.write(changed, "ratings", pl.DataFrame(ratings))
    suggested = {"noteId": 1, "createdAtMillis": 3, "raterParticipantId": "q1", "suggestion": "Say when it was", "helpfulness": 0.0}  # fmt: skip
    snapshot.write(changed, "suggestions", pl.DataFrame([suggested]))
    return inputs | {"snapshot": changed, "parameters": fit}, texts


def hindsight(inputs, out):
    export(out, ExportSettings(formats=("hindsight",)), **inputs, run_id="r1")
    provenance = json.loads((out / "provenance.json").read_text())
    path = out / "hindsight"
    return (rows_of(out, "hindsight") if path.is_dir() else pl.DataFrame({"feedback_source": []}, schema={"feedback_source": pl.String})).filter(feedback_source="raters"), provenance["left_out"]  # fmt: skip


def test_steps_from_version_to_version_are_hindsight_rows_under_one_drafting_prompt_of_their_stance(world, tmp_path):
    inputs, texts = with_versions(world, tmp_path, (0.1, 0.3))
    rows, left_out = hindsight(inputs, tmp_path / "out")
    (row,) = rows.to_dicts()
    assert (row["response_id"], row["improved_id"]) == ("note-1", "note-2")
    assert texts[1] in row["response"]
    assert texts[2] in row["improved"]
    assert row["feedback"] == "Raters suggested: “Say when it was”"
    assert (row["score_before"], row["score_after"]) == pytest.approx((0.1, 0.3))
    drafts = pl.read_parquet(inputs["candidates"] / "candidates.parquet").filter(request_id=row["request_id"])
    assert set(drafts["parent_id"]) == {None}
    assert set(drafts["classification"]) == {MISLEADING}
    assert "receptions_disagree" not in left_out


def test_a_step_that_the_two_measures_judge_the_other_way_round_is_dropped_and_counted(world, tmp_path):
    rows, left_out = hindsight(with_versions(world, tmp_path, (0.3, 0.1))[0], tmp_path / "out")
    assert rows.height == 0
    assert left_out["receptions_disagree"] == 1


def test_a_later_version_that_was_received_worse_by_both_measures_is_no_improvement(world, tmp_path):
    (row,) = hindsight(with_versions(world, tmp_path, (0.3, 0.1), (1.0, 0.0))[0], tmp_path / "out")[0].to_dicts()
    assert (row["improved_id"], row["score_after"]) == (None, None)


def test_a_stance_for_which_no_draft_was_asked_has_no_hindsight_row_and_no_pair(world, tmp_path):
    inputs, _ = with_versions(world, tmp_path, (0.1, 0.3))
    notes = pl.read_parquet(inputs["snapshot"] / "notes.parquet")
    other = pl.when(pl.col("noteId").is_in([1, 2])).then(pl.lit("NOT_MISLEADING")).otherwise("classification")
    snapshot.write(inputs["snapshot"], "notes", notes.with_columns(classification=other))
    assert hindsight(inputs, tmp_path / "out")[0].height == 0
    assert version_pairs(inputs, tmp_path / "built").height == 0


def version_pairs(inputs, out):
    out.mkdir()
    build_pairs(out, BuildPairsSettings(surface_accuracy=1.0), **{name: inputs[name] for name in BUILD})
    return pl.read_parquet(out / "pairs.parquet").filter(pair_rule="later_version")


def test_two_versions_rated_enough_are_a_pair_that_real_ratings_labelled(world, tmp_path):
    inputs, texts = with_versions(world, tmp_path, (0.1, 0.3))
    (row,) = version_pairs(inputs, tmp_path / "built").to_dicts()
    assert (row["chosen"], row["rejected"]) == (texts[2], texts[1])
    assert (row["label_source"], row["stance"], row["jury_agrees"]) == ("raters", "same", None)
    assert row["score_gap"] == pytest.approx(0.2)
    assert 0.0 < row["p_flip"] < 0.01
    assert "intercept its raters gave it is 0.200 higher" in row["why_chosen"]


@pytest.mark.parametrize(
    ("intercepts", "means", "sd"),
    [((0.1, 0.11), (0.0, 1.0), 0.01), ((0.1, 0.3), (0.0, 1.0), 0.9), ((0.3, 0.1), (0.0, 1.0), 0.01), ((0.1, 0.3), (0.0, 1.0), None)],
    ids=["too close", "uncertain", "measures disagree", "error unknown"],
)  # fmt: skip
def test_versions_keep_to_the_limits_of_all_pairs(world, tmp_path, intercepts, means, sd):
    inputs, _ = with_versions(world, tmp_path, intercepts, means, sd)
    assert version_pairs(inputs, tmp_path / "built").height == 0


def test_versions_with_too_few_ratings_are_no_pair(world, tmp_path):
    inputs, _ = with_versions(world, tmp_path, (0.1, 0.3))
    ratings = pl.read_parquet(inputs["snapshot"] / "ratings.parquet")
    few = ratings.filter((pl.col("noteId") != 2) | (pl.col("createdAtMillis") > 1))
    snapshot.write(inputs["snapshot"], "ratings", few)
    assert version_pairs(inputs, tmp_path / "built").height == 0
