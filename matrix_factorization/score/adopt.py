"""Parameters taken over from somebody else's fit: our own earlier output, or the files of X's scorer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from nouns.errors import InputError
from nouns.x import X_GLOBAL_INTERCEPT, X_RATINGS_PER_NOTE, X_RATINGS_PER_RATER, X_RESIDUAL_VARIANCE

# Pairs of (intercept, factor) columns in order of preference; where a row lacks the first pair, the next is taken.
RATER_COLUMNS = (
    ("coreRaterIntercept", "coreRaterFactor1"),
    ("raterIntercept", "raterFactor1"),
    ("internalRaterIntercept", "internalRaterFactor1"),
    ("intercept", "factor1"),
)
NOTE_COLUMNS = (
    ("coreNoteIntercept", "coreNoteFactor1"),
    ("noteIntercept", "noteFactor1"),
    ("internalNoteIntercept", "internalNoteFactor1"),
    ("intercept", "factor1"),
)
STATUS_COLUMNS = ("coreRatingStatus", "ratingStatus", "finalRatingStatus", "currentStatus", "status")
_RATER_FILE = re.compile(r"helpfulness_?scores|^raters\b", re.IGNORECASE)
_NOTE_FILE = re.compile(r"scored_?notes|notes_?scored|^notes\.parquet$", re.IGNORECASE)
_RATING_FILE = re.compile(r"^ratings", re.IGNORECASE)
_TABLE = (".tsv", ".parquet", ".csv")


@dataclass(frozen=True)
class Adopted:
    """`raters`: raterParticipantId, intercept, factor1, one row each, sorted. `notes`: noteId (int64), intercept, factor1, status
    (nullable), sorted. Ratios and mu of the fit they come from. `counts`: rows read, without parameters, repeated."""

    raters: pl.DataFrame
    notes: pl.DataFrame
    global_intercept: float
    ratings_per_note: float
    ratings_per_rater: float
    residual_variance: float
    counts: dict[str, int]


def read_adopted(
    source: Path, *, ratings_per_note: float = 0.0, global_intercept: float = X_GLOBAL_INTERCEPT
) -> Adopted:
    """Rater (and, if there, note) parameters in a file or directory.

    A directory may hold `raters.parquet` (a `fit_raters` output, with `fit.json` and `notes.parquet` beside it), X's `helpfulness_scores*` and
    `scored_notes*` in either spelling, or ratings with the raters' parameters on every row. `ratings_per_note` (0: X's) and
    `global_intercept` go with parameters whose files do not tell them. Raises `InputError` if no rater has parameters.
    """
    source = Path(source)
    if source.is_dir():
        found = sorted(path for path in source.iterdir() if path.suffix in _TABLE)
        rater_files = [path for path in found if _RATER_FILE.search(path.name)]
        note_files = [path for path in found if _NOTE_FILE.search(path.name)]
        if not rater_files:
            rater_files = [path for path in found if _RATING_FILE.search(path.name)]
        where = source
    elif source.is_file():
        rater_files, note_files, where = [source], [], source.parent
    else:
        raise InputError(f"{source} does not exist; give a fit_raters output or the files of X's scorer to adopt.")
    if not rater_files:
        raise InputError(
            f"{source} holds no rater parameters: raters.parquet, helpfulness_scores*.tsv/.parquet or ratings with "
            f"{RATER_COLUMNS[0][0]} and {RATER_COLUMNS[0][1]} are expected; found {sorted(p.name for p in source.iterdir())[:8]}."
        )
    rater_rows = pl.concat([_parameters(path, "raterParticipantId", RATER_COLUMNS) for path in rater_files])
    raters = (
        rater_rows.drop_nulls()
        .unique("raterParticipantId", keep="last", maintain_order=True)
        .sort("raterParticipantId")
    )
    if raters.is_empty():
        raise InputError(
            f"none of the {rater_rows.height} rows in {', '.join(p.name for p in rater_files)} has rater parameters."
        )
    note_tables = [_parameters(path, "noteId", NOTE_COLUMNS, STATUS_COLUMNS) for path in note_files]
    empty = pl.DataFrame(
        schema={"noteId": pl.Int64, "intercept": pl.Float64, "factor1": pl.Float64, "status": pl.String}
    )
    note_rows = pl.concat([empty, *note_tables])
    notes = (
        note_rows.drop_nulls(["noteId", "intercept", "factor1"])
        .unique("noteId", keep="last", maintain_order=True)
        .sort("noteId")
    )
    fit = _fit_beside(where)
    return Adopted(
        raters=raters,
        notes=notes,
        global_intercept=float(fit.get("global_intercept", global_intercept)),
        ratings_per_note=float(fit.get("ratings_per_note") or ratings_per_note or X_RATINGS_PER_NOTE),
        ratings_per_rater=float(fit.get("ratings_per_rater") or X_RATINGS_PER_RATER),
        residual_variance=float(fit.get("residual_variance") or X_RESIDUAL_VARIANCE),
        counts={
            "rater_rows": rater_rows.height,
            "rater_rows_without_parameters": rater_rows.height - rater_rows.drop_nulls().height,
            "rater_rows_repeated": rater_rows.drop_nulls().height - raters.height,
            "note_rows": note_rows.height,
            "note_rows_without_parameters": note_rows.height - notes.height,
        },
    )


def _fit_beside(directory: Path) -> dict:
    path = directory / "fit.json"
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); it belongs to the parameters beside it. Restore or remove it."
        ) from error


def _parameters(
    path: Path, key: str, pairs: tuple[tuple[str, str], ...], statuses: tuple[str, ...] = ()
) -> pl.DataFrame:
    """key, intercept, factor1 (and status) of every row of one file; nulls where the row has no complete pair."""
    try:
        if path.suffix == ".parquet":
            rows = pl.read_parquet(path)
        else:
            separator = "," if path.suffix == ".csv" else "\t"
            rows = pl.read_csv(path, separator=separator, quote_char=None, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"{path} cannot be read as a table: {error}. Parquet, or TSV with a header line, is expected."
        ) from error
    present = [pair for pair in pairs if set(pair) <= set(rows.columns)]
    if key not in rows.columns or not present:
        raise InputError(
            f"{path} has columns {rows.columns[:12]}; {key} and one of {[' + '.join(pair) for pair in pairs]} are expected."
        )
    known = [
        pl.col(i).cast(pl.Float64, strict=False).is_finite() & pl.col(f).cast(pl.Float64, strict=False).is_finite()
        for i, f in present
    ]

    def first_known(column: int) -> pl.Expr:
        return pl.coalesce(
            pl.when(ok).then(pl.col(pair[column]).cast(pl.Float64, strict=False))
            for ok, pair in zip(known, present, strict=True)
        )

    columns = [
        pl.col(key).cast(pl.String if key == "raterParticipantId" else pl.Int64, strict=False),
        first_known(0).alias("intercept"),
        first_known(1).alias("factor1"),
    ]
    if statuses:
        have = [pl.col(name).cast(pl.String) for name in statuses if name in rows.columns]
        columns.append((pl.coalesce(have) if have else pl.lit(None, dtype=pl.String)).alias("status"))
    return rows.select(columns)
