"""Who is fitted together: X's modelling groups and populations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nouns import snapshot as tables
from nouns.errors import InputError
from nouns.x import CORE_GROUPS, EXPANSION_GROUPS, EXPANSION_PLUS_GROUPS

POPULATIONS = {"core": (CORE_GROUPS, ("CORE",)), "expansion": (CORE_GROUPS | EXPANSION_GROUPS, ("CORE", "EXPANSION"))}
"""Modelling groups, and where a rater has none, names of populations, that a model of X's fits together."""


@dataclass(frozen=True)
class Population:
    """`members`: (n_raters,) bool, fitted together; None: everybody is. `facts`: JSON-able counts of raters, for fit.json."""

    members: np.ndarray | None
    facts: dict[str, Any]


def population_of(snapshot: Path, rater_ids: pl.Series, population: str) -> Population:
    """The raters of a snapshot that belong to `population`: 'core', 'expansion' (with Core, as X fits it) or 'all'.

    The modelling group decides, as in X's code, which no longer reads `modelingPopulation`; a rater without a group goes by his
    population. Who has neither, or does not stand in the table, belongs (X: `includeUnassigned`). Raises `InputError` for another name.
    Source: communitynotes `scorer.py`, `_filter_input`; `mf_core_scorer.py`, `mf_expansion_scorer.py`.
    """
    if population not in (*POPULATIONS, "all"):
        raise InputError(f"population = {population!r} is not known; choose 'core', 'expansion' or 'all'.")
    facts: dict[str, Any] = {"fitted": population, "raters": len(rater_ids)}
    if population == "all" or not (snapshot / "user_enrollment.parquet").is_file():
        return Population(None, facts | {"raters_outside": 0})
    enrolled = tables.read_table(
        snapshot, "user_enrollment", ["participantId", "modelingPopulation", "modelingGroup"]
    ).collect()
    rows = pl.DataFrame({"participantId": rater_ids.cast(pl.String)}).join(
        enrolled.unique("participantId", keep="first"), on="participantId", how="left", maintain_order="left"
    )
    groups, names = POPULATIONS[population]
    by_group = pl.col("modelingGroup").is_in(sorted(groups))
    by_name = pl.col("modelingPopulation").is_in(names)
    known_groups = sorted(CORE_GROUPS | EXPANSION_GROUPS | EXPANSION_PLUS_GROUPS)
    found = rows.select(
        member=pl.coalesce(by_group, by_name, pl.lit(True)),
        differ=(by_group != by_name).fill_null(False),
        unassigned=pl.all_horizontal(pl.col("modelingGroup", "modelingPopulation").is_null()),
        new_group=(~pl.col("modelingGroup").is_in(known_groups)).fill_null(False),
    )
    members = found["member"].to_numpy()
    facts |= {
        "raters_outside": int(np.count_nonzero(~members)),
        "raters_without_enrollment": int(found["unassigned"].sum()),
        "raters_whose_group_and_population_differ": int(found["differ"].sum()),
        "raters_of_unknown_groups": int(found["new_group"].sum()),
    }
    return Population(None if members.all() else members, facts)
