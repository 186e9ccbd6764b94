"""A snapshot's tables as the arrays the scoring flow works on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from matrix_factorization import snapshot as tables
from matrix_factorization.flow import NoteFacts, RatingEvents
from matrix_factorization.statuses import HELPFUL


def rating_events(snapshot: Path) -> RatingEvents:
    """All ratings of a snapshot, by note and time."""
    dense = tables.dense_ratings(snapshot)
    return RatingEvents(
        dense.note_ids, pl.Series("raterParticipantId", dense.rater_ids), dense.note_index, dense.rater_index, dense.value, dense.created_at
    )  # fmt: skip


def no_ratings() -> RatingEvents:
    empty = np.zeros(0, np.int64)
    return RatingEvents(
        empty, pl.Series("raterParticipantId", [], dtype=pl.String), empty, empty, np.zeros(0, np.float32), empty
    )


def note_facts(snapshot: Path, events: RatingEvents) -> NoteFacts:
    """Stance, age, first status and author of each note of the events, from `notes` and `note_status_history`.

    The author and creation time stand in both tables; a deleted note is only in the history.
    """
    wanted = pl.DataFrame({"noteId": events.note_ids}, schema={"noteId": pl.Int64})
    notes = tables.read_table(
        snapshot, "notes", ["noteId", "tweetId", "classification", "noteAuthorParticipantId", "createdAtMillis"]
    ).collect()
    history = tables.read_table(
        snapshot,
        "note_status_history",
        [
            "noteId",
            "noteAuthorParticipantId",
            "createdAtMillis",
            "currentStatus",
            "timestampMillisOfFirstNonNMRStatus",
        ],
    ).collect()
    joined = wanted.join(notes.unique("noteId", keep="first"), on="noteId", how="left", maintain_order="left").join(
        history.unique("noteId", keep="first"), on="noteId", how="left", maintain_order="left", suffix="_history"
    )
    authors = joined.select(
        pl.coalesce("noteAuthorParticipantId", "noteAuthorParticipantId_history").alias("raterParticipantId")
    )
    raters = pl.DataFrame({"raterParticipantId": events.rater_ids, "index": np.arange(len(events.rater_ids))})
    author = authors.join(raters, on="raterParticipantId", how="left", maintain_order="left")["index"].fill_null(-1)
    # X writes -1 for "never had a status".
    status_at = joined["timestampMillisOfFirstNonNMRStatus"]
    return NoteFacts(
        misleading=(joined["classification"].fill_null("") != tables.NOT_MISLEADING).to_numpy(),
        created_at=_float(joined.select(pl.coalesce("createdAtMillis", "createdAtMillis_history")).to_series()),
        status_at=_float(joined.select(pl.when(status_at > 0).then(status_at)).to_series()),
        author=author.to_numpy().astype(np.int64),
        was_helpful=(joined["currentStatus"].fill_null("") == HELPFUL).to_numpy(),
        post=joined.select(pl.coalesce("tweetId", -pl.col("noteId"))).to_series().to_numpy(),
    )


def _float(series: pl.Series) -> np.ndarray:
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
