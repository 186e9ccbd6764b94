"""Putting texts before a seated jury and writing down how they were received."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jury.judge.aggregate import AGGREGATORS, Z90, Aggregator, make_aggregator, receive
from jury.judge.chance import AS_IS, helpful_chance
from jury.judge.context import PostContext
from jury.records import JudgedText, Jury, RatedTexts, SeatedJury, Unjudged

DIGITS = 9
"""Decimals kept: a text's numbers must not depend, in their last bits, on how many texts were judged together."""


@dataclass(frozen=True)
class Bench:
    """Everything needed to judge: a seated jury, who sits on it, and the scale of the score.

    `ratings_per_note` is that of the fit that gave the jurors' parameters; `aggregator` names the one whose score counts; `chance` fits the
    chance of reaching Helpful to how notes fared (`chance.fit_chance`).
    """

    seated: SeatedJury
    jury: Jury
    ratings_per_note: float
    aggregator: str = "bridging_intercept"
    chance: tuple[float, float] = AS_IS

    def aggregators(self) -> dict[str, Aggregator]:
        return {name: make_aggregator(name, self.ratings_per_note) for name in AGGREGATORS}


class PostTexts(NamedTuple):
    """The texts of one post that are compared with each other: candidates, then existing notes."""

    post_id: int
    texts: tuple[JudgedText, ...]


def judge(bench: Bench, posts: Iterable[PostTexts], batch: int = 512) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """For each post its id and one row a text, in the order given; columns as `tables.SCHEMAS['verdicts']`.

    A post is rated by itself, so its numbers are the same to the last bit whichever posts stand beside it; only the encoder
    reads ahead, about `batch` texts at a time. A text whose ratings are not finite is Unjudged, never a zero.
    """
    waiting: list[PostTexts] = []
    n_waiting = 0
    for post in posts:
        waiting.append(post)
        n_waiting += len(post.texts)
        if n_waiting >= batch:
            yield from _judge_together(bench, waiting)
            waiting, n_waiting = [], 0
    if waiting:
        yield from _judge_together(bench, waiting)


def _judge_together(bench: Bench, posts: Sequence[PostTexts]) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    if (read := getattr(bench.seated, "read", None)) is not None:
        read([text for post in posts for text in post.texts])
    for post in posts:
        rows = verdict_rows(bench, bench.seated.rate(post.texts), post.texts) if post.texts else []
        yield post.post_id, [_rounded(row) for row in rows]


def verdict_rows(bench: Bench, rated: RatedTexts, texts: Sequence[JudgedText]) -> list[dict[str, Any]]:
    """One row a text of one post: score with its 90 % interval, side by side reception, reasons, every aggregator's score."""
    if not texts:
        return []
    finite = np.isfinite(rated.probabilities).all(axis=(0, 2)) & np.isfinite(rated.sd) & np.isfinite(rated.sd_within)
    if not finite.all():
        keep = np.flatnonzero(finite)
        some = RatedTexts(
            rated.probabilities[:, keep], rated.sd[keep], rated.sd_within[keep], rated.reasons[keep], rated.tags
        )
        judged = iter(verdict_rows(bench, some, [texts[int(i)] for i in keep]))
        why = "the model gave no finite ratings for this text"
        return [
            next(judged) if ok else unjudged_row(Unjudged(text.id, why), text.post_id)
            for ok, text in zip(finite, texts, strict=True)
        ]
    results = {name: method.aggregate(rated, bench.jury) for name, method in bench.aggregators().items()}
    chosen = results[bench.aggregator]
    factor = results["bridging_intercept"].factor
    reception = receive(rated, bench.jury)
    bridging = results["bridging_intercept"]
    chance = helpful_chance(bridging.score, bridging.sd, factor, bench.chance)
    rows = []
    for t, text in enumerate(texts):
        score, sd = float(chosen.score[t]), float(chosen.sd[t])
        row = {
            "candidate_id": text.id,
            "post_id": text.post_id,
            "score": round(score, DIGITS),
            "lower": None if math.isnan(sd) else round(score - Z90 * sd, DIGITS),
            "upper": None if math.isnan(sd) else round(score + Z90 * sd, DIGITS),
            "factor": round(float(factor[t]), DIGITS),
            "helpful_negative": _known(reception.helpful[t, 0]),
            "helpful_middle": _known(reception.helpful[t, 1]),
            "helpful_positive": _known(reception.helpful[t, 2]),
            "reasons": [{"side": side, "tag": tag, "probability": p} for side, tag, p in reception.reasons[t]],
            "aggregator": bench.aggregator,
            "n_jurors": len(bench.jury),
            "unjudged_reason": None,
            "sd": float(rated.sd[t]),
            "sd_within": float(rated.sd_within[t]),
            "net_helpful_negative": float(reception.net_helpful[t, 0]),
            "net_helpful_positive": float(reception.net_helpful[t, 1]),
            "curve": reception.curve[t].tolist(),
            "helpful_chance": _known(float(chance[t])),
        }
        row |= {f"score_{name}": float(result.score[t]) for name, result in results.items()}
        rows.append(row)
    return rows


def unjudged_row(unjudged: Unjudged, post_id: int | None) -> dict[str, Any]:
    """The row of a text without a verdict: its id, its post and the reason; every number is null."""
    return {"candidate_id": unjudged.candidate_id, "post_id": post_id, "unjudged_reason": unjudged.reason}


def post_texts(context: PostContext, candidates: Iterable[dict[str, Any]]) -> PostTexts:
    """The candidates of a post (rows of candidates.parquet) and its own existing notes, as the jury sees them."""
    drafted = [
        context.judged_candidate(
            row["candidate_id"], row["text"], row["classification"], row.get("language"), row["source_note_ids"] or ()
        )
        for row in candidates
    ]
    existing = [context.judged_note(note_id) for note_id in sorted(context.own)]
    return PostTexts(context.post_id, (*drafted, *existing))


def existing_row(row: dict[str, Any], context: PostContext) -> dict[str, Any]:
    """The verdict row of an existing note as a row of existing.parquet."""
    note_id = int(row["candidate_id"])
    (fitted,) = [sibling.intercept for sibling in context.siblings if sibling.note_id == note_id]
    rest = {key: value for key, value in row.items() if key != "candidate_id"}
    return {"note_id": note_id} | rest | {"n_ratings": context.n_ratings[note_id], "fitted_intercept": fitted}


def _rounded(value: Any) -> Any:
    """Every number of a row to `DIGITS` decimals, those in lists, too."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), DIGITS)
