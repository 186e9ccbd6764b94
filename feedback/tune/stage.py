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
from feedback.settings import CompareWritersSettings, ExportSettings
from feedback.tune.settings import TuneWriterSettings
from jury.judge.context import PostContext, read_contexts
from jury.judge.judge import Bench, PostTexts, judge
from jury.judge.stage import open_bench, seat_juries, stopped_by_checks
from jury.records import RaterModel
from jury.settings import JudgeCandidatesSettings
from jury.tables import read_rows
from nouns.errors import InputError
from synthesis.check.settings import CheckCandidatesSettings


def tune_writer(
    out: Path,
    settings: TuneWriterSettings,
    *,
    data: Path,
    jury: Path | None = None,
    snapshot: Path | None = None,
    parameters: Path | None = None,
    clusters: Path | None = None,
    journal: Path | None = None,
    cache: Path | None = None,
    judge_settings: JudgeCandidatesSettings | None = None,
    check_settings: CheckCandidatesSettings | None = None,
    seed: int = 0,
    progress: Any = lambda *a, **k: None,
) -> dict[str, Any]:
    """Tune the writer on the export folder `data`: adapter/, log.jsonl, report.json, training.png in `out`.

    Counted in rows. `journal` keeps checkpoints beyond a kill. GRPO also needs jury, snapshot, parameters and clusters: the
    checks and the proxy jury are its reward.
    """
    from feedback.tune.training import tune

    reward: Callable[..., list[float]] | None = None
    if settings.method == "grpo":
        if jury is None or snapshot is None or parameters is None or clusters is None:
            raise InputError(
                "tune_writer with method 'grpo' needs jury, snapshot, parameters and clusters: the jury is its reward."
            )
        from feedback.tune.reward import make_jury_reward

        reward = make_jury_reward(
            jury=jury,
            snapshot=snapshot,
            parameters=parameters,
            clusters=clusters,
            settings=judge_settings,
            check_settings=check_settings,
            seed=seed,
            cache=cache,
        )
    report = tune(out, settings, data, reward=reward, checkpoints=journal, progress=progress)
    return {
        "in": report["rows"] + report["too_long"],
        "out": report["rows"],
        "rejected": {"too_long": report["too_long"]} if report["too_long"] else {},
        "steps": report["steps"],
        "warnings": report["warnings"],
    }


def compare_writers(
    out: Path,
    settings: CompareWritersSettings,
    *,
    snapshot: Path,
    parameters: Path,
    jury: Path,
    clusters: Path,
    current: Path,
    current_checks: Path,
    new: Path,
    new_checks: Path,
    cache: Path | None = None,
    seed: int = 0,
    judge_settings: JudgeCandidatesSettings | None = None,
    test_share: float = ExportSettings().test_share,
    proxy_model: RaterModel | None = None,
    gold_model: RaterModel | None = None,
    progress: Any = lambda *a, **k: None,
) -> dict[str, Any]:
    """Write comparison.json: both writers' drafts on held-out posts before the gold jury, and the decision.

    `current` and `new` are draft_candidates directories of the two writers on the same posts, `..._checks` their checks.
    Held out are the posts that every export with `test_share` puts into its test split. Counted in posts; posts that only one writer was
    asked on are left out.
    """
    if settings.pool != "gold":
        raise InputError(
            f"compare_writers.pool = {settings.pool!r}; writers are compared before 'gold': raters that taught neither."
        )
    how = judge_settings or JudgeCandidatesSettings()
    posts = held_out_posts(clusters, settings.posts, test_share)
    contexts = read_contexts(snapshot, parameters, clusters, posts)
    main, appeal = seat_juries(how, jury, parameters, seed + settings.seed)
    if appeal is None:
        raise InputError("The jury has no second pool of raters, so there is no jury that taught neither writer.")
    proxy = open_bench(main, how, jury, parameters, cache, proxy_model, "proxy")
    gold = open_bench(appeal, how, jury, parameters, cache, gold_model, "gold")
    before = read_drafts(posts, current, current_checks, contexts, proxy, gold, settings.n)
    progress("current writer judged", 1, 2)
    after = read_drafts(posts, new, new_checks, contexts, proxy, gold, settings.n)
    progress("new writer judged", 2, 2)
    both = sorted(set(before) & set(after))
    rng = np.random.default_rng(seed + settings.seed)
    one, other = {post: before[post] for post in both}, {post: after[post] for post in both}
    embeddings = (embed_drafts(one, cache), embed_drafts(other, cache)) if both else None
    comparison = compare(one, other, settings, rng, embeddings)
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
