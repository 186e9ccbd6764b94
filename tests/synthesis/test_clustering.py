"""Claims within a post and stories across posts, on planted groups and on laws."""

from __future__ import annotations

import numpy as np
import pytest

from nouns.post import NOT_MISLEADING
from synthesis.cluster.cluster import AverageLinkage, claim_text, find_stories, member_id
from tests.synthesis.world import BRIDGE, BRIDGE_COPY, bridge_notes, note, planted_vectors
from texts.names import subjects


def _stories(ids, posts, vectors, stances=None, **more):
    return find_stories(np.array(ids), np.array(posts), stances or ["misleading"] * len(ids), vectors, **more)


def test_planted_claims_are_found_whatever_the_order_of_the_rows():
    vectors = planted_vectors(groups=3, members=4)
    notes = [note(100 + i, f"text number {i}") for i in range(12)]
    placed = AverageLinkage().cluster(notes, vectors)
    assert [len({row.cluster_id for row in placed[i : i + 4]}) for i in (0, 4, 8)] == [1, 1, 1]
    assert len({row.cluster_id for row in placed}) == 3
    order = np.random.default_rng(1).permutation(12)
    assert AverageLinkage().cluster([notes[i] for i in order], vectors[order]) == placed


def test_equal_texts_of_opposite_stance_are_never_in_one_cluster():
    notes = [note(1, BRIDGE), note(2, BRIDGE, classification=NOT_MISLEADING)]
    first, second = AverageLinkage().cluster(notes, np.ones((2, 1), dtype=np.float32))
    assert first.cluster_id != second.cluster_id
    assert first.duplicate_of is None
    assert second.duplicate_of is None


def test_a_copy_points_to_the_earliest_note_and_a_copy_of_a_copy_to_the_first():
    notes = [note(30, BRIDGE), note(10, BRIDGE), note(20, BRIDGE_COPY)]
    placed = {row.note_id: row for row in AverageLinkage().cluster(notes, np.ones((3, 1), dtype=np.float32))}
    assert placed[10].duplicate_of is None
    assert placed[20].duplicate_of == placed[30].duplicate_of == 10


def test_alike_in_meaning_but_not_in_letters_is_a_claim_and_not_a_copy():
    notes = [note(1, BRIDGE), note(2, "El puente fue cerrado por una grieta, no por el alcalde.")]
    placed = AverageLinkage().cluster(notes, np.ones((2, 1), dtype=np.float32))
    assert placed[0].cluster_id == placed[1].cluster_id
    assert placed[1].duplicate_of is None


def test_an_id_comes_from_the_members_alone():
    assert member_id("m", [3, 1, 2]) == member_id("m", [1, 2, 3])
    assert member_id("m", [1, 2]) != member_id("m", [12])


def test_what_is_embedded_of_a_note_are_its_words_and_of_bare_links_their_sites():
    assert claim_text("It fell. https://www.news.example/2024/a-path?x=1  Later it rose.") == "It fell. Later it rose."
    assert claim_text("https://www.news.example/a https://b.example/c") == "news.example b.example"
    assert claim_text("") == ""


def test_stories_join_posts_and_do_not_depend_on_the_order_of_rows():
    vectors = planted_vectors(groups=5, members=6, spread=0.05)
    ids = np.arange(30) + 1
    posts = np.arange(30) % 6 + 100  # every claim once on each of six posts
    stories, counts = _stories(ids, posts, vectors)
    assert sorted(story.note_ids for story in stories) == [tuple(range(i, i + 6)) for i in (1, 7, 13, 19, 25)]
    order = np.random.default_rng(2).permutation(30)
    again, _ = _stories(ids[order], posts[order], vectors[order], block=7)
    assert again == stories
    assert counts["components"] == 5


def test_notes_of_one_post_alone_are_no_story_and_neither_are_notes_of_two_stances():
    vectors = np.ones((2, 1), dtype=np.float32)
    assert _stories([1, 2], [7, 7], vectors)[0] == []
    assert _stories([1, 2], [7, 8], vectors, stances=["misleading", "not_misleading"])[0] == []
    assert len(_stories([1, 2], [7, 8], vectors)[0]) == 1


def test_a_text_on_very_many_posts_is_a_template_and_refused():
    n = 30
    stories, counts = _stories(range(n), range(n), np.ones((n, 1), dtype=np.float32), max_posts=20)
    assert stories == []
    assert counts["template_components"] == 1


def test_a_chain_of_neighbours_is_cut_where_its_ends_have_little_in_common():
    # Two tight groups of five, joined by one note halfway between them: single linkage would make one story of eleven.
    a, b = np.eye(2)
    rng = np.random.default_rng(3)
    rows = np.vstack([np.tile(a, (5, 1)), np.tile(b, (5, 1)), [a + b]]) + 0.02 * rng.normal(size=(11, 2))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    stories, counts = _stories(range(11), range(11), rows, similarity=0.68)
    assert counts["components"] == counts["loose_components"] == 1
    for story in stories:
        assert not (set(story.note_ids) & set(range(5)) and set(story.note_ids) & set(range(5, 10)))


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_compare_gives_no_story(n):
    assert _stories(range(n), range(n), np.ones((n, 4), dtype=np.float32))[0] == []


def test_a_text_without_content_belongs_to_no_story():
    vectors = np.vstack([np.zeros((2, 3)), np.eye(3)[:1], np.eye(3)[:1]]).astype(np.float32)
    stories, _ = _stories([1, 2, 3, 4], [1, 2, 3, 4], vectors)
    assert [story.note_ids for story in stories] == [(3, 4)]


def test_one_note_is_a_cluster_of_its_own():
    (row,) = AverageLinkage().cluster(bridge_notes()[:1], np.ones((1, 1), dtype=np.float32))
    assert row.similarity == 1.0
    assert row.duplicate_of is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Lindau ferry runs in winter, says Anna Moor.", {"lindau", "anna", "moor"}),
        ("This tweet provides no proof. Officials say otherwise.", set()),
        ("It was 2019, not 2026; 5 people saw it.", {"2019", "2026"}),
        ("THIS IS NOT TRUE AT ALL", set()),
        ("Moor's photo is from Lisle’s harbour", {"lisle"}),
        ("これは東京の写真ではありません", None),
        ("", set()),
    ],
)
def test_the_subjects_of_a_note_are_its_names_and_numbers(text, expected):
    assert subjects(text) == (None if expected is None else frozenset(expected))
