"""Airflow plugin: the analysts' app inside Airflow, under `/supernotes`, with Airflow's own login.

Whoever may change Connections is an admin there, whoever may trigger DAGs an analyst, whoever may see them a viewer. The app
is built on the first request, because every Airflow process loads plugins and none of the others needs it. Set
SUPERNOTES_INSPECTOR_URL where the app runs on its own instead.
"""

from __future__ import annotations

import os
import re
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/supernotes"
_REPORT = re.compile(r"/runs/([0-9a-f]{12})/report\.html$")


class LazyInspector:
    """An ASGI application that becomes the inspector on its first request, and says who asks."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        from starlette.requests import Request

        if scope["type"] != "http":
            return
        request = Request(scope)
        user = await _user_of(request)
        if user is None and "text/html" in request.headers.get("accept", "") and "/static/" not in scope["path"]:
            await _to_login(request)(scope, receive, send)
            return
        if user and (report := _REPORT.search(scope["path"])):
            await _report(report[1])(scope, receive, send)
            return
        if self._app is None:
            from pipeline.inspecting import build

            self._app = build(
                workspace(),
                os.environ.get("SUPERNOTES_DATABASE_URL"),
                who=lambda asked: asked.scope.get("airflow_user"),
                frame_ancestors="'self'",
                allowed_hosts=("*",),  # Airflow's login is a cookie of its own host
            )
        headers = [(name, value) for name, value in scope["headers"] if not (user and name == b"authorization")]
        await self._app(scope | {"airflow_user": user, "headers": headers}, receive, send)


def workspace() -> str:
    return os.environ.get("SUPERNOTES_WORKSPACE", "workspace")


async def _user_of(request: Any) -> tuple[str, str] | None:
    """Name and role of whoever Airflow's auth manager knows by cookie or token; None for nobody, or one who may see no DAG."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity

    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN, "")
    manager = get_auth_manager()
    try:
        user = await manager.get_user_from_token(token)
    except Exception:  # whatever is wrong with it, it names nobody
        return None
    if not user or not manager.is_authorized_dag(method="GET", user=user):
        return None
    name = re.sub(r"[^\w.@+-]", "_", user.get_name())
    if manager.is_authorized_connection(method="PUT", user=user):
        return name, "admin"
    may_run = manager.is_authorized_dag(method="POST", access_entity=DagAccessEntity.RUN, user=user)
    return name, "analyst" if may_run else "viewer"


def _to_login(request: Any) -> Any:
    from airflow.api_fastapi.app import get_auth_manager
    from starlette.responses import RedirectResponse

    return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), 303)


def _report(run_id: str) -> Any:
    """The page that the task `report` wrote."""
    from starlette.responses import HTMLResponse

    from storage.store import Store

    page = Store(workspace()).read_text(f"runs/{run_id}/report.html")
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    return HTMLResponse(page or "This run's report is not written yet.", 200 if page else 404, policy)


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
