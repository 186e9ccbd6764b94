"""A run's report as one HTML page: where every post went, how the stages went, what the scores look like."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.notices import notices_of
from nouns.stages import RUN_STAGES
from nouns.words import words
from pipeline.show.frames import Run, open_run
from pipeline.show.metrics import drifts
from pipeline.show.text import open_in, read_selections, report_path, stage_timings
from storage.runs import where
from storage.store import Store

_TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Supernotes, run {{ run_id }}</title>
<style>
:root { color-scheme: light dark; --paper: #f7f5f0; --card: #fff; --ink: #1c1e22; --soft: #5a5f69; --line: #dcd8ce; --bar: #0b6e66; }
@media (prefers-color-scheme: dark) { :root { --paper: #14161a; --card: #1d2026; --ink: #e9e7e1; --soft: #a7abb4; --line: #343841; --bar: #5fd3c6; } }
* { box-sizing: border-box; } body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: .8rem 1rem; margin: 0 0 1rem; overflow-x: auto; } h1 { font-size: 1.5rem; margin: .4rem 0; } h2 { font-size: 1.08rem; margin: 0 0 .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; } th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: normal; overflow-wrap: anywhere; }
td:not(.n), th:not(.n) { min-width: 6.2rem; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; white-space: nowrap; } .bar { background: var(--bar); height: .7rem; display: block; min-width: 1px; border-radius: 99px; } td.b { width: 40%; }
article { border-top: 1px solid var(--line); padding: .6rem 0; } blockquote { margin: .2rem 0; padding-left: .8rem; border-left: 3px solid var(--bar); white-space: pre-wrap; overflow-wrap: anywhere; } .dim { color: var(--soft); font-size: .9rem; overflow-wrap: anywhere; } a { color: var(--bar); }
@media print { body { background: none; } section { break-inside: auto; border: 0; padding: 0; } article { break-inside: avoid; } }
</style>
<h1>Run {{ run_id }}</h1>
<p class="dim">Made from {{ request.source or "its inputs" }}{% if request.posts %}, posts from {{ request.posts }}{% endif %}{% if request.raters %}, raters from {{ request.raters }}{% endif %}{% if request.jury %}, jury {{ request.jury }}{% endif %}; {{ "as of " ~ as_of if as_of else "with everything known when it ran" }}.<br>Texts of winners are machine-written from the notes people proposed; scores come from a simulated jury, not from people.</p>
<section><h2>Where every post went</h2>
<table>{% for name, number in outcomes %}<tr><td>{{ said(name) }}<td class="n">{{ "{:,}".format(number) }}<td class="b"><span class="bar" style="width:{{ 100 * number / most }}%"></span></tr>
{% endfor %}</table></section>
<section><h2>Stages</h2>
<table><tr><th>stage<th class="n">in<th class="n">out<th>left out, by reason<th class="n">seconds<th class="n">model calls<th class="n">tokens</tr>
{% for stage, counts, timing in stages %}<tr><td>{{ stage | words }}<td class="n">{{ "{:,}".format(counts.get("in", 0)) }}<td class="n">{{ "{:,}".format(counts.get("out", 0)) }}
<td>{% for reason, number in counts.get("rejected", {}).items() %}{{ reason | words }} {{ "{:,}".format(number) }}{{ ", " if not loop.last }}{% endfor %}
<td class="n">{{ timing.get("seconds", "") }}<td class="n">{{ counts.get("calls", "") }}<td class="n">{{ counts.get("prompt_tokens", 0) + counts.get("completion_tokens", 0) if "completion_tokens" in counts else "" }}</tr>
{% endfor %}</table></section>
{% if notices %}<section><h2>What was noticed</h2>
<ul>{% for entry in notices %}<li>{% if entry.level != "told" %}<b>{{ entry.level }}</b> {% endif %}{{ entry.stage | words }}: {{ entry.text }}</li>
{% endfor %}</ul></section>{% endif %}
{% if baseline %}<section><h2>The language model against the extractive writer</h2>
<p class="dim">Both drafted on {{ "{:,}".format(baseline.posts) }} posts. Per post the best text of each that passed the checks, before the appeal jury.</p>
<table><tr><th>posts where both have a text that passed<td class="n">{{ "{:,}".format(baseline.both) }}</tr>
{% if baseline.share_better %}<tr><th>the model's is better on<td class="n">{{ "%.0f" % (100 * baseline.share_better.value) }} % [{{ "%.0f" % (100 * baseline.share_better.lo) }}, {{ "%.0f" % (100 * baseline.share_better.hi) }}]</tr>
<tr><th>by, on average (X's scale)<td class="n">{{ "%+.3f" % baseline.difference.value }} [{{ "%+.3f" % baseline.difference.lo }}, {{ "%+.3f" % baseline.difference.hi }}]</tr>{% endif %}
<tr><th>only the model has one<td class="n">{{ "{:,}".format(baseline.only_model) }}</tr>
<tr><th>only the extractive writer has one<td class="n">{{ "{:,}".format(baseline.only_baseline) }}</tr>
<tr><th>neither<td class="n">{{ "{:,}".format(baseline.neither) }}</tr></table></section>{% endif %}
{% if compared or near %}<section><h2>Compared with the last runs</h2>
<p class="dim">Distance from the median of up to ten earlier runs of this workspace, in robust standard deviations; beyond 3 is bold. {{ near }} measures within 1 are not listed.</p>
{% if compared %}<table><tr><th>stage<th>measure<th class="n">this run<th class="n">median<th class="n">distance<th class="n">runs</tr>
{% for stage, entry in compared %}<tr><td>{{ stage | words }}<td>{{ entry.measure | words }}<td class="n">{{ "%.4g" % entry.value }}<td class="n">{{ "%.4g" % entry.median }}
<td class="n">{% if entry.noteworthy %}<b>{{ "%+.1f" % entry.distance }}</b>{% else %}{{ "%+.1f" % entry.distance }}{% endif %}<td class="n">{{ entry.runs }}</tr>{% endfor %}</table>{% endif %}</section>{% endif %}
{% if bars %}<section><h2>Scores of winners, and what a bar would leave</h2>
<p class="dim">X's scale: a fitted intercept of 0.40 means Helpful. Fewer winners are safer ones: with select_winners.minimum_score at a bar, those below it would be abstentions (it is {{ "%.2f" % minimum if minimum is not none else "not recorded" }} here). The chance is what the jury foresees, on average.</p>
<table><tr><th>bar<th class="n">winners from there on<th class="n">of the posts heard<th class="n">chance of Helpful<th></tr>
{% for row in bars %}<tr><td class="n">{{ "%.2f" % row.bar }}<td class="n">{{ "{:,}".format(row.winners) }}<td class="n">{{ "%.1f" % (100 * row.share) }} %<td class="n">{{ "%.0f %%" % (100 * row.chance) if row.chance is not none else "" }}<td class="b"><span class="bar" style="width:{{ 100 * row.winners / bars[0].winners }}%"></span></tr>{% endfor %}</table></section>{% endif %}
<section><h2>Winners</h2>
{% for row in winners %}<article><a href="https://x.com/i/status/{{ row.post_id }}">post {{ row.post_id }}</a> · score {{ "%.2f" % row.score if row.score is not none else "not judged" }}{% if row.lower is not none and row.upper is not none %}, likely {{ "%.2f" % row.lower }} to {{ "%.2f" % row.upper }}{% endif %}{% if row.appeal_score is not none %} · second jury {{ "%.2f" % row.appeal_score }}{% endif %}{% if row.score is not none and row.score < 0.4 %} · <b>below the Helpful line</b>{% endif %}
<blockquote>{{ row.text }}</blockquote><span class="dim">{{ row.reason }}</span></article>
{% endfor %}{% if left %}<p class="dim">and {{ "{:,}".format(left) }} more: supernotes show {{ run_id }} --limit 1000</p>{% endif %}</section>
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

    from jury.select.select import what_bars_leave

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
    bars = what_bars_leave(selections)
    baseline = _baseline(run)
    compared = [(stage, entry) for stage in RUN_STAGES for entry in drifts(store, run_id, stage)]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    environment.filters["words"] = words
    request = json.loads(store.read_text(f"runs/{run_id}/run.json") or "{}").get("request") or {}
    as_of = request.get("as_of")
    if isinstance(as_of, int):
        as_of = datetime.fromtimestamp(as_of / 1000, UTC).strftime("%d %B %Y %H:%M UTC")
    page = environment.from_string(_TEMPLATE).render(
        run_id=run_id,
        request=request,
        as_of=as_of,
        said=lambda name: words(name.removeprefix("abstained: ")) if name != "winner" else "a winner",
        outcomes=ordered,
        most=max(outcomes.values(), default=1),
        stages=(stages := stage_timings(run)),
        notices=[entry for stage, counts, _ in stages for entry in notices_of(stage, counts)],
        bars=bars,
        minimum=run.settings.get("select_winners", {}).get("minimum_score"),
        baseline=baseline,
        winners=winners[:limit],
        left=max(0, len(winners) - limit),
        compared=[(stage, entry) for stage, entry in compared if abs(entry.distance) >= 1],
        near=sum(abs(entry.distance) < 1 for _, entry in compared),
    )
    return page, {"run_id": run_id, "outcomes": dict(ordered), "baseline": baseline, "bars": bars}


def _baseline(run: Run) -> dict[str, Any] | None:
    """The language model against the extractive writer, where the run has both."""
    import polars as pl

    from jury.select.baseline import summarise

    try:
        path = run.directory("select_winners") / "baseline.parquet"
    except InputError:
        return None
    return summarise(pl.read_parquet(path)) if path.exists() else None
