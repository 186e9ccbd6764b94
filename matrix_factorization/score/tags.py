"""Notes whose not-helpful tags stand out: X's tag filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from matrix_factorization.score.flow import RatingEvents, TagOutliers
from nouns import snapshot as tables
from nouns.x import NOT_HELPFUL_TAGS

# communitynotes tag_filter.py, scoring_rules.py (FilterTagOutliers), constants.py (tagPercentileForNormalization).
PERCENTILE_OF_HELPFUL_NOTES = 95
LEAST_ADJUSTED_TOTAL = 2.5
DISTANCE_PERCENTILE = 40
NEVER_FILTERED = ("notHelpfulHardToUnderstand",)


def tag_outliers_of(snapshot: Path, events: RatingEvents) -> TagOutliers:
    """The function that tells which notes on track to be Helpful carry an outlying not-helpful tag.

    A rating's weight is 1 / (1 + (d / d40)^5), d the distance of the z-scored factors of rater and note, d40 the 40th percentile of all
    distances: what raters near the note complain about counts. A tag is outlying where its weighted count exceeds 2.5 and its share of the
    note's weight exceeds the 95th percentile over the notes on track. Only their ratings are read from the snapshot.
    """

    def outliers(note_factor: np.ndarray, rater_factor: np.ndarray, helpful: np.ndarray) -> np.ndarray:
        outlying = np.zeros(len(note_factor), bool)
        usable = ~np.isnan(rater_factor)
        if not helpful.any() or not usable.any():
            return outlying
        z_note, z_rater = _z(note_factor, ~np.isnan(note_factor)), _z(rater_factor, usable)
        counted = usable[events.rater_index]
        distance = np.abs(z_rater[events.rater_index[counted]] - z_note[events.note_index[counted]])
        near = float(np.nanpercentile(distance, DISTANCE_PERCENTILE)) or 1.0
        columns = ["noteId", "raterParticipantId", *NOT_HELPFUL_TAGS]
        note_rows = pl.LazyFrame({"noteId": events.note_ids[helpful], "note": np.flatnonzero(helpful)})
        rater_rows = pl.LazyFrame({"raterParticipantId": events.rater_ids, "z": z_rater}).filter(pl.Series(usable))
        ratings = (
            tables.read_table(snapshot, "ratings", columns)
            .join(note_rows, on="noteId")
            .join(rater_rows, on="raterParticipantId")
        )
        weight = 1.0 / (1.0 + (((pl.col("z") - pl.col("z_note")).abs()) / near) ** 5)
        totals = (
            ratings.join(pl.LazyFrame({"note": np.arange(len(z_note)), "z_note": z_note}), on="note")
            .with_columns(weight.alias("weight"))
            .group_by("note")
            .agg(pl.col("weight").sum(), *((pl.col(tag) * pl.col("weight")).sum() for tag in NOT_HELPFUL_TAGS))
            .sort("note")
            .collect()
        )
        notes, weights = totals["note"].to_numpy(), totals["weight"].to_numpy()
        for tag in NOT_HELPFUL_TAGS:
            total = totals[tag].to_numpy()
            share = total / np.maximum(weights, 1e-12)
            if tag not in NEVER_FILTERED and len(share):
                limit = np.quantile(share, PERCENTILE_OF_HELPFUL_NOTES / 100)
                outlying[notes[(total > LEAST_ADJUSTED_TOTAL) & (share > limit)]] = True
        return outlying

    return outliers


def _z(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    known = values[where]
    spread = float(np.std(known)) or 1.0
    return (values - float(np.mean(known))) / spread
