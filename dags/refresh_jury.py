"""Refresh the jury from a snapshot of X's public files.

Starts when `fetch_snapshot` brought new files (the asset's event names the directory), by hand with parameters, or also
by time: SUPERNOTES_CRON_REFRESH_JURY="0 4 * * *" (UTC; set for the DAG processor).

`wait_for_input` (until the directory or URL exists; holds no worker) -> `describe_run` -> `ingest` -> `fit_raters` ->
`train_jury`. A finished stage is never repeated: clearing a task reruns it only if its
inputs or settings changed. The jury is refused by its own gate (the task fails, the old jury stays in use) when it
predicts unseen posts no better than the raters' intercepts alone.

What it does not protect against: a snapshot that is old, or one from which X has deleted rows since. Counts of rejected
rows stand in the manifest of `ingest`; look there first when numbers jump.

Example parameters:

    {"input": "/data/x/2026-02-01", "workspace": "s3://team/supernotes", "as_of": "2026-02-01"}
"""

from __future__ import annotations

from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.parts import CONFIG, JURY, SET, SNAPSHOT, WORKSPACE, every_dag, moment_of, starts_on, text
from pipeline.airflow.waiting import WaitForInput

PARAMS = {
    "input": text("Input", "Directory or URL of X's public files. Empty: the event's, else SUPERNOTES_INPUT."),
    "posts": text("Post texts", "Optional table of post texts (Parquet, JSONL or CSV)."),
    "workspace": WORKSPACE,
    "as_of": text("As of", "Use only rows created before this ISO 8601 time; 'logical_date': the run's. Empty: all."),
    "raters": text("Raters", "Rater parameters to adopt instead of fitting. Empty: fit."),
    "jury": text("Jury", "A trained jury to use instead of training one. Empty: train."),
    "config": CONFIG,
    "set": SET,
}


@dag(schedule=starts_on("refresh_jury", SNAPSHOT), params=PARAMS, **every_dag(__doc__))
def refresh_jury():
    @task
    def describe_run() -> dict[str, str]:
        context = get_current_context()
        events = context.get("triggering_asset_events") or {}
        return tasks.describe_run(context["params"], events, moment_of(context))

    @task
    def ingest(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "ingest")

    @task
    def fit_raters(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "fit_raters")

    @task(outlets=[JURY])
    def train_jury(work: dict[str, str]) -> str:
        path = tasks.run_stage(work, "train_jury")
        get_current_context()["outlet_events"][JURY].extra = work | {"jury": path}
        return path

    work = describe_run()
    WaitForInput(task_id="wait_for_input", interval=60) >> work
    ingest(work) >> fit_raters(work) >> train_jury(work)


refresh_jury()
