"""Airflow plugin: the analysts' app inside Airflow, and a link from each task instance to its run's page.

The app is mounted under `/supernotes` of Airflow's API server with its own accounts: being logged in to Airflow does
not log anybody in here. It is built on the first request, because every Airflow process loads plugins and none of the
others needs it. Set SUPERNOTES_INSPECTOR_URL where the app runs on its own instead.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

PREFIX = "/supernotes"
_RUN = re.compile(r"(?:^|/)runs/([0-9a-f]{12})(?:/|$)")


class LazyInspector:
    """An ASGI application that becomes the inspector on its first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if self._app is None:
            from pipeline.inspecting import build

            self._app = build(
                os.environ.get("SUPERNOTES_WORKSPACE", "workspace"), os.environ.get("SUPERNOTES_DATABASE_URL")
            )
        await self._app(scope, receive, send)


class RunLink(BaseOperatorLink):
    """The page of the run that a task worked on: every stage's counts, the scores, where every post went.

    Airflow's API server asks for it. The run is read from what the task returned (a path below `runs/ID/`), else from what the
    DAG run's task `find_run` or `describe_run` returned; a task that has neither, of anybody's DAG, gets no link.
    """

    name = "Supernotes run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        values = _returned(ti_key)
        run = run_in(values.get(ti_key.task_id)) or next(
            (run for task in ("find_run", "describe_run") if (run := run_in(values.get(task)))), None
        )
        base = os.environ.get("SUPERNOTES_INSPECTOR_URL", PREFIX).rstrip("/")
        return f"{base}/runs/{run}" if run else ""


def run_in(returned: Any) -> str | None:
    """The run's id in what one of our tasks returned: a path `.../runs/ID/...`, or {"run_id": ID}; else None."""
    if isinstance(returned, dict):
        returned = f"runs/{returned.get('run_id', '')}/"
    found = _RUN.search(returned) if isinstance(returned, str) else None
    return found[1] if found else None


def _returned(ti_key: Any) -> dict[str, Any]:
    """What the task and the run-describing tasks of its DAG run returned, by task id."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = session.execute(
            XComModel.get_many(
                key="return_value",
                run_id=ti_key.run_id,
                dag_ids=ti_key.dag_id,
                task_ids=[ti_key.task_id, "find_run", "describe_run"],
            ).with_only_columns(XComModel.task_id, XComModel.map_index, XComModel.value)
        ).all()
    found: dict[str, Any] = {}
    for task_id, map_index, value in rows:
        if map_index in (-1, ti_key.map_index):
            try:
                found[task_id] = json.loads(value) if isinstance(value, str) else value
            except json.JSONDecodeError:
                found[task_id] = value
    return found


class SupernotesPlugin(AirflowPlugin):
    name = "supernotes"
    fastapi_apps = [{"app": LazyInspector(), "url_prefix": PREFIX, "name": "Supernotes inspector"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Supernotes",
            "href": os.environ.get("SUPERNOTES_INSPECTOR_URL", f"{PREFIX}/"),
            "destination": "nav",
            "url_route": "supernotes-inspector",
            "category": "browse",
        }
    ]
    global_operator_extra_links = [RunLink()]  # noqa: RUF012
