"""The language model against the writer without weights on the same posts, before the jury that taught neither.

The extractive writer drafts beside every other one. Per post the best text of each - that passed the checks, and that the first jury ranks
highest - is put before the appeal jury; how often and by how much the model's is better is the run's answer to "was it worth it?".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jury.judge.context import PostContext
from jury.judge.judge import Bench, PostTexts, judge
from jury.select.select import Contender, rank_of_verdict
from jury.settings import SelectWinnersSettings
from nouns.run import read_rows

BASELINE = "extractive"


def read_writers(posts: Sequence[int] | None, candidates: Path, revisions: Path | None) -> dict[str, str]:
    """Who wrote each candidate and revision, by its id."""
    found: dict[str, str] = {}
    for directory in (candidates, revisions):
        if directory is not None and (Path(directory) / "candidates.parquet").is_file():
            found |= dict(read_rows(directory, "candidates", posts).select("candidate_id", "writer").iter_rows())
    return found


def best_of_both(
    contenders: Mapping[int, Sequence[Contender]], writers: Mapping[str, str], rules: SelectWinnersSettings
) -> dict[int, tuple[Contender | None, Contender | None]]:
    """Per post on which both writers drafted: the model's best text and the baseline's; None where nothing of a writer passed.

    Gates and bar play no part: the two writers are compared, not chosen from. Equal ranks go to the shorter text, then the smaller id.
    """
    found: dict[int, tuple[Contender | None, Contender | None]] = {}
    for post, drafted in contenders.items():
        sides: tuple[list[Contender], list[Contender]] = ([], [])
        for contender in drafted:
            sides[writers.get(contender.candidate_id) == BASELINE].append(contender)
        if sides[0] and sides[1]:
            model, baseline = (_best(side, rules) for side in sides)
            found[post] = (model, baseline)
    return found


def _best(contenders: Sequence[Contender], rules: SelectWinnersSettings) -> Contender | None:
    fit = [c for c in contenders if not c.failed_checks and c.judged and c.kept]
    return min(fit, key=lambda c: (-rank_of_verdict(c.verdict or {}, rules), len(c.text), c.candidate_id), default=None)


def baseline_rows(
    pairs: Mapping[int, tuple[Contender | None, Contender | None]],
    writers: Mapping[str, str],
    contexts: Mapping[int, PostContext],
    appeal: Bench | None,
    batch: int,
) -> list[dict[str, Any]]:
    """Rows of baseline.parquet, by post: both texts' ids and their bridging scores before the first and the appeal jury."""

    def waiting() -> Iterator[PostTexts]:
        for post, pair in sorted(pairs.items()):
            texts = tuple(
                contexts[post].judged_candidate(c.candidate_id, c.text, c.classification, c.language, c.source_note_ids)
                for c in pair
                if c is not None
            )
            if texts:
                yield PostTexts(post, texts)

    heard: dict[tuple[int, str], float] = {}
    if appeal is not None:
        for post, rows in judge(appeal, waiting(), batch):
            for verdict in rows:
                if verdict["unjudged_reason"] is None:
                    heard[post, verdict["candidate_id"]] = float(verdict["score_bridging_intercept"])
    made = []
    for post, (model, baseline) in sorted(pairs.items()):
        row: dict[str, Any] = {"post_id": post, "writer": None if model is None else writers[model.candidate_id]}
        for name, c in (("model", model), ("baseline", baseline)):
            row[f"{name}_candidate_id"] = None if c is None else c.candidate_id
            row[f"{name}_score"] = None if c is None else float((c.verdict or {})["score_bridging_intercept"])
            row[f"{name}_appeal"] = None if c is None else heard.get((post, c.candidate_id))
        made.append(row)
    return made


def summarise(rows: pl.DataFrame, draws: int = 2000, seed: int = 0) -> dict[str, Any] | None:
    """How often and by how much the model beats the baseline; None where the run has no second writer.

    `share_better` counts a tie as half; intervals are bootstraps over posts (95 %). Keys: posts (both drafted), both, only_model,
    only_baseline, neither (whose texts passed the checks), share_better and difference as {value, lo, hi} or None when no post has both.
    """
    if not rows.height:
        return None
    has_model, has_baseline = (
        rows["model_candidate_id"].is_not_null().to_numpy(),
        rows["baseline_candidate_id"].is_not_null().to_numpy(),
    )
    gain = rows.select(pl.col("model_appeal") - pl.col("baseline_appeal")).to_series().drop_nulls().to_numpy()
    found: dict[str, Any] = {
        "posts": rows.height,
        "both": int((has_model & has_baseline).sum()),
        "only_model": int((has_model & ~has_baseline).sum()),
        "only_baseline": int((~has_model & has_baseline).sum()),
        "neither": int((~has_model & ~has_baseline).sum()),
        "writers": sorted(rows["writer"].drop_nulls().unique().to_list()),
        "share_better": None,
        "difference": None,
    }
    if len(gain):
        better = (gain > 0) + 0.5 * (gain == 0)
        picks = np.random.default_rng(seed).integers(0, len(gain), (draws, len(gain)))
        for name, values in (("share_better", better), ("difference", gain)):
            lo, hi = np.quantile(values[picks].mean(axis=1), (0.025, 0.975))
            found[name] = {
                "value": round(float(values.mean()), 4),
                "lo": round(float(lo), 4),
                "hi": round(float(hi), 4),
            }
    return found
