"""Plain models behind the same seam, trained on the same rows: what any jury has to beat.

All are multinomial logistic regressions on a handful of products (rater column) x (text column); which ones is the table BASELINES.
`siblings` is the plain sibling baseline of facts.md, section 5: intercepts and factors of the post's other notes, by stance and weighted by
similarity, in bridging form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.encoders import Encoder, NoEncoder
from jury.model.features import stance_index
from jury.records import JudgedText, Jury, RatedTexts, Sibling
from nouns.x import X_GLOBAL_INTERCEPT
from texts.note import find_urls, note_length

Array = NDArray[Any]
# Columns of a rater: 1, i_u, f_u, |f_u|. Columns of a text: see `text_columns`.
RATER_COLUMNS = ("one", "intercept", "factor", "distance")
TEXT_COLUMNS = (
    "one",
    "length",
    "links",
    "not_misleading",
    "same_i",
    "same_f",
    "other_i",
    "other_f",
    "no_same",
    "no_other",
)
BASELINES: dict[str, tuple[tuple[str, str], ...]] = {
    "base_rate": (("one", "one"),),
    "rater_intercept": (("one", "one"), ("intercept", "one")),
    "rater_intercept_factor": (("one", "one"), ("intercept", "one"), ("factor", "one"), ("distance", "one")),
    "length_and_links": (("one", "one"), ("intercept", "one"), ("one", "length"), ("one", "links")),
    "stance": (("one", "one"), ("intercept", "one"), ("one", "not_misleading"), ("factor", "not_misleading")),
    "siblings": (
        ("one", "one"), ("intercept", "one"), ("factor", "one"), ("one", "not_misleading"), ("one", "same_i"), ("factor", "same_f"), ("one", "other_i"),
        ("factor", "other_f"), ("one", "no_same"), ("one", "no_other"),
    ),
}  # fmt: skip
SIMILARITY_LENGTH = 0.3


@dataclass(frozen=True)
class BaselineModel:
    """One of BASELINES with its coefficients (n_products, 2): log-odds of somewhat and of helpful against not helpful."""

    name: str
    products: tuple[tuple[str, str], ...]
    coefficients: Array
    global_intercept: float
    encoder: Encoder

    def seat(self, jury: Jury) -> SeatedBaseline:
        return SeatedBaseline(
            self, rater_columns(jury.intercept + jury.global_intercept - self.global_intercept, jury.factor)
        )

    def needs_siblings(self) -> bool:
        return any(t.endswith(("_i", "_f")) for _, t in self.products)


@dataclass(frozen=True)
class SeatedBaseline:
    model: BaselineModel
    raters: Array

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts:
        columns = (
            np.stack([text_columns(t, self.model.encoder, self.model.needs_siblings()) for t in texts])
            if texts
            else np.zeros((0, len(TEXT_COLUMNS)))
        )
        logits = np.zeros((len(self.raters), len(texts), 3))
        for (r, t), weight in zip(self.model.products, self.model.coefficients, strict=True):
            product = np.outer(self.raters[:, RATER_COLUMNS.index(r)], columns[:, TEXT_COLUMNS.index(t)])
            logits[:, :, 1:] += product[:, :, None] * weight
        chance = _softmax(logits)
        n = len(texts)
        return RatedTexts(chance.astype(np.float32), np.zeros(n), np.zeros(n), np.zeros((n, 3, 0), np.float32), ())


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rater_columns(intercept: Array, factor: Array) -> Array:
    return np.stack([np.ones(len(factor)), intercept, factor, np.abs(factor)], axis=1)


def text_columns(text: JudgedText, encoder: Encoder, with_siblings: bool = True) -> Array:
    """The TEXT_COLUMNS of one text."""
    stance = stance_index(text.classification)
    same_i = same_f = other_i = other_f = 0.0
    no_same = no_other = 1.0
    if with_siblings:
        known = [(s, *sibling_parameters(s)) for s in text.siblings]
        known = [k for k in known if k[1] is not None]
        if known:
            agree = np.array([stance_index(k[0].classification) == stance for k in known])
            weight = np.ones(len(known))
            # The weighted mean of one sibling is that sibling, however similar: no need to read it.
            if max(int(agree.sum()), int((~agree).sum())) > 1:
                unit = encoder.encode([text.text, *(k[0].text for k in known)])
                cosine = unit[1:] @ unit[0] if unit.shape[1] else np.zeros(len(known))
                weight = np.exp((cosine.astype(np.float64) - 1.0) / SIMILARITY_LENGTH)
            i, f = np.array([k[1] for k in known]), np.array([k[2] for k in known])
            if agree.any():
                same_i, same_f, no_same = (
                    float(weight[agree] @ i[agree] / weight[agree].sum()),
                    float(weight[agree] @ f[agree] / weight[agree].sum()),
                    0.0,
                )
            if (~agree).any():
                o = ~agree
                other_i, other_f, no_other = (
                    float(weight[o] @ i[o] / weight[o].sum()),
                    float(weight[o] @ f[o] / weight[o].sum()),
                    0.0,
                )
    return np.array([
        1.0, note_length(text.text) / 280.0, min(len(find_urls(text.text)), 6) / 2.0, float(stance), same_i, same_f, other_i, other_f, no_same, no_other,
    ])  # fmt: skip


def sibling_parameters(sibling: Sibling) -> tuple[float, float] | tuple[None, None]:
    """Published intercept and factor, or a ridge fold-in of the ratings at hand, or nothing."""
    if sibling.intercept is not None and np.isfinite(sibling.intercept):
        return float(sibling.intercept), float(sibling.factor) if sibling.factor is not None and np.isfinite(
            sibling.factor
        ) else 0.0
    r = sibling.ratings
    known = np.isfinite(r.intercept) & np.isfinite(r.factor)
    if not known.any():
        return None, None
    x = np.stack([np.ones(int(known.sum())), r.factor[known]], axis=1)
    y = r.value[known] - X_GLOBAL_INTERCEPT - r.intercept[known]
    solved = np.linalg.solve(x.T @ x + np.diag([3.0, 0.6]), x.T @ y)
    return float(solved[0]), float(solved[1])


def fit_baselines(
    texts: Sequence[JudgedText],
    rating_text: NDArray[np.int64],
    intercept: Array,
    factor: Array,
    value: Array,
    global_intercept: float,
    encoder: Encoder,
) -> dict[str, BaselineModel]:
    """All of BASELINES on the same ratings. `texts` with their siblings; `rating_text` (n_ratings,) indexes them; the other arrays are per rating."""
    columns = np.stack([text_columns(t, encoder) for t in texts]) if texts else np.zeros((0, len(TEXT_COLUMNS)))
    raters = rater_columns(intercept, factor)
    answer = np.rint(2 * value).astype(np.int64)
    out = {}
    for name, products in BASELINES.items():
        x = np.stack(
            [raters[:, RATER_COLUMNS.index(r)] * columns[rating_text, TEXT_COLUMNS.index(t)] for r, t in products],
            axis=1,
        )
        out[name] = BaselineModel(name, products, _multinomial(x, answer), global_intercept, encoder)
    return out


def _multinomial(x: Array, answer: NDArray[np.int64], ridge: float = 1.0) -> Array:
    """Coefficients (n_products, 2) of the multinomial logistic regression with a light ridge (in pseudo-ratings), by L-BFGS."""
    from scipy.optimize import minimize

    n, d = x.shape
    target = np.eye(3)[answer]

    def loss(flat: Array) -> tuple[float, Array]:
        w = flat.reshape(d, 2)
        logits = np.concatenate([np.zeros((n, 1)), x @ w], axis=1)
        p = _softmax(logits)
        value = -np.log(np.clip((p * target).sum(axis=1), 1e-12, None)).sum() + 0.5 * ridge * float((w**2).sum())
        return value / max(n, 1), (x.T @ (p - target)[:, 1:] + ridge * w).reshape(-1) / max(n, 1)

    return minimize(loss, np.zeros(2 * d), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x.reshape(d, 2)


def save_baselines(models: Mapping[str, BaselineModel], directory: Path) -> None:
    """Write `baselines.json`."""
    content = {
        name: {"global_intercept": m.global_intercept, "coefficients": np.round(m.coefficients, 9).tolist()}
        for name, m in sorted(models.items())
    }
    (Path(directory) / "baselines.json").write_text(
        json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


def load_baselines(directory: Path, encoder: Encoder | None = None) -> dict[str, BaselineModel]:
    """The baselines trained with a jury, in the order of BASELINES."""
    path = Path(directory) / "baselines.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    encoder = encoder or NoEncoder()
    models: dict = {
        name: BaselineModel(
            name, products, np.array(content[name]["coefficients"]), content[name]["global_intercept"], encoder
        )
        for name, products in BASELINES.items()
        if name in content
    }
    return models
