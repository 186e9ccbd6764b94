"""One candidate's page, two texts side by side, and the editor; with what all pages about texts share."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from inspector import charts
from inspector.decide import decisions
from inspector.pages import Form, Here, field, number
from inspector.read.reading import NOTE, Filters, RunIndex
from inspector.read.text import Piece, Sentence, Sources, differences, domain, links, pieces, prepare_sources, rest_on
from inspector.read.why import name_ranks, why_candidate
from inspector.site import Site, new_key
from inspector.words import SIDES
from nouns.decisions import Decision, text_sha256
from nouns.errors import Refused

router = APIRouter()

MAX_CALL_BYTES = 2_000_000_000  # of recorded calls that are searched for one prompt's call


@dataclass(frozen=True)
class ShownText:
    """A candidate ready to be drawn: its row, the text in pieces, its sentences with sources, and why it won or lost."""

    row: dict[str, Any]
    pieces: list[Piece]
    sentences: list[Sentence]
    why: str

    @property
    def sha256(self) -> str:
        return text_sha256(self.row["text"] or "")

    @property
    def links(self) -> list[tuple[str, str]]:
        return [(url, domain(url)) for url in links(self.row["text"] or "")]

    @property
    def supported(self) -> list[tuple[int, Sentence]]:
        return [(k, sentence) for k, sentence in enumerate(self.sentences) if sentence.source_note_id is not None]

    @property
    def reasons(self) -> dict[str, list[tuple[str, float]]]:
        """Predicted reasons by side, the most probable first, two at most."""
        found: dict[str, list[tuple[str, float]]] = {}
        for entry in sorted(self.row["reasons"] or (), key=lambda e: -(e["probability"] or 0)):
            side = found.setdefault(entry["side"], [])
            if len(side) < 2 and (entry["probability"] or 0) >= 0.1:
                side.append((entry["tag"], entry["probability"]))
        return found

    @property
    def shares(self) -> Any:
        return shares(self.row)


def show_text(
    row: dict[str, Any],
    sources: Sources,
    winner: dict[str, Any] | None,
    post: dict[str, Any],
    ranks: dict[str, Any] | None = None,
) -> ShownText:
    """`ranks` by candidate id: the sentence that says why then names candidates by them."""
    merged = set(row["source_note_ids"] or ())
    sentences = rest_on(row["text"] or "", sources.of(merged) if merged else sources)
    marks = [(p["start"], p["end"], f"{p['check']}: {p['reason']}") for p in row["problems"] if p["start"] is not None]
    return ShownText(
        row,
        pieces(row["text"] or "", marks, sentences),
        sentences,
        name_ranks(why_candidate(row, winner, post), ranks or {}),
    )


def note_sources(notes: list[dict[str, Any]]) -> Sources:
    return prepare_sources([(note["note_id"], note["text"] or "") for note in notes])


def shares(row: Mapping[str, Any]) -> Any:
    """How many of each side of the jury find a text helpful, as bars; '' where it was not judged."""
    known = [(SIDES[name], row[f"helpful_{name}"]) for name in SIDES if row.get(f"helpful_{name}") is not None]
    return charts.bars(known, "Helpful share by side of the jury") if known else ""


# -- one candidate --------------------------------------------------------------------------------------------------


@router.get("/runs/{run_id}/posts/{post_id}/candidates/{candidate_id}")
def candidate_page(request: Request, site: Here, run_id: str, post_id: str, candidate_id: str) -> Response:
    site.require(request)
    index = site.index(run_id)
    post = index.post(number(post_id))
    row = index.candidate(post, candidate_id)
    rows = {
        r["candidate_id"]: r
        for r in index.candidates(
            post, ("candidate_id", "parent_id", "text", "score", "lower", "upper", "status", "rank", "round")
        )
    }
    best = index.candidates(post, None, 0, 1)
    winner = best[0] if best and best[0]["status"] == "winner" else None
    ranks = {key: other["rank"] for key, other in rows.items()}
    shown = show_text(row, note_sources(index.notes(post)), winner, post, ranks)
    return site.render(
        request,
        "candidate.html",
        run_id=run_id,
        post=post,
        filters=Filters.parse(request.query_params),
        shown=shown,
        lineage=_lineage(rows, row),
        steps=_lineage_steps(site, run_id, post["post_id"]),
        children=[r for r in rows.values() if r["parent_id"] == candidate_id],
        prompt=find_prompt(site, run_id, row),
        call=None if request.query_params.get("call") != "1" else find_call(site, run_id, row),
        call_asked=request.query_params.get("call") == "1",
        winner=winner,
        extractive="extractive" in (row["writer"] or ""),
        aggregators=further_aggregators(index, row),
        deciding=row["aggregator"],
        checks_passed=list(Counter(row["passed"]).items()),
    )


def _lineage(rows: dict[str, dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """The candidate's ancestors, the first draft first, each with what the next one changed; itself last."""
    chain = [row]
    seen = {row["candidate_id"]}
    while (parent := rows.get(chain[0]["parent_id"] or "")) is not None and parent["candidate_id"] not in seen:
        chain.insert(0, parent)
        seen.add(parent["candidate_id"])
    return [
        {"row": entry, "diff": differences(before["text"] or "", entry["text"] or "") if before else None}
        for before, entry in zip([None, *chain], chain, strict=False)
    ]


def _table(site: Site, run_id: str, stage: str, name: str) -> Any:
    """A stage's table, to be read lazily; None if the run has none."""
    import polars as pl

    directory = site.workspace.directory(run_id, stage)
    file = directory / name if directory else None
    return pl.scan_parquet(file) if file is not None and file.is_file() else None


def _lineage_steps(site: Site, run_id: str, post_id: int) -> dict[str, dict[str, Any]]:
    """What the revise stage wrote about each revision of the post: what was asked for, and what came of it."""
    frame = _table(site, run_id, "revise_candidates", "lineage.parquet")
    if frame is None:
        return {}
    rows = frame.select("post_id", "candidate_id", "feedback", "reason").filter(post_id=post_id).collect()
    return {row["candidate_id"]: row for row in rows.to_dicts()}


def find_prompt(site: Site, run_id: str, row: dict[str, Any]) -> dict[str, Any] | None:
    """The exact messages sent for a candidate, by its request id; None if the run does not hold them."""
    for stage in ("draft_candidates", "revise_candidates"):
        frame = _table(site, run_id, stage, "prompts.parquet")
        if frame is not None and row["request_id"] is not None:
            found = frame.filter(post_id=row["post_id"], request_id=row["request_id"]).head(1).collect().to_dicts()
            if found:
                return found[0]
    return None


def find_call(site: Site, run_id: str, row: dict[str, Any]) -> dict[str, Any] | None:
    """The recorded model call of a candidate's request: searched line by line, so it is done only when asked for."""
    import zstandard

    wanted = (row["request_id"] or "").encode()
    if not wanted:
        return None
    for stage in ("draft_candidates", "revise_candidates"):
        directory = site.workspace.directory(run_id, stage)
        file = directory / "calls.jsonl.zst" if directory else None
        if file is None or not file.is_file():
            continue
        read = 0
        with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            for line in io.BufferedReader(stream, 1 << 20):  # type: ignore[arg-type]
                read += len(line)
                if read > MAX_CALL_BYTES:
                    break
                if wanted in line:
                    try:
                        call = json.loads(line)
                    except ValueError:
                        continue
                    if _mentions(call, row["request_id"]):
                        return {
                            "stage": stage,
                            "json": json.dumps(call, indent=2, ensure_ascii=False)[:60_000],
                        } | _transcript(call)
    return None


def _transcript(call: dict[str, Any]) -> dict[str, Any]:
    """A recorded call as a chat: (role, text) of every message and answer, and its numbers (tokens, seconds, attempts)."""
    request, answer = call.get("request") or call, call.get("completion") or call.get("response") or call
    said = [(str(m.get("role")), str(m.get("content"))) for m in request.get("messages") or () if isinstance(m, dict)]
    texts = answer.get("texts") if isinstance(answer, dict) else None
    said += [("answer", str(text)) for text in texts or ()]
    names = ("model", "prompt_tokens", "completion_tokens", "seconds", "attempts", "failure")
    facts = [(name, answer[name]) for name in names if isinstance(answer, dict) and answer.get(name) not in (None, "")]
    return {"chat": said, "facts": facts}


def _mentions(value: Any, request_id: str) -> bool:
    """Whether a recorded call is about that request: some field of it equals the id exactly."""
    if isinstance(value, dict):
        return any(_mentions(entry, request_id) for entry in value.values())
    if isinstance(value, list):
        return any(_mentions(entry, request_id) for entry in value)
    return value == request_id


_rugs: dict[str, list[float]] = {}


def rug(site: Site, run_id: str) -> list[float]:
    """Factors of the raters the run's jury is drawn from; at most 240, evenly through their order."""
    key = f"{run_id}:{site.workspace.fingerprint(run_id)}"
    if key not in _rugs:
        tables = (_table(site, run_id, stage, "raters.parquet") for stage in ("train_jury", "fit_raters"))
        frame = next((table for table in tables if table is not None), None)
        names = frame.collect_schema().names() if frame is not None else []
        column = next((name for name in ("factor1", "factor") if name in names), None)
        values = []
        if frame is not None and column:
            drawn = frame.filter(pool="proxy") if "pool" in names else frame
            values = drawn.select(column).collect()[column].drop_nulls().sort().to_list()
        step = max(1, len(values) // 240)
        if len(_rugs) > 50:
            _rugs.clear()
        _rugs[key] = values[step // 2 :: step]
    return _rugs[key]


def further_aggregators(index: RunIndex, row: dict[str, Any] | None) -> list[tuple[str, float | None]]:
    """A candidate's score by each further aggregator."""
    return list(zip(index.facts.get("aggregators", []), row["others"], strict=False)) if row and row["others"] else []


def newest_decision(site: Site, post_id: int) -> int:
    """Number of the newest decision on a post, in whichever run; 0 without any."""
    rows = decisions.history(site.engine, None, [post_id], limit=1, descending=True)
    return rows[0].seq if rows else 0


def done_decision(site: Site, request: Request, analyst: str) -> Decision | None:
    """The decision just made, named in the address by its id, to say so and to offer undo."""
    wanted = request.query_params.get("done", "")
    if not wanted:
        return None
    rows = decisions.history(site.engine, analyst=analyst, limit=20, descending=True)
    return next((row for row in rows if row.decision_id == wanted), None)


# -- two texts ------------------------------------------------------------------------------------------------------


def _pair(index: RunIndex, post: dict[str, Any], a: str, b: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two texts named (candidates, or notes as `note-<id>`), or the two candidates ranked first.

    Raises `Refused` 404 if there are not two.
    """
    if a and b and a != b:
        return index.either(post, a), index.either(post, b)
    two = list(index.candidates(post, None, 0, 2))
    if two and a.startswith(NOTE):
        return two[0], index.either(post, a)
    if a and two and a != two[0]["candidate_id"]:
        return two[0], index.candidate(post, a)
    if len(two) < 2:
        raise Refused("This post has fewer than two candidates to compare.", 404)
    return two[0], two[1]


@router.get("/runs/{run_id}/posts/{post_id}/compare")
def compare_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    user = site.require(request)
    index = site.index(run_id)
    post = index.post(number(post_id))
    a, b = _pair(index, post, request.query_params.get("a", ""), request.query_params.get("b", ""))
    sources = note_sources(index.notes(post))
    ranks = {found: rank for rank, (found, _, _) in enumerate(index.places(post), 1)}
    filters = Filters.parse(request.query_params)
    lines = [
        charts.Line(f"{name} (rank {row['rank']})" if row["rank"] else f"{name} (note)", kind, row["curve"])
        for name, kind, row in (("A", "winner", a), ("B", "runner", b))
        if row["curve"]
    ]
    return site.render(
        request,
        "compare.html",
        run_id=run_id,
        post=post,
        filters=filters,
        a=show_text(a, sources, a if a["status"] == "winner" else None, post, ranks),
        b=show_text(b, sources, a if a["status"] == "winner" else None, post, ranks),
        diff=differences(a["text"] or "", b["text"] or ""),
        curves=charts.factor_line(lines, rug(site, run_id)),
        strip=charts.score_strip(
            [
                charts.Score("A", "winner", a["score"], a["lower"], a["upper"]),
                charts.Score("B", "runner", b["score"], b["lower"], b["upper"]),
            ]
        ),
        based_on=newest_decision(site, post["post_id"]),
        client_key=new_key(),
        done=done_decision(site, request, user.name),
        around=index.neighbours(post["post_id"], filters, user.name),
    )


@router.get("/runs/{run_id}/posts/{post_id}/blind")
def blind_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    """Two texts without scores, writers or ranks, in an order that depends on the analyst and the pair only."""
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    pair = list(_pair(index, post, request.query_params.get("a", ""), request.query_params.get("b", "")))
    if swapped(user.name, run_id, pair[0]["candidate_id"], pair[1]["candidate_id"]):
        pair.reverse()
    return site.render(
        request,
        "blind.html",
        run_id=run_id,
        post=post,
        filters=Filters.parse(request.query_params),
        pair=[
            {"row": row, "pieces": pieces(row["text"] or ""), "sha256": text_sha256(row["text"] or "")} for row in pair
        ],
        against_note=any(row["status"] == "note" for row in pair),
        based_on=newest_decision(site, post["post_id"]),
        client_key=new_key(),
    )


def swapped(analyst: str, run_id: str, first: str, second: str) -> bool:
    """Whether the pair is shown the other way round: as good as a coin, and the same after every reload."""
    low, high = sorted((first, second))
    coin = hashlib.sha256(f"{analyst}|{run_id}|{low}|{high}".encode()).digest()[0] & 1
    return bool(coin) != (first > second)


# -- editing --------------------------------------------------------------------------------------------------------


def edit_form(
    site: Site,
    request: Request,
    run_id: str,
    post: dict[str, Any],
    index: RunIndex,
    row: dict[str, Any],
    text: str,
    status: int = 200,
    **more: Any,
) -> Response:
    context: dict[str, Any] = {"assessment": None, "problem": "", "message": "", "comment": ""} | more
    assessment = context["assessment"]
    marks = [
        (c["start"], c["end"], c["reason"])
        for c in (assessment or {}).get("checks", [])
        if c.get("outcome") != "passed" and c.get("start") is not None
    ]
    return site.render(
        request,
        "edit.html",
        status,
        run_id=run_id,
        post=post,
        row=row,
        text=text,
        sha256=text_sha256(row["text"] or ""),
        filters=Filters.parse(request.query_params),
        diff=differences(row["text"] or "", text),
        marked=pieces(text, marks),
        notes=index.notes(post),
        based_on=context.pop("based_on", newest_decision(site, post["post_id"])),
        client_key=new_key(),
        strip=_edit_strip(row, assessment),
        **context,
    )


def _edit_strip(row: dict[str, Any], assessment: dict[str, Any] | None) -> Any:
    rows = [charts.Score("before", "existing", row["score"], row["lower"], row["upper"])]
    if assessment and assessment.get("score") is not None:
        rows.append(
            charts.Score("edited", "winner", assessment["score"], assessment.get("lower"), assessment.get("upper"))
        )
    return charts.score_strip(rows)


BLANK: dict[str, Any] = {"candidate_id": "", "text": "", "score": None, "lower": None, "upper": None, "rank": None}
"""What a note begins from that a person writes from scratch."""


def _base_candidate(index: RunIndex, post: dict[str, Any], candidate_id: str) -> dict[str, Any]:
    """The text that an edit begins from; `candidate_id` may be 'new': from none."""
    if candidate_id == "new":
        return BLANK
    if candidate_id:
        return index.candidate(post, candidate_id)
    return next(iter(index.candidates(post, None, 0, 1)), BLANK)


@router.get("/runs/{run_id}/posts/{post_id}/edit")
def edit_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    wanted = request.query_params.get("candidate", "")
    draft = decisions.read_draft(site.engine, user.name, run_id, post["post_id"])
    try:
        row = _base_candidate(index, post, wanted or (draft["candidate_id"] or "new" if draft else ""))
    except Refused:
        if wanted:
            raise
        row, draft = _base_candidate(index, post, ""), None
    mine = draft is not None and draft["candidate_id"] == row["candidate_id"]
    text = draft["text"] if draft and mine else row["text"]
    message = "This is your draft, as you left it." if mine else ""
    return edit_form(site, request, run_id, post, index, row, text, message=message)


@router.post("/runs/{run_id}/posts/{post_id}/edit")
def edit_action(request: Request, site: Here, form: Form, run_id: str, post_id: str) -> Response:
    """The edit form's buttons without script: check and score, keep as draft, throw the draft away."""
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    row = _base_candidate(index, post, field(form, "candidate_id", 80) or "new")
    text = field(form, "text", decisions.MAX_TEXT)
    action = field(form, "action", 20)
    if action == "discard":
        decisions.save_draft(site.engine, user.name, run_id, post["post_id"], row["candidate_id"], "", site.now())
        return site.redirect(request, f"/runs/{run_id}/posts/{post['post_id']}")
    decisions.save_draft(site.engine, user.name, run_id, post["post_id"], row["candidate_id"], text, site.now())
    based_on = number(field(form, "based_on", 20) or "0")
    if action == "draft":
        return edit_form(
            site, request, run_id, post, index, row, text, message="Kept as your draft.", based_on=based_on
        )
    assessment, problem = (
        site.try_assess(run_id, post["post_id"], text) if text.strip() else (None, "The text is empty.")
    )
    return edit_form(
        site, request, run_id, post, index, row, text, assessment=assessment, problem=problem, based_on=based_on
    )
