"""A world whose answer is known: posts, notes and raters drawn from the model's own equation, with text that carries part of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jury.model.features import MISLEADING, NOT_MISLEADING
from jury.train.table import TrainingData
from nouns.x import RATING_TAGS

_SUBJECTS = (
    "The bridge",
    "A new tax",
    "The vaccine",
    "This photo",
    "The mayor",
    "The river",
    "The budget",
    "A famous quote",
)
_GOOD = "According to the official report, {s} was described differently. https://www.reuters.com/article/{k} https://example.gov/{k}"
_BAD = "I think {s} stuff is just stupid propaganda, obviously a lie!!!"


@dataclass(frozen=True)
class World:
    data: TrainingData
    latent_intercept: np.ndarray
    latent_factor: np.ndarray
    good: np.ndarray


def make_world(
    n_posts: int = 70, notes_per_post: int = 4, n_raters: int = 120, ratings_per_note: int = 18, seed: int = 0
) -> World:
    """Text decides 0.3 of the intercept, the post and stance much of the factor; labels are the truth with a fit's noise."""
    rng = np.random.default_rng(seed)
    i_u, f_u = rng.normal(0, 0.1, n_raters), np.clip(rng.normal(0, 0.5, n_raters), -1, 1)
    rows: dict[str, list] = {k: [] for k in ("post", "text", "stance", "i", "f", "good")}
    ratings: dict[str, list] = {k: [] for k in ("note", "rater", "value")}
    for p in range(n_posts):
        subject = _SUBJECTS[p % len(_SUBJECTS)]
        effect, lean = rng.normal(0, 0.08), rng.normal(0, 0.45)
        for k in range(notes_per_post):
            stance = int(k == notes_per_post - 1)
            good = bool(rng.random() < 0.5)
            text = (_GOOD if good else _BAD).format(s=subject.lower(), k=1000 * p + k)
            i = 0.05 + effect * (1 - 2 * stance) - 0.1 * stance + (0.3 if good else 0.0) + rng.normal(0, 0.04)
            f = lean * (1 - 2 * stance) + rng.normal(0, 0.1)
            note = len(rows["post"])
            for name, value in (
                ("post", 10_000 + p),
                ("text", text),
                ("stance", stance),
                ("i", i),
                ("f", f),
                ("good", good),
            ):
                rows[name].append(value)
            for u in rng.choice(n_raters, ratings_per_note, replace=False):
                eta = 0.17 + i_u[u] + i + f_u[u] * f + rng.logistic(0, 0.15)
                ratings["note"].append(note)
                ratings["rater"].append(u)
                ratings["value"].append(1.0 if eta > 0.5 else 0.5 if eta > 0.4 else 0.0)
    n = len(rows["post"])
    note, rater = np.array(ratings["note"]), np.array(ratings["rater"])
    value = np.array(ratings["value"])
    tags = np.zeros((len(note), len(RATING_TAGS)), dtype=bool)
    good = np.array(rows["good"])
    tags[:, RATING_TAGS.index("helpfulGoodSources")] = (value > 0.75) & good[note]
    tags[:, RATING_TAGS.index("notHelpfulArgumentativeOrBiased")] = (value < 0.25) & ~good[note]
    i, f = np.array(rows["i"]), np.array(rows["f"])
    data = TrainingData(
        note_id=np.arange(1, n + 1), post=np.array(rows["post"]), text=rows["text"],
        classification=[(MISLEADING, NOT_MISLEADING)[s] for s in rows["stance"]], post_text=[None] * n, language=["en"] * n,
        intercept=i + rng.normal(0, 0.05, n), factor=f + rng.normal(0, 0.08, n), n_ratings=np.full(n, float(ratings_per_note)),
        source=["snapshot"] * n, weight=np.ones(n), rating_note=note, rater=rater, value=value, rater_intercept=i_u[rater],
        rater_factor=f_u[rater], created_at=np.full(len(note), 1_700_000_000_000) + np.arange(len(note)), tags=tags, tag_names=RATING_TAGS,
        rater_ids=tuple(f"rater{u:03d}" for u in range(n_raters)), global_intercept=0.17,
    )  # fmt: skip
    return World(data, i, f, good)
