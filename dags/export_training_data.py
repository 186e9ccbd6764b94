"""Export a finished run's preference data as dataset folders for training tools.

Starts when selections were made (the asset's event names workspace and run), or by hand. Deleted notes are dropped at
export time; post texts are left out unless the settings ask for them. The folder is written first and named as the
current export only after a person has approved it; while it waits it holds no worker.

What it does not protect against: preference data that teaches a surface cue. `build_pairs/report.json` tells how well
a classifier on length, links and punctuation alone tells chosen from rejected; do not approve much above 0.60.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab"}
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.parts import EXPORT, RUN, SELECTIONS, WORKSPACE, every_dag, find_run

PARAMS = {"workspace": WORKSPACE, "run": RUN}


@dag(schedule=[SELECTIONS], params=PARAMS, **every_dag(__doc__))
def export_training_data():
    @task
    def export(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "export")

    @task(outlets=[EXPORT])
    def publish(work: dict[str, str], path: str) -> str:
        get_current_context()["outlet_events"][EXPORT].extra = work | {"path": path}
        return tasks.publish_export(work, path)

    work = find_run()
    path = export(work)
    approve = ApprovalOperator(
        task_id="approve",
        subject="Publish this export of preference data?",
        body="Folder: {{ ti.xcom_pull(task_ids='export') }}. Read its README.md and the surface report of build_pairs first.",
        response_timeout=timedelta(days=7),
    )
    path >> approve >> publish(work, path)


export_training_data()
