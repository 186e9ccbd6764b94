"""Waiting that costs no worker: tasks that hand themselves to Airflow's triggerer until something is there.

Imported by DAG files only; imports airflow and nothing heavy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from pipeline import tasks
from pipeline.airflow.events import event_of
from pipeline.airflow.links import ReportLink, RunLink
from pipeline.airflow.parts import as_airflow_says, work_of


class ReadyTrigger(BaseTrigger):
    """Fires when `target` is there: an http(s) address that answers with success, or a path or URL that exists.

    Looks every `interval` seconds. How long to wait is the deferring task's timeout. `times`: how often its task has waited
    so far, handed back with the event (`dag.test()` of Airflow 3.3.2 forgets arguments given to `defer`).
    """

    def __init__(self, target: str, interval: float = 10.0, times: int = 0) -> None:
        super().__init__()
        self.target = target
        self.interval = interval
        self.times = times

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {"target": self.target, "interval": self.interval, "times": self.times}
        return ("pipeline.airflow.waiting.ReadyTrigger", arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while not await asyncio.to_thread(tasks.is_there, self.target):
            await asyncio.sleep(self.interval)
        yield TriggerEvent({"target": self.target, "times": self.times})


class _Wait(BaseOperator):
    """Looks whether everything is there, and defers to the first thing that is not. Returns what it waited for."""

    def __init__(self, *, interval: float = 10.0, timeout: timedelta = timedelta(hours=6), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.interval = interval
        self.timeout = timeout

    def targets(self, context: Any) -> list[str]:
        """What to wait for; empty: nothing."""
        raise AssertionError("a subclass says what to wait for")

    @as_airflow_says()
    def execute(self, context: Any) -> str | None:
        targets = self.targets(context)
        for target in targets:
            if not tasks.is_there(target):
                self.log.info("waiting for %s, without holding a worker", target)
                self.defer(trigger=ReadyTrigger(target, self.interval), method_name="resume", timeout=self.timeout)
        self.log.info("%s", f"there: {', '.join(targets)}" if targets else "nothing to wait for")
        return targets[-1] if targets else None

    def resume(self, context: Any, event: dict[str, Any]) -> str | None:
        return self.execute(context)


class PerPostStage(BaseOperator):
    """One shard of a per-post stage, or (no `index`) the stage that gathers them. Returns the result's path.

    When the model server is given up on the way, what was answered is kept, and the task waits in the triggerer for the server
    to answer again instead of failing; then it asks for what is missing. A server that names its models and still leaves
    the stage without answers three times is somebody's case: then the task fails.
    """

    operator_extra_links = (RunLink(), ReportLink())

    def __init__(
        self,
        *,
        stage: str,
        index: int | None = None,
        interval: float = 10.0,
        timeout: timedelta = timedelta(hours=6),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self.index = index
        self.interval = interval
        self.timeout = timeout

    def execute(self, context: Any) -> str:
        return self._carry_out(work_of(context), waited=0)

    def resume(self, context: Any, event: dict[str, Any]) -> str:
        return self._carry_out(work_of(context), event["times"])

    @as_airflow_says()
    def _carry_out(self, work: dict[str, str], waited: int) -> str:
        from nouns.errors import ModelServerGone

        try:
            if self.index is None:
                return tasks.run_stage(work, self.stage)
            return tasks.run_shard(work, self.stage, self.index)
        except ModelServerGone as error:
            address = tasks.writer_address(work["workspace"], work["run_id"])
            if address is None or waited >= 3:
                raise
            self.log.warning("%s", error)
            self.log.warning("waiting for %s, without holding a worker", address)
            self.defer(
                trigger=ReadyTrigger(address, self.interval, waited + 1),
                method_name="resume",
                timeout=self.timeout,
            )


class WaitForWriter(_Wait):
    """Waits until the writing model's server answers; returns at once if the run's writer needs no server."""

    def targets(self, context: Any) -> list[str]:
        work = work_of(context)
        address = tasks.writer_address(work["workspace"], work["run_id"])
        return [address] if address else []


class WaitForInput(_Wait):
    """Waits until the directory or URL of X's files exists that the run is to read; what names none is refused later."""

    def targets(self, context: Any) -> list[str]:
        source = tasks.input_of(context["params"], event_of(context))
        return [source] if source else []


class WaitForDay(_Wait):
    """Waits until X has published a day: the first file of every table that it must have."""

    template_fields: Sequence[str] = ("date",)

    def __init__(self, *, date: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.date = date

    def targets(self, context: Any) -> list[str]:
        return tasks.files_of_day(context["params"], self.date)
