"""Which reasons raters of different sides share, and which divide them: a report on values from the real tags.

For every tag: how often raters of the negative and of the positive side tick it among their ratings of one kind (helpful tags among
ratings that are not "not helpful", unhelpful tags among those that are not "helpful"), with intervals from resampling posts. A tag is
*shared* when the ratio of the two shares is within 1.5 with its whole interval, *dividing* when its interval lies outside 1; else it is
*undecided*. This is the evidence on which principles for notes can be argued (issue 4, point 7).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.records import side_of
from jury.train.table import TrainingData

SHARED_RATIO = 1.5
MIN_TICKS = 20


def values_report(
    data: TrainingData, topic: dict[int, str] | None = None, bootstrap: int = 300, seed: int = 0
) -> list[dict[str, Any]]:
    """Rows `{topic, tag, kind, negative, positive, difference, lo, hi, ratio, ratio_lo, ratio_hi, n, verdict}`, sorted.

    `topic` maps tweetId to a topic; the rows of topic 'all' come first. Tags ticked fewer than MIN_TICKS times are left out.
    """
    rows = _of_topic(data, np.ones(len(data.value), dtype=bool), "all", bootstrap, seed)
    if topic:
        of_post = np.array([topic.get(int(p), "") for p in data.post], dtype=object)
        for name in sorted({t for t in topic.values() if t}):
            keep = (of_post == name)[data.rating_note]
            if keep.sum() >= 10 * MIN_TICKS:
                rows += _of_topic(data, keep, name, bootstrap, seed)
    return rows


def _of_topic(
    data: TrainingData, keep: NDArray[np.bool_], name: str, bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    side = side_of(data.rater_factor)
    post = data.post[data.rating_note] if len(data.rating_note) else np.zeros(0, np.int64)
    unique, inverse = np.unique(post, return_inverse=True)
    if len(unique) == 0:
        return []
    rng = np.random.default_rng(seed)
    counts = np.stack(
        [np.bincount(rng.integers(0, len(unique), len(unique)), minlength=len(unique)) for _ in range(bootstrap)]
    )
    counts = np.concatenate([np.ones((1, len(unique))), counts]).astype(np.float64)  # first row: the data themselves
    out = []
    for k, tag in enumerate(data.tag_names):
        kind = "helpful" if tag.startswith("helpful") else "not_helpful"
        asked = keep & ((data.value > 0.25) if kind == "helpful" else (data.value < 0.75))
        ticked = asked & data.tags[:, k]
        if ticked.sum() < MIN_TICKS:
            continue
        shares = []
        for s in (0, 2):
            of_side = side == s
            above = np.bincount(inverse[ticked & of_side], minlength=len(unique)).astype(np.float64)
            below = np.bincount(inverse[asked & of_side], minlength=len(unique)).astype(np.float64)
            # Half a tick of caution keeps the ratio finite where one side never used the tag.
            shares.append((counts @ above + 0.5) / (counts @ below + 1.0))
        negative, positive = shares
        difference, ratio = positive - negative, positive / negative
        d_lo, d_hi = np.quantile(difference[1:], [0.025, 0.975])
        r_lo, r_hi = np.quantile(ratio[1:], [0.025, 0.975])
        if r_lo >= 1 / SHARED_RATIO and r_hi <= SHARED_RATIO:
            verdict = "shared"
        elif r_lo > 1 or r_hi < 1:
            verdict = "dividing"
        else:
            verdict = "undecided"
        out.append({
            "topic": name, "tag": tag, "kind": kind, "negative": float(negative[0]), "positive": float(positive[0]), "difference": float(difference[0]),
            "lo": float(d_lo), "hi": float(d_hi), "ratio": float(ratio[0]), "ratio_lo": float(r_lo), "ratio_hi": float(r_hi), "n": int(ticked.sum()), "verdict": verdict,
        })  # fmt: skip
    return sorted(out, key=lambda r: (r["kind"], r["tag"]))
