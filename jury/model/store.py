"""A trained model as two files, `NAME.npz` (arrays) and `NAME.json` (numbers and names). No pickles; equal models give equal bytes."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np

from jury.model.content import Lexicon
from jury.model.encoders import Encoder, make_encoder
from jury.model.gaussian import Kernel
from jury.model.hierarchical import Design, HierarchicalModel, History, Response, TagModel, Weights
from jury.model.trees import Forest
from nouns.errors import InputError

FORMAT = 4
LEXICON = (
    "rarity",
    "pairs",
    "singles",
)  # absent from juries trained before content was read; those read on as they did

BORDERS = ("usual_order", "low_order", "no_order", "link_border", "near_low", "near_high")


def save_weights(weights: Weights, directory: Path, name: str = "model") -> None:
    """Write `name.npz` and `name.json` into an existing directory."""
    d = weights.design
    arrays: dict[str, np.ndarray] = {
        "form_mean": d.form_mean,
        "form_scale": d.form_scale,
        "embedding_mean": d.embedding_mean,
        "embedding_axes": d.embedding_axes,
        "word_rarity": d.word_rarity,
        "word_axes": d.word_axes,
        "letter_rarity": d.letter_rarity,
        "letter_axes": d.letter_axes,
        **{f"forest_{f.name}": getattr(d.forest, f.name) for f in fields(Forest)},
        "relation_centre": d.relation_centre,
        "relation_scale": d.relation_scale,
        "content_centre": d.content_centre,
        **{f"lexicon_{name}": getattr(d.lexicon, name) for name in LEXICON},
        "beta": weights.beta,
        "root": weights.root.astype(np.float32),
        "tag_base": weights.tags.base,
        "tag_slope": weights.tags.slope,
    }
    write_arrays(Path(directory) / f"{name}.npz", arrays)
    text = {
        "format": FORMAT,
        "model": "hierarchical",
        "encoder": weights.encoder,
        "blocks": list(d.blocks),
        "forest_scale": d.forest_scale,
        "order": [getattr(d.lexicon, name) for name in BORDERS],
        "kernels": {k: asdict(v) for k, v in zip(("intercept", "factor"), weights.kernels, strict=True)},
        "response": asdict(weights.response),
        "history": asdict(weights.history),
        "tags": list(weights.tags.tags),
        "global_intercept": weights.global_intercept,
        "rating_variance": weights.rating_variance,
        "answer_variance": weights.answer_variance,
        "factor_second_moment": weights.factor_second_moment,
        "sd_scale": list(weights.sd_scale),
        "facts": weights.facts,
    }
    (Path(directory) / f"{name}.json").write_text(
        json.dumps(text, indent=1, sort_keys=True, default=_plain) + "\n", encoding="utf-8"
    )


def load_weights(directory: Path, name: str = "model") -> Weights:
    """The weights written by `save_weights`. Raises InputError where a file is missing or of another format."""
    numbers, arrays = Path(directory) / f"{name}.json", Path(directory) / f"{name}.npz"
    if not numbers.is_file() or not arrays.is_file():
        raise InputError(
            f"{directory} holds no jury: {name}.json and {name}.npz are expected; give the directory train-jury wrote."
        )
    text = json.loads(numbers.read_text(encoding="utf-8"))
    if text.get("format") != FORMAT:
        raise InputError(
            f"{numbers} has format {text.get('format')!r}; this version reads {FORMAT}: train the jury again."
        )
    with np.load(arrays, allow_pickle=False) as a:
        design = Design(
            a["form_mean"], a["form_scale"], a["embedding_mean"], a["embedding_axes"], tuple(text["blocks"]),
            a["word_rarity"], a["word_axes"], a["letter_rarity"], a["letter_axes"],
            Forest(**{f.name: a[f"forest_{f.name}"] for f in fields(Forest)}), text["forest_scale"],
            a["relation_centre"], a["relation_scale"],
        )  # fmt: skip
        if "content_centre" in a:
            lexicon = Lexicon(a["lexicon_rarity"], a["lexicon_pairs"], a["lexicon_singles"], *text["order"])
            design = replace(design, lexicon=lexicon, content_centre=a["content_centre"])
        beta, root, base, slope = a["beta"], a["root"].astype(np.float64), a["tag_base"], a["tag_slope"]
    if beta.shape[1] != sum(design.widths().values()):
        raise InputError(
            f"{arrays}: {beta.shape[1]} coefficients for {sum(design.widths().values())} features; train the jury again."
        )
    kernels = (Kernel(**text["kernels"]["intercept"]), Kernel(**text["kernels"]["factor"]))
    return Weights(
        design, beta, root, kernels, Response(**text["response"]), TagModel(tuple(text["tags"]), base, slope), History(**text["history"]),
        text["global_intercept"], text["rating_variance"], text["answer_variance"], text["factor_second_moment"], (text["sd_scale"][0], text["sd_scale"][1]),
        text["encoder"], text["facts"],
    )  # fmt: skip


def load_model(
    directory: Path, name: str = "model", cache: Path | None = None, encoder: Encoder | None = None
) -> HierarchicalModel:
    """The model, with its own encoder unless one is given."""
    weights = load_weights(directory, name)
    return HierarchicalModel(weights, encoder or make_encoder(weights.encoder, cache))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """np.savez with fixed member times and order: the same arrays give the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for key in sorted(arrays):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(arrays[key]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0)), buffer.getvalue())


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
