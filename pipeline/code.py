"""Digest of the code a stage rests on, so that changed code never passes old output off as new.

What counts is the import closure of the stage's module: every module of ours that it reaches, imports inside functions
included, and the data files those modules name (prompts, word lists, the note spec). Settings count by
their values, not by the file that declares them, and of the declarations of all stages only the stage's own record counts, so that a new stage or a new column elsewhere repeats nothing here.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from pathlib import Path

from nouns.stages import stage_named

ROOMS = ("nouns", "texts", "storage", "ingest", "matrix_factorization", "jury", "synthesis", "feedback")
DECLARATIONS = frozenset({"nouns.stages", "nouns.stage", "nouns.run", "nouns.errors"})
"""Modules that describe the work and do none of it."""
STAND_INS = frozenset({"synthesis.generation.scripted"})
"""Writers for tests, whose answers are no rule of ours: the note spec that they quote would repeat every draft."""
DATA = (".txt", ".toml", ".json", ".npz", ".sql")


@functools.cache
def _source(module: str) -> Path | None:
    if module.split(".")[0] not in ROOMS:
        return None
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # a name inside a module, not a module
        return None
    return Path(found.origin) if found and found.origin and found.origin.endswith(".py") else None


@functools.cache
def _read(module: str) -> tuple[frozenset[str], frozenset[str]]:
    """What a module imports of ours, and the strings in it."""
    path = _source(module)
    assert path is not None
    imported, strings = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module)
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    packages = {".".join(name.split(".")[:n]) for name in imported for n in range(1, name.count(".") + 1)}
    return frozenset(name for name in imported | packages if _source(name)), frozenset(strings)


def closure(module: str) -> list[str]:
    """The modules of ours that `module` reaches, itself included, sorted."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in DECLARATIONS | STAND_INS and not name.endswith(".settings"):
            seen.add(name)
            waiting += _read(name)[0]
    return sorted(seen)


@functools.cache
def stage_code(stage: str) -> str:
    """Sixteen hex digits that change when code or data files change that the stage can reach."""
    record = stage_named(stage)
    digest = hashlib.sha256(repr((record.name, record.needs, record.given, record.also, record.makes)).encode())
    for module in closure(record.step):
        path, (_, strings) = _source(module), _read(module)
        assert path is not None
        digest.update(module.encode())
        digest.update(path.read_bytes())
        for data in sorted(file for file in path.parent.rglob("*") if file.suffix in DATA and file.is_file()):
            near = data.relative_to(path.parent).parts
            if strings & set(near):  # the module names the file, or the folder it lies in
                digest.update("/".join(near).encode())
                digest.update(data.read_bytes())
    return digest.hexdigest()[:16]
