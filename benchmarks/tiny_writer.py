"""A tiny language model with a chat template, made on the spot: for tests that must train something, and for the loop."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|> {% endif %}"
)
SPECIAL = ["<|pad|>", "<|unk|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def save_tokenizer(folder: Path, words: Iterable[str] | None) -> int:
    """A tokenizer over whole words (None: over bytes); its number of tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    if words is None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        made = Tokenizer(
            models.BPE({token: i for i, token in enumerate([*SPECIAL, *alphabet])}, [], unk_token="<|unk|>")
        )
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
    else:
        vocabulary = [*SPECIAL, *sorted(set(words) - set(SPECIAL))]
        made = Tokenizer(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="<|unk|>"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.add_special_tokens(SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<|pad|>", unk_token="<|unk|>", eos_token="<|end|>", padding_side="left"
    )
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def make_writer(
    folder: Path,
    words: Iterable[str] | None = None,
    *,
    hidden: int = 64,
    layers: int = 2,
    positions: int = 2048,
    seed: int = 0,
) -> Path:
    """Save an untrained Llama of `layers` x `hidden` with its tokenizer; the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    n_tokens = save_tokenizer(folder, words)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def pretrain(
    folder: Path,
    conversations: Sequence[tuple[str, str]],
    *,
    steps: int,
    batch: int = 32,
    lr: float = 3e-3,
    seed: int = 0,
) -> float:
    """Teach the model of `folder` to answer like the (prompt, answer) pairs; the loss of the last tenth of the steps."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).train()
    tokenizer.padding_side = "right"
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    texts = [as_text(tokenizer, prompt, answer) for prompt, answer in conversations]
    losses = []
    for _ in range(steps):
        picked = [texts[i] for i in rng.integers(0, len(texts), batch)]
        encoded = tokenizer(picked, return_tensors="pt", padding=True, add_special_tokens=False)
        labels = encoded["input_ids"].masked_fill(encoded["attention_mask"] == 0, -100)
        loss = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(float(loss.detach()))
    model.save_pretrained(folder)
    return float(np.mean(losses[-max(steps // 10, 1) :]))


def as_text(tokenizer, prompt: str, answer: str) -> str:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return tokenizer.apply_chat_template(messages, tokenize=False)


def sample(
    model,
    tokenizer,
    prompts: Sequence[str],
    n: int,
    *,
    seed: int,
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    batch: int = 256,
) -> list[list[str]]:
    """`n` answers to each prompt."""
    import torch

    torch.manual_seed(seed)
    tokenizer.padding_side = "left"
    opened = [
        tokenizer.apply_chat_template([{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        for prompt in prompts
        for _ in range(n)
    ]
    answers = []
    model.eval()
    for start in range(0, len(opened), batch):
        encoded = tokenizer(opened[start : start + batch], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            made = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                do_sample=True,
                temperature=temperature,
                top_k=0,
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers += tokenizer.batch_decode(made[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return [[text.strip() for text in answers[i * n : (i + 1) * n]] for i in range(len(prompts))]
