"""A run's tables as pandas DataFrames, for analysts.

    from pipeline import open_run
    run = open_run("workspace/runs/0123456789ab")
    run.selections().groupby("reason_code").size()

Ids come as Python integers in 64-bit columns, never as floats; a run that is not finished gives the tables it has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nouns.errors import InputError
from storage.manifest import MANIFEST, require_whole, unsealed

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """One run of a workspace, opened for reading. Every method returns a fresh DataFrame."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        if not (self.path / "run.json").is_file():
            raise InputError(
                f"{str(self.path)!r} is no run: it has no run.json. Give the directory runs/ID of a workspace."
            )
        where = self.path / "run.json"
        described = unsealed(where.read_text(encoding="utf-8", errors="replace"), str(where))
        self.run_id: str = described["run_id"]
        self.request: dict[str, Any] = described["request"]
        self.settings: dict[str, Any] = described["settings"]

    @property
    def workspace(self) -> Path:
        return self.path.parent.parent

    def directory(self, stage: str) -> Path:
        """Where a finished stage of this run keeps its files. Raises `InputError` if it has not finished, `Damaged` if it is not whole."""
        here = self.path / stage
        pointer = here / "pointer.json"
        if pointer.is_file():
            here = self.workspace / unsealed(pointer.read_text(encoding="utf-8"), str(pointer))["path"]
        elif not (here / MANIFEST).is_file():
            raise InputError(f"Run {self.run_id} has no finished {stage} yet.")
        require_whole(here)
        return here

    def manifest(self, stage: str) -> dict[str, Any]:
        """What was done with what in a finished stage."""
        return json.loads((self.directory(stage) / "manifest.json").read_text(encoding="utf-8"))

    def timing(self, stage: str) -> dict[str, Any]:
        """Seconds and moment of a finished stage."""
        path = self.directory(stage) / "timing.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _frame(self, stage: str, name: str) -> pd.DataFrame:
        import pandas as pd

        return pd.read_parquet(self.directory(stage) / name, dtype_backend="numpy_nullable")

    def _with_revisions(self, stage: str, name: str) -> pd.DataFrame:
        import pandas as pd

        frame = self._frame(stage, name)
        try:
            revised = self._frame("revise_candidates", name)
        except (InputError, FileNotFoundError):
            return frame
        return pd.concat([frame, revised], ignore_index=True) if len(revised) else frame

    def selections(self) -> pd.DataFrame:
        """One row per post: outcome, text, scores, and the reason in a sentence."""
        import pandas as pd

        path = self.directory("select_winners") / "selections.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        frame = pd.DataFrame(rows)
        for name in ("post_id", "best_existing_note_id"):
            if name in frame:
                frame[name] = pd.array([None if pd.isna(v) else int(v) for v in frame[name]], dtype="Int64")
        return frame

    def candidates(self) -> pd.DataFrame:
        """Every candidate, drafts and revisions."""
        return self._with_revisions("draft_candidates", "candidates.parquet")

    def prompts(self) -> pd.DataFrame:
        """Every prompt by request_id: the exact messages, drafts and revisions."""
        return self._with_revisions("draft_candidates", "prompts.parquet")

    def checks(self) -> pd.DataFrame:
        """One row per candidate and check."""
        return self._with_revisions("check_candidates", "checks.parquet")

    def verdicts(self) -> pd.DataFrame:
        """One row per judged candidate: score with interval, per-side shares, reasons."""
        return self._with_revisions("judge_candidates", "verdicts.parquet")

    def existing(self) -> pd.DataFrame:
        """The posts' existing notes before the same jury."""
        return self._frame("judge_candidates", "existing.parquet")

    def losers(self) -> pd.DataFrame:
        """Why each candidate that did not win lost."""
        return self._frame("select_winners", "losers.parquet")

    def clusters(self) -> pd.DataFrame:
        """One row per post and note: cluster, stance, duplicates."""
        return self._frame("cluster_notes", "clusters.parquet")

    def posts(self) -> pd.DataFrame:
        """Every post with a note: eligible or excluded, and why."""
        return self._frame("cluster_notes", "posts.parquet")

    def notes(self) -> pd.DataFrame:
        """The snapshot's notes with their fitted parameters and status, where there are any."""
        import pandas as pd

        notes = pd.read_parquet(self.directory("ingest") / "notes.parquet", dtype_backend="numpy_nullable")
        try:
            parameters = self._frame("fit_raters", "notes.parquet")
        except (InputError, FileNotFoundError):
            return notes
        return notes.merge(parameters, on="noteId", how="left", suffixes=("", "_fit"))

    def raters(self) -> pd.DataFrame:
        """The raters' parameters."""
        return self._frame("fit_raters", "raters.parquet")

    def post_texts(self) -> pd.DataFrame:
        """Texts of the posts, where a posts table was given."""
        import pandas as pd

        return pd.read_parquet(self.directory("ingest") / "posts.parquet", dtype_backend="numpy_nullable")

    def pairs(self) -> pd.DataFrame:
        """Preference pairs."""
        return self._frame("build_pairs", "pairs.parquet")


def open_run(path: str | Path) -> Run:
    """Open `runs/ID` of a workspace. Raises `InputError` if it is not a run."""
    return Run(path)
