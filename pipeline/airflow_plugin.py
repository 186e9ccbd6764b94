"""Airflow plugin: the analysts' app inside Airflow, and a link from each task instance to its run's page.

The app is mounted under `/supernotes` of Airflow's API server with its own accounts: being logged in to Airflow does
not log anybody in here. It is built on the first request, because every Airflow process loads plugins and none of the
others needs it. Set SUPERNOTES_INSPECTOR_URL where the app runs on its own instead.
"""

from __future__ import annotations

import os
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import BaseOperatorLink

PREFIX = "/supernotes"


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
    """The page of the run that a task worked on."""

    name = "Supernotes run"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from airflow.sdk.execution_time.xcom import XCom

        base = os.environ.get("SUPERNOTES_INSPECTOR_URL", PREFIX).rstrip("/")
        try:
            run = XCom.get_one(
                key="supernotes_run",
                dag_id=ti_key.dag_id,
                task_id=ti_key.task_id,
                run_id=ti_key.run_id,
                map_index=ti_key.map_index,
            )
        except Exception:
            run = None
        return f"{base}/runs/{run}" if run else f"{base}/runs"


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
