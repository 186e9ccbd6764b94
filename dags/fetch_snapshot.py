"""Download X's public files of one day.

Runs daily for the day two days before its logical date (X publishes about 48 hours late), waits up to 20 hours for it
without holding a worker, resumes what was interrupted, and skips files that are whole. The snapshot asset's event tells
`refresh_jury` where the files lie. A day that never comes is one failed run and one alert; the next day's run starts
regardless. A backfill of past dates downloads those dates; X keeps only recent ones.

What it does not protect against: a day that X publishes with as many bytes as the day before, and other rows. Gaps, refusals and
a day that shrank are refused with the numbers; `ingest` says what else is doubtful.

Example parameters:

    {"workspace": "/data/supernotes", "date": "2026-11-19"}
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.parts import (
    CONFIG,
    SET,
    SNAPSHOT,
    WORKSPACE,
    as_airflow_says,
    every_dag,
    moment_of,
    options,
    text,
)
from pipeline.airflow.waiting import WaitForDay

PARAMS = {
    "workspace": WORKSPACE,
    "target": text("Target", "Directory or URL for downloads. Empty: downloads/ of the workspace."),
    "date": text("Date", "Day to download, as 2026-11-19. Empty: two days before the logical date."),
    "config": CONFIG,
    "set": SET,
}


@dag(schedule="@daily", params=PARAMS, is_paused_upon_creation=True, **every_dag(__doc__))
def fetch_snapshot():
    @task(**options("find_day"))
    def find_day() -> str:
        context = get_current_context()
        return context["params"]["date"] or (moment_of(context) - timedelta(days=2)).strftime("%Y-%m-%d")

    @task(retries=6, retry_delay=timedelta(minutes=30), outlets=[SNAPSHOT], **options("fetch"))
    @as_airflow_says()
    def fetch(date: str) -> dict[str, str]:
        context = get_current_context()
        fetched = tasks.fetch_snapshot(context["params"], date)
        context["outlet_events"][SNAPSHOT].extra = fetched
        return fetched

    day = find_day()
    wait = WaitForDay(task_id="wait_for_files", date=day, interval=600, timeout=timedelta(hours=20), retries=0)
    wait >> fetch(day)


fetch_snapshot()
