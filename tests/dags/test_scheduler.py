"""A real Airflow: its services as processes, a DAG triggered through the REST API, a model server that comes up late.

One Airflow and one DAG run serve all tests of this file; each test looks at another side of it.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from nouns.stages import SHARDED_STAGES
from pipeline import open_run
from pipeline.console import sample_directory
from pipeline.plan import RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer
from tests.servers_airflow import LocalAirflow

pytestmark = pytest.mark.live

DAG = "synthesize_supernotes"


class Collector:
    """An OpenTelemetry collector: takes OTLP over HTTP and keeps the last value of every metric by name."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                import gzip

                from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path.endswith("/v1/metrics"):
                    collector.take(ExportMetricsServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, request: Any) -> None:
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    if kind in ("gauge", "sum"):
                        for point in getattr(metric, kind).data_points:
                            value = getattr(point, point.WhichOneof("value"))
                            total = self.values.get(metric.name, 0.0) if kind == "sum" else 0.0
                            self.values[metric.name] = total + value


@dataclass
class Live:
    """What the tests look at: the services, the model server, the workspace and the finished DAG run."""

    airflow: LocalAirflow
    writer: ChaosServer
    collector: Collector
    workspace: Path
    run_id: str
    alerts: Path
    dag_run: str = ""
    deferred: dict[str, Any] = field(default_factory=dict)
    calls_before_the_server_was_up: int = 0

    def bytes_of(self, name: str) -> bytes:
        return (self.workspace / "runs" / self.run_id / name).read_bytes()


@pytest.fixture(scope="module")
def live(sample_run, tmp_path_factory):
    """Airflow with `synthesize_supernotes` run once, its model server started only after the run had to wait for it."""
    workspace = tmp_path_factory.mktemp("live") / "workspace"
    shutil.copytree(sample_run[0], workspace)
    writer, collector = ChaosServer(), Collector()
    store, sample = Store(workspace), sample_directory()
    flags = [
        *FAST, "run.posts_per_shard=100", "draft_candidates.backend=openai", "draft_candidates.model=tiny",
        f"draft_candidates.base_url={writer.base_url}", "revise_candidates.rounds=0",
    ]  # fmt: skip
    request = RunRequest(str(sample), posts=str(sample / "posts.jsonl"))
    run_id = create_run(store, request, load_settings(environment={}, flags=flags))
    from pipeline.plan import Plan

    for stage in ("ingest", "fit_raters", "train_jury"):
        assert Plan(store, run_id).run(stage).state == "skipped"
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        "SUPERNOTES_WORKSPACE": str(workspace),
        "SUPERNOTES_NOTIFIERS": "tests.dags.notifier.write_down",
        "SUPERNOTES_TEST_ALERTS": str(home / "alerts.jsonl"),
        "SUPERNOTES_DEADLINE_HOURS": "0.001",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server.server_port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
    }
    with LocalAirflow(home, environment) as airflow:
        found = Live(airflow, writer, collector, workspace, run_id, home / "alerts.jsonl")
        airflow.unpause(DAG)
        found.dag_run = airflow.trigger(DAG, {"workspace": str(workspace), "run": run_id})
        found.deferred = airflow.wait_for_state(DAG, found.dag_run, "wait_for_writer", "deferred")
        deadline = time.monotonic() + 60  # deferred is told first; some moments later a triggerer takes it over
        while found.deferred["triggerer_job"] is None and time.monotonic() < deadline:
            time.sleep(0.5)
            found.deferred = airflow.wait_for_state(DAG, found.dag_run, "wait_for_writer", "deferred")
        found.calls_before_the_server_was_up = len(writer.seen)
        with writer:
            airflow.wait(DAG, found.dag_run, 300)
            yield found
    collector.server.shutdown()


def test_the_run_ends_well_and_every_post_has_its_line(live):
    states = live.airflow.states(DAG, live.dag_run)
    assert states.pop("queue_events") == ["skipped"]
    assert {state for found in states.values() for state in found} == {"success"}
    assert {f"{stage}_shards" for stage in SHARDED_STAGES} <= set(states)
    selections = open_run(live.workspace / "runs" / live.run_id).selections()
    assert set(selections["outcome"]) <= {"winner", "abstained"}
    assert selections["post_id"].is_unique
    assert len(selections) == open_run(live.workspace / "runs" / live.run_id).notes()["tweetId"].nunique()


def test_waiting_for_the_model_server_was_the_triggerers_work(live):
    assert live.deferred["trigger"]["classpath"] == "pipeline.airflow.waiting.ReadyTrigger"
    assert live.deferred["triggerer_job"] is not None
    assert live.calls_before_the_server_was_up == 0
    assert len(live.writer.seen) > 0


def test_a_cleared_task_repeats_no_paid_call_and_changes_no_byte(live):
    calls = len(live.writer.seen)
    names = ("draft_candidates/candidates.parquet", "draft_candidates/manifest.json", "draft_candidates/timing.json",
             "select_winners/selections.jsonl")  # fmt: skip
    before = {name: live.bytes_of(name) for name in names}
    live.airflow.clear(DAG, live.dag_run, "draft_candidates_shards", "draft_candidates")
    live.airflow.wait(DAG, live.dag_run, 120)
    tries = {i["task_id"]: i["try_number"] for i in live.airflow.instances(DAG, live.dag_run)}
    assert tries["draft_candidates_shards"] == tries["draft_candidates"] == 2
    assert tries["check_candidates"] == 1
    assert len(live.writer.seen) == calls
    assert {name: live.bytes_of(name) for name in names} == before


def test_a_tasks_log_says_what_was_done_to_what(live):
    counts = json.loads(live.bytes_of("judge_candidates/manifest.json"))["counts"]
    outcome = f"{counts['in']:,} in, {counts['out']:,} out"
    log = live.airflow.task_log(DAG, live.dag_run, "judge_candidates", awaited=outcome)
    assert f"judge_candidates of run {live.run_id} of {live.workspace}" in log
    assert outcome in log


def test_measures_reach_an_opentelemetry_collector(live):
    manifest = json.loads(live.bytes_of("select_winners/manifest.json"))["counts"]
    assert live.collector.values["airflow.supernotes.select_winners.in"] == manifest["in"]
    assert live.collector.values["airflow.supernotes.select_winners.out"] == manifest["out"]
    calls = json.loads(live.bytes_of("draft_candidates/manifest.json"))["counts"]["calls"]
    assert live.collector.values["airflow.supernotes.draft_candidates.calls.total"] == calls


def test_a_late_run_is_told_to_the_notifier(live):
    alerts = [json.loads(line) for line in live.alerts.read_text().splitlines()]
    assert {"kind": "late", "dag": DAG, "dag_run": live.dag_run} in [alert["facts"] for alert in alerts]


def test_the_plugin_offers_the_analysts_app_and_a_link_to_the_run(live):
    plugins = {plugin["name"]: plugin for plugin in live.airflow.get("plugins")["plugins"]}
    views = plugins["supernotes"]["external_views"]
    assert [(view["name"], view["href"]) for view in views] == [("Supernotes", "/supernotes/")]
    path = f"dags/{DAG}/dagRuns/{live.dag_run}/taskInstances"
    for task in ("report", "cluster_notes"):
        links = live.airflow.get(f"{path}/{task}/links")["extra_links"]
        run = f"/supernotes/runs/{live.run_id}"
        assert links == {"Supernotes run": run, "Report": f"{run}/report.html"}


def test_airflows_own_login_opens_the_app_and_the_report(live):
    """And nobody else's: without it a page leads to Airflow's login, and a program is refused."""
    for path, word in (
        (f"/supernotes/runs/{live.run_id}", live.run_id),
        (f"/supernotes/runs/{live.run_id}/report.html", "report"),
    ):
        answer = live.airflow.page(path)
        assert answer.status_code == 200
        assert word in answer.text
    assert (
        "frame-ancestors 'self'"
        in live.airflow.page(f"/supernotes/runs/{live.run_id}").headers["content-security-policy"]
    )
    stranger = httpx.get(f"{live.airflow.url}/supernotes/runs", headers={"Accept": "text/html"}, timeout=60)
    assert stranger.status_code == 303
    assert "/auth/login" in stranger.headers["location"]
    assert httpx.get(f"{live.airflow.url}/supernotes/api/v1/runs", timeout=60).status_code == 401


def test_the_selections_event_says_where_the_run_lies(live):
    """What `export_training_data` is told: the asset's event carries workspace and run."""
    events = live.airflow.get("assets/events", source_dag_id=DAG)["asset_events"]
    extras = [event["extra"] for event in events if event["source_task_id"] == "report"]
    assert {"workspace": str(live.workspace), "run_id": live.run_id}.items() <= extras[-1].items()


def test_the_trigger_form_has_a_title_a_type_and_words_for_every_parameter(live):
    for dag in live.airflow.get("dags")["dags"]:
        details = live.airflow.get(f"dags/{dag['dag_id']}/details")
        assert "What it does not protect against" in details["doc_md"]
        for name, param in details["params"].items():
            assert param["description"], (dag["dag_id"], name)
            assert {"title", "type"} <= set(param["schema"]), (dag["dag_id"], name)
