"""Rater models behind one seam, and how a trained one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jury.records import RaterModel


def load_jury(directory: Path, name: str = "proxy", cache: Path | None = None) -> RaterModel:
    """A model of the jury directory `train_jury` wrote.

    `name`: 'proxy' judges candidates, 'gold' checks the proxy (other raters, another encoder), 'model' was trained on everything and
    serves `evaluate-jury` and `rate-text`. `cache`: where sentence embeddings are remembered between processes.
    """
    from jury.model.store import load_model

    return load_model(Path(directory), name, cache)
