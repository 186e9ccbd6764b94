"""The exported folders and YAML files, put to TRL's own command line with a tiny real model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.tiny_writer import make_writer
from feedback.settings import ExportSettings
from tests.calling import export
from tests.feedback.test_exports import INPUTS


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("trl")
    base = make_writer(root / "base")
    out = root / "export"
    out.mkdir()
    export(out, ExportSettings(base_model=str(base), test_share=0.0), **run.inputs(*INPUTS))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto", "reward"])
def test_trl_trains_some_steps_with_the_yaml_we_ship(folder, method):
    command = [str(Path(sys.executable).parent / "trl"), method, "--config", f"trl_{method}.yaml"]
    command += ["--max_steps", "2", "--use_cpu", "true", "--bf16", "false", "--gradient_accumulation_steps", "1"]
    command += ["--gradient_checkpointing", "false", "--logging_steps", "1"]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(folder / "cache"),
    }
    environment |= {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "out" / method / "adapter_model.safetensors").is_file()


def test_every_yaml_names_files_that_exist_and_parses(folder: Path):
    for path in sorted(folder.glob("trl_*.yaml")):
        settings = yaml.safe_load(path.read_text())
        (data,) = settings["datasets"]
        assert list(folder.glob(data["data_files"])), path.name
        assert settings["model_name_or_path"]
