"""What a careful reader asks of a fit: does it predict, is it stable, on how much does it rest, is the factor identified at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from matrix_factorization.kernels import loops as kernels
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters
from matrix_factorization.model.ratings import RatingTable
from matrix_factorization.solve.exact import ExactSolver, random_start

# Below this share of notes with two raters on each side, the factor of most notes rests on extrapolation.
LEAST_CROSS_SIDE_SHARE = 0.10


@dataclass(frozen=True)
class HeldOut:
    """Mean squared error of held-out ratings over random splits: of the model, without its factor, and of the mean alone.

    `model`, `no_factor`, `mean`: means over splits; `model_sd`: their spread. `gain`: by how much the factor lowers the error, mean and spread.
    """

    splits: int
    model: float
    model_sd: float
    no_factor: float
    mean: float
    gain: float
    gain_sd: float


def held_out_error(
    table: RatingTable, solver: ExactSolver, splits: int, share: float, rng: np.random.Generator
) -> HeldOut | None:
    """Fit on a random part of the ratings, predict the rest, `splits` times; `None` for fewer than 20 ratings or no splits.

    A rater or note without ratings in the part fitted is predicted by its prior, zero. The same split serves all three predictors.
    """
    if splits < 1 or table.n_ratings < 20:
        return None
    note, rater, value = table.triples()
    everyone = np.ones(table.n_notes, bool), np.ones(table.n_raters, bool)
    # A factor penalty that nothing can pay for: intercepts only, by the same code.
    flat = replace(
        solver, regularisation=replace(solver.regularisation, rater_factor=1e9, note_factor=1e9), random_starts=0
    )
    quick = replace(solver, random_starts=0, tolerance=max(solver.tolerance, 1e-6))
    errors = []
    for _ in range(splits):
        test = rng.random(table.n_ratings) < share
        train = table.keep(*everyone, ratings=~test)
        if not test.any() or train.n_ratings == 0:
            continue
        mean = float(np.mean(value[~test]))
        row = [float(np.mean((value[test] - mean) ** 2))]
        for one in (flat, quick):
            p = one.fit(train).parameters
            predicted = p.global_intercept + p.raters.intercept[rater[test]] + p.notes.intercept[note[test]]
            predicted = predicted + p.raters.factor[rater[test]] * p.notes.factor[note[test]]
            row.append(float(np.mean((value[test] - predicted) ** 2)))
        errors.append(row)
    if not errors:
        return None
    mean_error, flat_error, model_error = np.array(errors).T
    gain = flat_error - model_error
    return HeldOut(
        len(errors), float(model_error.mean()), float(model_error.std()), float(flat_error.mean()),
        float(mean_error.mean()), float(gain.mean()), float(gain.std()),
    )  # fmt: skip


def stability(
    table: RatingTable, solver: ExactSolver, reference: Parameters, seeds: int, rng: np.random.Generator
) -> dict[str, float]:
    """How far note parameters differ when the descent begins elsewhere: over `seeds` random starts against `reference`.

    'worst_intercept', 'worst_factor': largest absolute difference of any note (sign aligned); 'least_correlation': of note factors; 'worst_excess':
    how much higher, relative, the worst descent ended.
    """
    one = replace(solver, random_starts=0)
    base = one.fit(table, start=reference).loss
    result = {"worst_intercept": 0.0, "worst_factor": 0.0, "least_correlation": 1.0, "worst_excess": 0.0}
    for _ in range(seeds):
        run = one.fit(table, start=random_start(table, rng))
        p = run.parameters
        if float(p.raters.factor @ reference.raters.factor) < 0:
            p = p.flipped()
        result["worst_intercept"] = max(
            result["worst_intercept"], _largest(p.notes.intercept - reference.notes.intercept)
        )
        result["worst_factor"] = max(result["worst_factor"], _largest(p.notes.factor - reference.notes.factor))
        if table.n_notes > 2 and np.std(p.notes.factor) > 0 and np.std(reference.notes.factor) > 0:
            r = float(np.corrcoef(p.notes.factor, reference.notes.factor)[0, 1])
            result["least_correlation"] = min(result["least_correlation"], r)
        result["worst_excess"] = max(result["worst_excess"], (run.loss - base) / abs(base) if base else 0.0)
    return result


def _largest(x: np.ndarray) -> float:
    return float(np.abs(x).max(initial=0.0))


def effective_numbers(table: RatingTable) -> dict[str, float]:
    """Kish's effective numbers: (sum)^2 / sum of squares of the weights of ratings, and of the ratings each rater and each note has.

    One rater who made half of all ratings leaves few effective raters, however many names there are.
    """

    def kish(x: np.ndarray) -> float:
        return float(x.sum() ** 2 / max(float(np.sum(np.square(x))), 1e-300)) if len(x) else 0.0

    return {
        "ratings": kish(table.weights()),
        "raters": kish(table.rater_degree().astype(np.float64)),
        "notes": kish(table.note_degree().astype(np.float64)),
    }


def identification(table: RatingTable, parameters: Parameters, held_out: HeldOut | None) -> dict[str, object]:
    """Whether the data can tell the factor: notes with raters on both sides, variance the factor explains, and warnings in words."""
    counts = np.zeros((table.n_notes, 2, 3), np.int64)
    kernels.count_by_side(table.note_start, table.by_note, parameters.raters.factor, counts)
    both = float(np.mean(counts.sum(axis=2).min(axis=1) >= 2)) if table.n_notes else 0.0
    note, rater, value = table.triples()
    part = parameters.raters.factor[rater] * parameters.notes.factor[note]
    explained = float(np.var(part) / np.var(value)) if len(value) and np.var(value) > 0 else 0.0
    warnings = []
    if table.n_ratings and np.ptp(value) == 0:
        warnings.append("All ratings are equal: there is nothing to tell raters or notes apart by.")
    elif explained < 1e-3:
        warnings.append(
            "The factor explains under 0.1 % of the variance of ratings: it is not identified; only intercepts mean anything."
        )
    elif both < LEAST_CROSS_SIDE_SHARE:
        warnings.append(
            f"Only {both:.1%} of the notes have two raters on each side of the factor: scores of the others rest on extrapolation."
        )
    elif held_out is not None and held_out.gain <= 0:
        warnings.append("The factor does not lower the error of held-out ratings: treat it as noise.")
    return {"notes_with_two_raters_a_side": both, "variance_explained_by_factor": explained, "warnings": warnings}


@dataclass(frozen=True)
class Component:
    """One connected part of the rating graph. `flipped`: its sign was turned so that its larger group of raters is negative.

    `factor_sd`: spread of its raters' factors. Between parts no rating compares signs or scales: each has its own.
    """

    n_raters: int
    n_notes: int
    n_ratings: int
    flipped: bool
    factor_sd: float


def orient_components(table: RatingTable, parameters: Parameters) -> tuple[Parameters, list[Component]]:
    """Turn the sign of every connected part so that the larger group of its raters is negative; describe the parts, largest first.

    Turning a whole part changes no prediction. Raters and notes without ratings belong to no part.
    """
    if table.n_ratings == 0:
        return parameters, []
    rater_part, note_part = kernels.components(table.note_start, table.by_note, table.n_raters)
    rated = table.rater_degree() > 0
    n_parts = int(rater_part.max()) + 1
    factor = parameters.raters.factor
    balance = np.bincount(rater_part, np.sign(factor) * rated, n_parts)
    sign = np.where(balance > 0, -1.0, 1.0)
    turned = Parameters(
        RaterParameters(parameters.raters.intercept, factor * sign[rater_part]),
        NoteParameters(
            parameters.notes.intercept, parameters.notes.factor * np.where(note_part >= 0, sign[note_part], 1.0)
        ),
        parameters.global_intercept,
    )
    raters = np.bincount(rater_part[rated], minlength=n_parts)
    notes = np.bincount(note_part[note_part >= 0], minlength=n_parts)
    ratings = np.bincount(rater_part, table.rater_degree(), n_parts)
    mean = np.bincount(rater_part[rated], factor[rated], n_parts) / np.maximum(raters, 1)
    square = np.bincount(rater_part[rated], factor[rated] ** 2, n_parts) / np.maximum(raters, 1)
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    order = np.lexsort((np.arange(n_parts), -ratings))
    parts = [
        Component(int(raters[k]), int(notes[k]), int(ratings[k]), bool(sign[k] < 0), float(spread[k]))
        for k in order.tolist()
        if ratings[k] > 0
    ]
    return turned, parts
