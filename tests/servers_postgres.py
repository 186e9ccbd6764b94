"""A PostgreSQL cluster for one test session, started from the binaries that are there and thrown away afterwards.

Import the fixture where it is needed: `from tests.servers_postgres import postgres_url`. Where PostgreSQL is not
installed the tests skip and say so. The cluster listens on a Unix socket and a free loopback port, and runs as an
unprivileged user when the tests run as root, because the server refuses root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def find_binaries() -> Path | None:
    """The directory with initdb and postgres, the newest version first; None where there is none."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("initdb")
    for place in [*places, *([Path(on_path).resolve().parent] if on_path else [])]:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return None


def unprivileged() -> pwd.struct_passwd | None:
    """The user to run the server as: None means the present one will do."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    pytest.skip("PostgreSQL refuses to run as root and there is no other user to run it as")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """A running server; yields the URL of its empty database `postgres`."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed here (no initdb in /usr/lib/postgresql/*/bin or on the PATH)")
    user = unprivileged()
    home = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        home.chmod(0o755)
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user is not None else {}
        data, port = home / "data", free_port()
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(home)}
        make = [str(binaries / "initdb"), "-D", str(data), "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(make, check=True, env=environment, cwd=home, stdout=subprocess.DEVNULL, **identity)
        options = f"-p {port} -k {home} -h 127.0.0.1 -c fsync=off -c max_connections=80"
        control = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-t", "60", "-l", str(home / "log")]
        subprocess.run(
            [*control, "-o", options, "start"],
            check=True,
            env=environment,
            cwd=home,
            stdout=subprocess.DEVNULL,
            **identity,
        )
        try:
            yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"],
                check=False,
                env=environment,
                cwd=home,
                stdout=subprocess.DEVNULL,
                **identity,
            )
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of its own for one test."""
    import sqlalchemy as sa

    name = "t" + str(abs(hash(request.node.nodeid)))[:12]
    admin = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield postgres_server.rsplit("/", 1)[0] + "/" + name
    finally:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        admin.dispose()
