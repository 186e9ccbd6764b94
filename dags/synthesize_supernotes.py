"""Write, check, judge, revise and select supernotes for every post that deserves one.

Starts when a jury was refreshed (the asset's event names workspace and run), or by hand with parameters. Per-post
stages are mapped over shards of posts first; the task that bears the stage's name then gathers the shards, and does
itself whatever a failed shard left undone. A retried or cleared task repeats no finished work and no paid model call.

What it does not protect against: a model server that answers nonsense quickly. Look at `failures` and at the rate of
failed checks in the run's report.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab"}
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks
from pipeline.stages import SHARDED_STAGES
from pipeline.waiting import WaitForWriter

JURY = Asset(name="supernotes_jury", uri="supernotes://models/jury")
SELECTIONS = Asset(name="supernotes_selections", uri="supernotes://runs/selections")

PARAMS = {
    "workspace": Param(
        "",
        type="string",
        title="Workspace",
        description="Directory or fsspec URL. Empty: the event's, else SUPERNOTES_WORKSPACE.",
    ),
    "run": Param(
        "",
        type="string",
        title="Run",
        description="Run to continue. Empty: the event's, else the newest of the workspace.",
    ),
}


@dag(schedule=[JURY], catchup=False, max_active_runs=1, params=PARAMS, doc_md=__doc__, tags=["supernotes"])
def synthesize_supernotes():
    @task
    def find_run() -> dict[str, str]:
        context = get_current_context()
        return tasks.run_to_continue(context["params"], context.get("triggering_asset_events") or {})

    @task
    def cluster_notes(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "cluster_notes")

    @task
    def plan_shards(work: dict[str, str]) -> list[int]:
        return tasks.shard_indices(work)

    @task(retries=2, retry_delay=timedelta(minutes=2), pool=tasks.POOL)
    def shard(work: dict[str, str], stage: str, index: int) -> str:
        return tasks.run_shard(work, stage, index)

    @task(trigger_rule="all_done")
    def gather(work: dict[str, str], stage: str) -> str:
        return tasks.run_stage(work, stage)

    @task
    def build_pairs(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "build_pairs")

    @task(outlets=[SELECTIONS])
    def report(work: dict[str, str]) -> str:
        get_current_context()["outlet_events"][SELECTIONS].extra = work
        return tasks.report(work)

    work = find_run()
    shards = plan_shards(work)
    before = WaitForWriter(task_id="wait_for_writer", run=work)
    cluster_notes(work) >> shards >> before
    for stage in SHARDED_STAGES:
        mapped = shard.override(task_id=f"{stage}_shards").partial(work=work, stage=stage).expand(index=shards)
        gathered = gather.override(task_id=stage)(work, stage)
        before >> mapped >> gathered
        before = gathered
    before >> build_pairs(work) >> report(work)


synthesize_supernotes()
