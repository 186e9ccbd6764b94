"""How our statuses agree with those X published for the same notes, and where they differ, why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.score.statuses import OUTSIDE, STATUSES, Statuses
from nouns import snapshot as tables

# Beginnings of names in X's `currentDecidedBy` (scoring_rules.py, RuleID) that are no scorer's: rules of time and explanation.
_GUARDS = ("ScoringDriftGuard", "NmrDueToMinStableCrhTime", "InsufficientExplanation")
_CORE = "CoreModel"


def agreement_with_published(snapshot: Path, note_ids: np.ndarray, statuses: Statuses) -> dict[str, Any]:
    """JSON-able agreement of the statuses our rules give (before a locked one is kept) with `currentStatus` of the status history.

    `equal` of `compared` notes, and the others by the first reason that holds:

    - `locked`: X kept the status of two weeks after the note was written, from the ratings of that day;
    - `another_scorer`: not X's Core model decided (Expansion, Group, Gaussian, Topic);
    - `outside_population`: most of the note's ratings come from elsewhere, so our rules gave it no status;
    - `guard`: one of X's rules of time (drift, a minimum time of being Helpful) or explanation decided;
    - `ours_differs`: none of these: other parameters, or a rule that is not here.

    `core`: the same comparison with the status that X's Core model itself gave (`currentCoreStatus`), where it is published.
    `differences`: counts of 'kind: ours -> published'. Nothing published: `compared` is 0 and the shares are null.
    """
    history = tables.read_table(
        snapshot,
        "note_status_history",
        ["noteId", "currentStatus", "lockedStatus", "currentDecidedBy", "currentCoreStatus"],
    ).collect()
    decided = pl.col("currentDecidedBy").fill_null(_CORE)
    guard = pl.any_horizontal(decided.str.starts_with(name) for name in _GUARDS)
    rows = (
        pl.DataFrame(
            {
                "noteId": note_ids,
                "ours": [STATUSES[k] for k in statuses.own],
                "outside": [OUTSIDE in rules for rules in statuses.rules],
            },
            schema={"noteId": pl.Int64, "ours": pl.String, "outside": pl.Boolean},
        )
        .join(history.unique("noteId", keep="first"), on="noteId")
        .with_columns(
            kind=pl.when(pl.col("ours") == pl.col("currentStatus"))
            .then(pl.lit("equal"))
            .when((pl.col("lockedStatus") == pl.col("currentStatus")).fill_null(False))
            .then(pl.lit("locked"))
            .when(~guard & ~decided.str.starts_with(_CORE))
            .then(pl.lit("another_scorer"))
            .when("outside")
            .then(pl.lit("outside_population"))
            .when(guard)
            .then(pl.lit("guard"))
            .otherwise(pl.lit("ours_differs"))
        )
    )
    published = rows.filter(pl.col("currentStatus").is_in(STATUSES))
    core = rows.filter(pl.col("currentCoreStatus").is_in(STATUSES))
    kinds = dict(published.group_by("kind").len().sort("kind").iter_rows())
    differences = published.filter(pl.col("kind") != "equal").select(
        pl.format("{}: {} -> {}", "kind", "ours", "currentStatus").alias("what")
    )
    return {
        "compared": published.height,
        "equal": kinds.pop("equal", 0),
        "share_equal": _share(published, "currentStatus"),
        "kinds": kinds,
        "differences": dict(differences.to_series().value_counts().sort("what").iter_rows()),
        "core": {"compared": core.height, "share_equal": _share(core, "currentCoreStatus")},
    }


def _share(rows: pl.DataFrame, column: str) -> float | None:
    return round(float((rows["ours"] == rows[column]).mean()), 6) if rows.height else None  # type: ignore[arg-type]
