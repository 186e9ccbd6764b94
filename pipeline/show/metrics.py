"""What a finished stage measures, how far that is from the last runs of the workspace, and telling Airflow about it.

Measures are plain numbers by name: `in`, `out`, `rejected_share`, `rejected.REASON`, `calls`, `prompt_tokens`,
`completion_tokens`, `seconds`; for judging the deciles and the mean of the score, for selecting the share of posts without
a winner. They come from manifests and tables that stand in the workspace, so they can be had again at any time.

Drift is a robust distance: (value - median of the earlier runs) / (1.4826 * their median absolute deviation), which for
normally distributed runs counts standard deviations (Rousseeuw & Croux 1993, Alternatives to the median absolute
deviation). The deviation is floored, because equal runs would make every change infinite.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nouns.stages import ALL_STAGES
from storage.runs import where
from storage.store import Store

LAST_RUNS = 10  # earlier runs that a run is compared with
FEWEST_RUNS = 3  # with fewer than these there is no drift to speak of
NOTEWORTHY = 3.0  # robust standard deviations beyond which a measure is named in log and report
_RELATIVE_FLOOR = 0.05  # a spread below 5 % of the median counts as 5 %
_ABSOLUTE_FLOOR = 0.01  # for shares and scores near zero
_COUNTED = ("calls", "prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Drift:
    """One measure beside the last runs. `distance` is in robust standard deviations, `runs` says of how many runs."""

    measure: str
    value: float
    median: float
    distance: float
    runs: int

    @property
    def noteworthy(self) -> bool:
        return abs(self.distance) > NOTEWORTHY


def measures_of(store: Store, run_id: str, stage: str) -> dict[str, float]:
    """The measures of a finished stage of a run, sorted by name; empty if the stage has not finished.

    They are remembered in the run's directory by the digest of the stage's outputs, because older runs are asked often.
    """
    manifest = store.manifest(f"runs/{run_id}/{stage}")
    if manifest is None:
        return {}
    kept_at = f"runs/{run_id}/.measures/{stage}.json"
    key = f"{manifest.fingerprint}:{manifest.digest}"
    kept = store.read_text(kept_at)
    if kept is not None:
        found = json.loads(kept)
        if found["of"] == key:
            return found["measures"]
    rel = where(store, run_id, stage)
    timing = json.loads(store.read_text(f"{rel}/timing.json") or "{}")
    measures = from_counts(manifest.counts, timing.get("seconds"))
    if stage == "judge_candidates":
        measures |= _scores(store, rel)
    elif stage == "select_winners" and manifest.counts.get("in"):
        measures["abstention_rate"] = 1 - manifest.counts["out"] / manifest.counts["in"]
    measures = {name: round(measures[name], 6) for name in sorted(measures)}
    store.write_text(kept_at, json.dumps({"of": key, "measures": measures}, sort_keys=True) + "\n")
    return measures


def from_counts(counts: Mapping[str, Any], seconds: float | None = None) -> dict[str, float]:
    """Measures that every stage has, from its manifest's counts."""
    rejected = counts.get("rejected") or {}
    measures: dict[str, float] = {"in": counts.get("in", 0), "out": counts.get("out", 0)}
    measures |= {f"rejected.{reason}": number for reason, number in rejected.items()}
    if measures["in"]:
        measures["rejected_share"] = sum(rejected.values()) / measures["in"]
    measures |= {name: counts[name] for name in _COUNTED if isinstance(counts.get(name), int)}
    if seconds is not None:
        measures["seconds"] = seconds
    return measures


def _scores(store: Store, rel: str) -> dict[str, float]:
    """Deciles 1, 5 and 9 and the mean of the candidates' scores; empty when none was judged."""
    import polars as pl

    column = pl.read_parquet(store.local(rel) / "verdicts.parquet", columns=["score"])["score"].drop_nulls()
    if column.is_empty():
        return {}
    out = {f"score_p{share}": float(column.quantile(share / 100, "linear") or 0.0) for share in (10, 50, 90)}
    return out | {"score_mean": float(column.cast(pl.Float64).mean() or 0.0)}  # type: ignore[arg-type]


def drift(value: float, earlier: Sequence[float]) -> tuple[float, float] | None:
    """(median of `earlier`, distance of `value` from it); None with fewer than `FEWEST_RUNS` earlier values."""
    if len(earlier) < FEWEST_RUNS:
        return None
    median = statistics.median(earlier)
    spread = 1.4826 * statistics.median(abs(entry - median) for entry in earlier)
    return median, (value - median) / max(spread, _RELATIVE_FLOOR * abs(median), _ABSOLUTE_FLOOR)


def drifts(store: Store, run_id: str, stage: str) -> list[Drift]:
    """How far each measure of a stage lies from the last runs of the workspace that finished it, sorted by name."""
    measures = measures_of(store, run_id, stage)
    earlier = [measures_of(store, other, stage) for other in earlier_runs(store, run_id, stage)]
    found = []
    for name, value in measures.items():
        compared = drift(value, [entry[name] for entry in earlier if name in entry])
        if compared is not None:
            found.append(Drift(name, value, compared[0], round(compared[1], 3), len(earlier)))
    return found


def earlier_runs(store: Store, run_id: str, stage: str) -> list[str]:
    """At most `LAST_RUNS` other runs that finished `stage` before this one did, the last first."""
    finished = {}
    for run in store.list("runs"):
        timing = store.read_text(f"{where(store, run, stage)}/timing.json")
        if timing is not None:
            finished[run] = str(json.loads(timing).get("finished_at", ""))
    here = finished.get(run_id)
    others = [run for run in finished if run != run_id and (here is None or finished[run] <= here)]
    return sorted(others, key=lambda run: (finished[run], run), reverse=True)[:LAST_RUNS]


def noteworthy(store: Store, run_id: str, stages: Iterable[str] = ALL_STAGES) -> list[tuple[str, Drift]]:
    """(stage, drift) of every measure that lies far from the last runs, the farthest first."""
    found = [(stage, entry) for stage in stages for entry in drifts(store, run_id, stage) if entry.noteworthy]
    return sorted(found, key=lambda pair: (-abs(pair[1].distance), pair[0], pair[1].measure))


def emit(stage: str, measures: Mapping[str, float], compared: Iterable[Drift], *, ran: bool) -> None:
    """Give Airflow's metrics (StatsD or OpenTelemetry, whichever is on) a stage's measures.

    Gauges `supernotes.STAGE.MEASURE` and `supernotes.STAGE.drift.MEASURE`; what costs money is counted as well, but only
    when the stage `ran`: a skipped one repeats no call. Outside Airflow's task runner nothing listens and nothing happens.
    """
    from airflow.sdk.observability import stats

    for name, value in measures.items():
        stats.gauge(f"supernotes.{stage}.{_safe(name)}", float(value))
        if ran and name in _COUNTED:
            stats.incr(f"supernotes.{stage}.{name}.total", int(value))
    for entry in compared:
        if math.isfinite(entry.distance):
            stats.gauge(f"supernotes.{stage}.drift.{_safe(entry.measure)}", entry.distance)


def _safe(name: str) -> str:
    """A measure's name with nothing in it that StatsD or OpenTelemetry would refuse."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in name)
