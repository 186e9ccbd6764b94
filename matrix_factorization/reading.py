"""What ratings say of notes, read with raters whose parameters are frozen: a jury's own where it knows them, else the run's.

So what a note is worth follows from its own ratings, and a day's new fit moves nothing until the jury is trained anew.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import polars as pl

from matrix_factorization.foldin import fold_in_notes
from matrix_factorization.model.objective import RaterParameters
from nouns.errors import InputError
from nouns.snapshot import read_table
from nouns.x import X_GLOBAL_INTERCEPT, X_RATINGS_PER_NOTE

UNKNOWN_STEP = 0.05
"""Parameters of raters the jury does not know count in such steps: a day's new fit moves their last digits, and those decide nothing."""


def scan_parameters(parameters: Path, name: str) -> pl.LazyFrame:
    """`raters` or `notes` of a `fit_raters` directory. Raises `InputError` where there is no such table."""
    path = Path(parameters) / f"{name}.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes fit-raters` wrote.")
    return pl.scan_parquet(path)


def known_raters(parameters: Path, jury: Path | None = None) -> pl.LazyFrame:
    """Parameters by rater: the jury's where it knows one, else the run's on the jury's scale. raterParticipantId, intercept, factor1, known.

    The sign of a fit's factors is a convention and its level is shared with mu: both are taken from the raters that the two have in common.
    """
    tables = [Path(parameters) / "raters.parquet", *([jury / "raters.parquet"] if jury is not None else [])]
    if not tables[0].is_file():
        scan_parameters(parameters, "raters")  # says what is missing
    return _raters(tuple((table.resolve(), table.stat().st_mtime_ns) for table in tables)).lazy()


@functools.lru_cache(maxsize=1)
def _raters(tables: tuple[tuple[Path, int], ...]) -> pl.DataFrame:
    """The raters of a fit, or of a fit and a jury; read once, however many shards ask."""
    columns = ["raterParticipantId", pl.col("intercept").cast(pl.Float64), pl.col("factor1").cast(pl.Float64)]
    fitted, *own = (pl.read_parquet(path).select(columns).drop_nulls() for path, _ in tables)
    if not own:
        return fitted.with_columns(known=pl.lit(True))
    both = own[0].join(fitted, on="raterParticipantId", suffix="_run")
    level, sign = both.select(
        (pl.col("intercept") - pl.col("intercept_run")).mean().fill_null(0.0),
        (pl.col("factor1") * pl.col("factor1_run")).sum(),
    ).row(0)
    in_steps = [
        (value / UNKNOWN_STEP).round() * UNKNOWN_STEP
        for value in (pl.col("intercept") + level, pl.col("factor1") * (-1.0 if sign < 0 else 1.0))
    ]
    others = fitted.join(own[0], on="raterParticipantId", how="anti").with_columns(in_steps)
    return pl.concat([own[0].with_columns(known=pl.lit(True)), others.with_columns(known=pl.lit(False))])


def read_ratings(snapshot: Path, raters: pl.LazyFrame, ids: pl.Series) -> pl.DataFrame:
    """Every rating of the notes `ids` (ascending), with its rater's parameters, null where unknown; by note, then in order of time."""
    columns = ["noteId", "raterParticipantId", "createdAtMillis", "helpfulness"]
    table = read_table(snapshot, "ratings", columns)
    # The range lets Parquet skip row groups by their statistics; the table is sorted by noteId.
    near = pl.col("noteId").is_between(ids[0], ids[-1]) if len(ids) else pl.lit(False)
    return (
        table.filter(near & pl.col("noteId").is_in(ids.implode()))
        .join(raters, on="raterParticipantId", how="left")
        .sort("noteId", "createdAtMillis", "raterParticipantId")
        .collect()
    )


def notes_as_read(ratings: pl.DataFrame, mu: float, ratings_per_note: float) -> pl.DataFrame:
    """What such ratings say of each note that a rater with parameters has rated, raters and mu frozen.

    noteId, intercept, factor1, and of net_helpful_negative and net_helpful_positive how many more of its ratings by raters of that sign
    of the factor say Helpful than Not helpful.
    """
    known = ratings.drop_nulls(["intercept", "factor1"])
    note, value = known["noteId"].to_numpy(), known["helpfulness"].cast(pl.Float32).to_numpy()
    start = np.append(np.flatnonzero(np.diff(note, prepend=note[:1] - 1)), len(note)).astype(np.int64)
    people = RaterParameters(known["intercept"].to_numpy(), known["factor1"].to_numpy())
    found = fold_in_notes(start, np.arange(len(value)), value, people, mu, ratings_per_note=ratings_per_note)
    gain = (value.astype(np.int64) == 1).astype(np.int64) - (value == 0)
    sides = (people.factor < 0, people.factor >= 0)
    negative, positive = (np.add.reduceat(np.append(gain * side, 0), start)[:-1] for side in sides)
    return pl.DataFrame(
        {
            "noteId": note[start[:-1]],
            "intercept": found.intercept,
            "factor1": found.factor,
            "net_helpful_negative": negative,
            "net_helpful_positive": positive,
        },
        schema_overrides={"noteId": pl.Int64, "net_helpful_negative": pl.Float64, "net_helpful_positive": pl.Float64},
    )


def with_reading(notes: pl.DataFrame, read: pl.DataFrame, parameters: Path, *, keep: bool = False) -> pl.DataFrame:
    """`notes` (noteId, intercept, factor1, perhaps net_helpful_*) with what `notes_as_read` says; what X published stays where the run adopted it.

    A note that no known rater has rated has none, or stays as it is (`keep`).
    """
    columns = [name for name in read.columns if name in notes.columns and name != "noteId"]
    read = read.select("noteId", *columns, read=pl.lit(True))
    both = notes.join(read, on="noteId", how="left", suffix="_read", maintain_order="left")
    adopted = bool(json.loads((Path(parameters) / "fit.json").read_text(encoding="utf-8")).get("adopted"))
    stays = pl.lit(adopted) & pl.col("intercept").is_not_null() & pl.col("factor1").is_not_null()
    stays = stays | (pl.col("read").is_null() & pl.lit(keep))
    return both.select(
        pl.when(stays).then(pl.col(name)).otherwise(pl.col(f"{name}_read")).alias(name)
        if name in columns
        else pl.col(name)
        for name in notes.columns
    )


def read_fit(parameters: Path) -> tuple[float, float]:
    """Global intercept and ratings per note of the fit that gave the raters: what the score's scale rests on.

    Adopted parameters keep the numbers of the fit they come from, which stand in fit.json; where none stand, X's are taken.
    """
    path = Path(parameters) / "fit.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes fit-raters` wrote.")
    fit = json.loads(path.read_text(encoding="utf-8"))
    mu = fit.get("global_intercept")
    per_note = fit.get("ratings_per_note")
    if (
        not per_note and not fit.get("adopted") and fit.get("n_notes")
    ):  # a fit of a version that did not write the ratio
        per_note = (fit.get("n_ratings") or 0) / fit["n_notes"]
    return X_GLOBAL_INTERCEPT if mu is None else float(mu), float(per_note or X_RATINGS_PER_NOTE)


def read_scale(jury: Path, parameters: Path) -> tuple[float, float]:
    """Global intercept and ratings per note of the fit behind a jury: its own record, the run's fit where an older jury does not tell."""
    mu, per_note = read_fit(parameters)
    path = Path(jury) / "jury.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    own_mu, own_per_note = told.get("global_intercept"), told.get("ratings_per_note")
    return (mu if own_mu is None else float(own_mu)), (per_note if own_per_note is None else float(own_per_note))
