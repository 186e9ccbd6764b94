"""The flow with somebody else's parameters: nothing is fitted, everything else is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.model.objective import NoteParameters, RaterParameters
from matrix_factorization.model.ratings import from_indices
from matrix_factorization.score.adopt import OTHER_SCALE, Adopted, read_adopted
from matrix_factorization.score.flow import ADOPTED, Frozen, NoteFacts, complete
from matrix_factorization.score.inputs import no_ratings, note_facts, rating_events
from matrix_factorization.score.outputs import note_frame, rater_frame
from matrix_factorization.score.statuses import STATUSES
from matrix_factorization.settings import FitRatersSettings
from nouns.notices import notice


def score_with_adopted(
    source: Path, snapshot: Path | None, settings: FitRatersSettings, *, adopt_notes: bool = True
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any], dict[str, Any]]:
    """(raters, notes, fit, counts) from adopted parameters and, if there is one, a snapshot's ratings.

    Every adopted rater and note is in the tables, whether or not the snapshot has ratings of theirs. The snapshot's other notes are folded
    in from adopted raters, its other raters from notes with parameters. An adopted note keeps its published status if it has one, also where it has
    no parameters. The sign of the factors stays as adopted. Where the files tell, `scorer` says whose parameters a row has, and `decided_by` which
    scorer gave a note its status.
    """
    adopted = read_adopted(
        source, ratings_per_note=settings.adopted_ratings_per_note, global_intercept=settings.adopted_global_intercept
    )
    told = adopted.notes if adopt_notes else adopted.notes.clear()
    published = told.drop_nulls("intercept")
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
    status = told.filter(pl.col("status").is_in(STATUSES)).select("noteId", pl.col("status").alias("published"))
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
    raters = _joined(raters, adopted.raters, "raterParticipantId", "scorer")
    notes = _joined(_joined(notes, published, "noteId", "scorer"), told, "noteId", "decided_by")
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
        "notices": _notices(adopted, rater_rows["intercept"].null_count(), note_rows["intercept"].null_count()),
    }
    return raters, notes, fit, counts


def _joined(table: pl.DataFrame, given: pl.DataFrame, key: str, column: str) -> pl.DataFrame:
    """`table` with one more column of `given`, if anything stands in it."""
    if given[column].null_count() == given.height:
        return table
    return table.join(given.select(key, column), on=key, how="left", maintain_order="left")


def _notices(adopted: Adopted, raters_folded_in: int, notes_folded_in: int) -> list[dict[str, str]]:
    """What a reader of the terminal should know of adopted files: rows without parameters, other scorers, files left alone."""
    said, counts = [], adopted.counts
    for what in ("rater", "note"):
        rows, without = counts[f"{what}_rows"], counts[f"{what}_rows_without_parameters"]
        if without:
            said.append(f"{without:,} of {rows:,} {what} rows of the adopted files have no parameters of any scorer.")
        others = {name: n for name, n in counts[f"{what}s_by_scorer"].items() if name not in ("core", "unnamed")}
        if others:
            told = ", ".join(f"{n:,} from {name}" for name, n in others.items())
            said.append(
                f"{what.capitalize()}s without parameters of X's Core model have those of another scorer: {told}."
            )
    if raters_folded_in or notes_folded_in:
        said.append(
            f"{raters_folded_in:,} raters and {notes_folded_in:,} rated notes of the snapshot have no adopted parameters; they were folded in."
        )
    apart = sorted(set(counts["raters_by_scorer"]) | set(counts["notes_by_scorer"]))
    apart = [name for name in apart if name in OTHER_SCALE]
    if adopted.not_read:
        said.append(f"Not read, because the same table lies beside it as Parquet: {', '.join(adopted.not_read)}.")
    notices = [notice("told", "fit_raters", text) for text in said]
    if apart:
        text = (
            f"Parameters of {', '.join(apart)} come from fits of their own: their scale is not that of the Core model."
        )
        notices.append(notice("warned", "fit_raters", text))
    return notices


def _appended(table: pl.DataFrame, more: pl.DataFrame, key: str) -> pl.DataFrame:
    """`table` with the rows of `more`, columns it lacks null (counts: 0), sorted by `key`."""
    if more.height:
        table = pl.concat([table, more.select([c for c in more.columns if c in table.columns])], how="diagonal")
        table = table.with_columns(pl.col(c).fill_null(0) for c in table.columns if c.startswith(("n_", "net_")))
    return table.sort(key)


def _float(series: pl.Series) -> np.ndarray:
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
