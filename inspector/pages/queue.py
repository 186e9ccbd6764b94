"""The list of runs and the queue of a run's posts."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from jinja2 import Environment
from jinja2.filters import do_truncate
from markupsafe import Markup, escape

from inspector.columns import VERDICTS
from inspector.markup import generated, per_cent
from inspector.pages import Here, reading
from inspector.reading import Filters, Listing, RunIndex
from inspector.site import Site
from inspector.why import plain, signed, why_post
from nouns.errors import Refused

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


def queue(request: Request, site: Here, run_id: str) -> Response:
    user = site.require(request)
    index = site.index(run_id)
    if not index.facts.get("n_posts"):
        raise Refused("This run has no posts yet: it has not finished cluster_notes.", 404)
    filters = Filters.parse(request.query_params)
    page = index.listing(
        filters,
        user.name,
        after=request.query_params.get("after"),
        before=request.query_params.get("before"),
        limit=PAGE,
    )
    return site.render_framed(
        request,
        "queue.html",
        run_id=run_id,
        filters=filters,
        page=page,
        form=filter_form(site.templates, index, filters),
        rows=queue_lines(site.templates, index, page, site_path(request, run_id), filters.query()),
        progress=index.progress(),
        n_posts=index.facts["n_posts"],
    )


router.add_route("/runs/{run_id}/posts", reading(queue), methods=["GET"])


def site_path(request: Request, run_id: str) -> str:
    """The path of a run's posts, from the host's root."""
    return f"{request.scope.get('root_path', '').rstrip('/')}/runs/{quote(run_id, safe='')}/posts/"


_forms: OrderedDict[tuple[str, Filters], Markup] = OrderedDict()
_forms_lock = threading.Lock()


def filter_form(templates: Environment, index: RunIndex, filters: Filters) -> Markup:
    """The form above the queue. It depends on the index and the filters only, so the last few hundred are kept."""
    key = (str(index.path), filters)
    with _forms_lock:
        if key in _forms:
            _forms.move_to_end(key)
            return _forms[key]
    form = Markup(templates.get_template("queue_filters.html").render(filters=filters, facets=index.facts["facets"]))
    with _forms_lock:
        _forms[key] = form
        while len(_forms) > 300:
            _forms.popitem(last=False)
    return form


Line = tuple[str, str, str]
"""A line of the queue around the two things that change: the post's address, and what analysts decided."""

LINES = 5_000  # lines kept per run and process, about a kilobyte each


def queue_lines(templates: Environment, index: RunIndex, found: Listing, path: str, query: str) -> Markup:
    """The queue's lines. What a run settles of a line is made once and kept."""
    kept = index.lines
    missing = [post_id for post_id in found.posts if post_id not in kept]
    if missing:
        if len(kept) + len(missing) > LINES:
            kept.clear()  # crude, and enough: nobody reads five thousand lines again and again
        kept.update({post_id: line(templates, row) for post_id, row in index.posts(missing).items()})
    path, query = str(escape(path)), str(escape(query))
    badges = _badges(templates)
    columns = index.columns
    lines = []
    for row, post_id in zip(found.rows, found.posts, strict=True):
        before, middle, after = kept[post_id]
        flag = '<span class="badge d-flag">flagged</span>' if columns.flagged[row] else ""
        lines.append(f"{before}{path}{post_id}?{query}{middle}{badges[columns.decision[row]]}{flag}{after}")
    return Markup("\n".join(lines))


@functools.cache
def _badges(templates: Environment) -> list[str]:
    """The analysts' last word as a badge, by its number in `Columns.decision`."""
    macros: Any = templates.get_template("macros.html").module
    return [str(macros.decision_badge(kind)) for kind in ("", *VERDICTS)]


def line(templates: Environment, post: dict[str, Any]) -> Line:
    """One post's line. Written here and not in a template, because thirty of them were two thirds of a page's time.

    Every value that is not a number goes through `escape`.
    """
    macros: Any = templates.get_template("macros.html").module

    def short(text: str, length: int) -> Markup:
        return escape(do_truncate(templates, text, length))

    number = int(post["post_id"])
    if post["winner_text"] and post["outcome"] == "winner":
        words = f'<p class="winner-words">{generated()} {short(post["winner_text"], 190)}</p>'
    else:
        words = f'<p class="winner-words muted">{short(why_post(post), 190)}</p>'
    facts = [
        f"<span>{n} {name}{'' if n == 1 else 's'}</span>"
        for n, name in ((int(post["n_notes"]), "note"), (int(post["n_candidates"]), "candidate"))
    ]
    if post["language"]:
        facts.append(f"<span>{escape(post['language'])}</span>")
    if post["story_id"]:
        facts.append(f'<a href="?story={quote(post["story_id"], safe="")}">{short(post["story_id"], 24)}</a>')
    if post["disagreement"]:
        share = escape(per_cent(post["disagreement"]))
        facts.append(f'<span title="share of further aggregators that prefer another text">disagreement {share}</span>')
    numbers = ""
    if post["score"] is not None:
        gain = ""
        if post["gain"] is not None:
            gain = f'<span class="{"up" if post["gain"] > 0 else "down"}">{signed(post["gain"])}</span>'
        interval = f"[{plain(post['lower'])}, {plain(post['upper'])}]"
        numbers = f'<b>{plain(post["score"])}</b>{gain}<span class="interval">{interval}</span>'
    return (
        '<li data-row>\n<a class="open" href="',
        f'"><span class="post-words">{short(post["post_text"] or f"Post {number}", 150)}</span></a>\n{words}\n'
        f'<p class="meta">{"".join(facts)}<span class="muted">{number}</span></p>\n'
        f'<div class="marks">{macros.outcome({"outcome": post["outcome"]})}',
        f'</div>\n<div class="numbers">{numbers}</div>\n</li>',
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
