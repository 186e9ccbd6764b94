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
from pipeline.airflow.alerts import Asked
from pipeline.airflow.links import linked
from pipeline.airflow.parts import (
    CONFIG,
    RUN,
    SET,
    WORKSPACE,
    WRITER,
    as_airflow_says,
    every_dag,
    find_run,
    options,
    work_of,
)

PARAMS = {"workspace": WORKSPACE, "run": RUN, "config": CONFIG, "set": SET}


@dag(schedule=None, params=PARAMS, **every_dag(__doc__) | {"deadline": None})
def tune_writer():
    @task(task_id="tune_writer", **options("tune_writer"))
    @as_airflow_says()
    def tune() -> str:
        context = get_current_context()
        return tasks.tune_writer(context["params"], work_of(context))

    @task(**{"pool": tasks.POOL} | options("compare_writers"))
    @as_airflow_says()
    def compare_writers(writer: str) -> dict[str, Any]:
        context = get_current_context()
        return tasks.compare_writers(context["params"], work_of(context), writer)

    @task.short_circuit
    def decide(comparison: dict[str, Any]) -> bool:
        print(f"{comparison['decision']}: {comparison.get('reason', '')}")
        return comparison["decision"] == "promote"

    @task(outlets=[WRITER], **options("promote"))
    @as_airflow_says()
    def promote() -> dict[str, Any]:
        context = get_current_context()
        writer, comparison = (context["ti"].xcom_pull(task_ids=name) for name in ("tune_writer", "compare_writers"))
        return tasks.promote_writer(work_of(context), writer, comparison)

    writer = tune()
    comparison = compare_writers(writer)
    find_run() >> writer
    approve = ApprovalOperator(
        task_id="approve",
        subject="Promote the tuned writer?",
        body="It won before the gold jury: {{ ti.xcom_pull(task_ids='compare_writers') }}",
        response_timeout=timedelta(days=7),
        notifiers=[Asked()],
    )
    decide(comparison) >> approve >> promote()


linked(tune_writer())
