"""Invented rating worlds whose truth is known, from laptop size to X's whole download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from nouns.x import X_RATINGS_PER_NOTE, X_RATINGS_PER_RATER


@dataclass(frozen=True)
class WorldKind:
    """`communities`: groups of raters, each with its own factor. `crossing`: share of ratings given outside the own community.
    `second`: strength of a second hidden dimension the model does not have."""

    communities: int = 3
    crossing: float = 0.15
    second: float = 0.0


WORLDS: dict[str, WorldKind] = {
    "mix": WorldKind(3, 0.15),
    "hard": WorldKind(3, 0.03),
    "easy": WorldKind(1, 1.0),
    "two": WorldKind(3, 0.15, 0.5),
    "tough": WorldKind(5, 0.06, 0.4),
    "islands": WorldKind(5, 0.02),
}

# communitynotes diligence_model.py: 29,377,568 ratings / 795,977 notes / 265,214 raters.


@dataclass(frozen=True)
class World:
    """Ratings as dense indices, ascending in notes, and the truth they were drawn from. No pair occurs twice."""

    note_index: np.ndarray  # (n_ratings,) uint32
    rater_index: np.ndarray  # (n_ratings,) uint32
    value: np.ndarray  # (n_ratings,) float32
    rater_intercept: np.ndarray
    rater_factor: np.ndarray
    note_intercept: np.ndarray
    note_factor: np.ndarray


def make_world(n_ratings: int, kind: str = "mix", seed: int = 0) -> World:
    """About `n_ratings` ratings of a world of `kind` (a key of `WORLDS`).

    Raters are active, notes popular, with log-normal weights. Most of a note's ratings come from its home community, drawn by activity. A rating is
    mu + i_u + i_n + f_u f_n and noise, cut into 0, 1/2, 1.
    """
    shape = WORLDS[kind]
    rng = np.random.default_rng([seed, n_ratings, sum(kind.encode())])
    n_notes, n_raters = max(int(n_ratings / X_RATINGS_PER_NOTE), 2), max(int(n_ratings / X_RATINGS_PER_RATER), 2)
    home = np.sort(rng.choice(shape.communities, n_raters, p=_shares(shape.communities)))
    side = np.where(np.arange(shape.communities) % 2 == 0, -1.0, 1.0)
    rater_factor = side[home] * np.abs(rng.normal(0.6, 0.25, n_raters))
    rater_intercept = rng.normal(0.0, 0.20, n_raters)
    note_home = rng.choice(shape.communities, n_notes, p=_shares(shape.communities))
    note_factor = rng.choice([-0.7, 0.0, 0.7], n_notes, p=[0.4, 0.25, 0.35]) + rng.normal(0, 0.2, n_notes)
    note_intercept = rng.normal(0.05, 0.2, n_notes)
    extra = rng.normal(0, shape.second, (2, max(n_notes, n_raters)))
    degree = rng.lognormal(0.0, 1.15, n_notes)
    degree = np.maximum((degree / degree.sum() * n_ratings * 1.02).astype(np.int64), 5)
    degree = np.minimum(degree, max(n_raters // 2, 1))
    activity = np.cumsum(rng.lognormal(0.0, 1.2, n_raters))
    edges = np.searchsorted(home, np.arange(shape.communities + 1))
    note_index = np.repeat(np.arange(n_notes, dtype=np.uint32), degree)
    rater_index = np.empty(len(note_index), dtype=np.uint32)
    code = np.empty(len(note_index), dtype=np.uint8)
    _draw(
        degree, note_home, edges, activity, shape.crossing, rater_intercept, rater_factor, note_intercept, note_factor,
        extra[0], extra[1], rng, rater_index, code,
    )  # fmt: skip
    kept = code < 3
    if not kept.all():
        note_index, rater_index, code = note_index[kept], rater_index[kept], code[kept]
    return World(
        note_index, rater_index, (code * np.float32(0.5)), rater_intercept, rater_factor, note_intercept, note_factor
    )


def _shares(n: int) -> np.ndarray:
    shares = np.linspace(1.4, 0.6, n)
    return shares / shares.sum()


@njit(nogil=True, cache=True)
def _draw(
    degree, note_home, edges, activity, crossing, a, f, b, g, second_rater, second_note, rng, rater_index, code
):  # pragma: no cover - compiled
    """Raters and values of every note; a pair drawn twice gets the code 3."""
    last = np.full(len(a), -1, np.int64)
    at = 0
    for note in range(len(degree)):
        for _ in range(degree[note]):
            group = note_home[note]
            if rng.random() < crossing:
                group = rng.integers(0, len(edges) - 1)
            low, high = edges[group], edges[group + 1]
            if high <= low:
                low, high = 0, len(a)
            base = activity[low - 1] if low > 0 else 0.0
            u = low + np.searchsorted(activity[low:high], base + rng.random() * (activity[high - 1] - base))
            u = min(u, len(a) - 1)
            rater_index[at] = u
            if last[u] == note:
                code[at] = 3
            else:
                last[u] = note
                z = 0.42 + a[u] + b[note] + f[u] * g[note] + second_rater[u] * second_note[note]
                z += rng.normal(0.0, 0.25)
                code[at] = 0 if z < 0.35 else (1 if z < 0.6 else 2)
            at += 1
