"""Runs a compiled kernel over chunks of rows on several threads, with a result that does not depend on their number."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# One chunk per 131,072 ratings, at most 64: fine enough to balance two to sixteen threads, coarse enough that a chunk is work.
RATINGS_PER_CHUNK = 1 << 17
MOST_CHUNKS = 64


def chunk_bounds(start: np.ndarray) -> np.ndarray:
    """Row limits of chunks with about equally many ratings, from the row starts; depends on the data only.

    `start`: (n_rows + 1,). Returns (n_chunks + 1,) ascending, from 0 to n_rows.
    """
    n_rows, n_ratings = len(start) - 1, int(start[-1])
    n_chunks = max(1, min(MOST_CHUNKS, n_ratings // RATINGS_PER_CHUNK))
    cuts = np.searchsorted(start, np.linspace(0, n_ratings, n_chunks + 1)[1:-1])
    return np.concatenate(([0], np.minimum(cuts, n_rows), [n_rows])).astype(np.int64)


class Workers:
    """A few threads that share out chunk ranges. Use as a context manager; `threads=None` takes the processors allowed to us."""

    def __init__(self, threads: int | None = None):
        self.threads = max(1, threads or len(os.sched_getaffinity(0)))
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, n_chunks: int, work: Callable[[int, int], None]) -> None:
        """Call work(lo, hi) on ranges that cover 0..n_chunks once; returns when all are done; an exception is raised here."""
        parts = min(self.threads, n_chunks)
        if parts <= 1 or self._pool is None:
            work(0, n_chunks)
            return
        cuts = [n_chunks * part // parts for part in range(parts + 1)]
        others = [self._pool.submit(work, cuts[part], cuts[part + 1]) for part in range(1, parts)]
        work(cuts[0], cuts[1])
        for other in others:
            other.result()
