"""Near-copies across the split: which texts of test posts also stand, nearly word for word, in posts of train.

A split by post keeps a post together, but people post the same note under many posts. Likely copies are found by MinHash over
word pairs (bands of two hash values, so that unlike texts seldom meet) and then compared in wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from feedback.pairs.pairs import likeness

ALIKE = 0.90  # likeness of wording from which a text is a copy
BANDS = 6  # a likeness of 0.9 is missed once in some thousand texts, one of 0.5 met every other time, and then compared
ROWS_AT_ONCE = 50_000

Place = tuple[Path, tuple[str, ...]]
"""A Parquet file with `post_id`, and its columns of texts."""


def text_id(column: str) -> pl.Expr:
    """The number by which a text is known here: a hash of its bytes."""
    return pl.col(column).hash(seed=20)


def copies_in_train(places: Iterable[Place], posts: pl.DataFrame) -> pl.Series:
    """The ids (`text_id`) of texts of test posts that are copies of a text of a train post.

    `posts`: post_id, and `test`, whether it is in the test split. Memory: some bytes a text, and the likely copies themselves.
    """
    places = list(places)
    signed = [
        frame.select("id", "test", *_signature()).unique(["id", "test"], keep="first", maintain_order=True)
        for frame in _texts(places, posts)
    ]
    if not signed:
        return pl.Series([], dtype=pl.UInt64)
    every = pl.concat(signed).unique(["id", "test"], keep="first", maintain_order=True)
    test, train = every.filter(pl.col("test")), every.filter(~pl.col("test"))
    exact = test.join(train, on="id", how="semi")["id"]
    test = test.filter(~pl.col("id").is_in(exact.implode()))
    likely = [
        test.select("id", band).join(train.select(other="id", **{band: band}), on=band).select("id", "other")
        for band in (f"band{k}" for k in range(BANDS))
    ]
    pairs = pl.concat(likely).unique(maintain_order=True)
    wanted = pl.concat([pairs["id"], pairs["other"]]).unique()
    words: dict[int, str] = {}
    for frame in _texts(places, posts) if pairs.height else ():
        words |= dict(frame.filter(pl.col("id").is_in(wanted.implode())).select("id", "text").iter_rows())
    near = {a for a, b in pairs.iter_rows() if likeness(words[a], words[b]) >= ALIKE}
    return pl.concat([exact, pl.Series(sorted(near), dtype=pl.UInt64)])


def _texts(places: Iterable[Place], posts: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """id, text and test of all texts, some ten thousand rows at a time."""
    import pyarrow.parquet as pq

    for path, columns in places:
        for batch in pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE, columns=["post_id", *columns]):
            frame = pl.DataFrame(batch).join(posts, on="post_id", how="inner", maintain_order="left")
            for column in columns:
                found = frame.select("test", text=column).filter(pl.col("text").is_not_null())
                yield found.unique(maintain_order=True).with_columns(id=text_id("text"))


def _signature() -> list[pl.Expr]:
    """One number a band: two MinHash values over the text's word pairs."""
    words = pl.col("text").str.to_lowercase().str.extract_all(r"\w+")
    pairs = words.list.eval(pl.element() + " " + pl.element().shift(-1).fill_null(""))
    least = [pairs.list.eval(pl.element().hash(seed=k).min()).list.first() for k in range(2 * BANDS)]
    return [
        pl.struct(least[2 * k].alias("a"), least[2 * k + 1].alias("b")).hash(seed=30).alias(f"band{k}")
        for k in range(BANDS)
    ]
