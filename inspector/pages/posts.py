"""A post's page, and deciding on it."""

from __future__ import annotations

import dataclasses
from html import unescape
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request, Response

from inspector import charts
from inspector.decide import decisions
from inspector.decide.decisions import NewDecision
from inspector.pages import Form, Here, field, number
from inspector.pages.texts import (
    BLANK,
    done_decision,
    edit_form,
    further_aggregators,
    note_sources,
    rug,
    shares,
    show_text,
)
from inspector.read.reading import NOTE, Filters, RunIndex
from inspector.read.text import differences, pieces
from inspector.read.why import SIDE_NAMES, colleague, copied_from, doubts, name_notes, name_ranks, why_better, why_post
from inspector.site import Building, Site, new_key
from nouns.decisions import Decision, effective, last_word, reviews_of, says, standing, text_sha256
from nouns.errors import Conflict, Refused

router = APIRouter()

PER_PAGE = 10  # candidates shown in full on a post's page; the others are one click away and in the plane
PLANE_DOTS = 400  # candidates drawn in the plane


@router.get("/runs/{run_id}/posts/{post_id}")
def post_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    return _page(request, site, site.index(run_id), number(post_id))


def _page(
    request: Request, site: Site, index: RunIndex, post_id: int, status: int = 200, queue: str = "", **typed: Any
) -> Response:
    """The page of a post. `typed`: what a form that could not be stored had said, with the `problem`."""
    user = site.require(request)
    post = index.post(post_id)
    filters = Filters.parse(dict(parse_qsl(queue)) if queue else request.query_params)
    history = decisions.history(site.engine, None, [post_id])
    counting = index.standing(post_id, history)
    word = last_word(counting)
    earlier = last_word(effective(history)) if word is None else None
    carried = _carried(index, post, earlier) if earlier and index.rules.carry == "ask" else None
    opinions = reviews_of(counting, word)
    edit_to_review = index.rules.reviews > 1 and word is not None and word.kind == "edit" and user.name not in opinions
    return site.render(
        request,
        "post.html",
        status,
        run_id=index.run_id,
        post=post,
        filters=filters,
        q=filters.query(),
        **_texts(site, index, post, request.query_params, word),
        history=history,
        counting={row.decision_id for row in counting},
        undone={row.undoes for row in history if row.kind == "undo"},
        flags=[row for row in counting if row.kind == "flag"],
        word=word,
        earlier=None if carried else earlier,
        carried=carried,
        agree=_carried(index, post, word) if edit_to_review and word else None,
        changed=_changed_since(site, index, post, word or carried),
        rules=index.rules,
        reviewers=sorted(opinions),
        disagree=len({says(row.kind) for row in opinions.values()}) > 1,
        based_on=max((row.seq for row in history), default=0),
        client_key=new_key(),
        draft=decisions.read_draft(site.engine, user.name, index.run_id, post_id) if user.may("analyst") else None,
        around=index.neighbours(post_id, filters, user.name),
        done=done_decision(site, request, user.name),
        **{"problem": "", "comment": "", "reasons": ()} | typed,
    )


def _carried(index: RunIndex, post: dict[str, Any], decided: Decision) -> Decision | None:
    """What was decided in another run, with this run's id of the text; None if this run does not hold it word for word."""
    held = [(row["candidate_id"], row["text"] or "") for row in index.candidates(post, ("candidate_id", "text"))]
    if not standing([decided], index.run_id, held):
        return None
    bound = decided.other_sha256 if decided.kind == "edit" else decided.text_sha256
    here = next((name for name, text in held if text_sha256(text) == bound), None)
    return dataclasses.replace(decided, candidate_id=here)


def _changed_since(site: Site, index: RunIndex, post: dict[str, Any], word: Decision | None) -> list[str]:
    """What differs now from the run in which a decision was made, beside the text itself: the post, or its sources."""
    if word is None or word.run_id == index.run_id or not site.workspace.has_run(word.run_id):
        return []
    try:
        before = site.index(word.run_id)
        then = before.post(post["post_id"])
        rows = [each.candidates(p, ("text", "source_note_ids")) for each, p in ((before, then), (index, post))]
    except (Refused, Building):
        return []
    found = []
    if (then["post_text"] or "") != (post["post_text"] or ""):
        found.append(f"The post read otherwise then: “{then['post_text'] or 'not known'}”")
    sources = [{frozenset(r["source_note_ids"] or ()) for r in part if r["text"] == word.text} for part in rows]
    if word.text and all(sources) and not sources[0] & sources[1]:
        found.append("The text rests on other notes than it did then.")
    return found


def _texts(site: Site, index: RunIndex, post: dict[str, Any], query: Any, word: Decision | None) -> dict[str, Any]:
    """Everything a post's page says of texts: the one to decide on, the verdict on it, the others, notes and pictures."""
    overview = index.places(post)
    start = _start(query.get("from"), len(overview))
    wanted = query.get("candidate") or (overview[0][0] if overview else "")
    listed = index.candidates(post, None, start, start + PER_PAGE)
    best = index.candidates(post, None, 0, 2) if start else listed[:2]
    winner = best[0] if best and best[0]["status"] == "winner" else None
    chosen = next((row for row in [*best, *listed] if row["candidate_id"] == wanted), None)
    if chosen is None and wanted:
        chosen = index.candidate(post, wanted)
    notes = index.notes(post)
    existing = next((n for n in notes if n["note_id"] == post["best_note_id"]), None)
    existing = existing or next((n for n in notes if n["score"] is not None), None)
    runner = next((row for row in best[1:] if row["status"] == "judged"), None)
    if chosen is not None and winner is not None and chosen["candidate_id"] != winner["candidate_id"]:
        runner = chosen if chosen["score"] is not None else runner
    first = winner or (best[0] if best else None)
    sources, clusters = note_sources(notes), number_clusters(notes)
    numbers = {note["note_id"]: k for k, note in enumerate(notes, 1)}
    ranks = {found: rank for rank, (found, _, _) in enumerate(overview, 1)}
    edited = word if word is not None and word.kind == "edit" and not query.get("candidate") else None
    row = edited_row(edited, chosen) if edited else chosen
    appeal = post["appeal"] if row is not None and row is winner else None
    jury = site.workspace.jury_facts(index.run_id)
    return {
        "edited": edited,
        "row": row,
        "shown": show_text(row, sources, winner, post, ranks) if row else None,
        "machine": chosen if edited and edited.candidate_id else None,
        "diff": differences(chosen["text"] or "", edited.text or "") if edited and chosen else None,
        "chosen": chosen,
        "chosen_sha256": text_sha256(chosen["text"] or "") if chosen else "",
        "refused": refusal(post, chosen) if chosen else "",
        "copied": numbers.get(copied_from(row["text"] or "", notes) or 0) if row else None,
        "numbers": numbers,
        "appeal": appeal,
        "shares": shares(row) if row else "",
        "doubts": [name_notes(line, numbers) for line in doubts(row, appeal, notes, jury)] if row else [],
        "whys": [name_notes(line, numbers) for line in why_better(row, existing, notes)] if row else [],
        "why": name_notes(name_ranks(why_post(post), ranks), numbers),
        "winner": winner,
        "existing": existing,
        "runner": runner,
        "rival": f"{NOTE}{existing['note_id']}" if existing and existing["text"] else None,
        "unproven": "" if (jury.get("order") or {}).get("better", True) else jury["order"].get("reason", ""),
        "listed": [show_text(r, sources, winner, post, ranks) for r in listed],
        "start": start,
        "per_page": PER_PAGE,
        "notes": [
            (n, pieces(unescape(n["text"] or "")), charts.ratings_by_side(n["sides"]), clusters[n["cluster_id"]])
            for n in notes
        ],
        "curves": _curves(first, runner, existing, rug(site, index.run_id)),
        "strip": _strip(first, runner, existing, post),
        "plane": _plane(overview, notes, clusters, winner, runner),
        "aggregators": further_aggregators(index, best[0] if best else None),
    }


def number_clusters(notes: list[dict[str, Any]]) -> dict[str | None, tuple[str, int]]:
    """A letter and a colour number for each cluster of the post, in the order of its notes."""
    found: dict[str | None, tuple[str, int]] = {None: ("·", 0)}
    for note in notes:
        if note["cluster_id"] not in found:
            n = len(found) - 1
            found[note["cluster_id"]] = (chr(ord("A") + n) if n < 26 else f"{n + 1}", n % 8 + 1)
    return found


def edited_row(edit: Decision, base: dict[str, Any] | None) -> dict[str, Any]:
    """A person's wording in a candidate's columns, with what checks and jury said of it when it was stored."""
    said = edit.assessment or {}
    helpful = said.get("helpful") or {}
    empty: dict[str, Any] = {
        "problems": [],
        "passed": [],
        "source_note_ids": [],
        "reasons": [],
        "n_jurors": None,
        "curve": None,
    }
    return {
        **empty,
        **({key: base[key] for key in ("source_note_ids", "n_jurors", "aggregator")} if base else {"aggregator": None}),
        "candidate_id": edit.candidate_id or "",
        "text": edit.text,
        "status": "edited",
        "rank": None,
        "round": 0,
        "writer": edit.analyst,
        "lost_because": None,
        "factor": said.get("factor"),
        "helpful_chance": said.get("helpful_chance"),
        "unjudged_reason": None if said else "It was not checked or judged when it was stored.",
        "problems": [check for check in said.get("checks", []) if check.get("outcome") != "passed"],
        **{name: said.get(name) for name in ("score", "lower", "upper")},
        **{f"helpful_{name}": helpful.get(name) for name in SIDE_NAMES},
    }


def refusal(post: dict[str, Any], row: dict[str, Any]) -> str:
    """Why the machine refused this text; '' for a winner, and for texts that merely came after it."""
    if row["problems"]:
        problem = row["problems"][0]
        return f"It fails the check “{problem['check'].replace('_', ' ')}”: {colleague(problem['reason'] or 'no reason given')}"
    if post["outcome"] == "abstained":
        return why_post(post)
    return ""


def _start(value: str | None, n: int) -> int:
    start = int(value) if value and value.isascii() and value.isdigit() and len(value) < 7 else 0
    return min(start, max(0, n - 1)) // PER_PAGE * PER_PAGE


def _label(row: dict[str, Any] | None) -> str:
    return "winner" if row is not None and row["status"] == "winner" else "best candidate"


def _curves(first: Any, runner: Any, existing: Any, jurors: list[float]) -> Any:
    rows = (
        (_label(first), "winner", first),
        ("runner-up", "runner", runner),
        ("best existing note", "existing", existing),
    )
    lines = [
        charts.Line(label, kind, row["curve"]) for label, kind, row in rows if row is not None and row.get("curve")
    ]
    return charts.factor_line(lines, jurors)


def _strip(first: Any, runner: Any, existing: Any, post: dict[str, Any]) -> Any:
    named = ((_label(first), "winner", first), ("runner-up", "runner", runner), ("best existing", "existing", existing))
    rows = [charts.Score(label, kind, r["score"], r["lower"], r["upper"]) for label, kind, r in named if r is not None]
    if post["appeal"] is not None:
        rows.insert(1, charts.Score("second jury", "winner", post["appeal"], None, None))
    return charts.score_strip(rows)


def _plane(
    overview: list[tuple[str, float | None, float | None]],
    notes: list[dict[str, Any]],
    clusters: dict[str | None, tuple[str, int]],
    winner: dict[str, Any] | None,
    runner: dict[str, Any] | None,
) -> Any:
    special = {row["candidate_id"]: shape for shape, row in (("runner", runner), ("winner", winner)) if row is not None}
    names = {"winner": "winner", "runner": "runner-up", "candidate": "candidate"}
    dots = []
    for rank, (candidate_id, score, factor) in enumerate(overview[:PLANE_DOTS], 1):
        if score is not None and factor is not None:
            shape = special.get(candidate_id, "candidate")
            dots.append(charts.Dot(f"{names[shape]} (rank {rank})", shape, factor, score))
    for note in notes[:80]:
        intercept = note["intercept"] if note["intercept"] is not None else note["score"]
        factor = note["factor1"] if note["factor1"] is not None else note["factor"]
        if intercept is not None and factor is not None:
            letter, colour = clusters[note["cluster_id"]]
            dots.append(charts.Dot(f"note {note['note_id']}", "note", factor, intercept, letter, colour))
    return charts.plane(dots)


# -- deciding -------------------------------------------------------------------------------------------------------


@router.post("/runs/{run_id}/posts/{post_id}/decisions")
def decide(request: Request, site: Here, form: Form, run_id: str, post_id: str) -> Response:
    """Store what the page's form says and go on; what cannot be stored comes back with the page and what was typed."""
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    kind, queue = field(form, "kind", 20), field(form, "queue")
    filters = Filters.parse(dict(parse_qsl(queue[:2_000], max_num_fields=30)))
    blind = field(form, "mode", 10) == "blind"
    if kind == "skip":
        decisions.skip(site.engine, user.name, run_id, post["post_id"], site.now())
        index.mark_seen(user.name, post["post_id"])
        return _go_on(site, request, index, post["post_id"], filters, user.name, None, blind)
    wanted, other = field(form, "candidate_id", 80) or None, field(form, "other_id", 80) or None
    sha, other_sha = field(form, "text_sha256", 64), field(form, "other_sha256", 64)
    if kind == "prefer" and field(form, "preferred", 80) == other and other:
        wanted, other, sha, other_sha = other, wanted, other_sha, sha
    based_on = field(form, "based_on", 20)
    reasons = tuple(str(value) for value in form.getlist("reasons"))
    new = NewDecision(
        run_id=run_id,
        post_id=post["post_id"],
        kind=kind,
        analyst=user.name,
        client_key=field(form, "client_key", 64),
        candidate_id=wanted,
        other_id=other if kind == "prefer" else None,
        text=field(form, "text") if kind == "edit" else None,
        reasons=reasons if kind in ("reject", "edit", "prefer") else (),
        comment=field(form, "comment"),
        blind=blind and kind == "prefer",
        based_on=number(based_on) if based_on else None,
    )
    try:
        stored = store_decision(site, index, post, new, sha, other_sha, confirmed=bool(field(form, "confirmed", 5)))
    except NeedsConfirmation as error:
        kept = [(name, value) for name, value in form.multi_items() if name not in ("csrf", "confirmed")]
        return site.render(
            request, "confirm.html", run_id=run_id, post=post, why=error.why, text=error.text, kept=kept, q=queue
        )
    except Refused as error:
        if kind == "prefer" or error.status not in (409, 422):
            raise
        if kind == "edit":
            base = index.candidate(post, wanted) if wanted else BLANK
            said = {"message": error.message, "comment": new.comment}
            return edit_form(site, request, run_id, post, index, base, new.text or "", error.status, **said)
        typed = {"problem": error.message, "comment": new.comment, "reasons": reasons}
        return _page(request, site, index, post["post_id"], error.status, queue, **typed)
    index.mark_seen(user.name, post["post_id"])  # before the next look, so that 'next unseen' is right at once
    here = f"/runs/{run_id}/posts/{post['post_id']}"
    if kind == "prefer":
        two = filters.query(a=new.candidate_id, b=new.other_id)
        return site.redirect(request, f"{here}/compare?{two}", done=stored.decision_id)
    if kind == "flag" or field(form, "stay", 5):
        return site.redirect(request, f"{here}?{filters.query()}", done=stored.decision_id)
    return _go_on(site, request, index, post["post_id"], filters, user.name, stored.decision_id)


class NeedsConfirmation(Refused):
    """A text that the machine refused was accepted by somebody who has not yet said that they know why."""

    def __init__(self, why: str, text: str) -> None:
        super().__init__(f"The machine refused this text: {why} Send `confirmed` to accept it all the same.", 422)
        self.why, self.text = why, text


def store_decision(
    site: Site,
    index: RunIndex,
    post: dict[str, Any],
    new: NewDecision,
    sha: str,
    other_sha: str = "",
    confirmed: bool = False,
) -> Decision:
    """Bind a decision to the exact texts and store it. `sha`: what the analyst's page showed ('' : not given).

    Raises `Conflict` if the run holds another text by now, `NeedsConfirmation` for accepting what the machine refused,
    `Refused` if something is missing. An edit is stored whatever the checks say of it; what fails is not published.
    """
    decisions.check_decision(new)
    for candidate_id, shown, target in (
        (new.candidate_id, sha, "text_sha256"),
        (new.other_id, other_sha, "other_sha256"),
    ):
        if candidate_id is None:
            continue
        row = (index.either if new.kind == "prefer" else index.candidate)(post, candidate_id)
        actual = text_sha256(row["text"] or "")
        if shown and shown != actual:
            raise Conflict(
                "Your decision was not stored: the run was repeated and this candidate's text has changed. Look at the new text, then decide."
            )
        if target == "other_sha256" or new.kind == "edit":
            new = dataclasses.replace(new, other_sha256=actual)
        else:
            new = dataclasses.replace(new, text=row["text"], text_sha256=actual)
        why = refusal(post, row) if new.kind == "accept" else ""
        if why and not confirmed:
            raise NeedsConfirmation(why, row["text"] or "")
        if why:
            new = dataclasses.replace(new, assessment={"passed": False, "refused": why, "confirmed": True})
    if new.kind == "edit":
        text = (new.text or "").strip()
        assessment, _ = site.try_assess(new.run_id, new.post_id, text)
        new = dataclasses.replace(new, text=text, text_sha256=text_sha256(text), assessment=assessment)
    stored, _ = decisions.record(site.engine, new, site.now())
    return stored


def _go_on(
    site: Site,
    request: Request,
    index: RunIndex,
    post_id: int,
    filters: Filters,
    me: str,
    done: str | None,
    blind: bool = False,
) -> Response:
    """To the next post of the queue that this analyst has not seen, or back to the queue when there is none."""
    following = index.neighbours(post_id, filters, me)["unseen"]
    query = filters.query()
    if following is None:
        return site.redirect(request, f"/runs/{index.run_id}/posts?{query}", done=done, all_seen="1")
    tail = "/blind" if blind else ""
    return site.redirect(request, f"/runs/{index.run_id}/posts/{following}{tail}?{query}", done=done)


@router.post("/decisions/{decision_id}/undo")
def undo(request: Request, site: Here, form: Form, decision_id: str) -> Response:
    user = site.require(request, "analyst")
    key, comment = field(form, "client_key", 64) or new_key(), field(form, "comment")
    row = decisions.undo(site.engine, decision_id, user.name, key, site.now(), admin=user.may("admin"), comment=comment)
    site.index(row.run_id).sync(now=True)
    filters = Filters.parse(dict(parse_qsl(field(form, "queue")[:2_000], max_num_fields=30)))
    return site.redirect(request, f"/runs/{row.run_id}/posts/{row.post_id}?{filters.query()}", undone=row.undoes)
