"""The nearest notes on other posts within a window of time: exact, in blocks of a matrix product, memory linear in the notes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

COLUMNS = 8192  # notes compared with a block of notes in one product


def nearest(
    vectors: NDArray[np.float32],
    times: NDArray[np.int64],
    posts: NDArray[np.int64],
    side: NDArray[np.bool_],
    window: int,
    similarity: float,
    neighbours: int,
    block: int = 256,
    cores: int = 1,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and their neighbours, two arrays of one length: of each row at most `neighbours`, the most alike first, equal ones by row.

    `vectors`: (n, width) unit rows; a zero row has no neighbours. A neighbour lies on another post and the same side, has a cosine of at
    least `similarity`, and a time at most `window` away; a time of 0 is unknown and near every other. Cosines count to six decimals, so
    that the last bits of a product, which depend on its shape, decide nothing.
    """
    n = len(times)
    by_time = np.lexsort((np.arange(n), times))
    undated = int(np.searchsorted(times[by_time], 1))  # those without a time come first
    moments, sorted_vectors = times[by_time], np.ascontiguousarray(vectors[by_time])
    known = (moments, posts[by_time], side[by_time], by_time)

    def one(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        end = min(start + block, undated if start < undated else n)
        spans = [(0, n)]
        if start >= undated:
            low = int(np.searchsorted(moments[undated:], moments[start] - window)) + undated
            high = int(np.searchsorted(moments[undated:], moments[end - 1] + window, side="right")) + undated
            spans = [(0, undated), (low, high)]
        value = np.full((end - start, neighbours), -1.0, dtype=np.float32)
        index = np.full((end - start, neighbours), n, dtype=np.int64)
        mine = sorted_vectors[start:end]
        for low, high in spans:
            for first in range(low, high, COLUMNS):
                part = mine @ sorted_vectors[first : min(first + COLUMNS, high)].T
                _keep_best(part, start, first, *known, window, np.float32(similarity), value, index)
        found = index < n
        return np.repeat(by_time[start:end], found.sum(axis=1)), index[found]

    # A block never holds notes with and without a time.
    starts = [*range(0, undated, block), *range(undated, n, block)]
    starts = [start for start in starts if start < n]
    with threadpool_limits(1), ThreadPoolExecutor(max(cores, 1)) as pool:
        parts = list(pool.map(one, starts))
    left = np.concatenate([part[0] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    right = np.concatenate([part[1] for part in parts]) if parts else np.zeros(0, dtype=np.int64)
    return left, right


@njit(nogil=True, cache=True)
def _keep_best(
    part: Any,
    start: int,
    first: int,
    times: Any,
    posts: Any,
    side: Any,
    row_of: Any,
    window: int,
    similarity: Any,
    value: Any,
    index: Any,
) -> None:  # pragma: no cover - compiled
    """Enter a block of cosines into each row's list of the best so far, by falling value, then by rising row."""
    k = value.shape[1]
    for i in range(part.shape[0]):
        p = start + i
        for j in range(part.shape[1]):
            cosine = part[i, j]
            if cosine < similarity - np.float32(1e-6):
                continue
            q = first + j
            if posts[p] == posts[q] or side[p] != side[q]:
                continue
            if times[p] > 0 and times[q] > 0 and abs(times[p] - times[q]) > window:
                continue
            cosine = np.float32(np.rint(cosine * 1e6) / 1e6)
            if cosine < similarity:
                continue
            row = row_of[q]
            at = k
            while at > 0 and (value[i, at - 1] < cosine or (value[i, at - 1] == cosine and index[i, at - 1] > row)):
                at -= 1
            if at == k:
                continue
            for m in range(k - 1, at, -1):
                value[i, m] = value[i, m - 1]
                index[i, m] = index[i, m - 1]
            value[i, at] = cosine
            index[i, at] = row
