"""Which sets of source notes are merged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthesis.cluster.cluster import AverageLinkage, Clustered
from synthesis.cluster.subsets import choose_subsets, worth
from tests.synthesis.world import bridge_notes, note, planted_vectors


def _placed(notes, clusters, copies=None):
    return [
        Clustered(n.note_id, c, "misleading", (copies or {}).get(n.note_id), 1.0)
        for n, c in zip(notes, clusters, strict=True)
    ]


def _sets(notes, clusters, limit=5, max_sources=6, copies=None):
    chosen = choose_subsets(notes, _placed(notes, clusters, copies), limit=limit, max_sources=max_sources)
    return [tuple(n.note_id for n in group) for group in chosen]


def test_the_first_set_holds_the_best_note_of_every_claim():
    notes = bridge_notes()[:4]
    first = _sets(notes, ["bridge", "bridge", "bridge", "prices"], copies={13: 11})[0]
    assert set(first) == {11, 14}
    assert first[0] == 11  # the better received one leads


def test_the_note_that_each_side_likes_best_stands_in_one_set():
    notes = bridge_notes()[:4]
    sets = _sets(notes, ["a", "a", "a", "a"], copies={13: 11})
    assert any({12, 14} == set(group) for group in sets)  # 12: nine of the negative side, 14: eight of the positive


def test_copies_are_no_sources_and_no_set_comes_twice():
    notes = bridge_notes()[:4]
    sets = _sets(notes, ["a", "a", "a", "b"], copies={13: 11})
    assert all(13 not in group for group in sets)
    assert len({frozenset(group) for group in sets}) == len(sets)


def test_sets_stay_few_and_small_for_a_hundred_notes():
    notes = [note(i, f"text {i}", intercept=i / 100, n_ratings=10) for i in range(1, 101)]
    placed = AverageLinkage().cluster(notes, planted_vectors(groups=10, members=10))
    chosen = choose_subsets(notes, placed, limit=4, max_sources=6)
    assert 2 <= len(chosen) <= 4
    assert all(2 <= len(group) <= 6 for group in chosen)


def test_the_order_of_the_notes_changes_nothing():
    notes = bridge_notes()[:4]
    clusters = ["a", "b", "a", "c"]
    order = np.random.default_rng(0).permutation(4)
    assert _sets(notes, clusters) == _sets([notes[i] for i in order], [clusters[i] for i in order])


def test_one_note_gives_one_set_and_none_gives_none():
    assert _sets(bridge_notes()[:1], ["a"]) == [(11,)]
    assert _sets([], []) == []


def test_worth_grows_with_reception_and_with_the_number_of_ratings_behind_it():
    good = note(1, "x", intercept=0.4, factor=0.0, n_ratings=20)
    assert worth(good) > worth(replace(good, n_ratings=2)) > worth(replace(good, n_ratings=0)) == 0
    assert worth(good) > worth(replace(good, factor=-1.0))
    assert worth(good) > worth(replace(good, borrowed=True))
