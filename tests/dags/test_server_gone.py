"""The model server goes away in the middle: nothing is finished without it, nothing is paid twice, the DAG waits and goes on."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

from nouns.errors import ModelServerGone
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer, Do

DAG, STAGE = "synthesize_supernotes", "draft_candidates"
TABLES = ("candidates.parquet", "prompts.parquet", "failures.parquet")


def planned(sample_run, workspace, server, *flags) -> Plan:
    """A run with a model server whose clusters are there and whose drafts are not; two calls at a time, a nervous circuit."""
    shutil.copytree(sample_run[0], workspace)
    sample, store = sample_directory(), Store(workspace)
    settings = load_settings(
        environment={},
        flags=[
            *FAST, "run.posts_per_shard=40", "revise_candidates.rounds=0", f"{STAGE}.backend=openai", f"{STAGE}.model=tiny",
            f"{STAGE}.base_url={server.base_url}", f"{STAGE}.concurrency=2", f"{STAGE}.circuit_failures=4",
            f"{STAGE}.circuit_seconds=0.0", *flags,
        ],
    )  # fmt: skip
    plan = Plan(store, create_run(store, RunRequest(str(sample), posts=str(sample / "posts.jsonl")), settings))
    for stage in ("ingest", "fit_raters", "train_jury", "cluster_notes"):
        assert plan.run(stage).state == "skipped"
    return plan


def away(first: int, last: int):
    """A server that answers, except calls `first` to `last`."""
    return lambda body, number: Do(status=500) if first <= number <= last else Do()


def answered(server, first: int, last: int) -> Counter[str]:
    """How often each request was answered."""
    return Counter(
        json.dumps(seen.body, sort_keys=True) for n, seen in enumerate(server.seen) if not first <= n <= last
    )


def tables(plan: Plan) -> list[bytes]:
    return [(plan.store.home / "runs" / plan.run_id / STAGE / name).read_bytes() for name in TABLES]


@pytest.fixture(scope="module")
def undisturbed(sample_run, tmp_path_factory):
    """Tables and requests of the same drafts by a server that stayed."""
    with ChaosServer() as server:
        plan = planned(sample_run, tmp_path_factory.mktemp("undisturbed") / "workspace", server)
        plan.run(STAGE)
        return tables(plan), answered(server, 1, 0)


def test_a_stage_without_its_server_is_not_finished_and_the_next_attempt_asks_only_for_the_rest(
    sample_run, tmp_path, undisturbed
):
    with ChaosServer(away(20, 25)) as server:
        plan = planned(sample_run, tmp_path / "workspace", server)
        with pytest.raises(ModelServerGone, match=r"circuit_open.* calls were answered, are kept"):
            plan.run(STAGE)
        assert plan.store.manifest(f"runs/{plan.run_id}/{STAGE}") is None
        for _ in range(3):
            try:
                plan.run(STAGE)
            except ModelServerGone:
                continue
    assert tables(plan) == undisturbed[0]
    assert answered(server, 20, 25) == undisturbed[1]


def test_who_asks_for_it_gets_what_there_is(sample_run, tmp_path):
    with ChaosServer(away(20, 10_000)) as server:
        plan = planned(sample_run, tmp_path / "workspace", server, "run.require_complete=false")
        counts = plan.run(STAGE).counts
    assert counts["rejected"]["no_answer"] > 0
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())


def test_one_call_that_fails_alone_is_accounted_and_stops_nothing(sample_run, tmp_path):
    poison: list[str] = []

    def plan_of(body, number):
        key = json.dumps(body, sort_keys=True)
        if number == 10:
            poison.append(key)
        return Do(status=400) if key in poison else Do()

    with ChaosServer(plan_of) as server:
        plan = planned(sample_run, tmp_path / "workspace", server)
        counts = plan.run(STAGE).counts
    assert 0 < counts["rejected"]["no_answer"] < counts["in"] / 10


@pytest.mark.slow
def test_the_dag_waits_for_the_server_and_needs_nobody(dagbag, sample_run, tmp_path, undisturbed):
    with ChaosServer(away(20, 25)) as server:
        plan = planned(sample_run, tmp_path / "workspace", server)
        conf = {"workspace": str(tmp_path / "workspace"), "run": plan.run_id}
        later = "(check|judge|revise|select|build|report).*"  # what follows the drafts is not this test's business
        result = dagbag.dags[DAG].test(run_conf=conf, mark_success_pattern=later)
    assert {str(t.state) for t in result.get_task_instances() if t.task_id != "queue_events"} == {"success"}
    assert tables(plan) == undisturbed[0]
    drafts = {request: times for request, times in answered(server, 20, 25).items() if request in undisturbed[1]}
    assert drafts == undisturbed[1]


def test_a_server_that_names_its_models_and_never_answers_is_given_up_at_last(sample_run, tmp_path, monkeypatch):
    from pipeline.airflow.waiting import PerPostStage

    with ChaosServer(lambda body, number: Do(status=500)) as server:
        plan = planned(sample_run, tmp_path / "workspace", server)
        task = PerPostStage(task_id="t", stage=STAGE, index=0)
        work = {"workspace": str(tmp_path / "workspace"), "run_id": plan.run_id}
        deferred = []
        monkeypatch.setattr(task, "defer", lambda **how: deferred.append(how))
        task._carry_out(work, 2)
        assert [how["trigger"].times for how in deferred] == [3]
        with pytest.raises(ModelServerGone):
            task._carry_out(work, 3)
