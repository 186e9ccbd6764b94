"""`make demo`: the DAGs refresh_jury, synthesize_supernotes and export_training_data on the bundled sample, in process.

Real Airflow DAG runs (`dag.test()`) with Airflow's database on SQLite in `.airflow`; then what won and why.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from pathlib import Path


def run_dags(input: str, posts: str | None, workspace: str, home: Path) -> str:
    """Run the three DAGs one after the other; returns the run's id. Raises `StageFailed` naming the task that failed."""
    from nouns.errors import StageFailed
    from pipeline.airflow import home as airflow_home
    from pipeline.console import say

    airflow_home.prepare_in_process(home)
    logging.disable(logging.INFO)
    airflow_home.migrate()
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(airflow_home.dags_folder()))
    if bag.import_errors:
        raise StageFailed(f"DAG files cannot be imported: {bag.import_errors}")
    run_id = ""
    for name in ("refresh_jury", "synthesize_supernotes", "export_training_data", "publish_export"):
        conf: dict[str, object] = {"workspace": workspace}
        # The sample is of one day long ago: in the demo no post is too old.
        conf |= {"input": input, "posts": posts, "age_window_days": 0} if name == "refresh_jury" else {"run": run_id}
        started = time.monotonic()
        say(f"\nAirflow DAG {name}")
        result = bag.dags[name].test(run_conf=conf, mark_success_pattern="^(approve|ask_for_approval)$")
        states = {task.task_id: str(task.state) for task in result.get_task_instances()}
        if str(result.state) != "success":
            failed = sorted(task for task, state in states.items() if state == "failed")
            raise StageFailed(
                f"DAG {name} ended as {result.state}; failed: {', '.join(failed) or 'none'}. See the log above."
            )
        if name == "refresh_jury":
            described = next(t for t in result.get_task_instances() if t.task_id == "describe_run")
            run_id = described.xcom_pull(task_ids="describe_run")["run_id"]
        say(f"  {len(states)} tasks, {result.state}, {time.monotonic() - started:.1f} s")
    return run_id


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--airflow-home", default=".airflow")
    arguments = parser.parse_args()
    from nouns.errors import SupernotesError
    from pipeline.cli.app import main as supernotes
    from pipeline.console import sample_directory, say

    started = time.monotonic()
    workspace = arguments.workspace if "://" in arguments.workspace else str(Path(arguments.workspace).resolve())
    sample = sample_directory()
    try:
        run_id = run_dags(str(sample), str(sample / "posts.jsonl"), workspace, Path(arguments.airflow_home))
    except SupernotesError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    say()
    try:
        supernotes(["show", run_id, "--workspace", workspace, "--limit", "3"])
    except SystemExit as leave:
        if leave.code:
            raise
    from pipeline.show.page import write_report
    from storage.store import Store

    shown = os.path.relpath(workspace)
    say(f"\nreport:   {os.path.relpath(write_report(Store(workspace), run_id))}")
    say(f"all won:  {sys.executable and '.venv/bin/'}supernotes show {run_id} --workspace {shown} --limit 100")
    say("inspect:  make inspect")
    say(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
