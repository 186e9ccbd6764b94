"""Closing the loop: outcomes of a later snapshot, a tuned writer, its comparison with the current one, promotion.

The current writer of a workspace is `models/writer-current.json`: {"path", "run_id", "previous"}. Promotion replaces it in
one step and keeps what was there, so that rolling back is one step, too.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from nouns.errors import InputError
from pipeline.plan import CURRENT_WRITER, Plan, StageResult, create_run, current_adapter
from pipeline.progress import Progress, silent
from pipeline.settings import Settings, changed
from storage.store import Store


def with_feedback_settings(plan: Plan, settings: Settings) -> Plan:
    """The plan with the given settings for the feedback stages; those of its run stay as they were."""
    plan.settings = changed(
        plan.settings,
        learn_outcomes=settings.learn_outcomes,
        tune_writer=settings.tune_writer,
        compare_writers=settings.compare_writers,
    )
    return plan


def run_of_writer(store: Store, run_id: str, adapter: str, settings: Settings, progress: Progress = silent) -> str:
    """A run like `run_id`, but drafted by the writer with `adapter` on the held-out posts alone, as far as its checks; returns its id.

    Needs a model back end in `settings.draft_candidates` (transformers, vllm or openai): the extractive writer has no weights.
    """
    if settings.draft_candidates.backend == "extractive":
        raise InputError(
            "draft_candidates.backend is 'extractive', which has no weights to tune. Set it to transformers, vllm or openai, "
            "and draft_candidates.model to the model that was tuned."
        )
    request = dataclasses.replace(Plan(store, run_id).request, held_out=True)
    draft = dataclasses.replace(settings.draft_candidates, adapter=adapter, extractive_always=False)
    other = create_run(store, request, changed(settings, draft_candidates=draft))
    plan = Plan(store, other)
    for stage in ("ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates"):
        progress(f"{stage} of the writer {adapter or 'without adapter'}")
        plan.run(stage, progress)
    return other


def compare_adapter(
    store: Store, run_id: str, adapter: str, settings: Settings, progress: Progress = silent
) -> dict[str, Any]:
    """The writer with `adapter` (models/writer-ID/adapter) against the current one, on held-out posts before the gold jury.

    The current writer is the promoted one, before the first promotion the model without an adapter. Returns comparison.json with
    the ids of the two runs. Both writers get the same budget of drafts, on the posts compared only.
    """
    current = current_adapter(store)
    if adapter == current:
        raise InputError(f"{adapter} is the current writer already; there is nothing to compare it with.")
    before = run_of_writer(store, run_id, current, settings, progress)
    after = run_of_writer(store, run_id, adapter, settings, progress)
    plan = with_feedback_settings(Plan(store, before), settings)
    result = plan.run("compare_writers", progress, after)
    return read_comparison(store, result) | {"current_run": before, "new_run": after}


def adapter_of(store: Store, named: str) -> str:
    """`models/writer-ID/adapter` for a writer of the workspace named by its id, its path or its directory.

    Another directory is taken as an adapter from elsewhere. Raises `InputError` where there is none.
    """
    writer = next((part for part in Path(named).parts if part.startswith("writer-")), None)
    if writer and store.manifest(f"models/{writer}"):
        return f"models/{writer}/adapter"
    if Path(named).is_dir():
        return str(Path(named).resolve())
    known = ", ".join(name for name in store.list("models") if name.startswith("writer-")) or "none"
    raise InputError(
        f"There is no adapter {named!r}; writers of the workspace {store.root!r}: {known}. Tune one with supernotes tune-writer."
    )


def comparison_of(store: Store, run_id: str) -> tuple[str, dict[str, Any]]:
    """What `compare-writers` found about the writer that drafted run `run_id`: its models/writer-ID, and the comparison.

    Raises `InputError` where there is no comparison or the writer is none of this workspace's.
    """
    text = store.read_text(f"runs/{run_id}/compare_writers/comparison.json")
    if text is None:
        raise InputError(
            f"The run {run_id} holds no comparison. Give the id that `supernotes compare-writers` calls new_run."
        )
    adapter = Plan(store, run_id).settings.draft_candidates.adapter
    if not adapter.startswith("models/"):
        raise InputError(
            f"The drafts of run {run_id} were written with {adapter or 'no adapter'!r}, which is no models/writer-ID of this workspace."
        )
    return adapter.removesuffix("/adapter"), json.loads(text) | {"new_run": run_id}


def read_comparison(store: Store, result: StageResult) -> dict[str, Any]:
    return json.loads((store.local(result.path) / "comparison.json").read_text(encoding="utf-8"))


def current_writer(store: Store) -> dict[str, Any] | None:
    """The promoted writer, None before the first promotion."""
    text = store.read_text(CURRENT_WRITER)
    return json.loads(text) if text else None


def promote_writer(store: Store, path: str, comparison: dict[str, Any]) -> dict[str, Any]:
    """Make `path` (models/writer-ID) the current writer. Raises `InputError` when the comparison refused it."""
    if comparison.get("decision") != "promote":
        raise InputError(f"{path} is not promoted: {comparison.get('reason', 'no comparison was made')}")
    before = current_writer(store)
    now = {"path": path, "run_id": comparison.get("new_run"), "previous": before}
    store.write_text(CURRENT_WRITER, json.dumps(now, indent=2, sort_keys=True) + "\n")
    return now


def roll_back_writer(store: Store) -> dict[str, Any] | None:
    """Make the writer current that was so before the last promotion; None if there was none."""
    now = current_writer(store)
    if now is None:
        raise InputError("No writer has been promoted in this workspace; there is nothing to roll back.")
    before = now.get("previous")
    store.write_text(CURRENT_WRITER, json.dumps(before, indent=2, sort_keys=True) + "\n" if before else "null\n")
    return before
