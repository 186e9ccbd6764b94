"""Keep the workspace from growing for ever.

Removes scratch of killed processes, runs beyond the retention, snapshots, juries, exports, tuned writers and downloaded days
that no kept run refers to, caches and copies not written for as long, and exports that hold notes deleted on X since.
Nothing a kept run refers to is ever removed; nor is the current writer or the one before it. On an object store, too.

What it does not protect against: a retention that is too short. Try `dry_run` first; the task's log lists what would go.

Example parameters:

    {"workspace": "/data/supernotes", "keep_days": 90, "keep_runs": 10, "dry_run": true}
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.parts import WORKSPACE, as_airflow_says, every_dag, moment_of, options

PARAMS = {
    "workspace": WORKSPACE,
    "keep_days": Param(90, type="integer", minimum=1, title="Days", description="Younger runs and files always stay."),
    "keep_runs": Param(
        10, type="integer", minimum=1, title="Runs", description="So many newest runs stay however old they are."
    ),
    "dry_run": Param(False, type="boolean", title="Dry run", description="Only say what would go."),
}


@dag(schedule="@weekly", params=PARAMS, **every_dag(__doc__))
def housekeeping():
    @task(**options("tidy"))
    @as_airflow_says()
    def tidy() -> dict[str, Any]:
        context = get_current_context()
        return tasks.tidy_workspace(context["params"], int(moment_of(context).timestamp() * 1000))

    tidy()


housekeeping()
