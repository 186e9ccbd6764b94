"""Parameters taken over from somebody else's fit: our own earlier output, or the files of X's scorer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from matrix_factorization.score.statuses import NEEDS_MORE
from nouns.errors import InputError
from nouns.x import X_GLOBAL_INTERCEPT, X_RATINGS_PER_NOTE, X_RATINGS_PER_RATER, X_RESIDUAL_VARIANCE

# X's scorers whose parameters lie on one scale, in X's order: the Core model first, and where it has none, the next (pflip_model.py, run_scoring.py
# meta_score). Group, multi-group and topic models are fitted apart, on few raters, and come last. The Gaussian score is no intercept.
SCORERS = ("core", "coreWithTopics", "expansion", "expansionPlus", "multiGroup", "group", "topic")
OTHER_SCALE = SCORERS[4:]
_GENERAL = ("", "internal")  # spellings of X's one model before there were several


def _pairs(side: str) -> tuple[tuple[str | None, str, str], ...]:
    """(scorer, intercept column, factor column) in order of preference; None: the file does not say which scorer."""

    def named(prefix: str) -> tuple[str, str]:
        return (
            (f"{prefix}{side}Intercept", f"{prefix}{side}Factor1")
            if prefix
            else (f"{side.lower()}Intercept", f"{side.lower()}Factor1")
        )

    first, *others = SCORERS
    general = [(None, *named(prefix)) for prefix in _GENERAL] + [(None, "intercept", "factor1")]
    return ((first, *named(first)), *general, *((scorer, *named(scorer)) for scorer in others))


RATER_COLUMNS, NOTE_COLUMNS = _pairs("Rater"), _pairs("Note")
# What X shows comes before what one of its models says; without it, the models in X's order.
STATUS_COLUMNS = (
    "finalRatingStatus", "currentStatus", *(f"{scorer}RatingStatus" for scorer in SCORERS), "ratingStatus", "status",
)  # fmt: skip
DECIDED_COLUMNS = ("decidedBy", "currentDecidedBy", "decided_by")
# X writes these where a model holds a note back; to everybody outside, it needs more ratings (scoring_rules.py, ApplyModelResult).
_HELD_BACK = ("FIRM_REJECT", "NEEDS_YOUR_HELP")
_RATER_FILE = re.compile(r"helpfulness_?scores|^raters\b", re.IGNORECASE)
_NOTE_FILE = re.compile(r"scored_?notes|notes_?scored|^notes\.parquet$", re.IGNORECASE)
_RATING_FILE = re.compile(r"^ratings", re.IGNORECASE)
_TABLE = (".parquet", ".tsv", ".csv")  # in order of preference


@dataclass(frozen=True)
class Adopted:
    """`raters`: raterParticipantId, intercept, factor1, scorer, one row each, sorted. `notes`: noteId (int64), intercept, factor1, scorer,
    status, decided_by (all nullable but the id), sorted. `scorer`: whose parameters they are, of `SCORERS`; null: the files do not say.
    Ratios and mu of the fit they come from. `counts`: rows read, without parameters, repeated, and parameters by scorer.
    `not_read`: files that hold the same table as one that was read."""

    raters: pl.DataFrame
    notes: pl.DataFrame
    global_intercept: float
    ratings_per_note: float
    ratings_per_rater: float
    residual_variance: float
    counts: dict[str, Any]
    not_read: tuple[str, ...] = ()


def read_adopted(
    source: Path, *, ratings_per_note: float = 0.0, global_intercept: float = X_GLOBAL_INTERCEPT
) -> Adopted:
    """Rater (and, if there, note) parameters in a file or directory.

    Where a table lies there as Parquet and as text, the Parquet file is read. A row's parameters are those of the first scorer in X's order that
    has them; its status is the one X shows (`finalRatingStatus`), else the first model's that has one. Notes with a status but no parameters
    are kept. A directory may hold `raters.parquet` (a `fit_raters` output, with `fit.json` and `notes.parquet` beside it), X's `helpfulness_scores*` and
    `scored_notes*` in either spelling, or ratings with the raters' parameters on every row. `ratings_per_note` (0: X's) and
    `global_intercept` go with parameters whose files do not tell them. Raises `InputError` if no rater has parameters.
    """
    source = Path(source)
    if source.is_dir():
        found, not_read = _once(sorted(path for path in source.iterdir() if path.suffix in _TABLE))
        rater_files = [path for path in found if _RATER_FILE.search(path.name)]
        note_files = [path for path in found if _NOTE_FILE.search(path.name)]
        if not rater_files:
            rater_files = [path for path in found if _RATING_FILE.search(path.name)]
        where = source
    elif source.is_file():
        rater_files, note_files, where, not_read = [source], [], source.parent, []
    else:
        raise InputError(f"{source} does not exist; give a fit_raters output or the files of X's scorer to adopt.")
    if not rater_files:
        raise InputError(
            f"{source} holds no rater parameters: raters.parquet, helpfulness_scores*.tsv/.parquet or ratings with "
            f"{RATER_COLUMNS[0][1]} and {RATER_COLUMNS[0][2]} are expected; found {sorted(p.name for p in source.iterdir())[:8]}."
        )
    rater_rows = pl.concat([_parameters(path, "raterParticipantId", RATER_COLUMNS) for path in rater_files])
    known = rater_rows.drop_nulls(["raterParticipantId", "intercept", "factor1"])
    raters = known.unique("raterParticipantId", keep="last", maintain_order=True).sort("raterParticipantId")
    if raters.is_empty():
        raise InputError(
            f"none of the {rater_rows.height} rows in {', '.join(p.name for p in rater_files)} has rater parameters."
        )
    note_rows = pl.concat(
        [pl.DataFrame(schema=_NOTE_SCHEMA), *(_parameters(path, "noteId", NOTE_COLUMNS) for path in note_files)]
    )
    notes = (
        note_rows.drop_nulls("noteId")
        .filter(pl.any_horizontal(pl.col("intercept", "status").is_not_null()))
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
            "rater_rows_without_parameters": rater_rows.height - known.height,
            "rater_rows_repeated": known.height - raters.height,
            "note_rows": note_rows.height,
            "note_rows_without_parameters": note_rows["intercept"].null_count(),
            "raters_by_scorer": _by_scorer(raters),
            "notes_by_scorer": _by_scorer(notes.drop_nulls("intercept")),
        },
        not_read=tuple(path.name for path in not_read),
    )


_NOTE_SCHEMA = {
    "noteId": pl.Int64, "intercept": pl.Float64, "factor1": pl.Float64, "scorer": pl.String, "status": pl.String, "decided_by": pl.String,
}  # fmt: skip


def _by_scorer(rows: pl.DataFrame) -> dict[str, int]:
    return dict(rows.select(pl.col("scorer").fill_null("unnamed")).group_by("scorer").len().sort("scorer").iter_rows())


def _once(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """(files to read, files left out): of a table in several formats, `scored_notes.tsv` and `scoredNotes.parquet`, the first of `_TABLE`."""
    chosen: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: _TABLE.index(path.suffix)):
        chosen.setdefault(path.stem.replace("_", "").lower(), path)
    read = set(chosen.values())
    return [path for path in files if path in read], [path for path in files if path not in read]


def _fit_beside(directory: Path) -> dict:
    """What stands beside parameters about the fit they come from: in fit.json, or in a trained jury's jury.json."""
    path = next((directory / name for name in ("fit.json", "jury.json") if (directory / name).is_file()), None)
    if path is None:
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{path} is not JSON ({error}); it belongs to the parameters beside it. Restore or remove it."
        ) from error


def _parameters(path: Path, key: str, pairs: tuple[tuple[str | None, str, str], ...]) -> pl.DataFrame:
    """key, intercept, factor1, scorer (of notes: status, decided_by) of every row of one file; nulls where it has no complete pair."""
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
    present = [pair for pair in pairs if set(pair[1:]) <= set(rows.columns)]
    if key not in rows.columns or not present:
        raise InputError(
            f"{path} has columns {rows.columns[:12]}; {key} and one of {[' + '.join(pair[1:]) for pair in pairs]} are expected."
        )

    def number(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64, strict=False)

    known = [number(i).is_finite() & number(f).is_finite() for _, i, f in present]
    # A table that was adopted before says itself whose parameters they are.
    said = pl.col("scorer") if "scorer" in rows.columns else pl.lit(None, dtype=pl.String)
    columns = [
        pl.col(key).cast(pl.String if key == "raterParticipantId" else pl.Int64, strict=False),
        pl.coalesce(pl.when(ok).then(number(pair[1])) for ok, pair in zip(known, present, strict=True)).alias(
            "intercept"
        ),
        pl.coalesce(pl.when(ok).then(number(pair[2])) for ok, pair in zip(known, present, strict=True)).alias(
            "factor1"
        ),
        pl.coalesce(
            *(
                pl.when(ok).then(pl.lit(pair[0], dtype=pl.String).fill_null(""))
                for ok, pair in zip(known, present, strict=True)
            )
        )
        .replace({"": None})
        .fill_null(said)
        .alias("scorer"),
    ]
    if key == "noteId":
        status = _first_word(rows, STATUS_COLUMNS).replace(dict.fromkeys(_HELD_BACK, NEEDS_MORE))
        columns += [status.alias("status"), _first_word(rows, DECIDED_COLUMNS).alias("decided_by")]
    return rows.select(columns)


def _first_word(rows: pl.DataFrame, names: tuple[str, ...]) -> pl.Expr:
    """The first of these columns that holds more than nothing or a pair of quotes."""
    have = [pl.col(name).cast(pl.String).str.strip_chars('" ') for name in names if name in rows.columns]
    words = [pl.when(word.str.len_bytes() > 0).then(word) for word in have]
    return pl.coalesce(*words, pl.lit(None, dtype=pl.String))
