"""The folder says how long its rows are, and asks the trainer for enough."""

from __future__ import annotations

import json

import polars as pl
import pytest
import yaml

from benchmarks.tiny_writer import make_writer
from feedback.export.lengths import COUNTED, Lengths
from feedback.settings import ExportSettings
from nouns.errors import InputError
from tests.calling import export
from tests.feedback.test_exports import INPUTS


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("lengths")
    base = make_writer(root / "base")
    (root / "export").mkdir()
    export(root / "export", ExportSettings(base_model=str(base), max_length=8), **run.inputs(*INPUTS))
    return root


def rows(folder, config):
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / config).glob("*.parquet"))]).to_dicts()


@pytest.mark.parametrize("config", COUNTED)
def test_lengths_are_those_of_the_rows_as_a_trainer_reads_them(folder, config):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokens, sizes = [], []
    for row in rows(folder / "export", config):
        prompt = row.get("prompt") or []
        answers = [row[name] for name in ("chosen", "rejected", "completion") if row.get(name)] or [[]]
        texts = [tokenizer.apply_chat_template(prompt + answer, tokenize=False) for answer in answers]
        tokens.append(max(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts))
        sizes.append(max(sum(len(m["content"].encode()) for m in prompt + answer) for answer in answers))
    report = json.loads((folder / "export" / "lengths.json").read_text())[config]
    assert report["rows"] == len(sizes)
    assert report["bytes"]["max"] == max(sizes)
    assert report["tokens"]["max"] == max(tokens)
    if config != "grpo":  # there the answer is still to be written
        asked = yaml.safe_load((folder / "export" / f"trl_{config}.yaml").read_text())["max_length"]
        assert max(tokens) <= asked < max(tokens) + 64


def test_the_card_names_the_longest_row(folder):
    report = json.loads((folder / "export" / "lengths.json").read_text())
    assert f"longest {report['dpo']['tokens']['max']:,} tokens" in (folder / "export" / "README.md").read_text()


def test_the_longest_row_is_found_in_any_chunk_and_a_tokenizer_that_is_none_is_refused(tmp_path):
    lengths = Lengths()
    for chunk in range(5):
        texts = ["x" * (10 + 1000 * (chunk == 3 and i == 7)) for i in range(50)]
        lengths.add("grpo", pl.DataFrame({"prompt": [[{"role": "user", "content": text}] for text in texts]}))
    assert lengths.report()["grpo"] == {
        "rows": 250,
        "bytes": {"p50": 10, "p95": 10, "p99": 10, "max": 1010},
        "tokens": None,
    }
    broken = Lengths(str(tmp_path))
    broken.add("grpo", pl.DataFrame({"prompt": [[{"role": "user", "content": "x"}]]}))
    with pytest.raises(InputError, match=r"export\.tokenizer"):
        broken.report()
