"""What Airflow itself costs: seconds of a mapped task that has nothing to do, the scheduler's memory, XCom's bytes.

    python -m benchmarks.airflow_overhead [--shards 8] [--planned-only]

Runs `synthesize_supernotes` through real services (SQLite, LocalExecutor, two tasks at a time) on a run of the sample that is
finished already, cut into about so many shards: every task finds its work done, so what it costs is Airflow's and Python's
own: start of the process, imports, DAG file, task API, scheduling. Processor time is that of all services and all that
they started, because seconds on the clock double on a machine that others use. Then plans 10,000 and 100,000 eligible posts
with the default settings without running them. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from nouns.stages import RUN_STAGES, SHARDED_STAGES
from pipeline import tasks
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers_airflow import LocalAirflow, descendants

DAG = "synthesize_supernotes"


def finished_run(workspace: Path, shards: int) -> str:
    """A finished run of the sample whose posts are cut into about `shards` shards."""
    sample, store = sample_directory(), Store(workspace)
    request = RunRequest(str(sample), posts=str(sample / "posts.jsonl"))
    run_id = create_run(store, request, load_settings(environment={}, flags=FAST))
    for stage in RUN_STAGES:
        Plan(store, run_id).run(stage)
    eligible = sum(len(posts) for posts in Plan(store, run_id).shards())
    size = max(1, eligible // shards)
    create_run(store, request, load_settings(environment={}, flags=[*FAST, f"run.posts_per_shard={size}"]))
    return run_id


def idle_cost(shards: int) -> dict[str, Any]:
    """Seconds a task, the peak of the scheduler's memory and XCom's bytes, with all work done before."""
    with tempfile.TemporaryDirectory(prefix="supernotes-overhead-") as directory:
        home = Path(directory)
        run_id = finished_run(home / "workspace", shards)
        peak, ended = [0], threading.Event()
        with LocalAirflow(home / "airflow") as airflow:

            def watch() -> None:
                process = psutil.Process(airflow.processes["scheduler"].pid)
                while not ended.wait(1.0):
                    peak[0] = max(peak[0], process.memory_info().rss)

            threading.Thread(target=watch, daemon=True).start()
            airflow.unpause(DAG)
            time.sleep(5)
            used, started = processor_seconds(airflow), time.monotonic()
            time.sleep(15)
            idle = processor_seconds(airflow) - used
            used, idle_for, started = processor_seconds(airflow), time.monotonic() - started, time.monotonic()
            run = airflow.trigger(DAG, {"workspace": str(home / "workspace"), "run": run_id})
            airflow.wait(DAG, run, 1800)
            seconds = time.monotonic() - started
            spent = processor_seconds(airflow) - used
            ended.set()
            instances = airflow.instances(DAG, run)
            mapped = [i for i in instances if i["map_index"] >= 0]
            indices = airflow.get(f"dags/{DAG}/dagRuns/{run}/taskInstances/plan_shards/xcomEntries/return_value")
        return {
            "measurement": "airflow_idle",
            "mapped_tasks": len(mapped),
            "tasks": len(instances),
            "seconds": round(seconds, 1),
            "processor_seconds": round(spent, 1),
            "processor_seconds_a_task": round(spent / len(instances), 2),
            "services_idle_share_of_a_core": round(idle / idle_for, 3),
            "median_task_seconds": round(median(i["duration"] for i in mapped), 2),
            "scheduler_peak_mib": round(peak[0] / 2**20, 1),
            "xcom_bytes_of_indices": len(json.dumps(indices["value"])),
            "load_average": round(os.getloadavg()[0], 1),
        }


def processor_seconds(airflow: LocalAirflow) -> float:
    """User and system time of every service and of all processes below them, ended ones included."""
    total = 0.0
    for process in airflow.processes.values():
        for one in descendants(process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(one.cpu_times()[:4])
    return total


def planned(posts: int) -> dict[str, Any]:
    """How many mapped tasks and XCom bytes a run of so many eligible posts has with default settings."""
    import polars as pl

    with tempfile.TemporaryDirectory(prefix="supernotes-planned-") as directory:
        home = Path(directory)
        (home / "input").mkdir()
        (home / "input" / "notes-00000.tsv").write_text("noteId\n")
        store = Store(home / "workspace")
        run_id = create_run(store, RunRequest(str(home / "input")), load_settings(environment={}))
        with store.scratch("planned") as scratch:
            pl.DataFrame({"post_id": range(posts), "eligible": [True] * posts}).write_parquet(scratch / "posts.parquet")
            store.publish(scratch, f"runs/{run_id}/cluster_notes", stage="cluster_notes", fingerprint="planned", code="",
                          settings={}, inputs={}, seed=None, counts={}, seconds=0.0)  # fmt: skip
        started = time.perf_counter()
        indices = tasks.shard_indices({"workspace": str(home / "workspace"), "run_id": run_id})
        seconds = time.perf_counter() - started
        path = f"runs/{run_id}/.shards/{SHARDED_STAGES[0]}/{'0' * 16}"
        return {
            "measurement": "airflow_planned",
            "posts": posts,
            "shards": len(indices),
            "mapped_tasks": len(indices) * len(SHARDED_STAGES),
            "xcom_bytes": len(json.dumps(indices)) + len(indices) * len(SHARDED_STAGES) * len(json.dumps(path)),
            "plan_seconds": round(seconds, 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--planned-only", action="store_true")
    arguments = parser.parse_args()
    for posts in (10_000, 100_000):
        print(json.dumps(planned(posts)), flush=True)
    if not arguments.planned_only:
        print(json.dumps(idle_cost(arguments.shards)), flush=True)


if __name__ == "__main__":
    main()
