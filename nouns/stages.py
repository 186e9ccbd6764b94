"""The stages' names, in the order in which they run. Light on purpose: DAG files import it while Airflow parses them."""

from __future__ import annotations

RUN_STAGES: tuple[str, ...] = (
    "ingest",
    "fit_raters",
    "train_jury",
    "cluster_notes",
    "draft_candidates",
    "check_candidates",
    "judge_candidates",
    "revise_candidates",
    "select_winners",
    "build_pairs",
    "export",
)
"""What `supernotes run` does, in this order."""

FEEDBACK_STAGES: tuple[str, ...] = ("learn_outcomes", "tune_writer", "compare_writers")
"""Stages that close the loop; they run on their own schedule."""

ALL_STAGES: tuple[str, ...] = RUN_STAGES + FEEDBACK_STAGES

SHARDED_STAGES: tuple[str, ...] = (
    "draft_candidates",
    "check_candidates",
    "judge_candidates",
    "revise_candidates",
    "select_winners",
)
"""Stages that work post by post and are run shard by shard."""


def verb(stage: str) -> str:
    """The stage's name on the command line, where words are joined by hyphens."""
    return stage.replace("_", "-")
