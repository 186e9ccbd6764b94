"""The DAGs that are not part of the chain, run by `dag.test()`; logical dates; alerts; two runs at once."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nouns.stages import SHARDED_STAGES
from pipeline import tasks
from pipeline.console import as_of, sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.dags.test_runs import run
from tests.pipeline.fast import FAST

SAMPLE = sample_directory()


@pytest.fixture
def x_files():
    """A server like X's that has the days 2026-11-17 and 2026-11-18, each with files that say their day."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, day, table, shard = self.path.split("/")
            known = day in ("2026-11-17", "2026-11-18") and shard == "00000.tsv"
            body = f"{table} of {day}\n".encode() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{{date}}/{{table}}/{{shard}}.tsv"
    server.shutdown()


def test_a_backfill_of_fetch_snapshot_brings_each_days_own_files(dagbag, x_files, tmp_path):
    """The day is the logical date less two, whatever the clock says; the second day does not touch the first."""
    settings = [f"fetch_snapshot.url={x_files}", "fetch_snapshot.date_format=%Y-%m-%d", "fetch_snapshot.attempts=1"]
    conf = {"workspace": str(tmp_path), "set": settings}
    for day in (19, 20):
        states = run(dagbag, "fetch_snapshot", conf, logical_date=datetime(2026, 11, day, tzinfo=UTC))
        assert states == {"find_day": ["success"], "wait_for_files": ["success"], "fetch": ["success"]}
    days = sorted(path.name for path in (tmp_path / "downloads").iterdir())
    assert days == ["2026-11-17", "2026-11-18"]
    for day in days:
        texts = [p.read_text() for p in (tmp_path / "downloads" / day).glob("*.tsv")]
        assert texts
        assert all(text.endswith(f"of {day}\n") for text in texts)


def test_a_day_that_x_has_not_published_is_waited_for_and_holds_no_worker(x_files):
    """2026-11-18 is there; for 2026-11-19 the task hands itself to the triggerer, naming the first file that is missing."""
    from airflow.sdk.exceptions import TaskDeferred

    from pipeline.airflow.waiting import WaitForDay

    settings = [f"fetch_snapshot.url={x_files}", "fetch_snapshot.date_format=%Y-%m-%d"]
    there, late = (WaitForDay(task_id="w", date=f"2026-11-{day}") for day in (18, 19))
    context: Any = {"params": {"set": settings}}
    addresses = tasks.files_of_day(context["params"], "2026-11-18")
    assert len(addresses) == 3
    assert there.execute(context) == addresses[-1]
    with pytest.raises(TaskDeferred) as deferred:
        late.execute(context)
    assert deferred.value.trigger.target == tasks.files_of_day(context["params"], "2026-11-19")[0]


def test_waiting_for_a_large_file_reads_only_the_head_of_the_answer():
    """A server that promises 8 GB and sends nothing of it: an answer with success, at once."""

    class Promises(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(8 << 30))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Promises)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert tasks.is_there(f"http://127.0.0.1:{server.server_port}/ratings-00000.zip")
    server.shutdown()


def test_a_snapshot_that_has_not_arrived_is_waited_for_whoever_named_it(tmp_path, monkeypatch):
    from airflow.sdk.exceptions import TaskDeferred

    from pipeline.airflow.waiting import WaitForInput

    class Ti:
        """A task instance whose `take_events` found an event that names this input."""

        def __init__(self, named: str | None) -> None:
            self.event = {"id": 1, "extra": {"input": named}} if named else None

        def xcom_pull(self, task_ids: str, key: str) -> Any:
            return {"event": self.event}[key]

    wait = WaitForInput(task_id="w")
    context: Any = {"params": {"input": ""}, "ti": Ti(str(tmp_path / "2026-11-19"))}
    with pytest.raises(TaskDeferred):
        wait.execute(context)
    (tmp_path / "2026-11-19").mkdir()
    assert wait.execute(context) == str(tmp_path / "2026-11-19")
    monkeypatch.setenv("SUPERNOTES_INPUT", str(tmp_path))
    assert wait.execute({"params": {"input": ""}, "ti": Ti(None)}) == str(tmp_path)
    monkeypatch.delenv("SUPERNOTES_INPUT")
    assert wait.execute({"params": {"input": ""}, "ti": Ti(None)}) is None  # describe_run says what is missing


def test_a_dag_may_also_start_by_time(monkeypatch):
    from airflow.sdk import AssetOrTimeSchedule

    from pipeline.airflow.parts import JURY, starts_on

    monkeypatch.delenv("SUPERNOTES_CRON_SYNTHESIZE_SUPERNOTES", raising=False)
    assert starts_on("synthesize_supernotes", JURY) == [JURY]
    monkeypatch.setenv("SUPERNOTES_CRON_SYNTHESIZE_SUPERNOTES", "0 6 * * *")
    schedule = starts_on("synthesize_supernotes", JURY)
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert schedule.timetable.expression == "0 6 * * *"
    assert list(schedule.asset_condition.objects) == [JURY]
    monkeypatch.setenv("SUPERNOTES_CRON_SYNTHESIZE_SUPERNOTES", "at six")
    with pytest.raises(ValueError, match=r"SUPERNOTES_CRON_SYNTHESIZE_SUPERNOTES = 'at six' is no cron expression"):
        starts_on("synthesize_supernotes", JURY)


def test_yesterdays_inputs_give_yesterdays_outputs(dagbag, sample_run):
    """A backfill by logical date is the run a person would have made with that day as `as_of`: its id says so."""

    workspace, _ = sample_run
    day = datetime(2026, 11, 1, tzinfo=UTC)
    params = {
        "workspace": str(workspace),
        "input": str(SAMPLE),
        "posts": str(SAMPLE / "posts.jsonl"),
        "set": list(FAST),
    }
    store = Store(workspace)
    described = set(store.list("runs"))
    try:
        backfilled = tasks.describe_run(params | {"as_of": "logical_date"}, {}, day)
        again = tasks.describe_run(params | {"as_of": "logical_date"}, {}, day)
        other = tasks.describe_run(params | {"as_of": "logical_date"}, {}, datetime(2026, 11, 2, tzinfo=UTC))
        request = RunRequest(str(SAMPLE), posts=str(SAMPLE / "posts.jsonl"), as_of=as_of("2026-11-01"))
        by_hand = create_run(store, request, load_settings(environment={}, flags=FAST))
        assert backfilled["run_id"] == again["run_id"] == by_hand != other["run_id"]
        assert Plan(store, by_hand).request.as_of == int(day.timestamp() * 1000)
    finally:
        for added in set(store.list("runs")) - described:
            shutil.rmtree(workspace / "runs" / added)


def test_no_file_of_ours_that_tasks_call_reads_the_clock_to_decide_anything():
    """`time.time`, `now()` and `today()` stand in no DAG file and in no function DAG tasks call but for timing."""
    root = Path(__file__).resolve().parents[2]
    for path in [*sorted((root / "dags").glob("*.py")), root / "pipeline" / "tasks.py", root / "pipeline" / "plan.py"]:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in ("time.time(", ".now(", ".today(", "utcnow(") if word in text], path


def test_learn_outcomes_looks_back_on_the_earlier_run(dagbag, sample_run, tmp_path):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    store = Store(copy)
    request = RunRequest(str(SAMPLE), posts=str(SAMPLE / "posts.jsonl"))
    later = create_run(store, request, load_settings(environment={}, flags=[*FAST, "run.seed=7"]))
    for stage in ("ingest", "fit_raters"):
        Plan(store, later).run(stage)
    states = run(dagbag, "learn_outcomes", {"workspace": str(copy), "run": run_id, "later": later})
    assert states == {"take_events": ["success"], "queue_events": ["skipped"], "learn_outcomes": ["success"]}
    counts = json.loads((copy / "runs" / run_id / "learn_outcomes" / "manifest.json").read_text())["counts"]
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())


@pytest.mark.parametrize(("decision", "ends"), [("promote", "success"), ("refuse", "skipped")])
def test_only_a_writer_that_won_is_put_before_a_person_and_promoted(
    dagbag, sample_run, tmp_path, monkeypatch, decision, ends
):
    """Tuning and comparing themselves are tried in tests/jury; here the DAG's branch after them."""
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace / "runs", copy / "runs")
    monkeypatch.setattr(tasks, "tune_writer", lambda params, work: "models/writer-abc")
    comparison = {"decision": decision, "reason": "it was compared", "new_run": run_id}
    monkeypatch.setattr(tasks, "compare_writers", lambda params, work, writer: comparison)
    states = run(dagbag, "tune_writer", {"workspace": str(copy), "run": run_id}, mark_success_pattern="^approve$")
    assert states["promote"] == [ends]
    promoted = [path for path in copy.rglob("*.json") if "writer-abc" in path.read_text(errors="ignore")]
    assert bool(promoted) == (decision == "promote")


def _select(workspace: str, run_id: str, results: Any) -> None:
    results.put(Plan(Store(workspace), run_id).run("select_winners").state)


def test_two_runs_at_once_on_one_workspace_do_the_work_once(sample_run, tmp_path):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    shutil.rmtree(copy / "runs" / run_id / "select_winners")
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    both = [context.Process(target=_select, args=(str(copy), run_id, results)) for _ in range(2)]
    for process in both:
        process.start()
    states = sorted(results.get(timeout=120) for _ in both)
    for process in both:
        process.join(30)
    assert states == ["ran", "skipped"]
    name = f"runs/{run_id}/select_winners/selections.jsonl"
    assert (copy / name).read_bytes() == (workspace / name).read_bytes()


def test_a_failed_task_is_told_to_every_notifier_even_if_one_of_them_fails(dagbag, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERNOTES_NOTIFIERS", "tests.dags.notifier.breaks, tests.dags.notifier.write_down")
    monkeypatch.setenv("SUPERNOTES_TEST_ALERTS", str(tmp_path / "alerts.jsonl"))
    monkeypatch.delenv("SUPERNOTES_INPUT", raising=False)
    result = dagbag.dags["housekeeping"].test(run_conf={"workspace": "nosuchscheme://empty"})
    assert str(result.state) == "failed"
    alerts = [json.loads(line) for line in (tmp_path / "alerts.jsonl").read_text().splitlines()]
    assert [alert["facts"]["kind"] for alert in alerts] == ["failed"]
    assert alerts[0]["facts"]["task"] == "tidy"
    assert "InputError" in alerts[0]["facts"]["error"]


def test_on_the_first_day_there_are_no_outcomes_to_learn_and_nobody_is_told(dagbag, sample_run, tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERNOTES_NOTIFIERS", "tests.dags.notifier.write_down")
    monkeypatch.setenv("SUPERNOTES_TEST_ALERTS", str(tmp_path / "alerts.jsonl"))
    workspace, run_id = sample_run
    (tmp_path / "workspace" / "runs" / run_id).mkdir(parents=True)
    shutil.copy(workspace / "runs" / run_id / "run.json", tmp_path / "workspace" / "runs" / run_id)
    empty = {"run": None, "later": None}  # `dag.test()` keeps an earlier test's parameters
    states = run(dagbag, "learn_outcomes", {"workspace": str(tmp_path / "workspace"), **empty})
    assert states["learn_outcomes"] == ["skipped"]
    assert not (tmp_path / "alerts.jsonl").exists()


def test_bad_input_fails_at_once_and_a_failed_stage_is_tried_again():
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

    from nouns.errors import GateFailed, InputError, ModelServerGone, NothingToDo, StageFailed
    from pipeline.airflow.parts import as_airflow_says

    becomes = {
        InputError: AirflowFailException, GateFailed: AirflowFailException, NothingToDo: AirflowSkipException,
        StageFailed: StageFailed, ModelServerGone: ModelServerGone,
    }  # fmt: skip
    for ours, theirs in becomes.items():
        with pytest.raises(theirs, match="said so"), as_airflow_says():
            raise ours("said so")


def test_a_task_can_be_given_a_queue_a_time_limit_and_an_executors_settings(monkeypatch):
    from pipeline.airflow.parts import options

    given = {"train_jury": {"queue": "gpu", "execution_timeout": 90, "executor_config": {"pod": 1}}}
    monkeypatch.setenv("SUPERNOTES_TASKS", json.dumps(given))
    found = options("train_jury")
    assert found.pop("execution_timeout").total_seconds() == 90
    assert found == {"queue": "gpu", "executor_config": {"pod": 1}}
    assert options("draft_candidates") == {"pool": tasks.POOL}
    assert options("ingest") == {}
    monkeypatch.setenv("SUPERNOTES_TASKS", '{"ingest": {"que": "gpu"}}')
    with pytest.raises(ValueError, match=r"SUPERNOTES_TASKS.ingest: que is not known"):
        options("ingest")


def test_every_dag_can_be_triggered_from_the_form_with_its_defaults(dagbag):
    """What the form sends are the defaults: each must fit its own schema, so an optional text is null and not ''."""
    for dag in dagbag.dags.values():
        dag.params.validate()
        for name in dag.params:
            param = dag.params.get_param(name)
            kinds = param.schema["type"] if isinstance(param.schema["type"], list) else [param.schema["type"]]
            assert param.value not in (None, "") or "null" in kinds, (dag.dag_id, name)


def test_what_an_airflow_connection_says_is_what_the_variable_would_say():
    from airflow.sdk import Connection

    from pipeline.airflow.connections import variables

    model = Connection(
        conn_id="m", conn_type="http", host="vllm", port=8000, password="key", extra='{"model": "writer"}'
    )
    assert variables("model_server", model) == {
        "SUPERNOTES_DRAFT_CANDIDATES__BACKEND": "openai",
        "SUPERNOTES_DRAFT_CANDIDATES__BASE_URL": "http://vllm:8000/v1",
        "SUPERNOTES_DRAFT_CANDIDATES__MODEL": "writer",
        "SUPERNOTES_API_KEY": "key",
    }
    database = Connection(conn_id="d", conn_type="postgres", host="db", login="air", password="p", schema="notes")
    assert variables("database", database) == {"SUPERNOTES_DATABASE_URL": "postgresql+psycopg://air:p@db/notes"}


def test_what_analysts_decided_is_read_whenever_pairs_are_built_or_exported(sample_run, tmp_path, monkeypatch):
    from inspector.decide.database import open_database
    from inspector.decide.decisions import NewDecision, record

    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    monkeypatch.delenv("SUPERNOTES_DATABASE_URL", raising=False)
    store, work = Store(copy), {"workspace": str(copy), "run_id": run_id}
    with tasks.decisions_so_far(store) as found:
        assert found is None
    before = json.loads(store.read_text(f"runs/{run_id}/build_pairs/manifest.json"))
    post = json.loads((copy / "runs" / run_id / "select_winners" / "selections.jsonl").read_text().splitlines()[0])[
        "post_id"
    ]
    new = NewDecision(run_id=run_id, post_id=int(post), kind="not_needed", analyst="ada", client_key="only once")
    record(open_database(f"sqlite:///{copy / 'decisions.sqlite'}"), new, 1)
    tasks.run_stage(work, "build_pairs")
    after = json.loads(store.read_text(f"runs/{run_id}/build_pairs/manifest.json"))
    assert "decisions" in set(after["inputs"]) - set(before["inputs"])


def test_every_task_of_every_dag_tells_when_it_fails(dagbag):
    for dag in dagbag.dags.values():
        for task in dag.tasks:
            assert task.on_failure_callback, (dag.dag_id, task.task_id)


def test_a_run_is_late_a_day_after_it_was_queued_unless_told_otherwise(monkeypatch):
    from pipeline.airflow.alerts import deadline

    monkeypatch.delenv("SUPERNOTES_DEADLINE_HOURS")
    assert deadline().interval.total_seconds() == 24 * 3600
    monkeypatch.setenv("SUPERNOTES_DEADLINE_HOURS", "1.5")
    assert deadline().interval.total_seconds() == 5400
    monkeypatch.setenv("SUPERNOTES_DEADLINE_HOURS", "0")
    assert deadline() is None


@pytest.mark.parametrize(("posts", "shards"), [(10_000, 10), (100_000, 100)])
def test_a_large_run_stays_below_airflows_limit_of_mapped_tasks(tmp_path, posts, shards):
    """Planned only: `cluster_notes` is put there as a table of eligible posts."""
    import polars as pl
    from airflow.sdk.configuration import conf

    store = Store(tmp_path)
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "notes-00000.tsv").write_text("noteId\n")
    run_id = create_run(store, RunRequest(str(tmp_path / "input")), load_settings(environment={}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    pl.DataFrame({"post_id": range(posts), "eligible": [True] * posts}).write_parquet(scratch / "posts.parquet")
    store.publish(
        scratch, f"runs/{run_id}/cluster_notes", stage="cluster_notes", fingerprint="planned", code="", settings={},
        inputs={}, seed=None, counts={}, seconds=0.0,
    )  # fmt: skip
    indices = tasks.shard_indices({"workspace": str(tmp_path), "run_id": run_id})
    assert indices == list(range(shards))
    assert len(indices) <= conf.getint("core", "max_map_length")
    assert len(json.dumps(indices)) < 2048 + 64
    assert len(SHARDED_STAGES) * len(indices) == 5 * shards
