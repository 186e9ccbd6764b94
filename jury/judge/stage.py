"""Stage `judge_candidates`: candidates and the post's existing notes before the same jury."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from jury.judge.chance import AS_IS
from jury.judge.context import PostContext, read_contexts, read_raters
from jury.judge.draw import Draw, describe, draw_two
from jury.judge.judge import Bench, PostTexts, existing_row, judge, post_texts, unjudged_row
from jury.records import RaterModel, Unjudged
from jury.settings import JudgeCandidatesSettings
from jury.tables import SCHEMAS, write_rows
from matrix_factorization.reading import read_scale
from nouns.run import Run, read_rows
from nouns.stage import Counts, Tools


def judge_candidates(
    run: Run,
    settings: JudgeCandidatesSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write verdicts.parquet (one row a candidate) and existing.parquet (one row a note of the post).

    Counted in candidates. Only candidates whose checks all passed are judged; the others are Unjudged('failed_checks'),
    candidates that were never checked Unjudged('unchecked'). `tools.rater_model` stands in for the trained jury's model.
    """
    snapshot, parameters, jury = run.path("ingest"), run.path("fit_raters"), run.path("train_jury")
    candidates, posts = run.path("draft_candidates"), run.posts
    main, _ = seat_juries(settings, jury, parameters, tools.seed)
    bench = open_bench(main, settings, jury, parameters, tools.vectors, tools.rater_model)
    contexts = read_contexts(snapshot, parameters, run.path("cluster_notes"), posts, jury)
    drafted = read_rows(candidates, "candidates", posts).sort("post_id", "candidate_id")
    stopped = stopped_by_checks(drafted, read_rows(run.path("check_candidates"), "checks", posts))
    verdicts, existing = judge_all(bench, contexts, drafted, stopped, settings.batch, tools.progress)
    write_rows(out / "verdicts.parquet", SCHEMAS["verdicts"], verdicts)
    write_rows(out / "existing.parquet", SCHEMAS["existing"], existing)
    reasons = Counter(_code(row["unjudged_reason"]) for row in verdicts if row["unjudged_reason"] is not None)
    for row in verdicts:
        why = row["unjudged_reason"]
        told = {"in": 1, "out": int(why is None), "rejected": {} if why is None else {_code(why): 1}}
        tools.enter(row["post_id"], told)
    for row in existing:
        tools.enter(row["post_id"], {"existing_notes": 1})
    known, read = set(read_raters(jury).rater_ids), Counter[str]()
    for post, context in contexts.items():
        ratings = {"sibling_ratings": sum(context.n_ratings.values()), "read_with_the_jury": 0}
        ratings["read_with_the_jury"] = sum(r in known for s in context.siblings for r in s.ratings.rater_id)
        tools.enter(post, ratings)
        read.update(ratings)
    return {
        "in": len(verdicts),
        "out": len(verdicts) - sum(reasons.values()),
        "rejected": dict(sorted(reasons.items())),
        "existing_notes": len(existing),
        **read,
        "shared": {"jury": describe(main)},
    }


def keys(run: Run, settings: JudgeCandidatesSettings, tools: Tools) -> dict[int, list[Any]]:
    """Per post what its verdicts rest on, besides the jury: candidates, what stopped them, and the post's notes with their ratings."""
    candidates = read_rows(run.path("draft_candidates"), "candidates", run.posts).sort("post_id", "candidate_id")
    stopped = stopped_by_checks(candidates, read_rows(run.path("check_candidates"), "checks", run.posts))
    contexts = read_contexts(
        run.path("ingest"), run.path("fit_raters"), run.path("cluster_notes"), run.posts, run.path("train_jury")
    )
    found: dict[int, list[Any]] = {post: [context.rests_on()] for post, context in contexts.items()}
    for row in candidates.select(
        "candidate_id", "post_id", "text", "classification", "language", "source_note_ids"
    ).iter_rows():
        found.setdefault(row[1], []).append([*row, stopped.get(row[0])])
    return found


def seat_juries(settings: JudgeCandidatesSettings, jury: Path, parameters: Path, seed: int) -> tuple[Draw, Draw | None]:
    """The run's jury and its appeal jury: the same for every post and every shard of the run."""
    mu, _ = read_scale(jury, parameters)  # a jury may come from another run than the parameters
    return draw_two(
        read_raters(jury),
        settings.n_jurors,
        settings.n_appeal,
        main_pool=settings.pool,
        composition=settings.composition,
        seed=seed + settings.seed,
        global_intercept=mu,
        edges=settings.bin_edges,
        shares=settings.bin_shares,
    )


def open_bench(
    draw: Draw,
    settings: JudgeCandidatesSettings,
    jury: Path,
    parameters: Path,
    cache: Path | None,
    model: RaterModel | None = None,
    which: str = "proxy",
) -> Bench:
    """The jury seated before a trained model (`which`: proxy or gold), with the scale of its score."""
    _, ratings_per_note = read_scale(jury, parameters)
    if model is None:
        from jury.model import load_jury

        model = load_jury(jury, which, cache)
    return Bench(
        model.seat(draw.jury), draw.jury, ratings_per_note, settings.aggregator, getattr(model, "chance", AS_IS)
    )


def stopped_by_checks(candidates: pl.DataFrame, checks: pl.DataFrame) -> dict[str, str]:
    """Why a candidate is not put before the jury, by its id: 'failed_checks' or 'unchecked'. Passed ones are absent.

    A check that could not be read counts as failed: nothing doubtful passes.
    """
    seen = checks.group_by("candidate_id").agg((pl.col("outcome") != "passed").any().alias("failed"))
    frame = candidates.select("candidate_id").join(seen, on="candidate_id", how="left")
    return {
        name: "unchecked" if failed is None else "failed_checks"
        for name, failed in frame.iter_rows()
        if failed is None or failed
    }


def judge_all(
    bench: Bench,
    contexts: dict[int, PostContext],
    drafted: pl.DataFrame,
    stopped: dict[str, str],
    batch: int,
    progress: Any = lambda *a, **k: None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Verdict rows of all candidates (sorted by post and id) and rows of the existing notes of their posts' contexts."""
    by_post: dict[int, list[dict[str, Any]]] = {post_id: [] for post_id in contexts}
    verdicts: list[dict[str, Any]] = []
    for row in drafted.iter_rows(named=True):
        why = stopped.get(row["candidate_id"])
        if why is None and row["post_id"] not in by_post:
            why = "no_context"
        if why is None:
            by_post[row["post_id"]].append(row)
        else:
            verdicts.append(unjudged_row(Unjudged(row["candidate_id"], why), row["post_id"]))

    def waiting() -> Iterator[PostTexts]:
        for post_id in sorted(by_post):
            yield post_texts(contexts[post_id], by_post[post_id])

    existing: list[dict[str, Any]] = []
    for done, (post_id, rows) in enumerate(judge(bench, waiting(), batch)):
        n = len(by_post[post_id])
        verdicts += rows[:n]
        existing += [existing_row(row, contexts[post_id]) for row in rows[n:]]
        progress("judging", done + 1, len(by_post))
    verdicts.sort(key=lambda row: (row["post_id"], row["candidate_id"]))
    existing.sort(key=lambda row: (row["post_id"], row["note_id"]))
    return verdicts, existing


def _code(reason: str) -> str:
    return reason if reason in ("failed_checks", "unchecked", "no_context") else "not_finite"
