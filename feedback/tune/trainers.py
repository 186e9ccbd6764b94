"""Trainers for the two losses TRL does not have, on transformers' own `Trainer`: seeds, logging and resuming come with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from feedback.settings import TuneWriterSettings
from feedback.tune.losses import hindsight_loss, mean_nll, rating_scaled_contrast, token_log_probabilities

RATING_SCALE = 7.0
"""Stable Alignment's ratings run from 1 to 7; scores on X's scale are stretched onto it within the rows at hand."""


def encode(
    tokenizer: Any, prompt: Sequence[dict[str, str]], answer: str, max_length: int
) -> tuple[list[int], list[int]]:
    """Token ids of the conversation and a mask that is 1 on the answer's tokens (its end-of-turn included).

    Too long a conversation loses tokens from the front of its prompt, never from the answer.
    """
    opening = tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(
        [*prompt, {"role": "assistant", "content": answer}], tokenize=False, add_generation_prompt=False
    )
    head = tokenizer(opening, add_special_tokens=False)["input_ids"]
    # A template that closes a turn differently after a full one is followed as far as it agrees with the opening.
    rest = whole[len(opening) :] if whole.startswith(opening) else answer + (tokenizer.eos_token or "")
    tail = tokenizer(rest, add_special_tokens=False)["input_ids"][:max_length]
    head = head[max(len(head) + len(tail) - max_length, 0) :]
    return head + tail, [0] * len(head) + [1] * len(tail)


def pad(rows: Sequence[tuple[list[int], list[int]]], pad_id: int) -> dict[str, Any]:
    """input_ids, attention_mask and answer mask of rows of different length, padded on the right."""
    import torch

    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width))
    for i, (tokens, answer) in enumerate(rows):
        ids[i, : len(tokens)] = torch.tensor(tokens)
        attention[i, : len(tokens)] = 1
        mask[i, : len(tokens)] = torch.tensor(answer, dtype=torch.float)
    return {"input_ids": ids, "attention_mask": attention, "answer": mask}


def ratings_of(scores: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """Scores on X's scale as ratings from 1 to 7: the 1st and 99th percentile of all rows become the ends."""
    import numpy as np

    flat = np.array([score for row in scores for score in row if score is not None])
    low, high = np.quantile(flat, [0.01, 0.99])
    span = max(float(high - low), 1e-9)

    def rating(score: float | None) -> float | None:
        return None if score is None else 1 + (RATING_SCALE - 1) * min(max((score - float(low)) / span, 0.0), 1.0)

    return [[rating(score) for score in row] for row in scores]


def contrastive_trainer(
    model: Any, tokenizer: Any, frame: pl.DataFrame, settings: TuneWriterSettings, lora: Any, common: dict[str, Any]
) -> Any:
    """A trainer whose rows are prompts with their best answer and up to `comparisons` worse ones, spread over the ratings."""
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    rows = []
    for prompt, answers, ratings in zip(
        frame["prompt"].to_list(), frame["completions"].to_list(), ratings_of(frame["scores"].to_list()), strict=True
    ):
        ranked = sorted(
            ((r, text) for r, text in zip(ratings, answers, strict=True) if r is not None),
            key=lambda item: (-item[0], item[1]),
        )
        best, worse = ranked[0], [item for item in ranked if item[0] < ranked[0][0]]
        if not worse:
            continue
        n = min(settings.comparisons, len(worse))
        chosen = [worse[round(i * (len(worse) - 1) / max(n - 1, 1))] for i in range(n)]
        encoded = [encode(tokenizer, prompt, text, settings.max_length) for _, text in (best, *chosen)]
        rows.append(
            {"ids": [e[0] for e in encoded], "mask": [e[1] for e in encoded], "rating": [r for r, _ in (best, *chosen)]}
        )

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        made = pad(
            [pair for row in batch for pair in zip(row["ids"], row["mask"], strict=True)], tokenizer.pad_token_id
        )
        made["rating"] = torch.tensor([r for row in batch for r in row["rating"]], dtype=torch.float)
        made["group"] = torch.tensor([i for i, row in enumerate(batch) for _ in row["rating"]])
        return made

    class ContrastiveTrainer(Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            nll = mean_nll(token_log_probabilities(out.logits, inputs["input_ids"]), inputs["answer"])
            loss = rating_scaled_contrast(
                nll,
                inputs["rating"],
                inputs["group"],
                margin=settings.margin,
                scale=RATING_SCALE,
                ratio=settings.ratio,
            )
            return (loss, out) if return_outputs else loss

    return ContrastiveTrainer(
        model=get_peft_model(model, lora),
        args=TrainingArguments(**common, remove_unused_columns=False),
        train_dataset=Dataset.from_list(rows),
        data_collator=collate,
    )


def with_feedback(prompt: Sequence[dict[str, str]], feedback: str) -> list[dict[str, str]]:
    """The prompt as it would be had the feedback been known: appended to the last message."""
    *before, last = prompt
    return [
        *before,
        {"role": last["role"], "content": f"{last['content']}\n\nWhat readers say of a first try: {feedback}"},
    ]


def hindsight_trainer(
    model: Any, tokenizer: Any, frame: pl.DataFrame, settings: TuneWriterSettings, lora: Any, common: dict[str, Any]
) -> Any:
    """A trainer that compares the model with itself after hearing the feedback, on answers it was given."""
    from datasets import Dataset
    from peft import get_peft_model
    from transformers import Trainer, TrainingArguments

    rows = []
    for prompt, response, feedback in frame.select("prompt", "response", "feedback").iter_rows():
        plain = encode(tokenizer, prompt, response, settings.max_length)
        knowing = encode(tokenizer, with_feedback(prompt, feedback), response, settings.max_length)
        if sum(plain[1]) == sum(knowing[1]) > 0:  # the same answer tokens in both
            rows.append({"plain": plain[0], "plain_mask": plain[1], "knowing": knowing[0], "knowing_mask": knowing[1]})

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        plain = pad([(row["plain"], row["plain_mask"]) for row in batch], tokenizer.pad_token_id)
        knowing = pad([(row["knowing"], row["knowing_mask"]) for row in batch], tokenizer.pad_token_id)
        return plain | {f"knowing_{name}": value for name, value in knowing.items()}

    class HindsightTrainer(Trainer):
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            import torch

            out = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            log_p = answer_tokens(token_log_probabilities(out.logits, inputs["input_ids"]), inputs["answer"])
            with torch.no_grad():
                knowing = model(input_ids=inputs["knowing_input_ids"], attention_mask=inputs["knowing_attention_mask"])
                known = answer_tokens(
                    token_log_probabilities(knowing.logits, inputs["knowing_input_ids"]), inputs["knowing_answer"]
                )
            width = min(log_p[0].shape[1], known[0].shape[1])
            loss = hindsight_loss(log_p[0][:, :width], known[0][:, :width], log_p[1][:, :width])
            return (loss, out) if return_outputs else loss

    return HindsightTrainer(
        model=get_peft_model(model, lora),
        args=TrainingArguments(**common, remove_unused_columns=False),
        train_dataset=Dataset.from_list(rows),
        data_collator=collate,
    )


def answer_tokens(values: Any, mask: Any) -> tuple[Any, Any]:
    """The answer's values moved to the left, (B, longest answer), and their mask: so two prompts of different length compare."""
    counts = mask.sum(dim=1).long()
    width = int(counts.max())
    moved = values.new_zeros((len(values), width))
    kept = values.new_zeros((len(values), width))
    for i, n in enumerate(counts.tolist()):
        moved[i, :n] = values[i][mask[i] > 0]
        kept[i, :n] = 1
    return moved, kept
