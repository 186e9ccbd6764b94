"""Ask a person whether an export is to become the workspace's current one; then name it so.

`export_training_data` asks for a run for every export it has written, once. A run that waits (up to seven days) holds no
worker and holds up nothing; who is to be told are the functions in SUPERNOTES_NOTIFIERS. Approved exports are named in
the order of their approvals: approve the newest last.

What it does not protect against: an approval without a look. Read the folder's README.md and the surface report of
build_pairs before.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab", "path": "exports/ba9876543210"}
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.alerts import Asked
from pipeline.airflow.links import linked
from pipeline.airflow.parts import EXPORT, RUN, WORKSPACE, as_airflow_says, every_dag, find_run, options, text, work_of

PARAMS = {
    "workspace": WORKSPACE,
    "run": RUN,
    "path": text("Export", "Folder of the export in the workspace. Empty: the run's."),
}


@dag(schedule=None, params=PARAMS, **every_dag(__doc__) | {"max_active_runs": 16, "deadline": None})
def publish_export():
    @task(outlets=[EXPORT], **options("publish"))
    @as_airflow_says()
    def publish() -> str:
        context = get_current_context()
        work = work_of(context)
        path = tasks.publish_export(work, context["params"]["path"])
        context["outlet_events"][EXPORT].extra = work | {"path": path}
        return path

    approve = ApprovalOperator(
        task_id="approve",
        subject="Publish this export of preference data?",
        body="Folder: {{ params.path or 'the export of the run' }} of run {{ ti.xcom_pull(task_ids='find_run')['run_id'] }}. "
        "Read its README.md and the surface report of build_pairs first.",
        response_timeout=timedelta(days=7),
        notifiers=[Asked()],
    )
    find_run() >> approve >> publish()


linked(publish_export())
