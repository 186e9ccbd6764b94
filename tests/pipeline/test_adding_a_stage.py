"""A stage is its declaration, its function and its settings: nothing else has to hear of it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

DECLARED = """
import sys
import nouns.stages as stages
from nouns.stage import Stage

stages.STAGES += (Stage("count_words", "toy.stage", help="How many words the winners have.", dag="", needs=("select_winners",)),)
stages.BY_NAME["count_words"] = stages.STAGES[-1]
import pipeline.code
pipeline.code.ROOMS += ("toy",)
from pipeline.cli.app import main
main(sys.argv[1:])
"""
FUNCTION = """
import json
from pathlib import Path

from nouns.run import Run
from nouns.stage import Counts, Tools
from toy.settings import CountWordsSettings


def count_words(run: Run, settings: CountWordsSettings, out: Path, tools: Tools) -> Counts:
    lines = [json.loads(line) for line in (run.path("select_winners") / "selections.jsonl").open(encoding="utf-8")]
    texts = [line["text"] for line in lines if line["outcome"] == "winner"]
    words = sum(len(text.split()) for text in texts) * settings.times
    (out / "words.json").write_text(json.dumps({"words": words}))
    return {"in": len(lines), "out": len(texts), "rejected": {"abstained": len(lines) - len(texts)}}
"""
SETTINGS = """
from dataclasses import dataclass


@dataclass(frozen=True)
class CountWordsSettings:
    times: int = 1
"""


def test_a_declared_stage_has_its_verb_its_settings_and_its_place_in_the_run(sample_run, tmp_path):
    workspace, run_id = sample_run
    (tmp_path / "toy").mkdir()
    for name, text in {"__init__": "", "stage": FUNCTION, "settings": SETTINGS}.items():
        (tmp_path / "toy" / f"{name}.py").write_text(textwrap.dedent(text))
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + DECLARED

    def carry_out() -> dict:
        command = [
            sys.executable,
            "-c",
            program,
            "count-words",
            "--run",
            run_id,
            "--workspace",
            str(workspace),
            "--json",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first, second = carry_out(), carry_out()
    assert (first["state"], second["state"]) == ("ran", "skipped")
    assert first["in"] == first["out"] + first["rejected"]["abstained"]
    written = json.loads((workspace / "runs" / run_id / "count_words" / "words.json").read_text())
    assert written["words"] > 0
    manifest = json.loads((workspace / "runs" / run_id / "count_words" / "manifest.json").read_text())
    assert manifest["settings"] == {"times": 1}
    assert set(manifest["inputs"]) == {"select_winners"}
