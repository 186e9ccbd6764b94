"""Builds and starts the analysts' web app on a workspace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any


def build(
    workspace: str,
    database: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    who: Callable[[Any], tuple[str, str] | None] | None = None,
    **more: Any,
) -> Any:
    """The web app as an ASGI application. `more`: further fields of `InspectorSettings`.

    `who`: gives (name, role) of whoever sends a request, or None; for an application that mounts this one.

    Raises `InputError` for a remote workspace or settings that do not fit each other.
    """
    from inspector.app import create_app

    return create_app(settings_for(workspace, database, host, port, **more), who=who)


def settings_for(workspace: str, database: str | None, host: str, port: int, **more: Any) -> Any:
    """The app's settings. Raises `InputError` for a remote workspace or settings that do not fit each other."""
    from inspector.settings import InspectorSettings
    from nouns.errors import InputError
    from nouns.errors import InputError as Unfit
    from storage.store import Store

    store = Store(workspace)
    if store.remote:
        raise InputError(
            "The inspector reads a local workspace. Copy the runs to a local directory, or mount the object store."
        )
    home = store.home.resolve()
    url = database or f"sqlite:///{home / 'decisions.sqlite'}"
    try:
        return InspectorSettings(
            workspace=str(home), database_url=url, host=host, port=port, **{"assess": assess, **more}
        )
    except Unfit as error:
        raise InputError(str(error)) from error


def serve(workspace: str, host: str, port: int, database: str | None, **more: Any) -> None:
    """Serve the inspector until stopped. Bound to loopback unless told otherwise."""
    import json
    import os
    import socket
    import sys

    import uvicorn

    from inspector.app import first_visit
    from nouns.errors import InputError

    settings = settings_for(workspace, database, host, port, **more)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise InputError(
            f"The inspector cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from error
    # The processes that uvicorn starts are handed nothing but their environment.
    os.environ[ASKED] = json.dumps([workspace, database, host, port, more])
    print(first_visit(settings), file=sys.stderr)
    options: dict[str, Any] = {"log_level": "warning", "server_header": False, "access_log": False}
    uvicorn.run("pipeline.inspecting:asked", factory=True, host=host, port=port, workers=settings.workers, **options)


ASKED = "SUPERNOTES_INSPECTOR_ASKED"


def asked() -> Any:
    """The app as `serve` was asked for it, made anew in each server process."""
    import json
    import os

    workspace, database, host, port, more = json.loads(os.environ[ASKED])
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in more.items()}
    return build(workspace, database, host, port, None, **fields)


def add_user(workspace: str, database: str | None, name: str, role: str, password: str) -> None:
    """Add an account to the inspector's store. Raises `InputError` for a name, role or password that will not do."""
    import time

    from inspector.decide import accounts
    from inspector.decide.database import open_database
    from nouns.errors import InputError, Refused
    from nouns.errors import InputError as Unfit

    settings = settings_for(workspace, database, "127.0.0.1", 8765)
    try:
        accounts.add_user(open_database(settings.database), name, role, password, time.time_ns() // 1_000_000)
    except (Unfit, Refused) as error:
        raise InputError(str(error)) from error


@functools.lru_cache(maxsize=4)
def _machine(workspace: str, run_id: str) -> Any:
    from pipeline.machine import Machine

    return Machine.of_run(f"{workspace}/runs/{run_id}")


def assess(workspace: str, run_id: str, post_id: int, text: str) -> dict[str, Any]:
    """Checks and jury on one text of a run's post; the machine is kept between texts and brings the jury with it."""
    machine = _machine(workspace, run_id)
    return machine.assess(machine.post(int(post_id)), text)


def write_decisions(workspace: str, database: str | None, out: Path, run_id: str | None) -> int:
    """Write the whole history of decisions (of one run, or all) as Parquet; returns how many rows."""
    from inspector.decide.decisions import write_decisions

    return write_decisions(out, settings_for(workspace, database, "127.0.0.1", 8765).database, run_id)


def write_publication(workspace: str, database: str | None, run_id: str, out: Path) -> dict[str, int]:
    """Write what may be published of a run as JSON lines, and what is withheld beside it as `withheld.jsonl`.

    Gives how many of each. Raises `InputError` for an unknown run.
    """
    from inspector.decide.database import open_database
    from inspector.read.runs import Workspace
    from inspector.report.reports import write_publication
    from nouns.errors import InputError, Refused

    settings = settings_for(workspace, database, "127.0.0.1", 8765)
    try:
        return write_publication(Workspace(settings.workspace), open_database(settings.database), run_id, out)
    except Refused as error:
        raise InputError(error.message) from error
