"""Stage `draft_candidates`: candidate texts for every eligible post, every request and every failure accounted for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from nouns.post import Candidate, Completion, Request
from nouns.run import Run
from nouns.stage import Counts, Tools
from nouns.tables import polars
from synthesis.cluster.cluster import Clustered
from synthesis.cluster.stage import write_table
from synthesis.cluster.subsets import steady_worth
from synthesis.draft.draft import (
    Drafted,
    PostNotes,
    candidates_of,
    enter_costs,
    extractive_twin,
    generate_whole,
    requests_for,
    shortening_requests,
)
from synthesis.generation.recording import request_key
from synthesis.reading import note_table, notes_of_rows, read_posts, with_jury
from synthesis.settings import DraftCandidatesSettings

Progress = Callable[..., None]

CANDIDATES, PROMPTS, FAILURES = polars("candidates"), polars("prompts"), polars("failures")
BLOCK = 256  # posts drafted together


def draft_candidates(
    run: Run,
    settings: DraftCandidatesSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write candidates.parquet, prompts.parquet, failures.parquet and calls.jsonl.zst.

    Counts are in texts asked for: `out` candidates, `rejected` the others by reason (no answer, unreadable, same text). A draft of a
    language model that is too long comes back shortened as a further candidate, its `parent_id` naming the long one; a post costs
    at most `settings.subsets` + `settings.shorten` calls here, and never more than `settings.max_calls`.
    Without posts of its own the run treats all eligible ones.
    """
    recorded, kept, seed, progress = run.given.get("recorded"), tools.calls, tools.seed, tools.progress
    from synthesis.generation.extractive import Extractive

    extractive = Extractive(settings.max_length)
    generator: Any = None
    if settings.backend != "extractive":
        from synthesis.generation import open_generator

        generator = open_generator(settings, recorded=recorded, store=kept, calls=out / "calls.jsonl.zst")
        settings = generator.fitted(settings)
    candidates: list[Candidate] = []
    prompts: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    accounts: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    items = list(read_items(run, run.posts))
    progress("writing", 0, len(items))
    for start in range(0, len(items), BLOCK):  # a bounded number of prompts in memory and in flight
        block = items[start : start + BLOCK]
        planned = [list(requests_for(item, settings, samples=settings.samples, seed=seed)) for item in block]
        asked_for = [requests[: settings.max_calls] for requests in planned]
        used = Counter({item.post.post_id: len(requests) for item, requests in zip(block, asked_for, strict=True)})
        answers = _answers(
            generator,
            [request for requests in asked_for for request in requests],
            settings,
            used,
            spent,
            prompts,
            tools,
        )
        shortened = _shortened(generator, block, asked_for, answers, settings, seed, used, spent, prompts, tools)
        for item, requests in zip(block, planned, strict=True):
            answered: list[tuple[Request, Completion]] = [
                (r, answers[r.request_id]) for r in requests if r.request_id in answers
            ]
            parents = {request.request_id: parent for request, _, parent in shortened.get(item.post.post_id, ())}
            answered += [(request, completion) for request, completion, _ in shortened.get(item.post.post_id, ())]
            if generator is None or settings.extractive_always:
                twins = [extractive_twin(request, settings) for request in requests]
                answered += list(zip(twins, extractive.generate(twins), strict=True))
            drafted = candidates_of(
                answered, {row.note_id: row.cluster_id for row in item.placed}, parents=parents, language=item.language
            )
            _enter(drafted, candidates, failures, accounts)
            lost = dict(drafted.accounts)
            one = {"in": lost.pop("asked", 0), "out": lost.pop("kept", 0), "rejected": lost}
            tools.enter(item.post.post_id, one | {"posts": 1, "requests": len(answered)})
            prompts += [prompt_row(request) for request, _ in answered]
        progress("writing", min(start + BLOCK, len(items)), len(items))
    told: dict[str, Any] = {}
    if generator is not None:
        generator.refusals.gate(settings.max_refused, "draft_candidates")
        told = generator.refusals.counts()
    write_drafts(out, candidates, prompts, failures)
    asked = accounts.pop("asked", 0)
    kept = accounts.pop("kept", 0)
    return (
        {
            "in": asked,
            "out": kept,
            "rejected": dict(sorted((+accounts).items())),
            "posts": len(items),
            "requests": len(prompts),
        }
        | dict(sorted(spent.items()))
        | told
    )


def keys(run: Run, settings: DraftCandidatesSettings, tools: Tools) -> dict[int, Any]:
    """Per post what its drafts rest on: the requests planned for it, with the texts of their sources, and the claims its notes make.

    Ratings, as the jury's raters read them, count only as far as they choose the sources of a request or stand in its words.
    """
    return {item.post.post_id: drafts_rest_on(item, settings, tools.seed) for item in read_items(run, run.posts)}


def drafts_rest_on(item: PostNotes, settings: DraftCandidatesSettings, seed: int) -> list[Any]:
    """What of a post reaches its drafts, as a value to be digested."""
    planned = [
        [
            request_key(request, {}),
            [request.request_id, request.purpose, request.prompt_version, request.language],
            [
                [
                    note.note_id,
                    note.text,
                    note.classification,
                    note.borrowed,
                    steady_worth(note),
                ]  # as the extractive writer sees them
                for note in request.sources
            ],
        ]
        for request in requests_for(item, settings, samples=settings.samples, seed=seed)
    ]
    claims = sorted([row.note_id, row.cluster_id] for row in item.placed)
    return [planned, claims, item.language, item.post.text]


def _answers(
    generator: Any,
    requests: list[Request],
    settings: DraftCandidatesSettings,
    used: Counter[int],
    spent: Counter[str],
    prompts: list[dict[str, Any]],
    tools: Tools,
) -> dict[str, Completion]:
    """Completions by request id. `used` counts a post's calls; asking once more for what was broken off enters it and `prompts`."""
    if generator is None or not requests:
        return {}
    answers, paid, again = generate_whole(generator, requests, lambda post: settings.max_calls - used[post])
    enter_costs(paid, [*requests, *again], spent, tools)
    for request in again:
        tools.enter(request.post_id, {"requests": 1})
    used.update(request.post_id for request in again)
    prompts += [prompt_row(request) for request in again]
    return answers


def _shortened(
    generator: Any,
    block: Sequence[PostNotes],
    planned: Sequence[Sequence[Request]],
    answers: dict[str, Completion],
    settings: DraftCandidatesSettings,
    seed: int,
    used: Counter[int],
    spent: Counter[str],
    prompts: list[dict[str, Any]],
    tools: Tools,
) -> dict[int, list[tuple[Request, Completion, str]]]:
    """Too long drafts shortened, all posts of a block in one batch: by post request, completion and the long draft's id."""
    if generator is None or settings.shorten < 1:
        return {}
    wanted: list[tuple[Request, str]] = []
    for item, requests in zip(block, planned, strict=True):
        drafted = candidates_of([(r, answers[r.request_id]) for r in requests if r.request_id in answers], {})
        left = min(settings.shorten, settings.max_calls - used[item.post.post_id])
        wanted += shortening_requests(item, requests, drafted, settings, n=left, seed=seed)
    used.update(request.post_id for request, _ in wanted)
    found = _answers(generator, [request for request, _ in wanted], settings, used, spent, prompts, tools)
    by_post: dict[int, list[tuple[Request, Completion, str]]] = defaultdict(list)
    for request, parent in wanted:
        if request.request_id in found:
            by_post[request.post_id].append((request, found[request.request_id], parent))
    return by_post


def _enter(
    drafted: Drafted, candidates: list[Candidate], failures: list[dict[str, Any]], accounts: Counter[str]
) -> None:
    candidates.extend(drafted.candidates)
    failures.extend(failure.__dict__ for failure in drafted.failures)
    accounts.update(drafted.accounts)


def prompt_row(request: Request) -> dict[str, Any]:
    """A row of prompts.parquet: the messages as they were sent, and their hash."""
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    text = json.dumps(messages, ensure_ascii=False, separators=(",", ":"))
    return {
        "request_id": request.request_id,
        "post_id": request.post_id,
        "prompt_version": request.prompt_version,
        "prompt_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "messages": messages,
    }


def candidate_row(candidate: Candidate) -> dict[str, Any]:
    """A row of candidates.parquet."""
    return candidate.__dict__ | {"source_note_ids": list(candidate.source_note_ids)}


def write_drafts(
    out: Path, candidates: Sequence[Candidate], prompts: list[dict[str, Any]], failures: list[dict[str, Any]]
) -> None:
    """The three tables, sorted by post and id."""
    rows = sorted((candidate_row(c) for c in candidates), key=lambda r: (r["post_id"], r["candidate_id"]))
    write_table([{name: row[name] for name in CANDIDATES} for row in rows], CANDIDATES, out / "candidates.parquet")
    write_table(sorted(prompts, key=lambda r: (r["post_id"], r["request_id"])), PROMPTS, out / "prompts.parquet")
    write_table(
        sorted(failures, key=lambda r: (r["post_id"], r["request_id"], r["reason_code"])),
        FAILURES,
        out / "failures.parquet",
    )


def read_items(run: Run, posts: Sequence[int] | None) -> Iterator[PostNotes]:
    """The posts to write for, with their notes as the run's jury reads them, in the order of the post ids."""
    snapshot, clusters = run.path("ingest"), run.path("cluster_notes")
    parameters = run.path("fit_raters") if run.has("fit_raters") else None
    listed = pl.scan_parquet(clusters / "posts.parquet").filter(pl.col("eligible")).select("post_id", "language")
    if posts is not None:
        listed = listed.filter(pl.col("post_id").is_in(list(posts)))
    chosen = listed.sort("post_id").collect()
    wanted = chosen["post_id"].to_list()
    placed = (
        pl.scan_parquet(clusters / "clusters.parquet")
        .filter(pl.col("post_id").is_in(wanted))
        .sort("post_id", "note_id")
        .collect()
    )
    table = note_table(snapshot, parameters, placed["note_id"].unique().to_list()).collect()
    if parameters is not None and run.has("train_jury"):
        table = with_jury(table, snapshot, parameters, run.path("train_jury"))
    notes = {note.note_id: note for note in notes_of_rows(table)}
    texts = read_posts(snapshot, wanted)
    by_post: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in placed.iter_rows(named=True):
        by_post[row["post_id"]].append(row)
    for post_id, language in chosen.iter_rows():
        rows = by_post[post_id]
        own = [_as_borrowed(notes[row["note_id"]], row["borrowed"]) for row in rows]
        where = [
            Clustered(r["note_id"], r["cluster_id"], r["stance"], r["duplicate_of"], r["similarity"]) for r in rows
        ]
        yield PostNotes(texts[post_id], tuple(own), tuple(where), language or "und")


def _as_borrowed(note: Any, borrowed: bool) -> Any:
    from dataclasses import replace

    return replace(note, borrowed=True) if borrowed else note


def draft_requests_json(settings: DraftCandidatesSettings, run: Run, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """The exact requests as JSON-able objects, ids as strings; calls no model."""
    for item in read_items(run, run.posts):
        for request in requests_for(item, settings, samples=settings.samples, seed=seed):
            yield {
                "request_id": request.request_id,
                "post_id": str(request.post_id),
                "purpose": request.purpose,
                "prompt_version": request.prompt_version,
                "backend": settings.backend,
                "model": settings.model,
                "messages": [{"role": m.role, "content": m.content} for m in request.messages],
                "source_note_ids": [str(note.note_id) for note in request.sources],
                "n": request.n,
                "temperature": request.temperature,
                "top_p": request.top_p,
                "max_tokens": request.max_tokens,
                "seed": str(request.seed),
                "schema": request.schema,
            }
