"""Trees find what a sum of columns cannot, answer by walking down, and are the same wherever they are grown."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from jury.model.trees import Forest, grow_forest


def _walked(forest: Forest, row: np.ndarray) -> float:
    """Twin of `predict`: one row, one tree, one node at a time."""
    answers = []
    for root in forest.root:
        at = int(root)
        while forest.left[at] >= 0:
            at = int(forest.left[at]) + int(np.float32(row[forest.feature[at]]) > forest.threshold[at])
        answers.append(float(forest.value[at]))
    return float(np.mean(answers))


def _checkerboard(n: int, seed: int):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 4))
    return x, np.sign(x[:, 0] * x[:, 1]) + rng.normal(0, 0.3, n)


def test_trees_learn_a_checkerboard_on_which_every_line_fails():
    x, y = _checkerboard(1500, 0)
    forest = grow_forest(x, y, np.ones(len(x)), seed=0, trees=30, tried=1.0)
    fresh, truth = _checkerboard(500, 1)
    line = np.linalg.lstsq(np.c_[np.ones(len(x)), x], y, rcond=None)[0]
    assert abs(np.corrcoef(np.c_[np.ones(len(fresh)), fresh] @ line, truth)[0, 1]) < 0.2
    assert np.corrcoef(forest.predict(fresh), truth)[0, 1] > 0.8


def test_the_answer_is_the_mean_of_walking_down_every_tree():
    x, y = _checkerboard(400, 2)
    forest = grow_forest(x, y, np.random.default_rng(3).uniform(0.2, 1, len(x)), seed=1, trees=7)
    fresh = _checkerboard(40, 4)[0]
    np.testing.assert_allclose(forest.predict(fresh), [_walked(forest, row) for row in fresh], rtol=1e-6)


def test_taken_apart_they_answer_as_the_library_does():
    x, y = _checkerboard(600, 7)
    w = np.random.default_rng(8).uniform(0.2, 1, len(x))
    library = ExtraTreesRegressor(9, min_samples_leaf=8, max_features=0.5, random_state=4).fit(
        x.astype(np.float32), y, sample_weight=w
    )
    fresh = _checkerboard(300, 9)[0]
    forest = grow_forest(x, y, w, seed=4, trees=9, tried=0.5)
    np.testing.assert_allclose(forest.predict(fresh), library.predict(fresh.astype(np.float32)), rtol=1e-5, atol=1e-6)


def test_a_leaf_answers_with_the_weighted_mean_of_its_rows():
    """One column of two values can be split in one place only, so the two leaves are known."""
    x = np.repeat([[0.0], [1.0]], 50, axis=0)
    y, w = np.arange(100.0), np.r_[np.full(25, 3.0), np.ones(75)]
    forest = grow_forest(x, y, w, seed=0, trees=1, smallest_leaf=5)
    expected = [np.average(y[:50], weights=w[:50]), np.average(y[50:], weights=w[50:])]
    np.testing.assert_allclose(forest.predict(np.array([[0.0], [1.0]])), expected, rtol=1e-5)


def test_no_leaf_rests_on_less_than_it_must():
    x, y = _checkerboard(300, 5)
    forest = grow_forest(x, y, np.ones(len(x)), seed=0, trees=3, smallest_leaf=20)
    for root, end in zip(forest.root, [*forest.root[1:], len(forest.left)], strict=True):
        one = Forest(
            forest.feature,
            forest.threshold,
            forest.left,
            np.arange(len(forest.left), dtype=np.float32),
            np.array([root]),
        )
        leaves = one.predict(x)
        assert ((leaves >= root) & (leaves < end)).all()
        assert np.unique(leaves, return_counts=True)[1].min() >= 20


def test_equal_arguments_grow_equal_trees_and_too_few_rows_none():
    x, y = _checkerboard(200, 6)
    first, second = (grow_forest(x, y, np.ones(200), seed=9, trees=4) for _ in range(2))
    assert all(
        np.array_equal(getattr(first, k), getattr(second, k)) for k in ("feature", "threshold", "left", "value", "root")
    )
    few = grow_forest(x[:12], y[:12], np.ones(12), seed=0, smallest_leaf=8)
    assert len(few.root) == 0
    assert (few.predict(x) == 0).all()
