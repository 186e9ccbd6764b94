"""From notes to columns: reading them beside the notes of their posts, main axes, trees, and the weights of the guards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.content import (
    CONTENT_NAMES,
    GUARD_NAMES,
    READ_NAMES,
    Around,
    Lexicon,
    address_phrase,
    addresses_of,
    make_lexicon,
    no_lexicon,
)
from jury.model.encoders import Encoder
from jury.model.features import (
    FORM_NAMES,
    N_LETTER_BUCKETS,
    N_WORD_BUCKETS,
    form_features,
    read_text,
    sparse_block,
)
from jury.model.hierarchical import (
    FOREST_READS,
    Design,
    read_all,
    weighed,
)
from jury.model.relations import RELATION_NAMES, Described, describe, relate_by_post
from jury.model.trees import grow_forest
from jury.train.table import FitOptions, TrainingData
from jury.train.twins import make_twins, twin_rows

Array = NDArray[Any]
Ints = NDArray[np.int64]
LOOSE_LINKS = 0.04
"""Share of links moved from other posts that may pass for a text's own by what their addresses say."""
CENTRED = 0.75
"""How much of a post's mean is taken off the labels that trees learn."""


@dataclass(frozen=True)
class NotesRead:
    """Labelled notes as the model reads them beside all notes of their posts: relations (n, 6), content (n, 13).

    `all`: the table's notes as read (those of posts without a label as they stand), for texts that are put beside them.
    """

    related: Array
    content: Array
    lexicon: Lexicon
    all: Described


def read_notes(
    data: TrainingData,
    labelled: NDArray[np.bool_],
    encoder: Encoder,
    options: FitOptions,
    progress: Callable[..., None] = lambda *_: None,
) -> NotesRead:
    """The labelled notes read beside all notes of their posts, labelled or not (model/content.py, model/relations.py)."""
    where = np.flatnonzero(np.isin(data.post, data.post[labelled]))
    lexicon = (
        make_lexicon([data.text[k] for k in np.flatnonzero(labelled)]) if "content" in options.blocks else no_lexicon()
    )
    content = np.full((len(data), len(READ_NAMES)), np.nan)
    stance = data.stance()
    width = encoder.encode([]).shape[1]
    unit = np.zeros((len(data), width), dtype=np.float32)
    for start in range(0, len(where), 256):
        progress("encoding the notes", start, len(where))
        part = where[start : start + 256]
        unit[part] = encoder.encode([data.text[k] for k in part])
    progress("encoding the notes", len(where), len(where))
    if "content" in options.blocks:
        order = where[np.argsort(data.post[where], kind="stable")]
        posts = np.split(order, np.flatnonzero(np.diff(data.post[order])) + 1)
        progress("encoding the posts", 0, len(posts))
        post_units = encoder.encode([data.post_text[rows[0]] or "" for rows in posts])
        arounds = [
            Around(data.post_text[rows[0]], [data.text[k] for k in rows], stance[rows].tolist(), unit[rows], its)
            for rows, its in zip(posts, post_units, strict=True)
        ]
        lexicon = set_borders(lexicon, data, unit, posts, arounds, encoder, options.seed)
        for done, (rows, around) in enumerate(zip(posts, arounds, strict=True), 1):
            progress("reading notes beside their posts", done, len(posts))
            words, kinds = [data.text[k] for k in rows], [data.classification[k] for k in rows]
            known = [True] * len(rows)
            _, content[rows] = read_all(words, kinds, unit[rows], around, lexicon, encoder, known, seen=True)
    # Nothing is read of posts without a label.
    beside = np.isin(np.arange(len(data)), where)
    described = describe([t if b else "" for t, b in zip(data.text, beside, strict=True)], data.classification, unit)
    related = np.full((len(data), len(RELATION_NAMES)), np.nan)
    related[where] = relate_by_post(data.post[where], described.take(where))
    at = np.flatnonzero(labelled)
    return NotesRead(related[at], content[at], lexicon, described)


def set_borders(
    lexicon: Lexicon,
    data: TrainingData,
    unit: NDArray[np.float32],
    posts: Sequence[Ints],
    arounds: Sequence[Around],
    encoder: Encoder,
    seed: int,
) -> Lexicon:
    """The lexicon with the cosines from which on a link or a text belongs to a post, read off links and texts moved from other posts.

    Of moved links LOOSE_LINKS reach `link_border`; of moved texts four in ten lie below `near_low`, three in twenty above `near_high`. Without embeddings, or
    on a single post, everything stays as it is.
    """
    if unit.shape[1] == 0 or len(posts) < 2:
        return lexicon
    rng = np.random.default_rng(seed)
    texts: list[float] = []
    links: list[float] = []
    for home in rng.permutation(len(posts))[:600]:
        away = posts[(home + rng.integers(1, len(posts))) % len(posts)]
        k, j = int(rng.choice(posts[home])), int(rng.choice(away))
        beside = arounds[home].besides("", -2)
        texts.append(float((beside @ unit[j]).max()))
        phrases = [p for url in addresses_of(data.text[j]) if (p := address_phrase(url))]
        links += (encoder.encode(phrases) @ np.vstack([beside, unit[k]]).T).max(axis=1).tolist() if phrases else []
    low, high = np.quantile(texts, [0.4, 0.85])
    border = float(np.quantile(links, 1.0 - LOOSE_LINKS)) if len(links) >= 50 else math.inf
    return replace(lexicon, link_border=border, near_low=float(low), near_high=float(high))


def make_design(data: TrainingData, unit: NDArray[np.float32], options: FitOptions, read: NotesRead) -> Design:
    """Scaling of the form block and main axes of the embedding, from the training notes' texts (labels play no part)."""
    related = read.related
    form = np.array(
        [form_features(t, c, p) for t, c, p in zip(data.text, data.classification, data.post_text, strict=True)],
        dtype=np.float64,
    ).reshape(len(data), len(FORM_NAMES))
    scale = form.std(axis=0)
    width = unit.shape[1]
    mean = unit.mean(axis=0).astype(np.float64) if len(unit) else np.zeros(width)
    axes = _main_axes(unit.astype(np.float64) - mean, min(options.embedding_axes, max(len(data) // 10, 1)))
    blocks = (
        "constant",
        *(b for b in options.blocks if b != "constant" and not (b == "embedding" and axes.shape[1] == 0)),
        *(("guards",) if "content" in options.blocks and options.twins else ()),
    )
    sparse: dict[str, Any] = {}
    if "content" in blocks:
        counted = read.content[:, : len(CONTENT_NAMES)]
        known = np.isfinite(counted)
        centre = np.where(known, counted, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        sparse |= {"lexicon": read.lexicon, "content_centre": centre}
    if "relations" in blocks:
        known = np.isfinite(related)
        count = np.maximum(known.sum(axis=0), 1)
        centre = np.where(known, related, 0.0).sum(axis=0) / count
        # The number of notes of the other stance is known of every note, and none of them is the usual case.
        centre[RELATION_NAMES.index("other_stance")] = 0.0
        spread = np.sqrt(np.where(known, (related - centre) ** 2, 0.0).sum(axis=0) / count)
        sparse |= {"relation_centre": centre, "relation_scale": np.where(spread > 1e-3, spread, 1.0)}
    wanted = min(options.word_axes, max(len(data) // 10, 1))
    for block, size in (("words", N_WORD_BUCKETS), ("letters", N_LETTER_BUCKETS)):
        if block in blocks:
            counts = sparse_block([getattr(read_text(t), block) for t in data.text], size)
            rarity = np.log((1.0 + len(counts)) / (1.0 + (counts != 0).sum(axis=0))) + 1.0
            name = block[:-1]
            sparse |= {f"{name}_rarity": rarity, f"{name}_axes": _main_axes(weighed(counts, rarity), wanted)}
    return Design(form.mean(axis=0), np.where(scale > 1e-3, scale, 1.0), mean, axes, blocks, **sparse)


def with_trees(
    design: Design, columns: Array, notes: TrainingData, noise: Array, trust: Array, fold: Ints, options: FitOptions
) -> tuple[Design, Array]:
    """The design with a forest grown on all notes, and the columns with that of the trees filled in.

    What stands in the column of a training note was answered by trees that saw nothing of its fold: the ridge that weighs the column meets it
    as it will be for new texts. Trees learn what tells a note from the others of its post: three quarters of the post's mean (CENTRED) are taken
    off the labels. A note alone on its post says little of that and counts for little.
    """
    _, inverse, count = np.unique(notes.post, return_inverse=True, return_counts=True)
    sure = 1.0 / (noise + 0.02)
    mean = np.bincount(inverse, sure * notes.intercept) / np.bincount(inverse, sure)
    weight = trust * np.where(count[inverse] > 1, 1.0, 0.2) / (noise + 0.03)
    target = notes.intercept - CENTRED * mean[inverse]
    source = np.array(notes.source)
    for name in np.unique(source):
        rows = source == name
        target[rows] -= np.average(target[rows], weights=weight[rows])
    read = np.concatenate(
        [columns[:, design.where(b)] for b in FOREST_READS if b in design.blocks] or [columns[:, :0]], axis=1
    )
    answers = np.zeros(len(notes))
    for k in range(int(fold.max()) + 1):
        rest, out = fold != k, fold == k
        grown = grow_forest(read[rest], target[rest], weight[rest], options.seed, options.trees)
        answers[out] = grown.predict(read[out])
    spread = float(answers.std())
    if spread < 1e-6:  # too few notes for a single split
        return design, columns
    forest = grow_forest(read, target, weight, options.seed, options.trees)
    columns = columns.copy()
    columns[:, design.where("trees")] = answers[:, None] / spread
    return replace(design, forest=forest, forest_scale=spread), columns


def fit_guards(
    data: TrainingData,
    labelled: NDArray[np.bool_],
    notes: TrainingData,
    unit: NDArray[np.float32],
    design: Design,
    read: NotesRead,
    beta: Array,
    encoder: Encoder,
    options: FitOptions,
) -> Array:
    """Weights of the guards, (12,), with which twins of the notes fare as expected beside what `beta` (d,) makes of them; zeros without twins.

    Least squares with a sign: a guard can only lower. Nothing else is learnt from twins: with their rows
    in the regression itself the order of real notes suffered (0.67 to 0.60 of same-stance pairs of posts left out).
    """
    from scipy.optimize import nnls

    twins = make_twins(
        notes.text, notes.post_text, unit, design.lexicon, encoder, options.seed, options.twins, options.twins // 3
    )
    if not twins:
        return np.zeros(len(GUARD_NAMES))
    at = np.flatnonzero(labelled)
    order = np.argsort(data.post, kind="stable")
    edges = data.post[order]

    def neighbours(k: int) -> list[int]:
        post = data.post[k]
        return order[np.searchsorted(edges, post) : np.searchsorted(edges, post, "right")].tolist()

    both = design.columns(
        **twin_rows(
            [replace(t, of=int(at[t.of])) for t in twins],
            data.text,
            data.classification,
            data.post_text,
            read.all.unit,
            neighbours,
            data.stance(),
            read.all,
            design.lexicon,
            encoder,
        )
    )
    change = both[1::2] - both[0::2]
    missing = np.array([t.expected for t in twins]) - change @ beta
    return -nnls(-change[:, design.where("guards")], missing)[0]


def _main_axes(rows: Array, wanted: int) -> Array:
    """(width, k) main axes of the rows, scaled so that coordinates have unit variance on average: one penalty then means the same everywhere."""
    from scipy.linalg import eigh

    width = rows.shape[1]
    k = min(wanted, width)
    if k == 0 or len(rows) == 0:
        return np.zeros((width, 0))
    values, vectors = eigh(rows.T @ rows / len(rows), subset_by_index=[width - k, width - 1])
    axes = vectors[:, ::-1]
    # A fixed sign, so that equal data give equal bytes whatever the linear algebra library.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
    return axes / np.sqrt(max(float(values.mean()), 1e-12))
