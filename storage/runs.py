"""Where the results of a run stand: alone in knowing about `pointer.json`.

Most stages keep their result in `runs/ID/STAGE`. Snapshots, juries, writers and exports serve several runs and stand
elsewhere; the run then holds their manifest and a pointer to them.
"""

from __future__ import annotations

from pathlib import Path

from storage.manifest import sealed
from storage.store import Manifest, Store

POINTER = "pointer.json"


def where(store: Store, run_id: str, stage: str) -> str:
    """The directory of a stage of a run, relative to the workspace (absolute if it lies outside)."""
    return store.target(f"runs/{run_id}/{stage}")


def local(store: Store, run_id: str, stage: str) -> Path:
    """The same as a directory of this machine."""
    path = where(store, run_id, stage)
    return Path(path) if Path(path).is_absolute() else store.local(path)


def point(store: Store, run_id: str, stage: str, rel: str, manifest: Manifest) -> None:
    """Note in the run which directory outside it a stage's result is."""
    here = f"runs/{run_id}/{stage}"
    if rel != here:
        store.write_text(f"{here}/{POINTER}", sealed({"path": rel}))
        store.write_text(f"{here}/manifest.json", manifest.to_json())
