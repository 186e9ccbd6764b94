"""The note spec's questions, put to a writing model with structured answers; for finalists that passed everything cheap.

One request per finalist asks all questions at once (`synthesis/draft/prompts.py`, which frames the notes as evidence by strangers).
What comes back is either a 'yes' or 'no' to a principle that was asked, or unreadable: a missing, third or doubled answer
never counts as good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nouns.post import CheckResult, Completion, Note, Post, Request
from synthesis.draft.prompts import judge_request, read_object
from synthesis.settings import DraftCandidatesSettings
from synthesis.spec import NoteSpec


@dataclass(frozen=True)
class Finalist:
    """A candidate that passed the cheap checks, with what it rests on."""

    candidate_id: str
    text: str
    post: Post
    notes: tuple[Note, ...]
    language: str


def questions_for(finalist: Finalist, spec: NoteSpec, settings: DraftCandidatesSettings) -> Request:
    """The request that asks the spec's questions about one finalist. Equal content gives an equal request, seed included."""
    asked = {p.id: p.question for p in spec.principles if p.question}
    digest = hashlib.sha256(f"{spec.version} {finalist.candidate_id}".encode()).hexdigest()
    request = judge_request(
        finalist.post,
        finalist.notes,
        finalist.text,
        asked,
        settings,
        language=finalist.language,
        seed=int(digest[:12], 16),
    )
    return replace(request, prompt_version=f"{request.prompt_version}/spec-{spec.version}")


def read_verdicts(
    finalists: Sequence[Finalist], requests: Sequence[Request], by_id: Mapping[str, Completion], spec: NoteSpec
) -> list[CheckResult]:
    """One row per finalist and question from the completions by request id."""
    results: list[CheckResult] = []
    for finalist, request in zip(finalists, requests, strict=True):
        completion = by_id.get(request.request_id)
        if completion is None or not completion.texts:
            reason = (
                f"The judging model gave no reply: {completion.failure if completion else 'no completion of that id'}"
            )
            answers: dict[str, str] | None = None
        else:
            answers = read_answers(completion.texts[0])
            reason = f"The reply cannot be read: '{completion.texts[0][:80]}'"
        for principle in spec.principles:
            if not principle.question:
                continue
            answer = (answers or {}).get(principle.id)
            if answer not in ("yes", "no"):
                outcome, why = "unreadable", reason if answers is None else "The reply leaves this question out."
            elif answer == principle.good_answer:
                outcome, why = "passed", ""
            else:
                outcome, why = "failed", f"Asked '{principle.question}', the judging model said {answer}."
            results.append(CheckResult(finalist.candidate_id, "judge", outcome, why, principle=principle.id))  # type: ignore[arg-type]
    return results


def read_answers(reply: str) -> dict[str, str] | None:
    """The answers in a reply, or None where it has not exactly one JSON object of the asked form.

    Reasoning before it, a code fence or prose around it are tolerated, as with a note; two answers to one question are not.
    """
    value = read_object(reply, "answers")
    answers = value.get("answers") if value else None
    if value is None or not isinstance(answers, dict) or set(value) != {"answers"}:
        return None
    return {str(key): answer.strip().lower() for key, answer in answers.items() if isinstance(answer, str)}
