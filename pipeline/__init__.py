"""The rooms put together. `Machine` takes one post through the loop; `open_run(path)` gives a run's tables as DataFrames."""

from __future__ import annotations

from typing import Any

__all__ = ["Machine", "open_run"]


def __getattr__(name: str) -> Any:
    # Lazy: Airflow imports `pipeline.tasks` while it parses DAG files, which must not load anything heavy.
    if name == "open_run":
        from pipeline.show.frames import open_run

        return open_run
    if name == "Machine":
        from pipeline.machine import Machine

        return Machine
    raise AttributeError(name)
