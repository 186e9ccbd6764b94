"""What a run measures, how far it is from the last ones, and that a metrics server hears of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from nouns.stages import RUN_STAGES
from pipeline import open_run
from pipeline.show import metrics
from pipeline.show.page import write_report
from storage.manifest import sealed
from storage.store import Store


def test_measures_are_those_of_the_tables(sample_run):
    workspace, run_id = sample_run
    store, run = Store(workspace), open_run(workspace / "runs" / run_id)
    judged = metrics.measures_of(store, run_id, "judge_candidates")
    verdicts = run._frame("judge_candidates", "verdicts.parquet")
    scores = verdicts["score"].dropna().astype(float).to_numpy()
    assert judged["score_p50"] == pytest.approx(np.quantile(scores, 0.5), abs=1e-5)
    assert judged["score_p10"] == pytest.approx(np.quantile(scores, 0.1), abs=1e-5)
    assert judged["score_mean"] == pytest.approx(scores.mean(), abs=1e-5)
    selected = metrics.measures_of(store, run_id, "select_winners")
    outcomes = run.selections()["outcome"]
    assert selected["abstention_rate"] == pytest.approx((outcomes == "abstained").mean(), abs=1e-6)
    for stage in RUN_STAGES:
        found = metrics.measures_of(store, run_id, stage)
        rejected = sum(value for name, value in found.items() if name.startswith("rejected."))
        assert found["in"] == found["out"] + rejected, stage
    assert metrics.measures_of(store, run_id, "compare_writers") == {}


def test_drift_counts_standard_deviations_of_normal_runs():
    """With many normally distributed runs the robust distance is the plain one; two runs tell nothing."""
    earlier = np.random.default_rng(3).normal(100.0, 10.0, 20_001).tolist()
    median, distance = metrics.drift(130.0, earlier)
    assert median == pytest.approx(100.0, abs=0.3)
    assert distance == pytest.approx(3.0, abs=0.1)
    assert metrics.drift(130.0, [100.0, 100.0]) is None
    assert metrics.drift(100.0, [100.0] * 5) == (100.0, 0.0)
    assert metrics.drift(200.0, [100.0] * 5) == (100.0, 20.0)  # a spread of nothing counts as 5 %


@pytest.fixture
def with_history(sample_run, tmp_path):
    """Four earlier runs like the sample's, then one that abstained on nearly everything; the last one's id."""
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    for number in range(5):
        other = f"{number:012x}"
        shutil.copytree(copy / "runs" / run_id, copy / "runs" / other)
        described = json.loads((copy / "runs" / other / "run.json").read_text())
        (copy / "runs" / other / "run.json").write_text(sealed(described | {"run_id": other}))
        path = copy / "runs" / other / "select_winners" / "timing.json"
        path.write_text(sealed(json.loads(path.read_text()) | {"finished_at": f"2027-01-0{number + 1}T00:00:00Z"}))
    shutil.rmtree(copy / "runs" / run_id)
    path = copy / "runs" / other / "select_winners" / "manifest.json"
    manifest = json.loads(path.read_text())
    counts = manifest["counts"]
    counts["rejected"]["below_minimum_score"] = counts["rejected"].get("below_minimum_score", 0) + counts["out"] - 1
    counts["out"] = 1
    path.write_text(sealed({k: v for k, v in manifest.items() if k != "digest"} | {"fingerprint": "another"}))
    return copy, other


def test_a_run_that_differs_from_the_last_ones_is_named_in_its_report(with_history):
    workspace, run_id = with_history
    store = Store(workspace)
    assert metrics.earlier_runs(store, run_id, "select_winners") == [f"{n:012x}" for n in (3, 2, 1, 0)]
    far = {entry.measure: entry for _, entry in metrics.noteworthy(store, run_id, ["select_winners"])}
    assert far["abstention_rate"].distance > 3
    assert far["out"].distance < -3
    assert far["out"].runs == 4
    assert "in" not in far
    page = Path(write_report(store, run_id)).read_text(encoding="utf-8")
    assert "Compared with the last runs" in page


def test_the_first_run_has_nothing_to_be_compared_with(sample_run, tmp_path):
    workspace, run_id = sample_run
    assert metrics.drifts(Store(workspace), run_id, "select_winners") == []


def test_airflow_hears_gauges_and_counts_paid_calls_only_when_the_stage_ran():
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk.observability import stats

    heard: list[tuple[str, str, float]] = []

    class Heard(NoStatsLogger):
        """A metrics back end as Airflow calls it."""

        @classmethod
        def gauge(cls, stat, value, *_, **__):
            heard.append(("gauge", stat, value))

        @classmethod
        def incr(cls, stat, count=1, *_, **__):
            heard.append(("count", stat, count))

    stats.initialize(factory=Heard, export_legacy_names=False)
    try:
        compared = [metrics.Drift("out", 8.0, 4.0, 3.5, 5)]
        metrics.emit("draft_candidates", {"out": 8.0, "calls": 12, "rejected.too long!": 2}, compared, ran=True)
        first = sorted(heard)
        heard.clear()
        metrics.emit("draft_candidates", {"calls": 12}, [], ran=False)
    finally:
        stats.initialize(factory=NoStatsLogger, export_legacy_names=False)
    assert first == [
        ("count", "supernotes.draft_candidates.calls.total", 12),
        ("gauge", "supernotes.draft_candidates.calls", 12.0),
        ("gauge", "supernotes.draft_candidates.drift.out", 3.5),
        ("gauge", "supernotes.draft_candidates.out", 8.0),
        ("gauge", "supernotes.draft_candidates.rejected.too_long_", 2.0),
    ]
    assert heard == [("gauge", "supernotes.draft_candidates.calls", 12.0)]
