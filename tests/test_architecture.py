"""Holds the direction of imports and the names that stand in several places."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from nouns.stages import RUN_STAGES, SHARDED_STAGES, STAGES

ROOT = Path(__file__).resolve().parent.parent
ROOMS = (
    "nouns", "texts", "storage", "ingest", "matrix_factorization", "jury", "synthesis", "feedback", "inspector",
    "pipeline", "dags",
)  # fmt: skip
MAY_IMPORT = {
    "nouns": set(),
    "texts": {"nouns"},
    "storage": {"nouns"},
    "ingest": {"nouns"},
    "matrix_factorization": {"nouns"},
    "jury": {"nouns", "texts", "matrix_factorization"},
    "synthesis": {"nouns", "texts", "matrix_factorization", "jury"},
    "feedback": {"nouns", "texts", "storage", "matrix_factorization", "jury", "synthesis"},
    "inspector": {"nouns", "texts", "storage"},
    "pipeline": set(ROOMS) - {"dags"},
    "dags": {"pipeline", "nouns"},
}


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_stands_below_it(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        above = imported_rooms(path) - MAY_IMPORT[room] - {room}
        assert not above, f"{path.relative_to(ROOT)} imports {', '.join(sorted(above))}"


def test_only_the_verb_inspect_reaches_up_to_the_inspector():
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        if "inspector" in imported_rooms(path):
            assert path.name == "inspecting.py", path


def test_a_stage_has_one_name_everywhere():
    import importlib

    import typer.main

    from pipeline.cli.app import app
    from pipeline.settings import Settings

    verbs = set(typer.main.get_command(app).commands)
    tables = set(Settings.__dataclass_fields__)
    for stage in STAGES:
        function = getattr(importlib.import_module(stage.step), stage.name)
        parameters = list(inspect.signature(function).parameters)
        assert parameters == ["run", "settings", "out", "tools", *stage.also], f"{stage.name} takes {parameters}"
        annotation = inspect.signature(function).parameters["settings"].annotation
        assert annotation == stage.settings_class, f"{stage.name}: {annotation}"
        assert stage.name in tables, f"no settings table [{stage.name}]"
        assert stage.verb in verbs, f"no verb for {stage.name}"
        earlier = [other.name for other in STAGES[: STAGES.index(stage)]]
        assert set(stage.needs) | set(stage.second) <= set(earlier), f"{stage.name} needs what comes after it"
    assert set(SHARDED_STAGES) < set(RUN_STAGES)


def test_the_command_line_starts_without_loading_anything_heavy():
    code = (
        "import sys, pipeline.cli.app, pipeline.tasks, pipeline.plan, pipeline.settings\n"
        "heavy = {'numpy', 'polars', 'torch', 'pandas', 'transformers', 'sklearn', 'airflow', 'duckdb', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
