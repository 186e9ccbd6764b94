"""What the DAG files have in common: their assets, parameters, alerts, and the task that finds the run to continue.

Wiring stays in the DAG files; here stand the words it is written in. Imports airflow and nothing heavy.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, get_current_context, task

from pipeline import tasks
from pipeline.airflow.alerts import deadline, failed

SNAPSHOT = Asset(name="supernotes_snapshot", uri="supernotes://input")
JURY = Asset(name="supernotes_jury", uri="supernotes://models/jury")
SELECTIONS = Asset(name="supernotes_selections", uri="supernotes://runs/selections")
EXPORT = Asset(name="supernotes_export", uri="supernotes://exports")
WRITER = Asset(name="supernotes_writer", uri="supernotes://models/writer")


def text(title: str, description: str) -> Param:
    """A parameter that is a string and may be empty."""
    return Param("", type="string", title=title, description=description)


WORKSPACE = text("Workspace", "Directory or fsspec URL. Empty: the event's, else SUPERNOTES_WORKSPACE.")
RUN = text("Run", "Run to continue. Empty: the event's, else the newest of the workspace.")
CONFIG = text("Settings file", "A supernotes.toml readable by the workers.")
SET = Param(
    [], type="array", items={"type": "string"}, title="Settings", description="Single settings, as table.key=value."
)


def every_dag(manual: str) -> dict[str, Any]:
    """Arguments of `@dag` that all our DAGs share: one run at a time, no catching up, the manual, retries, and who is told.

    One retry a minute later, because a killed worker is a task that failed: a retry finds all finished work done. Set
    SUPERNOTES_RETRIES and SUPERNOTES_RETRY_SECONDS for the DAG processor and the workers to have it otherwise.
    """
    return {
        "catchup": False,
        "max_active_runs": 1,
        "doc_md": manual,
        "tags": ["supernotes"],
        "default_args": {
            "on_failure_callback": failed,
            "retries": int(os.environ.get("SUPERNOTES_RETRIES", "1")),
            "retry_delay": timedelta(seconds=float(os.environ.get("SUPERNOTES_RETRY_SECONDS", "60"))),
        },
        "deadline": deadline(),
    }


def starts_on(dag_id: str, *assets: Asset) -> Any:
    """A schedule: an event of every asset named, and besides the times of SUPERNOTES_CRON_<DAG ID> (UTC) if that is set.

    Raises ValueError for what is no cron expression: Airflow itself would find out in the scheduler, not where it was written.
    """
    from croniter import croniter

    variable = f"SUPERNOTES_CRON_{dag_id.upper()}"
    cron = os.environ.get(variable)
    if not cron:
        return list(assets)
    if not croniter.is_valid(cron):
        raise ValueError(f'{variable} = {cron!r} is no cron expression; "0 6 * * *" is every day at six, UTC.')
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone="UTC"), assets=list(assets))


@task
def find_run() -> dict[str, str]:
    """Workspace and run to continue: the parameters', else the triggering event's, else the newest run."""
    context = get_current_context()
    return tasks.run_to_continue(context["params"], context.get("triggering_asset_events") or {})


def moment_of(context: Any) -> Any:
    """The moment a DAG run stands for: its logical date, or when it was due; never the clock of the worker."""
    return context.get("logical_date") or context["dag_run"].run_after
