"""What a writing model makes of a few posts, beside the extractive writer: drafts, checks and scores, before a run is paid for."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from nouns.errors import InputError
from nouns.run import Run, read_rows
from nouns.stage import Progress, Tools, silent
from pipeline.plan import Plan
from pipeline.settings import Settings
from synthesis.generation.recorded import read_calls

FINISHED = ("ingest", "fit_raters", "train_jury", "cluster_notes")
"""Stages of the run that are used as they are; the three after them are carried out anew, outside the workspace."""


def try_writer(plan: Plan, settings: Settings, posts: int, progress: Progress = silent) -> dict[str, Any]:
    """Draft, check and judge `posts` eligible posts of a run, spread over all of them, with `settings`; nothing is kept.

    Gives {"run_id", "writer", "posts": [{"post_id", "post", "notes", "texts": [{"writer", "text", "score", "failed"}]}], "writers":
    {name: {"drafts", "passed", "judged", "mean_score", "best_in"}}, "calls", "prompt_tokens", "completion_tokens", "seconds",
    "eligible_posts"}; texts best first, those that failed a check last. Raises `InputError` where no language model is named.
    """
    from jury.judge.stage import judge_candidates
    from synthesis.check.stage import check_candidates
    from synthesis.draft.stage import draft_candidates

    draft = settings.draft_candidates
    if draft.backend == "extractive":
        raise InputError(
            "draft_candidates.backend is 'extractive', which is what a model is compared with. Name a model: --set "
            "draft_candidates.backend=openai --set draft_candidates.base_url=http://127.0.0.1:8000/v1 --set draft_candidates.model=NAME"
        )
    directories = {stage: plan.input(stage).path for stage in FINISHED}
    eligible = [post for shard in plan.shards() for post in shard]
    if not eligible:
        raise InputError(f"Run {plan.run_id} has no eligible post to try a writer on.")
    n = min(posts, len(eligible))
    chosen = tuple(eligible[i * len(eligible) // n] for i in range(n))
    with tempfile.TemporaryDirectory() as name:
        tools = Tools(settings.run.seed, progress, vectors=plan.store.home / ".cache" / "embeddings")
        began = time.monotonic()
        counts: dict[str, Any] = {}
        for stage, function, its in (
            ("draft_candidates", draft_candidates, dataclasses.replace(draft, extractive_always=True)),
            ("check_candidates", check_candidates, settings.check_candidates),
            ("judge_candidates", judge_candidates, settings.judge_candidates),
        ):
            out = Path(name) / stage
            out.mkdir()
            done = function(Run(plan.run_id, directories, {}, chosen), its, out, tools)  # type: ignore[operator]
            counts = counts or done
            directories[stage] = out
        run = Run(plan.run_id, directories, {}, chosen)
        shown = [_post(run, post) for post in chosen]
        calls = list(read_calls(directories["draft_candidates"] / "calls.jsonl.zst"))
    writer = next((call["model"] for call in calls), draft.model)
    return {
        "run_id": plan.run_id,
        "writer": writer,
        "posts": shown,
        "writers": _compared(shown),
        "calls": len(calls),
        "prompt_tokens": sum(call["prompt_tokens"] for call in calls),
        "completion_tokens": sum(call["completion_tokens"] for call in calls),
        "left_out": counts.get("rejected", {}),
        "seconds": round(time.monotonic() - began, 1),
        "eligible_posts": len(eligible),
    }


def _post(run: Run, post: int) -> dict[str, Any]:
    """One post with its notes and all texts drafted for it, best first."""
    from synthesis.draft.stage import read_items

    item = next(read_items(run, [post]))
    scores = dict(
        read_rows(run.path("judge_candidates"), "verdicts", [post]).select("candidate_id", "score").iter_rows()
    )
    checks = read_rows(run.path("check_candidates"), "checks", [post]).filter(pl.col("outcome") != "passed")
    failed: dict[str, list[dict[str, str]]] = {}
    for row in checks.iter_rows(named=True):
        failed.setdefault(row["candidate_id"], []).append({"check": row["check"], "reason": row["reason"]})
    texts = [
        {
            "writer": row["writer"],
            "text": row["text"],
            "score": scores.get(row["candidate_id"]),
            "failed": failed.get(row["candidate_id"], []),
        }
        for row in read_rows(run.path("draft_candidates"), "candidates", [post]).iter_rows(named=True)
    ]
    texts.sort(
        key=lambda text: (bool(text["failed"]), -(text["score"] if text["score"] is not None else -9), text["text"])
    )
    return {"post_id": str(post), "post": item.post.text, "notes": [note.text for note in item.notes], "texts": texts}


def _compared(posts: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By writer: texts, how many passed every check, their mean score, and in how many posts the writer's best text leads."""
    found: dict[str, dict[str, Any]] = {}
    for text in (text for post in posts for text in post["texts"]):
        entry = found.setdefault(
            text["writer"], {"drafts": 0, "passed": 0, "judged": 0, "mean_score": None, "best_in": 0}
        )
        entry["drafts"] += 1
        entry["passed"] += not text["failed"]
        if text["score"] is not None:
            entry["mean_score"] = ((entry["mean_score"] or 0.0) * entry["judged"] + text["score"]) / (
                entry["judged"] + 1
            )
            entry["judged"] += 1
    for post in posts:
        best = next((text for text in post["texts"] if text["score"] is not None), None)
        if best:
            found[best["writer"]]["best_in"] += 1
    return dict(sorted(found.items(), key=lambda entry: (entry[0] == "extractive", entry[0])))


def print_trial(result: dict[str, Any], most: int = 4) -> None:
    """The trial on standard output: post by post the model's texts and the extractive ones, `most` of each, then the sums."""
    for post in result["posts"]:
        print(f"\n== post {post['post_id']}: {' '.join((post['post'] or '(no text)').split())[:300]}")
        for note in post["notes"]:
            print(f"   note: {' '.join(note.split())[:200]}")
        for name in result["writers"]:
            for text in [text for text in post["texts"] if text["writer"] == name][:most]:
                score = f"{text['score']:+.3f}" if text["score"] is not None else "failed"
                print(f"   {name[:16]:<16} {score:>7}  {text['text']}")
                for why in text["failed"][:2]:
                    print(f"   {'':<25} {why['check']}: {why['reason']}")
    print(f"\n{'writer':<24} {'texts':>6} {'passed':>7} {'mean score':>11} {'best in':>8}")
    for name, entry in result["writers"].items():
        mean = f"{entry['mean_score']:+.3f}" if entry["mean_score"] is not None else "-"
        print(f"{name[:24]:<24} {entry['drafts']:>6} {entry['passed']:>7} {mean:>11} {entry['best_in']:>8}")
    if result["left_out"]:
        print("no text came of: " + ", ".join(f"{reason} {n}" for reason, n in result["left_out"].items()))
    share = result["eligible_posts"] / len(result["posts"])
    print(
        f"\n{result['calls']} calls, {result['prompt_tokens']:,} + {result['completion_tokens']:,} tokens, {result['seconds']:.0f} s for "
        f"{len(result['posts'])} posts. Drafts for all {result['eligible_posts']:,} posts of run {result['run_id']}: about "
        f"{result['calls'] * share:,.0f} calls, {result['prompt_tokens'] * share:,.0f} + {result['completion_tokens'] * share:,.0f} tokens; "
        "revisions and the judge come on top."
    )
