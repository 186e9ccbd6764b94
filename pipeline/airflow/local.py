"""`make airflow`: a local Airflow with these DAGs, on SQLite in `.airflow`, or on PostgreSQL by AIRFLOW__DATABASE__SQL_ALCHEMY_CONN.

Ours and not `airflow standalone`, which lives on when all of its parts have died, and starts them by a name on PATH.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SERVICES = {
    "api-server": "api-server --apps core",
    "task-api-server": "api-server --apps execution",
    "dag-processor": "dag-processor",
    "scheduler": "scheduler",
    "triggerer": "triggerer",
}
"""The parts, each with its `airflow` command. People and tasks have a server each: one process for both waits for itself on SQLite,
where a task's open transaction cannot end while the audit log's own, in the same event loop, waits for it."""
PATIENCE = 240  # seconds until every part must be at work; the first start compiles


def environment_of(home: Path, workspace: Path, port: int, task_port: int) -> dict[str, str]:
    """What the parts are started with; what is set already stays, but for the addresses."""
    from pipeline.airflow import home as airflow_home
    from pipeline.console import sample_directory

    base, sample = f"http://127.0.0.1:{port}", sample_directory()
    passwords = home.resolve() / "passwords.json"
    defaults = {
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
        "SUPERNOTES_WORKSPACE": str(workspace.resolve()),
    }
    if "SUPERNOTES_INPUT" not in os.environ:  # the bundled sample, whose posts are all of one summer
        defaults |= {
            "SUPERNOTES_INPUT": str(sample),
            "SUPERNOTES_POSTS": str(sample / "posts.jsonl"),
            "SUPERNOTES_AGE_WINDOW_DAYS": "0",
        }
    environment = defaults | dict(os.environ)
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{task_port}/execution/",
    }
    airflow_home.prepare(home, environment)
    if not passwords.exists():
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({"admin": secrets.token_urlsafe(12)}) + "\n")
    return environment


def main() -> None:
    """Start all parts, say where and with which password, and stay until Ctrl-C or until one of them ends."""
    from pipeline.console import say

    parser = argparse.ArgumentParser(prog="make airflow", description=__doc__)
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--airflow-home", default=".airflow")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    home = Path(arguments.airflow_home)
    task_port = free_port()
    environment = environment_of(home, Path(arguments.workspace), arguments.port, task_port)
    if taken(arguments.port):
        say(f"error: port {arguments.port} is taken. Stop what uses it, or: make airflow ARGS='--port 8081'")
        sys.exit(2)
    airflow = str(Path(sys.executable).with_name("airflow"))
    say("Airflow: preparing its database")
    made = subprocess.run([airflow, "db", "migrate"], env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        say(f"error: Airflow's database could not be prepared:\n{made.stderr[-3000:]}")
        sys.exit(1)
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit(0))
    parts: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service, command in SERVICES.items():
            words = [airflow, *command.split(), *(["--port", str(task_port)] if service == "task-api-server" else [])]
            with (home / f"{service}.log").open("wb") as log:
                parts[service] = subprocess.Popen(
                    words, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        say(f"Airflow: starting its {len(parts)} parts")
        started, ready = time.monotonic(), False
        while not (ended := {name: part.returncode for name, part in parts.items() if part.poll() is not None}):
            if not ready and (ready := taken(task_port) and at_work(arguments.port)):
                password = json.loads((home / "passwords.json").read_text())["admin"]
                say(
                    f"Airflow: {environment['AIRFLOW__API__BASE_URL']}  user admin, password {password}  (stop with Ctrl-C)"
                )
                say(f"Logs of its parts: {home}/*.log; workspace: {environment['SUPERNOTES_WORKSPACE']}")
            if not ready and time.monotonic() - started > PATIENCE:
                say(f"error: not every part was at work after {PATIENCE} s; see {home}/*.log")
                sys.exit(1)
            time.sleep(1)
        for service, code in ended.items():
            say(f"error: {service} ended with {code}; all parts are stopped. The end of {home}/{service}.log:")
            say((home / f"{service}.log").read_text(errors="replace")[-2000:])
        sys.exit(1)
    except KeyboardInterrupt:
        say("Airflow: stopping")
    finally:
        stop(parts)


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def at_work(port: int) -> bool:
    """Whether the API server answers and every other part has given a sign of life."""
    import httpx

    try:
        health = httpx.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return False
    return all(
        (health.get(part) or {}).get("status") == "healthy" for part in ("scheduler", "triggerer", "dag_processor")
    )


def stop(parts: dict[str, subprocess.Popen[bytes]]) -> None:
    """End every part with all below it: first asked, after ten seconds made to."""
    for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for part in parts.values():
            try:
                os.killpg(part.pid, sign)
            except ProcessLookupError:
                continue
        end = time.monotonic() + patience
        while time.monotonic() < end and any(part.poll() is None for part in parts.values()):
            time.sleep(0.1)


if __name__ == "__main__":
    main()
