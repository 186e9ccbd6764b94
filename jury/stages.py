"""The jury room's stages: read, call, write into `out`, return counts. No manifest here; the pipeline writes it last."""

from __future__ import annotations

from jury.exports.stage import export
from jury.judge_stage import judge_candidates
from jury.outcome_stage import learn_outcomes
from jury.pair_stage import build_pairs
from jury.revise_stage import revise_candidates
from jury.select_stage import select_winners
from jury.training_stage import train_jury
from jury.tune_stage import compare_writers, tune_writer

__all__ = [
    "build_pairs",
    "compare_writers",
    "export",
    "judge_candidates",
    "learn_outcomes",
    "revise_candidates",
    "select_winners",
    "train_jury",
    "tune_writer",
]
