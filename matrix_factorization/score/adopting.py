"""The flow with somebody else's parameters: nothing is fitted, everything else is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.model.objective import NoteParameters, RaterParameters
from matrix_factorization.model.ratings import from_indices
from matrix_factorization.score.adopt import read_adopted
from matrix_factorization.score.flow import ADOPTED, Frozen, NoteFacts, complete
from matrix_factorization.score.inputs import no_ratings, note_facts, rating_events
from matrix_factorization.score.outputs import note_frame, rater_frame
from matrix_factorization.score.statuses import STATUSES
from matrix_factorization.settings import FitRatersSettings


def score_with_adopted(
    source: Path, snapshot: Path | None, settings: FitRatersSettings, *, adopt_notes: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any], dict[str, Any]]:
    """(raters, notes, fit, counts) from adopted parameters and, if there is one, a snapshot's ratings.

    Every adopted rater and note is in the tables, whether or not the snapshot has ratings of theirs. The snapshot's other notes are folded
    in from adopted raters, its other raters from notes with parameters. An adopted note keeps its published status if it has one. The sign
    of the factors stays as adopted.
    """
    adopted = read_adopted(
        source, ratings_per_note=settings.adopted_ratings_per_note, global_intercept=settings.adopted_global_intercept
    )
    published = adopted.notes if adopt_notes else adopted.notes.clear()
    if snapshot is not None:
        events = rating_events(snapshot)
        facts = note_facts(snapshot, events)
    else:
        events = no_ratings()
        empty = np.zeros(0)
        facts = NoteFacts(
            empty.astype(bool), empty, empty, empty.astype(np.int64), empty.astype(bool), empty.astype(np.int64)
        )
    whole = from_indices(events.note_index, events.rater_index, events.value, events.note_ids, events.rater_ids, False)
    rater_rows = pl.DataFrame({"raterParticipantId": events.rater_ids.cast(pl.String)}).join(
        adopted.raters, on="raterParticipantId", how="left", maintain_order="left"
    )
    note_rows = pl.DataFrame({"noteId": events.note_ids}, schema={"noteId": pl.Int64}).join(
        published, on="noteId", how="left", maintain_order="left"
    )
    frozen = Frozen(
        raters=RaterParameters(_float(rater_rows["intercept"]), _float(rater_rows["factor1"])),
        notes=NoteParameters(_float(note_rows["intercept"]), _float(note_rows["factor1"])),
        source=ADOPTED,
        global_intercept=adopted.global_intercept,
        ratings_per_note=adopted.ratings_per_note,
        ratings_per_rater=adopted.ratings_per_rater,
        residual_variance=adopted.residual_variance,
    )
    done = complete(events, whole, facts, frozen, settings)
    raters = rater_frame(events, done, np.zeros(whole.n_raters, np.int64), None)
    notes = note_frame(events, done, np.zeros(whole.n_notes, np.int64))
    unseen = adopted.raters.join(raters, on="raterParticipantId", how="anti").with_columns(source=pl.lit(ADOPTED))
    raters = _appended(raters, unseen, "raterParticipantId")
    unseen_notes = published.join(notes, on="noteId", how="anti").with_columns(source=pl.lit(ADOPTED))
    status = published.filter(pl.col("status").is_in(STATUSES)).select("noteId", pl.col("status").alias("published"))
    notes = (
        _appended(notes, unseen_notes, "noteId")
        .join(status, on="noteId", how="left", maintain_order="left")
        .with_columns(
            status=pl.coalesce("published", "status", pl.lit(STATUSES[0])),
            active_rules=pl.when(pl.col("published").is_not_null())
            .then(pl.concat_list(pl.lit("PublishedStatus")))
            .otherwise(pl.col("active_rules").fill_null(pl.lit([], dtype=pl.List(pl.String)))),
        )
        .drop("published")
    )
    known = int(whole.rater_degree()[~np.isnan(frozen.raters.intercept)].sum())
    fit = {
        "adopted": adopted.counts,
        "converged": True,
        "global_intercept": adopted.global_intercept,
        "iterations": 0,
        "loss": None,
        "message": f"{adopted.raters.height} raters and {published.height} notes adopted; nothing was fitted.",
        "n_notes": notes.height,
        "n_raters": raters.height,
        "n_ratings": known,
        "ratings_per_note": adopted.ratings_per_note,
        "ratings_per_rater": adopted.ratings_per_rater,
        "residual_variance": adopted.residual_variance,
        "warnings": []
        if known or whole.n_ratings == 0
        else ["No rating of the snapshot was made by an adopted rater."],
    }
    counts = {
        "in": whole.n_ratings,
        "out": known,
        "rejected": {"rater_without_parameters": whole.n_ratings - known},
        "n_raters": raters.height,
        "n_notes": notes.height,
        "warnings": fit["warnings"],
    }
    return raters, notes, fit, counts


def _appended(table: pl.DataFrame, more: pl.DataFrame, key: str) -> pl.DataFrame:
    """`table` with the rows of `more`, columns it lacks null (counts: 0), sorted by `key`."""
    if more.height:
        table = pl.concat([table, more.select([c for c in more.columns if c in table.columns])], how="diagonal")
        table = table.with_columns(pl.col(c).fill_null(0) for c in table.columns if c.startswith(("n_", "net_")))
    return table.sort(key)


def _float(series: pl.Series) -> np.ndarray:
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
