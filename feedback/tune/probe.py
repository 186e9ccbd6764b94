"""A fixed set of texts, the same with the adapter and without it: whether the tuned writer finds the wanted ones likelier.

A trainer's log compares batches of different texts, so a fall from its first line to its last may say nothing but that
other texts came last. Here like is compared with like, on held-out rows where there are enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feedback.tune.data import CONFIG_OF, read_rows

ROWS = 32  # rows at most, evenly spread over the split
FEWEST = 8  # rows below which the test split says too little and train is asked
FALL = 0.02  # nats a token by which wanted texts must surely have become less likely to be warned of

Probe = tuple[list[dict[str, str]], str, bool]
"""Prompt, text, and whether it is a wanted one."""


def probe_rows(data: Path, method: str) -> tuple[str, list[list[Probe]]]:
    """The split and, for each of its probed rows, its texts (wanted ones first). GRPO writes its own texts and has none."""
    if method == "grpo":
        return "none", []
    held_out = any((Path(data) / CONFIG_OF[method]).glob("test-*.parquet"))
    for split in ("test", "train") if held_out else ("train",):
        frame = read_rows(data, method, split)
        if frame.height >= FEWEST or split == "train":
            break
    places = np.unique(np.linspace(0, frame.height - 1, min(ROWS, frame.height)).astype(int)).tolist()
    return split, [_texts(row, method) for row in frame[places].to_dicts()]


def _texts(row: dict[str, Any], method: str) -> list[Probe]:
    prompt = row["prompt"]
    if method == "dpo":
        return [(prompt, row["chosen"][-1]["content"], True), (prompt, row["rejected"][-1]["content"], False)]
    if method in ("kto", "sft"):
        return [(prompt, row["completion"][-1]["content"], bool(row.get("label", True)))]
    if method == "stable_alignment":
        judged = [(r, text) for r, text in zip(row["scores"], row["completions"], strict=True) if r is not None]
        return [(prompt, max(judged)[1], True), (prompt, min(judged)[1], False)]
    wanted = [(prompt, row["improved"], True)] if row.get("improved") else []
    return [*wanted, (prompt, row["response"], False)]


def probed(model: Any, tokenizer: Any, probe: tuple[str, Sequence[list[Probe]]], max_length: int) -> dict[str, Any]:
    """How the log-probability of the probe's texts changed, in nats a token, with 95 % intervals over the rows.

    `model` is a PEFT model: without its adapter it is the writer as it was. `told_apart`: share of rows with both kinds in
    which the wanted text gained more than the other.
    """
    import torch

    from feedback.tune.losses import mean_nll, token_log_probabilities
    from feedback.tune.trainers import encode, pad

    split, rows = probe
    changes: dict[bool, list[float]] = {True: [], False: []}
    ahead = []
    model.eval()
    for texts in rows:
        batch = pad([encode(tokenizer, p, text, max_length) for p, text, _ in texts], tokenizer.pad_token_id)
        batch = {name: value.to(model.device) for name, value in batch.items()}

        def likelihood(batch: dict[str, Any] = batch) -> Any:
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            return -mean_nll(token_log_probabilities(logits, batch["input_ids"]), batch["answer"])

        with torch.no_grad():
            after = likelihood()
            with model.disable_adapter():
                change = (after - likelihood()).tolist()
        for (_, _, wanted), value in zip(texts, change, strict=True):
            changes[wanted].append(value)
        if len({wanted for _, _, wanted in texts}) == 2:
            ahead.append(change[0] > change[1])
    return {
        "split": split,
        "rows": len(rows),
        "wanted": _mean(changes[True]),
        "unwanted": _mean(changes[False]),
        "told_apart": sum(ahead) / len(ahead) if ahead else None,
    }


def _mean(values: Sequence[float]) -> dict[str, float | int | None]:
    n = len(values)
    if not n:
        return {"change": None, "lo": None, "hi": None, "n": 0}
    mean = float(np.mean(values))
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    whole = math.isfinite(half)
    return {"change": mean, "lo": mean - half if whole else None, "hi": mean + half if whole else None, "n": n}


def probe_warnings(probe: dict[str, Any]) -> list[str]:
    """What a person should look at before using the adapter."""
    said = []
    wanted = probe["wanted"]
    if wanted["hi"] is not None and wanted["hi"] < -FALL:
        said.append(
            f"The preferred texts became less likely: {wanted['change']:+.3f} nats a token on the same {wanted['n']} texts of "
            f"{probe['split']} (95 % interval {wanted['lo']:+.3f} to {wanted['hi']:+.3f}). Raise sft_weight or lower the learning rate."
        )
    if probe["told_apart"] is not None and probe["rows"] >= FEWEST and probe["told_apart"] > 0.98:
        said.append(
            f"On {probe['rows']} rows of {probe['split']} the preferred text gained more than the other nearly every time: "
            "a surface cue may give it away."
        )
    return said
