"""`supernotes doctor`: what works on this machine and what does not, each with what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pipeline.settings import Settings

PACKAGES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "scikit-learn",
    "pandas",
    "polars",
    "duckdb",
    "numba",
    "apache-airflow",
    "trl",
    "vllm",
)


def examine(workspace: str, settings: Settings) -> dict[str, Any]:
    """Versions and a list of checks {name, state: ok|absent|failed, detail}. Never raises."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None  # type: ignore[assignment]
    checks = [
        _try("workspace", lambda: _workspace(workspace)),
        _try("disk", lambda: _disk(workspace)),
        _try("embeddings", _embeddings),
        _try("gpu", _gpu),
        _try("model server", lambda: _server(settings)),
        _try("database", lambda: _database(workspace)),
        _try("sample data", _sample),
    ]
    return {"versions": versions, "cores": os.cpu_count(), "checks": checks}


def _try(name: str, function: Callable[[], tuple[str, str]]) -> dict[str, str]:
    try:
        state, detail = function()
    except Exception as error:
        state, detail = "failed", f"{type(error).__name__}: {error}"
    return {"name": name, "state": state, "detail": detail}


def _workspace(workspace: str) -> tuple[str, str]:
    from storage.store import Store

    store = Store(workspace)
    return "ok", f"{store.root}: {len(store.list('runs'))} runs, {len(store.list('models'))} models"


def _disk(workspace: str) -> tuple[str, str]:
    path = "." if "://" in workspace else workspace
    free = shutil.disk_usage(path if os.path.exists(path) else ".").free / 2**30
    return ("ok" if free > 5 else "failed"), f"{free:.0f} GiB free" + (
        "" if free > 5 else "; X's whole download needs about 100 GiB"
    )


def _embeddings() -> tuple[str, str]:
    from texts.embedding import load_embedder

    vectors = load_embedder("minilm").embed(["a note", "a note", "something else"])
    return "ok", f"packaged MiniLM gives {vectors.shape[1]} dimensions"


def _gpu() -> tuple[str, str]:
    import torch

    if torch.cuda.is_available():
        return "ok", torch.cuda.get_device_name(0)
    return "absent", "none; everything works on the CPU"


def _server(settings: Settings) -> tuple[str, str]:
    """The model server, asked for its models and for two short texts, twice."""
    from dataclasses import replace

    from nouns.post import Message, Request
    from synthesis.draft.prompts import NOTE_SCHEMA, read_object
    from synthesis.generation.openai_server import OpenAIServer

    draft = settings.draft_candidates
    if draft.backend != "openai":
        return "absent", f"not needed: the writer is {draft.backend!r}"
    writer = OpenAIServer(replace(draft, attempts=2, timeout=60.0, deadline=120.0))
    schema = NOTE_SCHEMA if draft.structured else None
    words = (Message("user", 'Write one short sentence about a river as a JSON object with the only key "note".'),)
    asked = Request("doctor", 0, words, "draft", "doctor", n=2, max_tokens=64, seed=1 << 20, schema=schema)
    one, two = writer.generate([asked])[0], writer.generate([asked])[0]
    if not one.texts:
        return "failed", f"{draft.base_url}: {one.failure}"
    context, takes = writer.context(), writer.takes
    blanks = sum(len(text) - len(" ".join(text.split())) for text in one.texts)
    said = [
        f"{draft.base_url} serves {one.model}",
        f"reads and writes {context:,} tokens" if context else "does not say how many tokens it reads",
        "several texts at once" if takes.several else "one text at a time",
        "seeds repeat" if draft.seeds and one.texts == two.texts else "the same seed gives another text",
    ]
    if schema:
        kept = takes.structured and all(read_object(text, "note") for text in one.texts)
        said.append(
            "keeps to the JSON asked for" if kept else "does not keep to a schema; replies are read as they come"
        )
        if blanks > 16:
            said.append(
                "fills JSON with blanks: start vLLM with --structured-outputs-config '{\"disable_any_whitespace\": true}'"
            )
    said.append(
        "loads adapters"
        if writer.loads_adapters()
        else "cannot load tuned adapters while it runs (VLLM_ALLOW_RUNTIME_LORA_UPDATING)"
    )
    return "ok", "; ".join(said)


def _database(workspace: str) -> tuple[str, str]:
    import sqlite3

    with sqlite3.connect(":memory:") as connection:
        found = connection.execute("select sqlite_version()").fetchone()[0]
    return "ok", f"SQLite {found} (default); PostgreSQL by --database URL"


def _sample() -> tuple[str, str]:
    from pipeline.console import sample_directory

    return "ok", f"{len(list(sample_directory().iterdir()))} files"


def print_findings(findings: dict[str, Any]) -> None:
    """The findings as two tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    versions = Table("package", "version")
    for name, found in findings["versions"].items():
        versions.add_row(name, found or "not installed")
    console.print(versions)
    table = Table("check", "state", "detail")
    for check in findings["checks"]:
        style = {"ok": "green", "absent": "yellow", "failed": "red"}[check["state"]]
        table.add_row(check["name"], f"[{style}]{check['state']}[/{style}]", check["detail"])
    console.print(table)
