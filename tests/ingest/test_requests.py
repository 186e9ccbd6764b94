"""Requests for notes: which posts want one most."""

from __future__ import annotations

import json

import polars as pl
import pytest

from ingest.requests import ranked_requests
from nouns import snapshot

TEMPLATE, SPAM = "Join my channel for more news", "https://spam.example/join?ref="
APP, SMALL, LARGE, XL = (
    "noteRequestFeedEligibleTimestamp",
    "apiSmallFeedEligibleTimestamp",
    "apiLargeFeedEligibleTimestamp",
    "apiXlFeedEligibleTimestamp",
)


def request(post, *suggestions, links=(), at=1000, feeds=(XL,)):
    said = [{"suggestion_id": str(k), "suggestion": s, "source_link": link} for k, (s, link) in enumerate(suggestions)]
    return {"tweetId": post, "sourceLinks": json.dumps(list(links)), "suggestions": json.dumps(said)} | dict.fromkeys(
        feeds, at
    )


@pytest.fixture
def ranked(tmp_path):
    rows = [
        request(
            1, ("The video is from 2019", "https://a.example/v"), ("the VIDEO is from 2019!", "https://a.example/v#t")
        ),
        request(2, ("Please check the number", ""), ("Is this the real letter?", ""), ("Who measured that?", "")),
        request(3, at=5000, feeds=(APP, SMALL, LARGE, XL)),
        request(4, ("Two sources say otherwise", "https://b.example"), feeds=(APP, SMALL, LARGE, XL)),
        request(5, ("ok", ""), links=("javascript:alert(1)", "not a link")),
        *(request(100 + k, (TEMPLATE, f"{SPAM}{k}")) for k in range(6)),
    ]
    schema = {"tweetId": pl.Int64, "sourceLinks": pl.String, "suggestions": pl.String} | dict.fromkeys(
        (APP, SMALL, LARGE, XL), pl.Int64
    )
    snapshot.write(tmp_path, "note_requests", pl.DataFrame(rows, schema=schema))
    note = {"createdAtMillis": 1, "classification": "NOT_MISLEADING", "summary": "x"}
    snapshot.write(
        tmp_path, "notes", pl.DataFrame([{"noteId": 7, "tweetId": 4} | note, {"noteId": 8, "tweetId": 2} | note])
    )
    status = [{"noteId": 7, "createdAtMillis": 1, "currentStatus": "CURRENTLY_RATED_HELPFUL"}]
    snapshot.write(tmp_path, "note_status_history", pl.DataFrame(status))
    return {row["post_id"]: row for row in ranked_requests(tmp_path)}


def test_posts_stand_in_the_order_in_which_they_want_a_note(ranked):
    order = list(ranked)
    assert order[:3] == [3, 1, 2]
    assert order[-1] == 4  # has a note rated Helpful
    assert ranked[4]["helpful"]
    assert (ranked[2]["notes"], ranked[3]["reach"]) == (1, 6)


def test_the_same_wish_counts_once_and_templates_and_broken_links_not_at_all(ranked):
    assert ranked[1]["suggestions"] == ["The video is from 2019"]
    assert ranked[1]["links"] == ["https://a.example/v"]
    assert (ranked[5]["suggestions"], ranked[5]["links"]) == ([], [])
    assert all(ranked[100 + k]["suggestions"] == ranked[100 + k]["links"] == [] for k in range(6))
    assert ranked[100]["spam"] == 2


@pytest.mark.parametrize("broken", ["", "[", '{"a": 1}', "[1, null, [2]]", "[" * 100_000])
def test_cells_that_cannot_be_read_count_as_nothing(tmp_path, broken):
    row = {"tweetId": 1, "sourceLinks": broken, "suggestions": broken}
    snapshot.write(tmp_path, "note_requests", pl.DataFrame([row]))
    for name in ("notes", "note_status_history"):
        snapshot.write_batches(tmp_path / f"{name}.parquet", snapshot.SCHEMAS[name], [])
    (found,) = ranked_requests(tmp_path)
    assert (found["suggestions"], found["links"], found["since"]) == ([], [], None)
