"""A directory with a manifest is complete; one without never happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time

import pytest

from nouns.errors import InputError
from storage.store import Manifest, Store
from storage.verify import verify


def publish(store: Store, rel: str, content: str = "x", fingerprint: str = "f") -> Manifest:
    with store.scratch(rel) as scratch:
        (scratch / "table.txt").write_text(content)
        return store.publish(
            scratch,
            rel,
            stage="s",
            fingerprint=fingerprint,
            code="c",
            settings={},
            inputs={},
            seed=1,
            counts={"in": 1},
            seconds=0.5,
        )


def test_a_published_directory_is_found_with_its_manifest(tmp_path):
    store = Store(tmp_path)
    made = publish(store, "runs/a/s")
    assert store.manifest("runs/a/s") == made
    assert made.outputs["table.txt"]["bytes"] == 1
    assert (store.local("runs/a/s") / "timing.json").exists()


def test_what_was_never_published_never_happened(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.scratch("runs/a/s") as scratch:  # noqa: PT012
        (scratch / "half.txt").write_text("half")
        raise RuntimeError
    assert store.manifest("runs/a/s") is None
    assert not (tmp_path / "runs").exists()
    assert list((tmp_path / ".scratch").iterdir()) == []


def test_equal_content_gives_equal_manifests_and_time_stands_apart(tmp_path):
    first, second = publish(Store(tmp_path / "1"), "r"), publish(Store(tmp_path / "2"), "r")
    assert first.to_json() == second.to_json()
    assert first.digest == second.digest
    assert first.digest != publish(Store(tmp_path / "3"), "r", "other").digest


def test_publishing_again_replaces_the_old_directory_whole(tmp_path):
    store = Store(tmp_path)
    publish(store, "r", "old")
    with store.scratch("r") as scratch:
        (scratch / "new.txt").write_text("new")
        store.publish(
            scratch, "r", stage="s", fingerprint="g", code="c", settings={}, inputs={}, seed=1, counts={}, seconds=0
        )
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["manifest.json", "new.txt", "timing.json"]


def _work_until_killed(root: str) -> None:
    store = Store(root)
    with store.lock("r"), store.scratch("r") as scratch:
        (scratch / "half.txt").write_text("half")
        time.sleep(60)


def test_sigkill_in_the_middle_leaves_nothing_and_blocks_nobody(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_work_until_killed, args=(str(tmp_path),))
    process.start()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".scratch/*/half.txt")):
        assert time.monotonic() < deadline, "the child never started its work"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = Store(tmp_path)
    assert store.manifest("r") is None
    with store.lock("r"):
        publish(store, "r")
    assert store.manifest("r") is not None
    assert list(tmp_path.glob(".scratch/*")) == [], "the killed process's scratch is cleared away"


def _publish_slowly(root: str, log) -> None:
    store = Store(root)
    with store.lock("r"):
        if store.manifest("r") is None:
            time.sleep(0.2)
            publish(store, "r")
            log.put("did it")
        else:
            log.put("found it")


def test_of_two_writers_one_works_and_the_other_finds_the_work_done(tmp_path):
    context = multiprocessing.get_context("spawn")
    log = context.Queue()
    writers = [context.Process(target=_publish_slowly, args=(str(tmp_path), log)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted([log.get(timeout=5), log.get(timeout=5)]) == ["did it", "found it"]


def test_a_workspace_that_cannot_be_written_is_one_clear_error(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Store(blocker / "workspace")


def test_a_remote_workspace_keeps_the_same_promise():
    """fsspec's in-memory file system stands for an object store: no rename, the manifest comes last."""
    store = Store("memory://bucket/workspace-test")
    made = publish(store, "runs/a/s", "remote")
    assert store.manifest("runs/a/s") == made
    assert (store.local("runs/a/s") / "table.txt").read_text() == "remote"
    assert store.list("runs") == ["a"]
    publish(store, "runs/a/s", "changed", "g")
    assert (store.local("runs/a/s") / "table.txt").read_text() == "changed"
    store.remove("runs/a/s")
    assert store.manifest("runs/a/s") is None


def test_small_texts_are_replaced_in_one_step(tmp_path):
    store = Store(tmp_path)
    store.write_text("a/b.json", json.dumps({"n": 1}))
    store.write_text("a/b.json", json.dumps({"n": 2}))
    assert json.loads(store.read_text("a/b.json")) == {"n": 2}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.json"]


@pytest.mark.parametrize("name", ["manifest.json", "timing.json"])
def test_a_file_that_lost_the_name_of_its_seal_is_damaged_not_old(tmp_path, name):
    store = Store(tmp_path)
    publish(store, "runs/r/s")
    path = tmp_path / "runs" / "r" / "s" / name
    path.write_text(path.read_text("utf-8").replace('"digest"', '"digesu"'), "utf-8")
    (said,) = verify(store).damaged["runs/r/s"]
    assert f"{name} is damaged" in said
