"""The runs, juries and files of a workspace, found by name only: nothing outside what the workspace lists is opened."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nouns.errors import Damaged, Refused
from nouns.stages import RUN_STAGES
from storage.store import Manifest, Store

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
"""Ids of runs and juries as they may stand in a URL: no slash, no leading dot."""

INDEXED_STAGES = (
    "ingest",
    "fit_raters",
    "train_jury",
    "cluster_notes",
    "draft_candidates",
    "check_candidates",
    "judge_candidates",
    "revise_candidates",
    "select_winners",
)
"""Stages whose tables the read model is built from."""


@dataclass(frozen=True)
class StageState:
    """One stage of a run: `manifest` is None while it is not finished. `timing` is empty then."""

    stage: str
    path: Path | None
    manifest: Manifest | None
    timing: dict[str, Any]

    @property
    def counts(self) -> dict[str, Any]:
        return self.manifest.counts if self.manifest else {}


class Workspace:
    """Read access to what the pipeline has written. Cheap to make; remembers manifests for two seconds."""

    def __init__(self, root: str) -> None:
        self.store = Store(root)
        self._lock = threading.Lock()
        self._titles: tuple[float, dict[str, str]] = (0.0, {})
        self._states: dict[str, tuple[float, dict[str, StageState]]] = {}

    def runs(self) -> list[str]:
        """Ids of all runs, the most recently finished first."""
        names = [name for name in self.store.list("runs") if SAFE_NAME.fullmatch(name)]
        return sorted(names, key=lambda name: (self.finished_at(name), name), reverse=True)

    def has_run(self, run_id: str) -> bool:
        return bool(SAFE_NAME.fullmatch(run_id)) and run_id in self.store.list("runs")

    def require(self, run_id: str) -> str:
        """The id, if the workspace holds such a run. Raises `Refused` 404."""
        if not self.has_run(run_id):
            raise Refused("There is no such run in this workspace.", 404)
        return run_id

    def described(self, run_id: str) -> dict[str, Any]:
        """`run.json`: what was asked for and with which settings; empty if it is missing or unreadable."""
        try:
            value = json.loads(self.store.read_text(f"runs/{run_id}/run.json") or "{}")
        except json.JSONDecodeError:
            return {}
        return value if isinstance(value, dict) else {}

    def titles(self) -> dict[str, str]:
        """A title for every run, told apart by the id where several would have the same. Remembered for ten seconds."""
        made, found = self._titles
        if not found or time.monotonic() - made > 10:
            plain = {run_id: self.title(run_id) for run_id in self.store.list("runs") if SAFE_NAME.fullmatch(run_id)}
            many = Counter(plain.values())
            found = {run: title if many[title] == 1 else f"{title} ({run[:6]})" for run, title in plain.items()}
            self._titles = time.monotonic(), found
        return found

    def title(self, run_id: str) -> str:
        """The run's day and its writer, e.g. "17 November, Qwen3-8B"; the id of a run of which nothing is known."""
        when = self.finished_at(run_id)[:10]
        try:
            day = datetime.strptime(when, "%Y-%m-%d").strftime("%d %B").lstrip("0")
        except ValueError:
            return run_id
        return ", ".join(part for part in (day, self.writer(run_id).rpartition("/")[2]) if part)

    def writer(self, run_id: str) -> str:
        """The model that wrote the candidates, or the name of the writer without one."""
        settings = self.described(run_id).get("settings", {}).get("draft_candidates", {})
        return str(settings.get("model") or settings.get("backend") or "") if isinstance(settings, dict) else ""

    def finished_at(self, run_id: str) -> str:
        """When the newest stage finished, as ISO text in UTC; '' while none has."""
        return max((str(s.timing.get("finished_at", "")) for s in self.stages(run_id).values()), default="")

    def stages(self, run_id: str) -> dict[str, StageState]:
        """Every stage of a run, finished or not."""
        now = time.monotonic()
        with self._lock:
            found = self._states.get(run_id)
            if found and now - found[0] < 2.0:
                return found[1]
        states = {stage: self._state(run_id, stage) for stage in RUN_STAGES}
        with self._lock:
            self._states[run_id] = (now, states)
        return states

    def _state(self, run_id: str, stage: str) -> StageState:
        rel = f"runs/{run_id}/{stage}"
        try:
            manifest = self.store.manifest(rel)
        except Damaged:
            manifest = None
        if manifest is None:
            return StageState(stage, None, None, {})
        pointer = self.store.read_text(f"{rel}/pointer.json")
        target = json.loads(pointer)["path"] if pointer else rel
        path = Path(target) if Path(target).is_absolute() else self.store.local(target)
        timing: dict[str, Any] = {}
        for where in (path / "timing.json", self.store.home / rel / "timing.json"):
            if where.is_file():
                try:
                    timing = json.loads(where.read_text(encoding="utf-8"))
                    break
                except json.JSONDecodeError:
                    continue
        return StageState(stage, path, manifest, timing)

    def directory(self, run_id: str, stage: str) -> Path | None:
        """Local directory of a finished stage's files; None if it is not finished."""
        state = self.stages(run_id).get(stage)
        return state.path if state else None

    def fingerprint(self, run_id: str) -> str:
        """Digest of the outputs the read model rests on; it changes when a stage was run again with another result."""
        parts = [
            [stage, state.manifest.digest if state.manifest else None]
            for stage, state in self.stages(run_id).items()
            if stage in INDEXED_STAGES
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def deleted_notes(self, notes: Collection[int]) -> frozenset[int]:
        """Those of `notes` that their authors took back: in the newest snapshot they have a status but no text."""
        homes = [path for path in (self.store.home / "snapshots").glob("*") if (path / "notes.parquet").is_file()]
        if not homes or not notes:
            return frozenset()
        import polars as pl

        newest = max(
            homes,
            key=lambda path: (
                (path / "manifest.json").stat().st_mtime if (path / "manifest.json").is_file() else 0,
                path.name,
            ),
        )
        asked = pl.Series(list(notes), dtype=pl.Int64)

        def known(table: str) -> set[int]:
            file = newest / table
            if not file.is_file():
                return set()
            ids = pl.scan_parquet(file).select("noteId").filter(pl.col("noteId").is_in(asked.implode()))
            return set(ids.collect()["noteId"].to_list())

        return frozenset(known("note_status_history.parquet") - known("notes.parquet"))

    def jury_facts(self, run_id: str) -> dict[str, Any]:
        """What is known of the jury that judged: `n_jurors`, `effective`: as many independent ones they count as, and `order`.

        `order` says whether its order of texts of one post was shown to be better than a baseline's (`better`, `reason`).
        """
        shared = self.stages(run_id)["judge_candidates"].counts.get("shared") or {}
        found = dict(shared.get("jury") or {})
        effective = next(
            (v for k, v in found.items() if k.startswith("effective") and isinstance(v, (int, float))), None
        )
        home = self.directory(run_id, "train_jury")
        made = (read_json(home / "jury.json") if home else None) or {}
        return found | {"effective": effective, "order": made.get("order")}

    # -- juries ----------------------------------------------------------------------------------------------------

    def juries(self) -> list[str]:
        return [name for name in self.store.list("models") if name.startswith("jury-") and SAFE_NAME.fullmatch(name)]

    def jury_directory(self, name: str) -> Path:
        """Local directory of a jury of this workspace. Raises `Refused` 404."""
        if not SAFE_NAME.fullmatch(name) or name not in self.juries():
            raise Refused("There is no such jury in this workspace.", 404)
        return self.store.local(f"models/{name}")

    def jury_of(self, run_id: str) -> str | None:
        """Name of the jury a run used, if it lies in this workspace."""
        path = self.directory(run_id, "train_jury")
        return path.name if path and path.name in self.juries() else None


def read_json(path: Path) -> Any:
    """A JSON file, or None if it is missing or broken: a page about a run must not fail for one bad report."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_within(directory: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """A file by its bare name among those that lie directly in `directory`. Raises `Refused` 404 for anything else."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.name == name and path.suffix in suffixes and path.is_file() and not path.is_symlink():
            return path
    raise Refused("There is no such file.", 404)
