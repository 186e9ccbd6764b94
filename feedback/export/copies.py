"""Near-copies across the split: which texts of test posts also stand, nearly word for word, in posts of train.

A split by post keeps a post together, but people post the same note under many posts. Likely copies are found by MinHash over
word pairs (bands of two hash values, so that unlike texts seldom meet) and then compared in wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
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
        frame.select("id", "test", *_signature(frame["text"]))
        for frame in (
            every.unique(["id", "test"], keep="first", maintain_order=True) for every in _texts(places, posts)
        )
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


def _signature(texts: pl.Series) -> list[pl.Series]:
    """One number a band: two MinHash values over the text's word pairs, links left out (every text has their `https www`)."""
    words = (
        texts.str.to_lowercase()
        .str.replace_all(r"https?://\S+", " ")
        .str.extract_all(r"\w+")
        .list.concat(pl.Series([""]))
    )
    pieces = words.explode().hash(seed=0).to_numpy()
    ends = np.cumsum(words.list.len().to_numpy().astype(np.int64))
    starts = np.append(0, ends[:-1])
    # The pair that would reach into the next text begins with the empty word that ends each text.
    pairs = (pieces * _ODD[0]) ^ np.append(pieces[1:], np.uint64(0))
    pairs[ends - 1] = _ODD[1]
    least = [np.minimum.reduceat((pairs ^ (pairs >> np.uint64(29))) * odd, starts) for odd in _ODD]
    return [pl.Series(f"band{k}", least[2 * k] * _ODD[0] ^ least[2 * k + 1]) for k in range(BANDS)]


_ODD = np.random.default_rng(20).integers(2**62, 2**63, 2 * BANDS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
