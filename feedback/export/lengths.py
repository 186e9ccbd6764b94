"""How long the exported rows are, in the tokens of the model that will be trained on them.

A trainer cuts what is longer than its `max_length` (TRL: 1,024 tokens by default, prompt and answer together) or drops it without a word, so
the folder says how long its rows are and the YAML files ask for enough. Bytes are counted for every row; tokens, where a tokenizer is at
hand, for an even sample and for the longest rows, so that a million rows cost what a thousand do.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from nouns.errors import InputError

COUNTED = ("dpo", "kto", "reward", "grpo")
"""The configs a YAML file is shipped for."""

SAMPLE_A_CHUNK = 64  # rows of a chunk whose tokens are counted ...
MAX_SAMPLE = 1024  # ... and of a config
LONGEST = 16  # longest rows of a config that are counted as well
_ANSWERS = ("chosen", "rejected", "completion")
_SHARES = (0.5, 0.95, 0.99)


class Lengths:
    """Collects the lengths of rows as they are written. `tokenizer`: a local directory, or '' for bytes alone."""

    def __init__(self, tokenizer: str = "") -> None:
        self._tokenizer = tokenizer
        self._bytes: dict[str, list[np.ndarray]] = {}
        self._sample: dict[str, list[dict[str, Any]]] = {}
        self._longest: dict[str, list[tuple[int, dict[str, Any]]]] = {}

    def add(self, config: str, frame: pl.DataFrame) -> None:
        """Count the rows of one chunk; configs without a YAML file are not counted."""
        if config not in COUNTED or not frame.height:
            return
        answers = [name for name in _ANSWERS if name in frame.columns]
        size = pl.col("prompt").pipe(_bytes) if "prompt" in frame.columns else pl.lit(0, dtype=pl.UInt32)
        if answers:
            size = size + pl.max_horizontal(*(pl.col(name).pipe(_bytes) for name in answers))
        sizes = frame.select(size.alias("size"))["size"].to_numpy().astype(np.int32)
        self._bytes.setdefault(config, []).append(sizes)
        if not self._tokenizer:
            return
        columns = [name for name in ("prompt", *answers) if name in frame.columns]
        sample = self._sample.setdefault(config, [])
        take = min(SAMPLE_A_CHUNK, MAX_SAMPLE - len(sample), frame.height)
        if take > 0:
            rows = np.unique(np.linspace(0, frame.height - 1, take).astype(int))
            sample += frame[rows.tolist()].select(columns).to_dicts()
        top = np.argsort(-sizes, kind="stable")[:LONGEST].tolist()
        found = list(zip(sizes[top].tolist(), frame[top].select(columns).to_dicts(), strict=True))
        kept = self._longest.setdefault(config, []) + found
        self._longest[config] = sorted(kept, key=lambda item: -item[0])[:LONGEST]

    def report(self) -> dict[str, Any]:
        """Per config {rows, bytes: {p50, p95, p99, max}, tokens: the same and `tokenizer`, or None}, a row being prompt and longer answer."""
        count = _counter(self._tokenizer) if self._tokenizer and self._bytes else None
        found: dict[str, Any] = {}
        for config, parts in self._bytes.items():
            sizes = np.concatenate(parts)
            entry: dict[str, Any] = {"rows": len(sizes), "bytes": _summary(sizes), "tokens": None}
            if count is not None:
                longest = [count(row) for _, row in self._longest[config]]
                entry["tokens"] = _summary(np.array([count(row) for row in self._sample[config]] + longest))
                entry["tokens"] |= {"tokenizer": Path(self._tokenizer).name}
            found[config] = entry
        return found


def _bytes(column: pl.Expr) -> pl.Expr:
    return column.list.eval(pl.element().struct.field("content").str.len_bytes()).list.sum()


def _summary(values: np.ndarray) -> dict[str, Any]:
    return {f"p{share * 100:.0f}": int(np.quantile(values, share)) for share in _SHARES} | {"max": int(values.max())}


def _counter(directory: str) -> Any:
    """A function from a row to its tokens, chat template and all. Raises `InputError` where there is no such tokenizer."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"export.tokenizer = {directory!r} cannot be loaded: {str(error).splitlines()[0]} Give a local directory, or ''."
        ) from error

    def tokens(messages: list[dict[str, str]]) -> int:
        if tokenizer.chat_template is None:
            return sum(len(tokenizer(message["content"])["input_ids"]) for message in messages)
        return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))

    def count(row: dict[str, Any]) -> int:
        prompt = row.get("prompt") or []
        answers = [row[name] for name in _ANSWERS if row.get(name)]
        return max((tokens(prompt + answer) for answer in answers), default=tokens(prompt) if prompt else 0)

    return count


def enough(report: dict[str, Any], config: str, wanted: int, answer: int = 0) -> int:
    """The `max_length` a YAML file should ask for: `wanted`, or the longest row (and `answer` tokens) rounded up to 64."""
    tokens = (report.get(config) or {}).get("tokens")
    return wanted if tokens is None else max(wanted, 64 * math.ceil((tokens["max"] + answer) / 64))


def write_lengths(out: Path, report: dict[str, Any]) -> None:
    (out / "lengths.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n", encoding="utf-8")
