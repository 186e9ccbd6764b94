"""Whether a whole workspace still holds what it says: every finished directory, every pointer, every database in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nouns.errors import Damaged
from nouns.stages import RUN_STAGES
from storage.manifest import unsealed
from storage.store import Store


@dataclass(frozen=True)
class Verified:
    """`checked`: how many directories and databases were read. `damaged`: sentences by path, relative to the workspace."""

    checked: int
    damaged: dict[str, list[str]]

    def to_json(self) -> dict[str, Any]:
        return {"checked": self.checked, "sound": not self.damaged, "damaged": self.damaged}


def verify(store: Store, progress: Callable[..., Any] = lambda *a: None) -> Verified:
    """Read everything once and compare sizes and SHA-256; nothing is changed. Directories of older versions count as far as they tell."""
    found: dict[str, list[str]] = {}
    rels = list(_directories(store))
    for number, rel in enumerate(rels):
        progress("reading", number, len(rels))
        wrong = store.problems(rel, thorough=True)
        if wrong:
            found[rel] = wrong
    for run in store.list("runs"):
        wrong = _run(store, run)
        if wrong:
            found[f"runs/{run}"] = wrong
    for name in ("models/writer-current.json", "exports/current.json", "exports/published.json"):
        if (text := store.read_text(name)) is not None:
            try:
                unsealed(text, name)
            except Damaged as error:
                found[name] = [str(error).split(". Run")[0]]
    if store.read_text("exports/published.json") is not None and store.read_text("exports/current.json") is None:
        found["exports/current.json"] = [
            "is missing, though an export was published; `supernotes run` does not make it: trigger the DAG publish_export again"
        ]
    databases = [] if store.remote else _databases(store.home)
    for path in databases:
        wrong = _database(path)
        if wrong:
            found[path.relative_to(store.home).as_posix()] = wrong
    return Verified(len(rels) + len(databases), found)


def _directories(store: Store) -> Iterator[str]:
    for folder in ("snapshots", "models", "exports"):
        yield from (f"{folder}/{name}" for name in store.list(folder) if "." not in name)
    for run in store.list("runs"):
        yield from (f"runs/{run}/{name}" for name in store.list(f"runs/{run}") if "." not in name)
        for stage in store.list(f"runs/{run}/.shards"):
            yield from (f"runs/{run}/.shards/{stage}/{name}" for name in store.list(f"runs/{run}/.shards/{stage}"))


def _run(store: Store, run: str) -> list[str]:
    """What is wrong with a run as a whole: its description, and stages that are gone though later ones were made from them."""
    wrong = []
    text = store.read_text(f"runs/{run}/run.json")
    if text is None:
        wrong.append("run.json is missing")
    else:
        try:
            unsealed(text, "run.json")
        except Damaged as error:
            wrong.append(str(error).split(". Run")[0])
    there = set(store.list(f"runs/{run}"))
    last = max((number for number, stage in enumerate(RUN_STAGES) if stage in there), default=-1)
    return wrong + [
        f"{stage} is missing, though later stages rest on it" for stage in RUN_STAGES[:last] if stage not in there
    ]


def _databases(home: Path) -> list[Path]:
    places = [
        home,
        *(path for path in home.iterdir() if path.is_dir() and path.name not in ("runs", "damaged", ".scratch")),
    ]
    return sorted(path for place in places for path in place.glob("*") if path.suffix == ".sqlite" and path.is_file())


def _database(path: Path) -> list[str]:
    if path.stat().st_size == 0:
        return ["the database is damaged: it is empty"]
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            said = [row[0] for row in connection.execute("pragma quick_check(3)")]
    except sqlite3.OperationalError as error:
        return [f"the database could not be read: {error}"]
    except sqlite3.Error as error:
        said = [str(error)]
    return [] if said == ["ok"] else [f"the database is damaged: {'; '.join(said)[:300]}"]
