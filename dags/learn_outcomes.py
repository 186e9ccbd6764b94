"""Learn from a later snapshot how published supernotes and judged notes were really received.

Starts when a jury was refreshed from new files: the run of that event is the later one, and the newest run before it that
selected winners is looked back upon. Writes outcomes, the drift of the jury's calibration, pairs labelled by outcome, and
winners to withdraw because a source note was deleted or another note became Helpful.

On the first day there is nothing to look back upon: the task is skipped.

What it does not protect against: outcomes that came about without us, such as notes nobody saw. Only texts with enough
new ratings count; the others are counted as rejected.

Example parameters:

    {"workspace": "/data/supernotes", "run": "0123456789ab", "later": "ba9876543210"}
"""

from __future__ import annotations

from airflow.sdk import dag, get_current_context, task

from pipeline import tasks
from pipeline.airflow.events import event_of, take_events
from pipeline.airflow.parts import JURY, WORKSPACE, as_airflow_says, every_dag, options, text

PARAMS = {
    "workspace": WORKSPACE,
    "run": text("Run", "Run to look back upon. Empty: the newest that selected winners."),
    "later": text("Later run", "Run with the later snapshot. Empty: the event's, else the newest."),
}


@dag(schedule=[JURY], params=PARAMS, **every_dag(__doc__))
def learn_outcomes():
    @task(task_id="learn_outcomes", **options("learn_outcomes"))
    @as_airflow_says()
    def learn() -> str:
        context = get_current_context()
        return tasks.learn_outcomes(context["params"], event_of(context))

    take_events(JURY, run_is="later") >> learn()


learn_outcomes()
