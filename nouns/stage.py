"""What a stage is, and what it is handed: one record for each of the fourteen, one signature for all their functions.

    def judge_candidates(run: Run, settings: JudgeCandidatesSettings, out: Path, tools: Tools) -> Counts: ...

`run` shows the finished results the stage needs (`nouns.run`), `out` is an empty directory to write into, and what comes
back are the counts that stand in the manifest. Settings of other stages follow as keywords named after those stages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Counts = dict[str, Any]
"""`in`, `out`, `rejected` by reason (they add up), `notices` (records with level, text), and whatever else a stage counts.

Whole numbers add up over shards; what stands under `shared` holds for every shard alike."""

Progress = Callable[..., Any]
"""`progress(what)` or `progress(what, done, total)`."""


def silent(*_: Any, **__: Any) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True)
class Stage:
    """One step of the work, declared once; everything that lists stages reads it from here."""

    name: str
    """Function, verb (with hyphens), task id, directory, table of settings, metric."""
    step: str
    """The module that holds the function; its settings class is `<Name>Settings` in the room's `settings.py`."""
    help: str
    dag: str
    needs: tuple[str, ...] = ()
    """Stages whose results it reads."""
    offered: tuple[str, ...] = ()
    """Stages whose results it reads where the run has them."""
    makes: tuple[str, ...] = ()
    """The tables it writes, by their names in `nouns.tables`."""
    given: tuple[str, ...] = ()
    """Names from the request that change its output: files and directories by content, other values as they are."""
    replaced_by: str = ""
    """A given thing that stands in for the result, so that the stage need not run."""
    also: tuple[str, ...] = ()
    """Other stages whose settings change its output."""
    second: tuple[str, ...] = ()
    """Stages of a second run whose results it reads: a later snapshot's, another writer's."""
    per_post: bool = False
    """Works post by post, and so in shards."""
    calls_model: bool = False
    """Asks the model server: takes a place in its pool and waits while it is away."""
    keeps: str = "runs/{run}/{name}"
    """Where the result stands in the workspace; `{id}` is the beginning of the fingerprint."""

    @property
    def verb(self) -> str:
        """The name on the command line, where words are joined by hyphens."""
        return self.name.replace("_", "-")

    @property
    def settings_class(self) -> str:
        return "".join(word.capitalize() for word in self.name.split("_")) + "Settings"


@dataclass(frozen=True)
class Tools:
    """What a stage works with, besides its inputs. All have a default that does nothing, for tests and notebooks."""

    seed: int = 0
    progress: Progress = silent
    cores: int = 1
    """Processes or threads the stage may use."""
    vectors: Path | None = None
    """Where embeddings are remembered by text."""
    calls: Any = None
    """Where paid model calls are remembered; None remembers none."""
    checkpoints: Path | None = None
    """A directory named after the fingerprint that outlives a killed attempt and is emptied on success."""
    rater_model: Any = None
    """Stands in for the trained jury's model (tests, experiments)."""
    second_model: Any = None
    """Stands in for the second jury's model."""
    writer: Any = None
    """Stands in for the writing model and its checks where a stage asks for revisions."""
    ledger: dict[int, Counts] | None = None
    """Where a stage that works post by post enters what it counted for each post (`enter`); None: nobody asks."""

    def enter(self, post: int, counts: Mapping[str, Any]) -> None:
        """Add to the counts of one post. Over all posts they add up to what the stage returns, but for what holds for all alike."""
        if self.ledger is not None:
            add_counts(self.ledger.setdefault(post, {}), counts)

    def replace(self, **changes: Any) -> Tools:
        return dataclasses.replace(self, **changes)


def add_counts(total: Counts, entry: Mapping[str, Any]) -> None:
    """Add whole numbers, and tables of them, key by key, into `total`."""
    for key, value in entry.items():
        if isinstance(value, Mapping):
            add_counts(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


def speed(default: Any) -> Any:
    """A settings field that changes how fast or from where, and never what comes out: no part of a fingerprint."""
    return field(default=default, metadata={"changes_output": False})


def changes_output(entry: dataclasses.Field[Any]) -> bool:
    return bool(entry.metadata.get("changes_output", True))
