"""Keeps a workspace from growing for ever: what killed processes left, what no kept run refers to, what was deleted on X.

Nothing a kept run refers to is ever removed, and nothing younger than the retention. Removal deletes the manifest
first, so that a directory being removed already looks as if it had never happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from storage.store import Store

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Removed:
    """Directories removed, relative to the workspace, by reason."""

    expired_runs: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()
    with_deleted_notes: tuple[str, ...] = ()
    orphaned_scratch: int = 0

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.__dict__.items()}


def tidy(store: Store, *, now: int, keep_days: int = 90, keep_runs: int = 10, dry_run: bool = False) -> Removed:
    """Remove runs older than `keep_days` (the newest `keep_runs` stay), then whatever no run refers to.

    `now`: milliseconds since 1970. `dry_run`: only say what would go. Raises `InputError` for a remote workspace,
    where the object store's own lifecycle rules should do this.
    """
    if store.remote:
        raise InputError(
            "Housekeeping works on a local workspace; on an object store use its lifecycle rules for runs/ and exports/."
        )
    home = store.home
    scratch = 0 if dry_run else store.clear_scratch()
    runs = sorted(store.list("runs"), key=lambda run: (_modified(home / "runs" / run / "run.json"), run), reverse=True)
    expired = [
        run for run in runs[keep_runs:] if now - _modified(home / "runs" / run / "run.json") > keep_days * DAY_MS
    ]
    kept = [run for run in runs if run not in expired]
    referenced = {path for run in kept for path in _references(store, run)}
    unreferenced = []
    for folder in ("snapshots", "models", "exports"):
        for name in store.list(folder):
            rel = f"{folder}/{name}"
            old = now - _modified(home / rel) > keep_days * DAY_MS
            if rel not in referenced and old and not name.startswith("writer-"):
                unreferenced.append(rel)
    if not dry_run:
        for run in expired:
            store.remove(f"runs/{run}")
        for rel in unreferenced:
            store.remove(rel)
    return Removed(tuple(f"runs/{run}" for run in expired), tuple(unreferenced), (), scratch)


def forget_deleted_notes(store: Store, *, newest: str, dry_run: bool = False) -> Removed:
    """Remove exports that hold notes which have vanished from X's newest files since; they can be exported again.

    `newest`: the snapshot (snapshots/ID) that says which notes still exist. X removes deleted notes from its notes file
    and keeps them in the status history; a note in neither was never in this window and is left alone.
    """
    import polars as pl

    if store.manifest(newest) is None:
        raise InputError(f"{newest!r} is not a finished snapshot of {store.root!r}.")
    directory = store.local(newest)
    alive = set(pl.read_parquet(directory / "notes.parquet", columns=["noteId"])["noteId"].to_list())
    history = set(pl.read_parquet(directory / "note_status_history.parquet", columns=["noteId"])["noteId"].to_list())
    deleted = history - alive
    touched = []
    for name in store.list("exports"):
        rel = f"exports/{name}"
        if _export_sources(store.local(rel)) & deleted:
            touched.append(rel)
            if not dry_run:
                store.remove(rel)
    return Removed(with_deleted_notes=tuple(touched))


def _export_sources(directory: Path) -> set[int]:
    """Ids of the notes an export's texts were made from."""
    import polars as pl

    found: set[int] = set()
    for path in sorted(directory.glob("candidates/*.parquet")):
        if "source_note_ids" in pl.read_parquet_schema(path):
            column = pl.read_parquet(path, columns=["source_note_ids"])["source_note_ids"]
            found |= {int(note) for row in column.to_list() if row for note in row}
    return found


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return 0


def _references(store: Store, run: str) -> list[str]:
    found = []
    for stage in store.list(f"runs/{run}"):
        text = store.read_text(f"runs/{run}/{stage}/pointer.json")
        if text:
            found.append(json.loads(text)["path"])
    return found
