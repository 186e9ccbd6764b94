"""Who is told when a task fails or a DAG run is late.

Every DAG names `failed` as its `on_failure_callback` and `late` in its deadline. Both write one paragraph to the log,
count `supernotes.alerts` in Airflow's metrics, and call the notifiers named in SUPERNOTES_NOTIFIERS: a comma-separated list of
dotted names of functions `notify(message: str, facts: dict[str, str]) -> None`. A notifier that fails is logged and
keeps no other from being called.

    # my_company/alerts.py, on the workers' path; SUPERNOTES_NOTIFIERS=my_company.alerts.page
    def page(message, facts):
        httpx.post("https://chat.example/hook", json={"text": message})

Functions and not Airflow notifier objects, because one list then serves tasks, deadlines and any later caller, and an
Airflow notifier is called from such a function in one line.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import AsyncCallback, BaseNotifier, DeadlineAlert, DeadlineReference  # type: ignore[attr-defined]  # its stub lacks them

log = logging.getLogger("supernotes.alerts")


def failed(context: Mapping[str, Any]) -> None:
    """`on_failure_callback`: a task has failed for good (retries are used up)."""
    ti = context["ti"]
    error = context.get("exception")
    shard = f" (shard {ti.map_index})" if getattr(ti, "map_index", -1) >= 0 else ""
    facts = {
        "kind": "failed",
        "dag": ti.dag_id,
        "task": ti.task_id,
        "map_index": str(getattr(ti, "map_index", -1)),
        "dag_run": ti.run_id,
        "error": f"{type(error).__name__}: {error}" if error else "",
        "log_url": str(getattr(ti, "log_url", "") or ""),
    }
    tell(f"{ti.dag_id}.{ti.task_id}{shard} failed in {ti.run_id}: {facts['error'] or 'no error was given'}", facts)


class Asked(BaseNotifier):
    """Tells that a task waits for a person's answer, and where it is given."""

    def notify(self, context: Any) -> None:
        ti = context["ti"]
        facts = {
            "kind": "asked",
            "dag": ti.dag_id,
            "task": ti.task_id,
            "dag_run": ti.run_id,
            "answer_url": ApprovalOperator.generate_link_to_ui_from_context(context=context),
        }
        tell(f"{ti.dag_id} waits for an answer: {context['task'].subject} {facts['answer_url']}", facts)


async def late(**kwargs: Any) -> None:
    """Deadline callback: a DAG run has not ended within its time. Runs in the triggerer, so it may not block for long."""
    import asyncio

    run = (kwargs.get("context") or {}).get("dag_run") or {}
    facts = {
        "kind": "late",
        "dag": str(run.get("dag_id", "")),
        "dag_run": str(run.get("dag_run_id", run.get("run_id", ""))),
    }
    message = f"{facts['dag']} has not ended in time: {facts['dag_run']} was queued {kwargs.get('hours', '')} h ago"
    await asyncio.to_thread(tell, message, facts)


def tell(message: str, facts: dict[str, str]) -> None:
    """Log, count, and call every notifier of SUPERNOTES_NOTIFIERS. Never raises."""
    log.error("%s", message)
    try:
        from airflow.sdk.observability import stats

        stats.incr(f"supernotes.alerts.{facts['kind']}")
    except Exception:
        log.exception("the alert could not be counted")
    for name in filter(None, (part.strip() for part in os.environ.get("SUPERNOTES_NOTIFIERS", "").split(","))):
        module, _, function = name.rpartition(".")
        try:
            getattr(importlib.import_module(module), function)(message, facts)
        except Exception:
            log.exception("the notifier %s failed", name)


def deadline() -> DeadlineAlert | None:
    """Alert when a run has not ended SUPERNOTES_DEADLINE_HOURS (24) after it was queued; 0: no deadline.

    `pipeline.airflow.home.prepare_in_process` sets 0, because `dag.test()` of Airflow 3.3.2 cannot run a DAG that has a deadline.
    """
    hours = float(os.environ.get("SUPERNOTES_DEADLINE_HOURS") or "24")
    if hours == 0:
        return None
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=AsyncCallback(late, kwargs={"hours": hours}),
    )
