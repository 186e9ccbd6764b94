"""X's own `run_mf` on a file of ratings, in a process of its own: the yardstick of `benchmarks.factorization`.

    python benchmarks/factorization_peer.py CHECKOUT FOLDER [--epochs K] [--no-final]

CHECKOUT: a checkout of twitter/communitynotes. FOLDER holds `ratings.parquet` (noteId, raterParticipantId, helpfulNum). Written there:
`notes.parquet`, `raters.parquet` (X's parameters) and `peer.json`, which is also printed: wall and processor seconds, the number of epochs, the seconds of
an epoch (10th percentile and median; other work on the machine shows as a gap between the two), peak memory above that before, and
the same for the final stage (raters frozen, started from what was just fitted, as X does). `--epochs K` stops the fit after K epochs, to
time an epoch on a quiet machine without waiting for the end; nothing but `epochs.json` is written then. Nothing of X's is changed: `wandb`, its optional reporting service, is
replaced by an object that does nothing, and the optimiser's `step` is watched. This file imports nothing of ours, so the peer may have an interpreter of its own.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


class _Nothing:
    """Stands in for `wandb`: every attribute is another nothing, every call returns one."""

    _enabled = False

    def __getattr__(self, name: str) -> Any:
        return _Nothing()

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _Nothing()


class _Enough(Exception):
    """The number of epochs asked for is reached."""


class _Watch:
    """Notes when each optimiser step ended."""

    def __init__(self, adam: Any, most: int):
        self.ends: list[float] = []
        step = adam.step

        def watched(*arguments: Any, **named: Any) -> Any:
            result = step(*arguments, **named)
            self.ends.append(time.perf_counter())
            if most and len(self.ends) > most:
                raise _Enough
            return result

        adam.step = watched

    def report(self) -> dict[str, float]:
        gaps = sorted(later - earlier for earlier, later in zip(self.ends, self.ends[1:], strict=False))
        facts: dict[str, float] = {"epochs": len(self.ends)}
        if gaps:
            facts |= {"epoch_seconds": gaps[len(gaps) // 10], "epoch_seconds_median": gaps[len(gaps) // 2]}
        self.ends.clear()
        return facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=0)
    parser.add_argument("--no-final", action="store_true")
    options = parser.parse_args()
    sys.modules["wandb"] = _Nothing()  # type: ignore[assignment]
    sys.path.insert(0, str(options.checkout / "scoring" / "src"))
    logging.disable(logging.CRITICAL)
    import pandas as pd
    import scoring.matrix_factorization.matrix_factorization as peer  # type: ignore[import-not-found]
    import torch

    peer.wandb = _Nothing()
    watch = _Watch(torch.optim.Adam, options.epochs)
    ratings = pd.read_parquet(options.folder / "ratings.parquet")
    ranker = peer.MatrixFactorization(log=False, seed=1)
    load = os.getloadavg()[0]
    before, began, cpu = _peak(), time.perf_counter(), time.process_time()
    try:
        notes, raters, mu = ranker.run_mf(ratings)
    except _Enough:
        facts = {"preparation_seconds": watch.ends[0] - began, **watch.report(), "load": round(load, 1)}
        (options.folder / "epochs.json").write_text(json.dumps(facts))
        print(json.dumps(facts))
        return 0
    found: dict[str, Any] = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": _peak() - before,
        "preparation_seconds": watch.ends[0] - began,
        **watch.report(),
        "mu": float(mu),
        "load": round(load, 1),
        "torch": torch.__version__,
        "pandas": pd.__version__,
        "torch_threads": torch.get_num_threads(),
    }
    notes.to_parquet(options.folder / "notes.parquet")
    raters.to_parquet(options.folder / "raters.parquet")
    if not options.no_final:
        began, cpu = time.perf_counter(), time.process_time()
        ranker.run_mf(
            ratings,
            noteInit=notes,
            userInit=raters,
            globalInterceptInit=mu,
            freezeRaterParameters=True,
            ratingPerNoteLossRatio=len(ratings) / ratings["noteId"].nunique(),
        )
        found["final_stage"] = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
            **watch.report(),
        }
    (options.folder / "peer.json").write_text(json.dumps(found))
    print(json.dumps(found))
    return 0


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
