"""Reads posts and notes out of a snapshot's tables into records, for some posts at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from matrix_factorization.reading import known_raters, notes_as_read, read_ratings, read_scale, with_reading
from nouns.post import Note, Post

_NO_PARAMETERS = {
    "note_id": pl.Int64,
    "intercept": pl.Float64,
    "factor1": pl.Float64,
    "n_ratings": pl.Int64,
    "net_helpful_negative": pl.Float64,
    "net_helpful_positive": pl.Float64,
}


def read_posts(snapshot: Path, post_ids: Sequence[int]) -> dict[int, Post]:
    """Posts by id; a post without a row in the posts table comes back with no text."""
    found = {int(post): Post(int(post)) for post in post_ids}
    path = snapshot / "posts.parquet"
    if path.exists():
        table = (
            pl.scan_parquet(path)
            .filter(pl.col("tweetId").is_in(list(found)))
            .select("tweetId", "text", "language", "createdAtMillis")
            .collect()
        )
        for post_id, text, language, created in table.iter_rows():
            found[post_id] = Post(post_id, text or None, language or None, created)
    return found


def note_table(snapshot: Path, parameters: Path | None, ids: Sequence[int] | None = None) -> pl.LazyFrame:
    """Notes (all, or `ids` alone) with status and fitted parameters; one row per note, sorted by note id.

    Columns: note_id, post_id, text, classification, created_at, status, locked, intercept, factor1, n_ratings,
    net_helpful_negative, net_helpful_positive.
    """
    notes = pl.scan_parquet(snapshot / "notes.parquet").select(
        pl.col("noteId").alias("note_id"),
        pl.col("tweetId").alias("post_id"),
        pl.col("summary").fill_null("").alias("text"),
        "classification",
        pl.col("createdAtMillis").alias("created_at"),
    )
    history = pl.scan_parquet(snapshot / "note_status_history.parquet").select(
        pl.col("noteId").alias("note_id"),
        pl.col("currentStatus").alias("status"),
        pl.col("lockedStatus").is_not_null().alias("locked"),
    )
    if parameters is not None and (parameters / "notes.parquet").exists():
        wanted = [name for name in _NO_PARAMETERS if name != "note_id"]
        fitted = pl.scan_parquet(parameters / "notes.parquet").select(pl.col("noteId").alias("note_id"), *wanted)
    else:
        fitted = pl.LazyFrame(schema=_NO_PARAMETERS)
    if ids is not None:  # each table by itself: the filter of the joined one would not reach all of them
        notes, history, fitted = (t.filter(pl.col("note_id").is_in(list(ids))) for t in (notes, history, fitted))
    history = history.unique("note_id", keep="last", maintain_order=True)
    return notes.join(history, on="note_id", how="left").join(fitted, on="note_id", how="left").sort("note_id")


def with_jury(table: pl.DataFrame, snapshot: Path, parameters: Path, jury: Path) -> pl.DataFrame:
    """Rows of `note_table` with what the ratings of each note say when a jury's raters read them; as they were where no rater is known.

    So what a prompt says of a note, and what it is worth as a source, moves with its own ratings and with the jury alone.
    """
    ids = table["note_id"].unique().sort()
    rated = read_ratings(snapshot, known_raters(parameters, jury), ids)
    read = notes_as_read(rated, *read_scale(jury, parameters))
    notes = table.rename({"note_id": "noteId"})
    return with_reading(notes, read, parameters, keep=True).rename({"noteId": "note_id"})


def notes_of_rows(table: pl.DataFrame, borrowed: bool = False) -> list[Note]:
    """Records from rows of `note_table`."""
    return [
        Note(
            note_id=row["note_id"],
            post_id=row["post_id"],
            text=row["text"],
            classification=row["classification"],
            created_at=row["created_at"],
            status=row["status"],
            intercept=row["intercept"],
            factor=row["factor1"],
            n_ratings=int(row["n_ratings"] or 0),
            net_helpful_negative=row["net_helpful_negative"],
            net_helpful_positive=row["net_helpful_positive"],
            borrowed=borrowed,
        )
        for row in table.iter_rows(named=True)
    ]
