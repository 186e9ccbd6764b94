"""Refresh the jury from a snapshot of X's public files.

Starts when `fetch_snapshot` brought new files (the asset's event names the directory), or by hand with parameters.

`ingest` -> `fit_raters` -> `train_jury`. A finished stage is never repeated: clearing a task reruns it only if its
inputs or settings changed. The jury is refused by its own gate (the task fails, the old jury stays in use) when it
predicts unseen posts no better than the raters' intercepts alone.

What it does not protect against: a snapshot that is old, or one from which X has deleted rows since. Counts of rejected
rows stand in the manifest of `ingest`; look there first when numbers jump.

Example parameters:

    {"input": "/data/x/2026-02-01", "workspace": "s3://team/supernotes", "as_of": "2026-02-01"}
"""

from __future__ import annotations

from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks

SNAPSHOT = Asset(name="supernotes_snapshot", uri="supernotes://input")
JURY = Asset(name="supernotes_jury", uri="supernotes://models/jury")

PARAMS = {
    "input": Param(
        "", type="string", title="Input", description="Directory or URL of X's public files. Empty: SUPERNOTES_INPUT."
    ),
    "posts": Param(
        "", type="string", title="Post texts", description="Optional table of post texts (Parquet, JSONL or CSV)."
    ),
    "workspace": Param(
        "", type="string", title="Workspace", description="Directory or fsspec URL. Empty: SUPERNOTES_WORKSPACE."
    ),
    "as_of": Param(
        "", type="string", title="As of", description="Use only rows created before this ISO 8601 time. Empty: all."
    ),
    "raters": Param(
        "", type="string", title="Raters", description="Rater parameters to adopt instead of fitting. Empty: fit."
    ),
    "jury": Param(
        "", type="string", title="Jury", description="A trained jury to use instead of training one. Empty: train."
    ),
    "config": Param("", type="string", title="Settings file", description="A supernotes.toml readable by the workers."),
    "set": Param(
        [], type="array", items={"type": "string"}, title="Settings", description="Single settings, as table.key=value."
    ),
}


@dag(schedule=[SNAPSHOT], catchup=False, max_active_runs=1, params=PARAMS, doc_md=__doc__, tags=["supernotes"])
def refresh_jury():
    @task
    def describe_run() -> dict[str, str]:
        context = get_current_context()
        return tasks.describe_run(context["params"], context.get("triggering_asset_events") or {})

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
    ingest(work) >> fit_raters(work) >> train_jury(work)


refresh_jury()
