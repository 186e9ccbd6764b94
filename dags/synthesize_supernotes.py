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

from airflow.sdk import Asset, Param, dag, get_current_context, task

from pipeline import tasks
from pipeline.stages import SHARDED_STAGES

JURY = Asset(name="supernotes_jury", uri="supernotes://models/jury")
CANDIDATES = Asset(name="supernotes_selections", uri="supernotes://runs/selections")

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
    def cluster_notes(run: dict[str, str]) -> str:
        return tasks.run_stage(run["workspace"], run["run_id"], "cluster_notes")

    @task
    def plan_shards(run: dict[str, str]) -> list[int]:
        return tasks.shard_indices(run["workspace"], run["run_id"])

    @task(map_index_template="{{ task.op_kwargs['index'] }}")
    def shard(run: dict[str, str], stage: str, index: int) -> str:
        return tasks.run_shard(run["workspace"], run["run_id"], stage, index)

    @task(trigger_rule="all_done")
    def gather(run: dict[str, str], stage: str) -> str:
        return tasks.run_stage(run["workspace"], run["run_id"], stage)

    @task
    def build_pairs(run: dict[str, str]) -> str:
        return tasks.run_stage(run["workspace"], run["run_id"], "build_pairs")

    @task(outlets=[CANDIDATES])
    def announce(run: dict[str, str]) -> str:
        get_current_context()["outlet_events"][CANDIDATES].extra = run
        return run["run_id"]

    run = find_run()
    clustered = cluster_notes(run)
    shards = plan_shards(run)
    clustered >> shards
    before = shards
    for stage in SHARDED_STAGES:
        mapped = shard.override(task_id=f"{stage}_shards").partial(run=run, stage=stage).expand(index=shards)
        gathered = gather.override(task_id=stage)(run, stage)
        before >> mapped >> gathered
        before = gathered
    before >> build_pairs(run) >> announce(run)


synthesize_supernotes()
