"""Faithful candidates pass; their corrupted twins, one value changed, do not. Shares as in the project's targets."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from synthesis.check.base import make_draft
from synthesis.check.facts import check_facts
from synthesis.check.links import check_links
from synthesis.check.support import check_support
from tests.synthesis.check.cases import HELD_OUT, WRITTEN_WITH, Case
from tests.synthesis.check.twins import absent_twins, paraphrases, swapped_twins
from texts.note import split_sentences

SETS = pytest.mark.parametrize("cases", [WRITTEN_WITH, HELD_OUT], ids=["written with", "held out"])


def caught(text: str, case: Case) -> list[str]:
    draft = make_draft(text, case.sources, post_text=case.post, language=case.language)
    return [f.reason for f in check_facts(draft) + check_links(draft) + check_support(draft)]


@SETS
def test_every_faithful_candidate_written_by_hand_passes(cases):
    failures = {text: reasons for case in cases for text in case.faithful if (reasons := caught(text, case))}
    texts = sum(len(case.faithful) for case in cases)
    assert len(failures) <= 0.05 * texts, failures


@SETS
def test_whole_sentences_of_a_source_always_pass(cases):
    for case in cases:
        for source in case.sources:
            assert caught(source, case) == []
            for sentence in split_sentences(source, case.language):
                if "http" in sentence.text:
                    assert caught(sentence.text, case) == []


@SETS
def test_mechanical_paraphrases_pass_nineteen_times_in_twenty(cases):
    tried, failures = 0, []
    for case in cases:
        for text in (*case.sources, *case.faithful):
            rng = random.Random(text)
            for how, other in paraphrases(text, [s.text for s in split_sentences(text, case.language)], rng):
                if "http" not in other:
                    continue
                tried += 1
                if reasons := caught(other, case):
                    failures.append((how, other, reasons))
    assert tried >= 10
    assert len(failures) <= 0.05 * tried, failures


def _twins(cases, make):
    tried, missed = Counter(), []
    for case in cases:
        for text in (*case.sources, *case.faithful):
            for seed in range(6):
                for twin in make(text, list(case.sources), random.Random(f"{seed} {text}")):
                    tried[twin.kind] += 1
                    if not caught(twin.text, case):
                        missed.append((twin.kind, twin.old, twin.new, twin.text))
    return tried, missed


@SETS
def test_a_value_no_source_has_is_caught(cases):
    tried, missed = _twins(cases, absent_twins)
    assert set(tried) == {"number", "date", "name", "link"}
    assert len(missed) <= 0.02 * sum(tried.values()), missed


@SETS
def test_another_value_of_the_same_source_is_caught(cases):
    tried, missed = _twins(cases, swapped_twins)
    assert set(tried) >= {"number", "name", "link"}
    assert len(missed) <= 0.15 * sum(tried.values()), missed


def test_the_generator_changes_exactly_one_thing_and_keeps_its_word():
    case = WRITTEN_WITH[0]
    for twin in absent_twins(case.sources[0], list(case.sources), random.Random(3)):
        assert twin.new not in " ".join(case.sources)
        assert twin.text != case.sources[0]
    for twin in swapped_twins(case.sources[0], list(case.sources), random.Random(3)):
        assert twin.new in " ".join(case.sources)
