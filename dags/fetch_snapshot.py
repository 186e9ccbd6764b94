"""Download X's public files of one day.

Runs daily for the day two days before its logical date (X publishes about 48 hours late), resumes what was interrupted,
and skips files that are whole. The snapshot asset's event tells `refresh_jury` where the files lie. A backfill of past
dates downloads those dates; X keeps only recent ones.

What it does not protect against: a day that X publishes incompletely. Shards are counted until the first missing
number; the counts stand in `fetch.json` beside the files, and `ingest` refuses files that do not reconcile.

Example parameters:

    {"workspace": "/data/supernotes", "date": "2026-11-19"}
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks

SNAPSHOT = Asset(name="supernotes_snapshot", uri="supernotes://input")

PARAMS = {
    "workspace": Param("", type="string", title="Workspace", description="Directory. Empty: SUPERNOTES_WORKSPACE."),
    "target": Param(
        "", type="string", title="Target", description="Directory for downloads. Empty: downloads/ of the workspace."
    ),
    "date": Param(
        "",
        type="string",
        title="Date",
        description="Day to download, as 2026-11-19. Empty: two days before the logical date.",
    ),
    "config": Param("", type="string", title="Settings file", description="A supernotes.toml readable by the workers."),
    "set": Param(
        [],
        type="array",
        items={"type": "string"},
        title="Settings",
        description="Single settings, as fetch_snapshot.url=...",
    ),
}


@dag(schedule="@daily", catchup=False, max_active_runs=1, params=PARAMS, doc_md=__doc__, tags=["supernotes"])
def fetch_snapshot():
    @task(retries=6, retry_delay=timedelta(minutes=30), outlets=[SNAPSHOT])
    def fetch() -> dict[str, str]:
        context = get_current_context()
        moment = context.get("logical_date") or context["dag_run"].run_after
        date = context["params"]["date"] or (moment - timedelta(days=2)).strftime("%Y-%m-%d")
        fetched = tasks.fetch_snapshot(context["params"], date)
        context["outlet_events"][SNAPSHOT].extra = fetched
        return fetched

    fetch()


fetch_snapshot()
