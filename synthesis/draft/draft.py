"""From a post's clustered notes to requests, and from what a writing model answered to candidates.

Only notes that call the post misleading are merged: X shows no others, and contradicting stances never mix.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from nouns.post import Candidate, Completion, Note, Post, Request, TextGenerator
from nouns.stage import Tools
from synthesis.cluster.cluster import Clustered
from synthesis.cluster.subsets import choose_subsets
from synthesis.draft.prompts import draft_request, read_reply, revise_request, shorten_request
from synthesis.generation.extractive import sentences_of
from synthesis.settings import DraftCandidatesSettings
from texts.note import clean_text, normalise_for_comparison, note_length

MAX_TEXT = 4000  # characters of a model's answer that are looked at; a note has 280


@dataclass(frozen=True)
class PostNotes:
    """A post worth a supernote: its notes, the story's borrowed ones among them, and where each stands."""

    post: Post
    notes: tuple[Note, ...]
    placed: tuple[Clustered, ...]
    language: str


@dataclass(frozen=True)
class Failure:
    """A request that gave no candidate, and why."""

    request_id: str
    post_id: int
    reason_code: str
    reason: str


@dataclass(frozen=True)
class Drafted:
    """What came of some requests; `accounts` counts every text asked for: kept, or why not."""

    candidates: tuple[Candidate, ...]
    failures: tuple[Failure, ...]
    accounts: dict[str, int]


def seed_for(seed: int, *parts: object) -> int:
    """A 62-bit seed from the run's seed and what the draw is for. Draw i of a request adds i: neighbours never meet."""
    text = "|".join(str(part) for part in (seed, *parts))
    return (int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 14) << 12


def requests_for(item: PostNotes, settings: DraftCandidatesSettings, *, samples: int, seed: int) -> Iterator[Request]:
    """Draft requests of one post, best source set first; at most `settings.subsets`."""
    misleading = [row for row in item.placed if row.stance == "misleading"]
    where = {row.note_id: row for row in misleading}
    notes = [note for note in item.notes if note.note_id in where]
    for sources in choose_subsets(notes, misleading, limit=settings.subsets, max_sources=settings.max_sources):
        cluster_id = where[sources[0].note_id].cluster_id
        identity = ",".join(str(note.note_id) for note in sources)
        yield draft_request(
            item.post,
            cluster_id,
            sources,
            settings,
            language=item.language,
            n=samples,
            seed=seed_for(seed, "draft", item.post.post_id, identity),
        )


def extractive_twin(request: Request, settings: DraftCandidatesSettings) -> Request:
    """The same prompt put to the extractive writer, which answers as often as its own setting says."""
    return replace(request, n=settings.extractive_candidates, request_id=f"{request.request_id}-x")


def revision_request(
    item: PostNotes,
    sources: Sequence[Note],
    parent_text: str,
    feedback: str,
    settings: DraftCandidatesSettings,
    *,
    n: int,
    seed: int,
) -> Request:
    """A request to mend `parent_text` in the light of `feedback`, from the same sources."""
    identity = hashlib.blake2b(f"{parent_text}|{feedback}".encode(), digest_size=8).hexdigest()
    return revise_request(
        item.post,
        sources,
        parent_text,
        feedback,
        settings,
        language=item.language,
        n=n,
        seed=seed_for(seed, "revise", item.post.post_id, identity),
    )


def shortening_requests(
    item: PostNotes,
    requests: Sequence[Request],
    drafted: Drafted,
    settings: DraftCandidatesSettings,
    *,
    n: int,
    seed: int,
) -> list[tuple[Request, str]]:
    """At most `n` requests to shorten a draft that is too long, each with the id of that draft.

    In the order of the requests, so that the best source set comes first, then the one that is least too long. A shortened
    text that is still too long is not asked about again; the length check stops it.
    """
    by_id = {request.request_id: (place, request) for place, request in enumerate(requests)}
    too_long = sorted(
        (by_id[draft.request_id][0], length, draft.candidate_id, draft)
        for draft in drafted.candidates
        if draft.request_id in by_id and (length := note_length(draft.text)) > settings.max_length
    )
    return [
        (
            shorten_request(
                item.post,
                by_id[draft.request_id][1].sources,
                draft.text,
                settings,
                language=item.language,
                n=1,
                seed=seed_for(seed, "shorten", item.post.post_id, draft.candidate_id),
            ),
            draft.candidate_id,
        )
        for _, _, _, draft in too_long[: max(n, 0)]
    ]


def candidate_id(post_id: int, text: str, writer: str, parent_id: str | None) -> str:
    """From content alone: the same text by the same writer for the same post has the same id."""
    content = "\x1f".join((str(post_id), text, writer, parent_id or ""))
    return hashlib.blake2b(content.encode(), digest_size=12).hexdigest()


def used_sources(text: str, request: Request) -> tuple[Note, ...]:
    """The notes an extractive text rests on: those with a sentence in it, best first; all of them if none is found.

    A model saw all sources of its prompt and may have used any of them, so its candidates name them all.
    """
    used = tuple(
        note
        for note in request.sources
        if any((sentence.bare or sentence.text) in text for sentence in sentences_of(note, request.language))
    )
    return used or request.sources


UNFINISHED = ("length", "abort", "content_filter")
"""Reasons a server gives for having stopped before the model did: what came is half a reply."""


def cut_replies(completion: Completion) -> set[int]:
    """Which texts of a completion were broken off by the server (no finish reason known: taken as finished)."""
    return {i for i, why in enumerate(completion.finish_reasons[: len(completion.texts)]) if why in UNFINISHED}


def _cut_failure(request: Request, completion: Completion, cut: set[int]) -> Failure:
    why = sorted({completion.finish_reasons[i] for i in cut})
    reason = f"cut_off: {len(cut)} of {len(completion.texts)} replies ended with finish_reason {' and '.join(why)}"
    return Failure(request.request_id, request.post_id, "cut_off", f"{reason} at max_tokens = {request.max_tokens}")


def generate_whole(
    generator: TextGenerator, requests: Sequence[Request], left: Callable[[int], int] = lambda post_id: 1
) -> tuple[dict[str, Completion], list[Completion], list[Request]]:
    """Completions by request id, all completions that were paid for, and the requests made beside those given.

    A reply that was broken off is asked for once more with twice the room, if `left(post)` calls of that post are not spent; what
    comes whole takes its place. What stays broken keeps its finish reason, and `candidates_of` leaves it out.
    """
    first = {completion.request_id: completion for completion in generator.generate(requests)} if requests else {}
    again: list[Request] = []
    spent: Counter[int] = Counter()
    for request in requests:
        cut = cut_replies(first[request.request_id]) if request.request_id in first else set()
        if cut and left(request.post_id) - spent[request.post_id] > 0:
            spent[request.post_id] += 1
            name, room = f"{request.request_id}-more", 2 * request.max_tokens
            again.append(replace(request, request_id=name, n=len(cut), max_tokens=room, seed=request.seed + request.n))
    more = {completion.request_id: completion for completion in generator.generate(again)} if again else {}
    whole = dict(first)
    for request in requests:
        second = more.get(f"{request.request_id}-more")
        if second is None:
            continue
        texts, reasons = list(first[request.request_id].texts), list(first[request.request_id].finish_reasons)
        good = [i for i in range(len(second.texts)) if i not in cut_replies(second)]
        for place, i in zip(sorted(cut_replies(first[request.request_id])), good, strict=False):
            texts[place], reasons[place] = second.texts[i], "stop"
        whole[request.request_id] = replace(
            first[request.request_id], texts=tuple(texts), finish_reasons=tuple(reasons)
        )
    return whole, [*first.values(), *more.values()], again


def enter_costs(
    completions: Iterable[Completion], requests: Iterable[Request], spent: Counter[str], tools: Tools
) -> None:
    """Calls and tokens of a model into the stage's sum and each post's account; `requests`: all that were made."""
    post_of = {request.request_id: request.post_id for request in requests}
    for done in completions:
        cost = {"calls": 1, "prompt_tokens": done.prompt_tokens, "completion_tokens": done.completion_tokens}
        spent.update(cost)
        tools.enter(post_of[done.request_id], cost)


def candidates_of(
    answered: Iterable[tuple[Request, Completion]],
    cluster_of: dict[int, str],
    *,
    parents: dict[str, str] | None = None,
    round: int = 0,
    language: str = "und",
) -> Drafted:
    """Candidates of one post from its answered requests, equal texts once (the first request that gave it keeps it).

    `cluster_of`: cluster id by note id. `parents`: parent candidate id by request id, for revisions.
    """
    candidates: list[Candidate] = []
    failures: list[Failure] = []
    accounts = {"asked": 0, "kept": 0}
    seen: set[str] = set()

    def count(reason: str, n: int = 1) -> None:
        accounts[reason] = accounts.get(reason, 0) + n

    for request, completion in answered:
        extractive = completion.model == "extractive"
        accounts["asked"] += max(len(completion.texts), 0 if extractive else request.n)
        if completion.failure:
            code = completion.failure.split(":", 1)[0].strip().replace(" ", "_")[:60] or "failed"
            failures.append(Failure(request.request_id, request.post_id, code, completion.failure[:500]))
        missing = 0 if extractive else request.n - len(completion.texts)
        if missing > 0:
            count("no_answer", missing)
        cut = cut_replies(completion)
        if cut:
            count("cut_off", len(cut))
            failures.append(_cut_failure(request, completion, cut))
        for number, raw in enumerate(completion.texts):
            if number in cut:
                continue
            read = raw if extractive else read_reply(raw[: 4 * MAX_TEXT], "json" if request.schema else "text")
            text = " ".join(clean_text(read)[:MAX_TEXT].split()) if read else ""
            if not text:
                count("unreadable_answer")
                continue
            identity = normalise_for_comparison(text)
            if identity in seen:
                count("same_text")
                continue
            seen.add(identity)
            parent = (parents or {}).get(request.request_id)
            used = used_sources(text, request) if extractive else request.sources
            sources = tuple(note.note_id for note in used)
            candidates.append(
                Candidate(
                    candidate_id=candidate_id(request.post_id, text, completion.model, parent),
                    post_id=request.post_id,
                    cluster_id=cluster_of.get(sources[0], "") if sources else "",
                    text=text,
                    language=request.language or language,
                    classification=request.sources[0].classification if request.sources else "",
                    source_note_ids=sources,
                    writer=completion.model,
                    prompt_version=request.prompt_version,
                    seed=request.seed + number,
                    request_id=request.request_id,
                    parent_id=parent,
                    round=round,
                )
            )
            count("kept")
    return Drafted(tuple(candidates), tuple(failures), accounts)
