"""What a fit gives away: the tables raters.parquet and notes.parquet, and the facts of fit.json."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.score.flow import Completed, RatingEvents, Scoring
from matrix_factorization.score.helpfulness import Helpfulness
from matrix_factorization.score.statuses import STATUSES


def frames(scoring: Scoring) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(raters, notes) as tables with the columns of interfaces.md and the evidence behind them, sorted by id."""
    in_fit_of_rater = np.zeros(len(scoring.events.rater_ids), np.int64)
    in_fit_of_rater[scoring.in_fit_raters] = scoring.table.rater_degree()
    in_fit_of_note = np.zeros(len(scoring.events.note_ids), np.int64)
    in_fit_of_note[scoring.in_fit_notes] = scoring.table.note_degree()
    return (
        rater_frame(scoring.events, scoring.completed, in_fit_of_rater, scoring.helpfulness),
        note_frame(scoring.events, scoring.completed, in_fit_of_note),
    )


def rater_frame(
    events: RatingEvents, completed: Completed, n_in_fit: np.ndarray, helpfulness: Helpfulness | None
) -> pl.DataFrame:
    """raters.parquet: every rater of the events with parameters, where they come from, and helpfulness scores (null if unknown)."""
    n = len(events.rater_ids)
    rated = np.bincount(events.rater_index, minlength=n)
    h, unknown = helpfulness, pl.Series([None] * n, dtype=pl.Float64)
    return pl.DataFrame(
        {
            "raterParticipantId": events.rater_ids.cast(pl.String),
            "intercept": completed.raters.intercept,
            "factor1": completed.raters.factor,
            "n_ratings": rated.astype(np.int64),
            "n_ratings_in_fit": n_in_fit,
            "source": completed.rater_source.tolist(),
            "intercept_sd": completed.raters.intercept_sd,
            "factor1_sd": completed.raters.factor_sd,
            "n_valid_ratings": h.n_valid.astype(np.int64) if h else np.zeros(n, np.int64),
            "n_agreeing_ratings": h.n_agree.astype(np.int64) if h else np.zeros(n, np.int64),
            "rater_agree_ratio": _nullable(h.agree_ratio) if h else unknown,
            "crh_crnh_ratio_difference": _nullable(h.crh_crnh_difference) if h else unknown,
            "mean_note_score": _nullable(h.mean_note_score) if h else unknown,
            "above_helpfulness_threshold": pl.Series(h.above_threshold if h else [None] * n, dtype=pl.Boolean),
        },
        schema_overrides={"source": pl.String},
    )


def note_frame(events: RatingEvents, completed: Completed, n_in_fit: np.ndarray) -> pl.DataFrame:
    """notes.parquet: every rated note with parameters, interval, evidence by side, status and the rules that gave it."""
    c, e = completed, completed.evidence
    net, mean = e.net_helpful, _side_means(e.counts)
    return pl.DataFrame(
        {
            "noteId": events.note_ids.astype(np.int64),
            "intercept": c.notes.intercept,
            "factor1": c.notes.factor,
            "lower": c.lower,
            "upper": c.upper,
            "n_ratings": np.bincount(events.note_index, minlength=len(events.note_ids)).astype(np.int64),
            "net_helpful_negative": net[:, 0].astype(np.int64),
            "net_helpful_positive": net[:, 1].astype(np.int64),
            "status": c.statuses.names,
            "active_rules": pl.Series(c.statuses.rules, dtype=pl.List(pl.String)),
            "source": c.note_source.tolist(),
            "n_ratings_in_fit": n_in_fit,
            "n_ratings_counted": c.notes.n_ratings.astype(np.int64),
            "intercept_sd": c.notes.intercept_sd,
            "factor1_sd": c.notes.factor_sd,
            "pseudo_lower": c.pseudo_lower,
            "pseudo_upper": _nullable(e.upper),
            "mean_helpful_negative": _nullable(mean[:, 0]),
            "mean_helpful_positive": _nullable(mean[:, 1]),
            "intercept_without_most_active": _nullable(e.without_most_active),
            "intercept_without_correlated": _nullable(e.without_correlated),
        },
        schema_overrides={"source": pl.String, "status": pl.String},
    )


def _side_means(counts: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts[:, :, 2] + 0.5 * counts[:, :, 1]) / counts.sum(axis=2)


def _nullable(values: np.ndarray) -> pl.Series:
    """NaN becomes null: in a file a missing number is missing."""
    return pl.Series(values, dtype=pl.Float64).fill_nan(None)


def describe(scoring: Scoring) -> dict[str, Any]:
    """The JSON-able facts of a fit: `fit.json` without timings."""
    s, f = scoring, scoring.factorization
    return {
        "loss": f.loss,
        "iterations": f.sweeps,
        "converged": bool(f.converged),
        "message": f.message,
        "global_intercept": float(f.parameters.global_intercept),
        "n_ratings": s.table.n_ratings,
        "n_raters": s.table.n_raters,
        "n_notes": s.table.n_notes,
        "ratings_per_note": s.frozen.ratings_per_note,
        "ratings_per_rater": s.frozen.ratings_per_rater,
        "residual_variance": s.frozen.residual_variance,
        "raters_outside": asdict(s.completed.unfitted),
        "n_ratings_seen": len(s.events.note_index),
        "n_raters_seen": len(s.events.rater_ids),
        "n_notes_seen": len(s.events.note_ids),
        "first_round": {
            "loss": s.first_round.loss,
            "iterations": s.first_round.sweeps,
            "global_intercept": float(s.first_round.parameters.global_intercept),
            "starts": [{"start": x.name, "loss": x.loss, "iterations": x.sweeps} for x in s.first_round.starts],
            "spread_of_starts": s.first_round.spread,
        },
        "helpfulness_filter": s.helpfulness_rule,
        "rejected": s.rejected,
        "statuses": {name: int(np.count_nonzero(s.completed.statuses.status == k)) for k, name in enumerate(STATUSES)},
        "components": [asdict(part) for part in s.components[:20]],
        "n_components": len(s.components),
        "diagnostics": s.diagnostics,
        "losses": [float(x) for x in f.losses],
        "warnings": s.warnings,
    }
