"""Extremely randomised regression trees: averages of many trees whose splits are drawn at random and the best of a few kept.

They catch what a sum of columns cannot: that a quotation helps beside a source and hurts without one. Grown by scikit-learn and then taken apart into
plain arrays, so that a jury directory holds nothing that has to be unpickled. Source: Geurts, Ernst and Wehenkel, Machine Learning 63 (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Forest:
    """All nodes of all trees: a row goes to `left` where column `feature` is at most `threshold`, else to the node after it.

    `left` is -1 at a leaf. `root` (n_trees,) are the trees' first nodes. A forest without trees predicts 0.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    value: NDArray[np.float32]
    root: NDArray[np.int32]

    def predict(self, columns: Array) -> NDArray[np.float64]:
        """(n,) means over the trees for rows (n, d)."""
        if len(self.root) == 0 or len(columns) == 0:
            return np.zeros(len(columns))
        narrow = np.ascontiguousarray(columns, dtype=np.float32)
        flat, row = narrow.ravel(), (np.arange(len(narrow)) * narrow.shape[1])[:, None]
        at = np.broadcast_to(self.root, (len(narrow), len(self.root))).copy()
        left = self.left[at]
        while (inner := left >= 0).any():
            right = flat.take(row + self.feature[at]) > self.threshold[at]
            at = np.where(inner, left + right, at)
            left = self.left[at]
        return self.value[at].astype(np.float64).mean(axis=1)


def no_forest() -> Forest:
    """A forest without trees."""
    empty = np.zeros(0, dtype=np.int32)
    return Forest(empty, empty.astype(np.float32), empty, empty.astype(np.float32), empty)


def grow_forest(
    columns: Array,
    target: Array,
    weight: Array,
    seed: int,
    trees: int = 60,
    smallest_leaf: int = 8,
    tried: float = 0.15,
) -> Forest:
    """Trees on the rows (n, d): at each node a random split of each of a share `tried` of the columns, the best of them kept.

    `target` and `weight` (n,); a leaf's value is the weighted mean of at least `smallest_leaf` rows. Fewer than two leaves' worth of rows give
    a forest without trees. Deterministic given its arguments.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    if len(target) < 2 * smallest_leaf or columns.shape[1] == 0:
        return no_forest()
    grown = ExtraTreesRegressor(
        trees, min_samples_leaf=smallest_leaf, max_features=tried, n_jobs=1, random_state=seed
    ).fit(np.ascontiguousarray(columns, dtype=np.float32), target, sample_weight=weight)
    parts, root, offset = [], [], 0
    for one in grown.estimators_:
        parts.append(_flat(one.tree_, offset))
        root.append(offset)
        offset += one.tree_.node_count
    feature, threshold, left, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Forest(feature, threshold, left, value, np.array(root, dtype=np.int32))


def _flat(
    tree: Any, offset: int
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """feature, threshold, left, value of one of the library's trees, numbered level by level from `offset` on: both children stand side by side."""
    levels, children = [], np.zeros(1, dtype=np.int64)
    while len(children):
        levels.append(children)
        inner = children[tree.children_left[children] >= 0]
        children = np.stack([tree.children_left[inner], tree.children_right[inner]], axis=1).ravel()
    order = np.concatenate(levels)
    inner = tree.children_left[order] >= 0
    left = np.full(len(order), -1, dtype=np.int32)
    left[inner] = offset + 1 + 2 * np.arange(int(inner.sum()))
    # The library compares a float32 with a float64 border: rounded down to float32, the same rows pass.
    border = tree.threshold[order].astype(np.float32)
    border = np.where(border > tree.threshold[order], np.nextafter(border, np.float32(-np.inf)), border)
    return (
        np.where(inner, tree.feature[order], 0).astype(np.int32),
        np.where(inner, border, 0.0).astype(np.float32),
        left,
        tree.value[order, 0, 0].astype(np.float32),
    )
