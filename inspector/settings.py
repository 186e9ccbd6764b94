"""Settings of the inspector, and the one place that derives addresses from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nouns.errors import InputError

Assess = Callable[[str, str, int, str], dict[str, Any]]
"""`assess(workspace, run_id, post_id, text)`: checks and jury on one edited text. The shape stands in the README."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class InspectorSettings:
    """How the inspector is served. Secrets are never settings: the setup code and tokens are made and only hashes kept."""

    workspace: str = "workspace"  # local directory or fsspec URL with the runs
    database_url: str | None = None  # SQLAlchemy URL of the decisions; None: SQLite in <workspace>/decisions.sqlite
    host: str = "127.0.0.1"  # address to bind; anything but loopback needs accounts or a proxy
    port: int = 8765
    workers: int = 2  # server processes; the stores are safe for several
    allowed_hosts: tuple[str, ...] = ()  # further Host names to answer to (against DNS rebinding); '*' for any
    https: bool = False  # behind TLS: cookies are marked Secure
    single_user: str | None = None  # name of the only analyst: nobody signs in; refused unless bound to loopback
    proxy_user_header: str | None = (
        None  # header in which a trusted reverse proxy names the user, e.g. X-Forwarded-User
    )
    proxy_addresses: tuple[str, ...] = ("127.0.0.1", "::1")  # peers whose header is believed
    proxy_default_role: str = "viewer"  # role of a user first seen in that header
    session_hours: int = 12  # a session ends this long after sign-in
    login_failures: int = 5  # failures per name and address within login_window before further tries wait
    login_window: int = 300  # seconds
    assess: Assess | None = field(default=None, repr=False)  # checks and jury for edited texts; None: not available
    frame_ancestors: str = "'none'"  # who may show the app in a frame: 'none', 'self', or origins (CSP's words)
    index_threshold: int = 3_000  # runs up to this many posts are indexed while the first page waits; larger ones aside

    def __post_init__(self) -> None:
        if self.proxy_default_role not in ("viewer", "analyst", "admin"):
            raise InputError(
                f"proxy_default_role = {self.proxy_default_role!r} is not a role; choose 'viewer', 'analyst' or 'admin'."
            )
        if self.single_user and self.host not in LOOPBACK:
            raise InputError(
                f"single_user = {self.single_user!r} lets everyone in without a password, so it is allowed on loopback only, "
                f"but host = {self.host!r}. Bind to 127.0.0.1 or use accounts."
            )
        if self.single_user and self.proxy_user_header:
            raise InputError("single_user and proxy_user_header exclude each other; give one of them.")

    @property
    def brake(self) -> tuple[int, int]:
        """(failures, seconds): so many failed sign-ins within so long, and further tries wait."""
        return self.login_failures, self.login_window

    @property
    def home(self) -> Path:
        """Where the inspector keeps what it can make again: the index, and the first account's code."""
        from storage.store import Store

        return Store(self.workspace).home.resolve() / "inspector"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite:///{self.home.parent / 'decisions.sqlite'}"
