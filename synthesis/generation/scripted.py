"""A writing model that is a plain function of the request: for tests, and for running the plumbing without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from nouns.post import Completion, Request
from synthesis.generation.base import Finished
from synthesis.spec import note_spec
from texts.note import MAX_NOTE_LENGTH, clean_text, note_length, split_sentences

Script = Callable[[Request], Completion | Sequence[str]]


class Scripted:
    """Answers by `script`, which returns a completion or its texts; without one, by `echo`."""

    name = "scripted"

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or echo
        self.requests: list[Request] = []

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        completions = []
        for request in requests:
            self.requests.append(request)
            answer = self.script(request)
            if not isinstance(answer, Completion):
                texts = tuple(answer)[: request.n]
                missing = f"missing_choices: {len(texts)} of {request.n} texts" if len(texts) < request.n else None
                answer = Completion(
                    request.request_id, texts, self.name, failure=missing, finish_reasons=("stop",) * len(texts)
                )
            completions.append(answer)
            if finished:
                finished(answer)
        return completions


def echo(request: Request) -> list[str]:
    """Text i is the beginning of source note i (modulo their number): as many whole sentences as fit into a note.

    A judge's questions get the answer the note spec calls good, others yes; a request without sources gets its parent text back.
    """
    if request.purpose == "judge":
        schema = (request.schema or {}).get("properties", {}).get("answers", {}).get("properties", {})
        good = {principle.id: principle.good_answer for principle in note_spec().principles if principle.question}
        return [json.dumps({"answers": {name: good.get(name, "yes") for name in schema or good}})] * request.n
    texts = [_beginning(clean_text(note.text)) for note in request.sources] or [request.parent_text or ""]
    return [texts[i % len(texts)] for i in range(request.n) if texts[i % len(texts)]]


def _beginning(text: str) -> str:
    end = 0
    for sentence in split_sentences(text):
        if note_length(text[: sentence.end]) > MAX_NOTE_LENGTH:
            break
        end = sentence.end
    return text[:end].strip()
