"""Length, links and sentences: tables of cases with the answer beside them."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from texts.language import detect_language
from texts.note import (
    canonical_url,
    clean_text,
    find_urls,
    normalise_for_comparison,
    note_length,
    registered_domain,
    split_sentences,
)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("", 0),
        ("abc", 3),
        ("https://example.org/a/very/long/path?with=a&query=b#and-more", 1),
        ("See https://example.org/a.", 6),  # 'See ', the link, the full stop
        ("See (https://example.org/a).", 8),
        ("https://en.wikipedia.org/wiki/Foo_(bar)", 1),
        ("www.example.com", 1),
        ("example.com/path", 1),
        ("example.com", 1),
        ("At bbc.co.uk!", 5),
        ("HTTP://EXAMPLE.COM/X", 1),
        ("https://a.example https://b.example", 3),
        ("a &amp; b", 5),
        ("&amp;quot;", 1),  # escaped twice, as it occurs in published notes
        ("cafe\u0301", 4),
        ("👩‍👩‍👧", 1),
        ("🇩🇪🇫🇷", 2),
        ("नमस्ते", 3),
        ("これは誤り", 5),
        ("end.Then it goes on", 19),  # a forgotten blank is no link
        ("9.5 million, e.g. in the U.S.", 29),
    ],
)
def test_length_is_counted_as_x_counts_it(text, length):
    assert note_length(text) == length


def test_a_note_of_280_characters_and_a_long_link_is_within_the_limit():
    link = "https://example.org/" + "x" * 300
    assert note_length("a" * 278 + " " + link) == 280


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("https://a.example/x, and https://b.example/y.", ["https://a.example/x", "https://b.example/y"]),
        ('"https://a.example/x"', ["https://a.example/x"]),
        ("[https://a.example/x]", ["https://a.example/x"]),
        ("mail me at name@example.com", []),
        ("https://user:pw@evil.example/x", ["https://user:pw@evil.example/x"]),
        ("ftp://a.example/x", ["ftp://a.example/x"]),
        ("https://a.example/出典。次", ["https://a.example/出典"]),
        ("true.It was 3.5.2 in version v1.2", []),
        ("http:// nothing", []),
    ],
)
def test_links_are_found_without_the_punctuation_around_them(text, links):
    found = find_urls(text)
    assert [url.text for url in found] == links
    assert all(text[url.start : url.end] == url.text for url in found)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("HTTP://www.Example.com:80/a/?utm_source=x&b=2&a=1#frag", "https://example.com/a?a=1&b=2"),
        ("https://youtu.be/abc?si=1&t=3", "https://www.youtube.com/watch?v=abc"),
        ("https://twitter.com/a/status/1?s=20", "https://x.com/a/status/1"),
        ("example.com", "https://example.com/"),
        ("https://example.com/%7Efoo", "https://example.com/~foo"),
        ("https://example.com/a.", "https://example.com/a"),
        ("https://xn--bcher-kva.example/x", "https://bücher.example/x"),
    ],
)
def test_spellings_of_one_page_have_one_canonical_form(a, b):
    assert canonical_url(a) == canonical_url(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("https://a.example/x", "https://a.example/y"),
        ("https://a.example/x?id=1", "https://a.example/x?id=2"),
        ("https://user@a.example/x", "https://a.example/x"),
        ("https://a.example:8443/x", "https://a.example/x"),
        ("https://аpple.example/", "https://apple.example/"),
    ],
)
def test_different_pages_stay_different(a, b):
    assert canonical_url(a) != canonical_url(b)


def test_the_registered_domain_needs_no_network(monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("a socket was opened"))
    assert registered_domain("https://news.bbc.co.uk/x") == "bbc.co.uk"
    assert registered_domain("https://www.health.example/x") == "health.example"
    assert registered_domain("http://192.0.2.7/x") == "192.0.2.7"
    assert registered_domain("") == ""


@pytest.mark.parametrize(
    ("text", "language", "sentences"),
    [
        (
            "Mr. Smith went to the U.S. The law passed in 2020.",
            None,
            ["Mr. Smith went to the U.S.", "The law passed in 2020."],
        ),
        (
            "It cost $3.5 million. https://a.example https://b.example. Next one!",
            None,
            ["It cost $3.5 million. https://a.example https://b.example.", "Next one!"],
        ),
        ('"Why?" he said. Then he left.', None, ['"Why?" he said.', "Then he left."]),
        ("Wait... and see. Done…  Really.", None, ["Wait... and see.", "Done…", "Really."]),
        ("Wrong. Source: https://a.example/x", None, ["Wrong. Source: https://a.example/x"]),
        (
            "The claim is false https://b.example The law passed.",
            None,
            ["The claim is false https://b.example", "The law passed."],
        ),
        ("Am 3. Oktober war z. B. Markt. Heute nicht.", "de", ["Am 3. Oktober war z. B. Markt.", "Heute nicht."]),
        (
            "これは誤りです。首相は「違う。」と述べた。https://a.example/x",
            "ja",
            ["これは誤りです。", "首相は「違う。」と述べた。https://a.example/x"],
        ),
        ("यह गलत है। दूसरा वाक्य।", "hi", ["यह गलत है।", "दूसरा वाक्य।"]),
        ("هذا خطأ. هل هذا صحيح؟ نعم.", "ar", ["هذا خطأ.", "هل هذا صحيح؟", "نعم."]),
        ("Line one\nLine two    Third", None, ["Line one", "Line two", "Third"]),
        (
            'She said "the dam held..." "Word spread fast," he said.',
            None,
            ['She said "the dam held..."', '"Word spread fast," he said.'],
        ),
        (
            'She said "the dam held... " "Word spread fast," he said.',
            None,
            ['She said "the dam held... "', '"Word spread fast," he said.'],
        ),
        (
            'She said "it held . . ." "Word spread," he said.',
            None,
            ['She said "it held . . ."', '"Word spread," he said.'],
        ),
        ('"We never closed." - Mayor Hale. It did not.', None, ['"We never closed." - Mayor Hale.', "It did not."]),
        ("“We never closed.” — Mayor Hale\nIt did not.", None, ["“We never closed.” — Mayor Hale", "It did not."]),
        ("   ", None, []),
    ],
)
def test_sentences(text, language, sentences):
    found = split_sentences(text, language)
    assert [s.text for s in found] == sentences
    assert all(text[s.start : s.end] == s.text for s in found)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("aA b.!?…。\n\"'()0é https://x.com/ NMr।؟「」"), max_size=120))
def test_splitting_loses_nothing_and_repeats_nothing(text):
    spans = split_sentences(text)
    assert "".join(text.split()) == "".join("".join(s.text for s in spans).split())
    assert all(a.end <= b.start for a, b in pairwise(spans))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200))
def test_cleaning_twice_changes_nothing_and_nothing_raises(text):
    once = clean_text(text)
    assert clean_text(once) == once or "&" in once  # what unescaping uncovers is unescaped again
    assert note_length(text) >= 0
    assert normalise_for_comparison(text) is not None


def test_cleaning_removes_what_nobody_sees_and_keeps_what_means_something():
    assert clean_text("a\u200bb\u202ec\x00d\ufeff") == "abcd"
    assert clean_text("می\u200cخواهم") == "می\u200cخواهم"  # Persian needs its joiner
    assert clean_text("👩\u200d👧") == "👩\u200d👧"
    assert len(clean_text("x" * 10**6)) == 20_000
    assert clean_text("&#" + "9" * 6000 + ";") is not None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The picture was taken in 2016 and shows another place.", "en"),
        ("La foto fue tomada en otro lugar y en otro año.", "es"),
        ("Das Foto wurde an einem anderen Ort aufgenommen.", "de"),
        ("この写真は別の場所で撮影されたものです。", "ja"),
        ("La photo a été prise dans un autre pays.", "fr"),
        ("https://example.com/eine/deutsche/adresse", None),
        ("Ok.", None),
        ("", None),
    ],
)
def test_language_is_told_or_left_open(text, language):
    assert detect_language(text) == language
