"""Builds and starts the analysts' web app on a workspace."""

from __future__ import annotations

from typing import Any


def build(workspace: str, database: str | None = None, host: str = "127.0.0.1", port: int = 8765, **more: Any) -> Any:
    """The web app as an ASGI application. `more`: further fields of `InspectorSettings`.

    Raises `InputError` for a remote workspace or settings that do not fit each other.
    """
    from inspector.app import create_app

    return create_app(settings_for(workspace, database, host, port, **more))


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
        return InspectorSettings(workspace=str(home), database_url=url, host=host, port=port, **more)
    except Unfit as error:
        raise InputError(str(error)) from error


def serve(workspace: str, host: str, port: int, database: str | None, **more: Any) -> None:
    """Serve the inspector until stopped. Bound to loopback unless told otherwise."""
    import inspector.app

    inspector.app.serve(settings_for(workspace, database, host, port, **more))


def add_user(workspace: str, database: str | None, name: str, role: str, password: str) -> None:
    """Add an account to the inspector's store. Raises `InputError` for a name, role or password that will not do."""
    import time

    from inspector import accounts
    from inspector.database import open_database
    from nouns.errors import InputError, Refused
    from nouns.errors import InputError as Unfit

    settings = settings_for(workspace, database, "127.0.0.1", 8765)
    try:
        accounts.add_user(open_database(settings.database), name, role, password, time.time_ns() // 1_000_000)
    except (Unfit, Refused) as error:
        raise InputError(str(error)) from error
