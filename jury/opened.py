"""A trained jury as `train_jury` left it: its raters, its facts, and its models when they are asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from jury.judge.draw import Raters
from jury.model.hierarchical import HierarchicalModel
from jury.model.store import load_model
from nouns.errors import InputError


@dataclass(frozen=True)
class JuryDirectory:
    """What a trained jury consists of: `model('proxy')`, `model('gold')`, `model('model')`, its raters and mu."""

    path: Path
    raters: Raters
    global_intercept: float
    facts: dict

    def model(self, name: str = "model", cache: Path | None = None) -> HierarchicalModel:
        return load_model(self.path, name, cache)

    def pool(self, name: str) -> Raters:
        """The raters of one pool."""
        return self.raters.take(np.flatnonzero([p == name for p in self.raters.pool]))


def open_jury(directory: Path) -> JuryDirectory:
    """The raters and facts of a trained jury; its models are loaded when asked for."""
    directory = Path(directory)
    numbers, table = directory / "jury.json", directory / "raters.parquet"
    if not numbers.is_file() or not table.is_file():
        raise InputError(
            f"{directory} holds no jury: jury.json and raters.parquet are expected; give the directory train-jury wrote."
        )
    facts = json.loads(numbers.read_text(encoding="utf-8"))
    frame = pl.read_parquet(table)
    raters = Raters(
        tuple(frame["raterParticipantId"].to_list()),
        frame["intercept"].to_numpy(),
        frame["factor1"].to_numpy(),
        frame["n_ratings"].to_numpy(),
        tuple(frame["pool"].to_list()),
    )
    return JuryDirectory(directory, raters, float(facts["global_intercept"]), facts)
