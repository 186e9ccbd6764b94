"""What flows through the jury room: texts to be judged, jurors, predicted ratings, verdicts, preference pairs.

All records are frozen. Rating values are those of X: 0 (not helpful), 0.5 (somewhat helpful), 1 (helpful).
Rater and note parameters are in rating units, on X's scale, where a note intercept of 0.40 means Helpful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nouns.x import SIDE_EDGES

SIDES = ("negative", "middle", "positive")
"""The three parts of the rater-factor line. Which political side is negative is a sign convention of the fit, not a fact."""


def side_of(factor: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index into SIDES for each factor: 0 below -1/3, 2 above 1/3, 1 between (the edges belong to the middle)."""
    low, high = SIDE_EDGES
    return (np.asarray(factor) >= low).astype(np.int64) + (np.asarray(factor) > high).astype(np.int64)


@dataclass(frozen=True)
class Ratings:
    """Real ratings of one note, one entry per rater; parallel arrays of length n.

    `value` in {0, 0.5, 1}; `intercept` and `factor` are the raters' parameters; `rater_id` may hold empty strings where
    the rater is not known by name. `created_at` is in milliseconds since 1970, -1 where unknown.
    """

    rater_id: tuple[str, ...] = ()
    intercept: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    factor: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    value: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    created_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True)
class Sibling:
    """Another note of the same post, with what is known of it: its parameters and its ratings, if any.

    `borrowed`: written under another post about the same matter; it is evidence, but no part of what this post's notes look like together.
    """

    note_id: int | None
    text: str
    classification: str
    intercept: float | None = None
    factor: float | None = None
    ratings: Ratings = field(default_factory=Ratings)
    borrowed: bool = False


@dataclass(frozen=True)
class JudgedText:
    """One text put before the jury.

    `classification` is X's: 'MISINFORMED_OR_POTENTIALLY_MISLEADING' or 'NOT_MISLEADING'.
    `source_note_ids` are the siblings a candidate merges (empty for a note written by a person).
    `own_ratings` are real ratings of this very text: empty for a candidate; for an existing note they turn the prediction
    into a posterior. Never fill them when the model is being evaluated on that note.
    `published`: a note that somebody put their name to, whose links raters meet as they are. In any other text, a candidate, a link counts only
    where something speaks for it (model/content.py).
    """

    id: str
    text: str
    classification: str
    post_id: int | None = None
    post_text: str | None = None
    language: str | None = None
    siblings: tuple[Sibling, ...] = ()
    source_note_ids: tuple[int, ...] = ()
    own_ratings: Ratings = field(default_factory=Ratings)
    published: bool = False


@dataclass(frozen=True)
class Jury:
    """Raters drawn to judge, by parameters: arrays of shape (n_jurors,).

    `composition` names how they were drawn, `seed` repeats the draw. `global_intercept` is the fit's mu.
    """

    rater_ids: tuple[str, ...]
    intercept: NDArray[np.float64]
    factor: NDArray[np.float64]
    global_intercept: float
    composition: str
    seed: int

    def __len__(self) -> int:
        return len(self.intercept)

    def __post_init__(self) -> None:
        if not (len(self.rater_ids) == len(self.intercept) == len(self.factor)):
            raise ValueError("a jury needs one id, one intercept and one factor per juror")


@dataclass(frozen=True)
class RatedTexts:
    """The jury's predicted ratings of T texts.

    probabilities : (n_jurors, T, 3) float32, classes not / somewhat / helpful, summing to one
    sd            : (T,) standard deviation of the model's error of the text's score, on X's scale
    sd_within     : (T,) the part of it that differs between texts of one post (what a comparison within a post must beat)
    reasons       : (T, 3, n_tags) probability that a rater of that side (SIDES) ticks the tag
    tags          : names of the tags, X's vocabulary
    """

    probabilities: NDArray[np.float32]
    sd: NDArray[np.float64]
    sd_within: NDArray[np.float64]
    reasons: NDArray[np.float32]
    tags: tuple[str, ...]

    def expected(self) -> NDArray[np.float32]:
        """Expected rating per juror and text, (n_jurors, T), in [0, 1]."""
        return self.probabilities[:, :, 2] + 0.5 * self.probabilities[:, :, 1]


class SeatedJury(Protocol):
    """A model with its jurors prepared once; rates many texts."""

    def rate(self, texts: Sequence[JudgedText]) -> RatedTexts: ...


class RaterModel(Protocol):
    """Predicts how raters with known parameters receive texts nobody has rated."""

    name: str

    def seat(self, jury: Jury) -> SeatedJury: ...


@dataclass(frozen=True)
class Unjudged:
    """A text without a verdict, and why. Not a zero."""

    candidate_id: str
    reason: str


@dataclass(frozen=True)
class PreferencePair:
    """One text preferred to another for the same prompt.

    Refuses equal texts, different posts and a gap that is not positive: a tie is no preference.
    """

    pair_id: str
    post_id: int
    chosen_id: str
    rejected_id: str
    chosen: str
    rejected: str
    chosen_post_id: int
    rejected_post_id: int
    score_gap: float

    def __post_init__(self) -> None:
        if self.chosen_post_id != self.rejected_post_id or self.chosen_post_id != self.post_id:
            raise ValueError(f"pair {self.pair_id}: both texts must belong to post {self.post_id}")
        if self.chosen.strip() == self.rejected.strip():
            raise ValueError(f"pair {self.pair_id}: chosen and rejected are the same text")
        if not self.score_gap > 0:
            raise ValueError(f"pair {self.pair_id}: a gap of {self.score_gap} is a tie, not a preference")
