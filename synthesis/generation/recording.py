"""The record of every call to a writing model, and the use of answers that were paid for before.

`calls.jsonl.zst`: JSON lines in zstd frames, one frame per batch, appended; ids and seeds are strings. It belongs to the
result of a stage. The store of answers belongs to the workspace (`storage/calls.py`): one answer per equal request, on the disk before
the stage goes on, so that a stage killed halfway, another run or another day asks for what is missing. Neither holds a key, an address or a header.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from nouns.post import Completion, Request, TextGenerator
from synthesis.generation.base import Finished, ReportingGenerator
from synthesis.generation.refusals import Refusals

if TYPE_CHECKING:
    from synthesis.settings import DraftCandidatesSettings

__all__ = ["CallStore", "Recording", "call_record", "completion_of", "request_key"]


class CallStore(Protocol):
    """Answers by key, and who is asking for which: `storage.calls.Calls`."""

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]: ...

    def put(self, key: str, answer: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...

    def claim(self, keys: Iterable[str]) -> set[str]: ...

    def release(self, keys: Iterable[str]) -> None: ...


def request_key(request: Request, identity: Mapping[str, Any]) -> str:
    """SHA-256 of what is sent to whom. Not in it: the request's id, its post, its purpose, the prompt's name, the run."""
    sent = {
        "to": dict(identity),
        "messages": [[message.role, message.content] for message in request.messages],
        "sampling": _sampling(request),
    }
    text = json.dumps(sent, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Recording:
    """A `TextGenerator` around another: an equal request is made once, kept as it finishes, and recorded with its batch.

    Requests of one id in one batch are one call; all of them get its completion. With a `store`, so are requests that send the same
    to the same `identity` (back end, model, adapter), in whichever run; failures are asked again. What another process is
    asking for at this moment is waited for. An answer from the store is recorded like any other.
    """

    def __init__(
        self,
        generator: TextGenerator,
        *,
        calls: Path | None = None,
        store: CallStore | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator = generator
        self.name = generator.name
        self.calls = calls
        self.store = store
        self.identity = dict(identity or {})
        self.refusals = Refusals()
        self._context: int | None = None

    def fitted(self, settings: DraftCandidatesSettings) -> DraftCandidatesSettings:
        """The settings with the context the server says it has, where they name none: prompts are made to fit.

        It is asked once and recorded with the calls, so that a run repeated from its record has the same prompts.
        """
        if settings.max_context:
            return settings
        if self._context is None:
            ask = getattr(self.generator, "context", None)
            self._context = int(ask()) if ask else 0
        return replace(settings, max_context=self._context)

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        unique = {request.request_id: request for request in requests}
        if self.store is None:
            done = {completion.request_id: completion for completion in self._call(list(unique.values()), {}, finished)}
        else:
            done = self._once(self.store, unique, finished)
        told = {"max_context": self._context} if self._context else {}
        if self.calls is not None and unique:
            _append_frame(
                self.calls,
                [call_record(unique[i], done[i], self.name) | told for i in unique],
            )  # in the order asked, whatever finished first
        for completion in done.values():
            self.refusals.add(completion)
        return [done[request.request_id] for request in requests]

    def _once(
        self, store: CallStore, unique: Mapping[str, Request], finished: Finished | None
    ) -> dict[str, Completion]:
        """Completions by request id: from the store, from the model, or from whoever else is asking the model just now."""
        key_of = {request_id: request_key(request, self.identity) for request_id, request in unique.items()}
        first = {key: unique[request_id] for request_id, key in reversed(key_of.items())}
        answers: dict[str, Completion] = {}
        missing = list(dict.fromkeys(key_of.values()))
        while missing:
            answers |= {key: completion_of(record) for key, record in store.get(missing).items()}
            missing = [key for key in missing if key not in answers]
            mine = store.claim(missing)
            # Between looking and claiming another may have finished: its answer is there and its claim is gone.
            found = {key: completion_of(record) for key, record in store.get(mine).items()} if mine else {}
            answers |= found
            todo = [key for key in missing if key in mine and key not in found]
            try:
                keys = {first[key].request_id: key for key in todo}
                completions = self._call([first[key] for key in todo], keys, finished) if todo else []
                answers |= {keys[completion.request_id]: completion for completion in completions}
            finally:
                store.release(mine)
            missing = [key for key in missing if key not in answers]
            if missing and not todo:
                time.sleep(0.2)
        return {request_id: replace(answers[key], request_id=request_id) for request_id, key in key_of.items()}

    def _call(self, requests: list[Request], keys: Mapping[str, str], finished: Finished | None) -> list[Completion]:
        """Ask the model; `keys`: under which a request's answer is kept."""

        def keep(completion: Completion) -> None:
            if self.store is not None and completion.failure is None and completion.request_id in keys:
                self.store.put(keys[completion.request_id], _completion_record(completion))
            if finished is not None:
                finished(completion)

        if not requests:
            return []
        try:
            if _reports(self.generator):
                return self.generator.generate(requests, finished=keep)
            completions = self.generator.generate(requests)
            for completion in completions:
                keep(completion)
            return completions
        finally:
            if self.store is not None:
                self.store.flush()


def _reports(generator: TextGenerator) -> TypeGuard[ReportingGenerator]:
    return "finished" in inspect.signature(generator.generate).parameters


# ------------------------------------------------------------------------------------------------------------ records


def call_record(request: Request, completion: Completion, backend: str) -> dict[str, Any]:
    """One call as a JSON-able object: what was asked, how it was sampled, what came back, what it cost."""
    return {
        "request_id": request.request_id,
        "post_id": str(request.post_id),
        "purpose": request.purpose,
        "prompt_version": request.prompt_version,
        "backend": completion.raw.get("backend", backend),
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "sampling": _sampling(request),
        "source_note_ids": [str(note.note_id) for note in request.sources],
    } | _completion_record(completion)


def _sampling(request: Request) -> dict[str, Any]:
    return {
        "n": request.n,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "seed": str(request.seed),
        "schema": request.schema,
    }


def _completion_record(completion: Completion) -> dict[str, Any]:
    return {
        "request_id": completion.request_id,
        "texts": list(completion.texts),
        "finish_reasons": list(completion.finish_reasons),
        "failure": completion.failure,
        "model": completion.model,
        "model_revision": completion.model_revision,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "seconds": round(completion.seconds, 4),
        "attempts": completion.attempts,
        "raw": completion.raw,
    }


def completion_of(record: Mapping[str, Any]) -> Completion:
    """The completion of a recorded call. Raises `KeyError` or `TypeError` where the record is not one."""
    return Completion(
        request_id=record["request_id"],
        texts=tuple(record["texts"]),
        model=record["model"],
        failure=record["failure"],
        finish_reasons=tuple(record["finish_reasons"]),
        prompt_tokens=record["prompt_tokens"],
        completion_tokens=record["completion_tokens"],
        seconds=record["seconds"],
        attempts=record["attempts"],
        model_revision=record["model_revision"],
        raw=dict(record["raw"]),
    )


def _append_frame(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    import zstandard

    lines = "".join(json.dumps(record, ensure_ascii=False, sort_keys=True) + "\n" for record in records)
    with path.open("ab") as file:
        file.write(zstandard.ZstdCompressor().compress(lines.encode("utf-8", "backslashreplace")))
