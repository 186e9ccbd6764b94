"""Every event is served by exactly one run, against a model of Airflow's own queue of asset events, with kills."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline import tasks
from pipeline.airflow.events import Happened, share

DAG = "refresh_jury"


class Airflow:
    """What Airflow 3.3 does (jobs/scheduler_job_runner.py): one row a DAG and asset, made at the first waiting event.

    A run starts only when none is queued or running; it is given the events after the last such run and up to the row's time.
    """

    def __init__(self) -> None:
        self.events: list[Happened] = []
        self.row: int | None = None
        self.last = -1
        self.runs: dict[str, dict[str, Any]] = {}

    def happens(self, moment: int) -> None:
        self.events.append(Happened(len(self.events) + 1, moment, {"run_id": str(len(self.events) + 1)}))
        self.row = moment if self.row is None else self.row

    def schedule(self) -> None:
        if self.row is None or any(run["state"] != "done" for run in self.runs.values()):
            return
        name = f"asset_triggered__{self.row}"
        self.runs[name] = {"state": "queued", "serves": None, "asset": True}
        self.events = [
            Happened(e.id, e.moment, e.extra, e.runs | {(DAG, name)}) if self.last < e.moment <= self.row else e
            for e in self.events
        ]
        self.last, self.row = self.row, None

    def begin(self, name: str, rng: random.Random) -> None:
        """The first tasks of a run; a kill between asking for two runs, then the retry."""
        run = self.runs[name]
        if not run["asset"]:
            run["serves"] = int(name.removeprefix("event__"))
            return
        while True:
            since = min(e.moment for e in self.events if (DAG, name) in e.runs)
            known = [e for e in self.events if e.moment >= since]
            mine, others = share(known, DAG, name, lambda other: other in self.runs)
            for event in others:
                if rng.random() < 0.3:
                    break  # killed here
                self.runs.setdefault(event.run_id, {"state": "queued", "serves": None, "asset": False})
            else:
                run["serves"] = mine.id if mine else None
                return


@pytest.mark.parametrize("seed", range(100))
def test_no_event_is_lost_and_none_is_served_twice(seed):
    rng = random.Random(seed)
    airflow = Airflow()
    moment = 0
    while moment < 400 or airflow.row is not None or any(run["state"] != "done" for run in airflow.runs.values()):
        moment += 1
        if moment < 400 and rng.random() < 0.08:
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                airflow.happens(moment * 10 + len(airflow.events) % 10)
        if rng.random() < 0.7:
            airflow.schedule()
        running = next((name for name, run in airflow.runs.items() if run["state"] == "running"), None)
        queued = next((name for name, run in airflow.runs.items() if run["state"] == "queued"), None)
        if running and rng.random() < 0.2:
            airflow.runs[running]["state"] = "done"
            if rng.random() < 0.2:
                airflow.begin(running, rng)  # cleared by an operator, long after
        elif not running and queued:
            airflow.runs[queued]["state"] = "running"
            airflow.begin(queued, rng)
    served = [run["serves"] for run in airflow.runs.values() if run["serves"] is not None]
    assert sorted(served) == [event.id for event in airflow.events]
    assert len(served) > 5


def test_two_events_of_one_triggering_are_both_continued():
    first, second = ({"workspace": f"/team-{x}", "run_id": x * 4} for x in "ab")
    known = [Happened(1, 1, first, frozenset({(DAG, "r")})), Happened(2, 2, second, frozenset({(DAG, "r")}))]
    mine, others = share(known, DAG, "r", lambda _: False)
    assert mine
    assert (mine.extra, [event.extra for event in others]) == (first, [second])
    assert tasks.run_to_continue({}, mine.extra) == first
