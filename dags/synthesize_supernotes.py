"""Write, check, judge, revise and select supernotes for every post that deserves one.

Starts when a jury was refreshed (the asset's event names workspace and run), which a new snapshot does, by hand with
parameters, or also by time: SUPERNOTES_CRON_SYNTHESIZE_SUPERNOTES="0 6 * * *" (UTC; set for the DAG processor). Per-post
stages are mapped over shards of posts first; the task that bears the stage's name then gathers the shards, and does
itself whatever a failed shard left undone. A retried or cleared task repeats no finished work and no paid model call.

When the model server goes away on the way, tasks back off, give it up after half a minute, and wait for it without a worker
(up to six hours); then they ask for what is missing. Nobody needs to be woken for a restart.

What it does not protect against: a model server that answers nonsense quickly. Look at `failures` and at the rate of
failed checks in the run's report.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab"}
"""

from __future__ import annotations

from airflow.sdk import dag, get_current_context, task

from nouns.stages import SHARDED_STAGES
from pipeline import tasks
from pipeline.airflow.parts import JURY, RUN, SELECTIONS, WORKSPACE, every_dag, find_run, starts_on
from pipeline.airflow.waiting import PerPostStage, WaitForWriter

PARAMS = {"workspace": WORKSPACE, "run": RUN}


@dag(schedule=starts_on("synthesize_supernotes", JURY), params=PARAMS, **every_dag(__doc__))
def synthesize_supernotes():
    @task
    def cluster_notes(work: dict[str, str]) -> str:
        return tasks.run_stage(work, "cluster_notes")

    @task
    def plan_shards(work: dict[str, str]) -> list[int]:
        return tasks.shard_indices(work)

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
        mapped = PerPostStage.partial(task_id=f"{stage}_shards", run=work, stage=stage, pool=tasks.POOL).expand(
            index=shards
        )
        gathered = PerPostStage(task_id=stage, run=work, stage=stage, trigger_rule="all_done")
        before >> mapped >> gathered
        before = gathered
    before >> build_pairs(work) >> report(work)


synthesize_supernotes()
