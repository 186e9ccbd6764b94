"""Published elections with their intermediate results, so that a failure names the broken step."""

from __future__ import annotations

import numpy as np
import pytest

from jury.judge.social_choice import pairwise_preferences, schulze_ranks, schulze_scores, strongest_paths


def ballots(*blocks: tuple[int, str]) -> np.ndarray:
    """Ratings (n_jurors, T) from 'how many, ranking' blocks; the earlier in the ranking, the higher the rating."""
    letters = sorted(blocks[0][1])
    rows = [[len(letters) - ranking.index(letter) for letter in letters] for n, ranking in blocks for _ in range(n)]
    return np.array(rows, dtype=float)


# Schulze (2011), example 1, 45 voters; also the example of the method's encyclopedia article.
EXAMPLE_45 = ballots(
    (5, "ACBED"), (5, "ADECB"), (8, "BEDAC"), (3, "CABED"), (7, "CAEBD"), (2, "CBADE"), (7, "DCEBA"), (8, "EBADC"),
)  # fmt: skip


def test_the_45_voter_election_has_its_published_pairwise_counts():
    assert pairwise_preferences(EXAMPLE_45).tolist() == [
        [0, 20, 26, 30, 22],
        [25, 0, 16, 33, 18],
        [19, 29, 0, 17, 24],
        [15, 12, 28, 0, 14],
        [23, 27, 21, 31, 0],
    ]


def test_the_45_voter_election_has_its_published_strongest_paths():
    assert strongest_paths(pairwise_preferences(EXAMPLE_45)).tolist() == [
        [0, 28, 28, 30, 24],
        [25, 0, 28, 33, 24],
        [25, 29, 0, 29, 24],
        [25, 28, 28, 0, 24],
        [25, 28, 28, 31, 0],
    ]


def test_the_45_voter_election_ends_E_A_C_B_D():
    order = np.argsort(schulze_ranks(pairwise_preferences(EXAMPLE_45)))
    assert "".join("ABCDE"[i] for i in order) == "EACBD"


def test_the_tennessee_election_elects_its_condorcet_winner():
    # Memphis, Nashville, Chattanooga, Knoxville; every method that elects Condorcet winners must say Nashville.
    votes = np.array([[4, 3, 2, 1]] * 42 + [[1, 4, 3, 2]] * 26 + [[1, 2, 4, 3]] * 15 + [[1, 2, 3, 4]] * 17, dtype=float)
    assert schulze_ranks(pairwise_preferences(votes)).tolist() == [3, 0, 1, 2]


def test_a_perfect_cycle_is_a_tie_of_all():
    cycle = ballots((1, "ABC"), (1, "BCA"), (1, "CAB"))
    assert schulze_ranks(pairwise_preferences(cycle)).tolist() == [0, 0, 0]
    assert schulze_scores(cycle).tolist() == [0.5, 0.5, 0.5]


def test_tied_texts_share_the_better_rank_and_the_next_is_skipped():
    ratings = np.array([[2.0, 2.0, 1.0], [3.0, 3.0, 0.0]])
    assert schulze_ranks(pairwise_preferences(ratings)).tolist() == [0, 0, 2]
    assert schulze_scores(ratings).tolist() == [0.75, 0.75, 0.0]


def test_differences_below_the_indifference_are_no_preference():
    ratings = np.array([[0.500, 0.501]])
    assert pairwise_preferences(ratings, indifference=0.01).sum() == 0
    assert pairwise_preferences(ratings).tolist() == [[0, 0], [1, 0]]


def test_a_clone_of_a_loser_does_not_change_the_winner():
    with_clone = np.column_stack([EXAMPLE_45, EXAMPLE_45[:, 3] - 0.001])
    assert schulze_ranks(pairwise_preferences(with_clone))[4] == 0


def test_blocks_do_not_change_the_counts():
    rng = np.random.default_rng(0)
    ratings = rng.random((30, 11)).round(1)
    np.testing.assert_array_equal(pairwise_preferences(ratings, block=4), pairwise_preferences(ratings, block=100))


@pytest.mark.parametrize(("n", "expected"), [(0, []), (1, [0.5])])
def test_without_rivals_there_is_nothing_to_beat(n, expected):
    assert schulze_scores(np.ones((4, n))).tolist() == expected
