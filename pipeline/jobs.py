"""Shards of a stage on several cores: a process each, the same results whatever their number."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

BYTES_A_JOB = 1_500_000_000
"""Memory that one process may need for a full shard and a jury."""


def cores() -> int:
    return len(os.sched_getaffinity(0))


def jobs_for(wanted: int | None, shards: Sequence[Sequence[int]]) -> int:
    """Processes for these shards: those wanted (None: the cores), never more than full shards, nor than memory holds."""
    import psutil

    full = sum(len(shard) == len(shards[0]) for shard in shards)
    room = max(int(psutil.virtual_memory().available // BYTES_A_JOB), 1)
    return max(min(cores() if wanted is None else wanted, full, room), 1)


def work_shards(
    work: Callable[..., None], of: tuple[Any, ...], sizes: Sequence[int], jobs: int, progress: Callable[..., Any]
) -> None:
    """Call `work(*of, index)` for every shard; `sizes` are their posts. The first that fails ends the others and is raised."""
    done = 0
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(work, *of, index): n for index, n in enumerate(sizes)}
        try:
            for number, future in enumerate(as_completed(waiting)):
                future.result()
                done += waiting[future]
                progress(f"{number + 1} of {len(sizes)} shards, {jobs} at a time", done, sum(sizes))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
