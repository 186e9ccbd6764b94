"""Sentence encoders of the rater model: MiniLM for the proxy jury, hashed character n-grams for the gold one, or none.

Two juries that check each other must not share an encoder, or a text that fools one embedding fools both (README, section 4).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from jury.model.features import strip_links
from nouns.errors import InputError
from texts.embedding import CachedEmbedder, MiniLM

ENCODERS = ("minilm", "hashing", "none")


class Encoder(Protocol):
    """Texts in, one unit vector each out; the empty text gives the zero vector."""

    name: str
    width: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


class HashingEncoder:
    """Signed counts of character 3- to 5-grams in hashed buckets, damped by log and normalised. No weights, any language."""

    name = "hashing"
    width = 384

    def __init__(self) -> None:
        self._memory: dict[str, NDArray[np.float32]] = {}

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._one(t) for t in texts]) if len(texts) else np.zeros((0, self.width), np.float32)

    def _one(self, text: str) -> NDArray[np.float32]:
        known = self._memory.get(text)
        if known is not None:
            return known
        body = f" {strip_links(text).lower()} "
        counts: dict[bytes, int] = {}
        raw = body.encode("utf-8", "replace")[:4096]
        for n in (3, 4, 5):
            for i in range(len(raw) - n + 1):
                gram = raw[i : i + n]
                counts[gram] = counts.get(gram, 0) + 1
        vector = np.zeros(self.width, np.float64)
        for gram, count in counts.items():
            # FNV-1a by hand would be slower than one call into blake2b.
            digest = int.from_bytes(hashlib.blake2b(gram, digest_size=6).digest(), "little")
            vector[digest % self.width] += (1 if (digest >> 40) & 1 else -1) * (1 + math.log(count))
        norm = np.linalg.norm(vector)
        result = (vector / norm if norm else vector).astype(np.float32)
        if len(self._memory) < 65536:
            self._memory[text] = result
        return result


class NoEncoder:
    """No embedding: similarity between notes is then unknown and the model relies on form, words, domains and stance."""

    name = "none"
    width = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), 0), np.float32)


class MiniLMEncoder:
    """all-MiniLM-L6-v2 from the pinned package, on the text without its links; remembered in memory and, given `cache`, on disk.

    The vectors come from the writing room's cached embedder, which clusters the notes on the same texts: a note is embedded once in a
    workspace, whoever needs it first. The cache may be deleted at any time or shared by processes.
    """

    name = "minilm"
    width = 384

    def __init__(self, cache: Path | None = None) -> None:
        self._memory: dict[str, NDArray[np.float32]] = {}
        self._embedder = CachedEmbedder(MiniLM(), None if cache is None else Path(cache))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        bodies = [strip_links(t) for t in texts]
        missing = sorted({b for b in bodies if b not in self._memory}, key=lambda b: (len(b), b))
        if missing:
            self._memory.update(zip(missing, self._embedder.embed(missing), strict=True))
        if not bodies:
            return np.zeros((0, self.width), np.float32)
        return np.stack([self._memory[b] for b in bodies])


def make_encoder(name: str, cache: Path | None = None) -> Encoder:
    """The encoder of that name (one of `ENCODERS`)."""
    if name == "minilm":
        return MiniLMEncoder(cache)
    if name == "hashing":
        return HashingEncoder()
    if name == "none":
        return NoEncoder()
    raise InputError(f"encoder {name!r} is not known; choose one of {', '.join(ENCODERS)}.")
