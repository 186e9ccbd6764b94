"""The record of every call to a writing model, and the journal that keeps finished calls from being paid for twice.

`calls.jsonl.zst`: JSON lines in zstd frames, one frame per batch, appended; ids and seeds are strings. It belongs to the
result of a stage. The journal is a directory beside it: one line per finished call, on the disk before the stage goes on, so
that a stage killed halfway replays what it had. Neither holds a key, an address or a header.
"""

from __future__ import annotations

import inspect
import json
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from nouns.post import Completion, Request, TextGenerator
from synthesis.generation.base import Finished, ReportingGenerator
from synthesis.generation.refusals import Refusals

if TYPE_CHECKING:
    from synthesis.settings import DraftCandidatesSettings

__all__ = ["Journal", "Recording", "call_record", "completion_of"]


class Recording:
    """A `TextGenerator` around another: each call is made once, journaled as it finishes, and recorded with its batch.

    Requests of one id in one batch are one call; all of them get its completion. Journaled calls are replayed if they
    succeeded and were made with the same `identity` (back end, model, adapter); they are recorded again, because the record
    belongs to a result that was thrown away.
    """

    def __init__(
        self,
        generator: TextGenerator,
        *,
        calls: Path | None = None,
        journal: Path | None = None,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self.generator = generator
        self.name = generator.name
        self.calls = calls
        self.journal = Journal(journal, dict(identity or {})) if journal is not None else None
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
        replayed = self.journal.finished if self.journal else {}
        done = {request_id: replayed[request_id] for request_id in unique if request_id in replayed}
        todo = [request for request_id, request in unique.items() if request_id not in done]
        if todo:
            done |= {completion.request_id: completion for completion in self._call(todo, finished)}
        told = {"max_context": self._context} if self._context else {}
        if self.calls is not None and unique:
            _append_frame(
                self.calls,
                [call_record(unique[i], done[i], self.name) | told for i in unique],
            )  # in the order asked, whatever finished first
        for completion in done.values():
            self.refusals.add(completion)
        return [done[request.request_id] for request in requests]

    def _call(self, requests: list[Request], finished: Finished | None) -> list[Completion]:
        def keep(completion: Completion) -> None:
            if self.journal is not None:
                self.journal.append(completion)
            if finished is not None:
                finished(completion)

        try:
            if _reports(self.generator):
                return self.generator.generate(requests, finished=keep)
            completions = self.generator.generate(requests)
            for completion in completions:
                keep(completion)
            return completions
        finally:
            if self.journal is not None:
                self.journal.flush()


def _reports(generator: TextGenerator) -> TypeGuard[ReportingGenerator]:
    return "finished" in inspect.signature(generator.generate).parameters


# ------------------------------------------------------------------------------------------------------------ journal


class Journal:
    """Finished calls in `directory`/journal.jsonl, durable: written and synchronised before `flush` returns.

    Calls that finish at the same time share one synchronisation of the disk. Several processes may append to one journal: a
    write is one call of whole lines. A line broken off by a kill is skipped.
    """

    def __init__(self, directory: Path, identity: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "journal.jsonl"
        self.identity = dict(identity)
        self.finished = self._read()
        self._pending: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._error: OSError | None = None
        self._file: int | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")

    def append(self, completion: Completion) -> None:
        """Queue one finished call; `flush` waits until it is on the disk."""
        if completion.failure is None:
            self.finished[completion.request_id] = completion
        line = json.dumps({"identity": self.identity, "completion": _completion_record(completion)}, sort_keys=True)
        self._pending.append(line.encode("ascii") + b"\n")
        self._writer.submit(self._drain)

    def flush(self) -> None:
        """Wait for the disk. Raises the `OSError` of a write that failed: a call that cannot be kept must not pass unseen."""
        self._writer.submit(self._drain).result()
        if self._error is not None:
            raise self._error

    def _drain(self) -> None:
        with self._lock:
            lines = []
            while self._pending:
                lines.append(self._pending.popleft())
            if not lines or self._error is not None:
                return
            try:
                if self._file is None:
                    self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
                    lines[:0] = self._mend()
                data = b"".join(lines)
                while data:
                    data = data[os.write(self._file, data) :]
                os.fsync(self._file)
            except OSError as error:
                self._error = error

    def _mend(self) -> list[bytes]:
        """A line break if the file ends within a line: a killed process left half of one."""
        size = os.lseek(self._file, 0, os.SEEK_END) if self._file is not None else 0
        if not size or self._file is None or os.pread(self._file, 1, size - 1) == b"\n":
            return []
        return [b"\n"]

    def _read(self) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        if not self.path.exists():
            return found
        with self.path.open("rb") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                    completion = completion_of(record["completion"])
                except (ValueError, KeyError, TypeError):
                    continue
                if record["identity"] == self.identity and completion.failure is None:
                    found[completion.request_id] = completion
        return found


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
        "sampling": {
            "n": request.n,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            "seed": str(request.seed),
            "schema": request.schema,
        },
        "source_note_ids": [str(note.note_id) for note in request.sources],
    } | _completion_record(completion)


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
