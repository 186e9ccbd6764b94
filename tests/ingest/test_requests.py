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


def ranked_rows(folder, *rows):
    schema = {"tweetId": pl.Int64, "sourceLinks": pl.String, "suggestions": pl.String} | dict.fromkeys(
        (APP, SMALL, LARGE, XL), pl.Int64
    )
    snapshot.write(folder, "note_requests", pl.DataFrame(list(rows), schema=schema))
    for name in ("notes", "note_status_history"):
        snapshot.write_batches(folder / f"{name}.parquet", snapshot.SCHEMAS[name], [])
    return {row["post_id"]: row for row in ranked_requests(folder)}


def test_addresses_that_differ_in_their_query_are_different_pages(tmp_path):
    watch = [f"https://Video.example/watch?v=aB{k}" for k in range(6)]
    ranked = ranked_rows(tmp_path, *(request(k, links=[link]) for k, link in enumerate(watch, 1)))
    assert [ranked[k]["links"] for k in range(1, 7)] == [[link] for link in watch]


def test_tracking_parts_the_fragment_and_the_case_of_the_host_make_no_new_page(tmp_path):
    first = "https://a.example/P?v=1"
    copies = ["HTTPS://A.example/P/?utm_source=x&v=1&fbclid=9", f"{first}&si=3#top", f"{first}&gclid=1"]
    others = ["https://a.example/p?v=1", f"{first}&t=4", f"{first}&s=20", f"{first}&ref=main"]
    assert ranked_rows(tmp_path, request(1, links=[first, *copies, *others]))[1]["links"] == [first, *others]


def test_what_x_adds_to_links_of_its_own_makes_no_new_page(tmp_path):
    first = "https://x.com/a/status/1"
    copies = [
        "https://twitter.com/a/status/1?s=20&t=AbC",
        f"{first}?ref=share",
        "https://mobile.twitter.com/a/status/1?s=09",
    ]
    assert ranked_rows(tmp_path, request(1, links=[first, *copies]))[1]["links"] == [first]


def test_what_was_said_is_one_clean_line_and_links_lead_where_they_seem_to(tmp_path):
    said = [("The video \ud800 is\nfrom\x1b 2019", "https://a.example/\n1. forged line")]
    bad = ["https://x.example@evil.example/", "https://a.example/ b", "https://[broken", "https://"]
    found = ranked_rows(tmp_path, request(1, *said, links=[*bad, "https://ok.example"]))[1]
    assert (found["suggestions"], found["links"]) == (["The video ? is from 2019"], ["https://ok.example"])
    json.dumps(found, ensure_ascii=False).encode()


@pytest.mark.parametrize("text", ["這是假的", "古い動画です", "यह वीडियो", "วิดีโอเก่า", "오래된 영상"])
def test_short_wishes_in_other_scripts_are_heard(tmp_path, text):
    assert ranked_rows(tmp_path, request(1, (text, "")))[1]["suggestions"] == [text]


def test_invented_links_never_outrank_the_feeds(tmp_path):
    invented = request(1, links=[f"https://a.example/{k}" for k in range(5)])
    assert list(ranked_rows(tmp_path, invented, request(2, feeds=(APP, SMALL, LARGE, XL)))) == [2, 1]


def test_a_template_with_a_number_at_its_end_stays_a_template(tmp_path):
    ranked = ranked_rows(tmp_path, *(request(k, (f"{TEMPLATE} {k}", "")) for k in range(1, 7)))
    assert all(row["suggestions"] == [] and row["spam"] == 1 for row in ranked.values())


def test_two_wishes_that_differ_in_a_number_are_two(tmp_path):
    said = ["It was 30 people", "It was 31 people", "it was 30 people!"]
    snapshot.write(
        tmp_path,
        "note_requests",
        pl.DataFrame(
            [{"tweetId": 1, "sourceLinks": "[]", "suggestions": json.dumps([{"suggestion": text} for text in said])}]
        ),
    )
    for name in ("notes", "note_status_history"):
        snapshot.write_batches(tmp_path / f"{name}.parquet", snapshot.SCHEMAS[name], [])
    (found,) = ranked_requests(tmp_path)
    assert found["suggestions"] == said[:2]
