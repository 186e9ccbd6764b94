"""Numbers written as digits and as words: every text is read to its end, each number once and where it stands."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texts.values import read_numbers

WORDS = ("a", "A", "one", "two", "nine", "ten", "twenty", "hundred", "thousand", "million", "BILLION", "per", "cent",
         "percent", "dollars", "euros", "$10", "$2", "3", "1,000", "4.5%", "2nd", "COVID-19", "to", "and", "about",
         "deal", "-", ",", ".", "€5", "10bn", "half", "dozen")  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=14), st.sampled_from((" ", "  ", "-", ", ")))
def test_every_sequence_of_words_is_read_to_its_end_and_no_stretch_twice(words, between):
    text = between.join(words)
    numbers = read_numbers(text, "en")
    assert len(numbers) <= len(words) + 2
    for number in numbers:
        assert 0 <= number.start < number.end <= len(text)
    for left, right in itertools.pairwise(numbers):
        assert left.start < right.start


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a $10 BILLION investment", [10**10]),
        ("one of a million people", [10**6]),
        ("A hundred thousand came", [10**5]),
        ("one hundred and 5 men", [100, 5]),
        ("one million dollars", [10**6]),
        ("twenty-five thousand", [25_000]),
        ("a, billion", []),
        ("a few billion", []),
        ("a $3 million and a $4 million deal", [3 * 10**6, 4 * 10**6]),
    ],
)
def test_an_article_counts_only_right_before_a_magnitude(text, values):
    assert [number.values for number in read_numbers(text, "en")] == [
        frozenset({Decimal(v).normalize()}) for v in values
    ]
