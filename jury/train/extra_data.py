"""Labelled folders beside the snapshot: notes with text and some measure of how they were received.

`train_jury(extra=[...])` takes any folder that holds one of these shapes (TSV with header, no quoting; several may stand together):

| file | columns that decide | becomes |
|---|---|---|
| `notes_scored.tsv` | `coreNoteIntercept, coreNoteFactor1` or `noteIntercept, noteFactor1` | labels on X's scale, weight 1 |
| `ratings-*.tsv` beside it | `coreRaterIntercept, coreRaterFactor1` on every row | ratings with their raters' parameters |
| `notes-*.tsv` + `ratings-*.tsv` | ratings without rater parameters | raters and notes are fitted here with this project's solver |
| `notes-*.tsv` | `ratingScore, numRatings` | a weak label: the score per rating, on the scale of an intercept |
| `notes.tsv` | `cluster_0_approval, cluster_1_approval` | a weak label: the two camps' mean approval, an intercept alone |
| `posts.parquet` | `tweetId, text, lang` | post texts |

Weak labels come from selected samples: they teach the text weights (`weight` below 1), never the calibration, the response or the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from jury.train.data import assemble
from jury.train.table import TrainingData
from matrix_factorization.model.objective import Regularisation
from matrix_factorization.model.ratings import drop_repeated, rating_table
from matrix_factorization.solve.exact import ExactSolver
from nouns.errors import InputError
from nouns.x import RATING_TAGS, X_GLOBAL_INTERCEPT

# Precision of a weak label relative to a fitted parameter with as many ratings; measured, see docs/experiments.
SCORE_WEIGHT = 0.25
CAMP_WEIGHT = 0.25
_NO_RATERS = pl.DataFrame(
    schema={"raterParticipantId": pl.String, "intercept": pl.Float64, "factor1": pl.Float64, "n_ratings": pl.Int64}
)
_NO_RATINGS = pl.DataFrame(
    schema={"noteId": pl.Int64, "raterParticipantId": pl.String, "createdAtMillis": pl.Int64, "helpfulness": pl.Float64}
)
# Older names of tags whose newest names the snapshot uses.
_OLD_TAGS = {"notHelpfulArgumentativeOrInflammatory": "notHelpfulArgumentativeOrBiased"}


def read_extra(folders: Sequence[Path]) -> list[TrainingData]:
    """One TrainingData per folder, in the order given. Raises InputError for a folder without a known shape."""
    return [read_folder(Path(folder)) for folder in folders]


def read_folder(folder: Path) -> TrainingData:
    """The labelled notes of one folder (module table); its name is the rows' `source`."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no directory; --extra takes folders of labelled notes (see jury/train/extra_data.py)."
        )
    posts = _posts(folder)
    scored = folder / "notes_scored.tsv"
    note_files = sorted(folder.glob("notes-*.tsv"))
    rating_files = sorted(folder.glob("ratings-*.tsv"))
    ratings = _ratings(rating_files) if rating_files else _NO_RATINGS
    if scored.is_file():
        notes = _labelled(_tsv([scored]), scored)
        known = {"coreRaterIntercept", "coreRaterFactor1"} <= set(ratings.columns)
        raters = _raters_on_rows(ratings) if known else _NO_RATERS
        return assemble(
            _with_posts(notes, posts),
            ratings if known else _NO_RATINGS,
            raters,
            global_intercept=X_GLOBAL_INTERCEPT,
            source=folder.name,
        )
    if note_files and rating_files:
        return _fit_here(_tsv(note_files), ratings, posts, folder.name)
    if note_files:
        frame = _tsv(note_files)
        if {"ratingScore", "numRatings"} <= set(frame.columns):
            return assemble(
                _with_posts(_score_labels(frame), posts), _NO_RATINGS, _NO_RATERS,
                global_intercept=X_GLOBAL_INTERCEPT, source=folder.name, weight=SCORE_WEIGHT,
            )  # fmt: skip
    camps = folder / "notes.tsv"
    if camps.is_file():
        frame = _tsv([camps])
        if {"cluster_0_approval", "cluster_1_approval"} <= set(frame.columns):
            return assemble(
                _with_posts(_camp_labels(frame), posts), _NO_RATINGS, _NO_RATERS,
                global_intercept=X_GLOBAL_INTERCEPT, source=folder.name, weight=CAMP_WEIGHT,
            )  # fmt: skip
    raise InputError(
        f"{folder} holds no labelled notes: notes_scored.tsv, notes-*.tsv with ratings-*.tsv or with ratingScore, or notes.tsv with camp "
        "approvals are expected (see jury/train/extra_data.py)."
    )


def _tsv(paths: Sequence[Path]) -> pl.DataFrame:
    frames = [pl.read_csv(p, separator="\t", quote_char=None, infer_schema_length=50_000) for p in paths]
    return pl.concat(frames, how="diagonal_relaxed")


def _posts(folder: Path) -> pl.DataFrame:
    path = folder / "posts.parquet"
    if not path.is_file():
        return pl.DataFrame(schema={"tweetId": pl.Int64, "text": pl.String, "language": pl.String})
    frame = pl.read_parquet(path)
    language = pl.col("lang") if "lang" in frame.columns else pl.lit(None, dtype=pl.String)
    return frame.select(pl.col("tweetId").cast(pl.Int64), pl.col("text"), language.alias("language")).unique(
        "tweetId", keep="first", maintain_order=True
    )


def _with_posts(notes: pl.DataFrame, posts: pl.DataFrame) -> pl.DataFrame:
    notes = notes.filter(pl.col("summary").is_not_null() & (pl.col("summary").str.strip_chars().str.len_chars() > 0))
    return notes.join(posts, on="tweetId", how="left").sort("noteId")


def _labelled(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    for i_name, f_name in (("coreNoteIntercept", "coreNoteFactor1"), ("noteIntercept", "noteFactor1")):
        if {i_name, f_name} <= set(frame.columns):
            n = (
                pl.col("numRatings").cast(pl.Float64)
                if "numRatings" in frame.columns
                else pl.lit(None, dtype=pl.Float64)
            )
            return frame.select(
                "noteId", "tweetId", "summary", pl.col("classification").fill_null(""), n.alias("n_ratings"),
                pl.col(i_name).cast(pl.Float64).alias("intercept"), pl.col(f_name).cast(pl.Float64).alias("factor"),
            )  # fmt: skip
    raise InputError(
        f"{path} has columns {frame.columns}; coreNoteIntercept and coreNoteFactor1 (or noteIntercept, noteFactor1) are expected."
    )


def _ratings(paths: Sequence[Path]) -> pl.DataFrame:
    frame = _tsv(paths)
    level = pl.col("helpfulnessLevel") if "helpfulnessLevel" in frame.columns else pl.lit(None, dtype=pl.String)
    value = (
        pl.when(level == "HELPFUL").then(1.0).when(level == "SOMEWHAT_HELPFUL").then(0.5).when(level == "NOT_HELPFUL").then(0.0)
    )  # fmt: skip
    if {"helpful", "notHelpful"} <= set(frame.columns):
        value = value.when(pl.col("helpful") == 1).then(1.0).when(pl.col("notHelpful") == 1).then(0.0)
    frame = frame.with_columns(value.otherwise(None).alias("helpfulness")).filter(pl.col("helpfulness").is_not_null())
    renamed = {old: new for old, new in _OLD_TAGS.items() if old in frame.columns and new not in frame.columns}
    frame = frame.rename(renamed)
    keep = [
        "noteId",
        "raterParticipantId",
        "createdAtMillis",
        "helpfulness",
        *(t for t in RATING_TAGS if t in frame.columns),
    ]
    keep += [c for c in ("coreRaterIntercept", "coreRaterFactor1") if c in frame.columns]
    return drop_repeated(frame.select(keep))


def _raters_on_rows(ratings: pl.DataFrame) -> pl.DataFrame:
    return (
        ratings.group_by("raterParticipantId")
        .agg(pl.col("coreRaterIntercept").first().alias("intercept"), pl.col("coreRaterFactor1").first().alias("factor1"), pl.len().alias("n_ratings"))
        .filter(pl.col("intercept").is_finite() & pl.col("factor1").is_finite())
        .with_columns(pl.col("n_ratings").cast(pl.Int64))
        .sort("raterParticipantId")
    )  # fmt: skip


def fit_ratings(
    ratings: pl.DataFrame, min_per_note: int = 5, min_per_rater: int = 10
) -> tuple[pl.DataFrame, pl.DataFrame, float]:
    """Raters, notes (both with intercept and factor) and mu, fitted on raw ratings after X's activity filter, iterated."""
    alive = ratings.select("noteId", "raterParticipantId", "helpfulness")
    for _ in range(50):
        before = len(alive)
        alive = alive.filter(pl.len().over("noteId") >= min_per_note)
        alive = alive.filter(pl.len().over("raterParticipantId") >= min_per_rater)
        if len(alive) == before:
            break
    table = rating_table(alive)
    fit = ExactSolver(regularisation=Regularisation(), random_starts=1, threads=2).fit(
        table, rng=np.random.default_rng(0)
    )
    p = fit.parameters
    raters = pl.DataFrame(
        {
            "raterParticipantId": table.rater_ids.cast(pl.String),
            "intercept": p.raters.intercept,
            "factor1": p.raters.factor,
            "n_ratings": table.rater_degree(),
        }
    ).with_columns(pl.col("intercept").cast(pl.Float64), pl.col("factor1").cast(pl.Float64))
    notes = pl.DataFrame(
        {
            "noteId": table.note_ids,
            "intercept": p.notes.intercept,
            "factor": p.notes.factor,
            "n_ratings": table.note_degree().astype(np.float64),
        }
    ).with_columns(pl.col("intercept").cast(pl.Float64), pl.col("factor").cast(pl.Float64))
    return raters.sort("raterParticipantId"), notes, float(p.global_intercept)


def _fit_here(notes: pl.DataFrame, ratings: pl.DataFrame, posts: pl.DataFrame, source: str) -> TrainingData:
    raters, fitted, level = fit_ratings(ratings)
    when = [c for c in ("createdAtMillis",) if c in notes.columns]
    table = notes.select("noteId", "tweetId", "summary", pl.col("classification").fill_null(""), *when).join(
        fitted, on="noteId", how="left"
    )
    return assemble(_with_posts(table, posts), ratings, raters, global_intercept=level, source=source)


def _score_labels(frame: pl.DataFrame) -> pl.DataFrame:
    """ratingScore is the sum of +2, +1, -2; per rating and halved it lies in [-1, 1]: about twice an intercept plus the level."""
    rated = frame.filter(pl.col("numRatings").is_not_null() & (pl.col("numRatings") >= 5))
    share = pl.col("ratingScore") / (2.0 * pl.col("numRatings"))
    n = pl.col("numRatings").cast(pl.Float64)
    return rated.select(
        "noteId", "tweetId", "summary", pl.col("classification").fill_null(""), n.alias("n_ratings"),
        (0.5 * share * n / (n + 6.0)).alias("intercept"), pl.lit(None, dtype=pl.Float64).alias("factor"),
    )  # fmt: skip


def _camp_labels(frame: pl.DataFrame) -> pl.DataFrame:
    a, b = pl.col("cluster_0_approval"), pl.col("cluster_1_approval")
    n = pl.min_horizontal("cluster_0_count", "cluster_1_count").cast(pl.Float64) * 2.0
    return frame.select(
        "noteId", "tweetId", "summary", pl.col("classification").fill_null(""), n.alias("n_ratings"),
        # How far two camps lie apart is no factor on X's scale: taken for one, it cost 0.014 of AUC and 0.011 of calibration.
        (0.5 * (a + b) - 0.5).alias("intercept"), pl.lit(None, dtype=pl.Float64).alias("factor"),
    )  # fmt: skip
