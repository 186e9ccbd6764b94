from __future__ import annotations

import json

import polars as pl
import pytest

from feedback.settings import METHODS, TuneWriterSettings
from feedback.tune.data import fitting, label_smoothing, read_rows
from feedback.tune.probe import probe_rows, probe_warnings
from feedback.tune.training import training_key, tune
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
        "sft": {"prompt": [prompt(i) for i in range(n)], "completion": [said(GOOD)] * n},
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


def probe(**how):
    nothing = {"change": None, "lo": None, "hi": None, "n": 0}
    return {"split": "test", "rows": 20, "wanted": nothing, "unwanted": nothing, "told_apart": 0.7} | how


def test_a_sure_fall_of_the_wanted_texts_is_warned_of_and_an_unsure_one_is_not():
    fell = {"change": -0.3, "lo": -0.4, "hi": -0.2, "n": 20}
    assert "less likely: -0.300 nats a token on the same 20 texts of test" in probe_warnings(probe(wanted=fell))[0]
    assert probe_warnings(probe(wanted=fell | {"hi": 0.1})) == []
    assert "surface cue" in probe_warnings(probe(told_apart=1.0))[0]


def test_the_probe_is_of_held_out_rows_where_there_are_enough(tmp_path, data):
    split, rows = probe_rows(data, "dpo")
    assert split == "train"
    assert {(text, wanted) for row in rows for _, text, wanted in row} == {(GOOD, True), (BAD, False)}
    for name, n in (("enough", 10), ("few", 3)):
        folder = tmp_path / name / "dpo"
        folder.mkdir(parents=True)
        frame = read_rows(data, "dpo")
        frame.write_parquet(folder / "train-00000-of-00001.parquet")
        frame.head(n).write_parquet(folder / "test-00000-of-00001.parquet")
    assert [probe_rows(tmp_path / name, "dpo")[0] for name in ("enough", "few")] == ["test", "train"]
    assert probe_rows(data, "grpo") == ("none", [])


def test_a_trainings_key_is_of_all_that_decides_it(tmp_path, data, base):
    key = training_key(settings(base), data)
    assert key == training_key(settings(base), data)
    others = [settings(base, method="kto"), settings(base, max_steps=7), settings(base, seed=1)]
    (tmp_path / "dpo").mkdir()
    read_rows(data, "dpo").head(5).write_parquet(tmp_path / "dpo" / "train-00000-of-00001.parquet")
    keys = {key, training_key(settings(base), tmp_path), *(training_key(other, data) for other in others)}
    assert len(keys) == 5


@pytest.mark.slow
def test_each_method_trained_with_the_same_place_for_checkpoints_is_a_training_of_its_own(tmp_path, data, base):
    """Once the second method of a run was the first one's adapter under a new name."""
    from safetensors.torch import load_file

    told: list[str] = []
    weights, logs = [], []
    for method in ("dpo", "kto", "stable_alignment"):
        report = tune(
            tmp_path / method,
            settings(base, method=method),
            data,
            checkpoints=tmp_path / "waiting",
            progress=lambda text, *_: told.append(text),
        )
        assert not report["resumed"]
        assert not list((tmp_path / "waiting").iterdir())  # emptied on success
        weights.append(load_file(tmp_path / method / "adapter" / "adapter_model.safetensors"))
        logs.append((tmp_path / method / "log.jsonl").read_text())
        assert report["probe"]["wanted"]["n"] > 0
    assert len(set(logs)) == 3
    for i, a in enumerate(weights):
        for b in weights[:i]:
            assert any(not torch_close(a[key], b[key]) for key in a)
    assert sum("loss" in line and "left, step" in line for line in told) >= 15


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
