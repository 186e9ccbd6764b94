"""The wheel is whole: built, installed elsewhere, and the demo run from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.pipeline.fast import FAST

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with nothing but what the wheel brings; dependencies come from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("supernotes-*.whl")
    assert wheel.name.startswith(f"supernotes-{PROJECT['version']}-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def supernotes(site: Path, folder: Path, *words: str, **more: str) -> str:
    """`supernotes WORDS` of the installed wheel, in a folder."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "SUPERNOTES_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words], cwd=folder, env=environment | {"PYTHONPATH": str(site)} | more,
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_the_wheel_bears_license_sample_and_dags(installed, tmp_path):
    (info,) = installed.glob("*.dist-info")
    metadata = (info / "METADATA").read_text()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()
    folder = Path(supernotes(installed, tmp_path, "dags").strip())
    assert folder.is_relative_to(installed)
    assert {path.name for path in folder.glob("*.py")} == {path.name for path in (ROOT / "dags").glob("*.py")}


@pytest.mark.slow
def test_the_installed_demo_runs_from_an_empty_folder(installed, tmp_path):
    fast = {
        f"SUPERNOTES_{key.upper().replace('.', '__')}": value
        for key, _, value in (flag.partition("=") for flag in FAST)
    }
    supernotes(installed, tmp_path, "demo", **fast)
    assert list((tmp_path / "workspace" / "runs").glob("*/report.html"))


def test_one_version_number_stands_everywhere():
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    assert f"image: supernotes:{PROJECT['version']}" in compose
    values = (ROOT / "deploy" / "helm-values.yaml").read_text()
    assert f'tag: "{PROJECT["version"]}"' in values
