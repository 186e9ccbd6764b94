"""Every asset event gets a DAG run of its own, in the order in which they happened; none is lost, none is served twice.

Airflow alone does not promise that: of the events that arrive while a DAG runs it starts one run, at the first of them,
and a later one waits for yet another event (`AssetDagRunQueue` has one row for a DAG and an asset). So a run that events
started serves the oldest of them and asks for a run of the same DAG for each other one, also for those that Airflow
has given to no run. Those are named `event__ID`: Airflow's database refuses a second run of a name, so asking twice,
after a kill or by another run, is harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Asset, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException


@dataclass(frozen=True)
class Happened:
    """An asset event. `runs`: DAG runs that Airflow gave it to, as (dag id, run id)."""

    id: int
    moment: Any
    extra: dict[str, Any]
    runs: frozenset[tuple[str, str]] = frozenset()

    @property
    def run_id(self) -> str:
        """The name of the DAG run that serves this event, if none serves it that Airflow started for it."""
        return f"event__{self.id}"


def share(
    known: Iterable[Happened], dag_id: str, own: str, exists: Callable[[str], bool]
) -> tuple[Happened | None, list[Happened]]:
    """Which event the DAG run `own` serves itself (None: each is served already), and which want runs of their own.

    `known`: the events since the first that Airflow gave to `own`. `exists`: whether the DAG has a run of a name. An event that
    Airflow gave to another run of the DAG is that run's to see to.
    """
    mine: Happened | None = None
    others = []
    for event in sorted(known, key=lambda event: (event.moment, event.id)):
        given_to = {run for dag, run in event.runs if dag == dag_id}
        if (given_to and own not in given_to) or exists(event.run_id):
            continue
        if mine is None and own in given_to:
            mine = event
        else:
            others.append(event)
    return mine, others


def take_events(asset: Asset, run_is: str = "run") -> Any:
    """The first tasks of a DAG that events start: `take_events` (returned), and `queue_events`, which asks for the others' runs.

    `run_is`: the DAG's parameter for the run that an event names.
    """

    @task(inlets=[asset], retries=5, retry_delay=timedelta(seconds=10))
    def take_events() -> list[dict[str, Any]]:
        context = get_current_context()
        given = (context.get("triggering_asset_events") or {}).get(asset, ())
        if not given:
            context["ti"].xcom_push("event", {})
            return []
        ti, dag_id, own = context["ti"], context["dag"].dag_id, context["dag_run"].run_id
        since = min(event.timestamp for event in given)
        known = [
            Happened(
                event.id,
                event.timestamp,
                dict(event.extra or {}),
                frozenset((r.dag_id, r.run_id) for r in event.created_dagruns),
            )
            for event in context["inlet_events"][asset].after(since.isoformat())
        ]
        mine, others = share(known, dag_id, own, lambda run: ti.get_dr_count(dag_id, run_ids=[run]) > 0)
        told = ", ".join(str(event.id) for event in others) or "none"
        logging.getLogger("supernotes.events").info(
            "events: %s is served by this run; runs of their own: %s", mine.id if mine else "none", told
        )
        ti.xcom_push("event", {"id": mine.id, "extra": mine.extra} if mine else {"served_elsewhere": True})
        return [
            {
                "trigger_run_id": event.run_id,
                "run_after": event.moment.isoformat(),
                "conf": _as_params(event.extra, run_is, context["dag"].params),
                "note": f"For event {event.id}: {', '.join(f'{k} {v}' for k, v in event.extra.items())}",
            }
            for event in others
        ]

    first = take_events()
    TriggerDagRunOperator.partial(
        task_id="queue_events", trigger_dag_id="{{ dag.dag_id }}", skip_when_already_exists=True
    ).expand_kwargs(first)
    return first


def _as_params(extra: dict[str, Any], run_is: str, params: Any) -> dict[str, Any]:
    """What an event says, as parameters of the DAG that is to serve it."""
    said = extra | {run_is: extra.get("run_id")}
    return {name: value for name, value in said.items() if name in params and value}


def event_of(context: Any) -> dict[str, Any]:
    """What this DAG run's event says; empty where a person or the clock started it. Skips the task where other runs serve
    every event that started this one."""
    event = context["ti"].xcom_pull(task_ids="take_events", key="event") or {}
    if event.get("served_elsewhere"):
        raise AirflowSkipException("Each event that started this run is served by a run of its own.")
    return dict(event.get("extra") or {})
