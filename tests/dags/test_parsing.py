"""DAG files are wiring: they parse fast, load nothing heavy, and bear their manual."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
FILES = sorted(path.name for path in DAGS.glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_loads_no_heavy_library(name):
    """What Airflow itself loads is not counted: only what the file adds on top of `airflow.sdk`."""
    code = (
        "import sys, runpy, airflow.sdk\n"
        "before = set(sys.modules)\n"
        f"runpy.run_path({str(DAGS / name)!r})\n"
        "added = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "heavy = added & {'numpy', 'polars', 'torch', 'pandas', 'transformers', 'sentence_transformers', 'sklearn', 'duckdb', 'numba'}\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DAGS.parent)


@pytest.mark.parametrize("name", FILES)
def test_a_dag_file_begins_with_an_operators_manual(name):
    text = (DAGS / name).read_text(encoding="utf-8")
    assert text.startswith('"""')
    manual = text.split('"""')[1]
    assert "What it does not protect against" in manual, f"{name}: say what the DAG does not protect against"
    assert "Example parameters" in manual, f"{name}: show example parameters"
