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
from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.parts import CONFIG, RUN, SET, WORKSPACE, WRITER, every_dag, find_run

PARAMS = {"workspace": WORKSPACE, "run": RUN, "config": CONFIG, "set": SET}


@dag(schedule=None, params=PARAMS, **every_dag(__doc__))
def tune_writer():
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
