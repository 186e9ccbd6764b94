"""Plan, settings, store and command line of Supernotes. `pipeline.open_run(path)` gives a run's tables as DataFrames."""

from __future__ import annotations

from typing import Any

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    # Lazy: DAG files import `nouns.stages` while Airflow parses them, which must not load anything heavy.
    if name == "open_run":
        from pipeline.show.frames import open_run

        return open_run
    raise AttributeError(name)
