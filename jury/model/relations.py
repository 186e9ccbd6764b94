"""How a text stands to the other notes of its post: what their *texts* say of its reception, before anybody's rating is known.

A misleading note fares worse where others found nothing to correct; notes of one stance that agree with each other fare better, and among them the
one nearest to the rest, or with a source another one names too. All of it is there when a text is judged: no rating, status or time enters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.features import FORM_NAMES, N_DOMAIN_BUCKETS, read_text, said, sparse_block, stance_index

Array = NDArray[Any]

RELATION_NAMES = ("other_stance", "agreement", "closeness", "shared_source", "longer", "more_links")
"""Columns of `relate`. other_stance: log(1 + notes of the other stance). The rest, of the notes of the text's own stance, itself left out:
agreement: mean cosine between them; closeness: mean cosine of the text to them, less their agreement; shared_source: share of them that link to a
domain the text links to; longer, more_links: length (of 280) and number of links (halves, at most 3) less their mean."""

LIKENESS = [RELATION_NAMES.index(name) for name in ("agreement", "closeness", "shared_source")]
"""The columns that liken a text to other notes, which mean nothing between a merged text and the notes it was made of."""

_LENGTH, _LINKS = FORM_NAMES.index("length"), FORM_NAMES.index("n_links")


@dataclass(frozen=True)
class Described:
    """What `relate` compares, of n texts: `stance`, `length`, `links` (n,), unit embeddings (n, E), `sources` (n, buckets) bool, and what the texts say (`features.said`)."""

    text: tuple[str, ...]
    stance: NDArray[np.int64]
    unit: NDArray[np.float32]
    length: Array
    links: Array
    sources: NDArray[np.bool_]

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Described:
        """Those rows alone."""
        at = np.asarray(rows, dtype=np.int64)
        return Described(
            tuple(self.text[k] for k in at), self.stance[at], self.unit[at], self.length[at], self.links[at], self.sources[at]
        )  # fmt: skip


def describe(texts: Sequence[str], classifications: Sequence[str], unit: NDArray[np.float32]) -> Described:
    """`unit` (n, E) are the embeddings of the texts; E may be 0."""
    parts = [read_text(t) for t in texts]
    form = np.array([p.form[[_LENGTH, _LINKS]] for p in parts], dtype=np.float64).reshape(len(parts), 2)
    return Described(
        tuple(said(t) for t in texts),
        np.array([stance_index(c) for c in classifications], dtype=np.int64),
        unit,
        form[:, 0],
        form[:, 1],
        np.asarray(sparse_block([p.domains for p in parts], N_DOMAIN_BUCKETS) != 0),
    )


def relate(texts: Described, others: Described) -> Array:
    """(T, 6), columns as in RELATION_NAMES, of each text to the `others` of its post; NaN where there is nothing to compare with.

    An other note with the same words and stance is the text itself and left out: a note may be related to all notes of its post at once.
    """
    out = np.full((len(texts.text), len(RELATION_NAMES)), np.nan)
    same = texts.stance[:, None] == others.stance[None, :]
    itself = np.array([[a == b for b in others.text] for a in texts.text], dtype=bool).reshape(same.shape) & same
    out[:, 0] = np.log1p((~same).sum(axis=1))
    use = (same & ~itself).astype(np.float64)
    count = use.sum(axis=1)
    some = count > 0
    if not some.any():
        return out
    use, count = use[some], count[some]

    def mean_of(values: Array) -> Array:
        return (use * values).sum(axis=1) / count

    if texts.unit.shape[1]:
        near = texts.unit[some].astype(np.float64) @ others.unit.T.astype(np.float64)
        between = others.unit.astype(np.float64) @ others.unit.T.astype(np.float64)
        np.fill_diagonal(between, 0.0)
        closeness = mean_of(near)
        pairs = np.maximum(count * (count - 1.0), 1.0)
        # One other note agrees with nobody but the text itself.
        out[some, 1] = np.where(count > 1, ((use @ between) * use).sum(axis=1) / pairs, closeness)
        out[some, 2] = closeness - out[some, 1]
    shared = texts.sources[some].astype(np.float64) @ others.sources.T.astype(np.float64) > 0
    out[some, 3] = mean_of(shared.astype(np.float64))
    out[some, 4] = texts.length[some] - mean_of(np.broadcast_to(others.length, use.shape))
    out[some, 5] = texts.links[some] - mean_of(np.broadcast_to(others.links, use.shape))
    return out


def relate_by_post(post: NDArray[np.int64], notes: Described) -> Array:
    """`relate` of every note to the other notes of its post, (n, 6)."""
    out = np.empty((len(post), len(RELATION_NAMES)))
    order = np.argsort(post, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(post[order])) + 1) if len(order) else []:
        group = notes.take(rows)
        out[rows] = relate(group, group)
    return out
