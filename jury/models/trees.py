"""Extremely randomised regression trees: averages of many trees whose splits are drawn at random and the best of a few kept.

They catch what a sum of columns cannot: that a quotation helps beside a source and hurts without one. Grown level by level in NumPy, so that
a jury directory holds plain arrays and nothing has to be unpickled. Source: Geurts, Ernst and Wehenkel, Machine Learning 63 (2006).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_DEEPEST = 40


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
        for _ in range(_DEEPEST):
            left = self.left[at]
            inner = left >= 0
            if not inner.any():
                break
            right = flat.take(row + self.feature[at]) > self.threshold[at]
            at = np.where(inner, left + right, at)
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
    tried: int = 16,
    share: float = 0.6,
) -> Forest:
    """Trees on random shares of the rows (n, d): at each node the best of `tried` random splits, no leaf under the weight of `smallest_leaf` rows.

    `target` and `weight` (n,); a leaf's value is the weighted mean. Fewer than two leaves' worth of rows give a forest without trees.
    Deterministic given its arguments.
    """
    size = round(share * len(target))
    if size < 2 * smallest_leaf or columns.shape[1] == 0:
        return no_forest()
    narrow = np.ascontiguousarray(columns, dtype=np.float32)
    rng = np.random.default_rng(seed)
    grown, root, offset = [], [], 0
    for _ in range(trees):
        rows = rng.choice(len(target), size, replace=False)
        tree = _grow(narrow, target, weight, rows, rng, smallest_leaf, tried)
        tree[2][tree[2] >= 0] += offset
        grown.append(tree)
        root.append(offset)
        offset += len(tree[0])
    feature, threshold, left, value = (np.concatenate(parts) for parts in zip(*grown, strict=True))
    return Forest(feature, threshold, left, value, np.array(root, dtype=np.int32))


def _grow(
    columns: NDArray[np.float32],
    target: Array,
    weight: Array,
    rows: NDArray[np.int64],
    rng: np.random.Generator,
    smallest: int,
    tried: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]:
    """feature, threshold, left, value of one tree. All open nodes of a level are split together; `rows` stay sorted by node."""
    w, wy = weight[rows].astype(np.float32), (weight * target)[rows].astype(np.float32)
    least = np.float32(smallest * w.mean())
    flat, width = columns.ravel(), columns.shape[1]
    sizes = np.array([len(rows)])
    features: list[NDArray[np.int32]] = []
    thresholds: list[NDArray[np.float32]] = []
    lefts: list[NDArray[np.int32]] = []
    values: list[NDArray[np.float32]] = []
    before = 0
    for depth in range(_DEEPEST):
        n = len(sizes)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        node = np.repeat(np.arange(n), sizes)
        total, mass = np.add.reduceat(wy, starts), np.add.reduceat(w, starts)
        picked = rng.integers(0, width, (n, tried))
        # A border is the value of one of the node's rows: half the borders lie in the middle half of the rows, however long a column's tail.
        one = rows[starts[:, None] + rng.integers(0, sizes[:, None], (n, tried))]
        border = flat.take(one * width + picked)
        goes_left = flat.take(rows[:, None] * width + picked.take(node, axis=0)) <= border.take(node, axis=0)
        left_mass = np.add.reduceat(w[:, None] * goes_left, starts)
        left_total = np.add.reduceat(wy[:, None] * goes_left, starts)
        right_mass, right_total = mass[:, None] - left_mass, total[:, None] - left_total
        allowed = (left_mass >= least) & (right_mass >= least)
        gain = left_total**2 / np.maximum(left_mass, 1e-12) + right_total**2 / np.maximum(right_mass, 1e-12)
        gain = np.where(allowed, gain, -np.inf)
        best = gain.argmax(axis=1)
        own = np.arange(n)
        splits = np.isfinite(gain[own, best]) & (depth < _DEEPEST - 1)
        features.append(np.where(splits, picked[own, best], 0).astype(np.int32))
        thresholds.append(np.where(splits, border[own, best], 0.0).astype(np.float32))
        values.append((total / np.maximum(mass, 1e-12)).astype(np.float32))
        # Children stand behind all nodes of their parents' level, in pairs.
        child = before + n + 2 * (np.cumsum(splits) - 1)
        lefts.append(np.where(splits, child, -1).astype(np.int32))
        before += n
        if not splits.any():
            break
        stay = splits[node]
        side = ~goes_left[np.arange(len(rows)), best[node]]
        key = (2 * (np.cumsum(splits) - 1))[node] + side
        order = np.argsort(key[stay], kind="stable")
        sizes = np.bincount(key[stay], minlength=2 * int(splits.sum()))
        rows, w, wy = rows[stay][order], w[stay][order], wy[stay][order]
    return np.concatenate(features), np.concatenate(thresholds), np.concatenate(lefts), np.concatenate(values)
