"""Stage `cluster_notes` on invented snapshots: rows, counts, reasons, borrowed notes, equal bytes."""

from __future__ import annotations

import polars as pl
import pytest

from nouns.post import NOT_MISLEADING
from synthesis.settings import ClusterNotesSettings
from tests.calling import cluster_notes
from tests.synthesis.world import (  # fmt: skip
    BRIDGE,
    BRIDGE_OTHER,
    FINE,
    PRICES,
    bridge_notes,
    note,
    write_parameters,
    write_snapshot,
)

SETTINGS = ClusterNotesSettings(embedder="hashing", story_similarity=0.8)
LONELY = note(41, "The Lindau ferry runs in winter, too, says its time table. https://ferry.example/winter", post_id=4)
SISTER = note(51, "The Lindau ferry runs in winter too, says its timetable. https://ferry.example/winter", post_id=5)
NOTES = [
    *bridge_notes(),
    note(21, BRIDGE, post_id=2),
    note(22, BRIDGE_OTHER, post_id=2),
    note(31, FINE, post_id=3, classification=NOT_MISLEADING),
    LONELY,
    SISTER,
    note(61, "Kurz.", post_id=6),
    note(71, "Die Mieten in Halden stiegen 2024 nicht um 40 Prozent, sondern um 4 Prozent, sagt das Amt.", post_id=7),
    note(72, PRICES, post_id=7),
]
STATUSES = {21: "CURRENTLY_RATED_HELPFUL", 22: "NEEDS_MORE_RATINGS"}


def _run(tmp_path, notes=NOTES, name="out", settings=SETTINGS, **more):
    out = tmp_path / name
    out.mkdir()
    snapshot = write_snapshot(tmp_path / f"snapshot-{name}", notes, statuses=STATUSES, languages={7: "de"})
    parameters = write_parameters(tmp_path / f"fit-{name}", notes)
    return out, cluster_notes(out, settings, snapshot=snapshot, parameters=parameters, **more)


@pytest.fixture
def result(tmp_path):
    return _run(tmp_path)


def test_every_post_has_a_row_and_the_counts_add_up(result):
    out, counts = result
    posts = pl.read_parquet(out / "posts.parquet")
    assert posts["post_id"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    assert counts["in"] == 7 == counts["out"] + sum(counts["rejected"].values())
    assert counts["rejected"] == {"already_helpful": 1, "no_text": 1, "only_not_misleading": 1}
    reasons = dict(posts.select("post_id", "reason_code").iter_rows())
    assert reasons == {1: None, 2: "already_helpful", 3: "only_not_misleading", 4: None, 5: None, 6: "no_text", 7: None}
    assert posts.filter(pl.col("eligible"))["reason"].null_count() == 4
    assert posts["n_ratings"].to_list()[0] == 44


def test_a_post_with_one_note_borrows_from_its_story_and_says_so(result):
    out, counts = result
    clusters = pl.read_parquet(out / "clusters.parquet").filter(pl.col("post_id") == 4)
    assert clusters.select("note_id", "borrowed").rows() == [(41, False), (51, True)]
    stories = pl.read_parquet(out / "stories.parquet")
    assert stories.filter(pl.col("note_id").is_in([41, 51]))["story_id"].n_unique() == 1
    assert counts["stories"] >= 1


DAY = 86_400_000
# Alike to the last word but what they are about, or but when they were written.
UNPROVEN = "This tweet makes a claim without any proof. Officials and local news say nothing of the kind."


@pytest.mark.parametrize(
    ("other", "days", "lent"),
    [
        (SISTER.text, 1, True),
        (SISTER.text, 90, False),
        (UNPROVEN, 1, False),
    ],
    ids=["same ferry, same week", "same ferry, months later", "no proof of anything"],
)
def test_a_note_is_lent_only_to_posts_on_the_same_matter_at_the_same_time(tmp_path, other, days, lent):
    first = UNPROVEN.replace("any proof", "proof") if other == UNPROVEN else LONELY.text
    pair = [note(41, first, post_id=4, created_at=DAY), note(51, other, post_id=5, created_at=(1 + days) * DAY)]
    _, counts = _run(tmp_path, notes=[*bridge_notes(), *pair], name="lent")
    assert counts["stories"] == (days <= ClusterNotesSettings().story_days), "notes months apart are not compared"
    assert counts["borrowed"] == 2 * lent


def test_stances_and_copies_are_kept_apart_in_the_table(result):
    rows = pl.read_parquet(result[0] / "clusters.parquet").filter(pl.col("post_id") == 1)
    by_note = {row["note_id"]: row for row in rows.iter_rows(named=True)}
    assert by_note[13]["duplicate_of"] == 11
    assert by_note[15]["stance"] == "not_misleading"
    assert by_note[15]["cluster_id"] not in {by_note[i]["cluster_id"] for i in (11, 12, 13, 14)}


def test_the_language_of_a_post_is_its_own_where_known_and_else_that_of_its_notes(result):
    posts = dict(pl.read_parquet(result[0] / "posts.parquet").select("post_id", "language").iter_rows())
    assert posts[7] == "de"
    assert posts[1] == "en"
    assert posts[6] == "und"


def test_the_order_of_the_notes_changes_no_byte(tmp_path, result):
    again, counts = _run(tmp_path, notes=NOTES[::-1], name="again")
    assert counts == result[1]
    for name in ("posts.parquet", "clusters.parquet", "stories.parquet"):
        assert (again / name).read_bytes() == (result[0] / name).read_bytes()


def test_without_stories_nothing_is_borrowed_and_lonely_notes_are_too_few(tmp_path):
    _, counts = _run(tmp_path, name="alone", settings=ClusterNotesSettings(embedder="hashing", stories=False))
    assert counts["borrowed"] == counts["stories"] == 0
    assert counts["rejected"]["too_few_notes"] == 2


def test_no_notes_at_all_give_empty_tables_with_their_columns(tmp_path):
    out, counts = _run(tmp_path, notes=[], name="empty")
    assert counts["in"] == counts["out"] == 0
    assert pl.read_parquet(out / "clusters.parquet").columns[:3] == ["post_id", "note_id", "cluster_id"]
