"""Rows of an export folder as the trainers want them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from nouns.errors import InputError

CONFIG_OF = {
    "dpo": "dpo",
    "kto": "kto",
    "grpo": "grpo",
    "stable_alignment": "scored",
    "hindsight": "hindsight",
    "sft": "sft",
}
"""Which config of an export a method learns from."""

COLUMNS = {
    "dpo": ("prompt", "chosen", "rejected"),
    "kto": ("prompt", "completion", "label"),
    "grpo": ("prompt", "post_id", "classification", "source_note_ids", "language", "reply_form"),
    "stable_alignment": ("prompt", "completions", "scores"),
    "hindsight": ("prompt", "response", "feedback"),
    "sft": ("prompt", "completion"),
}


def read_rows(data: Path, method: str, split: str = "train") -> pl.DataFrame:
    """The rows of one split for a method. Raises InputError where the export has no such config or no row in `train`."""
    folder = Path(data) / CONFIG_OF[method]
    files = sorted(folder.glob(f"{split}-*.parquet"))
    if not files:
        raise InputError(
            f"{folder} holds no {split}-*.parquet; tune_writer's method {method!r} learns from that config. "
            f"Export it first: supernotes export with formats that name {CONFIG_OF[method]!r}."
        )
    frame = pl.concat([pl.read_parquet(file) for file in files])
    if split == "train" and not frame.height:
        raise InputError(f"{folder} has no row in its train split, so there is nothing to learn from.")
    if method == "stable_alignment":
        frame = _comparable(frame)
        if split == "train" and not frame.height:
            raise InputError(f"No prompt in {folder} has two answers with different scores; nothing can be compared.")
    return frame


def _comparable(frame: pl.DataFrame) -> pl.DataFrame:
    """Prompts with at least two judged answers whose scores differ."""
    scores = pl.col("scores").list.drop_nulls()
    return frame.filter((scores.list.len() >= 2) & (scores.list.max() > scores.list.min()))


def fitting(frame: pl.DataFrame, method: str, tokenizer: Any, max_length: int) -> tuple[pl.DataFrame, int]:
    """The rows that fit into `max_length` tokens, and how many do not; for the methods whose trainer cuts from the end.

    TRL's DPO, KTO and SFT would cut the answer off a long row, which is the part to learn from, or drop the row without a word. The other methods cut
    the prompt's beginning, or write the answer themselves. Raises `InputError` when no row fits.
    """
    answers = [name for name in ("chosen", "rejected", "completion") if name in COLUMNS[method]]
    if method not in ("dpo", "kto", "sft"):
        return frame, 0
    lengths = []
    for row in frame.select("prompt", *answers).iter_rows(named=True):
        texts = [tokenizer.apply_chat_template(row["prompt"] + row[name], tokenize=False) for name in answers]
        lengths.append(max(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]))
    kept = frame.filter(pl.Series([length <= max_length for length in lengths], dtype=pl.Boolean))
    if not kept.height:
        raise InputError(
            f"None of the {frame.height} rows fits into tune_writer.max_length = {max_length} tokens; the shortest has {min(lengths)}, the "
            f"longest {max(lengths)}. Raise max_length."
        )
    return kept, frame.height - kept.height


def to_dataset(frame: pl.DataFrame, method: str) -> Any:
    """The columns a trainer needs, as a `datasets.Dataset`."""
    from datasets import Dataset

    present = [name for name in COLUMNS[method] if name in frame.columns]  # exports of older versions lack reply_form
    return Dataset.from_list(frame.select(present).to_dicts())


def label_smoothing(frame: pl.DataFrame, asked: float) -> float:
    """The share of labels taken to be wrong: as asked, or the rows' mean probability of a flip, at most 0.4."""
    if asked >= 0:
        return asked
    if "p_flip" not in frame.columns:
        return 0.0
    flips = frame["p_flip"].drop_nulls()
    return round(min(float(flips.mean() or 0.0), 0.4), 4) if len(flips) else 0.0  # type: ignore[arg-type]
