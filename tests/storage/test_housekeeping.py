"""Housekeeping removes what nobody needs and never what a kept run refers to."""

from __future__ import annotations

import json
import os

import polars as pl
import pytest

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


def test_downloads_caches_and_writers_go_with_the_runs_and_a_dry_run_lists_sizes(tmp_path):
    store = Store(tmp_path)
    make_run(store, "new", "s1", 1)
    request = {"source": str(tmp_path / "downloads" / "2026-01-02")}
    store.write_text(
        "runs/new/run.json",
        json.dumps({"request": request, "settings": {"draft_candidates": {"adapter": "models/writer-c/adapter"}}}),
    )
    for day in ("2026-01-01", "2026-01-02"):
        store.write_text(f"downloads/{day}/fetch.json", "{}")
    for writer in ("writer-a", "writer-b", "writer-c", "writer-d"):
        store.write_text(f"models/{writer}/manifest.json", "{}")
    store.write_text(
        "models/writer-current.json", json.dumps({"path": "models/writer-a", "previous": {"path": "models/writer-b"}})
    )
    store.write_text(".cache/inputs/old/notes.tsv", "12345")
    store.write_text(".cache/inputs/new/notes.tsv", "12345")
    seconds = (NOW - 200 * DAY_MS) / 1000
    for path in (
        *(tmp_path / "downloads").iterdir(),
        *(tmp_path / "models").iterdir(),
        tmp_path / ".cache" / "inputs" / "old",
    ):
        os.utime(path, (seconds, seconds))
    os.utime(tmp_path / ".cache" / "inputs" / "new", (NOW / 1000, NOW / 1000))
    would = tidy(store, now=NOW, dry_run=True)
    assert (would.downloads, would.writers, would.caches) == (
        ("downloads/2026-01-01",), ("models/writer-d",), (".cache/inputs/old",),
    )  # fmt: skip
    assert would.bytes == {"downloads/2026-01-01": 2, "models/writer-d": 2, ".cache/inputs/old": 5}
    assert would.to_json()["total_bytes"] == 9
    assert (tmp_path / "models" / "writer-d").exists()
    assert tidy(store, now=NOW) == would
    assert not [rel for rel in would.bytes if (tmp_path / rel).exists()]
    assert (tmp_path / "models" / "writer-b").exists()


def test_an_object_store_is_tidied_too(tmp_path):
    store = Store("memory://bucket/housekeeping", cache=tmp_path)
    for name in ("kept", "gone"):
        store.write_text(f"snapshots/{name}/manifest.json", "{}")
    store.write_text("runs/r/run.json", "{}")
    store.write_text("runs/r/ingest/pointer.json", json.dumps({"path": "snapshots/kept"}))
    now = int((store.modified("runs/r/run.json") + 200 * 86_400) * 1000)
    assert tidy(store, now=now).unreferenced == ("snapshots/gone",)
    assert store.list("snapshots") == ["kept"]


def _snapshot(store: Store, name: str, notes: range, history: range) -> None:
    with store.scratch(f"snapshots/{name}") as scratch:
        pl.DataFrame({"noteId": list(notes)}).write_parquet(scratch / "notes.parquet")
        pl.DataFrame({"noteId": list(history)}).write_parquet(scratch / "note_status_history.parquet")
        store.publish(scratch, f"snapshots/{name}", stage="ingest", fingerprint=name, code="", settings={}, inputs={}, seed=1, counts={}, seconds=0)  # fmt: skip


def _export_with_note_95(store: Store) -> None:
    with store.scratch("exports/e") as scratch:
        (scratch / "candidates").mkdir()
        pl.DataFrame({"source_note_ids": [["95"]]}).write_parquet(scratch / "candidates" / "train.parquet")
        store.publish(scratch, "exports/e", stage="export", fingerprint="e", code="", settings={}, inputs={}, seed=1, counts={}, seconds=0)  # fmt: skip


def test_no_export_goes_for_notes_that_look_lost_rather_than_deleted(tmp_path):
    store = Store(tmp_path)
    _snapshot(store, "before", range(100), range(100))
    _snapshot(store, "now", range(60), range(100))
    _export_with_note_95(store)
    removed = forget_deleted_notes(store, newest="snapshots/now")
    assert removed.with_deleted_notes == ()
    assert "gone at once" in removed.doubt
    assert store.list("exports") == ["e"]


@pytest.mark.parametrize("before", [range(97), None], ids=["three gone since the day before", "the first day"])
def test_what_authors_deleted_over_the_years_is_forgotten(tmp_path, before):
    """The status history keeps every note that was ever deleted: many, but not at once."""
    store = Store(tmp_path)
    if before is not None:
        _snapshot(store, "before", before, range(100))
    _snapshot(store, "now", range(85), range(100)) if before is None else _snapshot(store, "now", range(94), range(100))
    _export_with_note_95(store)
    removed = forget_deleted_notes(store, newest="snapshots/now")
    assert (removed.doubt, removed.with_deleted_notes) == ("", ("exports/e",))
