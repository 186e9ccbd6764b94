"""An answer that was paid for is kept for the whole workspace, and never believed when it is damaged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time

import pytest

from storage.calls import Calls
from storage.store import Store
from storage.verify import verify


@pytest.fixture(params=["directory", "object store"])
def store(request, tmp_path) -> Store:
    if request.param == "directory":
        return Store(tmp_path)
    return Store(f"memory://bucket/calls-{tmp_path.name}", cache=tmp_path)


def test_an_answer_is_found_again_by_another_process_of_the_workspace(store):
    calls = Calls(store)
    calls.put("ab" * 32, {"texts": ["first — ü \ud800"], "n": 1})
    calls.put("cd" * 32, {"texts": []})
    calls.flush()
    found = Calls(store).get(["ab" * 32, "cd" * 32, "ef" * 32])
    assert found == {"ab" * 32: {"texts": ["first — ü \ud800"], "n": 1}, "cd" * 32: {"texts": []}}


def test_an_empty_workspace_is_asked_without_making_a_file(tmp_path):
    assert Calls(Store(tmp_path)).get(["a"]) == {}
    assert not (tmp_path / "calls").exists()


def test_a_damaged_answer_is_not_found(tmp_path):
    calls = Calls(Store(tmp_path))
    calls.put("a", {"texts": ["x"]})
    calls.flush()
    with sqlite3.connect(calls.path) as connection:
        connection.execute("update calls set answer = zeroblob(30)")
    assert Calls(Store(tmp_path)).get(["a"]) == {}


@pytest.mark.parametrize("spoilt", [b"not a database at all" * 500, b""])
def test_a_file_that_is_no_database_is_set_aside_named_and_begun_anew(spoilt, tmp_path, caplog):
    calls = Calls(Store(tmp_path))
    calls.put("a", {"texts": ["x"]})
    calls.flush()
    calls._open().close()
    for rest in ("-wal", "-shm"):
        calls.path.with_name(calls.path.name + rest).unlink(missing_ok=True)
    calls.path.write_bytes(spoilt)
    again = Calls(Store(tmp_path))
    assert again.get(["a"]) == {}
    again.put("a", {"texts": ["y"]})
    again.flush()
    assert again.get(["a"]) == {"a": {"texts": ["y"]}}
    if spoilt:
        assert "calls.sqlite is damaged" in caplog.text
        assert len(list((tmp_path / "damaged").iterdir())) == 1
    assert verify(Store(tmp_path)).damaged == {}


def test_a_spoilt_database_is_named_by_verify(tmp_path):
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "calls.sqlite").write_bytes(b"no database" * 1000)
    assert "the database is damaged" in verify(Store(tmp_path)).damaged["calls/calls.sqlite"][0]


def test_one_asks_at_a_time_and_a_claim_ends_with_its_answer_or_its_process(tmp_path):
    first, second = Calls(Store(tmp_path)), Calls(Store(tmp_path))
    assert first.claim(["a", "b"]) == {"a", "b"}
    assert second.claim(["a", "b", "c"]) == {"c"}
    first.release(["b"])
    first.put("a", {"texts": []})
    first.flush()
    assert second.claim(["a", "b"]) == {"a", "b"}
    code = f"from storage.calls import Calls; from storage.store import Store; print(Calls(Store({str(tmp_path)!r})).claim(['d']))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "{'d'}\n"
    assert second.claim(["d"]) == {"d"}, "the process that asked is gone"


def test_a_clock_that_was_set_back_does_not_make_a_claim_eternal(tmp_path, monkeypatch):
    first, second = Calls(Store(tmp_path)), Calls(Store(tmp_path))
    assert first.claim(["a"]) == {"a"}
    monkeypatch.setattr("time.time", lambda: 1_000_000_000.0)
    assert second.claim(["a"]) == {"a"}


def test_a_claim_made_a_moment_ago_by_a_clock_slightly_ahead_is_respected(tmp_path, monkeypatch):
    """Who waits for the other's transaction may read an older time than the other wrote: that is no dead process."""
    first, second = Calls(Store(tmp_path)), Calls(Store(tmp_path))
    now = time.time()
    monkeypatch.setattr("storage.calls.time.time", lambda: now + 2)
    assert first.claim(["a" * 64]) == {"a" * 64}
    monkeypatch.setattr("storage.calls.time.time", lambda: now)
    assert second.claim(["a" * 64]) == set()
