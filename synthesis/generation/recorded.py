"""The calls of an earlier run as a writing model: a run is repeated without a server, to the byte."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from nouns.post import Completion, Request
from synthesis.generation.base import Finished, failed
from synthesis.generation.recording import completion_of


class Recorded:
    """Answers by request id from `path`, a calls.jsonl.zst or a directory with such files anywhere below it.

    A request that was not recorded is a completion with failure 'not_recorded'. Where an id was recorded more than once, the
    first call without a failure counts, otherwise the first. Only the answers are kept in memory, not the prompts.
    """

    name = "recorded"

    def __init__(self, path: Path) -> None:
        files = [path] if path.is_file() else sorted(path.rglob("calls*.jsonl.zst")) if path.is_dir() else []
        if not files:
            raise InputError(
                f"No recorded calls at {str(path)!r}; give a calls.jsonl.zst or a directory that holds one, such as a run."
            )
        self.answers: dict[str, Completion] = {}
        self._context = 0
        for file in files:
            for record in read_calls(file):
                try:
                    completion = completion_of(record)
                except (KeyError, TypeError):
                    continue  # written by an older stage in another shape: not a call that can be replayed
                self._context = self._context or int(record.get("max_context") or 0)
                before = self.answers.get(completion.request_id)
                if before is None or (before.failure is not None and completion.failure is None):
                    backend = {"backend": record["backend"]} if "backend" in record else {}
                    self.answers[completion.request_id] = _with_raw(completion, completion.raw | backend)

    def context(self) -> int:
        """The context the recorded calls were made for; 0 where none was known."""
        return self._context

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]:
        completions = [
            self.answers.get(request.request_id) or failed(request, self.name, "not_recorded") for request in requests
        ]
        if finished:
            for completion in completions:
                finished(completion)
        return completions


def _with_raw(completion: Completion, raw: dict[str, Any]) -> Completion:
    from dataclasses import replace

    return replace(completion, raw=raw)


def read_calls(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a calls.jsonl.zst, one after the other, in constant memory."""
    import zstandard

    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as raw:
            for line in io.BufferedReader(raw, 1 << 20):  # type: ignore[arg-type]
                yield json.loads(line)
    except (zstandard.ZstdError, ValueError) as error:
        raise InputError(f"{path} is not a record of calls (JSON lines, zstd): {error}. Give another file.") from None
