"""Starts the analysts' web app on a workspace."""

from __future__ import annotations

from pathlib import Path


def serve(workspace: str, host: str, port: int, database: str | None) -> None:
    """Serve the inspector until stopped. Bound to loopback unless told otherwise."""
    import uvicorn

    from inspector.app import create_app
    from inspector.settings import InspectorSettings
    from pipeline.errors import InputError
    from pipeline.store import Store

    store = Store(workspace)
    if store.remote:
        raise InputError(
            "The inspector reads a local workspace. Copy the runs to a local directory, or mount the object store."
        )
    url = database or f"sqlite:///{Path(store.home).resolve() / 'decisions.sqlite'}"
    app = create_app(InspectorSettings(workspace=str(store.home.resolve()), database_url=url, host=host, port=port))
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False)
