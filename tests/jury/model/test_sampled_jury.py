"""Which posts teach a jury where there are more ratings than it may hold."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import polars as pl
import pytest

from jury.settings import TrainJurySettings
from jury.train.data import read_snapshot_data
from jury.train.sample import APART, posts_to_learn_from
from jury.train.stage import gather
from nouns.snapshot import read_table
from pipeline.plan import Plan
from storage.store import Store

MISLEADING, NOT = "MISINFORMED_OR_POTENTIALLY_MISLEADING", "NOT_MISLEADING"


@pytest.fixture(scope="module")
def notes() -> pl.DataFrame:
    """Three hundred posts with one to four notes; one post in four has two notes of one stance far apart."""
    rng = np.random.default_rng(3)
    rows = []
    for post in range(300):
        for k in range(2 if post % 4 == 0 else int(rng.integers(1, 5))):
            apart = 2 * APART * k if post % 4 == 0 else 0.0
            stance = MISLEADING if post % 4 == 0 or k % 2 == 0 else NOT
            rows.append((10 * len(rows), post, stance, apart, int(rng.integers(0, 40))))
    return pl.DataFrame(rows, schema=["noteId", "tweetId", "classification", "intercept", "ratings"], orient="row")


def test_what_fits_is_taken_whole(notes):
    assert posts_to_learn_from(notes, int(notes["ratings"].sum()), notes.height) == (None, {})


@pytest.mark.parametrize(("ratings", "some"), [(300, 10_000), (2000, 10_000), (10_000, 50), (10_000, 400), (50, 5)])
def test_whole_posts_within_both_bounds_those_with_a_telling_pair_first(notes, ratings, some):
    posts, facts = posts_to_learn_from(notes, ratings, some)
    chosen = notes.filter(pl.col("tweetId").is_in(posts.implode()))
    assert 0 < chosen["ratings"].sum() <= ratings
    assert chosen.height <= some
    telling = (chosen["tweetId"] % 4 == 0).mean()
    assert telling > 1.5 * (notes["tweetId"] % 4 == 0).mean() or chosen.height > 300
    assert facts["kept"] == {"ratings": chosen["ratings"].sum(), "notes": chosen.height, "posts": len(posts)}
    for name, there in (("ratings", notes["ratings"].sum()), ("notes", notes.height), ("posts", 300)):
        assert facts["kept"][name] + facts["left_out"][name] == there
    again, _ = posts_to_learn_from(notes.sample(fraction=1.0, shuffle=True, seed=1), ratings, some)
    assert again.equals(posts), "the order of rows decides nothing"


@pytest.mark.parametrize("post", range(0, 300, 20))
def test_a_post_too_large_to_fit_makes_no_other_count_twice(notes, post):
    telling = notes.filter(pl.col("tweetId") % 4 == 0)
    large = telling.with_columns(ratings=pl.when(pl.col("tweetId") == post).then(4000).otherwise("ratings"))
    posts, facts = posts_to_learn_from(large, 2000, 10_000)
    chosen = large.filter(pl.col("tweetId").is_in(posts.implode()))
    assert posts.is_unique().all()
    assert post not in posts
    assert facts["kept"] == {"ratings": chosen["ratings"].sum(), "notes": chosen.height, "posts": len(posts)}


def test_a_days_more_posts_leave_most_of_the_teachers_in_place(notes):
    before, _ = posts_to_learn_from(notes.filter(pl.col("tweetId") < 290), 1500, 10_000)
    after, _ = posts_to_learn_from(notes, 1500, 10_000)
    assert before.is_in(after.implode()).mean() > 0.85


def test_a_bounded_jury_reads_exactly_the_rows_of_its_posts(sample_run):
    workspace, run_id = sample_run
    run = Plan(Store(workspace), run_id).open("train_jury")
    snapshot, parameters = run.path("ingest"), run.path("fit_raters")
    n = read_table(snapshot, "ratings").select(pl.len()).collect().item()
    whole, nothing = read_snapshot_data(snapshot, parameters, n, 10_000)
    part, left = read_snapshot_data(snapshot, parameters, n // 2, 10_000)
    assert nothing == {}
    kept = np.isin(whole.post, part.post)
    assert 0 < kept.sum() < len(whole)
    expected = whole.notes_where(kept)
    for field in fields(expected):
        assert np.array_equal(
            getattr(part, field.name),
            getattr(expected, field.name),
            equal_nan=field.name in ("intercept", "factor", "n_ratings"),
        ), field.name
    data, counts = gather(TrainJurySettings(max_ratings=n // 2), snapshot=snapshot, parameters=parameters)
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert counts["chosen"] == left
    assert len(data) == len(part)
    assert f"{left['left_out']['ratings']:,} ratings" in counts["notices"][0]["text"]
