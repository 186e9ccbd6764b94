"""Housekeeping removes what nobody needs and never what a kept run refers to."""

from __future__ import annotations

import json
import os

import polars as pl
import pytest

from nouns.errors import InputError
from storage.housekeeping import DAY_MS, forget_deleted_notes, tidy
from storage.store import Store
from tests.storage.test_store import publish

NOW = 1_800_000_000_000


def make_run(store: Store, run: str, snapshot: str, age_days: int) -> None:
    publish(store, f"snapshots/{snapshot}")
    store.write_text(f"runs/{run}/run.json", "{}")
    store.write_text(f"runs/{run}/ingest/pointer.json", json.dumps({"path": f"snapshots/{snapshot}"}))
    for path in (store.home / "runs" / run / "run.json", store.home / "snapshots" / snapshot):
        seconds = (NOW - age_days * DAY_MS) / 1000
        os.utime(path, (seconds, seconds))


def test_only_old_runs_beyond_the_newest_go_and_take_their_snapshot_along(tmp_path):
    store = Store(tmp_path)
    make_run(store, "new", "s1", 1)
    make_run(store, "old", "s2", 200)
    removed = tidy(store, now=NOW, keep_days=90, keep_runs=1)
    assert removed.expired_runs == ("runs/old",)
    assert removed.unreferenced == ("snapshots/s2",)
    assert store.list("runs") == ["new"]
    assert store.list("snapshots") == ["s1"]


def test_an_old_snapshot_stays_while_a_kept_run_refers_to_it(tmp_path):
    store = Store(tmp_path)
    make_run(store, "new", "s1", 1)
    seconds = (NOW - 300 * DAY_MS) / 1000
    os.utime(store.home / "snapshots" / "s1", (seconds, seconds))
    assert tidy(store, now=NOW).unreferenced == ()


def test_a_dry_run_removes_nothing(tmp_path):
    store = Store(tmp_path)
    make_run(store, "old", "s2", 200)
    assert tidy(store, now=NOW, keep_runs=0, dry_run=True).expired_runs == ("runs/old",)
    assert store.list("runs") == ["old"]


def test_exports_with_a_note_deleted_on_x_go(tmp_path):
    store = Store(tmp_path)
    with store.scratch("snapshots/s") as scratch:
        pl.DataFrame({"noteId": [1, 2]}).write_parquet(scratch / "notes.parquet")
        pl.DataFrame({"noteId": [1, 2, 3]}).write_parquet(scratch / "note_status_history.parquet")
        store.publish(
            scratch,
            "snapshots/s",
            stage="ingest",
            fingerprint="f",
            code="",
            settings={},
            inputs={},
            seed=1,
            counts={},
            seconds=0,
        )
    for name, sources in {"clean": [[1, 2]], "touched": [[1], [2, 3]]}.items():
        with store.scratch(f"exports/{name}") as scratch:
            (scratch / "candidates").mkdir()
            pl.DataFrame({"source_note_ids": [[str(n) for n in row] for row in sources]}).write_parquet(
                scratch / "candidates" / "train.parquet"
            )
            store.publish(
                scratch,
                f"exports/{name}",
                stage="export",
                fingerprint=name,
                code="",
                settings={},
                inputs={},
                seed=1,
                counts={},
                seconds=0,
            )
    removed = forget_deleted_notes(store, newest="snapshots/s")
    assert removed.with_deleted_notes == ("exports/touched",)
    assert store.list("exports") == ["clean"]


def test_a_remote_workspace_is_refused_with_advice():
    with pytest.raises(InputError, match="lifecycle rules"):
        tidy(Store("memory://bucket/housekeeping"), now=NOW)
