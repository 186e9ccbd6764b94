"""Export a finished run's preference data as dataset folders for training tools.

Starts when selections were made (the asset's event names workspace and run), or by hand. Deleted notes are dropped at
export time; post texts are left out unless the settings ask for them.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab"}
"""

from __future__ import annotations

from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks

CANDIDATES = Asset(name="supernotes_selections", uri="supernotes://runs/selections")
EXPORT = Asset(name="supernotes_export", uri="supernotes://exports")

PARAMS = {
    "workspace": Param(
        "",
        type="string",
        title="Workspace",
        description="Directory or fsspec URL. Empty: the event's, else SUPERNOTES_WORKSPACE.",
    ),
    "run": Param(
        "",
        type="string",
        title="Run",
        description="Run to export. Empty: the event's, else the newest of the workspace.",
    ),
}


@dag(schedule=[CANDIDATES], catchup=False, max_active_runs=1, params=PARAMS, doc_md=__doc__, tags=["supernotes"])
def export_training_data():
    @task
    def find_run() -> dict[str, str]:
        context = get_current_context()
        return tasks.run_to_continue(context["params"], context.get("triggering_asset_events") or {})

    @task(outlets=[EXPORT])
    def export(run: dict[str, str]) -> str:
        path = tasks.run_stage(run["workspace"], run["run_id"], "export")
        get_current_context()["outlet_events"][EXPORT].extra = run | {"path": path}
        return path

    export(find_run())


export_training_data()
