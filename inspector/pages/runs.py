"""A run's page, the comparison of two runs, and the juries' reports."""

from __future__ import annotations

import math
from textwrap import shorten
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from inspector import charts
from inspector.pages import Here
from inspector.read.columns import BIN_EDGES
from inspector.read.runs import file_within, read_json
from inspector.report import reports
from inspector.site import Site, base_of
from nouns.notices import notices_of

router = APIRouter()


@router.get("/runs/compare")
def compare(request: Request, site: Here) -> Response:
    site.require(request)
    a, b = request.query_params.get("a", ""), request.query_params.get("b", "")
    runs = site.workspace.runs()[:200]
    if not (a and b):
        return site.render(request, "compare_runs.html", runs=runs, a=a, b=b, comparison=None)
    first, second = site.index(a), site.index(b)
    described = [site.workspace.described(run).get("settings", {}) for run in (a, b)]
    shares = [(run, index.facts["histograms"]["winners"]) for run, index in ((a, first), (b, second))]
    return site.render(
        request,
        "compare_runs.html",
        runs=runs,
        a=a,
        b=b,
        comparison=(found := reports.compare_runs(first, second)),
        posts=first.posts([c["post_id"] for c in found["changed"]]),
        facts=[first.facts, second.facts],
        settings=reports.setting_differences(*described),
        histogram=charts.histogram(BIN_EDGES, shares, "Winners' scores"),
        stage_rows=[
            (stage, site.workspace.stages(a)[stage], site.workspace.stages(b)[stage])
            for stage in site.workspace.stages(a)
        ],
    )


@router.get("/runs/{run_id}")
def run_page(request: Request, site: Here, run_id: str) -> Response:
    site.require(request)
    site.workspace.require(run_id)
    states = site.workspace.stages(run_id)
    index = site.index(run_id) if states["cluster_notes"].manifest is not None else None
    facts = index.facts if index else {}
    histograms = facts.get("histograms")
    series = (
        [
            (name, histograms[key])
            for name, key in (("candidates", "candidates"), ("existing notes", "notes"), ("winners", "winners"))
        ]
        if histograms
        else []
    )
    funnel = list(facts.get("funnel", []))
    progress = index.progress() if index else {}
    if funnel and "select_winners" in {s for s, state in states.items() if state.manifest}:
        published = progress.get("accept", 0) + progress.get("edit", 0)
        funnel = [*funnel, {"name": "accepted by analysts", "n": published, "lost": {}}]
    jury = site.workspace.jury_of(run_id)
    report = read_report(site, jury) if jury else {}
    return site.render(
        request,
        "run.html",
        run_id=run_id,
        states=states,
        described=site.workspace.described(run_id),
        facts=facts,
        funnel=charts.funnel(funnel),
        lost=[
            (step["name"], code, n)
            for step in funnel
            for code, n in sorted(step["lost"].items(), key=lambda e: (-e[1], e[0]))
        ],
        histogram=charts.histogram(BIN_EDGES, series, "Scores") if series else "",
        progress=progress,
        tokens=[(stage, *_tokens(state.counts)) for stage, state in states.items() if any(_tokens(state.counts))],
        seconds=sum(_seconds(state) for state in states.values()),
        stage_seconds={stage: _seconds(state) for stage, state in states.items()},
        notices=[entry for stage, state in states.items() for entry in notices_of(stage, state.counts)],
        stories=bool(index and index.columns.code["story_id"]),
        order=site.workspace.jury_facts(run_id)["order"],
        jury=jury,
        metrics=metric_rows(report),
        runs=[other for other in site.workspace.runs()[:200] if other != run_id],
    )


@router.get("/runs/{run_id}/stories")
def stories(request: Request, site: Here, run_id: str) -> Response:
    """Claims that several posts of the run share, with their posts."""
    site.require(request)
    found, n = site.index(run_id).stories()
    return site.render(request, "stories.html", run_id=run_id, stories=found, n=n)


@router.get("/runs/{run_id}/map")
def run_map(request: Request, site: Here, run_id: str) -> Response:
    """Every winner in the plane with a line from the best existing note, and winners with intervals against the line."""
    site.require(request)
    index = site.index(run_id)
    base = f"{base_of(request)}/runs/{run_id}/posts/"
    moves = index.moves()[:500]
    rows = sorted((m for m in moves if m["score"] is not None), key=lambda m: -m["score"])[:60]
    lines = [
        charts.Score(
            shorten(m["words"], 30, placeholder=" …"),
            "winner",
            m["score"],
            m["lower"],
            m["upper"],
            f"{base}{m['post_id']}",
        )
        for m in rows
    ]
    strip = charts.score_strip(lines, left=230)
    return site.render(
        request, "map.html", run_id=run_id, map=charts.moves(moves, base), strip=strip, n=len(moves), shown=len(rows)
    )


def _seconds(state: Any) -> float:
    value = state.timing.get("seconds", 0)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def _tokens(counts: dict[str, Any]) -> tuple[int, int]:
    """Prompt and completion tokens a stage counted, wherever in its counts they stand."""
    totals = {"prompt_tokens": 0, "completion_tokens": 0}

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, entry in value.items():
                if key in totals and isinstance(entry, (int, float)):
                    totals[key] += int(entry)
                else:
                    look(entry)

    look(counts)
    return totals["prompt_tokens"], totals["completion_tokens"]


# -- juries ---------------------------------------------------------------------------------------------------------


@router.get("/juries")
def juries(request: Request, site: Here) -> Response:
    site.require(request)
    rows = []
    for name in site.workspace.juries():
        report = read_report(site, name)
        rows.append(
            {
                "name": name,
                "metrics": {row["name"]: row for row in metric_rows(report)},
                "runs": [r for r in site.workspace.runs()[:200] if site.workspace.jury_of(r) == name],
            }
        )
    return site.render(request, "juries.html", juries=rows)


@router.get("/juries/{name}")
def jury_page(request: Request, site: Here, name: str) -> Response:
    site.require(request)
    directory = site.workspace.jury_directory(name)
    report = read_report(site, name)
    metrics, baselines = metric_rows(report), _dict(report.get("baselines"))
    return site.render(
        request,
        "jury.html",
        name=name,
        metrics=metrics,
        baselines=list(baselines),
        table_of_baselines=beside_baselines(metrics, baselines),
        slices=[
            (str(entry.get("slice", "?")), metric_rows(entry))
            for entry in report.get("slices", [])
            if isinstance(entry, dict)
        ]
        if isinstance(report.get("slices"), list)
        else [],
        pictures=sorted(path.name for path in directory.glob("*.png"))[:40],
        has_html=(directory / "report.html").is_file(),
        runs=[run for run in site.workspace.runs()[:200] if site.workspace.jury_of(run) == name],
    )


@router.get("/juries/{name}/files/{file}")
def jury_file(request: Request, site: Here, name: str, file: str) -> Response:
    """A picture or the report of a jury. The report was written by a program: it is shown in a sandbox without script."""
    site.require(request)
    path = file_within(site.workspace.jury_directory(name), file, (".png", ".html", ".json"))
    response = FileResponse(
        path, media_type={".png": "image/png", ".html": "text/html", ".json": "application/json"}[path.suffix]
    )
    if path.suffix == ".html":
        response.headers["Content-Security-Policy"] = (
            "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        )
    return response


def read_report(site: Site, name: str) -> dict[str, Any]:
    """A jury's report with `metrics`, `baselines` and `slices` on top, wherever the file keeps them; {} if it is broken."""
    report = _dict(read_json(site.workspace.jury_directory(name) / "report.json"))
    return {key: value for key, value in report.items() if key != "evaluation"} | _dict(report.get("evaluation"))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


METRIC_WORDS = {
    "rating_auc": "tells helpful ratings from others (AUC)",
    "log_loss": "log-loss of a rating",
    "ece": "calibration error",
    "intercept_spearman": "rank agreement with note intercepts",
    "factor_spearman": "rank agreement with note factors",
    "pair_same_stance": "better of two notes of one stance",
    "pair_cross_stance": "better of two notes of other stance",
    "coverage_90": "90 % intervals that hold the truth",
    "crh_auc": "tells Helpful notes from others (AUC)",
    "rating_auc_without_history": "the same AUC, nothing known of the rater's other ratings of the post",
    "log_loss_without_history": "the same log-loss, nothing known of the rater's other ratings of the post",
}
LOWER_IS_BETTER = frozenset({"log_loss", "log_loss_without_history", "ece"})


def beside_baselines(metrics: list[dict[str, Any]], baselines: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a metric of ours: `words`, `n`, `ours`, `theirs` (a baseline's row or None, in the order given), `beaten` (by how many of them).

    Coverage has no better or worse direction and is never counted as beaten.
    """
    by_name = [{row["name"]: row for row in metric_rows({"metrics": value})} for value in baselines.values()]
    table = []
    for ours in metrics:
        theirs = [rows.get(ours["name"]) for rows in by_name]
        sign = -1 if ours["name"] in LOWER_IS_BETTER else 1
        better = [row for row in theirs if row and round(sign * (row["value"] - ours["value"]), 3) > 0]
        table.append(ours | {"theirs": theirs, "beaten": 0 if ours["name"] == "coverage_90" else len(better)})
    return table


def metric_rows(report: Any) -> list[dict[str, Any]]:
    """Metrics of a report as rows: name, words, value, lo, hi, n; anything that is no number is left out."""
    rows = []
    for name, entry in _dict(_dict(report).get("metrics")).items():
        values = entry if isinstance(entry, dict) else {"value": entry}
        value = values.get("value")
        if isinstance(value, (int, float)) and math.isfinite(value):
            rows.append(
                {"name": name, "words": METRIC_WORDS.get(name, name.replace("_", " ")), "value": value}
                | {key: values.get(key) for key in ("lo", "hi", "n")}
            )
    return rows
