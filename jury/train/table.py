"""What the rater model is fitted on: notes and ratings as arrays, and its predictions for notes left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jury.model.features import (
    stance_index,
)
from jury.settings import TrainJurySettings

Array = NDArray[Any]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """Notes (one row each) and the ratings of them by raters with parameters; parallel arrays.

    Notes: `post` is the tweetId; `intercept`, `factor` (NaN where unknown) are the labels; `n_ratings` behind them (NaN: unknown);
    `source` names the folder the row came from ('snapshot' for the snapshot itself); `weight` in (0, 1] multiplies a label's precision
    (weak labels such as approval shares are worth less than fitted parameters).
    `written_at`: when the note was written (milliseconds since 1970, -1 unknown; None: of no note). Decides which ratings of siblings were
    there when a note is judged in a test forward in time; never a predictor.
    Ratings: `rating_note` is a row of the note table, `tags` (n_ratings, n_tags) bool; `rater` indexes `rater_ids`.
    """

    note_id: Ints
    post: Ints
    text: list[str]
    classification: list[str]
    post_text: list[str | None]
    language: list[str | None]
    intercept: Array
    factor: Array
    n_ratings: Array
    source: list[str]
    weight: Array
    rating_note: Ints
    rater: Ints
    value: Array
    rater_intercept: Array
    rater_factor: Array
    created_at: Ints
    tags: NDArray[np.bool_]
    tag_names: tuple[str, ...]
    rater_ids: tuple[str, ...]
    global_intercept: float
    written_at: Ints | None = None

    def __len__(self) -> int:
        return len(self.note_id)

    def stance(self) -> Ints:
        return np.array([stance_index(c) for c in self.classification], dtype=np.int64)

    def ratings_where(self, keep: NDArray[np.bool_]) -> TrainingData:
        """The same notes with only those ratings."""
        return replace(
            self,
            rating_note=self.rating_note[keep],
            rater=self.rater[keep],
            value=self.value[keep],
            rater_intercept=self.rater_intercept[keep],
            rater_factor=self.rater_factor[keep],
            created_at=self.created_at[keep],
            tags=self.tags[keep],
        )

    def notes_where(self, keep: NDArray[np.bool_]) -> TrainingData:
        """Only those notes, with their ratings."""
        where = np.flatnonzero(keep)
        row = np.full(len(self), -1)
        row[where] = np.arange(len(where))
        rated = row[self.rating_note] >= 0
        pick = lambda items: [items[i] for i in where]  # noqa: E731
        smaller = self.ratings_where(rated)
        return replace(
            smaller,
            note_id=self.note_id[where],
            post=self.post[where],
            text=pick(self.text),
            classification=pick(self.classification),
            post_text=pick(self.post_text),
            language=pick(self.language),
            intercept=self.intercept[where],
            factor=self.factor[where],
            n_ratings=self.n_ratings[where],
            source=pick(self.source),
            weight=self.weight[where],
            rating_note=row[smaller.rating_note],
            written_at=None if self.written_at is None else self.written_at[where],
        )


@dataclass(frozen=True)
class Folded:
    """Predictions for the training notes that never saw what they predict.

    `cold` (n, 2): from text alone, linear part fitted without the note's post. `warm` (n, 2): with the other notes of the post as
    siblings. `cold_variance`, `warm_variance` (n, 2): of the latent parameter. `common` (n,) is not needed here.
    """

    cold: Array
    warm: Array
    cold_variance: Array
    warm_variance: Array
    fold: Ints


@dataclass(frozen=True)
class FitOptions:
    """What `fit_hierarchical` may vary; see TrainJurySettings for meaning and sources. Alone, content is learnt from any number of notes."""

    blocks: tuple[str, ...] = TrainJurySettings.blocks
    embedding_axes: int = TrainJurySettings.embedding_axes
    folds: int = TrainJurySettings.folds
    seed: int = TrainJurySettings.seed
    within_emphasis: float = TrainJurySettings.within_emphasis
    word_axes: int = TrainJurySettings.word_axes
    elsewhere_weight: float = TrainJurySettings.elsewhere_weight
    trees: int = TrainJurySettings.trees
    trees_from: int = TrainJurySettings.trees_from
    twins: int = TrainJurySettings.twins
    content_from: int = 0
