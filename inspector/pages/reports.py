"""Reports over decisions: agreement, misses both ways, history, and the files that leave the inspector."""

from __future__ import annotations

import io

from fastapi import APIRouter, Request, Response

from inspector.decide import accounts, decisions
from inspector.pages import Here, number, table_file
from inspector.read.reading import RunIndex
from inspector.report import reports
from inspector.site import Site
from nouns.decisions import COLUMNS

router = APIRouter()

HISTORY_PAGE = 100
DECISION_COLUMNS = [name for name in COLUMNS if name not in ("seq", "other_sha256", "based_on", "assessment")]


def _indexes(site: Site, run_id: str) -> list[RunIndex]:
    """The run named, or every run that analysts have decided on."""
    if run_id:
        return [site.index(run_id)]
    with_decisions = {row.run_id for row in decisions.history(site.engine)}
    return [site.index(run) for run in site.workspace.runs() if run in with_decisions]


@router.get("/reports/agreement")
def agreement(request: Request, site: Here) -> Response:
    site.require(request)
    run_id = request.query_params.get("run", "")
    indexes = _indexes(site, run_id)
    rows = decisions.history(site.engine, run_id or None)
    return site.render(
        request,
        "agreement.html",
        run_id=run_id,
        runs=site.workspace.runs()[:200],
        found=reports.measure_agreement(indexes, rows),
    )


@router.get("/runs/{run_id}/misses")
def misses(request: Request, site: Here, run_id: str) -> Response:
    site.require(request)
    index = site.index(run_id)
    found = reports.bad_misses(index, decisions.history(site.engine, run_id))
    texts = {entry["post_id"]: index.post(entry["post_id"]) for entries in found.values() for entry in entries}
    return site.render(request, "misses.html", run_id=run_id, found=found, posts=texts)


@router.get("/history")
def history(request: Request, site: Here) -> Response:
    """Everything that was ever decided, newest first; nothing is left out."""
    site.require(request)
    before = request.query_params.get("before", "")
    run_id = request.query_params.get("run", "") or None
    analyst = request.query_params.get("analyst", "") or None
    kind = request.query_params.get("kind", "") or None
    rows = decisions.history(
        site.engine,
        run_id,
        analyst=analyst,
        kind=kind,
        before=number(before) if before else None,
        limit=HISTORY_PAGE + 1,
        descending=True,
    )
    more = len(rows) > HISTORY_PAGE
    shown = rows[:HISTORY_PAGE]
    undone = {
        row.undoes
        for row in decisions.history(site.engine, run_id, after=shown[-1].seq if shown else 0)
        if row.kind == "undo"
    }
    return site.render(
        request,
        "history.html",
        rows=shown,
        more=more,
        undone=undone,
        run_id=run_id or "",
        analyst=analyst or "",
        kind=kind or "",
        runs=site.workspace.runs()[:200],
        people=sorted({row["name"] for row in accounts.list_users(site.engine)} | {row.analyst for row in shown}),
    )


@router.get("/runs/{run_id}/publication")
def publication_page(request: Request, site: Here, run_id: str) -> Response:
    site.require(request)
    index = site.index(run_id)
    published, withheld = reports.publication(site.workspace, index, decisions.history(site.engine))
    return site.render(
        request, "publication.html", run_id=run_id, published=published[:200], n=len(published), withheld=withheld
    )


@router.get("/runs/{run_id}/publication.{kind}")
def publication_file(request: Request, site: Here, run_id: str, kind: str) -> Response:
    site.require(request)
    index = site.index(run_id)
    rows, _ = reports.publication(site.workspace, index, decisions.history(site.engine))
    if kind == "csv":
        rows = [
            row
            | {f"decision_{k}": v for k, v in row["decision"].items()}
            | {f"provenance_{k}": v for k, v in row["provenance"].items()}
            for row in rows
        ]
    columns = [
            "post_id", "text", "text_sha256", "generated", "edited_by_person", "sources", "decision_kind", "decision_analyst",
            "decision_created_at", "decision_decision_id", "decision_comment", "provenance_run_id", "provenance_candidate_id",
            "provenance_source_note_ids", "provenance_writer", "provenance_prompt_version", "provenance_score", "provenance_lower",
            "provenance_upper",
        ]  # fmt: skip
    return table_file(kind, f"publication-{run_id}", columns, rows)


@router.get("/decisions.{kind}")
def decisions_file(request: Request, site: Here, kind: str) -> Response:
    """The whole history, undone decisions and undos included: as Parquet what build_pairs and exports read."""
    site.require(request)
    run_id = request.query_params.get("run", "") or None
    if run_id:
        site.workspace.require(run_id)
    rows = decisions.history(site.engine, run_id)
    if kind == "parquet":
        buffer = io.BytesIO()
        decisions.decisions_frame(rows).write_parquet(buffer, compression="zstd")
        return Response(
            buffer.getvalue(),
            media_type="application/vnd.apache.parquet",
            headers={"Content-Disposition": 'attachment; filename="decisions.parquet"'},
        )
    return table_file(kind, "decisions", DECISION_COLUMNS, [row.to_json() for row in rows])
