"""Fitting the hierarchical model: from a table of notes and ratings to weights, everything chosen on held-out posts.

Order of events in `fit_hierarchical` (README, section 4):

1. texts become columns; the embedding is reduced to its main axes;
2. posts are dealt into folds; ridge penalties and covariance kernels are chosen by the likelihood of posts left out;
3. every note gets a prediction that used neither its post's labels in the linear part nor its own ratings anywhere;
4. the response (linear predictor to probabilities), the raters' history effect, the tags and the scale of `sd` are fitted on those
   predictions, so they are calibrated for texts nobody has rated, not for the notes the model was fitted on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.judge.chance import fit_chance, helpful_chance
from jury.model.encoders import Encoder
from jury.model.features import (
    FORM_NAMES,
)
from jury.model.gaussian import (
    Kernel,
    batch_posts,
    fit_kernel,
    leave_one_out,
    whiten,
)
from jury.model.hierarchical import (
    Weights,
    published_noise,
)
from jury.train.answers import fit_history, fit_response, fit_tags, without_own_post
from jury.train.certainty import interval_scale, rating_variances, within_scale
from jury.train.design import fit_guards, make_design, read_notes, with_trees
from jury.train.table import FitOptions, Folded, TrainingData
from jury.train.threads import on_one_thread
from nouns.errors import InputError
from nouns.x import HELPFUL_AT, HELPFUL_FACTOR

Array = NDArray[Any]
Ints = NDArray[np.int64]


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
"""Ridge precision of the columns of content, where there are notes enough to learn their weights: ten of them, bounded, and none a matter of form."""
CALIBRATING_RATINGS = 1000
"""Ratings of the snapshot's own from which on they alone decide the level of what is predicted."""
MIN_LABELLED_NOTES = 12


def deal_folds(post: Ints, folds: int, seed: int) -> Ints:
    """A fold for every note; notes of one post share it. Depends on the post ids and the seed only, not on row order."""
    unique = np.unique(post)
    order = np.random.default_rng(seed).permutation(len(unique))
    fold_of = np.empty(len(unique), dtype=np.int64)
    fold_of[order] = np.arange(len(unique)) % folds
    return fold_of[np.searchsorted(unique, post)]


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
    widths, extra, grams, sides, white_x, white_y, fold, folds, intercepts: bool, content: float = CONTENT_PENALTY
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
    undirected |= {"content": content} if intercepts and "content" in blocks else {}
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
    read = read_notes(data, labelled, encoder, options, progress)
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
                    content=CONTENT_PENALTY if len(notes) >= options.content_from else 1e9,
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
        interval_scale(
            np.concatenate([labels[own, q] - warm[own, q], labels[own, q] - cold[own, q]]),
            np.concatenate([warm_var[own, q], cold_var[own, q]]),
            typical[q],
        )
        for q in range(2)
    )
    later = np.sqrt(warm_var[own, 0] * sd_scale[0] ** 2 + typical[0])
    chance = fit_chance(
        helpful_chance(warm[own, 0], later, warm[own, 1]),
        ((labels[own, 0] >= HELPFUL_AT) & (np.abs(labels[own, 1]) < HELPFUL_FACTOR)).astype(np.float64),
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
