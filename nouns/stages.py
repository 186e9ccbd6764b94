"""The fourteen stages, each declared once. Plan, command line, DAGs, metrics, inspector and documents read this file.

To add a stage: its record here, its function in a `stage.py`, its settings class in that room's `settings.py`, a test.
Light on purpose: Airflow imports it whenever it parses a DAG file.
"""

from __future__ import annotations

from nouns.errors import InputError
from nouns.stage import Stage

JURY, NOTES, TRAINING = "refresh_jury", "synthesize_supernotes", "export_training_data"

STAGES: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "ingest.stage",
        help="X's public files to a typed snapshot, every row accounted for.",
        dag=JURY,
        given=("source", "posts", "as_of"),
        makes=("ratings", "notes", "note_status_history", "user_enrollment", "suggestions", "note_requests", "posts", "rejects"),
        keeps="snapshots/{id}",
    ),
    Stage(
        "fit_raters",
        "matrix_factorization.score.stage",
        help="Rater and note parameters, fitted on the snapshot's ratings or taken over.",
        dag=JURY,
        needs=("ingest",),
        given=("raters", "jury"),
        makes=("raters", "scored_notes"),
    ),
    Stage(
        "train_jury",
        "jury.train.stage",
        help="The rater model behind the jury, with its report and a gate.",
        dag=JURY,
        needs=("ingest", "fit_raters"),
        given=("extra",),
        replaced_by="jury",
        keeps="models/jury-{id}",
    ),
    Stage(
        "cluster_notes",
        "synthesis.cluster.stage",
        help="Claims within posts, stories across posts, and which posts get a supernote.",
        dag=NOTES,
        needs=("ingest", "fit_raters"),
        given=("as_of",),
        makes=("clusters", "clustered_posts"),
    ),
    Stage(
        "draft_candidates",
        "synthesis.draft.stage",
        help="Candidate texts for every eligible post.",
        dag=NOTES,
        needs=("ingest", "fit_raters", "train_jury", "cluster_notes"),
        given=("recorded",),
        makes=("candidates", "prompts", "failures"),
        per_post=True,
        calls_model=True,
    ),
    Stage(
        "check_candidates",
        "synthesis.check.stage",
        help="Every candidate against the note spec.",
        dag=NOTES,
        needs=("ingest", "cluster_notes", "draft_candidates"),
        makes=("checks",),
        per_post=True,
    ),
    Stage(
        "judge_candidates",
        "jury.judge.stage",
        help="What the jury makes of every candidate that passed its checks, and of the notes there are.",
        dag=NOTES,
        needs=("ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates"),
        makes=("verdicts", "existing"),
        per_post=True,
    ),
    Stage(
        "revise_candidates",
        "synthesis.revise.stage",
        help="The best candidates written again with the jury's objections, checked and judged again.",
        dag=NOTES,
        needs=(
            "ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates",
            "judge_candidates",
        ),
        given=("recorded",),
        also=("draft_candidates", "check_candidates", "judge_candidates", "select_winners"),
        makes=("candidates", "prompts", "checks", "verdicts", "lineage", "failures"),
        per_post=True,
        calls_model=True,
    ),
    Stage(
        "select_winners",
        "jury.select.stage",
        help="Per post a winner or an explained abstention, the winner heard again by a second jury.",
        dag=NOTES,
        needs=(
            "ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates",
            "judge_candidates", "revise_candidates",
        ),
        also=("judge_candidates",),
        makes=("losers", "baseline"),
        per_post=True,
    ),
    Stage(
        "build_pairs",
        "feedback.pairs.stage",
        help="Judged candidates and analysts' decisions as preference pairs and labels.",
        dag=NOTES,
        needs=(
            "ingest", "fit_raters", "cluster_notes", "draft_candidates", "check_candidates", "judge_candidates",
            "revise_candidates", "select_winners",
        ),
        given=("decisions",),
        makes=("pairs", "ties", "labels"),
    ),
    Stage(
        "export",
        "feedback.export.stage",
        help="What a run learned, as dataset folders for training tools, and the publication file.",
        dag=TRAINING,
        needs=(
            "ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates", "judge_candidates",
            "revise_candidates", "select_winners", "build_pairs",
        ),
        offered=("learn_outcomes",),
        given=("decisions", "run_id"),
        also=("draft_candidates", "judge_candidates"),
        keeps="exports/{id}",
    ),
    Stage(
        "learn_outcomes",
        "feedback.outcomes.stage",
        help="How judged notes and published supernotes were really received, from a later snapshot.",
        dag="learn_outcomes",
        needs=("ingest", "cluster_notes", "draft_candidates", "judge_candidates", "revise_candidates", "select_winners"),
        second=("ingest", "fit_raters"),
    ),
    Stage(
        "tune_writer",
        "feedback.tune.stage",
        help="The writing model tuned on a run's export.",
        dag="tune_writer",
        needs=("ingest", "fit_raters", "train_jury", "cluster_notes", "export"),
        also=("judge_candidates", "check_candidates"),
        keeps="models/writer-{id}",
    ),
    Stage(
        "compare_writers",
        "feedback.tune.stage",
        help="Two writers on the same held-out posts, before a jury that taught neither.",
        dag="tune_writer",
        needs=("ingest", "fit_raters", "train_jury", "cluster_notes", "draft_candidates", "check_candidates"),
        second=("draft_candidates", "check_candidates"),
        also=("judge_candidates", "export"),
        keeps="runs/{second}/{name}",
    ),
)  # fmt: skip

BY_NAME: dict[str, Stage] = {stage.name: stage for stage in STAGES}
ALL_STAGES: tuple[str, ...] = tuple(BY_NAME)
RUN_STAGES: tuple[str, ...] = tuple(stage.name for stage in STAGES if stage.dag in (JURY, NOTES, TRAINING))
"""What `supernotes run` does, in this order; the others close the loop on a schedule of their own."""
FEEDBACK_STAGES: tuple[str, ...] = tuple(name for name in ALL_STAGES if name not in RUN_STAGES)
SHARDED_STAGES: tuple[str, ...] = tuple(stage.name for stage in STAGES if stage.per_post)


def stages_of(dag: str) -> list[str]:
    """The names of the stages that a DAG runs, in their order."""
    return [stage.name for stage in STAGES if stage.dag == dag]


def stage_named(name: str) -> Stage:
    """The record of a stage. Raises `InputError` naming the known ones."""
    if name not in BY_NAME:
        raise InputError(f"{name!r} is not a stage; the stages are {', '.join(ALL_STAGES)}.")
    return BY_NAME[name]


def verb(stage: str) -> str:
    """The stage's name on the command line, where words are joined by hyphens."""
    return stage.replace("_", "-")
