"""Links and words count where they speak of the matter, and nothing else that is added does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.model.content import READ_NAMES, Around, address_phrase, guards, make_lexicon, reading
from jury.model.encoders import HashingEncoder
from jury.train.twins import make_twins

POST = "They closed the Alder bridge because of a flood! Nobody tells you."
NOTE = "The Alder bridge was closed for planned repairs of its railings. https://city.example.org/alder-bridge-repairs"
OTHER = "The closure of the Alder bridge was announced in March. https://council.example.org/minutes-2024"
BACKGROUND = [
    f"The {a} of the {b} was not {c} by the council, as the {b} office says. https://news{k}.example.org/{a}-{b}"
    for k, (a, b, c) in enumerate((a, b, c) for a in ("price", "song", "vaccine", "map") for b in ("harbour", "school", "club") for c in ("sold", "seen", "paid"))
]  # fmt: skip


@pytest.fixture(scope="module")
def lexicon():
    return make_lexicon([*BACKGROUND, NOTE, OTHER, POST])


def read(text, lexicon, texts=(OTHER,), post=POST):
    pruned, row = reading(text, 0, Around(post, texts, [0] * len(texts)), lexicon)
    return pruned, dict(zip(READ_NAMES, row.tolist(), strict=True))


def test_a_link_stays_where_its_address_speaks_of_the_matter_or_another_note_gives_it(lexicon):
    assert read(NOTE, lexicon)[0] == NOTE
    strange = "The bridge was closed. https://sport.example.net/rowing-club-wins-regatta"
    assert read(strange, lexicon)[0] == "The bridge was closed."
    shared = "The bridge was closed. https://council.example.org/minutes-2024"
    assert read(shared, lexicon)[0] == shared
    assert read("https://bit.ly/3xYz Closed.", lexicon)[0] == " Closed."


def test_a_link_stays_where_an_encoder_finds_its_address_near_the_text_or_what_is_beside_it(lexicon):
    sure = replace(lexicon, link_border=0.8)
    east, north = np.eye(2, dtype=np.float32)
    text = "Crossing shut. https://roads.example.net/viaduct-maintenance"
    url = "https://roads.example.net/viaduct-maintenance"
    between = np.array([0.9, 0.44], np.float32)
    for its, unit, beside, stays in (
        (east, between, north, True),  # near the text, which is about the matter
        (east, north, east, True),  # near what stands beside it
        (east, east, north, False),  # near a text that is about something else
        (east, north, north, False),
    ):
        around = Around(POST, [OTHER], [0], np.stack([beside]), beside)
        found, row = reading(text, 0, around, sure, unit=unit, addresses={url: its})
        assert (found == text) == stays
        assert row[READ_NAMES.index("strays")] == float(not stays)


def test_a_text_that_shares_no_word_but_lies_near_is_not_about_nothing(lexicon):
    borders = replace(lexicon, near_low=0.2, near_high=0.4)
    text = "The singer never gave that concert in Lisbon."
    for cosine, nothing in ((0.1, 1.0), (0.3, 0.5), (0.9, 0.0)):
        beside = np.array([cosine, np.sqrt(1 - cosine**2)], np.float32)
        around = Around(POST, [OTHER], [0], np.stack([beside]), beside)
        _, row = reading(text, 0, around, borders, unit=np.array([1, 0], np.float32))
        assert guards(text, row, borders)[0] == pytest.approx(nothing, abs=1e-5)


def test_the_phrase_of_an_address_is_its_path_in_words():
    assert (
        address_phrase("https://www.city.example.org/news/2024/alder-bridge_Repairs%20done.html")
        == "alder bridge Repairs done"
    )
    assert address_phrase("https://bit.ly/3") == ""


def test_what_is_about_something_else_shares_nothing(lexicon):
    assert read(NOTE, lexicon)[1]["about_nothing"] == 0
    assert read("The singer never gave that concert in Lisbon.", lexicon)[1]["about_nothing"] == 1
    alone = read(NOTE, lexicon, texts=(), post=None)[1]
    assert np.isnan([alone[n] for n in ("about_post", "about_others", "about_nothing", "matter")]).all()


def test_adding_what_is_beside_the_matter_never_adds_to_the_matter(lexicon):
    before = read("The Alder bridge was closed for repairs.", lexicon)[1]
    for more in ("Water boils at lower temperatures on mountains.", "Look it up. https://bit.ly/3xYz", "You idiots."):
        after = read(f"The Alder bridge was closed for repairs. {more}", lexicon)[1]
        assert after["matter"] == before["matter"]
        assert after["beside_the_matter"] >= before["beside_the_matter"]
        assert after["insults"] >= before["insults"]
    assert read("You idiots.", lexicon)[1]["insults"] > 0


def test_a_sentence_with_one_negation_more_contradicts_and_a_repeated_one_does_not(lexicon):
    stated = "The closure of the Alder bridge was announced in March."
    assert read(stated, lexicon)[1]["contradicts"] == 0
    assert read("The closure of the Alder bridge was not announced in March.", lexicon)[1]["contradicts"] > 0.9
    assert read("The singer was not announced in Lisbon in May.", lexicon)[1]["contradicts"] == 0


def test_words_out_of_order_are_seen(lexicon):
    text = BACKGROUND[5].split(" https")[0]
    words = text.split()
    assert read(text, lexicon)[1]["order"] > read(" ".join(words[1::2] + words[::2]), lexicon)[1]["order"] + 0.2


def test_the_post_said_again_is_no_note(lexicon):
    assert read(POST, lexicon)[1]["repeats_post"] == pytest.approx(1.0)
    assert read(NOTE, lexicon)[1]["repeats_post"] == 0


def test_a_note_among_the_notes_beside_it_is_no_evidence_for_itself(lexicon):
    text = "The singer never gave that concert in Lisbon. https://bit.ly/3xYz"
    pruned, row = read(text, lexicon, texts=(OTHER, text))
    assert "bit.ly" not in pruned
    assert row["about_nothing"] == 1


def test_twins_are_worse_or_no_better_and_the_same_every_time(lexicon):
    encoder = HashingEncoder()
    texts = [*BACKGROUND, NOTE, OTHER]
    made = [
        make_twins(texts, [POST] * len(texts), encoder.encode(texts), lexicon, encoder, each=5, encoded=2)
        for _ in range(2)
    ]
    assert [(t.of, t.text, t.expected) for t in made[0]] == [(t.of, t.text, t.expected) for t in made[1]]
    assert all((t.expected < 0) == (t.text != texts[t.of]) for t in made[0])
    assert len(made[0]) > 30
    assert make_twins([], [], encoder.encode([]), lexicon, encoder) == []


def test_a_published_note_keeps_its_links_and_may_bring_figures_of_its_own(lexicon):
    text = "The Alder bridge was closed on 14 days of 31. https://bit.ly/3xYz"
    around = Around(POST, [OTHER], [0])
    numbers, strays = READ_NAMES.index("new_numbers"), READ_NAMES.index("strays")
    candidate, row = reading(text, 0, around, lexicon)
    assert (candidate == text, row[strays]) == (False, 1.0)
    assert row[numbers] > 0
    note, row = reading(text, 0, around, lexicon, published=True)
    assert (note == text, row[strays], row[numbers]) == (True, 0.0, 0.0)


def test_how_much_a_set_of_words_weighs_does_not_hang_on_their_order():
    words = [f"word{k}" for k in range(200)]
    lexicon = make_lexicon([" ".join(words[k : k + 40]) for k in range(0, 160, 3)])
    assert lexicon.mass(words) == lexicon.mass(words[::-1]) > 0
