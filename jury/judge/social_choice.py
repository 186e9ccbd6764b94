"""Schulze's method over the jurors' rankings, ties explicit.

Direction everywhere: `pairwise[i, j]` is the number of jurors who prefer text i to text j; bigger is better for i.
Example: two texts, 3 jurors prefer the first, 1 the second, 1 is indifferent: [[0, 3], [1, 0]].
Source: M. Schulze, "A new monotonic, clone-independent, reversal symmetric, and Condorcet-consistent single-winner
election method", Social Choice and Welfare 36 (2011), winning-votes variant.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pairwise_preferences(
    ratings: NDArray[np.floating], *, indifference: float = 0.0, block: int = 64
) -> NDArray[np.int64]:
    """How many jurors prefer text i to text j, (T, T), from their ratings (n_jurors, T), higher is better.

    A juror is indifferent between two texts whose ratings differ by at most `indifference`: such a pair counts for
    neither. The diagonal is zero. Memory is n_jurors x block x T booleans.
    """
    ratings = np.asarray(ratings)
    n_texts = ratings.shape[1]
    counts = np.zeros((n_texts, n_texts), dtype=np.int64)
    for start in range(0, n_texts, block):
        part = ratings[:, start : start + block, None] - ratings[:, None, :]  # (n_jurors, block, T)
        counts[start : start + block] = (part > indifference).sum(axis=0)
    return counts


def strongest_paths(pairwise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Strength of the strongest path from i to j, (T, T): the best over paths of the weakest link's winning votes.

    A link exists where more jurors prefer i to j than j to i. No path has strength zero.
    """
    strength = np.where(pairwise > pairwise.T, pairwise, 0)
    for k in range(len(strength)):
        np.maximum(strength, np.minimum(strength[:, k, None], strength[None, k, :]), out=strength)
    np.fill_diagonal(strength, 0)
    return strength


def schulze_ranks(pairwise: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rank of every text, (T,), 0 is best; texts the method cannot separate share a rank.

    Text i beats j if its strongest path to j is stronger than the one back. A text's rank is the number of texts that
    beat it, so ties share the better rank and the next rank is skipped: ranks 0, 0, 2. No text gives an empty array.
    """
    strength = strongest_paths(pairwise)
    return (strength < strength.T).sum(axis=1).astype(np.int64)


def schulze_scores(ratings: NDArray[np.floating], *, indifference: float = 0.0) -> NDArray[np.float64]:
    """The share of the other texts that a text beats, a tie counting half, (T,) in [0, 1]; higher is better.

    ratings : (n_jurors, T). A single text scores one half: there is nothing to beat. Scores are comparable within one
    set of texts only.
    """
    n_texts = np.asarray(ratings).shape[1]
    if n_texts < 2:
        return np.full(n_texts, 0.5)
    strength = strongest_paths(pairwise_preferences(ratings, indifference=indifference))
    wins = (strength > strength.T).sum(axis=1)
    ties = (strength == strength.T).sum(axis=1) - 1  # not with itself
    return (wins + 0.5 * ties) / (n_texts - 1)
