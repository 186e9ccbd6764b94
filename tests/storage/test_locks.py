"""Leases on a real S3-compatible server: two workers never both hold one, and a killed worker's is taken over."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from nouns.errors import StageFailed
from storage.locks import Lease, leased
from storage.store import Store
from tests.storage.test_s3 import ROOT, object_store  # noqa: F401

pytestmark = pytest.mark.slow
REL = "runs/abc/draft_candidates"


def works(cache: str, trace: str, times: int) -> None:
    """A machine of its own: enters the lock, says so, works, says that it leaves."""
    store = Store(ROOT, cache=Path(cache))
    for _ in range(times):
        with store.lock(REL), open(trace, "a") as stream:
            for word in ("in", "out"):
                stream.write(f"{os.getpid()} {word}\n")
                stream.flush()
                time.sleep(0.05)


def hangs(cache: str, entered: Any) -> None:
    with Store(ROOT, cache=Path(cache)).lock(REL):
        entered.set()
        time.sleep(600)


def test_two_machines_are_never_both_inside(object_store, tmp_path):  # noqa: F811
    trace = tmp_path / "trace"
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=works, args=(str(tmp_path / f"m{i}"), str(trace), 5)) for i in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
        assert process.exitcode == 0
    lines = [line.split() for line in trace.read_text().splitlines()]
    assert len(lines) == 20
    for (one, first), (other, second) in zip(lines[::2], lines[1::2], strict=True):
        assert (one, first, second) == (other, "in", "out")


def test_a_killed_workers_lease_is_taken_over_and_a_living_ones_is_not(object_store, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("storage.locks.leased.__wrapped__.__defaults__", (2.0,))
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    process = context.Process(target=hangs, args=(str(tmp_path / "one"), entered))
    process.start()
    assert entered.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    started = time.monotonic()
    with Store(ROOT, cache=tmp_path / "two").lock(REL):
        assert 1.5 < time.monotonic() - started < 20
    store = Store(ROOT, cache=tmp_path / "three")
    with leased(store.fs, "team/living.json", 1.0) as living:
        time.sleep(3)  # three times the patience: its holder renews it
        assert Lease(store.fs, "team/living.json", 1.0)._read()[1] == living.owner


def test_who_stood_still_for_too_long_may_not_publish(object_store, tmp_path):  # noqa: F811
    fs = Store(ROOT, cache=tmp_path).fs
    sleeper, other = (Lease(fs, "team/sleeper.json", 0.5) for _ in range(2))
    sleeper.acquire()
    other.acquire()
    with pytest.raises(StageFailed, match="lost its lease"):
        sleeper.check()
    sleeper.release()
    other.check()
