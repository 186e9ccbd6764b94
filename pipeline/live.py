"""What the checks and the jury make of a text an analyst is editing, at once: one post, one text."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from nouns.errors import InputError
from nouns.run import Run
from pipeline.plan import Plan
from storage.store import Store

MAX_TEXT = 4000  # characters an analyst may send


@lru_cache(maxsize=4)
def _opened(workspace: str, run_id: str) -> tuple[Plan, Run, Any]:
    """A run's inputs and its seated jury, kept between keystrokes."""
    from jury.judge.stage import open_bench, seat_juries

    plan = Plan(Store(workspace), run_id)
    paths = plan.open("select_winners")
    settings = plan.settings.judge_candidates
    draw, _ = seat_juries(settings, paths.path("train_jury"), paths.path("fit_raters"), plan.settings.run.seed)
    bench = open_bench(
        draw, settings, paths.path("train_jury"), paths.path("fit_raters"), plan.store.home / ".cache" / "embeddings"
    )
    return plan, paths, bench


def assess(workspace: str, run_id: str, post_id: int | str, text: str) -> dict[str, Any]:
    """Length, checks and the jury's view of `text` for a post of a run.

    Gives {"length", "passed", "checks": [...], "score", "lower", "upper", "helpful": {side: share}, "reasons": [...]}; numbers are
    null where the text cannot be judged. The sources are the post's misleading notes. Raises `InputError` for an unknown post
    or a text that is far too long.
    """

    from jury.judge.context import read_contexts
    from jury.judge.judge import PostTexts, judge
    from nouns.post import MISLEADING, NOT_MISLEADING
    from synthesis.check.check import check_text, passed
    from synthesis.draft.stage import read_items
    from texts.note import note_length

    if len(text) > MAX_TEXT:
        raise InputError(
            f"The text has {len(text):,} characters; {MAX_TEXT:,} is the most that is looked at, and a note may have 280."
        )
    post = int(post_id)
    plan, paths, bench = _opened(workspace, run_id)
    items = list(read_items(paths.path("ingest"), paths.path("cluster_notes"), paths.path("fit_raters"), [post]))
    if not items:
        raise InputError(f"Post {post_id} is not among the posts run {run_id} wrote for.")
    item = items[0]
    sources = [note for note in item.notes if note.classification != NOT_MISLEADING]
    results = check_text(
        text,
        [note.text for note in sources],
        post_text=item.post.text,
        language=None if item.language == "und" else item.language,
        settings=plan.settings.check_candidates,
    )
    out: dict[str, Any] = {
        "length": note_length(text),
        "passed": passed(results),
        "checks": [
            {
                "check": r.check,
                "outcome": r.outcome,
                "reason": r.reason,
                "start": r.start,
                "end": r.end,
                "principle": r.principle,
            }
            for r in results
        ],
        "score": None,
        "lower": None,
        "upper": None,
        "helpful": {"negative": None, "middle": None, "positive": None},
        "reasons": [],
    }
    if not text.strip():
        return out
    contexts = read_contexts(paths.path("ingest"), paths.path("fit_raters"), paths.path("cluster_notes"), [post])
    judged = contexts[post].judged_candidate(
        "live", text, MISLEADING, item.language, [note.note_id for note in sources]
    )
    for _, rows in judge(bench, [PostTexts(post, (judged,))], 1):
        row = rows[0]
        out |= {"score": row["score"], "lower": row["lower"], "upper": row["upper"]}
        out["helpful"] = {side: row[f"helpful_{side}"] for side in ("negative", "middle", "positive")}
        out["reasons"] = [dict(reason) for reason in row["reasons"] or []]
    return out
