"""The list of runs and the queue of a run's posts: filters, saved views, downloads, several posts at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from inspector.decide import accounts, decisions
from inspector.decide.decisions import NewDecision
from inspector.pages import Form, Here, field, number, table_file
from inspector.pages.posts import store_decision
from inspector.pages.texts import done_decision
from inspector.read.reading import Filters, RunIndex
from inspector.read.why import why_post
from inspector.site import Site, new_key
from nouns.errors import Refused

router = APIRouter()

PAGE = 30
COLUMNS = (
    "post_id", "outcome", "reason_code", "reason", "winner_text", "score", "lower", "upper", "appeal", "best_note_id",
    "best_score", "gain", "disagreement", "n_notes", "n_ratings", "n_candidates", "language", "story_id", "decision",
    "decided_by", "decided_at", "flagged", "post_text",
)  # fmt: skip


@router.get("/")
def home(request: Request, site: Here) -> Response:
    site.require(request)
    return site.redirect(request, "/runs")


@router.get("/glossary")
def glossary(request: Request, site: Here) -> Response:
    site.require(request)
    return site.render(request, "glossary.html")


@router.get("/runs")
def runs(request: Request, site: Here) -> Response:
    site.require(request)
    return site.render(request, "runs.html", runs=[run_line(site, run_id) for run_id in site.workspace.runs()[:200]])


def run_line(site: Site, run_id: str) -> dict[str, Any]:
    """What the list of runs shows of one, from manifests only, so that the list needs no index."""
    states = site.workspace.stages(run_id)
    selected = states["select_winners"].counts
    return {
        "run_id": run_id,
        "name": site.run_name(run_id),
        "finished": sum(state.manifest is not None for state in states.values()),
        "stages": len(states),
        "last": next((stage for stage, state in reversed(states.items()) if state.manifest is not None), None),
        "posts": selected.get("in"),
        "winners": selected.get("out"),
        "finished_at": site.workspace.finished_at(run_id),
        "ready": states["cluster_notes"].manifest is not None,
        "jury": site.workspace.jury_of(run_id),
        "writer": site.workspace.writer(run_id),
    }


@router.post("/runs/{run_id}/name")
def name_run(request: Request, site: Here, form: Form, run_id: str) -> Response:
    site.require(request, "analyst")
    decisions.name_run(site.engine, site.workspace.require(run_id), field(form, "name", 120))
    return site.redirect(request, f"/runs/{run_id}")


@router.get("/runs/{run_id}/posts")
def queue(request: Request, site: Here, run_id: str) -> Response:
    return _queue_page(request, site, site.index(run_id))


def _queue_page(request: Request, site: Site, index: RunIndex, status: int = 200, message: str = "") -> Response:
    user = site.require(request)
    if not index.facts.get("n_posts"):
        raise Refused("This run has no posts yet: it has not finished clustering the notes.", 404)
    query = request.query_params
    filters = Filters.parse(query)
    page = index.page(filters, user.name, after=query.get("after"), before=query.get("before"), limit=PAGE)
    people = [row["name"] for row in accounts.list_users(site.engine)]
    return site.render(
        request,
        "queue.html",
        status,
        run_id=index.run_id,
        filters=filters,
        q=filters.query(),
        page=page,
        rows=page.rows,
        facets=index.facets(filters, user.name),
        progress=index.progress(),
        rules=index.rules,
        n_posts=index.facts["n_posts"],
        views=decisions.list_views(site.engine, user.name),
        people=people,
        assignees=[("", "anybody"), *((name, name) for name in people)],
        newest=decisions.newest(site.engine),
        all_seen=query.get("all_seen") == "1",
        done=done_decision(site, request, user.name),
        message=message,
        why_post=why_post,
    )


@router.get("/runs/{run_id}/posts.{kind}")
def queue_file(request: Request, site: Here, run_id: str, kind: str) -> Response:
    """Every post of the filtered queue, in its order."""
    user = site.require(request)
    rows = site.index(run_id).all_posts(Filters.parse(request.query_params), user.name)
    ids = ("post_id", "best_note_id")
    plain = (
        {name: str(row[name]) if name in ids and row[name] is not None else row[name] for name in COLUMNS}
        for row in rows
    )
    return table_file(kind, f"posts-{run_id}", COLUMNS, plain)


@router.post("/runs/{run_id}/views")
def save_view(request: Request, site: Here, form: Form, run_id: str) -> Response:
    user = site.require(request)
    query = Filters.parse(dict(parse_qsl(field(form, "queue", 2_000)))).query()
    kept = "" if field(form, "forget", 5) else query or "sort=gain"
    decisions.save_view(site.engine, user.name, field(form, "name", 80), kept, site.now())
    return site.redirect(request, f"/runs/{run_id}/posts?{query}")


@router.post("/runs/{run_id}/batch")
def batch(request: Request, site: Here, form: Form, run_id: str) -> Response:
    """Publish none of, or assign, the posts that were selected; nobody's decision in between is passed over."""
    user = site.require(request, "analyst")
    index = site.index(run_id)
    filters = Filters.parse(dict(parse_qsl(field(form, "queue", 2_000))))
    action, posts = field(form, "action", 20), [number(str(value)) for value in form.getlist("post")]
    if action == "assign_all":
        posts = [row["post_id"] for row in index.all_posts(filters, user.name)]
    if not posts:
        return _queue_page(request, site, index, 422, "No post was selected. Tick the boxes before the posts.")
    if action in ("assign", "assign_all"):
        person = field(form, "person", 80).strip()
        if accounts.find_user(site.engine, person) is None:
            return _queue_page(request, site, index, 422, f"There is no user {person!r} to assign posts to.")
        decisions.assign(site.engine, run_id, posts, person, user.name, site.now())
        return site.redirect(request, f"/runs/{run_id}/posts?{filters.query(assigned=person)}")
    if action != "publish_none":
        raise Refused("Choose what to do with the selected posts.", 422)
    seen, refused = number(field(form, "newest", 20) or "0"), []
    for post_id in posts:
        row = index.post(post_id)
        first = next(iter(index.candidates(row, ("candidate_id",), 0, 1)), {"candidate_id": None})
        new = NewDecision(run_id, post_id, "publish_none", user.name, new_key(), first["candidate_id"], based_on=seen)
        try:
            store_decision(site, index, row, new, "")
        except Refused as error:
            refused.append(f"Post {post_id}: {error.message}")
    index.sync(now=True)
    if refused:
        return _queue_page(request, site, index, 409, " ".join(refused[:5]))
    return site.redirect(request, f"/runs/{run_id}/posts?{filters.query()}")


@router.get("/runs/{run_id}/next")
def next_unseen(request: Request, site: Here, run_id: str) -> Response:
    """Straight to the first post that the analyst has not seen, in the queue's order."""
    user = site.require(request)
    filters = Filters.parse(request.query_params)
    post_id = site.index(run_id).first_unseen(filters, user.name)
    if post_id is None:
        return site.redirect(request, f"/runs/{run_id}/posts?{filters.query()}", all_seen="1")
    return site.redirect(request, f"/runs/{run_id}/posts/{post_id}?{filters.query()}")
