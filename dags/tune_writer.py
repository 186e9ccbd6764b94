"""Tune the writing model on a run's export, compare it with the untuned one, and promote it if it won and a person agrees.

`tune_writer` -> `compare_writers` -> `decide` (skips the rest when the comparison refused the new writer, and logs why)
-> `approve` (a person; holds no worker) -> `promote`. The settings must name a model back end and the base model:

    [draft_candidates]
    backend = "transformers"
    model = "/models/writer"
    [tune_writer]
    base_model = "/models/writer"

What it does not protect against: a jury that is wrong on both sides alike. The gold jury has other raters and another encoder
than the one that taught the writer, but it is a model, too; read some of both writers' drafts before you approve.

Example parameters:

    {"workspace": "/data/supernotes", "run": "0123456789ab", "config": "/etc/supernotes.toml"}
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks

WRITER = Asset(name="supernotes_writer", uri="supernotes://models/writer")

PARAMS = {
    "workspace": Param("", type="string", title="Workspace", description="Directory. Empty: SUPERNOTES_WORKSPACE."),
    "run": Param(
        "", type="string", title="Run", description="Run whose export teaches. Empty: the newest of the workspace."
    ),
    "config": Param("", type="string", title="Settings file", description="A supernotes.toml readable by the workers."),
    "set": Param(
        [], type="array", items={"type": "string"}, title="Settings", description="Single settings, as table.key=value."
    ),
}


@dag(schedule=None, catchup=False, max_active_runs=1, params=PARAMS, doc_md=__doc__, tags=["supernotes"])
def tune_writer():
    @task
    def find_run() -> dict[str, str]:
        return tasks.run_to_continue(get_current_context()["params"], {})

    @task(task_id="tune_writer")
    def tune(work: dict[str, str]) -> str:
        return tasks.tune_writer(get_current_context()["params"], work)

    @task
    def compare_writers(work: dict[str, str], writer: str) -> dict[str, Any]:
        return tasks.compare_writers(get_current_context()["params"], work, writer)

    @task.short_circuit
    def decide(comparison: dict[str, Any]) -> bool:
        print(f"{comparison['decision']}: {comparison.get('reason', '')}")
        return comparison["decision"] == "promote"

    @task(outlets=[WRITER])
    def promote(work: dict[str, str], writer: str, comparison: dict[str, Any]) -> dict[str, Any]:
        return tasks.promote_writer(work, writer, comparison)

    work = find_run()
    writer = tune(work)
    comparison = compare_writers(work, writer)
    approve = ApprovalOperator(
        task_id="approve",
        subject="Promote the tuned writer?",
        body="It won before the gold jury: {{ ti.xcom_pull(task_ids='compare_writers') }}",
        response_timeout=timedelta(days=7),
    )
    decide(comparison) >> approve >> promote(work, writer, comparison)


tune_writer()
