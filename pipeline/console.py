"""What the command line, the demo and the DAG tasks say and read alike: results, words, times, the newest run, the sample."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nouns.errors import InputError

emitted = [0]
"""How many JSON values were printed: an error prints one only if there was none."""


def emit(value: Any) -> None:
    """One JSON value as one line on standard output."""
    emitted[0] += 1
    print(json.dumps(value, ensure_ascii=False, allow_nan=False), flush=True)


def say(text: str = "") -> None:
    """A line for a person, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def as_of(text: str | None) -> int | None:
    """Milliseconds since 1970 from an ISO 8601 time (UTC unless it says otherwise) or from the number itself."""
    if text is None:
        return None
    if text.isdigit():
        value = int(text)
        if not 1_262_304_000_000 <= value < 4_102_444_800_000:
            raise InputError(
                f"--as-of {text}: a number must be milliseconds since 1970 between the years 2010 and 2100."
            )
        return value
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"--as-of {text!r} is no time; give ISO 8601 such as 2026-02-01 or 2026-02-01T12:00:00Z, or milliseconds."
        ) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def newest_run(store: Any) -> str:
    """The id of the run described last in a workspace; runs that only compare writers are passed over."""
    described = {run: store.read_text(f"runs/{run}/run.json") for run in store.list("runs")}
    runs = [run for run, text in described.items() if text and not json.loads(text)["request"].get("held_out")]
    if not runs:
        raise InputError(
            f"The workspace {store.root!r} has no run yet. Make one: supernotes run --input DIR --workspace {store.root}"
        )
    return str(max(runs, key=lambda run: (store.modified(f"runs/{run}/run.json"), run)))


def sample_directory() -> Path:
    """The bundled sample: of the checkout, else inside the installed package."""
    package = Path(__file__).resolve().parent
    for found in (package.parent / "data" / "sample", package / "sample" / "data"):
        if (found / "notes-00000.tsv").is_file():
            return found
    raise InputError(
        "The bundled sample was not found: neither data/sample of a checkout nor the installed package has it."
    )
