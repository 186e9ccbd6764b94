"""Two writers on the same posts, with the same number of drafts, before a jury that taught neither: which is better, how sure.

Each writer's *pick* on a post is the draft that passed the checks and that the proxy jury likes best - what the pipeline
would choose - and the gold jury says how good it is. Intervals are bootstraps over posts: drafts of a post are no
independent observations.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedback.settings import CompareWritersSettings
from jury.records import SIDES
from texts.note import note_length, without_urls


@dataclass(frozen=True)
class Draft:
    """One draft as both juries saw it. `proxy` and `gold` are scores (None: not judged), `helpful` gold's share per side."""

    text: str
    passed: bool
    proxy: float | None = None
    gold: float | None = None
    helpful: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Comparison:
    """What was measured, each as {value, lo, hi, n}, and what follows. `refusals` is empty exactly for a promotion."""

    measures: dict[str, dict[str, float | int | None]]
    refusals: tuple[str, ...]

    @property
    def decision(self) -> str:
        return "refuse" if self.refusals else "promote"

    def to_json(self) -> dict[str, Any]:
        why = " ".join(self.refusals) if self.refusals else "Better on the whole and not worse on either side."
        return self.measures | {"decision": self.decision, "reason": why}


def pick(drafts: Sequence[Draft]) -> Draft | None:
    """The draft the pipeline would choose: best by the proxy jury among those that passed; ties go to the earlier one."""
    fit = [draft for draft in drafts if draft.passed and draft.proxy is not None]
    return max(fit, key=lambda draft: draft.proxy or 0.0, default=None)


def distinct(texts: Sequence[str], n: int) -> float:
    """Share of different word n-grams among all of them (links apart), in [0, 1]; 0 where there is none."""
    grams: list[tuple[str, ...]] = []
    for text in texts:
        words = re.findall(r"\w+", without_urls(text).lower())
        grams += [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def spread(vectors: NDArray[np.floating]) -> float:
    """Mean cosine distance between two different rows of unit vectors (n, d); 0 for fewer than two."""
    n = len(vectors)
    if n < 2:
        return 0.0
    total = vectors.sum(axis=0)
    return float(1 - (total @ total - n) / (n * (n - 1)))


def bootstrap(
    values: NDArray[np.float64], draws: int, confidence: float, rng: np.random.Generator
) -> dict[str, float | int | None]:
    """Mean over posts with its percentile interval; `values` has one entry a post. No post gives nulls."""
    n = len(values)
    if n == 0:
        return {"value": None, "lo": None, "hi": None, "n": 0}
    means = np.array([values[rng.integers(0, n, n)].mean() for _ in range(draws)]) if n > 1 else values
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return {"value": float(values.mean()), "lo": float(low), "hi": float(high), "n": n}


def compare(
    current: Mapping[int, Sequence[Draft]],
    new: Mapping[int, Sequence[Draft]],
    settings: CompareWritersSettings,
    rng: np.random.Generator,
    embeddings: tuple[Mapping[int, NDArray[np.floating]], Mapping[int, NDArray[np.floating]]] | None = None,
) -> Comparison:
    """Measures and decision from the drafts of both writers, by post; both must have been asked on the same posts.

    A post where only one writer has a pick is won by it (and has no score difference); one where neither has is a tie.
    """
    posts = sorted(set(current) | set(new))
    wins, differences, proxies = [], [], []
    sides: list[list[float]] = []
    for post in posts:
        a, b = pick(current.get(post, ())), pick(new.get(post, ()))
        if a is None or b is None or a.gold is None or b.gold is None:
            wins.append(0.5 if (a is None) == (b is None) else float(b is not None))
            continue
        differences.append(b.gold - a.gold)
        proxies.append((b.proxy or 0.0) - (a.proxy or 0.0))
        wins.append(0.5 if b.gold == a.gold else float(b.gold > a.gold))
        if a.helpful is not None and b.helpful is not None:
            sides.append([y - x for x, y in zip(a.helpful, b.helpful, strict=True)])

    def over_posts(values: Sequence[float]) -> dict[str, float | int | None]:
        return bootstrap(np.array(values, dtype=float), settings.draws, settings.confidence, rng)

    measures = {
        "win_rate": over_posts(wins),
        "score_difference": over_posts(differences),
        "proxy_difference": over_posts(proxies),
        "pass_rate_current": over_posts([_share(current.get(post, ())) for post in posts if current.get(post)]),
        "pass_rate_new": over_posts([_share(new.get(post, ())) for post in posts if new.get(post)]),
        "length_drift": over_posts(_length_drift(current, new, posts)),
    }
    for k, side in enumerate(SIDES):
        measures[f"gain_{side}"] = over_posts([row[k] for row in sides if not math.isnan(row[k])])
    for n in (1, 2, 3):
        measures[f"distinct_{n}"] = _ratio_over_posts(current, new, posts, n, settings, rng)
    if embeddings is not None:
        before, after = embeddings
        both = [post for post in posts if len(before.get(post, ())) > 1 and len(after.get(post, ())) > 1]
        measures["embedding_spread"] = over_posts([spread(after[post]) - spread(before[post]) for post in both])
    return Comparison(measures, tuple(refusals(measures, settings)))


def refusals(measures: Mapping[str, Mapping[str, float | int | None]], settings: CompareWritersSettings) -> list[str]:
    """Why the new writer is not promoted, one sentence for each reason."""
    said = []
    difference = measures["score_difference"]
    if difference["lo"] is None or not difference["lo"] > 0:
        shown = "no post could be compared" if difference["lo"] is None else _shown(difference)
        said.append(f"It is not surely better: score difference {shown}, and the interval must lie above zero.")
    for side in ("negative", "positive"):
        gain = measures[f"gain_{side}"]
        if gain["lo"] is not None and gain["lo"] < -settings.max_side_loss:
            said.append(
                f"The {side} side may lose: helpful share {_shown(gain)}; at most {settings.max_side_loss} may be lost."
            )
    variety = measures["distinct_2"]
    if variety["value"] is not None and variety["value"] < settings.minimum_distinct_2:
        said.append(
            f"Its texts are less varied: distinct-2 is {variety['value']:.2f} of the current writer's; {settings.minimum_distinct_2} is needed."
        )
    before, after = measures["pass_rate_current"]["value"], measures["pass_rate_new"]["value"]
    if before is not None and after is not None and after < before - 0.05:
        said.append(f"Fewer drafts pass the checks: {after:.0%} instead of {before:.0%}.")
    drift = measures["length_drift"]["value"]
    if drift is not None and abs(drift) > settings.max_length_drift:
        said.append(f"The length drifted by {drift:+.0%}; at most {settings.max_length_drift:.0%} is accepted.")
    return said


def _shown(measure: Mapping[str, float | int | None]) -> str:
    return f"{measure['value']:+.3f} [{measure['lo']:+.3f}, {measure['hi']:+.3f}]"


def _share(drafts: Sequence[Draft]) -> float:
    return sum(draft.passed for draft in drafts) / len(drafts)


def _length_drift(
    current: Mapping[int, Sequence[Draft]], new: Mapping[int, Sequence[Draft]], posts: Sequence[int]
) -> list[float]:
    """Per post the relative change of the mean length."""
    found = []
    for post in posts:
        a, b = current.get(post, ()), new.get(post, ())
        if a and b:
            before = sum(note_length(draft.text) for draft in a) / len(a)
            after = sum(note_length(draft.text) for draft in b) / len(b)
            found.append(after / max(before, 1.0) - 1.0)
    return found


def _ratio_over_posts(
    current: Mapping[int, Sequence[Draft]],
    new: Mapping[int, Sequence[Draft]],
    posts: Sequence[int],
    n: int,
    settings: CompareWritersSettings,
    rng: np.random.Generator,
) -> dict[str, float | int | None]:
    """distinct-n of the new writer's drafts as a share of the current one's, all posts pooled; interval over posts."""
    both = [post for post in posts if current.get(post) and new.get(post)]
    if not both:
        return {"value": None, "lo": None, "hi": None, "n": 0}

    def ratio(chosen: Sequence[int]) -> float:
        a = distinct([draft.text for post in chosen for draft in current[post]], n)
        b = distinct([draft.text for post in chosen for draft in new[post]], n)
        return b / a if a else math.nan

    draws = min(settings.draws, 200)  # pooled n-grams are slow to count, and this interval decides nothing
    # Without replacement (halves): drawing a post twice would count its n-grams as repeated.
    half = max(len(both) // 2, 1)
    values = [ratio([both[i] for i in rng.permutation(len(both))[:half]]) for _ in range(draws)]
    low, high = np.quantile(values, [(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
    return {"value": ratio(both), "lo": float(low), "hi": float(high), "n": len(both)}
