"""The whole chain under CeleryExecutor on one machine, with one process killed on the way: is anything lost or doubled?

    python -m benchmarks.airflow_celery [--kill none worker orphan scheduler writer writer-long] [--keep DIR] [--default-timeouts]

Starts real PostgreSQL and Redis from the binaries that are installed, Airflow's API server, scheduler, DAG processor and
triggerer, two Celery workers, and a model server of its own process; triggers `refresh_jury` through the REST API, whose
asset event starts `synthesize_supernotes`, whose asset event starts `export_training_data`, which is approved over REST.
While drafts are being written it sends SIGKILL to

- `worker`: a Celery worker with every process below it, as a power cut would;
- `orphan`: the same worker, but the process that does the task's work lives on without a parent and without heartbeats;
- `scheduler`: the scheduler with its children;
- `writer`: the model server, away for five seconds;
- `writer-long`: the model server, away until it was given up and a task waits for it without a worker; nobody clears anything.

What was killed is started again some seconds later, as an orchestrator would. Prints one line of JSON each: states, seconds,
calls answered, calls paid twice, rows, and whether every table equals, byte for byte, that of the same run made
undisturbed in this process. The times after which Airflow gives a silent task up are shortened (20 s instead of 300) unless
`--default-timeouts` is given.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from nouns.stages import RUN_STAGES
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer, Do, free_port
from tests.servers_airflow import LocalAirflow, descendants, end_with_parent
from tests.servers_postgres import cluster

DAG, REFRESH, EXPORT = "synthesize_supernotes", "refresh_jury", "publish_export"
SERVICES = ("api-server", "dag-processor", "scheduler", "triggerer", "celery worker", "celery worker")
KILLS = ("none", "worker", "orphan", "scheduler", "writer", "writer-long")
SHORT_TIMEOUTS = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
}


# -- the services ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis server on a free port that keeps nothing on disk; yields its URL."""
    port, directory = free_port(), tempfile.mkdtemp(prefix="redis-")
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed (Debian's package redis-server)")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


class Writer:
    """The model server as a process that can be killed; writes a line when a call comes and one when it is answered."""

    def __init__(self, log: Path, port: int | None = None) -> None:
        self.log, self.port = log, port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.base_url = f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.airflow_celery", "--serve", str(self.port), str(self.log)]
        self.process = subprocess.Popen(command, preexec_fn=end_with_parent)
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.base_url}/models").is_success:
                    return
            assert time.monotonic() < end, "the model server did not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def lines(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]

    def answered(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["what"] == "answered"]


def serve(port: int, log: Path) -> None:
    """The model server: repeats the longest line with a link in its prompt, so it is deterministic."""
    import uvicorn

    def plan(body: dict[str, Any], number: int) -> Do:
        lines = [
            line for message in body["messages"] for line in str(message["content"]).splitlines() if "http" in line
        ]
        text = max(lines, key=lambda line: (len(line[:270]), line), default="Nothing is known.")[:270]
        return Do(delay=0.3, content=lambda _, choice: text)

    app = ChaosServer(plan).app()
    stream = log.open("a", buffering=1)

    @app.middleware("http")
    async def write_down(request: Any, call_next: Any) -> Any:
        if not request.url.path.endswith("/chat/completions"):
            return await call_next(request)
        key = hashlib.sha256(json.dumps(await request.json(), sort_keys=True).encode()).hexdigest()
        stream.write(json.dumps({"what": "asked", "key": key, "at": time.time()}) + "\n")
        answer = await call_next(request)
        stream.write(json.dumps({"what": "answered", "key": key, "at": time.time()}) + "\n")
        return answer

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical", lifespan="off")


# -- the run -----------------------------------------------------------------------------------------------------------


def flags(writer: Writer) -> list[str]:
    """Settings of every run: small models, few requests at a time, and a circuit that opens after seconds, not half a minute."""
    return [
        *FAST, "draft_candidates.backend=openai", "draft_candidates.model=tiny", "draft_candidates.concurrency=4",
        f"draft_candidates.base_url={writer.base_url}", "draft_candidates.circuit_failures=8",
        "draft_candidates.circuit_seconds=8",
    ]  # fmt: skip


@dataclass(frozen=True)
class Undisturbed:
    """The same run made in this process: its id, digests of every table of every stage, its calls, how many were drafts."""

    run_id: str
    tables: dict[str, Any]
    calls: Counter[str]
    drafts: int


def alone(home: Path) -> Undisturbed:
    sample, store = sample_directory(), Store(home / "alone")
    with Writer(home / "alone.jsonl") as writer:
        request = RunRequest(str(sample), posts=str(sample / "posts.jsonl"))
        run_id = create_run(store, request, load_settings(environment={}, flags=flags(writer)))
        for stage in RUN_STAGES:
            Plan(store, run_id).run(stage)
        manifest = store.manifest(f"runs/{run_id}/draft_candidates")
        assert manifest is not None
        calls = Counter(call["key"] for call in writer.answered())
        return Undisturbed(run_id, outputs(store, run_id), calls, manifest.counts["calls"])


def outputs(store: Store, run_id: str) -> dict[str, Any]:
    """Digest of every table of every stage that has finished."""
    found = {stage: store.manifest(f"runs/{run_id}/{stage}") for stage in RUN_STAGES}
    return {stage: manifest.outputs for stage, manifest in found.items() if manifest}


@contextlib.contextmanager
def services(home: Path, *, default_timeouts: bool) -> Iterator[LocalAirflow]:
    """PostgreSQL, Redis and Airflow with two Celery workers."""
    with cluster() as database, redis() as broker:
        environment = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CELERY__BROKER_URL": broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "1",
            "SUPERNOTES_RETRIES": "1",
            "SUPERNOTES_RETRY_SECONDS": "5",
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            **({} if default_timeouts else SHORT_TIMEOUTS),
        }
        with LocalAirflow(home / "airflow", environment, SERVICES) as airflow:
            for dag in (REFRESH, DAG, EXPORT):
                airflow.unpause(dag)
            yield airflow


def measure(kill: str, home: Path, airflow: LocalAirflow, undisturbed: Undisturbed) -> dict[str, Any]:
    """One run of the chain in a workspace of its own with one kill; the line to print."""
    sample, workspace = sample_directory(), home / f"workspace-{kill}"
    needed = undisturbed.calls
    with Writer(home / f"calls-{kill}.jsonl") as writer:
        started, before = (
            time.monotonic(),
            {entry["dag_run_id"] for dag in (DAG, EXPORT) for entry in airflow.runs(dag)},
        )
        conf = {"workspace": str(workspace), "input": str(sample), "posts": str(sample / "posts.jsonl"),
                "set": flags(writer)}  # fmt: skip
        airflow.wait(REFRESH, airflow.trigger(REFRESH, conf), 600)
        _wait_until_drafting(airflow, writer, undisturbed.drafts // 2)
        run = _new(airflow, DAG, before)
        asked_to_kill = time.time()
        killed, killed_at = _kill(kill, airflow, writer, run)
        states = _end_of(airflow, DAG, run)
        finished = time.monotonic()
        instances = airflow.instances(DAG, run)
        exported = _end_of_export(airflow, before) if set(_flat(states)) == {"success"} else {}
        lines = writer.lines()
    answered = Counter(line["key"] for line in lines if line["what"] == "answered")
    in_flight = Counter(line["key"] for line in lines if line["what"] == "asked" and line["at"] <= killed_at)
    in_flight -= Counter(line["key"] for line in lines if line["what"] == "answered" and line["at"] < asked_to_kill)
    twice = {key: number - needed[key] for key, number in answered.items() if number > needed[key]}
    run_id = Store(workspace).list("runs")[0]
    found = outputs(Store(workspace), run_id)
    path = workspace / "runs" / run_id / "select_winners" / "selections.jsonl"
    rows = [json.loads(line) for line in path.open()] if path.exists() else []
    again = [i for i in instances if i["try_number"] > 1]
    starts = sorted(_seconds(i["start_date"]) - killed_at for i in again if i["start_date"])
    return {
        "kill": kill,
        "killed": killed,
        "states": dict(Counter(_flat(states))),
        "exported": exported,
        "tried_again": sorted(f"{i['task_id']}[{i['map_index']}]" for i in again),
        "seconds_until_tried_again": [round(seconds, 1) for seconds in starts],
        "posts": len(rows),
        "posts_twice": len(rows) - len({row["post_id"] for row in rows}),
        "winners": sum(row["outcome"] == "winner" for row in rows),
        "calls_needed": sum(needed.values()),
        "calls_answered": sum(answered.values()),
        "calls_in_flight_at_the_kill": sum(in_flight.values()),
        "calls_answered_too_often": sum(twice.values()),
        "of_these_not_in_flight": sum(number for key, number in twice.items() if key not in in_flight),
        "calls_missing": len(set(needed) - set(answered)),
        "same_run_id": run_id == undisturbed.run_id,
        "stages_that_differ": [stage for stage in RUN_STAGES if found.get(stage) != undisturbed.tables[stage]],
        "seconds_from_trigger_to_report": round(finished - started, 1),
        "seconds_from_kill_to_report": round(time.time() - killed_at - (time.monotonic() - finished), 1),
    }


def _flat(states: dict[str, list[str]]) -> list[str]:
    return [state for found in states.values() for state in found]


def _seconds(iso: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(iso).timestamp()


def _new(airflow: LocalAirflow, dag: str, before: set[str], seconds: float = 120) -> str:
    """The run of a DAG that was not there before."""
    end = time.monotonic() + seconds
    while True:
        for entry in airflow.runs(dag):
            if entry["dag_run_id"] not in before:
                return str(entry["dag_run_id"])
        assert time.monotonic() < end, f"no run of {dag} was started"
        time.sleep(0.3)


def _wait_until_drafting(airflow: LocalAirflow, writer: Writer, calls: int, seconds: float = 300) -> None:
    """Until the model has answered so many calls."""
    end = time.monotonic() + seconds
    while len(writer.answered()) < calls:
        if time.monotonic() > end:
            raise SystemExit(f"no draft was asked for in {seconds} s: {airflow.log_of('celery worker')}")
        time.sleep(0.05)


def _kill(kill: str, airflow: LocalAirflow, writer: Writer, run: str) -> tuple[str, float]:
    """SIGKILL as asked, and the same service again some seconds later; says what was killed, and when."""
    if kill == "none":
        return "nothing", time.time()
    if kill.startswith("writer"):
        writer.kill()
        at = time.time()
        if kill == "writer":
            time.sleep(5)
        else:
            airflow.wait_for_state(DAG, run, "draft_candidates_shards", "deferred", 180)
        away = time.time() - at
        writer.start()
        return f"the model server, {away:.0f} s away", at
    name = "scheduler" if kill == "scheduler" else _busy_worker(airflow)
    if kill == "orphan":
        family = descendants(airflow.processes[name].pid)
        working = {process.pid for process in family if not process.children()}
        for process in family:
            if process.pid not in working:
                with contextlib.suppress(psutil.NoSuchProcess):
                    os.kill(process.pid, signal.SIGKILL)
        airflow.processes.pop(name).wait()
    else:
        airflow.kill(name)
    at = time.time()
    time.sleep(5)
    return f"{name}; started again as {airflow.start(name)}", at


def _busy_worker(airflow: LocalAirflow) -> str:
    """A worker that has a task in hand: one of its children's children is there only while a task runs."""
    names = [name for name in airflow.processes if name.startswith("celery worker")]
    return max(names, key=lambda name: len(descendants(airflow.processes[name].pid)))


def _end_of(airflow: LocalAirflow, dag: str, run: str, seconds: float = 1200) -> dict[str, list[str]]:
    """The states of all task instances when the run has ended, well or not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if {entry["dag_run_id"]: entry["state"] for entry in airflow.runs(dag)}[run] in ("success", "failed"):
                break
        time.sleep(0.5)
    return airflow.states(dag, run)


def _end_of_export(airflow: LocalAirflow, before: set[str]) -> dict[str, Any]:
    """Approve the export that the selections' asset event started, as a person would; the states of its tasks."""
    run = _new(airflow, EXPORT, before)
    airflow.wait_for_state(EXPORT, run, "approve", "awaiting_input", 180)
    airflow.approve(EXPORT, run, "approve")
    return dict(Counter(_flat(_end_of(airflow, EXPORT, run, 180))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kill", choices=KILLS, nargs="+", default=["worker"])
    parser.add_argument("--keep", type=Path, help="a directory for the homes, kept for looking at")
    parser.add_argument("--default-timeouts", action="store_true", help="leave Airflow's own times for silent tasks")
    parser.add_argument("--serve", nargs=2, metavar=("PORT", "LOG"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(int(arguments.serve[0]), Path(arguments.serve[1]))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the services are ended, too
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="supernotes-", dir=arguments.keep))
    try:
        undisturbed = alone(home)
        started = time.monotonic()
        with services(home, default_timeouts=arguments.default_timeouts) as airflow:
            print(
                json.dumps({"services": len(SERVICES) + 2, "seconds": round(time.monotonic() - started, 1)}), flush=True
            )
            for kill in arguments.kill:
                print(json.dumps(measure(kill, home, airflow, undisturbed)), flush=True)
    finally:
        if arguments.keep is None:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
