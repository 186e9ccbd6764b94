"""The stage `check_candidates` on a small snapshot: one row per check or failure, counts that add up, equal bytes."""

from __future__ import annotations

import polars as pl
import pyarrow.parquet as pq
import pytest

from nouns.errors import InputError
from nouns.post import MISLEADING
from synthesis.check.stage import CHECKS_SCHEMA
from synthesis.settings import CheckCandidatesSettings
from synthesis.spec import note_spec
from tests.calling import check_candidates

NOTE = "The ferry Aurelia was built in 1974, not 1947. https://ferry.example/aurelia"
SPANISH = "El puerto de Lindow cerró en 1990 por falta de pasajeros. https://lindow.example/puerto"


@pytest.fixture
def inputs(tmp_path):
    snapshot, clusters, candidates = (tmp_path / name for name in ("snapshot", "clusters", "candidates"))
    for directory in (snapshot, clusters, candidates):
        directory.mkdir()
    pl.DataFrame(
        {"noteId": [1, 2], "tweetId": [10, 11], "summary": [NOTE, SPANISH], "classification": [MISLEADING, MISLEADING]}
    ).write_parquet(snapshot / "notes.parquet")
    pl.DataFrame(
        {"tweetId": [10], "text": ["The Aurelia is from 1947!"]}, schema_overrides={"text": pl.String}
    ).write_parquet(snapshot / "posts.parquet")
    ratings = {"noteId": [1] * 5, "helpfulness": [1.0, 1.0, 0.5, 0.5, 0.0]}
    pl.DataFrame(ratings).write_parquet(snapshot / "ratings.parquet")
    pl.DataFrame({"post_id": [10, 11], "language": ["en", "es"]}).write_parquet(clusters / "posts.parquet")
    rows = [
        ("a", 10, "The ferry Aurelia was built in 1974. https://ferry.example/aurelia", [1]),
        ("b", 10, "The ferry Aurelia was built in 1974! https://ferry.example/aurelia", [1]),
        ("c", 10, "The ferry Aurelia was built in 1990. https://ferry.example/aurelia", [1]),
        ("d", 10, "The ferry, Aurelia was built in 1974. https://ferry.example/aurelia", [1]),
        ("e", 11, SPANISH, [2]),
        ("f", 11, "The port of Lindow closed in 1990 for lack of passengers. https://lindow.example/puerto", [2]),
        ("g", 11, "", [99]),
    ]
    pl.DataFrame(
        {
            "candidate_id": [r[0] for r in rows], "post_id": [r[1] for r in rows], "text": [r[2] for r in rows],
            "language": [None] * len(rows), "source_note_ids": [r[3] for r in rows],
        },
        schema_overrides={"language": pl.String},
    ).write_parquet(candidates / "candidates.parquet")  # fmt: skip
    return {"snapshot": snapshot, "clusters": clusters, "candidates": candidates}


def outcomes(path):
    table = pl.read_parquet(path / "checks.parquet")
    return {
        row[0]: row[1] for row in table.group_by("candidate_id").agg((pl.col("outcome") == "passed").all()).iter_rows()
    }


def test_each_candidate_passes_or_says_why_not(inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    counts = check_candidates(out, CheckCandidatesSettings(), **inputs)
    assert outcomes(out) == {"a": True, "b": False, "c": False, "d": False, "e": True, "f": False, "g": False}
    assert counts["in"] == 7
    assert counts["out"] == 2
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert counts["rejected"]["duplicates"] == 1
    table = pl.read_parquet(out / "checks.parquet")
    assert pq.read_schema(out / "checks.parquet").equals(CHECKS_SCHEMA)
    assert (
        table.filter((pl.col("candidate_id") == "f") & (pl.col("outcome") != "passed"))["principle"].to_list()[:1] != []
    )
    assert (
        "language.match"
        in table.filter(pl.col("candidate_id") == "f").filter(pl.col("outcome") == "failed")["principle"].to_list()
    )
    assert set(table["principle"]) <= {p.id for p in note_spec().principles}
    assert not (out / "calls.jsonl.zst").exists()


def test_shards_put_together_give_the_same_rows_and_twice_the_same_bytes(inputs, tmp_path):
    frames = []
    for name, posts in (("all", None), ("again", None), ("first", [10]), ("second", [11]), ("none", [])):
        out = tmp_path / name
        out.mkdir()
        check_candidates(out, CheckCandidatesSettings(), posts=posts, **inputs)
        frames.append((out / "checks.parquet").read_bytes())
    assert frames[0] == frames[1]
    read = {name: pl.read_parquet(tmp_path / name / "checks.parquet") for name in ("all", "first", "second", "none")}
    assert pl.concat([read["first"], read["second"]]).equals(read["all"])
    assert read["none"].height == 0
    assert read["none"].schema == read["all"].schema


def test_an_unknown_way_of_judging_is_refused():
    with pytest.raises(ValueError, match="auto, on, off"):
        CheckCandidatesSettings(judge="sometimes")
    assert CheckCandidatesSettings(judge=False) == CheckCandidatesSettings(judge="off")  # as older runs say it
    assert CheckCandidatesSettings(judge=True).judge == "on"


def test_an_inference_model_that_is_no_folder_is_refused(inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="nli_model"):
        check_candidates(out, CheckCandidatesSettings(nli_model=str(tmp_path / "absent")), **inputs)


def test_what_raters_found_helpful_of_a_post_is_not_contradicted(inputs, tmp_path):
    """A second note of post 10 says another price than the one with five ratings of mean 0.6, and is no source of it."""
    notes = pl.read_parquet(inputs["snapshot"] / "notes.parquet")
    texts = [
        "The repair costs 34 million crowns.",
        "The repair is put at 27 million crowns. https://ferry.example/cost",
    ]
    added = pl.DataFrame({"noteId": [1, 3], "tweetId": [10, 10], "summary": texts, "classification": [MISLEADING] * 2})
    pl.concat([added, notes.filter(pl.col("noteId") == 2)]).sort("noteId").write_parquet(
        inputs["snapshot"] / "notes.parquet"
    )
    row = {"candidate_id": "x", "post_id": 10, "text": texts[1], "language": "en", "source_note_ids": [3]}
    pl.DataFrame([row]).write_parquet(inputs["candidates"] / "candidates.parquet")
    for mean, passes in ((0.6, False), (0.5, True)):
        pl.DataFrame({"noteId": [1] * 5, "helpfulness": [mean] * 5}).write_parquet(
            inputs["snapshot"] / "ratings.parquet"
        )
        out = tmp_path / f"out{mean}"
        out.mkdir()
        check_candidates(out, CheckCandidatesSettings(), **inputs)
        assert outcomes(out) == {"x": passes}
