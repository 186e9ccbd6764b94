"""The DAGs run for real: `dag.test()` with Airflow's database on SQLite and the bundled sample."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from nouns.stages import RUN_STAGES, SHARDED_STAGES
from pipeline import open_run, tasks
from pipeline.console import sample_directory
from storage.store import Store
from tests.pipeline.fast import FAST

SAMPLE = sample_directory()
EXPECTED = {
    "fetch_snapshot": {"find_day", "wait_for_files", "fetch"},
    "refresh_jury": {"take_events", "queue_events", "wait_for_input", "describe_run", "ingest", "fit_raters", "train_jury"},
    "synthesize_supernotes": {
        "take_events", "queue_events", "find_run", "cluster_notes", "plan_shards", "wait_for_writer", "build_pairs", "report",
        *SHARDED_STAGES, *(f"{stage}_shards" for stage in SHARDED_STAGES),
    },
    "export_training_data": {"take_events", "queue_events", "find_run", "build_pairs", "export", "ask_for_approval"},
    "publish_export": {"find_run", "approve", "publish"},
    "housekeeping": {"tidy"},
    "tune_writer": {"find_run", "tune_writer", "compare_writers", "decide", "approve", "promote"},
    "learn_outcomes": {"take_events", "queue_events", "learn_outcomes"},
}  # fmt: skip


def run(dagbag, name: str, conf: dict, **more) -> dict[str, list[str]]:
    """Run a DAG in this process; the states of its task instances by task id. The run must end in success."""
    result = dagbag.dags[name].test(run_conf=conf, **more)
    states: dict[str, list[str]] = {}
    for instance in result.get_task_instances():
        states.setdefault(instance.task_id, []).append(str(instance.state))
    assert str(result.state) == "success", (result.state, states)
    return states


def test_every_dag_is_listed_and_has_the_tasks_it_should(dagbag):
    """A new DAG that nobody listed fails here: add it to EXPECTED with its task ids."""
    assert dagbag.import_errors == {}
    assert {name: set(dag.task_ids) for name, dag in dagbag.dags.items()} == EXPECTED


def test_task_ids_are_the_stages_names(dagbag):
    named = {task for dag in dagbag.dags.values() for task in dag.task_ids}
    assert set(RUN_STAGES) <= named


def test_every_parameter_explains_itself(dagbag):
    for name, dag in dagbag.dags.items():
        for key, param in dag.params.items():
            described = dag.params.get_param(key)
            assert described.description, f"{name}.{key} has no description"
            assert "type" in described.schema, f"{name}.{key} has no type"
            del param


def test_the_whole_chain_runs_in_airflow(dagbag, sample_run, tmp_path):
    """On a copy of a finished workspace without its last stages: those run here, shard by shard, the others are found."""
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    for stage in ("select_winners", "build_pairs", "export"):
        shutil.rmtree(copy / "runs" / run_id / stage)
    conf = {"workspace": str(copy), "input": str(SAMPLE), "posts": str(SAMPLE / "posts.jsonl"), "set": list(FAST)}
    conf |= {"age_window_days": 0}
    run(dagbag, "refresh_jury", conf)
    states = run(dagbag, "synthesize_supernotes", {"workspace": str(copy), "run": run_id})
    shards = len(tasks.shard_indices({"workspace": str(copy), "run_id": run_id}))
    assert states["select_winners_shards"] == ["success"] * shards
    for name in ("export_training_data", "publish_export"):
        asked = "^(approve|ask_for_approval)$"
        run(dagbag, name, {"workspace": str(copy), "run": run_id}, mark_success_pattern=asked)
    ours, theirs = (open_run(w / "runs" / run_id).selections().to_json() for w in (copy, workspace))
    assert ours == theirs
    current = json.loads((copy / "exports" / "current.json").read_text())
    assert (copy / current["path"] / "manifest.json").exists()
    assert (copy / "runs" / run_id / "report.html").exists()


def test_a_failed_shard_loses_no_other_and_the_gathering_task_makes_up_for_it(
    dagbag, sample_run, tmp_path, monkeypatch
):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    shutil.rmtree(copy / "runs" / run_id / "select_winners")
    real = tasks.run_shard

    def breaks_once(work, stage, index):
        if stage == "select_winners" and index == 1:
            raise RuntimeError("the worker was killed")
        return real(work, stage, index)

    monkeypatch.setattr(tasks, "run_shard", breaks_once)
    monkeypatch.setattr(
        dagbag.dags["synthesize_supernotes"].get_task("select_winners_shards"),
        "partial_kwargs",
        dagbag.dags["synthesize_supernotes"].get_task("select_winners_shards").partial_kwargs | {"retries": 0},
    )
    result = dagbag.dags["synthesize_supernotes"].test(run_conf={"workspace": str(copy), "run": run_id})
    states = [str(t.state) for t in result.get_task_instances() if t.task_id == "select_winners_shards"]
    assert states.count("failed") == 1
    assert states.count("success") == len(states) - 1
    name = f"runs/{run_id}/select_winners/selections.jsonl"
    assert (copy / name).read_bytes() == (workspace / name).read_bytes()


def test_housekeeping_runs_and_touches_nothing_young(dagbag, sample_run, tmp_path):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    run(dagbag, "housekeeping", {"workspace": str(copy)})
    assert Store(copy).list("runs") == [run_id]


def test_waiting_for_a_server_ends_when_it_answers():
    from pipeline.airflow.waiting import ReadyTrigger

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    address = f"http://127.0.0.1:{server.server_port}/v1/models"

    async def first(trigger: ReadyTrigger):
        async for event in trigger.run():
            return event.payload
        return None

    def serve_later() -> None:
        time.sleep(0.3)
        server.serve_forever()

    threading.Thread(target=serve_later, daemon=True).start()
    assert asyncio.run(first(ReadyTrigger(address, interval=0.05))) == {"target": address, "times": 0}
    server.shutdown()
    trigger = ReadyTrigger(address, 0.05)
    path, arguments = trigger.serialize()
    assert path == "pipeline.airflow.waiting.ReadyTrigger"
    assert ReadyTrigger(**arguments).target == address


def test_waiting_sees_paths_and_nothing_else(tmp_path):
    file = tmp_path / "there"
    assert not tasks.is_there(str(file))
    file.write_text("")
    assert tasks.is_there(str(file))
    assert not tasks.is_there("http://127.0.0.1:9/none")
    assert not tasks.is_there("nosuchscheme://bucket/key")


def test_a_run_without_a_named_workspace_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("SUPERNOTES_WORKSPACE", raising=False)
    with pytest.raises(ValueError, match="No workspace is named"):
        tasks.workspace_of({})


def test_an_events_extra_fills_empty_parameters(sample_run):
    workspace, run_id = sample_run
    said = {"workspace": str(workspace), "run_id": run_id}
    assert tasks.run_to_continue({"workspace": "", "run": ""}, said) == said
    assert tasks.run_to_continue({"workspace": str(workspace), "run": "other"}, {})["run_id"] == "other"
    assert Path(tasks.run_to_continue({"workspace": str(workspace)}, {})["workspace"]) == workspace
