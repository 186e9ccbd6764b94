"""Progress on standard error: a live bar on a terminal, plain lines elsewhere, so that `--json` keeps standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[..., None]
"""`progress(message, done=None, total=None)`."""


def silent(message: str, done: int | None = None, total: int | None = None) -> None:
    """Says nothing."""


@contextmanager
def reporting(label: str, quiet: bool = False) -> Iterator[Progress]:
    """A progress callable for one stage. On a terminal one line is redrawn; elsewhere a line a second at most."""
    if quiet:
        yield silent
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=None)

            def report(message: str, done: int | None = None, total: int | None = None) -> None:
                bar.update(task, description=f"{label}: {message}", completed=done or 0, total=total)

            yield report
        return
    last = [0.0]

    def line(message: str, done: int | None = None, total: int | None = None) -> None:
        now = time.monotonic()
        if now - last[0] < 1.0 and done != total:
            return
        last[0] = now
        count = f" {done}/{total}" if total else (f" {done}" if done else "")
        print(f"{label}: {message}{count}", file=sys.stderr, flush=True)

    yield line
