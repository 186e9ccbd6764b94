"""Keeps a workspace from growing for ever: what killed processes left, what no kept run refers to, what was deleted on X.

Nothing a kept run refers to is ever removed, and nothing younger than the retention. Removal deletes the manifest
first, so that a directory being removed already looks as if it had never happened.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.snapshot import looks_lost
from storage.store import MANIFEST, Store

DAY_MS = 86_400_000
CACHES = (".cache/inputs", ".cache/embeddings", ".cache/posts", "calls", "vectors", "damaged", "copies")
"""Folders of this machine whose entries can be made or fetched again; an entry goes when it has not been written for long."""


@dataclass(frozen=True)
class Removed:
    """What was removed, or in a dry run would be, relative to the workspace, by reason; `bytes`: the size of each."""

    expired_runs: tuple[str, ...] = ()
    unreferenced: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    downloads: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    with_deleted_notes: tuple[str, ...] = ()
    orphaned_scratch: int = 0
    doubt: str = ""  # why nothing was forgotten although notes are gone
    bytes: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in self.__dict__.items()}
        return found | {"total_bytes": sum(self.bytes.values())}


def tidy(store: Store, *, now: int, keep_days: int = 90, keep_runs: int = 10, dry_run: bool = False) -> Removed:
    """Remove runs older than `keep_days` (the newest `keep_runs` stay), then whatever no kept run refers to.

    Writers: neither the current one, nor the one before it, nor one that drafts of a kept run were written with. Downloads:
    days that no kept run was made of. Caches: entries not written for `keep_days`. `now`: milliseconds since 1970.
    `dry_run`: only say what would go, and how large it is.
    """
    before = now - keep_days * DAY_MS
    scratch = 0 if dry_run else store.clear_scratch()
    changed = {run: _modified(store, f"runs/{run}/run.json") for run in store.list("runs")}
    runs = sorted(changed, key=lambda run: (changed[run], run), reverse=True)
    expired = [run for run in runs[keep_runs:] if changed[run] < before]
    kept = [run for run in runs if run not in expired]
    told = {run: json.loads(store.read_text(f"runs/{run}/run.json") or "{}") for run in kept}
    referenced = {path for run in kept for path in _references(store, run)} | set(_writers_in_use(store, told))
    sources = {str(described.get("request", {}).get("source", "")).rstrip("/") for described in told.values()}

    def unused(folder: str) -> list[str]:
        rels = [f"{folder}/{name}" for name in store.list(folder)]
        found = [rel for rel in rels if "." not in rel and rel not in referenced and _modified(store, rel) < before]
        return sorted(found)

    models = unused("models")
    downloads = [
        f"downloads/{day}"
        for day in store.list("downloads")
        if _modified(store, f"downloads/{day}", "fetch.json") < before
        and f"{_address(store)}/downloads/{day}" not in sources
    ]
    caches = [
        path.relative_to(store.home).as_posix()
        for folder in CACHES
        for path in sorted((store.home / folder).glob("*"))
        if path.stat().st_mtime_ns // 1_000_000 < before
    ]
    writers = [rel for rel in models if rel.startswith("models/writer-")]
    unreferenced = [*unused("snapshots"), *(rel for rel in models if rel not in writers), *unused("exports")]
    expired = [f"runs/{run}" for run in expired]
    everything = [*expired, *unreferenced, *writers, *downloads]
    sizes = {rel: _size(store, rel) for rel in everything} | {rel: _local_size(store.home / rel) for rel in caches}
    if not dry_run:
        for rel in everything:
            store.remove(rel)
        for rel in caches:
            shutil.rmtree(store.home / rel) if (store.home / rel).is_dir() else (store.home / rel).unlink()
    return Removed(
        tuple(expired),
        tuple(unreferenced),
        tuple(writers),
        tuple(downloads),
        tuple(caches),
        orphaned_scratch=scratch,
        bytes=sizes,
    )


def _address(store: Store) -> str:
    return store.root.rstrip("/") if store.remote else str(store.home.resolve())


def _writers_in_use(store: Store, told: dict[str, Any]) -> Iterator[str]:
    """Directories of the current writer, the one before it, and those that kept runs name in their settings."""
    current = json.loads(store.read_text("models/writer-current.json") or "{}")
    for entry in (current, current.get("previous")):
        path = entry.get("path") if isinstance(entry, dict) else entry
        if path:
            yield str(path)
    for described in told.values():
        adapter = described.get("settings", {}).get("draft_candidates", {}).get("adapter", "")
        yield str(adapter).removesuffix("/adapter")


def _modified(store: Store, rel: str, inside: str = MANIFEST) -> int:
    """When a file or directory was last written, in milliseconds; on an object store a directory's time is its manifest's."""
    if store.remote:
        return int(1000 * (store.modified(rel) if "." in rel else store.modified(f"{rel}/{inside}")))
    return int(store.modified(rel) * 1000)


def _size(store: Store, rel: str) -> int:
    return int(store.fs.du(f"{store._base}/{rel}")) if store.remote else _local_size(store.home / rel)


def _local_size(path: Path) -> int:
    return sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())


def forget_deleted_notes(store: Store, *, newest: str, dry_run: bool = False) -> Removed:
    """Remove exports that hold notes which have vanished from X's newest files since; they can be exported again.

    `newest`: the snapshot (snapshots/ID) that says which notes still exist. X removes deleted notes from its notes file
    and keeps them in the status history; a note in neither was never in this window and is left alone. Where so many notes
    of the snapshot before are gone at once that the files look incomplete, nothing is removed and `doubt` says why.
    """
    import polars as pl

    if store.manifest(newest) is None:
        raise InputError(f"{newest!r} is not a finished snapshot of {store.root!r}.")
    directory = store.local(newest)
    notes, history = (
        pl.read_parquet(directory / f"{name}.parquet", columns=["noteId"])["noteId"]
        for name in ("notes", "note_status_history")
    )
    if before := _snapshot_before(store, newest):
        earlier = pl.read_parquet(store.local(before) / "notes.parquet", columns=["noteId"])["noteId"]
        gone = earlier.filter(~earlier.is_in(notes.implode()))
        if doubt := looks_lost(earlier.to_numpy(), gone.to_numpy()):
            return Removed(doubt=f"{newest} after {before}: {doubt}; no export was removed for a deleted note")
    deleted = set(history.filter(~history.is_in(notes.implode())).to_list())
    touched = []
    for name in store.list("exports"):
        rel = f"exports/{name}"
        if _export_sources(store.local(rel)) & deleted:
            touched.append(rel)
            if not dry_run:
                store.remove(rel)
    return Removed(with_deleted_notes=tuple(touched))


def _snapshot_before(store: Store, newest: str) -> str | None:
    """The finished snapshot made last before this one; None where there is none."""
    made = {
        rel: store.modified(f"{rel}/{MANIFEST}") for rel in (f"snapshots/{name}" for name in store.list("snapshots"))
    }
    limit = made.get(newest) or 0
    earlier = [(at, rel) for rel, at in made.items() if at and rel != newest and at <= limit]
    return max(earlier)[1] if earlier else None


def _export_sources(directory: Path) -> set[int]:
    """Ids of the notes an export's texts were made from."""
    import polars as pl

    found: set[int] = set()
    for path in sorted(directory.glob("candidates/*.parquet")):
        if "source_note_ids" in pl.read_parquet_schema(path):
            column = pl.read_parquet(path, columns=["source_note_ids"])["source_note_ids"]
            found |= {int(note) for row in column.to_list() if row for note in row}
    return found


def _references(store: Store, run: str) -> list[str]:
    found = []
    for stage in store.list(f"runs/{run}"):
        text = store.read_text(f"runs/{run}/{stage}/pointer.json")
        if text:
            found.append(json.loads(text)["path"])
    return found
