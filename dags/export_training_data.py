"""Export a finished run's preference data as dataset folders for training tools.

Starts when selections were made (the asset's event names workspace and run), or by hand. Deleted notes are dropped at
export time; post texts are left out unless the settings ask for them. Analysts' decisions so far are read from the
inspector's database first: they enter the pairs and what may be published. The folder is written first; `publish_export`
then asks a person in a run of its own, so that an export that waits holds up no other.

What it does not protect against: preference data that teaches a surface cue. `build_pairs/report.json` tells how well
a classifier on length, links and punctuation alone tells chosen from rejected; do not approve much above 0.60.

Example parameters:

    {"workspace": "s3://team/supernotes", "run": "0123456789ab"}
"""

from __future__ import annotations

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag

from nouns.stages import stages_of
from pipeline.airflow.events import take_events
from pipeline.airflow.links import linked
from pipeline.airflow.parts import RUN, SELECTIONS, WORKSPACE, every_dag, find_run, stage_tasks

PARAMS = {"workspace": WORKSPACE, "run": RUN}


@dag(schedule=[SELECTIONS], params=PARAMS, **every_dag(__doc__))
def export_training_data():
    ask = TriggerDagRunOperator(
        task_id="ask_for_approval",
        trigger_dag_id="publish_export",
        trigger_run_id="{{ ti.xcom_pull(task_ids='export').replace('/', '__') }}",
        logical_date=None,
        conf={
            "workspace": "{{ ti.xcom_pull(task_ids='find_run')['workspace'] }}",
            "run": "{{ ti.xcom_pull(task_ids='find_run')['run_id'] }}",
            "path": "{{ ti.xcom_pull(task_ids='export') }}",
        },
        skip_when_already_exists=True,
    )
    # Pairs again: the decisions made meanwhile enter them.
    first, *_, last = stage_tasks(["build_pairs", *stages_of("export_training_data")])
    take_events(SELECTIONS) >> find_run() >> first
    last >> ask


linked(export_training_data())
