"""Fitting the hierarchical model: from a table of notes and ratings to weights, everything chosen on held-out posts.

Order of events in `fit_hierarchical` (README, section 4):

1. texts become columns; the embedding is reduced to its main axes;
2. posts are dealt into folds; ridge penalties and covariance kernels are chosen by the likelihood of posts left out;
3. every note gets a prediction that used neither its post's labels in the linear part nor its own ratings anywhere;
4. the response (linear predictor to probabilities), the raters' history effect, the tags and the scale of `sd` are fitted on those
   predictions, so they are calibrated for texts nobody has rated, not for the notes the model was fitted on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.judge.chance import HELPFUL_INTERCEPT, LARGEST_FACTOR, fit_chance, helpful_chance
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
    stance_index,
)
from jury.model.gaussian import (
    Kernel,
    batch_posts,
    fit_kernel,
    leave_one_out,
    whiten,
)
from jury.model.hierarchical import (
    FOREST_READS,
    Design,
    History,
    Response,
    TagModel,
    Weights,
    published_noise,
    read_all,
    weighed,
)
from jury.model.relations import RELATION_NAMES, Described, describe, relate_by_post
from jury.model.trees import grow_forest
from jury.records import side_of
from jury.train.threads import on_one_thread
from jury.train.twins import make_twins, twin_rows
from nouns.errors import InputError

Array = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """Notes (one row each) and the ratings of them by raters with parameters; parallel arrays.

    Notes: `post` is the tweetId; `intercept`, `factor` (NaN where unknown) are the labels; `n_ratings` behind them (NaN: unknown);
    `source` names the folder the row came from ('snapshot' for the snapshot itself); `weight` in (0, 1] multiplies a label's precision
    (weak labels such as approval shares are worth less than fitted parameters).
    `written_at`: when the note was written (milliseconds since 1970, -1 unknown; None: of no note). Decides which ratings of siblings were
    there when a note is judged in a test forward in time; never a predictor.
    Ratings: `rating_note` is a row of the note table, `tags` (n_ratings, n_tags) bool; `rater` indexes `rater_ids`.
    """

    note_id: Ints
    post: Ints
    text: list[str]
    classification: list[str]
    post_text: list[str | None]
    language: list[str | None]
    intercept: Array
    factor: Array
    n_ratings: Array
    source: list[str]
    weight: Array
    rating_note: Ints
    rater: Ints
    value: Array
    rater_intercept: Array
    rater_factor: Array
    created_at: Ints
    tags: NDArray[np.bool_]
    tag_names: tuple[str, ...]
    rater_ids: tuple[str, ...]
    global_intercept: float
    written_at: Ints | None = None

    def __len__(self) -> int:
        return len(self.note_id)

    def stance(self) -> Ints:
        return np.array([stance_index(c) for c in self.classification], dtype=np.int64)

    def ratings_where(self, keep: NDArray[np.bool_]) -> TrainingData:
        """The same notes with only those ratings."""
        return replace(
            self,
            rating_note=self.rating_note[keep],
            rater=self.rater[keep],
            value=self.value[keep],
            rater_intercept=self.rater_intercept[keep],
            rater_factor=self.rater_factor[keep],
            created_at=self.created_at[keep],
            tags=self.tags[keep],
        )

    def notes_where(self, keep: NDArray[np.bool_]) -> TrainingData:
        """Only those notes, with their ratings."""
        where = np.flatnonzero(keep)
        row = np.full(len(self), -1)
        row[where] = np.arange(len(where))
        rated = row[self.rating_note] >= 0
        pick = lambda items: [items[i] for i in where]  # noqa: E731
        smaller = self.ratings_where(rated)
        return replace(
            smaller,
            note_id=self.note_id[where],
            post=self.post[where],
            text=pick(self.text),
            classification=pick(self.classification),
            post_text=pick(self.post_text),
            language=pick(self.language),
            intercept=self.intercept[where],
            factor=self.factor[where],
            n_ratings=self.n_ratings[where],
            source=pick(self.source),
            weight=self.weight[where],
            rating_note=row[smaller.rating_note],
            written_at=None if self.written_at is None else self.written_at[where],
        )


@dataclass(frozen=True)
class FitOptions:
    """What `fit_hierarchical` may vary; see TrainJurySettings for meaning and sources."""

    blocks: tuple[str, ...] = ("form", "embedding", "words", "letters", "relations", "content", "trees")
    embedding_axes: int = 96
    folds: int = 5
    seed: int = 0
    within_emphasis: float = 30.0
    word_axes: int = 150
    elsewhere_weight: float = 0.33
    trees: int = 60
    trees_from: int = 1000
    twins: int = 60
    content_from: int = 0


@dataclass(frozen=True)
class Folded:
    """Predictions for the training notes that never saw what they predict.

    `cold` (n, 2): from text alone, linear part fitted without the note's post. `warm` (n, 2): with the other notes of the post as
    siblings. `cold_variance`, `warm_variance` (n, 2): of the latent parameter. `common` (n,) is not needed here.
    """

    cold: Array
    warm: Array
    cold_variance: Array
    warm_variance: Array
    fold: Ints


@dataclass(frozen=True)
class Fitted:
    """The weights and the out-of-fold predictions they were calibrated on."""

    weights: Weights
    folded: Folded
    facts: dict = field(default_factory=dict)


_START = (
    Kernel(misleading=0.02, not_misleading=0.02, correlation=-0.3, similar=0.005, length=0.4, note=0.015),
    Kernel(misleading=0.06, not_misleading=0.06, correlation=-0.5, similar=0.01, length=0.4, note=0.02),
)
# Ridge precisions tried for the standardised columns of each block. A precision of 30,000 says that one standard deviation of one column moves
# an intercept by 0.006: with hundreds of columns that is as much as the labels support (docs/experiments).
_STEPS = (300.0, 1000.0, 3000.0, 1e4, 3e4, 1e5, 3e5)
_GRID = {
    "form": (100.0, *_STEPS),
    "embedding": (100.0, *_STEPS, 1e6),
    "words": (*_STEPS, 1e6),
    "letters": (*_STEPS, 1e6),
    "relations": (30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4),
    "trees": (30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4),
}
# Blocks with one penalty for all of them where intercepts are fitted. With a penalty each, those of words and letters wandered between 30,000 and
# 1,000,000 from fold to fold of the same notes; together they stay at 30,000, and pairs within posts are ranked no worse (docs/experiments).
_TOGETHER = ("form", "embedding", "words", "letters")
CONTENT_PENALTY = 100.0
"""Ridge precision of the columns of content: ten of them, bounded, and none a matter of form."""
LOOSE_LINKS = 0.04
"""Share of links moved from other posts that may pass for a text's own by what their addresses say."""
CALIBRATING_RATINGS = 1000
"""Ratings of the snapshot's own from which on they alone decide the level of what is predicted."""
MIN_LABELLED_NOTES = 12
CENTRED = 0.75
"""How much of a post's mean is taken off the labels that trees learn."""


def deal_folds(post: Ints, folds: int, seed: int) -> Ints:
    """A fold for every note; notes of one post share it. Depends on the post ids and the seed only, not on row order."""
    unique = np.unique(post)
    order = np.random.default_rng(seed).permutation(len(unique))
    fold_of = np.empty(len(unique), dtype=np.int64)
    fold_of[order] = np.arange(len(unique)) % folds
    return fold_of[np.searchsorted(unique, post)]


@dataclass(frozen=True)
class NotesRead:
    """Labelled notes as the model reads them beside all notes of their posts: relations (n, 6), content (n, 13).

    `all`: the table's notes as read (those of posts without a label as they stand), for texts that are put beside them.
    """

    related: Array
    content: Array
    lexicon: Lexicon
    all: Described


def read_notes(data: TrainingData, labelled: NDArray[np.bool_], encoder: Encoder, options: FitOptions) -> NotesRead:
    """The labelled notes read beside all notes of their posts, labelled or not (model/content.py, model/relations.py)."""
    where = np.flatnonzero(np.isin(data.post, data.post[labelled]))
    lexicon = (
        make_lexicon([data.text[k] for k in np.flatnonzero(labelled)]) if "content" in options.blocks else no_lexicon()
    )
    content = np.full((len(data), len(READ_NAMES)), np.nan)
    stance = data.stance()
    width = encoder.encode([]).shape[1]
    unit = np.zeros((len(data), width), dtype=np.float32)
    unit[where] = encoder.encode([data.text[k] for k in where])
    if "content" in options.blocks:
        order = where[np.argsort(data.post[where], kind="stable")]
        posts = np.split(order, np.flatnonzero(np.diff(data.post[order])) + 1)
        post_units = encoder.encode([data.post_text[rows[0]] or "" for rows in posts])
        arounds = [
            Around(data.post_text[rows[0]], [data.text[k] for k in rows], stance[rows].tolist(), unit[rows], its)
            for rows, its in zip(posts, post_units, strict=True)
        ]
        lexicon = set_borders(lexicon, data, unit, posts, arounds, encoder, options.seed)
        for rows, around in zip(posts, arounds, strict=True):
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


def _penalty(widths: dict[str, int], chosen: dict[str, float], extra: int) -> Array:
    parts = [np.full(width, 1e-3 if block == "constant" else chosen[block]) for block, width in widths.items()]
    return np.concatenate([*parts, np.full(extra, 1.0)])


def _fold_products(white_x: Array, white_y: Array, fold: Ints, folds: int) -> tuple[Array, Array]:
    """Per fold XᵀX (folds, d, d) and Xᵀy (folds, d)."""
    grams = np.stack([white_x[fold == k].T @ white_x[fold == k] for k in range(folds)])
    sides = np.stack([white_x[fold == k].T @ white_y[fold == k] for k in range(folds)])
    return grams, sides


def _whitened(batches, error, columns: Array, trust: Array, kernel: Kernel) -> tuple[Array, Array]:
    """Columns and label (the last of `columns`) with the kernel's covariance taken off, each row times its trust."""
    white = whiten(batches, kernel, error, columns) * trust[:, None]
    return white[:, :-1], white[:, -1]


def _choose_penalties(
    widths, extra, grams, sides, white_x, white_y, fold, folds, intercepts: bool
) -> tuple[dict[str, float], Array]:
    """Penalties of least held-out loss (coordinate descent over the blocks), and the coefficients per fold, (folds, d).

    `intercepts`: for intercepts the blocks of `_TOGETHER` share one penalty, for factors relations and content are shut out. Guards are weighed
    by twins alone (`fit_guards`).
    """
    from scipy.linalg import cho_factor, cho_solve

    total, side = grams.sum(axis=0), sides.sum(axis=0)
    blocks = [b for b in widths if b != "constant"]
    # What is said without a direction (nearer, longer, more) cannot say on which side of the factor line a note lies.
    undirected = {} if intercepts else {b: 1e9 for b in blocks if b in ("relations", "content")}
    undirected |= {"content": CONTENT_PENALTY} if intercepts and "content" in blocks else {}
    undirected |= {"guards": 1e12} if "guards" in blocks else {}
    groups = [[b] for b in blocks if b not in undirected and not (intercepts and b in _TOGETHER)]
    if intercepts and any(b in _TOGETHER for b in blocks):
        groups.insert(0, [b for b in blocks if b in _TOGETHER])
    grids = [_STEPS if len(g) > 1 else _GRID[g[0]] for g in groups]
    chosen = undirected | {b: grid[len(grid) // 2] for g, grid in zip(groups, grids, strict=True) for b in g}

    def held_out(choice: dict[str, float]) -> tuple[float, Array]:
        diagonal = _penalty(widths, choice, extra)
        loss, betas = 0.0, []
        for k in range(folds):
            system = total - grams[k]
            system = system + np.diag(diagonal)
            factored = cho_factor(system, overwrite_a=True, check_finite=False)
            beta = cho_solve(factored, side - sides[k], check_finite=False)
            betas.append(beta)
            miss = white_y[fold == k] - white_x[fold == k] @ beta
            loss += 0.5 * float(miss @ miss)
        return loss, np.array(betas)

    best, betas = held_out(chosen)
    for _ in range(3):
        before = best
        for group, grid in zip(groups, grids, strict=True):
            # The loss along one penalty has a single valley in practice: walk downhill, upwards first.
            for step in (1, -1):
                at = grid.index(chosen[group[0]]) + step
                while 0 <= at < len(grid):
                    tried = {**chosen, **dict.fromkeys(group, grid[at])}
                    loss, candidate = held_out(tried)
                    if loss >= best - 1e-9:
                        break
                    best, betas, chosen = loss, candidate, tried
                    at += step
        if best > before - 0.5:
            break
    return chosen, betas


@on_one_thread
def fit_hierarchical(
    data: TrainingData, encoder: Encoder, options: FitOptions | None = None, progress=lambda *a, **k: None
) -> Fitted:
    """Fit everything on `data`. Deterministic given data, encoder and options.

    Raises InputError with fewer than MIN_LABELLED_NOTES labelled notes, or without ratings.
    """
    options = options or FitOptions()
    # A label may be an intercept alone (a rating score): it teaches the weights of intercepts and nothing else.
    labelled = np.isfinite(data.intercept)
    complete = labelled & np.isfinite(data.factor)
    if int(complete.sum()) < MIN_LABELLED_NOTES:
        raise InputError(
            f"{int(complete.sum())} notes have both a text and fitted parameters; at least {MIN_LABELLED_NOTES} are needed to train a jury. "
            "Fit the raters on more ratings, adopt X's scores, or add labelled folders."
        )
    if len(data.value) == 0:
        raise InputError(
            "no rating by a rater with parameters belongs to a note with a text; a jury cannot be trained without ratings."
        )
    notes = data.notes_where(labelled)
    complete = complete[labelled]
    if len(notes) < options.trees_from:
        options = replace(options, blocks=tuple(b for b in options.blocks if b != "trees"))
    if len(notes) < options.content_from:
        options = replace(options, blocks=tuple(b for b in options.blocks if b != "content"))
    progress("encoding the notes", 0, 5)
    read = read_notes(data, labelled, encoder, options)
    unit = encoder.encode(notes.text)
    design = make_design(notes, unit, options, read)
    columns = design.columns(notes.text, notes.classification, notes.post_text, unit, read.related, read.content)
    # Folders differ in level (who was selected, which fit): each but the commonest gets a column of its own, used in training only.
    sources = np.unique(np.array(notes.source))
    named, counts = np.unique(np.array(notes.source)[complete], return_counts=True)
    reference = "snapshot" if "snapshot" in named else str(named[np.argmax(counts)])
    offsets = np.array([[float(s == o) for o in sources if o != reference] for s in notes.source]).reshape(
        len(notes), len(sources) - 1
    )
    squared = float(np.mean(data.rater_factor**2)) if len(data.rater_factor) else 0.1
    factor_moment = max(squared, 1e-3)
    unseen = without_own_post(notes.ratings_where(complete[notes.rating_note]))
    rating_variance, answer_variance = rating_variances(unseen)
    noise = published_noise(notes.n_ratings, rating_variance, factor_moment) / notes.weight[:, None]

    folds = max(2, min(options.folds, len(np.unique(notes.post))))
    fold = deal_folds(notes.post, folds, options.seed)
    stance = notes.stance()
    labels = np.stack([notes.intercept, notes.factor], axis=1)
    here = np.array([s == reference for s in notes.source])
    own = complete & here
    # What made a note good elsewhere or years ago, and how raters answer there, holds here in part only.
    counts_for = np.where(here, 1.0, options.elsewhere_weight)
    if "trees" in design.blocks:
        progress("growing trees", 0, 5)
        design, columns = with_trees(design, columns, notes, noise[:, 0], counts_for, fold, options)
    widths = design.widths()
    wide = np.concatenate([columns, offsets], axis=1)
    guarding: Array | None = None
    kernels: list[Kernel] = []
    beta = np.zeros((2, columns.shape[1]))
    roots = []
    chosen_all = []
    cold, warm = np.zeros((len(notes), 2)), np.zeros((len(notes), 2))
    cold_var, warm_var = np.zeros((len(notes), 2)), np.zeros((len(notes), 2))
    for q in range(2):
        progress(f"fitting {'intercepts' if q == 0 else 'factors'}", 1 + q, 5)
        kernel = _START[q]
        rows = np.flatnonzero(np.isfinite(labels[:, q]))
        batches = batch_posts(notes.post[rows], stance[rows], unit[rows])
        # How far parameters vary is read off notes that have both: scores alone come from selected samples.
        # And off labels on X's scale: what camps of raters approve of lies twice as far apart.
        both = np.flatnonzero(
            (complete & (notes.weight >= 1.0))[rows] if (complete & (notes.weight >= 1.0)).any() else complete[rows]
        )
        fitted_batches = batch_posts(notes.post[rows[both]], stance[rows[both]], unit[rows[both]])
        x, label, error, dealt = wide[rows], labels[rows, q], noise[rows, q], fold[rows]
        # Factors mean the same everywhere.
        trust = np.sqrt(counts_for[rows]) if q == 0 else np.ones(len(rows))

        whitened = partial(_whitened, batches, error, np.column_stack([x, label]), trust)

        # One fit of the weights as the model has it, which is best between posts, and one in which differences within posts decide, which is
        # best between texts of a post: their mean serves both. A first round with the one alone settles the kernel roughly.
        emphases = (1.0, options.within_emphasis) if q == 0 and options.within_emphasis != 1.0 else (1.0,)
        for round_emphases in (emphases[:1], emphases):
            betas, chosen = np.zeros((folds, wide.shape[1])), []
            for emphasis in round_emphases:
                white_x, white_y = whitened(_emphasised(kernel, emphasis))
                grams, sides = _fold_products(white_x, white_y, dealt, folds)
                penalties, of_folds = _choose_penalties(
                    widths,
                    offsets.shape[1],
                    grams,
                    sides,
                    white_x,
                    white_y,
                    dealt,
                    folds,
                    intercepts=q == 0,
                )
                betas += of_folds / len(round_emphases)
                chosen.append(penalties)
            if q == 0 and "guards" in widths:
                if guarding is None:
                    guarding = fit_guards(
                        data,
                        labelled,
                        notes,
                        unit,
                        design,
                        read,
                        betas.mean(axis=0)[: columns.shape[1]],
                        encoder,
                        options,
                    )
                betas[:, design.where("guards")] = guarding
                betas[:, 0] -= columns[:, design.where("guards")].mean(axis=0) @ guarding
            predicted = np.einsum("nd,nd->n", wide, betas[fold])
            residual = label - predicted[rows]
            kernel = fit_kernel(fitted_batches, error[both], residual[both], _START[q], has_embedding=unit.shape[1] > 0)
        for emphasis, penalties in zip(emphases, chosen, strict=True):
            white_x, white_y = whitened(_emphasised(kernel, emphasis))
            system = white_x.T @ white_x + np.diag(_penalty(widths, penalties, offsets.shape[1]))
            solution = np.linalg.solve(system, white_x.T @ white_y)
            beta[q] += solution[: columns.shape[1]] / len(emphases)
            if emphasis == emphases[-1] and guarding is not None and q == 0:
                beta[0, design.where("guards")] = guarding
                beta[0, 0] -= columns[:, design.where("guards")].mean(axis=0) @ guarding
            if emphasis == 1.0:
                roots.append(_root(np.linalg.inv(system)[: columns.shape[1], : columns.shape[1]]))
        moved, variance = leave_one_out(batches, kernel, error, residual)
        cold[:, q] = warm[:, q] = predicted
        warm[rows, q] += moved
        cold_var[:, q] = warm_var[:, q] = kernel.variance(stance)
        warm_var[rows, q] = variance
        kernels.append(kernel)
        chosen_all.append(chosen)
    rank = max(r.shape[1] for r in roots)
    root = np.stack([np.pad(r, ((0, 0), (0, rank - r.shape[1]))) for r in roots])
    folded = Folded(cold, warm, cold_var, warm_var, fold)

    progress("fitting the response", 3, 5)
    rated = unseen
    if len(rated.value) == 0:
        raise InputError(
            "no rating belongs to a note with fitted parameters; a jury cannot be trained without ratings."
        )
    # Other folders teach order; the level is that of the snapshot's own ratings, where there are enough of them: with the ratings of 2025 beside
    # those of 2021 the calibration error on posts of 2021 left out was 0.10, without them 0.04.
    enough = int(here[rated.rating_note].sum()) >= CALIBRATING_RATINGS
    level_of = here.astype(np.float64) if enough else counts_for
    response = fit_response(rated, folded, level_of)
    history = fit_history(rated, folded, response, level_of)
    progress("fitting reasons and intervals", 4, 5)
    has_form = "form" in design.blocks
    form = columns[:, design.where("form")] if has_form else np.zeros((len(notes), len(FORM_NAMES)))
    tags = fit_tags(notes, form)
    # Labels of the snapshot itself decide how wide intervals are: other folders are selected samples.
    typical = published_noise(np.array([np.nan]), rating_variance, factor_moment)[0]
    sd_scale = tuple(
        _interval_scale(
            np.concatenate([labels[own, q] - warm[own, q], labels[own, q] - cold[own, q]]),
            np.concatenate([warm_var[own, q], cold_var[own, q]]),
            typical[q],
        )
        for q in range(2)
    )
    later = np.sqrt(warm_var[own, 0] * sd_scale[0] ** 2 + typical[0])
    chance = fit_chance(
        helpful_chance(warm[own, 0], later, warm[own, 1]),
        ((labels[own, 0] >= HELPFUL_INTERCEPT) & (np.abs(labels[own, 1]) < LARGEST_FACTOR)).astype(np.float64),
        notes.weight[own],
    )
    within = sd_scale[0] * np.sqrt(2.0 * (kernels[0].similar + kernels[0].note))
    scale = within_scale(notes.post, labels[:, 0], cold[:, 0], within, counts_for)
    progress("done", 5, 5)
    facts = {
        "n_notes": len(notes),
        "n_posts": len(np.unique(notes.post)),
        "n_ratings": len(notes.value),
        "reference": reference,
        # Whose ratings decide the level of what is predicted, and what one of each counts for.
        "calibrated_on": {
            str(s): {"ratings": int(of_source.sum()), "weight": float(level_of[rated.rating_note][of_source][0])}
            for s in sources
            if (of_source := np.array([x == s for x in notes.source])[rated.rating_note]).any()
        },
        "penalties": chosen_all,
        "kernels": [k.__dict__ for k in kernels],
        "rating_variance": rating_variance,
        "answer_variance": answer_variance,
        "helpful_chance": chance,
        "within_scale": scale,
    }
    weights = Weights(
        design, beta, root, (kernels[0], kernels[1]), response, tags, history, data.global_intercept, rating_variance, answer_variance, factor_moment,
        (sd_scale[0], sd_scale[1]), encoder.name, facts,
    )  # fmt: skip
    return Fitted(weights, folded, facts)


def _emphasised(kernel: Kernel, factor: float) -> Kernel:
    """The kernel with which texts are weighed: a larger variance of the post, whatever the stance, lets differences within posts count for more.

    What is added is common to both stances: added to each of them apart it would drown the differences between notes of different stance, and
    the weights of stance with them.
    """
    if factor == 1.0:
        return kernel
    shared = kernel.shared()
    added = (factor - 1.0) * float(np.sqrt(shared[0, 0] * shared[1, 1]))
    misleading, not_misleading = shared[0, 0] + added, shared[1, 1] + added
    correlation = (shared[0, 1] + added) / np.sqrt(misleading * not_misleading)
    return replace(
        kernel, misleading=float(misleading), not_misleading=float(not_misleading), correlation=float(correlation)
    )


def _root(covariance: Array, rank: int = 48) -> Array:
    """A (d, rank) root of the leading part of a covariance, the rest folded into nothing: it is the small directions that are lost."""
    values, vectors = np.linalg.eigh(covariance)
    top = np.argsort(values)[::-1][: min(rank, len(values))]
    axes = vectors[:, top]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(top))] < 0, -1.0, 1.0)
    return axes * np.sqrt(np.maximum(values[top], 0.0))


def rating_variances(data: TrainingData) -> tuple[float, float]:
    """Variance of one rating around mu + i_u + i_n + f_u f_n: as fitted, and as it is; 0.12 both where there is nothing to measure it on.

    A fitted note lies nearer to the ratings it was fitted on than to others: of a rating with leverage h only 1 - h of the variance is left.
    Where a fit rests on more ratings than are at hand, each has that much less leverage. The first, smaller one describes the errors of fitted
    parameters, which a fit's shrinkage keeps small, too; the second what a single new rating is worth as evidence.
    """
    i, f = data.intercept[data.rating_note], data.factor[data.rating_note]
    known = np.isfinite(i) & np.isfinite(f)
    if known.sum() < 50:
        return 0.12, 0.12
    miss = (data.value - data.global_intercept - data.rater_intercept - i - data.rater_factor * f)[known]
    note = data.rating_note[known]
    count = np.bincount(note, minlength=len(data))
    rests_on = np.where(np.isfinite(data.n_ratings), np.maximum(data.n_ratings, count), count)
    x, gram = _note_grams(note, data.rater_factor[known], len(data))
    gram = gram * (rests_on / np.maximum(count, 1))[:, None, None]
    inverse = np.linalg.inv(gram + np.diag(NOTE_PENALTY) * len(note) / np.count_nonzero(count))
    left = 1.0 - np.minimum(np.einsum("ni,nij,nj->n", x, inverse[note], x), 0.95)
    return float(np.clip(np.mean(miss**2), 0.04, 0.25)), float(np.clip(np.sum(miss**2) / np.sum(left), 0.04, 0.25))


NOTE_PENALTY = (0.15, 0.03)
"""X's penalties on a note's intercept and factor, for a note with an average number of ratings."""


def _note_grams(note: Ints, rater_factor: Array, n_notes: int) -> tuple[Array, Array]:
    """Rows [1, f_u] of ratings (n, 2), and their sums of products by note (n_notes, 2, 2)."""
    x = np.stack([np.ones(len(note)), rater_factor], axis=1)
    gram = np.zeros((n_notes, 2, 2))
    np.add.at(gram, note, x[:, :, None] * x[:, None, :])
    return x, gram


def folded_error(note: Ints, rater_factor: Array, n_notes: int, ratings_per_note: float) -> Array:
    """Error variance (n_notes, 2) of intercepts and factors folded in with frozen raters, for ratings of variance 1: ridge, sandwich form."""
    _, gram = _note_grams(note, rater_factor, n_notes)
    inverse = np.linalg.inv(gram + np.diag(NOTE_PENALTY) * ratings_per_note)
    return np.diagonal(inverse @ gram @ inverse, axis1=1, axis2=2)


def _interval_scale(residual: Array, variance: Array, noise: float) -> float:
    """Factor on the latent deviation with which 90 % of later fitted parameters fall within ±1.645 sd; shrunk to 1 with few notes.

    `noise` is the error variance of a fit on a typical number of ratings: how many there will be is not known when a text is judged.
    """
    if len(residual) < 20:
        return 1.0
    grid = np.linspace(0.4, 2.0, 81)
    covered = np.array([(np.abs(residual) <= 1.6449 * np.sqrt(g * g * variance + noise)).mean() for g in grid])
    best = float(grid[np.argmin(np.abs(covered - 0.9))])
    trust = len(residual) / (len(residual) + 40.0)
    return trust * best + (1 - trust)


PAIR_GAP = 0.10
"""Fitted intercepts closer than this are no evidence that one note is better."""


def within_scale(post: Ints, label: Array, predicted: Array, sd: float, trust: Array) -> float:
    """What `sd` of a predicted difference must be multiplied by for wrong orders to be as frequent as foreseen, on notes of one post left out.

    `predicted` (n,) never saw a label of the note's post. Pairs whose labels lie PAIR_GAP apart; posts weigh the square root of their number of
    pairs. The foreseen share is the normal's tail beyond the predicted difference. With few pairs it is shrunk to 1.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr

    first, second, weight = [], [], []
    order = np.argsort(post, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(post[order])) + 1) if len(order) else []:
        a, b = np.triu_indices(min(len(rows), 24), 1)
        apart = np.abs(label[rows[a]] - label[rows[b]]) >= PAIR_GAP
        first.append(rows[a[apart]])
        second.append(rows[b[apart]])
        weight.append(trust[rows[a[apart]]] / np.sqrt(max(int(apart.sum()), 1)))
    a, b, w = np.concatenate(first), np.concatenate(second), np.concatenate(weight)
    if len(a) < 20:
        return 1.0
    difference = predicted[a] - predicted[b]
    wrong = float(w @ (difference * (label[a] - label[b]) < 0) / w.sum())

    def surplus(logarithm: float) -> float:
        return float(w @ ndtr(-np.abs(difference) / (sd * np.exp(logarithm))) / w.sum()) - wrong

    low, high = np.log(0.4), np.log(6.0)
    best = low if surplus(low) > 0 else high if surplus(high) < 0 else float(brentq(surplus, low, high))
    return float(np.exp(best * len(a) / (len(a) + 50.0)))


# -------------------------------------------------------------------------------------------------------------- response


def fit_response(data: TrainingData, folded: Folded, trust: Array) -> Response:
    """The numbers between linear predictor and probabilities, by maximum likelihood on predictions for unseen notes.

    Every rating enters twice: with the siblings known and, at a third of the weight, with nothing known but the text. Posts weigh the
    square root of their number of ratings, so that one crowded post does not set the calibration of all; `trust` (n_notes,) is what ratings of a
    note count for.
    """
    from scipy.optimize import minimize

    # Ratings beyond this many change the fourth digit and cost seconds: every k-th is used.
    picked = np.arange(0, len(data.value), max(len(data.value) // 8_000, 1))
    n = data.rating_note[picked]
    mean = np.concatenate([folded.warm[n], folded.cold[n]])
    variance = np.concatenate([folded.warm_variance[n], folded.cold_variance[n]])
    i_u, f_u = np.tile(data.rater_intercept[picked], 2), np.tile(data.rater_factor[picked], 2)
    _, inverse, count = np.unique(data.post[n], return_inverse=True, return_counts=True)
    weight = trust[n] / np.sqrt(count[inverse])
    weight = np.concatenate([weight, weight / 3.0])
    weight /= weight.sum()
    answer = np.tile(np.rint(2 * data.value[picked]).astype(np.int64), 2)
    created = data.created_at[picked]
    old = np.tile((created >= 0) & (created < TWO_LEVELS_UNTIL), 2)
    if (~old).mean() < 0.2:
        # Practically everything was asked on the old form: then that is the scale to predict on.
        old[:] = False
    m_i, m_f = mean[:, 0], mean[:, 1]
    v_i, v_f = variance[:, 0], variance[:, 1]
    # Pulled weakly towards X's own equation: with sixty posts the data alone would not settle ten numbers.
    # The thresholds are `somewhat` and a gap above it, in logarithms: they cannot cross, and nobody saying "somewhat" is a small gap.
    start = np.array([data.global_intercept, 1.0, 1.0, 0.0, 1.0, 0.35, np.log(0.25), np.log(0.2), 0.0, 0.5])
    width = np.array([0.3, 0.7, 0.7, 0.3, 0.7, 0.3, 1.5, 0.7, 1.0, 0.3])
    strength = 1.0 / max(len(data.value), 1)
    level = data.global_intercept

    def loss(p: Array) -> float:
        k_u, k_i, c_f, k_f, some, gap, log_scale, log_spread = p[1:9]
        high = some + np.exp(gap)
        eta = level + k_u * i_u + k_i * m_i + c_f * f_u + k_f * f_u * m_f
        s = np.sqrt(np.exp(2 * log_scale) + np.exp(log_spread) * (k_i**2 * v_i + (k_f * f_u) ** 2 * v_f))
        z = eta / s
        # Where only two answers could be given, the border between them is a threshold of its own (the last parameter).
        low = 1.0 / (1.0 + np.exp(-np.clip(z - np.where(old, p[9], some) / s, -30, 30)))
        top = 1.0 / (1.0 + np.exp(-np.clip(z - np.where(old, p[9], high) / s, -30, 30)))
        chance = np.where(answer == 2, top, np.where(answer == 1, low - top, 1.0 - low))
        return -float(weight @ np.log(np.clip(chance, 1e-6, 1.0))) + 0.5 * strength * float(
            (((p - start) / width) ** 2).sum()
        )

    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 80})
    p = found.x if np.isfinite(found.fun) and found.fun < loss(start) else start
    return Response(
        level=level,
        rater_intercept=float(max(p[1], 0.05)),
        intercept=float(max(p[2], 0.05)),
        rater_factor=float(p[3]),
        factor=float(max(p[4], 0.05)),
        somewhat=float(p[5]),
        helpful=float(p[5] + np.exp(p[6])),
        scale=float(np.exp(p[7])),
        spread=float(np.exp(p[8])),
    )


def fit_history(data: TrainingData, folded: Folded, response: Response, trust: Array) -> History:
    """The rater-in-this-post effect, by maximum likelihood of ratings whose rater had rated another note of the post before.

    What moments of residuals would say is a third of what predicts best: a fitted note has moved towards the very raters whose residuals are
    multiplied. So each such rating is predicted as it will be in use: the note from its siblings (`folded.warm`), the effect from the rater's
    earlier residuals. Posts weigh the square root of their number of such ratings. With fewer than 30 of them nothing is carried over.
    """
    from scipy.optimize import minimize

    target, earlier = earlier_ratings(data)
    step = max(len(target) // 6_000, 1)
    target, earlier = target[::step], earlier[::step]
    if len(target) < 30:
        return History()
    n = data.rating_note
    truth = np.stack([data.intercept, data.factor], axis=1)[n]
    of_rater = response.rater_intercept * data.rater_intercept + response.rater_factor * data.rater_factor
    residual = data.value - (
        response.level + of_rater + response.intercept * truth[:, 0] + response.factor * data.rater_factor * truth[:, 1]
    )
    f = data.rater_factor[target]
    mean, variance = folded.warm[n[target]], folded.warm_variance[n[target]]
    eta = response.level + of_rater[target] + response.intercept * mean[:, 0] + response.factor * f * mean[:, 1]
    steep = 1.0 / np.sqrt(
        response.scale**2
        + response.spread * (response.intercept**2 * variance[:, 0] + (response.factor * f) ** 2 * variance[:, 1])
    )
    stance = data.stance()[n]
    helpful = data.value[target] > 0.75
    _, inverse, count = np.unique(data.post[n[target]], return_inverse=True, return_counts=True)
    weight = trust[n[target]] / np.sqrt(count[inverse])
    weight /= weight.sum()
    sizes = []
    for size in np.unique([len(e) for e in earlier]):
        rows = np.flatnonzero([len(e) == size for e in earlier])
        others = np.stack([earlier[k] for k in rows])
        sizes.append((
            rows,
            residual[others],
            stance[others] == stance[target[rows]][:, None],
            stance[others][:, :, None] == stance[others][:, None, :],
        ))  # fmt: skip

    def unpacked(p: Array) -> History:
        same = float(np.exp(p[0]))
        return History(same, same * float(np.tanh(p[1])), float(np.exp(p[2])))

    start = np.array([np.log(0.02), np.arctanh(-0.5), np.log(0.06)])
    width = np.array([1.5, 1.0, 0.7])

    def loss(p: Array) -> float:
        h = unpacked(p)
        shift = np.zeros(len(target))
        for rows, left, same, alike in sizes:
            covariance = np.where(alike, h.same_stance, h.other_stance) + h.rating * np.eye(left.shape[1])
            solved = np.linalg.solve(covariance, left[..., None])[..., 0]
            shift[rows] = (np.where(same, h.same_stance, h.other_stance) * solved).sum(axis=1)
        z = np.clip((eta + shift - response.helpful) * steep, -30, 30)
        chance = 1.0 / (1.0 + np.exp(np.where(helpful, -z, z)))
        return -float(weight @ np.log(np.clip(chance, 1e-6, 1.0))) + 0.5 / len(target) * float(
            (((p - start) / width) ** 2).sum()
        )

    bounds = [(np.log(1e-4), np.log(0.3)), (-2.3, 2.3), (np.log(0.01), np.log(0.5))]
    found = minimize(loss, start, method="L-BFGS-B", bounds=bounds, options={"maxiter": 40})
    return unpacked(found.x if np.isfinite(found.fun) and found.fun < loss(start) else start)


def earlier_ratings(data: TrainingData, most: int = 6) -> tuple[Ints, list[Ints]]:
    """Ratings whose rater had rated other notes of the post before, and for each the rows of those ratings (the latest `most`).

    Only notes with fitted parameters count as earlier ones, and ratings of unknown time neither count nor are predicted.
    """
    n = data.rating_note
    known = np.isfinite(data.intercept[n]) & np.isfinite(data.factor[n])
    order = np.lexsort((data.created_at, data.post[n], data.rater))
    order = order[data.created_at[order] >= 0]
    key = np.stack([data.rater[order], data.post[n[order]]], axis=1)
    targets: list[int] = []
    earlier: list[Ints] = []
    for rows in np.split(order, np.flatnonzero((np.diff(key, axis=0) != 0).any(axis=1)) + 1) if len(order) else []:
        for k in rows[1:]:
            before = rows[(data.created_at[rows] < data.created_at[k]) & (n[rows] != n[k]) & known[rows]]
            if len(before) and known[k]:
                targets.append(int(k))
                earlier.append(before[-most:])
    return np.array(targets, dtype=np.int64), earlier


def fit_tags(data: TrainingData, form: Array) -> TagModel:
    """Base rates by answer and side, shrunk to the answer's rate, and one ridge step of logistic regression on the form block."""
    answer = np.rint(2 * data.value).astype(np.int64)
    side = side_of(data.rater_factor)
    n_tags = len(data.tag_names)
    base = np.zeros((3, 3, n_tags))
    ticks = data.tags.astype(np.float64)
    overall = (ticks.sum(axis=0) + 0.5) / (len(ticks) + 10.0)
    for a in range(3):
        of_answer = (ticks[answer == a].sum(axis=0) + 20 * overall) / ((answer == a).sum() + 20.0)
        for s in range(3):
            rows = (answer == a) & (side == s)
            rate = (ticks[rows].sum(axis=0) + 20 * of_answer) / (rows.sum() + 20.0)
            base[a, s] = np.log(np.clip(rate, 1e-4, 1 - 1e-4) / (1 - np.clip(rate, 1e-4, 1 - 1e-4)))
    slope = np.zeros((form.shape[1], n_tags))
    # Newton steps with one curvature per tag: the matrix is decomposed once for all tags, and only the notes' columns enter.
    rows = np.arange(0, len(answer), max(len(answer) // 20_000, 1))
    x, y = form[data.rating_note[rows]], ticks[rows]
    values, vectors = np.linalg.eigh(x.T @ x)
    offset = base[answer[rows], side[rows]]
    for _ in range(6):
        chance = 1.0 / (1.0 + np.exp(-np.clip(offset + x @ slope, -30, 30)))
        curvature = np.maximum((chance * (1 - chance)).mean(axis=0), 1e-3) * 1.5
        gradient = vectors.T @ (x.T @ (y - chance) - 200.0 * slope)
        slope += vectors @ (gradient / (np.maximum(values, 0.0)[:, None] * curvature + 200.0))
    return TagModel(data.tag_names, base, np.clip(slope, -1.5, 1.5))


TWO_LEVELS_UNTIL = 1_625_011_200_000
"""2021-06-30, in milliseconds: before it X asked helpful or not helpful; "somewhat" came with the new form (facts.md, section 1)."""


def without_own_post(data: TrainingData, per_rater: float | None = None) -> TrainingData:
    """The same ratings with each rater's parameters estimated again *without their ratings of that rating's post*.

    A fitted rater has seen every rating they made; a jury judges posts its raters have not seen. Calibrating the response on parameters that
    saw the answer makes it overconfident (measured: calibration error 0.17 instead of 0.05 on birdwatch-2021). Note parameters stay as they
    are; a rater is one ridge system of two unknowns (X's penalties), so leaving a post out is subtracting its sums. Only for the snapshot
    (or the only source): elsewhere a rater's other ratings are not at hand, and raters with under five other ratings keep what they have.
    """
    i_n, f_n = data.intercept[data.rating_note], data.factor[data.rating_note]
    sources = set(data.source)
    ours = np.array([s == "snapshot" for s in data.source], dtype=bool)[data.rating_note]
    use = np.isfinite(i_n) & np.isfinite(f_n) & (ours if "snapshot" in sources else True)
    if use.sum() == 0 or (len(sources) > 1 and "snapshot" not in sources):
        return data
    rows = np.flatnonzero(use)
    rater, post = data.rater[rows], data.post[data.rating_note[rows]]
    f = f_n[rows]
    y = data.value[rows] - data.global_intercept - i_n[rows]
    sums = np.stack([np.ones(len(rows)), f, f * f, y, f * y], axis=1)
    n_raters = len(data.rater_ids)
    by_rater = np.stack([np.bincount(rater, weights=c, minlength=n_raters) for c in sums.T], axis=1)
    _, group = np.unique(np.stack([rater, post], axis=1), axis=0, return_inverse=True)
    group = group.reshape(-1)
    by_group = np.stack([np.bincount(group, weights=c) for c in sums.T], axis=1)
    rest = by_rater[rater] - by_group[group]
    per_rater = per_rater or max(len(rows) / max(len(np.unique(rater)), 1), 1.0)
    a = rest[:, 0] + 0.15 * per_rater
    c = rest[:, 2] + 0.03 * per_rater
    b = rest[:, 1]
    determinant = a * c - b * b
    fresh_i = (c * rest[:, 3] - b * rest[:, 4]) / determinant
    fresh_f = (a * rest[:, 4] - b * rest[:, 3]) / determinant
    enough = rest[:, 0] >= 5
    intercept, factor = data.rater_intercept.copy(), data.rater_factor.copy()
    intercept[rows[enough]], factor[rows[enough]] = fresh_i[enough], fresh_f[enough]
    return replace(data, rater_intercept=intercept, rater_factor=factor)
