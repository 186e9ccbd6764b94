"""Which posts a jury learns from where there are more ratings than it can hold: whole posts, by rules that need no chance.

A post is taken with all of its notes and all of their ratings, or not at all: notes of one post explain each other. First come posts on
which two notes of one stance were received differently, since only they teach which of two texts is better, for at most `TELLING` of the
room; then all others, so that the jury also knows the level of ordinary posts. Within both the order is that of a hash of the post's id,
which is blind to time, language and topic, and the same tomorrow: a post that taught today's jury teaches the next one, too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

TELLING = 0.75
"""Share of the room that goes to posts with a telling pair at most."""
APART = 0.10
"""Intercepts of two notes of one stance so far apart tell which was received better (as the report's pairs)."""


def posts_to_learn_from(
    notes: pl.DataFrame, max_ratings: int, max_notes: int
) -> tuple[pl.Series | None, dict[str, Any]]:
    """Post ids, ascending, and what was left out; None and nothing where all of it fits.

    `notes`: noteId, tweetId, classification, intercept (null without a label) and `ratings`, how many rows of ratings each has.
    """
    if int(notes["ratings"].sum()) <= max_ratings and notes.height <= max_notes:
        return None, {}
    of_stance = notes.group_by("tweetId", pl.col("classification").fill_null("")).agg(
        pl.len().alias("notes"),
        pl.col("ratings").sum(),
        (pl.col("intercept").max() - pl.col("intercept").min()).fill_null(0.0).alias("apart"),
    )
    posts = (
        of_stance.group_by("tweetId")
        .agg(pl.col("notes").sum(), pl.col("ratings").sum(), (pl.col("apart") >= APART).any().alias("telling"))
        .filter(pl.col("ratings") > 0)  # a post nobody rated teaches nothing
        .sort("tweetId")
    )
    posts = posts.with_columns(order=pl.Series(_mixed(posts["tweetId"].to_numpy()))).sort("order", "tweetId")
    telling = posts.filter("telling")
    first = _fitting(telling, TELLING * max_ratings, TELLING * max_notes)
    rest = pl.concat([posts.filter(~pl.col("telling")), telling.join(first, on="tweetId", how="anti")]).sort(
        "order", "tweetId"
    )
    room = [max_ratings - int(first["ratings"].sum()), max_notes - int(first["notes"].sum())]
    chosen = pl.concat([first, _fitting(rest, *room)])
    kept = {"ratings": int(chosen["ratings"].sum()), "notes": int(chosen["notes"].sum()), "posts": chosen.height}
    there = {"ratings": int(notes["ratings"].sum()), "notes": notes.height, "posts": notes["tweetId"].n_unique()}
    pairs = {"kept": int(chosen["telling"].sum()), "left_out": telling.height - int(chosen["telling"].sum())}
    left = {name: there[name] - kept[name] for name in there}
    return chosen["tweetId"].sort(), {"kept": kept, "left_out": left, "posts_with_a_telling_pair": pairs}


def _fitting(posts: pl.DataFrame, max_ratings: float, max_notes: float) -> pl.DataFrame:
    """The first posts that fit together; one that would not fit alone is passed over."""
    posts = posts.filter((pl.col("ratings") <= max_ratings) & (pl.col("notes") <= max_notes))
    fits = (pl.col("ratings").cum_sum() <= max_ratings) & (pl.col("notes").cum_sum() <= max_notes)
    return posts.filter(fits)


def _mixed(ids: np.ndarray) -> np.ndarray:
    """A well-mixed 64-bit number for each id (the finaliser of SplitMix64)."""
    h = ids.astype(np.uint64)
    with np.errstate(over="ignore"):
        h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))
