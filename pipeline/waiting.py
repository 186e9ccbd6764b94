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


class ReadyTrigger(BaseTrigger):
    """Fires when `target` is there: an http(s) address that answers with success, or a path or URL that exists.

    Looks every `interval` seconds. How long to wait is the deferring task's timeout.
    """

    def __init__(self, target: str, interval: float = 10.0) -> None:
        super().__init__()
        self.target = target
        self.interval = interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("pipeline.waiting.ReadyTrigger", {"target": self.target, "interval": self.interval})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while not await asyncio.to_thread(tasks.is_there, self.target):
            await asyncio.sleep(self.interval)
        yield TriggerEvent({"target": self.target})


class _Wait(BaseOperator):
    """Asks once, and defers if what it waits for is not there yet."""

    def __init__(self, *, interval: float = 10.0, timeout: timedelta = timedelta(hours=6), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.interval = interval
        self.timeout = timeout

    def target(self, context: Any) -> str | None:
        """What to wait for; None: nothing."""
        raise AssertionError("a subclass says what to wait for")

    def execute(self, context: Any) -> str | None:
        target = self.target(context)
        if target is None:
            self.log.info("nothing to wait for")
            return None
        if not tasks.is_there(target):
            self.log.info("waiting for %s, without holding a worker", target)
            self.defer(trigger=ReadyTrigger(target, self.interval), method_name="resume", timeout=self.timeout)
        return target

    def resume(self, context: Any, event: dict[str, Any]) -> str:
        self.log.info("%s is there", event["target"])
        return event["target"]


class WaitForWriter(_Wait):
    """Waits until the writing model's server answers; returns at once if the run's writer needs no server."""

    template_fields: Sequence[str] = ("run",)

    def __init__(self, *, run: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run = run

    def target(self, context: Any) -> str | None:
        return tasks.writer_address(self.run["workspace"], self.run["run_id"])


class WaitForPath(_Wait):
    """Waits until a file, directory or fsspec URL exists."""

    template_fields: Sequence[str] = ("path",)

    def __init__(self, *, path: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path

    def target(self, context: Any) -> str | None:
        return str(self.path) if self.path else None
