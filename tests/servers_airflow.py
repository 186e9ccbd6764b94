"""A real Airflow for tests and measurements: its services as processes of their own, reached through the REST API.

API server, scheduler, DAG processor and, as asked, triggerer and Celery workers, with a database of their own in a
temporary AIRFLOW_HOME. Runs are triggered, waited for and cleared over HTTP with a token, as any client would.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from pipeline.airflow import home as airflow_home
from tests.servers import free_port

FINISHED = {"success", "failed"}


class LocalAirflow:
    """Airflow's services on this machine while the `with` block lasts.

    `home`: an empty directory. `environment`: what to set besides (a database, an executor, settings of ours).
    `services`: names of `airflow` subcommands to start; "celery worker" may be named more than once.
    """

    def __init__(
        self,
        home: Path,
        environment: Mapping[str, str] | None = None,
        services: tuple[str, ...] = ("api-server", "dag-processor", "scheduler", "triggerer"),
    ) -> None:
        self.home = home
        self.services = services
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        password = secrets.token_hex(12)
        home.mkdir(parents=True, exist_ok=True)
        passwords = home / "passwords.json"
        passwords.write_text(json.dumps({"operator": password}))
        # Nothing of a test session's own Airflow may leak into this one.
        base = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "SUPERNOTES_", "OTEL_"))}
        self.environment: dict[str, str] = base | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "operator:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "OMP_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            **(environment or {}),
        }
        airflow_home.prepare(home, self.environment)
        self._client = httpx.Client(base_url=self.url, timeout=120)
        self._password = password

    # -- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> LocalAirflow:
        try:
            subprocess.run(self._command("db migrate"), env=self.environment, check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip
            for service in self.services:
                self.start(service)
            self._wait_for("the API server", self._log_in, 240)
            self._wait_for("the scheduler", self._scheduler_lives, 240)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            _end(process)
        self._client.close()

    def start(self, service: str) -> str:
        """Start one more service; returns the name under which `processes` knows it (the second worker is 'celery worker 2')."""
        name = service
        while name in self.processes and self.processes[name].poll() is None:
            stem, _, number = name.rpartition(" ")
            name = f"{stem} {int(number) + 1}" if number.isdigit() else f"{name} 2"
        environment = dict(self.environment)
        extra: list[str] = []
        if service == "celery worker":
            extra = ["--celery-hostname", f"{name.replace(' ', '-')}@%h", "--skip-serve-logs"]
        with (self.home / f"{name.replace(' ', '-')}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self._command(service), *extra],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        return name

    def kill(self, name: str) -> None:
        """SIGKILL to a service and every process below it, as a power cut would.

        A task's own process is in a group of its own, so the service's group alone would leave it alive.
        """
        process = self.processes.pop(name)
        family = descendants(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()

    def _command(self, service: str) -> list[str]:
        return [str(Path(sys.executable).with_name("airflow")), *service.split()]

    def _wait_for(self, what: str, ready: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not ready():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log_of(name)}"
            assert time.monotonic() < end, f"{what} did not start in {seconds} s: {self.log_of('api-server')}"
            time.sleep(0.2)

    def log_of(self, name: str, last: int = 3000) -> str:
        """The end of what a service printed."""
        path = self.home / f"{name.replace(' ', '-')}.log"
        return path.read_text(errors="replace")[-last:] if path.exists() else ""

    def _log_in(self) -> bool:
        try:
            answer = self._client.post("/auth/token", json={"username": "operator", "password": self._password})
        except httpx.HTTPError:
            return False
        if answer.status_code != 201:
            return False
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return True

    def _scheduler_lives(self) -> bool:
        return self.get("monitor/health")["scheduler"]["status"] == "healthy"

    # -- the REST API ----------------------------------------------------------------------------------------------

    def get(self, path: str, **params: Any) -> Any:
        """GET /api/v2/PATH as JSON."""
        return self._ask("GET", path, params=params)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self._client.request(method, f"/api/v2/{path}", **more)
        assert answer.is_success, (method, path, answer.status_code, answer.text[:2000])
        return answer.json()

    def page(self, path: str) -> httpx.Response:
        """GET of any page of the API server, redirects not followed."""
        return self._client.get(path)

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run, once the DAG processor has found it."""
        end = time.monotonic() + 240
        while True:
            answer = self._client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": False})
            if answer.is_success:
                return
            assert time.monotonic() < end, f"{dag_id} was not found: {self.log_of('dag-processor')}"
            time.sleep(0.3)

    def trigger(self, dag_id: str, conf: Mapping[str, Any], logical_date: str | None = None) -> str:
        """Ask for a run; returns its id."""
        body = {"conf": dict(conf), "logical_date": logical_date}
        return self._ask("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]

    def clear(self, dag_id: str, run: str, *task_ids: str, downstream: bool = False) -> None:
        """Clear finished tasks so that they run again."""
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": run,
            "task_ids": list(task_ids),
            "include_downstream": downstream,
        }
        self._ask("POST", f"dags/{dag_id}/clearTaskInstances", json=body)

    def approve(self, dag_id: str, run: str, task_id: str) -> None:
        """Answer an `ApprovalOperator` as a person would."""
        path = f"dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/-1/hitlDetails"
        self._ask("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, in the order in which they were asked for."""
        return self.get(f"dags/{dag_id}/dagRuns", order_by="run_after")["dag_runs"]

    def wait(self, dag_id: str, run: str | None = None, seconds: float = 600) -> str:
        """Wait for a run (None: the first of the DAG) to end; returns its id. Fails if it does not succeed."""
        end = time.monotonic() + seconds
        state = "nothing"
        while time.monotonic() < end:
            found = [entry for entry in self.runs(dag_id) if run in (None, entry["dag_run_id"])]
            if found:
                state = found[0]["state"]
                if state in FINISHED:
                    assert state == "success", (dag_id, self.states(dag_id, found[0]["dag_run_id"]))
                    return found[0]["dag_run_id"]
            time.sleep(0.3)
        tasks = self.states(dag_id, run) if run else {}
        raise AssertionError(f"{dag_id} is {state} after {seconds} s; {tasks}; {self.log_of('scheduler')}")

    def instances(self, dag_id: str, run: str) -> list[dict[str, Any]]:
        """Every task instance of a run."""
        return self.get(f"dags/{dag_id}/dagRuns/{run}/taskInstances", limit=1000)["task_instances"]

    def states(self, dag_id: str, run: str) -> dict[str, list[str]]:
        """States of a run's task instances by task id."""
        out: dict[str, list[str]] = {}
        for instance in self.instances(dag_id, run):
            out.setdefault(instance["task_id"], []).append(str(instance["state"]))
        return out

    def wait_for_state(self, dag_id: str, run: str, task_id: str, state: str, seconds: float = 300) -> dict[str, Any]:
        """Wait until an instance of a task is in a state; returns that instance."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for instance in self.instances(dag_id, run):
                if instance["task_id"] == task_id and str(instance["state"]) == state:
                    return instance
            time.sleep(0.2)
        raise AssertionError(f"{task_id} did not become {state}: {self.states(dag_id, run)}")

    def task_log(
        self, dag_id: str, run: str, task_id: str, awaited: str, try_number: int = 1, map_index: int = -1
    ) -> str:
        """What a task logged, once it holds `awaited` (the API may answer before the file is flushed) or after 60 s."""
        path = f"dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/logs/{try_number}"
        end = time.monotonic() + 60
        while True:
            answer = self.get(path, map_index=map_index, full_content=True)
            log = "\n".join(json.dumps(line) for line in answer["content"])
            if awaited in log or time.monotonic() > end:
                return log
            time.sleep(0.5)


def descendants(pid: int) -> list[psutil.Process]:
    """A process and every one below it, itself first; those that are gone are left out."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    return []


def end_with_parent() -> None:
    """Between fork and exec: have Linux end this service when the process that started it is gone, killed ones too."""
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 is PR_SET_PDEATHSIG


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask a service's whole process group to stop, and insist."""
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def local_airflow(home: Path, environment: Mapping[str, str] | None = None, **more: Any) -> Iterator[LocalAirflow]:
    """`LocalAirflow` as a context."""
    with LocalAirflow(home, environment, **more) as airflow:
        yield airflow
