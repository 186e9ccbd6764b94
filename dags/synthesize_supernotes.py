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

from typing import Any

from airflow.sdk import chain, dag, get_current_context, task, task_group

from nouns.stages import SHARDED_STAGES, stages_of
from pipeline import tasks
from pipeline.airflow.events import take_events
from pipeline.airflow.links import linked
from pipeline.airflow.parts import (
    JURY,
    RUN,
    SELECTIONS,
    WORKSPACE,
    as_airflow_says,
    every_dag,
    find_run,
    options,
    stage_tasks,
    starts_on,
    work_of,
)
from pipeline.airflow.waiting import PerPostStage, WaitForWriter

PARAMS = {"workspace": WORKSPACE, "run": RUN}


@dag(schedule=starts_on("synthesize_supernotes", JURY), params=PARAMS, **every_dag(__doc__))
def synthesize_supernotes():
    @task(**options("plan_shards"))
    @as_airflow_says()
    def plan_shards() -> list[int]:
        return tasks.shard_indices(work_of(get_current_context()))

    @task(outlets=[SELECTIONS], **options("report"))
    @as_airflow_says()
    def report() -> str:
        context = get_current_context()
        context["outlet_events"][SELECTIONS].extra = work = work_of(context)
        return tasks.report(work)

    def per_post(stage: str, shards: Any) -> Any:
        @task_group(group_id=f"{stage}_for_all", prefix_group_id=False)
        def group() -> None:
            how = options(stage)
            mapped = PerPostStage.partial(task_id=f"{stage}_shards", stage=stage, **how).expand(index=shards)
            mapped >> PerPostStage(task_id=stage, stage=stage, trigger_rule="all_done", **how)

        return group()

    @task_group(prefix_group_id=False)
    def every_post() -> None:
        shards = plan_shards()
        before: Any = WaitForWriter(task_id="wait_for_writer", trigger_rule="none_failed")
        shards >> before
        for stage in SHARDED_STAGES:
            group = per_post(stage, shards)
            before >> group
            before = group

    stages = stages_of("synthesize_supernotes")
    place = stages.index(SHARDED_STAGES[0])
    before, after = stages[:place], [stage for stage in stages[place:] if stage not in SHARDED_STAGES]
    chain(take_events(JURY), find_run(), *stage_tasks(before), every_post(), *stage_tasks(after), report())


linked(synthesize_supernotes())
