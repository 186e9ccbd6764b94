"""The stage `train_jury`: from a snapshot and fitted raters to a jury directory, with a report and a gate.

A jury directory holds

- `model.npz/.json`: the model trained on everything (used by `evaluate-jury` and `rate-text`);
- `proxy.npz/.json`, `gold.npz/.json`: two models from disjoint halves of the raters and with different encoders;
- `raters.parquet`: raterParticipantId, intercept, factor1, n_ratings, pool ('proxy' | 'gold');
- `jury.json`: global intercept, pools, what it was trained on; `report.json`, `report.html`, `*.png`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from jury.draw import Raters, split_pools
from jury.errors import InputError
from jury.model_settings import TrainJurySettings
from jury.models.encoders import make_encoder
from jury.models.hierarchical import HierarchicalModel
from jury.models.store import load_model, save_weights
from jury.training import MIN_LABELLED_NOTES, FitOptions, TrainingData, fit_hierarchical
from jury.training_data import merge, read_global_intercept, read_raters, read_snapshot_data

POOLS = ("proxy", "gold")
_RATERS = pa.schema([
    ("raterParticipantId", pa.string()), ("intercept", pa.float64()), ("factor1", pa.float64()), ("n_ratings", pa.int64()), ("pool", pa.string()),
])  # fmt: skip


class GateFailed(RuntimeError):
    """The trained jury predicts held-out ratings worse than the raters' intercepts alone: it must not judge."""


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


def load_raters(directory: Path) -> Raters:
    """The raters of a jury directory with their pool, sorted by id."""
    return open_jury(directory).raters


def train_jury(
    out: Path,
    settings: TrainJurySettings,
    *,
    snapshot: Path,
    parameters: Path,
    cache: Path | None = None,
    extra: Sequence[Path] = (),
    progress=lambda *a, **k: None,
) -> dict[str, Any]:
    """Train the jury of `snapshot` + `parameters` (+ `extra` labelled folders) into the empty directory `out`.

    The unit of `in` and `out` is a rating: `out` are those by raters with parameters of notes with text and fitted parameters.
    Raises GateFailed if the model loses to the rater-intercept baseline on held-out posts, InputError where there is too little to learn from.
    """
    out = Path(out)
    data, counts = gather(settings, snapshot=snapshot, parameters=parameters, extra=extra)
    options = FitOptions(settings.blocks, settings.embedding_axes, settings.folds, settings.seed)
    encoder = make_encoder(settings.encoder, cache)
    gold_encoder = make_encoder(settings.gold_encoder, cache)

    raters = read_raters(parameters)
    pool = split_pools(raters["raterParticipantId"].to_list())
    table = raters.select("raterParticipantId", "intercept", "factor1", "n_ratings").with_columns(
        pl.Series("pool", list(pool), dtype=pl.String)
    )
    pq.write_table(table.to_arrow().cast(_RATERS), out / "raters.parquet", compression="zstd")

    main = fit_hierarchical(data, encoder, options, progress)
    save_weights(main.weights, out, "model")
    gold_rater = np.array([p == "gold" for p in split_pools(data.rater_ids)], dtype=bool)
    for name, keep, its_encoder in (("proxy", ~gold_rater, encoder), ("gold", gold_rater, gold_encoder)):
        progress(f"training the {name} model")
        half = pool_labels(data, keep[data.rater]) if len(data.value) else data
        save_weights(fit_hierarchical(half, its_encoder, options).weights, out, name)

    facts = {
        "global_intercept": data.global_intercept,
        "pools": {name: int(sum(p == name for p in pool)) for name in POOLS},
        "models": ["model", "proxy", "gold"],
        "sources": {s: int(sum(x == s for x in data.source)) for s in sorted(set(data.source))},
        "trained_on": main.facts,
    }
    (out / "jury.json").write_text(json.dumps(facts, indent=1, sort_keys=True, default=float) + "\n", encoding="utf-8")
    return counts


def gather(
    settings: TrainJurySettings, *, snapshot: Path, parameters: Path, extra: Sequence[Path] = ()
) -> tuple[TrainingData, dict[str, Any]]:
    """All training data of the stage, and its counts."""
    from jury.extra_data import read_extra
    from matrix_factorization.snapshot import read_table

    own = read_snapshot_data(snapshot, parameters)
    folders = [*(Path(e) for e in settings.extra), *(Path(e) for e in extra)]
    data = merge([own, *read_extra(folders)]) if folders else own
    n_in = int(read_table(snapshot, "ratings", ["noteId"]).select(pl.len()).collect().item())
    labelled = np.isfinite(own.intercept) & np.isfinite(own.factor)
    used = int(labelled[own.rating_note].sum())
    no_label = int(len(own.value) - used)
    counts = {
        "in": n_in,
        "out": used,
        "rejected": {
            "rater_without_parameters_or_note_without_text": n_in - len(own.value),
            "note_without_parameters": no_label,
        },
        "notes": len(data),
        "labelled_notes": int((np.isfinite(data.intercept) & np.isfinite(data.factor)).sum()),
        "global_intercept": read_global_intercept(parameters),
    }
    return data, counts


def pool_labels(data: TrainingData, keep: np.ndarray) -> TrainingData:
    """The data as one pool of raters saw it: only their ratings, and labels folded in from them with the raters frozen.

    Notes of labelled folders keep their labels: those rest on ratings that are not at hand, by raters of neither pool. A note of the
    snapshot of which the pool made fewer than three ratings loses its label, unless hardly any label were left.
    """
    from dataclasses import replace

    from matrix_factorization.foldin import fold_in_notes
    from matrix_factorization.objective import RaterParameters, Regularisation

    mine = data.ratings_where(keep)
    ours = np.array([s == "snapshot" for s in data.source], dtype=bool)
    had_ratings = ours & (np.bincount(data.rating_note, minlength=len(data)) > 0)
    per_note = float(max(len(data.value) / max(int(had_ratings.sum()), 1), 1.0))
    order = np.argsort(mine.rating_note, kind="stable")
    count = np.bincount(mine.rating_note, minlength=len(data))
    start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    folded = fold_in_notes(
        start, np.arange(len(order)), mine.value[order],
        RaterParameters(mine.rater_intercept[order], mine.rater_factor[order]), data.global_intercept,
        ratings_per_note=per_note / 2.0, regularisation=Regularisation(),
    )  # fmt: skip
    labelled = np.isfinite(data.intercept) & np.isfinite(data.factor)
    enough = count >= 3
    if int((labelled & (enough | ~had_ratings)).sum()) < 2 * MIN_LABELLED_NOTES:
        return mine
    intercept, factor, n = data.intercept.copy(), data.factor.copy(), data.n_ratings.copy()
    intercept[had_ratings] = np.where(labelled & enough, folded.intercept, np.nan)[had_ratings]
    factor[had_ratings] = np.where(labelled & enough, folded.factor, np.nan)[had_ratings]
    n[had_ratings] = count[had_ratings]
    return replace(mine, intercept=intercept, factor=factor, n_ratings=n)
