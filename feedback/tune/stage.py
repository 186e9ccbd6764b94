"""Stages that close the loop: `tune_writer` and `compare_writers`. Promotion is the workspace's (`pipeline/promote.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feedback.compare.compare import Comparison, Draft, compare
from feedback.export.folder import is_test
from feedback.settings import CompareWritersSettings, ExportSettings, TuneWriterSettings
from jury.judge.context import PostContext, read_contexts
from jury.judge.judge import Bench, PostTexts, judge
from jury.judge.stage import open_bench, seat_juries, stopped_by_checks
from jury.settings import JudgeCandidatesSettings
from nouns.errors import InputError
from nouns.run import Run, read_rows
from nouns.stage import Counts, Tools
from synthesis.settings import CheckCandidatesSettings


def tune_writer(
    run: Run,
    settings: TuneWriterSettings,
    out: Path,
    tools: Tools,
    *,
    judge_candidates: JudgeCandidatesSettings | None = None,
    check_candidates: CheckCandidatesSettings | None = None,
) -> Counts:
    """Tune the writer on the run's export: adapter/, log.jsonl, report.json, training.png in `out`.

    Counted in rows. `tools.checkpoints` keeps what a killed attempt has learned. With GRPO the reward is the checks, then the proxy jury.
    """
    from feedback.tune.training import tune

    reward: Callable[..., list[float]] | None = None
    if settings.method == "grpo":
        from feedback.tune.reward import make_jury_reward

        reward = make_jury_reward(
            jury=run.path("train_jury"),
            snapshot=run.path("ingest"),
            parameters=run.path("fit_raters"),
            clusters=run.path("cluster_notes"),
            settings=judge_candidates,
            check_settings=check_candidates,
            seed=tools.seed,
            cache=tools.vectors,
        )
    report = tune(
        out, settings, run.path("export"), reward=reward, checkpoints=tools.checkpoints, progress=tools.progress
    )
    return {
        "in": report["rows"] + report["too_long"],
        "out": report["rows"],
        "rejected": {"too_long": report["too_long"]} if report["too_long"] else {},
        "steps": report["steps"],
        "warnings": report["warnings"],
    }


def compare_writers(
    run: Run,
    settings: CompareWritersSettings,
    out: Path,
    tools: Tools,
    *,
    judge_candidates: JudgeCandidatesSettings | None = None,
    export: ExportSettings | None = None,
) -> Counts:
    """Write comparison.json: both writers' drafts on held-out posts before the gold jury, and the decision.

    The second run holds the other writer's drafts on the same posts.
    Held out are the posts that every export with `export.test_share` puts into its test split. Counted in posts; posts that only one writer was
    asked on are left out.
    """
    if settings.pool != "gold":
        raise InputError(
            f"compare_writers.pool = {settings.pool!r}; writers are compared before 'gold': raters that taught neither."
        )
    how = judge_candidates or JudgeCandidatesSettings()
    snapshot, parameters, jury = run.path("ingest"), run.path("fit_raters"), run.path("train_jury")
    clusters, other, seed, cache = run.path("cluster_notes"), run.other(), tools.seed, tools.vectors
    posts = held_out_posts(clusters, settings.posts, (export or ExportSettings()).test_share)
    contexts = read_contexts(snapshot, parameters, clusters, posts, jury)
    main, appeal = seat_juries(how, jury, parameters, seed + settings.seed)
    if appeal is None:
        raise InputError("The jury has no second pool of raters, so there is no jury that taught neither writer.")
    proxy = open_bench(main, how, jury, parameters, cache, tools.rater_model, "proxy")
    gold = open_bench(appeal, how, jury, parameters, cache, tools.second_model, "gold")
    before = read_drafts(
        posts, run.path("draft_candidates"), run.path("check_candidates"), contexts, proxy, gold, settings.n
    )
    tools.progress("current writer judged", 1, 2)
    after = read_drafts(
        posts, other.path("draft_candidates"), other.path("check_candidates"), contexts, proxy, gold, settings.n
    )
    tools.progress("new writer judged", 2, 2)
    both = sorted(set(before) & set(after))
    rng = np.random.default_rng(seed + settings.seed)
    one, two = {post: before[post] for post in both}, {post: after[post] for post in both}
    embeddings = (embed_drafts(one, cache), embed_drafts(two, cache)) if both else None
    comparison = compare(one, two, settings, rng, embeddings)
    write_comparison(out, comparison)
    return {
        "in": len(posts),
        "out": len(both),
        "rejected": {"not_drafted_by_both": len(posts) - len(both)},
        "decision": comparison.decision,
    }


def held_out_posts(clusters: Path, most: int, test_share: float = ExportSettings().test_share) -> list[int]:
    """Eligible posts whose split key every export puts into its test split, at most `most`, in the order of their ids."""
    rows = read_rows(clusters, "posts", None).filter(pl.col("eligible")).sort("post_id")
    keys = [(post, story or str(post)) for post, story in rows.select("post_id", "story_id").iter_rows()]
    return [post for post, key in keys if is_test(key, test_share)][:most]


def read_drafts(
    posts: Sequence[int],
    candidates: Path,
    checks: Path,
    contexts: Mapping[int, PostContext],
    proxy: Bench,
    gold: Bench,
    n: int,
) -> dict[int, list[Draft]]:
    """The first `n` drafts of each post (by seed and id, not by score) as both juries see them."""
    drafted = read_rows(candidates, "candidates", posts).filter(pl.col("round") == 0)
    drafted = drafted.sort("post_id", "seed", "candidate_id").group_by("post_id", maintain_order=True).head(n)
    stopped = stopped_by_checks(drafted, read_rows(checks, "checks", posts))
    rows = [row for row in drafted.iter_rows(named=True) if row["post_id"] in contexts]
    judged = [row for row in rows if row["candidate_id"] not in stopped]

    def waiting() -> Any:
        by_post: dict[int, list[Any]] = {}
        for row in judged:
            by_post.setdefault(row["post_id"], []).append(row)
        for post in sorted(by_post):
            texts = [
                contexts[post].judged_candidate(
                    row["candidate_id"],
                    row["text"],
                    row["classification"],
                    row["language"],
                    row["source_note_ids"] or (),
                )
                for row in by_post[post]
            ]
            yield PostTexts(post, tuple(texts))

    seen = [
        {
            row["candidate_id"]: row
            for _, verdicts in judge(bench, waiting())
            for row in verdicts
            if row["unjudged_reason"] is None
        }
        for bench in (proxy, gold)
    ]
    found: dict[int, list[Draft]] = {}
    for row in rows:
        name = row["candidate_id"]
        first, second = seen[0].get(name), seen[1].get(name)
        shares = None if second is None else tuple(
            float("nan") if second[f"helpful_{side}"] is None else second[f"helpful_{side}"] for side in ("negative", "middle", "positive")
        )  # fmt: skip
        found.setdefault(row["post_id"], []).append(
            Draft(
                row["text"],
                name not in stopped,
                None if first is None else first["score_bridging_intercept"],
                None if second is None else second["score_bridging_intercept"],
                shares,  # type: ignore[arg-type]
            )
        )
    return found


def embed_drafts(drafts: Mapping[int, Sequence[Draft]], cache: Path | None) -> dict[int, np.ndarray]:
    """Unit vectors of each post's drafts by hashed n-grams: a measure of spread needs no weights."""
    from jury.model.encoders import HashingEncoder

    encoder = HashingEncoder()
    return {post: encoder.encode([draft.text for draft in rows]) for post, rows in drafts.items()}


def write_comparison(out: Path, comparison: Comparison) -> None:
    text = json.dumps(_rounded(comparison.to_json()), indent=1, sort_keys=True, allow_nan=False)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value


# -- promotion -----------------------------------------------------------------------------------------------------
