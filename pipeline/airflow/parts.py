"""What the DAG files have in common: their assets, parameters, alerts, and the tasks that find what to work on.

Wiring stays in the DAG files; here stand the words it is written in. Imports airflow and nothing heavy.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from nouns.errors import GateFailed, InputError, NothingToDo
from nouns.stages import BY_NAME
from pipeline import tasks
from pipeline.airflow.alerts import deadline, failed
from pipeline.airflow.connections import use_connections

SNAPSHOT = Asset(name="supernotes_snapshot", uri="supernotes://input")
JURY = Asset(name="supernotes_jury", uri="supernotes://models/jury")
SELECTIONS = Asset(name="supernotes_selections", uri="supernotes://runs/selections")
EXPORT = Asset(name="supernotes_export", uri="supernotes://exports")
WRITER = Asset(name="supernotes_writer", uri="supernotes://models/writer")


def text(title: str, description: str) -> Param:
    """A parameter that is a string and may be left empty in the trigger form."""
    return Param(None, type=["null", "string"], title=title, description=description)


WORKSPACE = text("Workspace", "Directory or fsspec URL. Empty: the event's, else SUPERNOTES_WORKSPACE.")
RUN = text("Run", "Run to continue. Empty: the event's, else the newest of the workspace.")
CONFIG = text("Settings file", "A supernotes.toml readable by the workers.")
SET = Param(
    None,
    type=["null", "array"],
    items={"type": "string"},
    title="Settings",
    description="Single settings, one a line, as table.key=value.",
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


def options(task_id: str) -> dict[str, Any]:
    """Where and how long a task runs: its part of SUPERNOTES_TASKS, and the model server's pool for what calls the model.

    SUPERNOTES_TASKS is JSON by task id, read by the DAG processor and the workers:
    `{"train_jury": {"queue": "gpu", "execution_timeout": 7200, "executor_config": {...}}}` (seconds; also `pool`, `retries`).
    Raises ValueError for what is none of these.
    """
    found = json.loads(os.environ.get("SUPERNOTES_TASKS") or "{}").get(task_id, {})
    known = {"queue", "pool", "retries", "execution_timeout", "executor_config"}
    if unknown := sorted(set(found) - known):
        raise ValueError(
            f"SUPERNOTES_TASKS.{task_id}: {', '.join(unknown)} is not known; known: {', '.join(sorted(known))}."
        )
    if "execution_timeout" in found:
        found["execution_timeout"] = timedelta(seconds=float(found["execution_timeout"]))
    calls_model = task_id in BY_NAME and BY_NAME[task_id].calls_model
    return ({"pool": tasks.POOL} if calls_model else {}) | found


@contextlib.contextmanager
def as_airflow_says() -> Iterator[None]:
    """Our errors in Airflow's terms: bad input and a failed gate fail without a retry, nothing to do is skipped.

    Before the work, Airflow's Connections are read. As a decorator it stands below `@task`.
    """
    use_connections()
    try:
        yield
    except NothingToDo as error:
        raise AirflowSkipException(str(error)) from error
    except (InputError, GateFailed) as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def stage_task(stage: str, outlets: tuple[Asset, ...] = ()) -> Any:
    """The task of a whole stage: it runs the stage on the DAG run's run and tells `outlets` where."""

    @task(task_id=stage, outlets=list(outlets), **options(stage))
    @as_airflow_says()
    def run() -> str:
        context = get_current_context()
        work = work_of(context)
        path = tasks.run_stage(work, stage)
        for asset in outlets:
            context["outlet_events"][asset].extra = {**work, "path": path}
        return path

    return run()


def stage_tasks(stages: Iterable[str], outlets: tuple[Asset, ...] = ()) -> list[Any]:
    """The tasks of whole stages, each after the one before; `outlets` hear of the last one's result."""
    names = list(stages)
    made = [stage_task(name, outlets if name == names[-1] else ()) for name in names]
    chain(*made)
    return made


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


@task(**options("find_run"))
@as_airflow_says()
def find_run() -> dict[str, str]:
    """Workspace and run to continue: the parameters', else the event's, else the newest run."""
    from pipeline.airflow.events import event_of

    context = get_current_context()
    return tasks.run_to_continue(context["params"], event_of(context))


def work_of(context: Any) -> dict[str, str]:
    """Workspace and run of a DAG run, as its task `find_run` or `describe_run` found them.

    Pulled and not passed, so that the graph shows what follows what, and not one task that leads to all. Where there is
    none the DAG run has nothing to do and the task is skipped.
    """
    for first in ("find_run", "describe_run"):
        if first in context["dag"].task_ids and (work := context["ti"].xcom_pull(task_ids=first)):
            return work
    raise AirflowSkipException("This DAG run has no run to work on.")


def moment_of(context: Any) -> Any:
    """The moment a DAG run stands for: its logical date, or when it was due; never the clock of the worker."""
    return context.get("logical_date") or context["dag_run"].run_after
