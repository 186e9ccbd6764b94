"""A run's report as one HTML page: where every post went, how the stages went, what the scores look like."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.notices import notices_of
from nouns.stages import RUN_STAGES
from pipeline.show.frames import Run, open_run
from pipeline.show.metrics import drifts
from pipeline.show.text import open_in, read_selections, report_path, stage_timings
from storage.runs import where
from storage.store import Store

_TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Run {{ run_id }}</title>
<style>
:root { color-scheme: light dark; --line: #8886; --bar: #3b6fb6; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } .bar { background: var(--bar); height: .7rem; display: inline-block; min-width: 1px; }
blockquote { margin: .2rem 0; padding-left: .8rem; border-left: 3px solid var(--bar); white-space: pre-wrap; } .dim { opacity: .7; }
</style>
<h1>Run {{ run_id }}</h1>
<p class="dim">Texts of winners are machine-written from the notes people proposed; scores come from a simulated jury, not from people.</p>
<h2>Where every post went</h2>
<table><tr><th>outcome<th class="n">posts<th></tr>
{% for name, number in outcomes %}<tr><td>{{ name }}<td class="n">{{ "{:,}".format(number) }}<td><span class="bar" style="width:{{ 30 * number / most }}rem"></span></tr>
{% endfor %}</table>
<h2>Stages</h2>
<table><tr><th>stage<th class="n">in<th class="n">out<th>left out, by reason<th class="n">seconds<th class="n">model calls<th class="n">tokens</tr>
{% for stage, counts, timing in stages %}<tr><td>{{ stage }}<td class="n">{{ "{:,}".format(counts.get("in", 0)) }}<td class="n">{{ "{:,}".format(counts.get("out", 0)) }}
<td>{% for reason, number in counts.get("rejected", {}).items() %}{{ reason }} {{ "{:,}".format(number) }}{{ ", " if not loop.last }}{% endfor %}
<td class="n">{{ timing.get("seconds", "") }}<td class="n">{{ counts.get("calls", "") }}<td class="n">{{ counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0) if "completion_tokens" in counts else "" }}</tr>
{% endfor %}</table>
{% if notices %}<h2>What was noticed</h2>
<ul>{% for entry in notices %}<li>{% if entry.level != "told" %}<b>{{ entry.level }}</b> {% endif %}{{ entry.stage }}: {{ entry.text }}</li>
{% endfor %}</ul>{% endif %}
{% if baseline %}<h2>The language model against the extractive writer</h2>
<p class="dim">Both drafted on {{ "{:,}".format(baseline.posts) }} posts. Per post the best text of each that passed the checks, before the appeal jury.</p>
<table><tr><th>posts where both have a text that passed<td class="n">{{ "{:,}".format(baseline.both) }}</tr>
{% if baseline.share_better %}<tr><th>the model's is better on<td class="n">{{ "%.0f" % (100 * baseline.share_better.value) }} % [{{ "%.0f" % (100 * baseline.share_better.lo) }}, {{ "%.0f" % (100 * baseline.share_better.hi) }}]</tr>
<tr><th>by, on average (X's scale)<td class="n">{{ "%+.3f" % baseline.difference.value }} [{{ "%+.3f" % baseline.difference.lo }}, {{ "%+.3f" % baseline.difference.hi }}]</tr>{% endif %}
<tr><th>only the model has one<td class="n">{{ "{:,}".format(baseline.only_model) }}</tr>
<tr><th>only the extractive writer has one<td class="n">{{ "{:,}".format(baseline.only_baseline) }}</tr>
<tr><th>neither<td class="n">{{ "{:,}".format(baseline.neither) }}</tr></table>{% endif %}
{% if compared or near %}<h2>Compared with the last runs</h2>
<p class="dim">Distance from the median of up to ten earlier runs of this workspace, in robust standard deviations; beyond 3 is bold. {{ near }} measures within 1 are not listed.</p>
{% if compared %}<table><tr><th>stage<th>measure<th class="n">this run<th class="n">median<th class="n">distance<th class="n">runs</tr>
{% for stage, entry in compared %}<tr><td>{{ stage }}<td>{{ entry.measure }}<td class="n">{{ "%.4g" % entry.value }}<td class="n">{{ "%.4g" % entry.median }}
<td class="n">{% if entry.noteworthy %}<b>{{ "%+.1f" % entry.distance }}</b>{% else %}{{ "%+.1f" % entry.distance }}{% endif %}<td class="n">{{ entry.runs }}</tr>{% endfor %}</table>{% endif %}{% endif %}
{% if histogram %}<h2>Scores of winners</h2>
<p class="dim">X's scale: a fitted intercept of 0.40 means Helpful.</p>
<table>{% for low, number in histogram %}<tr><td class="n">{{ "%+.2f" % low }}<td class="n">{{ number }}<td><span class="bar" style="width:{{ 30 * number / highest }}rem"></span></tr>{% endfor %}</table>{% endif %}
<h2>Winners</h2>
<table>{% for row in winners %}<tr><td>{{ row.post_id }}<td class="n">{{ "%+.3f" % row.score if row.score is not none }}<br><span class="dim">[{{ "%+.2f" % row.lower if row.lower is not none }}, {{ "%+.2f" % row.upper if row.upper is not none }}]</span>
<td><blockquote>{{ row.text }}</blockquote><span class="dim">{{ row.reason }}</span></tr>{% endfor %}</table>
{% if left %}<p class="dim">and {{ "{:,}".format(left) }} more: supernotes show {{ run_id }} --limit 1000</p>{% endif %}
</html>
"""


def write_report(store: Store, run_id: str, limit: int = 100) -> str:
    """Write `runs/ID/report.html` and return its path or URL; the numbers go into report.json beside it.

    Every text is escaped; the page loads nothing from elsewhere. A remote run is read from local copies of its stages.
    """
    if store.remote:
        with tempfile.TemporaryDirectory(prefix="report-", dir=store.home) as directory:
            page, numbers = _page(store, _copy_of(store, run_id, Path(directory) / "runs" / run_id), limit)
    else:
        page, numbers = _page(store, open_in(store, run_id), limit)
    store.write_text(f"runs/{run_id}/report.json", json.dumps(numbers, indent=1) + "\n")
    store.write_text(f"runs/{run_id}/report.html", page)
    return f"{store.root}/runs/{run_id}/report.html" if store.remote else str(report_path(store, run_id))


def _copy_of(store: Store, run_id: str, target: Path) -> Run:
    """A remote run as a local one: links to the local copies of its finished stages."""
    described = store.read_text(f"runs/{run_id}/run.json")
    if described is None:
        known = ", ".join(store.list("runs")) or "none"
        raise InputError(f"There is no run {run_id!r} in {store.root!r}; its runs: {known}.")
    target.mkdir(parents=True)
    (target / "run.json").write_text(described, encoding="utf-8")
    for stage in RUN_STAGES:
        if store.manifest(f"runs/{run_id}/{stage}"):
            rel = where(store, run_id, stage)
            if not Path(rel).is_absolute():
                (target / stage).symlink_to(store.local(rel).resolve())
    return open_run(target)


def _page(store: Store, run: Run, limit: int) -> tuple[str, dict[str, Any]]:
    """The page's HTML, and its numbers."""
    import jinja2

    run_id = run.run_id
    try:
        selections = read_selections(run)
    except InputError:
        selections = []
    outcomes: dict[str, int] = {}
    for row in selections:
        name = "winner" if row["outcome"] == "winner" else f"abstained: {row['reason_code']}"
        outcomes[name] = outcomes.get(name, 0) + 1
    winners = sorted(
        (row for row in selections if row["outcome"] == "winner"),
        key=lambda row: (-(row["score"] or 0), row["post_id"]),
    )
    ordered = sorted(outcomes.items(), key=lambda item: (item[0] != "winner", -item[1], item[0]))
    histogram = _histogram([row["score"] for row in winners if row["score"] is not None])
    baseline = _baseline(run)
    compared = [(stage, entry) for stage in RUN_STAGES for entry in drifts(store, run_id, stage)]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    page = environment.from_string(_TEMPLATE).render(
        run_id=run_id,
        outcomes=ordered,
        most=max(outcomes.values(), default=1),
        stages=(stages := stage_timings(run)),
        notices=[entry for stage, counts, _ in stages for entry in notices_of(stage, counts)],
        histogram=histogram,
        baseline=baseline,
        highest=max((number for _, number in histogram), default=1),
        winners=winners[:limit],
        left=max(0, len(winners) - limit),
        compared=[(stage, entry) for stage, entry in compared if abs(entry.distance) >= 1],
        near=sum(abs(entry.distance) < 1 for _, entry in compared),
    )
    return page, {"run_id": run_id, "outcomes": dict(ordered), "baseline": baseline}


def _baseline(run: Run) -> dict[str, Any] | None:
    """The language model against the extractive writer, where the run has both."""
    import polars as pl

    from jury.select.baseline import summarise

    try:
        path = run.directory("select_winners") / "baseline.parquet"
    except InputError:
        return None
    return summarise(pl.read_parquet(path)) if path.exists() else None


def _histogram(scores: list[float], width: float = 0.05) -> list[tuple[float, int]]:
    """(lower edge, count) of bins of the given width covering the scores; empty for none."""
    import math

    if not scores:
        return []
    counts: dict[int, Any] = {}
    for score in scores:
        bin_number = math.floor(score / width)
        counts[bin_number] = counts.get(bin_number, 0) + 1
    return [(number * width, counts.get(number, 0)) for number in range(min(counts), max(counts) + 1)]
