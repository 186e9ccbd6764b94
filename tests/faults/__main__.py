"""`python -m tests.faults [--seed 17 | --seeds 100 [--first 0]]`: one JSON line a failing schedule, one for all; exit code 1 if any failed."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from nouns.stages import RUN_STAGES
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.faults.harness import open_bench, schedule, shrink, trouble
from tests.pipeline.fast import FAST


def trained(workspace: Path) -> str:
    """The directory of a jury trained on the whole sample."""
    store, sample = Store(workspace), sample_directory()
    request = RunRequest(str(sample), posts=str(sample / "posts.jsonl"))
    plan = Plan(store, create_run(store, request, load_settings(environment={}, flags=FAST)))
    for stage in RUN_STAGES[: RUN_STAGES.index("train_jury") + 1]:
        plan.run(stage)
    return str(workspace / plan.where("train_jury"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    seeds = [args.seed] if args.seed is not None else range(args.first, args.first + args.seeds)
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        bench = open_bench(Path(folder), trained(Path(folder) / "trained"))
        for seed in seeds:
            faults = schedule(seed)
            if why := trouble(bench, faults):
                failed += 1
                print(
                    json.dumps({"seed": seed, "why": why, "faults": faults, "smallest": shrink(bench, faults)}),
                    flush=True,
                )
        bench.server.__exit__(None)
    told = {
        "schedules": len(seeds),
        "failed": failed,
        "calls": bench.calls,
        "seconds": round(time.monotonic() - started),
    }
    print(json.dumps(told))
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
