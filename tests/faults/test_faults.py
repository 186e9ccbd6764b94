"""A few seeded schedules of faults; CI and `python -m tests.faults` try more."""

from __future__ import annotations

import pytest

from pipeline.plan import Plan
from storage.store import Store
from tests.faults import harness
from tests.faults.harness import open_bench, schedule, shrink, trouble


@pytest.fixture(scope="module")
def bench(sample_run, tmp_path_factory):
    workspace, run_id = sample_run
    found = open_bench(
        tmp_path_factory.mktemp("faults"), str(workspace / Plan(Store(workspace), run_id).where("train_jury"))
    )
    yield found
    found.server.__exit__(None)


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_run_that_met_faults_ends_with_the_bytes_of_one_that_met_none(bench, seed):
    assert trouble(bench, schedule(seed)) == "", schedule(seed)


def test_a_schedule_that_fails_is_made_smaller_as_long_as_it_still_fails(monkeypatch):
    tried = []

    def fails_with_a_damaged_file(_, faults):
        tried.append(faults)
        return "other bytes" if any(fault["kind"] == "damaged" for fault in faults) else ""

    monkeypatch.setattr(harness, "trouble", fails_with_a_damaged_file)
    found = shrink(None, [{"kind": "clock moved"}, {"kind": "damaged"}, {"kind": "server gone"}])
    assert found == [{"kind": "damaged"}]
    assert [] not in tried
