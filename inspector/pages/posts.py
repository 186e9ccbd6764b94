"""A post's page, its candidates, comparing and editing them, and deciding."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.datastructures import FormData

from inspector import charts, decisions
from inspector.decisions import NewDecision
from inspector.fragments import BASE, AnyFilters, Parts, cut
from inspector.markup import candidate_card, chosen_card, lists_part, note_card, pictures_part, plain_pieces, post_card
from inspector.pages import Form, Here, field, number, reading
from inspector.reading import NOTE, Filters, RunIndex
from inspector.runs import Workspace
from inspector.site import Site, new_key
from inspector.text import Piece, Sentence, Sources, differences, domain, links, pieces, prepare_sources, rest_on
from inspector.why import name_ranks, why_candidate, why_post
from nouns.decisions import Decision, effective, last_word, text_sha256
from nouns.errors import Conflict, Refused

router = APIRouter()

PER_PAGE = 10  # candidates shown in full on a post's page; the others are one click away and in the plane
PLANE_DOTS = 400  # candidates drawn in the plane
LISTED = (
    "candidate_id", "rank", "status", "score", "lower", "upper", "factor", "writer", "text", "round", "source_note_ids",
    "problems", "helpful_negative", "helpful_middle", "helpful_positive", "lost_because", "unjudged_reason",
)  # fmt: skip
DECIDING = ("curve", "others", "aggregator", "n_jurors", "passed", "reasons")  # shown of the texts to decide on only
NOTES = (
    "note_id", "text", "classification", "created_at", "status", "cluster_id", "stance", "duplicate_of", "borrowed",
    "intercept", "factor1", "note_lower", "note_upper", "n_ratings", "active_rules", "sides",
    "score", "lower", "upper", "factor", "unjudged_reason", "curve",
)  # fmt: skip
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
        """Predicted reasons by side, the most probable first, three at most."""
        found: dict[str, list[tuple[str, float]]] = {}
        for entry in sorted(self.row["reasons"] or (), key=lambda e: -(e["probability"] or 0)):
            side = found.setdefault(entry["side"], [])
            if len(side) < 3 and (entry["probability"] or 0) >= 0.05:
                side.append((entry["tag"], entry["probability"]))
        return found

    @property
    def shares(self) -> Any:
        values = [(side, self.row[f"helpful_{side}"]) for side in ("negative", "middle", "positive")]
        known = [(side, value) for side, value in values if value is not None and value == value]
        return charts.bars(known, "Helpful share by side of the jury") if known else ""


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


def number_clusters(notes: list[dict[str, Any]]) -> dict[str | None, tuple[str, int]]:
    """A letter and a colour number for each cluster of the post, in the order of its notes."""
    found: dict[str | None, tuple[str, int]] = {None: ("·", 0)}
    for note in notes:
        if note["cluster_id"] not in found:
            n = len(found) - 1
            found[note["cluster_id"]] = (chr(ord("A") + n) if n < 26 else f"{n + 1}", n % 8 + 1)
    return found


def post_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    user = site.require(request)
    index = site.index(run_id)
    post = index.post(number(post_id))
    filters = Filters.parse(request.query_params)
    candidate = request.query_params.get("candidate") or ""
    start = _start(request.query_params.get("from"), post["n_candidates"])
    parts = index.fragments.get(
        post["post_id"], candidate, start, lambda: render_parts(site.workspace, index, post, candidate, start)
    )
    history = decisions.history_of_post(site.engine, run_id, post["post_id"])
    return site.render_framed(
        request,
        "post.html",
        run_id=run_id,
        post=post,
        filters=filters,
        parts=parts.fill(filters.query(), request.scope.get("root_path", "").rstrip("/")),
        history=history,
        standing={row.decision_id for row in effective(history)},
        last_word=last_word(history),
        based_on=max((row.seq for row in history), default=0),
        client_key=new_key(),
        draft=decisions.read_draft(site.engine, user.name, run_id, post["post_id"]) if user.may("analyst") else None,
        around=index.neighbours(post["post_id"], filters, user.name),
        done=_done(site, request, user.name),
    )


router.add_route("/runs/{run_id}/posts/{post_id}", reading(post_page), methods=["GET"])


def render_parts(workspace: Workspace, index: RunIndex, post: dict[str, Any], candidate: str, start: int) -> Parts:
    """What the run alone settles of a post's page: texts, pictures, candidates from the start-th, notes.

    Raises `Refused` 404 for a candidate that is not the post's.
    """
    run_id = index.run_id
    overview = index.places(post)
    chosen_id = candidate or (overview[0][0] if overview else None)
    listed = index.candidates(post, LISTED, start, start + PER_PAGE)
    best = index.candidates(post, LISTED, 0, 2) if start else listed[:2]
    for row, more in zip(best, index.candidates(post, DECIDING, 0, 2), strict=True):
        row |= more
    winner = best[0] if best and best[0]["status"] == "winner" else None
    notes = index.notes(post, NOTES)
    chosen = next((row for row in best if row["candidate_id"] == chosen_id), None)
    if chosen is None and chosen_id:
        chosen = index.candidate(post, chosen_id)
    clusters = number_clusters(notes)
    sources = note_sources(notes)
    by_id = {note["note_id"]: note for note in notes}
    existing = by_id.get(post["best_note_id"]) or next((note for note in notes if note["score"] is not None), None)
    runner = next((row for row in best[1:] if row["status"] == "judged"), None)
    if chosen is not None and winner is not None and chosen["candidate_id"] != winner["candidate_id"]:
        runner = chosen if chosen["score"] is not None else runner
    first = winner or (best[0] if best else None)
    ranks = {found: rank for rank, (found, _, _) in enumerate(overview, 1)}

    def show(row: dict[str, Any]) -> ShownText:
        return show_text(row, sources, winner, post, ranks)

    shown = show(chosen) if chosen else None
    url = f"{BASE}/runs/{quote(run_id, safe='')}/posts/{post['post_id']}"
    filters = AnyFilters()
    cards = [
        candidate_card(
            shown if shown and row is chosen else show(row),
            number,
            row["candidate_id"] == chosen_id,
            url,
            filters.query,
        )
        for number, row in enumerate(listed, 1)
    ]
    note_cards = [
        note_card(
            note,
            plain_pieces(pieces(note["text"] or "")),
            charts.ratings_by_side(note["sides"]),
            clusters[note["cluster_id"]],
            note["note_id"] == post["best_note_id"],
            (chosen, f"{url}/compare") if chosen else None,
            filters.query,
        )
        for note in notes
    ]
    why = name_ranks(why_post(post), ranks)
    rival = f"{NOTE}{existing['note_id']}" if existing and existing["text"] else None
    reading = post_card(post, f"{BASE}/runs/{quote(run_id, safe='')}/posts") + chosen_card(
        shown, post, why, len(overview), rival, url, filters.query
    )
    pictures = pictures_part(
        _curves(first, runner, existing, _rug(workspace, run_id)),
        _strip(first, runner, existing, post),
        _plane(overview, notes, clusters, winner, runner),
        _aggregators(index, best[0] if best else None),
        post["disagreement"],
        {"winner": bool(winner), "runner": bool(runner), "existing": bool(existing)},
    )
    lists = lists_part(cards, note_cards, start, PER_PAGE, len(overview), url, filters.query)
    return Parts(
        chosen["candidate_id"] if chosen else None,
        shown.sha256 if shown else None,
        cut(reading),
        cut(pictures),
        cut(lists),
    )


def prepare_pages(workspace: Workspace, index: RunIndex, progress: Callable[[str, int, int], None]) -> int:
    """Render the settled parts of every post's page that is not kept yet, so that nobody's first visit pays for it.

    In the queue's own order: the posts that analysts open first are ready first.
    Returns how many were rendered; `progress(message, done, total)` hears of every five hundred.
    """
    columns = index.columns
    ids = columns.posts[columns.at["order_gain"]][::-1].tolist()
    fresh: list[tuple[int, Parts]] = []
    rendered = 0
    for done, post_id in enumerate(ids, 1):
        if not index.fragments.has(post_id):
            fresh.append((post_id, render_parts(workspace, index, index.post(post_id), "", 0)))
            rendered += 1
        if len(fresh) == 500 or done == len(ids):
            index.fragments.store(fresh)
            fresh = []
            progress("pages", done, len(ids))
    return rendered


def _start(value: str | None, n: int) -> int:
    start = int(value) if value and value.isascii() and value.isdigit() and len(value) < 7 else 0
    return min(start, max(0, n - 1)) // PER_PAGE * PER_PAGE


def _done(site: Site, request: Request, analyst: str) -> Decision | None:
    """The decision just made, named in the address by its id, to say so and to offer undo."""
    wanted = request.query_params.get("done", "")
    if not wanted:
        return None
    rows = decisions.history(site.engine, analyst=analyst, limit=20, descending=True)
    return next((row for row in rows if row.decision_id == wanted), None)


def _label(row: dict[str, Any] | None) -> str:
    return "winner" if row is not None and row["status"] == "winner" else "best candidate"


def _curves(first: Any, runner: Any, existing: Any, rug: list[float]) -> Any:
    lines = []
    for label, kind, row in (
        (_label(first), "winner", first),
        ("runner-up", "runner", runner),
        ("best existing note", "existing", existing),
    ):
        if row is not None and row.get("curve"):
            lines.append(charts.Line(label, kind, row["curve"]))
    return charts.factor_line(lines, rug)


def _strip(first: Any, runner: Any, existing: Any, post: dict[str, Any]) -> Any:
    rows = []
    for label, kind, row in (
        (_label(first), "winner", first),
        ("runner-up", "runner", runner),
        ("best existing", "existing", existing),
    ):
        if row is not None:
            rows.append(charts.Score(label, kind, row["score"], row["lower"], row["upper"]))
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
        if intercept is None or factor is None:
            continue
        letter, colour = clusters[note["cluster_id"]]
        dots.append(charts.Dot(f"note {note['note_id']}", "note", factor, intercept, letter, colour))
    return charts.plane(dots)


_rugs: dict[str, list[float]] = {}


def _rug(workspace: Workspace, run_id: str) -> list[float]:
    """Factors of the raters the run's jury is drawn from; at most 240, evenly through their order."""
    import polars as pl

    directory = workspace.directory(run_id, "train_jury")
    for path in (directory, workspace.directory(run_id, "fit_raters")):
        file = path / "raters.parquet" if path else None
        if file is None or not file.is_file():
            continue
        key = f"{file}:{file.stat().st_mtime_ns}"
        if key not in _rugs:
            frame = pl.scan_parquet(file)
            names = frame.collect_schema().names()
            column = next((c for c in ("factor1", "factor") if c in names), None)
            if "pool" in names and column:
                in_jury = frame.filter(pl.col("pool") == "proxy")
                frame = in_jury if in_jury.head(1).collect().height else frame
            values = frame.select(pl.col(column)).collect()[column].drop_nulls().sort().to_list() if column else []
            step = max(1, len(values) // 240)
            if len(_rugs) > 50:
                _rugs.clear()
            _rugs[key] = values[step // 2 :: step]
        return _rugs[key]
    return []


def _aggregators(index: RunIndex, best: dict[str, Any] | None) -> list[tuple[str, float | None]]:
    """The best candidate's score by each further aggregator."""
    if best is None or not best["others"]:
        return []
    return list(zip(index.facts.get("aggregators", []), best["others"], strict=False))


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
        aggregators=_aggregators(index, row),
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


def _lineage_steps(site: Site, run_id: str, post_id: int) -> dict[str, dict[str, Any]]:
    """What the revise stage wrote about each revision of the post: feedback given, scores before and after, kept or not."""
    import polars as pl

    directory = site.workspace.directory(run_id, "revise_candidates")
    file = directory / "lineage.parquet" if directory else None
    if file is None or not file.is_file():
        return {}
    frame = pl.scan_parquet(file)
    names = frame.collect_schema().names()
    if "candidate_id" not in names:
        return {}
    if "post_id" in names:
        frame = frame.filter(pl.col("post_id") == post_id)
    kept = [
        name for name in ("candidate_id", "feedback", "score_before", "score_after", "kept", "reason") if name in names
    ]
    return {
        row["candidate_id"]: dict.fromkeys(("feedback", "score_before", "score_after", "kept", "reason")) | row
        for row in frame.select(kept).collect().to_dicts()
    }


def find_prompt(site: Site, run_id: str, row: dict[str, Any]) -> dict[str, Any] | None:
    """The exact messages sent for a candidate, by its request id; None if the run does not hold them."""
    import polars as pl

    for stage in ("draft_candidates", "revise_candidates"):
        directory = site.workspace.directory(run_id, stage)
        file = directory / "prompts.parquet" if directory else None
        if file is None or not file.is_file() or row["request_id"] is None:
            continue
        found = (
            pl.scan_parquet(file)
            .filter((pl.col("post_id") == row["post_id"]) & (pl.col("request_id") == row["request_id"]))
            .head(1)
            .collect()
            .to_dicts()
        )
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
                        return {"stage": stage, "json": json.dumps(call, indent=2, ensure_ascii=False)[:60_000]}
    return None


def _mentions(value: Any, request_id: str) -> bool:
    """Whether a recorded call is about that request: some field of it equals the id exactly."""
    if isinstance(value, dict):
        return any(_mentions(entry, request_id) for entry in value.values())
    if isinstance(value, list):
        return any(_mentions(entry, request_id) for entry in value)
    return value == request_id


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
    history = decisions.history(site.engine, run_id, [post["post_id"]])
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
        curves=charts.factor_line(lines, _rug(site.workspace, run_id)),
        strip=charts.score_strip(
            [
                charts.Score("A", "winner", a["score"], a["lower"], a["upper"]),
                charts.Score("B", "runner", b["score"], b["lower"], b["upper"]),
            ]
        ),
        based_on=max((row.seq for row in history), default=0),
        client_key=new_key(),
        done=_done(site, request, user.name),
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
    history = decisions.history(site.engine, run_id, [post["post_id"]])
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
        based_on=max((row.seq for row in history), default=0),
        client_key=new_key(),
    )


def swapped(analyst: str, run_id: str, first: str, second: str) -> bool:
    """Whether the pair is shown the other way round: as good as a coin, and the same after every reload."""
    low, high = sorted((first, second))
    coin = hashlib.sha256(f"{analyst}|{run_id}|{low}|{high}".encode()).digest()[0] & 1
    return bool(coin) != (first > second)


# -- editing --------------------------------------------------------------------------------------------------------


def _edit_page(
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
    history = decisions.history(site.engine, run_id, [post["post_id"]])
    context: dict[str, Any] = {"assessment": None, "problem": "", "message": ""} | more
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
        based_on=context.pop("based_on", max((r.seq for r in history), default=0)),
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


def _base_candidate(index: RunIndex, post: dict[str, Any], candidate_id: str) -> dict[str, Any]:
    if candidate_id:
        return index.candidate(post, candidate_id)
    first = index.candidates(post, None, 0, 1)
    if not first:
        raise Refused("This post has no candidate to edit.", 404)
    return first[0]


@router.get("/runs/{run_id}/posts/{post_id}/edit")
def edit_page(request: Request, site: Here, run_id: str, post_id: str) -> Response:
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    wanted = request.query_params.get("candidate", "")
    draft = decisions.read_draft(site.engine, user.name, run_id, post["post_id"])
    try:
        row = _base_candidate(index, post, wanted or (draft["candidate_id"] if draft else ""))
    except Refused:
        if wanted:
            raise
        row, draft = _base_candidate(index, post, ""), None
    mine = draft is not None and draft["candidate_id"] == row["candidate_id"]
    text = draft["text"] if draft and mine else row["text"]
    message = "This is your draft, as you left it." if mine else ""
    return _edit_page(site, request, run_id, post, index, row, text, message=message)


@router.post("/runs/{run_id}/posts/{post_id}/edit")
def edit_action(request: Request, site: Here, form: Form, run_id: str, post_id: str) -> Response:
    """The edit form's buttons without script: check and score, keep as draft, throw the draft away."""
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    row = _base_candidate(index, post, field(form, "candidate_id", 80))
    text = field(form, "text", decisions.MAX_TEXT)
    action = field(form, "action", 20)
    if action == "discard":
        decisions.save_draft(site.engine, user.name, run_id, post["post_id"], row["candidate_id"], "", site.now())
        return site.redirect(request, f"/runs/{run_id}/posts/{post['post_id']}")
    decisions.save_draft(site.engine, user.name, run_id, post["post_id"], row["candidate_id"], text, site.now())
    based_on = number(field(form, "based_on", 20) or "0")
    if action == "draft":
        return _edit_page(
            site, request, run_id, post, index, row, text, message="Kept as your draft.", based_on=based_on
        )
    assessment, problem = (
        site.try_assess(run_id, post["post_id"], text) if text.strip() else (None, "The text is empty.")
    )
    return _edit_page(
        site, request, run_id, post, index, row, text, assessment=assessment, problem=problem, based_on=based_on
    )


# -- deciding -------------------------------------------------------------------------------------------------------


@router.post("/runs/{run_id}/posts/{post_id}/decisions")
async def decide(request: Request, site: Here, form: Form, run_id: str, post_id: str) -> Response:
    slow = field(form, "kind", 20) == "edit"  # checks and jury read the text before it is stored
    return await site.near(run_id, lambda: _decide(request, site, form, run_id, post_id), slow=slow)


def _decide(request: Request, site: Site, form: FormData, run_id: str, post_id: str) -> Response:
    user = site.require(request, "analyst")
    index = site.index(run_id)
    post = index.post(number(post_id))
    kind = field(form, "kind", 20)
    filters = Filters.parse(_query_of(field(form, "queue")))
    if kind == "skip":
        decisions.skip(site.engine, user.name, run_id, post["post_id"], site.now())
        index.mark_seen(user.name, post["post_id"])
        return _go_on(
            site, request, index, post["post_id"], filters, user.name, None, blind=field(form, "mode", 10) == "blind"
        )
    wanted, other = field(form, "candidate_id", 80) or None, field(form, "other_id", 80) or None
    sha, other_sha = field(form, "text_sha256", 64), field(form, "other_sha256", 64)
    if kind == "prefer" and field(form, "preferred", 80) == other and other:
        wanted, other, sha, other_sha = other, wanted, other_sha, sha
    based_on = field(form, "based_on", 20)
    new = NewDecision(
        run_id=run_id,
        post_id=post["post_id"],
        kind=kind,
        analyst=user.name,
        client_key=field(form, "client_key", 64),
        candidate_id=wanted,
        other_id=other if kind == "prefer" else None,
        text=field(form, "text") if kind == "edit" else None,
        reasons=tuple(str(value) for value in form.getlist("reasons")) if kind in ("reject", "edit", "prefer") else (),
        comment=field(form, "comment"),
        blind=field(form, "mode", 10) == "blind" and kind == "prefer",
        based_on=number(based_on) if based_on else None,
    )
    stored = store_decision(site, index, post, new, sha, other_sha)
    index.mark_seen(
        user.name, post["post_id"]
    )  # before the next look for new decisions, so that 'next unseen' is right at once
    if kind == "prefer":
        return site.redirect(
            request,
            f"/runs/{run_id}/posts/{post['post_id']}/compare?{filters.query(a=new.candidate_id, b=new.other_id)}",
            done=stored.decision_id,
        )
    if kind == "flag" or field(form, "stay", 5):
        return site.redirect(
            request, f"/runs/{run_id}/posts/{post['post_id']}?{filters.query()}", done=stored.decision_id
        )
    return _go_on(site, request, index, post["post_id"], filters, user.name, stored.decision_id)


def store_decision(
    site: Site, index: RunIndex, post: dict[str, Any], new: NewDecision, sha: str, other_sha: str = ""
) -> Decision:
    """Bind a decision to the exact texts and store it. `sha`: what the analyst's page showed ('' : not given).

    Raises `Conflict` if the run holds another text by now, `Refused` if something is missing.
    """
    import dataclasses

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
        if target == "other_sha256":
            new = dataclasses.replace(new, other_sha256=actual)
        elif new.kind != "edit":
            new = dataclasses.replace(new, text=row["text"], text_sha256=actual)
    if new.kind == "edit":
        text = (new.text or "").strip()
        assessment, _ = site.try_assess(new.run_id, new.post_id, text)
        new = dataclasses.replace(new, text=text, text_sha256=text_sha256(text), assessment=assessment)
    stored, _ = decisions.record(site.engine, new, site.now())
    return stored


def _query_of(text: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(text[:2_000], max_num_fields=30)) if text else {}


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
    row = decisions.undo(
        site.engine,
        decision_id,
        user.name,
        field(form, "client_key", 64) or new_key(),
        site.now(),
        admin=user.may("admin"),
    )
    site.index(row.run_id).sync(now=True)
    filters = Filters.parse(_query_of(field(form, "queue")))
    return site.redirect(request, f"/runs/{row.run_id}/posts/{row.post_id}?{filters.query()}", undone=row.undoes)
