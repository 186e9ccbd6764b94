"""Closing the loop: outcomes of a later snapshot, a tuned writer, its comparison with the current one, promotion.

The current writer of a workspace is `models/writer-current.json`: {"path", "run_id", "previous"}. Promotion replaces it in
one step and keeps what was there, so that rolling back is one step, too.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from pipeline.errors import InputError
from pipeline.plan import Plan, RunRequest, StageResult, create_run
from pipeline.progress import Progress, silent
from pipeline.settings import Settings
from pipeline.store import Store

CURRENT = "models/writer-current.json"


def with_feedback_settings(plan: Plan, settings: Settings) -> Plan:
    """The plan with the given settings for the feedback stages; those of its run stay as they were."""
    plan.settings = dataclasses.replace(
        plan.settings,
        learn_outcomes=settings.learn_outcomes,
        tune_writer=settings.tune_writer,
        compare_writers=settings.compare_writers,
    )
    return plan


def run_of_writer(store: Store, run_id: str, adapter: str, settings: Settings, progress: Progress = silent) -> str:
    """A run like `run_id` but drafted by the writer with `adapter`, as far as its checks; returns its id.

    Needs a model back end in `settings.draft_candidates` (transformers, vllm or openai): the extractive writer has no weights.
    """
    if settings.draft_candidates.backend == "extractive":
        raise InputError(
            "draft_candidates.backend is 'extractive', which has no weights to tune. Set it to transformers, vllm or openai, "
            "and draft_candidates.model to the model that was tuned."
        )
    request: RunRequest = Plan(store, run_id).request
    draft = dataclasses.replace(settings.draft_candidates, adapter=adapter, extractive_always=False)
    other = create_run(store, request, dataclasses.replace(settings, draft_candidates=draft))
    plan = Plan(store, other)
    for stage in ("ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates"):
        progress(f"{stage} of the writer {adapter or 'without adapter'}")
        plan.run(stage, progress)
    return other


def compare_adapter(
    store: Store, run_id: str, adapter: str, settings: Settings, progress: Progress = silent
) -> dict[str, Any]:
    """The writer with `adapter` against the same writer without it, on held-out posts before the gold jury.

    Returns comparison.json with the ids of the two runs. Both writers get the same budget of drafts.
    """
    before = run_of_writer(store, run_id, "", settings, progress)
    after = run_of_writer(store, run_id, adapter, settings, progress)
    plan = with_feedback_settings(Plan(store, before), settings)
    result = plan.run("compare_writers", progress, new=after)
    return read_comparison(store, result) | {"current_run": before, "new_run": after}


def read_comparison(store: Store, result: StageResult) -> dict[str, Any]:
    return json.loads((store.local(result.path) / "comparison.json").read_text(encoding="utf-8"))


def current_writer(store: Store) -> dict[str, Any] | None:
    """The promoted writer, None before the first promotion."""
    text = store.read_text(CURRENT)
    return json.loads(text) if text else None


def promote_writer(store: Store, path: str, comparison: dict[str, Any]) -> dict[str, Any]:
    """Make `path` (models/writer-ID) the current writer. Raises `InputError` when the comparison refused it."""
    if comparison.get("decision") != "promote":
        raise InputError(f"{path} is not promoted: {comparison.get('reason', 'no comparison was made')}")
    before = current_writer(store)
    now = {"path": path, "run_id": comparison.get("new_run"), "previous": before}
    store.write_text(CURRENT, json.dumps(now, indent=2, sort_keys=True) + "\n")
    return now


def roll_back_writer(store: Store) -> dict[str, Any] | None:
    """Make the writer current that was so before the last promotion; None if there was none."""
    now = current_writer(store)
    if now is None:
        raise InputError("No writer has been promoted in this workspace; there is nothing to roll back.")
    before = now.get("previous")
    store.write_text(CURRENT, json.dumps(before, indent=2, sort_keys=True) + "\n" if before else "null\n")
    return before
