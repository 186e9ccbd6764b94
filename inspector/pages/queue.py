"""The list of runs and the queue of a run's posts."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from inspector.errors import Refused
from inspector.pages import Here
from inspector.reading import Filters
from inspector.site import Site
from inspector.why import why_post

router = APIRouter()

PAGE = 30


@router.get("/")
def home(request: Request, site: Here) -> Response:
    site.require(request)
    return site.redirect(request, "/runs")


@router.get("/runs")
def runs(request: Request, site: Here) -> Response:
    site.require(request)
    return site.render(request, "runs.html", runs=[run_line(site, run_id) for run_id in site.workspace.runs()[:200]])


def run_line(site: Site, run_id: str) -> dict[str, Any]:
    """What the list of runs shows of one, from manifests only, so that the list needs no index."""
    states = site.workspace.stages(run_id)
    selected = states["select_winners"].counts
    finished = sum(state.manifest is not None for state in states.values())
    return {
        "run_id": run_id,
        "finished": finished,
        "stages": len(states),
        "last": next((stage for stage, state in reversed(states.items()) if state.manifest is not None), None),
        "posts": selected.get("in"),
        "winners": selected.get("out"),
        "finished_at": site.workspace.finished_at(run_id),
        "ready": states["cluster_notes"].manifest is not None,
        "jury": site.workspace.jury_of(run_id),
        "writer": _writer(site, run_id),
    }


def _writer(site: Site, run_id: str) -> str:
    settings = site.workspace.described(run_id).get("settings", {}).get("draft_candidates", {})
    return (
        str(settings.get("model") or settings.get("writer") or settings.get("generator") or "")
        if isinstance(settings, dict)
        else ""
    )


@router.get("/runs/{run_id}/posts")
def queue(request: Request, site: Here, run_id: str) -> Response:
    user = site.require(request)
    index = site.index(run_id)
    if not index.facts.get("n_posts"):
        raise Refused("This run has no posts yet: it has not finished cluster_notes.", 404)
    filters = Filters.parse(request.query_params)
    page = index.page(
        filters,
        user.name,
        after=request.query_params.get("after"),
        before=request.query_params.get("before"),
        limit=PAGE,
    )
    return site.render(
        request,
        "queue.html",
        run_id=run_id,
        filters=filters,
        page=page,
        facets=index.facts["facets"],
        progress=index.progress(),
        n_posts=index.facts["n_posts"],
        why_post=why_post,
    )


@router.get("/runs/{run_id}/next")
def next_unseen(request: Request, site: Here, run_id: str) -> Response:
    """Straight to the first post that the analyst has not seen, in the queue's order."""
    user = site.require(request)
    index = site.index(run_id)
    filters = Filters.parse(request.query_params)
    post_id = index.first_unseen(filters, user.name)
    if post_id is None:
        return site.redirect(request, f"/runs/{run_id}/posts?{filters.query()}", all_seen="1")
    return site.redirect(request, f"/runs/{run_id}/posts/{post_id}?{filters.query()}")
