"""Corrupted twins of the training notes: what is known of how a text would be received without anybody rating it.

A note that another post's sentence was appended to, that was put out of order or turned into its contrary is received no better than the note
itself, and one about something else much worse. Each twin is one row for the linear part: columns of the twin less columns of the note, and
the difference of intercepts that is expected. Twins are made of the notes at hand, by kinds and words other than those of the test bench
(foils.py), so that the bench shows what was learnt and not what was remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.content import Around, Lexicon, addresses_of, stems
from jury.model.encoders import Encoder
from jury.model.features import strip_links
from jury.model.hierarchical import read_all
from jury.model.relations import Described, describe, relate
from jury.train.foils import negate, shuffled
from texts.language import detect_language

Array = NDArray[Any]

_INSULTS = (
    "You are an idiot.", "Stop lying, you fool.", "This account is run by liars.", "What a stupid thing to say.", "Nobody believes this garbage, loser.",
    "Qué estúpido eres.", "Mentirosos de siempre.", "Que burro você é.", "Du bist ein Lügner.", "So ein dummes Zeug.", "Quel menteur.",
)  # fmt: skip
_OUTLETS = ("CNN", "the BBC", "AFP", "officials", "several newspapers", "researchers", "El País", "the Guardian")
_FIGURES = (
    "That was {}% of them.",
    "It has been so since {} at least.",
    "There were {} in all.",
    "More than {} people say so.",
)


@dataclass(frozen=True)
class Twin:
    """Row `of` of the note table after one edit: its text and embedding, the difference of intercepts expected, whether it stands beside the note."""

    of: int
    text: str
    unit: NDArray[np.float32]
    expected: float
    beside: bool


def make_twins(
    texts: Sequence[str],
    post_texts: Sequence[str | None],
    unit: NDArray[np.float32],
    lexicon: Lexicon,
    encoder: Encoder,
    seed: int = 0,
    each: int = 120,
    encoded: int = 40,
) -> list[Twin]:
    """Twins of the n notes, of which `unit` (n, E) are the embeddings; deterministic given its arguments.

    At most `each` of every kind, `encoded` of those that need an embedding of their own; for the rest the note's own stands, or what a sum of both
    parts, by length, comes to.
    """
    bare = [strip_links(t) for t in texts]
    able = [k for k, b in enumerate(bare) if len(b.split()) >= 6]
    # Sentences that could stand under any post: of those at hand, the ones of the commonest words.
    short = sorted({b: k for k, b in enumerate(bare) if 25 <= len(b) <= 160}.values())
    empty = sorted(short, key=lambda k: (lexicon.mass(stems(texts[k])) / (1 + len(bare[k].split())), k))[:60]
    if not able or not empty:
        return []
    cited = sorted({url for t in texts for url in addresses_of(t)}) or ["https://example.com/about"]
    insults = dict(zip(_INSULTS, encoder.encode(_INSULTS), strict=True))

    def sentence(k: int) -> str:
        return bare[k] if bare[k][-1:] in ".!?。…" else f"{bare[k]}."

    def joined(k: int, part: str, its: NDArray[np.float32]) -> tuple[str, Any]:
        mixed = unit[k] * len(bare[k]) + its * len(part)
        return f"{sentence(k)} {part}", mixed / max(float(np.linalg.norm(mixed)), 1e-9)

    def appended(k: int, other: int) -> tuple[str, Any]:
        return joined(k, bare[other], unit[other])

    def insulted(k: int, words: str) -> tuple[str, Any]:
        return joined(k, words, insults[words])

    def contrary(k: int) -> str:
        language = detect_language(bare[k])
        return negate(bare[k], language if language in ("es", "pt", "de") else "en")

    kinds: dict[str, tuple[int, float, Callable[[Random, int], tuple[str | None, Any]]]] = {
        "other": (each, -0.17, lambda r, k: (bare[j := r.choice(short)], unit[j])),
        "empty": (each, -0.22, lambda r, k: (bare[j := r.choice(empty)], unit[j])),
        "disordered": (each, -0.15, lambda r, k: (shuffled(bare[k], r), unit[k])),
        "negated": (each, -0.08, lambda r, k: (contrary(k), unit[k])),
        "appended": (each, -0.08, lambda r, k: appended(k, r.choice(short))),
        "padded": (each, -0.08, lambda r, k: appended(k, r.choice(empty))),
        "insulted": (each, -0.10, lambda r, k: insulted(k, r.choice(_INSULTS))),
        "shouted": (each, -0.06, lambda r, k: (bare[k].upper(), unit[k])),
        "attributed": (encoded, -0.05, lambda r, k: (f"{sentence(k)[:-1]}, according to {r.choice(_OUTLETS)}.", None)),
        "said": (encoded, -0.05, lambda r, k: (f"{r.choice(_OUTLETS).capitalize()} said: {bare[k]}", None)),
        "figures": (encoded, -0.05, lambda r, k: (f"{sentence(k)} {r.choice(_FIGURES).format(r.randint(3, 2020))}", None)),
        "doubled": (each, -0.06, lambda r, k: (f"One cannot say it is wrong that {bare[k]}", unit[k])),
        "cut": (encoded, -0.06, lambda r, k: (bare[k][: len(bare[k]) * 6 // 10].rsplit(" ", 1)[0], None)),
        "strayed": (each, -0.015, lambda r, k: (f"{bare[k]} {r.choice(cited)}", unit[k])),
        "repeated": (encoded, -0.20, lambda r, k: (strip_links(post_texts[k] or "")[:240], None)),
    }  # fmt: skip
    jobs = []
    for kind, (count, expected, make) in kinds.items():
        rng = Random(f"{seed} {kind}")
        for k in rng.sample(able, min(count, len(able))):
            text, its = make(rng, k)
            if text and text != bare[k]:
                jobs.append((k, text, its, expected, kind == "negated"))
    fresh = [j[1] for j in jobs if j[2] is None]
    vectors = dict(zip(fresh, encoder.encode(fresh), strict=True)) if fresh else {}
    return [
        Twin(k, text, vectors[text] if its is None else its, expected, beside)
        for k, text, its, expected, beside in jobs
    ]


def twin_rows(
    twins: Sequence[Twin],
    texts: Sequence[str],
    classifications: Sequence[str],
    post_texts: Sequence[str | None],
    unit: NDArray[np.float32],
    neighbours: Callable[[int], Sequence[int]],
    stance: NDArray[np.int64],
    read: Described,
    lexicon: Lexicon,
    encoder: Encoder,
) -> dict[str, Any]:
    """What `Design.columns` is asked of note and twin, note first: 2 n entries of texts as read, classifications, posts, embeddings, relations, content.

    The note stands there without its links, as the twin does, so that nothing but the edit is between them. `neighbours(k)` are the rows of all notes
    of a note's post, as which `read` describes them.
    """
    out: dict[str, list[Any]] = {n: [] for n in ("texts", "classifications", "posts", "unit", "related", "content")}
    for twin in twins:
        k = twin.of
        rest = [j for j in neighbours(k) if j != k or twin.beside]
        post_unit = encoder.encode([post_texts[k] or ""])[0]
        around = Around(post_texts[k], [texts[j] for j in rest], stance[rest].tolist(), unit[rest], post_unit)
        vectors = np.stack([unit[k], twin.unit])
        words = [strip_links(texts[k]), twin.text]
        both, content = read_all(words, [classifications[k]] * 2, vectors, around, lexicon, encoder, [False] * 2)
        out["texts"] += both
        out["classifications"] += [classifications[k]] * 2
        out["posts"] += [post_texts[k]] * 2
        out["unit"].append(vectors)
        out["related"].append(relate(describe(both, [classifications[k]] * 2, vectors), read.take(rest)))
        out["content"].append(content)
    return out | {name: np.concatenate(out[name]) for name in ("unit", "related", "content") if out[name]}
