"""The JSON API: the same stores and permissions as the pages. Ids are strings, numbers finite or null."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_type_hints

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field, create_model

from inspector.decide import decisions
from inspector.decide.decisions import NewDecision
from inspector.pages import Here, number
from inspector.pages.posts import store_decision
from inspector.pages.queue import run_line
from inspector.read.reading import DECIDED, OUTCOMES, SORTS, Filters, RunIndex
from inspector.read.why import why_candidate, why_post
from inspector.report import reports
from inspector.site import Site, new_key
from nouns.decisions import Decision, text_sha256
from nouns.errors import Refused

RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", description="Id of a run in this workspace")]
PostId = Annotated[str, Path(pattern=r"^[0-9]{1,19}$", description="Id of a post, as a string")]


class Problem(BaseModel):
    """What is wrong, in one sentence."""

    detail: str


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "Not possible"),
        (401, "Not signed in"),
        (403, "Not allowed, or the form token is missing"),
        (404, "No such run, post or candidate"),
        (409, "Somebody decided in between, or the text has changed"),
        (413, "The request is too large"),
        (422, "The request does not fit"),
        (503, "The run's index is being built, or checks and jury are not available"),
    )
}


async def csrf_header(request: Request) -> None:
    """Writing with a session cookie needs the page's form token in X-CSRF-Token; API tokens need none."""
    site: Site = request.app.state.site
    site.check_csrf(request, None)


router = APIRouter(prefix="/api/v1", responses=ERRORS, tags=["inspector"])


class RunLine(BaseModel):
    run_id: str
    finished: int = Field(description="finished stages")
    stages: int
    last: str | None = Field(description="last finished stage")
    posts: int | None
    winners: int | None
    finished_at: str
    ready: bool
    jury: str | None
    writer: str


class PostLine(BaseModel):
    post_id: str
    outcome: Literal["winner", "abstained", "open"]
    reason_code: str | None
    reason: str | None
    candidate_id: str | None
    text: str | None = Field(description="generated text of the winner")
    text_sha256: str | None
    score: float | None
    lower: float | None
    upper: float | None
    appeal_score: float | None
    best_existing_note_id: str | None
    best_existing_score: float | None
    disagreement: float | None
    n_notes: int
    n_clusters: int
    n_ratings: int
    n_candidates: int
    language: str | None
    story_id: str | None
    decision: str | None = Field(description="the analysts' last word")
    decided_by: str | None
    decided_at: int | None
    flagged: bool
    n_analysts: int


class PostPage(BaseModel):
    posts: list[PostLine]
    total: int
    after: str | None = Field(description="cursor of the next page")
    before: str | None = Field(description="cursor of the page before")


# The row as it is stored; 64-bit numbers are strings.
DecisionOut = create_model(
    "DecisionOut",
    **{
        name: (list[str] if name == "reasons" else str if name in ("seq", "post_id", "based_on") else kind, ...)
        for name, kind in get_type_hints(Decision).items()
    },  # type: ignore[call-overload]
)


class PostDetail(BaseModel):
    post: PostLine
    post_text: str | None
    why: str
    candidates: list[dict[str, Any]] = Field(description="by rank; generated texts")
    notes: list[dict[str, Any]]
    decisions: list[DecisionOut]  # type: ignore[valid-type]
    newest_decision: str = Field(description="send it back as based_on")


class DecisionIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["accept", "reject", "edit", "prefer", "not_needed", "publish_none", "flag"]
    candidate_id: str | None = Field(None, max_length=80)
    other_id: str | None = Field(None, max_length=80)
    text: str | None = Field(None, max_length=decisions.MAX_TEXT, description="the edited text, for kind 'edit'")
    text_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the candidate's text you saw")
    other_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    reasons: list[str] = Field(default_factory=list, max_length=20)
    comment: str = Field("", max_length=decisions.MAX_COMMENT)
    blind: bool = False
    confirmed: bool = Field(False, description="accept a text that the machine refused; the answer without it says why")
    based_on: str | None = Field(None, pattern="^[0-9]{1,18}$", description="newest_decision of the post as you saw it")
    client_key: str | None = Field(
        None, min_length=8, max_length=64, description="repeat it to send the same decision safely again"
    )


class AssessIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(max_length=decisions.MAX_TEXT)


class Assessment(BaseModel):
    """Checks and jury on one text."""

    model_config = ConfigDict(extra="allow")

    length: int | None = None
    passed: bool | None = None
    checks: list[dict[str, Any]] = []
    score: float | None = None
    lower: float | None = None
    upper: float | None = None
    helpful: dict[str, float | None] | None = None
    reasons: list[Any] | None = None


def finite(value: Any) -> Any:
    """Plain JSON: non-finite numbers become null, 64-bit ids strings (fields that end in _id or _ids)."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            key: (
                str(entry)
                if key.endswith("_id") and isinstance(entry, int)
                else [str(e) for e in entry]
                if key.endswith("_ids") and entry
                else finite(entry)
            )
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [finite(entry) for entry in value]
    return value


def post_line(row: dict[str, Any]) -> dict[str, Any]:
    same = (
        "outcome", "reason_code", "reason", "score", "lower", "upper", "disagreement", "n_notes", "n_clusters", "n_ratings",
        "n_candidates", "language", "story_id", "decision", "decided_by", "decided_at", "n_analysts",
    )  # fmt: skip
    return finite({name: row[name] for name in same}) | {
        "post_id": str(row["post_id"]),
        "candidate_id": row["winner_id"],
        "text": row["winner_text"] if row["outcome"] == "winner" else None,
        "text_sha256": row["winner_sha256"],
        "appeal_score": finite(row["appeal"]),
        "best_existing_note_id": str(row["best_note_id"]) if row["best_note_id"] is not None else None,
        "best_existing_score": finite(row["best_score"]),
        "flagged": bool(row["flagged"]),
    }


@router.get("/runs", response_model=list[RunLine])
def list_runs(request: Request, site: Here) -> Any:
    """All runs of the workspace, the newest first."""
    site.require(request)
    return [run_line(site, run_id) for run_id in site.workspace.runs()]


@router.get("/runs/{run_id}", response_model=dict[str, Any])
def get_run(request: Request, site: Here, run_id: RunId) -> Any:
    """Counts of every stage, and the facts the run's page shows."""
    site.require(request)
    site.workspace.require(run_id)
    states = site.workspace.stages(run_id)
    index = site.index(run_id) if states["cluster_notes"].manifest is not None else None
    return finite(
        {
            "run_id": run_id,
            "stages": {stage: state.counts for stage, state in states.items() if state.manifest is not None},
            "facts": index.facts if index else {},
            "decisions": index.progress() if index else {},
        }
    )


@router.get("/runs/{run_id}/posts", response_model=PostPage)
def list_posts(
    request: Request,
    site: Here,
    run_id: RunId,
    q: Annotated[str, Query(max_length=200)] = "",
    outcome: Annotated[str, Query(enum=list(OUTCOMES))] = "",
    reason: Annotated[str, Query(max_length=80)] = "",
    decided: Annotated[str, Query(enum=list(DECIDED))] = "",
    language: Annotated[str, Query(max_length=40)] = "",
    story: Annotated[str, Query(max_length=80)] = "",
    min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    max_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    sort: Annotated[str, Query(enum=list(SORTS))] = "gain",
    after: Annotated[str | None, Query(max_length=60)] = None,
    before: Annotated[str | None, Query(max_length=60)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Any:
    """Posts of a run in the queue's order; pass `after` or `before` to go on."""
    user = site.require(request)
    if outcome not in OUTCOMES or decided not in DECIDED or sort not in SORTS:
        raise Refused("outcome, decided or sort has a value that is not known.", 422)
    filters = Filters.parse(
        {
            "q": q,
            "outcome": outcome,
            "reason": reason,
            "decided": decided,
            "language": language,
            "story": story,
            "min_score": min_score,
            "max_score": max_score,
            "sort": sort,
        }
    )
    page = site.index(run_id).page(filters, user.name, after=after, before=before, limit=limit)
    return {
        "posts": [post_line(row) for row in page.rows],
        "total": page.total,
        "after": page.after,
        "before": page.before,
    }


def _post(site: Site, run_id: str, post_id: str) -> tuple[RunIndex, dict[str, Any]]:
    index = site.index(run_id)
    return index, index.post(number(post_id))


@router.get("/runs/{run_id}/posts/{post_id}", response_model=PostDetail)
def get_post(request: Request, site: Here, run_id: RunId, post_id: PostId) -> Any:
    """One post with its notes, all candidates by rank, and every decision on it."""
    site.require(request)
    index, post = _post(site, run_id, post_id)
    rows = index.candidates(post)
    winner = rows[0] if rows and rows[0]["status"] == "winner" else None
    history = decisions.history(site.engine, None, [post["post_id"]])
    return {
        "post": post_line(post),
        "post_text": post["post_text"],
        "why": why_post(post),
        "candidates": [
            finite(row | {"seed": str(row["seed"]) if row["seed"] is not None else None})
            | {
                "why": why_candidate(row, winner, post),
                "text_sha256": text_sha256(row["text"] or ""),
                "generated": True,
            }
            for row in rows
        ],
        "notes": [
            finite(note) | {"duplicate_of": str(note["duplicate_of"]) if note["duplicate_of"] else None}
            for note in index.notes(post)
        ],
        "decisions": [row.to_json() for row in history],
        "newest_decision": str(max((row.seq for row in history), default=0)),
    }


@router.post(
    "/runs/{run_id}/posts/{post_id}/decisions",
    response_model=DecisionOut,
    status_code=201,
    dependencies=[Depends(csrf_header)],
)
def add_decision(request: Request, site: Here, run_id: RunId, post_id: PostId, body: DecisionIn) -> Any:
    """Decide on a post (role analyst). 409 if somebody decided after `based_on` or the text is no longer the one you saw."""
    user = site.require(request, "analyst")
    index, post = _post(site, run_id, post_id)
    new = NewDecision(
        run_id=run_id,
        post_id=post["post_id"],
        kind=body.kind,
        analyst=user.name,
        client_key=body.client_key or new_key(),
        candidate_id=body.candidate_id,
        other_id=body.other_id if body.kind == "prefer" else None,
        text=body.text if body.kind == "edit" else None,
        reasons=tuple(body.reasons),
        comment=body.comment,
        blind=body.blind,
        based_on=int(body.based_on) if body.based_on is not None else None,
    )
    shown = body.text_sha256 or "", body.other_sha256 or ""
    return store_decision(site, index, post, new, *shown, confirmed=body.confirmed).to_json()


@router.post("/decisions/{decision_id}/undo", response_model=DecisionOut, dependencies=[Depends(csrf_header)])
def undo_decision(
    request: Request,
    site: Here,
    decision_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
    comment: Annotated[
        str, Query(max_length=decisions.MAX_COMMENT, description="needed for somebody else's flag")
    ] = "",
) -> Any:
    """Take back one's own decision (admins: any), or resolve anybody's flag with a comment that says why."""
    user = site.require(request, "analyst")
    admin = user.may("admin")
    row = decisions.undo(site.engine, decision_id, user.name, new_key(), site.now(), admin=admin, comment=comment)
    return row.to_json()


@router.post("/runs/{run_id}/posts/{post_id}/assess", response_model=Assessment, dependencies=[Depends(csrf_header)])
def assess(request: Request, site: Here, run_id: RunId, post_id: PostId, body: AssessIn) -> Any:
    """Checks and jury on an edited text, without storing anything (role analyst)."""
    site.require(request, "analyst")
    _, post = _post(site, run_id, post_id)
    if not body.text.strip():
        raise Refused("The text is empty.", 422)
    return finite(site.assess(run_id, post["post_id"], body.text))


@router.put(
    "/runs/{run_id}/posts/{post_id}/draft", status_code=204, response_model=None, dependencies=[Depends(csrf_header)]
)
def put_draft(
    request: Request,
    site: Here,
    run_id: RunId,
    post_id: PostId,
    body: AssessIn,
    candidate_id: Annotated[str, Query(min_length=1, max_length=80)],
) -> None:
    """Keep an unfinished edit (role analyst); an empty text forgets it."""
    user = site.require(request, "analyst")
    index, post = _post(site, run_id, post_id)
    if candidate_id != "new":
        index.candidate(post, candidate_id)
    base = "" if candidate_id == "new" else candidate_id
    decisions.save_draft(site.engine, user.name, run_id, post["post_id"], base, body.text, site.now())


@router.get("/decisions", response_model=list[DecisionOut])  # type: ignore[valid-type]
def list_decisions(
    request: Request,
    site: Here,
    run: Annotated[str | None, Query(max_length=80)] = None,
    after: Annotated[int, Query(ge=0, lt=2**62)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 500,
) -> Any:
    """The history, undos included, in the order in which it was stored; `after` is the last `seq` you have."""
    site.require(request)
    return [row.to_json() for row in decisions.history(site.engine, run, after=after, limit=limit)]


@router.get("/runs/{run_id}/publication", response_model=dict[str, Any])
def get_publication(request: Request, site: Here, run_id: RunId) -> Any:
    """Accepted notes with sources, decision and provenance, and what was withheld and why."""
    site.require(request)
    published, withheld = reports.publication(site.workspace, site.index(run_id), decisions.history(site.engine))
    return finite({"published": published, "withheld": withheld})
