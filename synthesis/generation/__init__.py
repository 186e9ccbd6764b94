"""Writing models behind one seam, `TextGenerator`, and the record of every call to them.

    name           what it is                                               recorded
    extractive     whole sentences of the notes, no weights                 no: free and deterministic
    openai         an OpenAI-compatible server; vLLM is the reference        yes
    transformers   a model directory, in this process                        yes
    vllm           vLLM in this process, inside vLLM's own environment       yes
    scripted       a function of the request, for tests and plumbing         yes
    recorded       the calls of an earlier run                               yes

A back end needs no base class and no registration: one file, one line in `BACKENDS`, one row in the contract test.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nouns.errors import InputError
from nouns.post import TextGenerator

if TYPE_CHECKING:
    from synthesis.generation.recording import CallStore
    from synthesis.settings import DraftCandidatesSettings

__all__ = ["BACKENDS", "open_generator"]


def _extractive(settings: DraftCandidatesSettings) -> TextGenerator:
    from synthesis.generation.extractive import Extractive

    return Extractive(settings.max_length)


def _openai(settings: DraftCandidatesSettings) -> TextGenerator:
    from synthesis.generation.openai_server import OpenAIServer

    return OpenAIServer(settings)


def _transformers(settings: DraftCandidatesSettings) -> TextGenerator:
    from synthesis.generation.local_transformers import LocalTransformers

    return LocalTransformers(settings)


def _vllm(settings: DraftCandidatesSettings) -> TextGenerator:
    from synthesis.generation.local_vllm import LocalVLLM

    return LocalVLLM(settings)


def _scripted(settings: DraftCandidatesSettings) -> TextGenerator:
    from synthesis.generation.scripted import Scripted

    return Scripted()


BACKENDS: dict[str, Callable[[DraftCandidatesSettings], TextGenerator]] = {
    "extractive": _extractive,
    "openai": _openai,
    "transformers": _transformers,
    "vllm": _vllm,
    "scripted": _scripted,
}
"""Constructors by name; imports happen inside them, so that nobody pays for a back end that is not used."""


def open_generator(
    settings: DraftCandidatesSettings,
    *,
    recorded: Path | None = None,
    store: CallStore | None = None,
    calls: Path | None = None,
) -> TextGenerator:
    """The writing model that `settings.backend` names.

    `recorded`: a calls.jsonl.zst, or a directory that holds some: requests are answered from there and no model is called;
    one that is not there is a completion with failure 'not_recorded'. `calls`: the file every call is appended to.
    `store`: answers of the workspace: an equal request to the same model is not made again. The extractive writer is neither recorded nor
    replayed, the scripted one is not kept.
    """
    from synthesis.generation.base import adapter_name
    from synthesis.generation.recording import Recording

    name = settings.backend
    if name not in BACKENDS and name != "recorded":
        near = difflib.get_close_matches(name, [*BACKENDS, "recorded"], 1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join([*BACKENDS, 'recorded'])}."
        raise InputError(f"settings.draft_candidates.backend = {name!r} is not known; {hint}")
    if name == "extractive":
        return _extractive(settings)
    if recorded is not None:
        from synthesis.generation.recorded import Recorded

        return Recording(Recorded(recorded), calls=calls)
    if name == "recorded":
        raise InputError(
            "settings.draft_candidates.backend = 'recorded' needs recorded calls; give a calls.jsonl.zst or a directory "
            "that holds some with --recorded."
        )
    identity = {
        "backend": name,
        "model": settings.model,
        "model_revision": settings.model_revision,
        "adapter": adapter_name(settings.adapter),
        "extra": settings.request_extra,
        "structured": settings.structured,
        "seeds": settings.seeds,
        "fresh": settings.fresh,
    }
    kept = store if name != "scripted" else None
    return Recording(BACKENDS[name](settings), calls=calls, store=kept, identity=identity)
