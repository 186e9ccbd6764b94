"""Holds the direction of imports and the names that stand in several places."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.stages import ALL_STAGES, RUN_STAGES, SHARDED_STAGES

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("matrix_factorization", "synthesis", "jury", "pipeline", "inspector", "dags")
MAY_IMPORT = {
    "matrix_factorization": set(),
    "synthesis": set(),
    "jury": {"matrix_factorization", "synthesis"},
    "pipeline": {"matrix_factorization", "synthesis", "jury", "inspector"},
    "inspector": {"pipeline", "jury", "synthesis"},
    "dags": {"pipeline"},
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
            assert path.name in {"inspecting.py", "alone.py"}, path


def test_a_stage_has_one_name_everywhere():
    import importlib

    import typer.main

    from pipeline.cli import app
    from pipeline.plan import ROOM_OF, Plan
    from pipeline.settings import Settings

    verbs = set(typer.main.get_command(app).commands)
    tables = set(Settings.__dataclass_fields__)
    assert set(ROOM_OF) == set(ALL_STAGES)
    for stage in ALL_STAGES:
        assert stage in tables, f"no settings table [{stage}]"
        assert hasattr(importlib.import_module(f"{ROOM_OF[stage]}.stages"), stage), f"no function {stage}"
        assert stage.replace("_", "-") in verbs, f"no verb for {stage}"
        assert hasattr(Plan, f"_{stage}"), f"the plan does not know {stage}"
    assert set(SHARDED_STAGES) < set(RUN_STAGES)


def test_the_command_line_starts_without_loading_anything_heavy():
    code = (
        "import sys, pipeline.cli, pipeline.tasks, pipeline.plan, pipeline.settings\n"
        "heavy = {'numpy', 'polars', 'torch', 'pandas', 'transformers', 'sklearn', 'airflow', 'duckdb', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
