"""Reading what a jury is trained on: a snapshot with its fitted parameters, and labelled folders beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jury.train.sample import posts_to_learn_from
from jury.train.table import TrainingData
from nouns.errors import InputError
from nouns.snapshot import read_table
from nouns.x import RATING_TAGS, X_GLOBAL_INTERCEPT


def read_snapshot_data(
    snapshot: Path, parameters: Path, max_ratings: int, max_notes: int
) -> tuple[TrainingData, dict[str, Any]]:
    """Notes with text of a snapshot, their fitted parameters, and all ratings by raters with parameters; and what was left out, if anything.

    Notes without fitted parameters stay (their ratings are evidence for siblings); raters without finite parameters do not. Where there
    are more rows than `max_ratings` or `max_notes`, only those of some posts are ever held in memory (jury/train/sample.py).
    """
    snapshot, parameters = Path(snapshot), Path(parameters)
    fitted = read_fitted_notes(parameters)
    with_text = pl.col("summary").str.strip_chars().str.len_chars() > 0
    notes = read_table(snapshot, "notes", ["noteId", "tweetId", "classification", "summary", "createdAtMillis"])
    notes = notes.filter(with_text)
    columns = ["noteId", "raterParticipantId", "createdAtMillis", "helpfulness", *RATING_TAGS]
    ratings = read_table(snapshot, "ratings", columns)
    posts = read_table(snapshot, "posts", ["tweetId", "text", "language"])
    left_out: dict[str, Any] = {}
    rows = [int(table.select(pl.len()).collect().item()) for table in (ratings, notes)]
    if rows[0] > max_ratings or rows[1] > max_notes:
        per_note = ratings.group_by("noteId").agg(pl.len().alias("ratings"))
        known = notes.select("noteId", "tweetId", "classification").join(per_note, on="noteId", how="left")
        known = known.with_columns(pl.col("ratings").fill_null(0)).join(
            fitted.lazy().select("noteId", "intercept"), on="noteId", how="left"
        )
        chosen, left_out = posts_to_learn_from(known.collect(engine="streaming"), max_ratings, max_notes)
        if chosen is not None:
            of_posts = pl.LazyFrame({"tweetId": chosen})
            notes, posts = (table.join(of_posts, on="tweetId", how="semi") for table in (notes, posts))
            ratings = ratings.join(notes.select("noteId"), on="noteId", how="semi")
    about = posts.collect(engine="streaming").unique("tweetId", keep="first", maintain_order=True)
    table = notes.collect(engine="streaming").sort("noteId")
    table = table.join(fitted, on="noteId", how="left").join(about, on="tweetId", how="left").sort("noteId")
    raters, level = read_raters(parameters), read_global_intercept(parameters)
    rated = ratings.collect(engine="streaming")
    return assemble(table, rated, raters, global_intercept=level, source="snapshot"), left_out


def read_fitted_notes(parameters: Path) -> pl.DataFrame:
    """noteId, intercept, factor, n_ratings of `fit_raters`' notes.parquet; an empty table where that file is missing."""
    path = Path(parameters) / "notes.parquet"
    if not path.is_file():
        return pl.DataFrame(
            schema={"noteId": pl.Int64, "intercept": pl.Float64, "factor": pl.Float64, "n_ratings": pl.Float64}
        )
    frame = pl.read_parquet(path)
    n = (
        pl.col("n_ratings").cast(pl.Float64)
        if "n_ratings" in frame.columns
        else pl.lit(None, dtype=pl.Float64).alias("n_ratings")
    )
    return frame.select(
        pl.col("noteId").cast(pl.Int64),
        pl.col("intercept").cast(pl.Float64),
        pl.col("factor1").cast(pl.Float64).alias("factor"),
        n,
    ).unique("noteId", keep="first", maintain_order=True)


def read_raters(parameters: Path) -> pl.DataFrame:
    """raterParticipantId, intercept, factor1, n_ratings of the raters with finite parameters, sorted by id.

    `parameters` is a `fit_raters` directory, or a Parquet or TSV file with those columns or X's names for them.
    """
    path = Path(parameters)
    path = path / "raters.parquet" if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; give the directory that fit-raters wrote, or a file of rater parameters."
        )
    frame = (
        pl.read_parquet(path)
        if path.suffix == ".parquet"
        else pl.read_csv(path, separator="\t", quote_char=None, infer_schema_length=10_000)
    )
    names = {
        "intercept": ("intercept", "coreRaterIntercept", "raterIntercept"),
        "factor1": ("factor1", "coreRaterFactor1", "raterFactor1"),
    }
    chosen = {}
    for name, candidates in names.items():
        found = [c for c in candidates if c in frame.columns]
        if not found or "raterParticipantId" not in frame.columns:
            raise InputError(
                f"{path} has columns {frame.columns}; raterParticipantId and one of {candidates} are expected."
            )
        chosen[name] = pl.col(found[0]).cast(pl.Float64).alias(name)
    n = (
        pl.col("n_ratings").cast(pl.Int64)
        if "n_ratings" in frame.columns
        else pl.lit(0, dtype=pl.Int64).alias("n_ratings")
    )
    frame = frame.select(pl.col("raterParticipantId").cast(pl.String), chosen["intercept"], chosen["factor1"], n)
    frame = frame.filter(pl.col("intercept").is_finite() & pl.col("factor1").is_finite())
    return frame.unique("raterParticipantId", keep="first", maintain_order=True).sort("raterParticipantId")


def read_global_intercept(parameters: Path, default: float = X_GLOBAL_INTERCEPT) -> float:
    """mu of the fit, from fit.json; X's usual value where there is none."""
    import json

    path = Path(parameters) / "fit.json"
    if not path.is_file():
        return default
    value = json.loads(path.read_text(encoding="utf-8")).get("global_intercept")
    return default if value is None else float(value)


def assemble(
    notes: pl.DataFrame,
    ratings: pl.DataFrame,
    raters: pl.DataFrame,
    *,
    global_intercept: float,
    source: str,
    weight: float = 1.0,
) -> TrainingData:
    """Tables to arrays. `notes`: noteId, tweetId, summary, classification, text, language, intercept, factor, n_ratings and, if known, createdAtMillis.

    `ratings`: noteId, raterParticipantId, createdAtMillis, helpfulness and any of RATING_TAGS; ratings of other notes or raters drop out.
    """
    notes = notes.unique("noteId", keep="first", maintain_order=True).sort("noteId")
    tags = [t for t in RATING_TAGS if t in ratings.columns]
    row = pl.DataFrame({"noteId": notes["noteId"], "row": np.arange(len(notes), dtype=np.int64)})
    who = raters.with_columns(pl.Series("rater", np.arange(len(raters), dtype=np.int64)))
    joined = (
        ratings.join(row, on="noteId", how="inner")
        .join(who.select("raterParticipantId", "rater", "intercept", "factor1"), on="raterParticipantId", how="inner")
        .filter(pl.col("helpfulness").is_not_null())
        .sort("row", "createdAtMillis", "rater")
    )
    matrix = np.zeros((len(joined), len(RATING_TAGS)), dtype=bool)
    for k, tag in enumerate(RATING_TAGS):
        if tag in tags:
            matrix[:, k] = joined[tag].cast(pl.Boolean).fill_null(False).to_numpy()

    def column(name: str) -> np.ndarray:
        if name not in notes.columns:
            return np.full(len(notes), np.nan)
        return notes[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)

    return TrainingData(
        note_id=notes["noteId"].to_numpy().astype(np.int64),
        post=notes["tweetId"].to_numpy().astype(np.int64),
        text=notes["summary"].to_list(),
        classification=[c or "" for c in notes["classification"].to_list()],
        post_text=notes["text"].to_list() if "text" in notes.columns else [None] * len(notes),
        language=notes["language"].to_list() if "language" in notes.columns else [None] * len(notes),
        intercept=column("intercept"),
        factor=column("factor"),
        n_ratings=column("n_ratings"),
        source=[source] * len(notes),
        weight=np.full(len(notes), weight),
        rating_note=joined["row"].to_numpy().astype(np.int64),
        rater=joined["rater"].to_numpy().astype(np.int64),
        value=joined["helpfulness"].cast(pl.Float64).to_numpy().astype(np.float64),
        rater_intercept=joined["intercept"].to_numpy().astype(np.float64),
        rater_factor=joined["factor1"].to_numpy().astype(np.float64),
        created_at=joined["createdAtMillis"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64),
        tags=matrix,
        tag_names=RATING_TAGS,
        rater_ids=tuple(raters["raterParticipantId"].to_list()),
        global_intercept=global_intercept,
        written_at=(
            notes["createdAtMillis"].cast(pl.Int64).fill_null(-1).to_numpy().astype(np.int64)
            if "createdAtMillis" in notes.columns
            else None
        ),
    )


def merge(parts: Sequence[TrainingData]) -> TrainingData:
    """One table from several. A note that occurs twice counts where it occurs first; ratings of its later copy are dropped.

    Raters of different parts stay different people even with equal ids: their parameters come from different fits.
    """
    first = parts[0]
    seen = set(first.note_id.tolist())
    kept = [first]
    for part in parts[1:]:
        fresh = np.array([n not in seen for n in part.note_id.tolist()], dtype=bool)
        seen.update(part.note_id.tolist())
        kept.append(part.notes_where(fresh))
    rows = np.cumsum([0, *(len(p) for p in kept)])
    people = np.cumsum([0, *(len(p.rater_ids) for p in kept)])
    join = lambda name: np.concatenate([getattr(p, name) for p in kept])  # noqa: E731
    chain = lambda name: [x for p in kept for x in getattr(p, name)]  # noqa: E731
    # The level of another fit's raters is moved onto the first's global intercept.
    level = [p.rater_intercept + p.global_intercept - first.global_intercept for p in kept]
    return replace(
        first,
        note_id=join("note_id"),
        post=join("post"),
        text=chain("text"),
        classification=chain("classification"),
        post_text=chain("post_text"),
        language=chain("language"),
        intercept=join("intercept"),
        factor=join("factor"),
        n_ratings=join("n_ratings"),
        source=chain("source"),
        weight=join("weight"),
        rating_note=np.concatenate([p.rating_note + r for p, r in zip(kept, rows[:-1], strict=True)]),
        rater=np.concatenate([p.rater + r for p, r in zip(kept, people[:-1], strict=True)]),
        value=join("value"),
        rater_intercept=np.concatenate(level),
        rater_factor=join("rater_factor"),
        created_at=join("created_at"),
        tags=np.concatenate([p.tags for p in kept]),
        rater_ids=tuple(chain("rater_ids")),
        written_at=(
            None
            if all(p.written_at is None for p in kept)
            else np.concatenate([np.full(len(p), -1) if p.written_at is None else p.written_at for p in kept])
        ),
    )
