"""What the back ends share: how a failure is written down, and how a finished call is reported before its batch ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from nouns.errors import InputError
from nouns.post import Completion, Request

Finished = Callable[[Completion], None]


class ReportingGenerator(Protocol):
    """A `TextGenerator` that tells of every completion as soon as it is there, so that it can be kept from a crash."""

    name: str

    def generate(self, requests: Sequence[Request], *, finished: Finished | None = None) -> list[Completion]: ...


def failed(request: Request, model: str, code: str, words: str = "", **facts: Any) -> Completion:
    """A completion without texts. `failure` is 'code: words'; `code` is one word that tables can count by."""
    return Completion(request.request_id, (), model, failure=f"{code}: {words}" if words else code, **facts)


def failure_code(failure: str | None) -> str | None:
    """The countable word of `Completion.failure`, or None."""
    return failure.split(":", 1)[0] if failure else None


def request_extra(text: str) -> dict[str, Any]:
    """`settings.request_extra` as an object; empty text gives none."""
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"settings.draft_candidates.request_extra is not JSON ({error}); give an object or ''."
        ) from None
    if not isinstance(value, dict):
        raise InputError(f"settings.draft_candidates.request_extra is {value!r}; give a JSON object or ''.")
    return value


def adapter_name(adapter: str) -> str:
    """What an adapter is called, wherever its directory lies: 'writer-ID' for .../writer-ID/adapter, else the last part of the path."""
    parts = [part for part in adapter.split("/") if part]
    return (parts[-2] if len(parts) > 1 and parts[-1] == "adapter" else parts[-1]) if parts else ""
