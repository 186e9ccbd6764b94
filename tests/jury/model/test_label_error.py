"""How far a label may be from the truth is what repeating the ratings shows, and a rating's variance what it was drawn with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.model.hierarchical import published_noise
from jury.train.certainty import folded_error, rating_variances
from jury.train.stage import pool_labels
from matrix_factorization.foldin import fold_in_notes
from matrix_factorization.model.objective import RaterParameters, Regularisation
from tests.jury.model.planted import make_world


def test_the_error_of_a_label_from_few_ratings_is_what_a_thousand_repetitions_scatter():
    rng = np.random.default_rng(0)
    factor = rng.normal(0, 0.5, 4)
    raters = RaterParameters(np.zeros(4), factor)
    start, who = np.array([0, 4]), np.arange(4)
    drawn = [
        fold_in_notes(start, who, 0.3 + 0.2 * rng.normal(size=4), raters, 0.17, ratings_per_note=3.0, regularisation=Regularisation())
        for _ in range(1000)
    ]  # fmt: skip
    seen = [np.var([float(getattr(one, name)[0]) for one in drawn]) for name in ("intercept", "factor")]
    told = 0.2**2 * folded_error(np.zeros(4, dtype=np.int64), factor, 1, 3.0)[0]
    np.testing.assert_allclose(told, seen, rtol=0.15)


@pytest.mark.parametrize("per_note", [4, 30])
def test_the_variance_of_a_rating_is_found_however_few_a_note_has(per_note):
    """Notes fitted by ridge to their own ratings, of known variance; the plain mean of squares is too small where a note has four."""
    rng = np.random.default_rng(1)
    base = make_world(n_posts=2).data
    n_notes, sigma = 6000 // per_note, 0.3
    note, factor = np.repeat(np.arange(n_notes), per_note), rng.normal(0, 0.5, n_notes * per_note)
    value = (
        0.17
        + rng.normal(0, 0.15, n_notes)[note]
        + factor * rng.normal(0, 0.4, n_notes)[note]
        + sigma * rng.normal(size=len(note))
    )
    x = np.stack([np.ones(per_note), np.zeros(per_note)], axis=1)
    fitted = np.zeros((n_notes, 2))
    for k in range(n_notes):
        rows = slice(k * per_note, (k + 1) * per_note)
        x[:, 1] = factor[rows]
        fitted[k] = np.linalg.solve(x.T @ x + np.diag([0.15, 0.03]) * per_note, x.T @ (value[rows] - 0.17))
    data = replace(
        base, intercept=fitted[:, 0], factor=fitted[:, 1], n_ratings=np.full(n_notes, float(per_note)), rating_note=note, value=value,
        rater_intercept=np.zeros(len(note)), rater_factor=factor, global_intercept=0.17,
    )  # fmt: skip
    # `data` need not be a whole table here: its length is read off the labels only.
    object.__setattr__(data, "note_id", np.arange(n_notes))
    plain, true = rating_variances(data)
    assert true == pytest.approx(sigma**2, rel=0.12)
    if per_note == 4:
        assert plain < 0.8 * sigma**2


def test_two_halves_of_the_raters_disagree_about_a_note_as_much_as_their_labels_errors_say():
    """Ten ratings a note, so five of each half: what X's formula alone says of five ratings is too little."""
    data = make_world(n_posts=150, ratings_per_note=10).data
    half = (np.arange(len(data.rater_ids)) % 2 == 0)[data.rater]
    one, other = pool_labels(data, half), pool_labels(data, ~half)
    both = np.isfinite(one.intercept) & np.isfinite(other.intercept)
    assert ((one.weight[both] > 0) & (one.weight[both] <= 1)).all()
    told, plain = np.zeros(int(both.sum())), 0.0
    for pool in (one, other):
        formula = published_noise(pool.n_ratings[both], rating_variances(pool)[0], 0.25)[:, 0]
        told, plain = told + formula / pool.weight[both], plain + float(formula.mean())
    apart = float(np.mean((one.intercept - other.intercept)[both] ** 2))
    assert told.mean() == pytest.approx(apart, rel=0.25)
    assert abs(plain - apart) > abs(told.mean() - apart)
