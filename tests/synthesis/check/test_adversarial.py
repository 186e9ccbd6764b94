"""Hostile notes crash nothing, buy no more work than a note, pass nothing through, and leave other texts' results alone."""

from __future__ import annotations

import random
import time

import pytest

from synthesis.check.base import MAX_DRAFT, MAX_SOURCE, make_draft
from synthesis.check.check import check_text, passed
from synthesis.check.duplicates import near_duplicates
from synthesis.check.evidence import Evidence
from synthesis.check.injection import instruction_like
from tests.synthesis.check import adversarial
from texts.note import clean_text, find_urls, note_length, split_sentences

NOTES = adversarial.notes(random.Random(20261121), size=200_000)
GOOD = "The bridge cost 5 million dollars in 2019. https://harbor.example/bridge"


def test_there_are_two_hundred_of_them():
    assert len(NOTES) == 200
    assert len(set(NOTES)) > 190


def test_none_crashes_and_none_passes_as_a_candidate_unless_harmless():
    for note in NOTES:
        results = check_text(note, [GOOD], language="en")
        assert results
        assert all(r.outcome in ("passed", "failed", "unreadable") for r in results)
        assert not passed(results), note[:200]


def test_a_hostile_source_does_not_change_what_another_text_gets():
    alone = check_text(GOOD, [GOOD], language="en")
    assert passed(alone)
    for note in NOTES[::4]:
        beside = check_text(GOOD, [GOOD, note], language="en")
        assert [(r.check, r.outcome) for r in beside if r.check not in ("rubric",)] == [
            (r.check, r.outcome) for r in alone if r.check != "rubric"
        ], note[:200]
        assert check_text(GOOD, [GOOD], language="en") == alone


def test_a_source_buys_no_more_work_than_a_note():
    for note in NOTES[::3]:
        draft = make_draft(note, (note,) * 100, post_text=note)
        assert len(draft.text) <= MAX_DRAFT
        assert max(map(len, draft.sources)) <= MAX_SOURCE
        evidence = Evidence(make_draft(GOOD, (note,) * 4))
        assert max(len(evidence.numbers), len(evidence.dates), len(evidence.names)) <= 800


@pytest.mark.parametrize("filler", adversarial.FILLERS)
@pytest.mark.parametrize("function", [clean_text, note_length, find_urls], ids=lambda f: f.__name__)
def test_a_megabyte_is_read_in_linear_time(function, filler):
    # A generous bound: quadratic work on a million characters would take minutes, linear work takes a fraction of a second.
    text = (filler * (10**6 // len(filler) + 1))[: 10**6]
    start = time.process_time()
    function(text)
    assert time.process_time() - start < 10


def test_sentences_of_forty_thousand_characters():
    for filler in adversarial.FILLERS:
        start = time.process_time()
        split_sentences((filler * 40_000)[:40_000])
        assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "text", adversarial.COMMANDS + adversarial.MARKUP[:2] + adversarial.MARKUP[3:5] + adversarial.TEMPLATES[:3]
)
def test_instructions_are_recognised(text):
    assert instruction_like(text)
    assert any(r.check == "injection" and r.outcome == "failed" for r in check_text(text, [text]))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "The system was updated in 2019.",
        "The rules were ignored by the company.",
        "The user guide names two steps.",
        "Records show that the note was forged.",
    ],
)
def test_ordinary_sentences_are_not_instructions(text):
    assert instruction_like(text) == []


@pytest.mark.parametrize("link", adversarial.LINKS)
def test_unsafe_links_fail_even_when_a_source_carries_them(link):
    text = f"The bridge cost 5 million dollars in 2019. {link}"
    results = check_text(text, [text], language="en")
    assert any(r.check == "links" and r.outcome == "failed" for r in results), [
        r for r in results if r.check == "links"
    ]


def test_collapsing_hostile_candidates_keeps_ids_apart():
    ids = [f"c{i:03d}" for i in range(len(NOTES))]
    copies = near_duplicates(NOTES, ids)
    assert set(copies) | set(copies.values()) <= set(ids)
    assert not set(copies) & set(copies.values())
