"""Builds and starts the analysts' web app on a workspace."""

from __future__ import annotations

from typing import Any


def build(workspace: str, database: str | None = None, host: str = "127.0.0.1", port: int = 8765) -> Any:
    """The web app as an ASGI application. Raises `InputError` for a remote workspace."""
    from inspector.app import create_app

    return create_app(settings_for(workspace, database, host, port))


def settings_for(workspace: str, database: str | None, host: str, port: int) -> Any:
    """The app's settings. Raises `InputError` for a remote workspace."""
    from inspector.settings import InspectorSettings
    from pipeline.errors import InputError
    from pipeline.store import Store

    store = Store(workspace)
    if store.remote:
        raise InputError(
            "The inspector reads a local workspace. Copy the runs to a local directory, or mount the object store."
        )
    home = store.home.resolve()
    url = database or f"sqlite:///{home / 'decisions.sqlite'}"
    return InspectorSettings(workspace=str(home), database_url=url, host=host, port=port)


def serve(workspace: str, host: str, port: int, database: str | None) -> None:
    """Serve the inspector until stopped. Bound to loopback unless told otherwise."""
    import inspector.app

    inspector.app.serve(settings_for(workspace, database, host, port))
