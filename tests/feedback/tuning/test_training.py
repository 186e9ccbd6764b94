from __future__ import annotations

import json

import polars as pl
import pytest

from feedback.tune.data import fitting, label_smoothing, read_rows
from feedback.tune.settings import METHODS, TuneWriterSettings
from feedback.tune.training import summary, tune, warnings
from nouns.errors import InputError

GOOD, BAD = "the record shows the bridge stands", "they lie as always about the bridge"
MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))


def prompt(i: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"write about bridge {i % 4}"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """An export folder as far as training reads one: the good sentence is always preferred."""
    root = tmp_path_factory.mktemp("export")
    n = 24
    rows = {
        "dpo": {"prompt": [prompt(i) for i in range(n)], "chosen": [said(GOOD)] * n, "rejected": [said(BAD)] * n, "p_flip": [0.1, 0.3] * (n // 2)},
        "kto": {"prompt": [prompt(i) for i in range(n)], "completion": [said(GOOD if i % 2 else BAD) for i in range(n)], "label": [bool(i % 2) for i in range(n)]},
        "grpo": {"prompt": [prompt(i) for i in range(n)], "post_id": [str(i) for i in range(n)], "classification": ["x"] * n, "source_note_ids": [["1"]] * n, "language": ["en"] * n},
        "scored": {"prompt": [prompt(i) for i in range(n)], "completions": [[GOOD, BAD, "bridge"]] * n, "scores": [[0.4, -0.1, None]] * n},
        "hindsight": {"prompt": [prompt(i) for i in range(n)], "response": [BAD] * n, "feedback": ["Readers of one side may find it argumentative."] * n},
    }  # fmt: skip
    for config, columns in rows.items():
        (root / config).mkdir()
        types = {name: MESSAGES for name in ("prompt", "chosen", "rejected", "completion") if name in columns}
        pl.DataFrame(columns, schema_overrides=types).write_parquet(root / config / "train-00000-of-00001.parquet")
    return root


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    from benchmarks.tiny_writer import make_writer, pretrain

    words = f"{GOOD} {BAD} write about bridge 0 1 2 3 What readers say of a first try: Readers of one side may find it argumentative."
    folder = make_writer(tmp_path_factory.mktemp("base"), words.split(), hidden=32, layers=2)
    pretrain(folder, [(prompt(i)[0]["content"], GOOD if i % 2 else BAD) for i in range(8)], steps=40, batch=8)
    return folder


def settings(base, **how):
    shared = {
        "base_model": str(base),
        "max_steps": 6,
        "learning_rate": 3e-3,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "lora_r": 4,
        "lora_alpha": 8,
        "use_cpu": True,
        "logging_steps": 1,
        "save_steps": 3,
        "max_length": 64,
        "max_new_tokens": 8,
    }
    return TuneWriterSettings(**(shared | how))


def test_training_without_model_rows_or_reward_says_what_is_missing(tmp_path, data, base):
    with pytest.raises(InputError, match="base_model is empty"):
        tune(tmp_path, TuneWriterSettings(), data)
    with pytest.raises(InputError, match="train-\\*"):
        tune(tmp_path, settings(base), tmp_path)
    with pytest.raises(InputError, match="reward function"):
        tune(tmp_path, settings(base, method="grpo"), data)


def test_label_smoothing_is_the_jurys_error_unless_given(data):
    rows = read_rows(data, "dpo")
    assert label_smoothing(rows, -1.0) == pytest.approx(0.2)
    assert label_smoothing(rows, 0.05) == 0.05
    assert label_smoothing(rows.with_columns(p_flip=pl.lit(0.9)), -1.0) == 0.4


def test_a_drop_of_the_chosen_texts_is_warned_of():
    fell = summary([{"logps/chosen": -10.0, "step": 1}, {"logps/chosen": -30.0, "step": 2}])
    assert "less likely" in warnings(fell)[0]
    assert warnings(summary([{"logps/chosen": -10.0}, {"logps/chosen": -9.0}])) == []


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_an_adapter_that_loads_onto_its_base(tmp_path, data, base, method):
    def longer_is_better(prompts, completions, **columns):
        assert len(columns["post_id"]) == len(completions)
        return [float(len(turn[0]["content"])) for turn in completions]

    report = tune(tmp_path, settings(base, method=method), data, reward=longer_is_better)
    assert report["steps"] == 6
    assert 0 < report["trainable_parameters"] < report["parameters"]
    if method == "dpo":
        watched = report["watched"]
        assert watched["rewards/margins"]["last"] > watched["rewards/margins"]["first"]
        assert {"logps/chosen", "logps/rejected"} <= set(watched)
        assert report["label_smoothing"] == pytest.approx(0.2)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").open()]
    assert any("loss" in line for line in lines)
    assert not (tmp_path / "checkpoints").exists()
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), tmp_path / "adapter"
    ).merge_and_unload()
    changed = [
        float((a - b).abs().max())
        for (_, a), (_, b) in zip(
            merged.named_parameters(), AutoModelForCausalLM.from_pretrained(base).named_parameters(), strict=True
        )
    ]
    assert max(changed) > 0


@pytest.mark.slow
def test_a_training_killed_on_the_way_is_taken_up_again_and_ends_as_if_it_had_not_been(tmp_path, data, base):
    from safetensors.torch import load_file

    whole = tune(tmp_path / "whole", settings(base), data)

    class Killed(RuntimeError):
        pass

    from transformers import Trainer

    saved = Trainer._save_checkpoint

    def save_and_die(self, *args, **kwargs):
        saved(self, *args, **kwargs)
        raise Killed

    Trainer._save_checkpoint = save_and_die
    try:
        with pytest.raises(Killed):
            tune(tmp_path / "first", settings(base), data, checkpoints=tmp_path / "waiting")
    finally:
        Trainer._save_checkpoint = saved
    again = tune(tmp_path / "second", settings(base), data, checkpoints=tmp_path / "waiting")
    assert again["resumed"]
    assert again["steps"] == whole["steps"] == 6
    a, b = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "second"))
    assert all(torch_close(a[key], b[key]) for key in a)


def torch_close(a, b):
    import torch

    return torch.allclose(a, b, atol=1e-5)


def test_rows_that_do_not_fit_are_left_out_and_counted_instead_of_cut(data, base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    frame = read_rows(data, "dpo")
    long = frame.head(3).with_columns(prompt=pl.Series([[*prompt(0), *prompt(1) * 40]] * 3, dtype=MESSAGES))
    mixed = pl.concat([frame, long])
    kept, too_long = fitting(mixed, "dpo", tokenizer, 64)
    assert (kept.height, too_long) == (frame.height, 3)
    assert kept.equals(frame)
    assert fitting(mixed, "hindsight", tokenizer, 64) == (mixed, 0)  # cuts the prompt's beginning, not the answer
    with pytest.raises(InputError, match=r"None of the 27 rows fits .* = 4 tokens"):
        fitting(mixed, "dpo", tokenizer, 4)
