"""What DAG tasks call: short strings in, short strings out. Imports nothing heavy before it is called.

A task is given a workspace and a run id. Settings come from `supernotes.toml` named by the DAG's `config` parameter, or
the environment of the worker; the address of the workspace from the `workspace` parameter, else `SUPERNOTES_WORKSPACE`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def workspace_of(params: Mapping[str, Any]) -> str:
    """The workspace a DAG run works in. Raises `InputError` if none is named."""
    from pipeline.errors import InputError

    workspace = params.get("workspace") or os.environ.get("SUPERNOTES_WORKSPACE")
    if not workspace:
        raise InputError(
            "No workspace is named: set the DAG's parameter `workspace` or SUPERNOTES_WORKSPACE in the workers' environment."
        )
    return str(workspace)


def describe_run(params: Mapping[str, Any]) -> str:
    """Write down what the run is asked to do; returns its id. Equal requests give equal ids, so a retry finds its work."""
    from pathlib import Path

    from pipeline.cli import _as_of
    from pipeline.errors import InputError
    from pipeline.plan import RunRequest, create_run
    from pipeline.settings import load_settings
    from pipeline.store import Store

    source = params.get("input") or os.environ.get("SUPERNOTES_INPUT")
    if not source:
        raise InputError(
            "No input is named: set the DAG's parameter `input` or SUPERNOTES_INPUT in the workers' environment."
        )
    request = RunRequest(
        source=str(source),
        posts=params.get("posts") or None,
        raters=params.get("raters") or None,
        jury=params.get("jury") or None,
        as_of=_as_of(str(params["as_of"])) if params.get("as_of") else None,
        recorded=params.get("recorded") or None,
        decisions=params.get("decisions") or None,
        extra=tuple(params.get("extra") or ()),
    )
    config = Path(params["config"]) if params.get("config") else None
    return create_run(Store(workspace_of(params)), request, load_settings(config, flags=params.get("set") or ()))


def run_stage(workspace: str, run_id: str, stage: str) -> str:
    """One stage of a run; progress goes to the task's log. Returns the result's path relative to the workspace."""
    import logging

    from pipeline.plan import Plan
    from pipeline.store import Store

    log = logging.getLogger(f"supernotes.{stage}")

    def progress(message: str, done: int | None = None, total: int | None = None) -> None:
        log.info("%s%s", message, f" {done}/{total}" if total else "")

    result = Plan(Store(workspace), run_id).run(stage, progress)
    log.info("%s %s: %s, counts %s", stage, result.state, result.path, result.counts)
    return result.path


def shard_indices(workspace: str, run_id: str) -> list[int]:
    """The numbers of the shards of eligible posts."""
    from pipeline.plan import Plan
    from pipeline.store import Store

    return list(range(len(Plan(Store(workspace), run_id).shards())))


def run_shard(workspace: str, run_id: str, stage: str, index: int) -> str:
    """One shard of a per-post stage."""
    from pipeline.plan import Plan
    from pipeline.store import Store

    return Plan(Store(workspace), run_id).run_shard(stage, index).path


def newest_run_of(workspace: str) -> str:
    """The run described last in a workspace."""
    from pipeline.cli import newest_run
    from pipeline.store import Store

    return newest_run(Store(workspace))


def run_to_continue(params: Mapping[str, Any], events: Mapping[Any, Any]) -> dict[str, str]:
    """Workspace and run to continue: from the parameters, else from the event that triggered, else the newest run."""
    extra: Mapping[str, Any] = {}
    for asset_events in events.values():
        for event in asset_events:
            extra = event.extra or extra
    workspace = params.get("workspace") or extra.get("workspace") or workspace_of(params)
    run_id = params.get("run") or extra.get("run_id") or newest_run_of(workspace)
    return {"workspace": str(workspace), "run_id": str(run_id)}


def is_there(target: str) -> bool:
    """Whether an http(s) address answers with success, or a path or fsspec URL exists. Never raises."""
    if target.startswith(("http://", "https://")):
        import httpx

        try:
            return httpx.get(target, timeout=5).is_success
        except httpx.HTTPError:
            return False
    if "://" in target:
        import fsspec

        try:
            fs, path = fsspec.core.url_to_fs(target)
            return bool(fs.exists(path))
        except Exception:
            return False
    return os.path.exists(os.path.expanduser(target))


def writer_address(workspace: str, run_id: str) -> str | None:
    """The address that says whether the run's writing model is being served; None if it needs no server."""
    from pipeline.plan import Plan
    from pipeline.store import Store

    draft = Plan(Store(workspace), run_id).settings.draft_candidates
    return f"{draft.base_url.rstrip('/')}/models" if draft.backend == "openai" else None
