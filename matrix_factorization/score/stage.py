"""The stages of this room: read, call, write."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from matrix_factorization.score.adopting import score_with_adopted
from matrix_factorization.score.agreement import agreement_with_published
from matrix_factorization.score.flow import score
from matrix_factorization.score.inputs import note_facts, rating_events
from matrix_factorization.score.outputs import describe, frames
from matrix_factorization.score.population import population_of
from matrix_factorization.score.statuses import OUTSIDE
from matrix_factorization.settings import FitRatersSettings
from matrix_factorization.solve.several import several_factors
from nouns.errors import InputError
from nouns.notices import notice
from nouns.run import Run
from nouns.stage import Counts, Tools

__all__ = ["fit_raters", "fold_in"]

Progress = Callable[..., None]


def fit_raters(
    run: Run,
    settings: FitRatersSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Rater and note parameters: fitted on a snapshot's ratings, or taken over (`raters`, or those of the jury that was given).

    Counts are in ratings: those of the final fit, and by reason those left out of it (their notes and raters have parameters
    nevertheless, see `source`). When adopting, in ratings of the snapshot that had a rater with adopted parameters.
    """
    adopt = run.given.get("raters") or run.given.get("jury")
    snapshot = run.path("ingest") if run.has("ingest") else None
    began = time.perf_counter()
    if adopt is not None:
        raters, notes, fit, counts = score_with_adopted(adopt, snapshot, settings)
    elif snapshot is not None:
        from matrix_factorization.score.tags import tag_outliers_of

        events = rating_events(snapshot)
        if len(events.note_index) == 0:
            raise InputError(
                f"the snapshot {snapshot} holds no ratings, so there is nothing to fit; adopt parameters instead."
            )
        facts = note_facts(snapshot, events)
        population = population_of(snapshot, events.rater_ids, settings.population)
        scoring = score(events, facts, settings, tag_outliers_of(snapshot, events), tools.progress, population.members)
        raters, notes = frames(scoring)
        fit = describe(scoring) | {"scoring_rules": settings.scoring_rules, "population": population.facts}
        statuses = scoring.completed.statuses
        fit["population"]["notes_without_status_for_want_of_its_ratings"] = sum(OUTSIDE in r for r in statuses.rules)
        fit["agreement_with_published"] = agreement_with_published(snapshot, events.note_ids, statuses)
        counts = {"in": fit["n_ratings_seen"], "out": fit["n_ratings"], "rejected": fit["rejected"]}
        counts |= {"n_raters": raters.height, "n_notes": notes.height, "warnings": fit["warnings"]}
        counts["notices"] = _notices(fit)
        if settings.extra_factors:
            tables, fit["extra_factors"] = several_factors(scoring.table, settings, tools.progress)
            for name, table in tables.items():
                _write(table, out / name)
        if settings.plots:
            from matrix_factorization.score.plots import plot_fit

            plot_fit(scoring, settings.thresholds, out)
    else:
        raise InputError("fit_raters needs a snapshot to fit or parameters to adopt; neither was given.")
    _write(raters, out / "raters.parquet")
    _write(notes, out / "notes.parquet")
    _write_json(fit, out / "fit.json")
    _write_json({"fit_seconds": round(time.perf_counter() - began, 3)}, out / "timing.json")
    return counts


def fold_in(
    out: Path,
    settings: FitRatersSettings,
    *,
    raters: Path,
    ratings: Path,
    progress: Progress = lambda *a, **k: None,
) -> dict[str, Any]:
    """Parameters of the notes in `ratings` (a snapshot), the raters in `raters` held fixed.

    `raters`: a `fit_raters` output or anything `adopt` reads. Writes notes.parquet (all rated notes, `source` 'folded_in') and
    raters.parquet (theirs, and new ones folded in). Note parameters that lie beside `raters` are not used. Counts in ratings, as above.
    """
    folded_raters, notes, fit, counts = score_with_adopted(raters, ratings, settings, adopt_notes=False)
    _write(folded_raters, out / "raters.parquet")
    _write(notes, out / "notes.parquet")
    _write_json(fit, out / "fit.json")
    return counts


def _notices(fit: dict[str, Any]) -> list[dict[str, str]]:
    """What a reader of the terminal should know of a fit: who was not fitted, and how the statuses agree with X's."""
    said, people, agreed = [], fit["population"], fit["agreement_with_published"]
    if people["raters_outside"]:
        text = (
            f"{people['raters_outside']:,} of {people['raters']:,} raters are outside the population that was fitted ({people['fitted']}); "
            f"they were folded in. {people['notes_without_status_for_want_of_its_ratings']:,} notes have most of their ratings from them, "
            "and so no status. Setting: fit_raters.population."
        )
        said.append(notice("told", "fit_raters", text))
    if agreed["compared"]:
        kinds = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in agreed["kinds"].items())
        text = f"Statuses equal X's published ones on {agreed['share_equal']:.1%} of {agreed['compared']:,} notes"
        said.append(notice("told", "fit_raters", f"{text} (of the others: {kinds})." if kinds else f"{text}."))
    return said


def _write(frame: pl.DataFrame, path: Path) -> None:
    # Fixed options: the same table gives the same bytes.
    frame.write_parquet(path, compression="zstd", compression_level=3, statistics=False, row_group_size=1 << 18)


def _write_json(value: dict[str, Any], path: Path) -> None:
    path.write_text(
        json.dumps(value, indent=2, sort_keys=True, allow_nan=False, default=_plain) + "\n", encoding="utf-8"
    )


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
