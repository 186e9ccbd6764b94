"""Notes and snapshots invented for the tests of the writing room. Sites are reserved example domains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from nouns.post import MISLEADING, NOT_MISLEADING, Note

BRIDGE = (
    "The bridge in Halden was not closed by the mayor. The county engineer closed it on 3 March after a cracked beam was "
    "found. https://county.example/halden-bridge"
)
BRIDGE_OTHER = (
    "Inspectors measured a crack of 14 cm in the northern beam of the Halden bridge. The repair is planned for May. "
    "https://news.example/halden-crack"
)
BRIDGE_COPY = BRIDGE.replace("The bridge in Halden", "The bridge, in Halden,")
PRICES = "Rents in Halden rose by 4 % in 2024, not by 40 % as the picture says. https://statistics.example/rents-2024"
OPINION = "The author is obviously a liar and everyone knows it!"
FINE = "The post is correct: the county engineer closed the bridge on 3 March. https://county.example/halden-bridge"


def note(note_id: int, text: str, post_id: int = 1, classification: str = MISLEADING, **more) -> Note:
    return Note(note_id, post_id, text, classification, **more)


def bridge_notes() -> list[Note]:
    """Five notes of one post: a claim made twice, its copy, another claim, and one that calls the post fine."""
    return [
        note(11, BRIDGE, intercept=0.30, factor=0.1, n_ratings=20, net_helpful_negative=6.0, net_helpful_positive=5.0),
        note(12, BRIDGE_OTHER, intercept=0.20, factor=-0.6, n_ratings=15, net_helpful_negative=9.0, net_helpful_positive=-2.0),
        note(13, BRIDGE_COPY),
        note(14, PRICES, intercept=0.10, factor=0.5, n_ratings=9, net_helpful_negative=-1.0, net_helpful_positive=8.0),
        note(15, FINE, classification=NOT_MISLEADING),
    ]  # fmt: skip


def write_snapshot(
    directory: Path,
    notes: list[Note],
    *,
    languages: dict[int, str] | None = None,
    texts: dict[int, str] | None = None,
    statuses: dict[int, str] | None = None,
    locked: frozenset[int] = frozenset(),
    not_needed: dict[int, int] | None = None,
) -> Path:
    """The tables that the writing room reads, with the columns it reads; rows in the order given."""
    directory.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {
            "noteId": [n.note_id for n in notes],
            "tweetId": [n.post_id for n in notes],
            "summary": [n.text for n in notes],
            "classification": [n.classification for n in notes],
            "createdAtMillis": [n.created_at or 1_700_000_000_000 for n in notes],
        },
        schema={
            "noteId": pl.Int64,
            "tweetId": pl.Int64,
            "summary": pl.String,
            "classification": pl.String,
            "createdAtMillis": pl.Int64,
        },
    ).write_parquet(directory / "notes.parquet")
    listed = sorted(set(statuses or {}) | locked)
    pl.DataFrame(
        {
            "noteId": listed,
            "currentStatus": [(statuses or {}).get(i) for i in listed],
            "lockedStatus": ["NEEDS_MORE_RATINGS" if i in locked else None for i in listed],
        },
        schema={"noteId": pl.Int64, "currentStatus": pl.String, "lockedStatus": pl.String},
    ).write_parquet(directory / "note_status_history.parquet")
    ticks = [i for i, times in (not_needed or {}).items() for _ in range(times)]
    pl.DataFrame(
        {"noteId": ticks, "notHelpfulNoteNotNeeded": [True] * len(ticks)},
        schema={"noteId": pl.Int64, "notHelpfulNoteNotNeeded": pl.Boolean},
    ).write_parquet(directory / "ratings.parquet")
    posts = sorted({n.post_id for n in notes} & (set(texts or {}) | set(languages or {})))
    pl.DataFrame(
        {
            "tweetId": posts,
            "text": [(texts or {}).get(p) for p in posts],
            "language": [(languages or {}).get(p) for p in posts],
            "createdAtMillis": [None] * len(posts),
        },
        schema={"tweetId": pl.Int64, "text": pl.String, "language": pl.String, "createdAtMillis": pl.Int64},
    ).write_parquet(directory / "posts.parquet")
    return directory


def write_parameters(directory: Path, notes: list[Note]) -> Path:
    """notes.parquet as `fit_raters` writes it, for the notes that have ratings."""
    directory.mkdir(parents=True, exist_ok=True)
    rated = [n for n in notes if n.n_ratings]
    pl.DataFrame(
        {
            "noteId": [n.note_id for n in rated],
            "intercept": [n.intercept for n in rated],
            "factor1": [n.factor for n in rated],
            "n_ratings": [n.n_ratings for n in rated],
            "net_helpful_negative": [n.net_helpful_negative for n in rated],
            "net_helpful_positive": [n.net_helpful_positive for n in rated],
        },
        schema={
            "noteId": pl.Int64,
            "intercept": pl.Float64,
            "factor1": pl.Float64,
            "n_ratings": pl.Int64,
            "net_helpful_negative": pl.Float64,
            "net_helpful_positive": pl.Float64,
        },
    ).write_parquet(directory / "notes.parquet")
    return directory


def planted_vectors(groups: int, members: int, width: int = 64, spread: float = 0.1, seed: int = 0) -> np.ndarray:
    """(groups * members, width) unit rows around `groups` orthogonal directions: the answer of a clustering is known."""
    rng = np.random.default_rng(seed)
    centres = np.linalg.qr(rng.normal(size=(width, groups)))[0].T
    rows = np.repeat(centres, members, axis=0) + spread / np.sqrt(width) * rng.normal(size=(groups * members, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
