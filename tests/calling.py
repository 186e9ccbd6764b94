"""Stages called with the directories a test has at hand, by the names tests use: `snapshot=...`, `clusters=...`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from nouns.run import Run
from nouns.stage import Tools
from nouns.stages import STAGES, stage_named

STAGE_OF = {
    "snapshot": "ingest",
    "parameters": "fit_raters",
    "jury": "train_jury",
    "clusters": "cluster_notes",
    "candidates": "draft_candidates",
    "checks": "check_candidates",
    "verdicts": "judge_candidates",
    "revisions": "revise_candidates",
    "selections": "select_winners",
    "pairs": "build_pairs",
    "data": "export",
    "current": "draft_candidates",
    "current_checks": "check_candidates",
}
SECOND = {"new": "draft_candidates", "new_checks": "check_candidates"}
GIVEN = {"adopt": "raters"} | {name: name for name in ("source", "as_of", "extra", "decisions", "recorded", "run_id")}
TOOL = {
    "seed": "seed", "progress": "progress", "cache": "vectors", "journal": "calls", "model": "rater_model",
    "proxy_model": "rater_model", "gold_model": "second_model", "writing": "writer",
}  # fmt: skip
ALSO = {
    "draft_settings": "draft_candidates",
    "check_settings": "check_candidates",
    "judge_settings": "judge_candidates",
    "select_settings": "select_winners",
}


def _call(name: str, out: Path, settings: Any, **given: Any) -> dict[str, Any]:
    stage = stage_named(name)
    posts = given.pop("posts", None)
    tools = {TOOL[key]: given.pop(key) for key in list(given) if key in TOOL}
    if name == "tune_writer" and "calls" in tools:
        tools["checkpoints"] = tools.pop("calls")
    also = {ALSO[key]: given.pop(key) for key in list(given) if key in ALSO}
    said = {GIVEN[key]: given.pop(key) for key in list(given) if key in GIVEN}
    if name == "ingest" and posts is not None:
        said["posts"], posts = posts, None
    if "test_share" in given:
        from feedback.settings import ExportSettings

        also["export"] = ExportSettings(test_share=given.pop("test_share"))
    second = {SECOND[key]: Path(given.pop(key)) for key in list(given) if key in SECOND}
    directories = {STAGE_OF[key]: Path(value) for key, value in given.items() if value is not None}
    if name == "learn_outcomes":
        second = {stage: directories.pop(stage) for stage in ("ingest", "fit_raters")}
    run = Run(
        str(said.get("run_id", "")),
        directories,
        {key: value for key, value in said.items() if value is not None},
        None if posts is None else tuple(posts),
        Run("second", second) if second else None,
    )
    also = {key: value for key, value in also.items() if key in stage.also}
    function = getattr(importlib.import_module(stage.step), name)
    return function(run, settings, Path(out), Tools(**{key: v for key, v in tools.items() if v is not None}), **also)


def __getattr__(name: str) -> Any:
    if name not in {stage.name for stage in STAGES}:
        raise AttributeError(name)

    def call(out: Path, settings: Any, **given: Any) -> dict[str, Any]:
        return _call(name, out, settings, **given)

    return call


def as_run(**directories: Path) -> Run:
    """A run that shows these directories, by the names tests use."""
    return Run(directories={STAGE_OF[name]: path for name, path in directories.items()})
