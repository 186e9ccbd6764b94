"""Foils are the edits they claim to be, in every language, and the table says what a given score does with them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from jury.model.features import MISLEADING, NOT_MISLEADING, strip_links
from jury.records import JudgedText, Ratings, Sibling
from jury.train.foils import CONTROL, FOILS, foil, foil_table, links_of, negate, notes_to_edit

NOTES = {
    "en": "The bridge was closed in May for repairs, not in June, the city says. https://city.example.org/bridge-repairs",
    "es": "El puente fue cerrado en mayo por reparaciones, dice la ciudad de Valencia. https://ciudad.example.org/puente",
    "de": "Die Brücke wurde im Mai wegen einer Reparatur gesperrt, sagt die Stadt Köln. https://stadt.example.org/bruecke",
}
ELSEWHERE = (
    "The singer never said this at the concert. https://music.example.org/concert",
    "Ein Foto aus dem Jahr 2010.",
)


def judged(text: str, number: int = 1, siblings=()) -> JudgedText:
    return JudgedText(
        str(number), text, MISLEADING, number, "They closed the bridge in June! https://t.co/x", None, tuple(siblings)
    )


@pytest.mark.parametrize("language", sorted(NOTES))
def test_every_foil_edits_a_note_in_its_language_and_does_so_the_same_way_twice(language):
    rival = Sibling(7, "No note needed, the post says so. https://x.example.org/1", NOT_MISLEADING)
    note = judged(NOTES[language], siblings=[rival])
    for kind in FOILS:
        first, again = (foil(kind, note, ELSEWHERE, Random(3)) for _ in range(2))
        assert first is not None, kind.name
        assert [t.text for t in first] == [t.text for t in again]
        base, made = first
        assert base.text == (note.text if kind.name == "rival_content" else strip_links(note.text))
        assert made.text != base.text
    made = {k.name: foil(k, note, ELSEWHERE, Random(3))[1].text for k in FOILS}
    assert links_of(made["off_topic"]) == []
    assert len(links_of(made["lorem_and_links"])) == 2
    assert made[CONTROL] == note.text
    assert sorted(made["shuffled"].split()) == sorted(strip_links(note.text).split())
    if language == "es":
        assert "Reuters" in made["attributed"]
        assert "ccording" not in made["attributed"]


def test_a_negation_is_put_in_and_taken_out():
    assert negate("The bridge was closed.", "en") == "The bridge was not closed."
    assert negate("The bridge was not closed.", "en") == "The bridge was closed."
    assert negate("One can't say so.", "en") == "One can say so."
    assert negate("Die Brücke ist offen.", "de") == "Die Brücke ist nicht offen."
    assert negate("La foto no es de hoy.", "es") == "La foto es de hoy."
    assert negate("Nonsense", "en") == "It is not true that Nonsense"


def test_a_negated_note_stands_beside_the_note_it_contradicts():
    ratings = Ratings(("a",), np.zeros(1), np.zeros(1), np.ones(1), np.zeros(1, dtype=np.int64))
    note = JudgedText("1", NOTES["en"], MISLEADING, 1, own_ratings=ratings)
    kind = next(k for k in FOILS if k.name == "negated")
    base, made = foil(kind, note, (), Random(0))
    assert base.siblings[-1].text == NOTES["en"]
    assert base.siblings[-1].ratings is ratings
    assert base.siblings is made.siblings
    assert len(base.own_ratings) == len(made.own_ratings) == 0


def test_the_table_shows_a_score_that_counts_links_and_clears_one_that_does_not_look():
    notes = [judged(NOTES["en"], k, [Sibling(9, "Another note.", MISLEADING)]) for k in range(12)]
    counting = foil_table(lambda texts: [0.1 * len(links_of(t.text)) for t in texts], notes, bootstrap=20)
    rows = {row["foil"]: row for row in counting}
    assert rows["junk_link"]["mean"] == pytest.approx(0.1)
    assert rows["junk_link"]["raised"] == 1.0
    assert rows["junk_link"]["ahead_of_best_sibling"] == 1.0
    assert not rows["junk_link"]["met"]
    assert rows[CONTROL]["met"]
    blind = {row["foil"]: row for row in foil_table(lambda texts: np.zeros(len(texts)), notes, bootstrap=20)}
    assert blind["junk_link"]["met"]
    assert not blind["template"]["met"]  # it must cost something
    assert blind["junk_link"]["passes_checks"] is None


def test_a_foil_that_fails_the_checks_is_never_ahead():
    notes = [judged(NOTES["en"], k, [Sibling(9, "Another note.", MISLEADING)]) for k in range(4)]
    links = lambda texts: [0.1 * len(links_of(t.text)) for t in texts]  # noqa: E731
    stopped = foil_table(links, notes, lambda made, original: False, bootstrap=5)
    assert {row["ahead_of_best_sibling"] for row in stopped} == {0.0}
    assert {row["passes_checks"] for row in stopped} == {0.0}


def test_notes_to_edit_are_one_a_post_and_the_same_every_time():
    notes = [JudgedText(str(k), f"{NOTES['en']} {k}", MISLEADING, k // 2) for k in range(20)]
    assert [t.id for t in notes_to_edit(notes, 6)] == [t.id for t in notes_to_edit(notes[::-1], 6)]
    assert len({t.post_id for t in notes_to_edit(notes, 6)}) == 6
    assert notes_to_edit([], 6) == []
    assert foil_table(lambda texts: [], []) == []
