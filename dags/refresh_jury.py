"""Refresh the jury from a snapshot of X's public files.

Starts when `fetch_snapshot` brought new files (the asset's event names the directory), by hand with parameters, or also
by time: SUPERNOTES_CRON_REFRESH_JURY="0 4 * * *" (UTC; set for the DAG processor).

`take_events` (each event gets a run of its own, in their order; `queue_events` asks for the others' runs) -> `wait_for_input`
(until the directory or URL exists; holds no worker) -> `describe_run` -> `ingest` -> `fit_raters` -> `train_jury`. A finished stage is never repeated: clearing a task reruns it only if its
inputs or settings changed. The jury is refused by its own gate (the task fails, the old jury stays in use) when it
predicts unseen posts no better than the raters' intercepts alone.

What it does not protect against: a snapshot that is old, or one from which X has deleted rows since. Counts of rejected
rows stand in the manifest of `ingest`; look there first when numbers jump.

Only posts whose newest note is younger than the age window (counted from the snapshot's own newest note) get supernotes;
the others abstain with `outside_age_window`.

Example parameters:

    {"input": "/data/x/2026-02-01", "workspace": "s3://team/supernotes", "as_of": "2026-02-01"}
"""

from __future__ import annotations

from airflow.sdk import Param, dag, get_current_context, task, task_group

from nouns.stages import stages_of
from pipeline import tasks
from pipeline.airflow.events import event_of, take_events
from pipeline.airflow.links import linked
from pipeline.airflow.parts import (
    CONFIG,
    JURY,
    SET,
    SNAPSHOT,
    WORKSPACE,
    as_airflow_says,
    every_dag,
    moment_of,
    options,
    stage_task,
    stage_tasks,
    starts_on,
    text,
)
from pipeline.airflow.waiting import WaitForInput

PARAMS = {
    "input": text("Input", "Directory or URL of X's public files. Empty: the event's, else SUPERNOTES_INPUT."),
    "posts": text("Post texts", "Table of post texts (Parquet, JSONL, CSV), path or URL. Empty: SUPERNOTES_POSTS."),
    "workspace": WORKSPACE,
    "as_of": text("As of", "Use only rows created before this ISO 8601 time; 'logical_date': the run's. Empty: all."),
    "age_window_days": Param(
        tasks.AGE_WINDOW_DAYS, type="integer", minimum=0, title="Age window, days",
        description="Posts without a note this young get no supernote; counted from the newest note. 0: all posts.",
    ),
    "raters": text("Raters", "Rater parameters to adopt instead of fitting. Empty: fit."),
    "jury": text("Jury", "A trained jury to use instead of training one. Empty: train."),
    "config": CONFIG,
    "set": SET,
}  # fmt: skip


@dag(schedule=starts_on("refresh_jury", SNAPSHOT), params=PARAMS, **every_dag(__doc__))
def refresh_jury():
    @task(**options("describe_run"))
    @as_airflow_says()
    def describe_run() -> dict[str, str]:
        context = get_current_context()
        return tasks.describe_run(context["params"], event_of(context), moment_of(context))

    ingest, *others = stages_of("refresh_jury")

    @task_group(prefix_group_id=False)
    def snapshot() -> None:
        WaitForInput(task_id="wait_for_input", interval=60) >> describe_run() >> stage_task(ingest)

    @task_group(prefix_group_id=False)
    def jury() -> None:
        stage_tasks(others, outlets=(JURY,))

    take_events(SNAPSHOT) >> snapshot() >> jury()


linked(refresh_jury())
