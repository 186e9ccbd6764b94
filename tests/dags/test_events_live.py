"""Randomly timed events and killed schedulers against a real Airflow: none is lost, none is served twice.

SUPERNOTES_TEST_EVENTS=100 makes it the hundred of the target; a few are enough for every day.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.servers_airflow import LocalAirflow

pytestmark = pytest.mark.live

DAG_FILE = """
import os
from airflow.sdk import dag, get_current_context, task
from pipeline.airflow.events import event_of, take_events
from pipeline.airflow.parts import JURY, RUN, every_dag

@dag(schedule=[JURY], params={"run": RUN}, **every_dag("serves"))
def serves():
    @task
    def serve():
        context = get_current_context()
        event = event_of(context).get("run_id") or context["params"]["run"]
        with open(os.environ["SUPERNOTES_TEST_SERVED"], "a") as stream:
            stream.write(f"{event} {context['dag_run'].run_id}\\n")

    take_events(JURY) >> serve()

serves()
"""


def test_no_event_is_lost_and_none_served_twice_while_schedulers_are_killed(tmp_path):
    number = int(os.environ.get("SUPERNOTES_TEST_EVENTS", "8"))
    rng = random.Random(20261128)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "serves.py").write_text(DAG_FILE)
    served = tmp_path / "served"
    served.touch()
    environment = {
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "SUPERNOTES_TEST_SERVED": str(served),
        "SUPERNOTES_DEADLINE_HOURS": "0",
        "SUPERNOTES_RETRY_SECONDS": "2",
        "SUPERNOTES_RETRIES": "3",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    }
    with LocalAirflow(tmp_path / "airflow", environment, ("api-server", "dag-processor", "scheduler")) as airflow:
        airflow.unpause("serves")
        asset = next(a["id"] for a in airflow.get("assets")["assets"] if a["name"] == "supernotes_jury")
        for event in range(number):
            airflow._ask("POST", "assets/events", json={"asset_id": asset, "extra": {"run_id": f"e{event:03d}"}})
            time.sleep(rng.choice([0, 0, 0.2, 1, 3, 8]))
            if event % max(number // 3, 2) == 1:
                airflow.kill("scheduler")
                time.sleep(rng.random())
                airflow.start("scheduler")
        end = time.monotonic() + 120 + 20 * number
        names: list[str] = []
        while len(set(names)) < number or airflow.get("dags/serves/dagRuns", state="running")["total_entries"]:
            assert time.monotonic() < end, (names, [(r["dag_run_id"], r["state"]) for r in airflow.runs("serves")])
            time.sleep(1)
            names = [line.split()[0] for line in served.read_text().splitlines()]
        # A task that was killed may have written its line and be tried again in the same run; another run may not.
        runs = Counter(line.split()[0] for line in set(served.read_text().splitlines()))
        assert runs == {f"e{event:03d}": 1 for event in range(number)}
        assert {run["state"] for run in airflow.runs("serves")} == {"success"}
