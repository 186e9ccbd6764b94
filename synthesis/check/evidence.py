"""What a draft's sentences and its sources say, side by side: values with the places they stand in.

A *place* is what surrounds a value: up to four words on either side, and the content of its sentence. Two places are alike when
the same words stand at about the same distance. That is what tells a swapped value from a supported one: in

    source     "The bridge cost 5 million and the tunnel 7 million."
    candidate  "The bridge cost 7 million."

the 7 occurs in the source, but the place the candidate puts it into is the 5's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from synthesis.check.base import Draft
from texts.language import detect_language
from texts.names import Name, NameIndex, read_names
from texts.note import Span, find_urls, split_sentences
from texts.values import Date, Number, read_dates, read_numbers
from texts.words import Token, content, fold, mask, tokens

WINDOW = 4
_WEIGHTS = (1.0, 0.7, 0.5, 0.35)
MAX_FACTS = 60  # values of one kind read per text: more than 280 characters hold, a bound for hostile texts
MAX_EVIDENCE = 400  # values of one kind compared over all sources


@dataclass(frozen=True)
class Sentence:
    """One sentence read: words, values, names; offsets count from the start of the whole text."""

    span: Span
    words: tuple[Token, ...]
    content: frozenset[str]
    numbers: tuple[Number, ...]
    dates: tuple[Date, ...]
    names: tuple[Name, ...]
    source: int  # which source (-1: the post, -2: the draft itself)


@dataclass(frozen=True)
class Place:
    left: tuple[str, ...]  # nearest first; '^' is the beginning of the sentence
    right: tuple[str, ...]  # nearest first; '$' is its end
    content: frozenset[str]


@dataclass(frozen=True)
class Occurrence:
    value: Any  # Number, Date or Name
    place: Place
    sentence: Sentence


def read_sentences(text: str, language: str | None, lowercase: frozenset[str], source: int) -> list[Sentence]:
    """The sentences of a text read into words, numbers, dates and names."""
    read: list[Sentence] = []
    left = MAX_FACTS
    for part in _read_parts(text, language):
        start = part.span.start
        found = read_names(part.masked, list(part.local), lowercase, language)
        names = tuple(
            _moved(n, start) for n in found if not any(d.start <= n.start + start < d.end for d in part.dates)
        )[:left]
        left -= len(names)
        read.append(Sentence(part.span, part.words, part.content, part.numbers, part.dates, names, source))
    return read


@dataclass(frozen=True)
class _Part:
    """What can be read of a sentence whatever surrounds it; `local` are its words with offsets from its own start."""

    span: Span
    masked: str
    local: tuple[Token, ...]
    words: tuple[Token, ...]
    content: frozenset[str]
    numbers: tuple[Number, ...]
    dates: tuple[Date, ...]


@lru_cache(maxsize=1024)
def _read_parts(text: str, language: str | None) -> tuple[_Part, ...]:
    """The parts of a text, read once for all candidates that rest on it."""
    masked = mask(text, find_urls(text))
    parts: list[_Part] = []
    left_numbers = left_dates = MAX_FACTS
    for span in split_sentences(text, language):
        piece = masked[span.start : span.end]
        local = tuple(tokens(piece))
        dates = read_dates(piece)[:left_dates]
        numbers = [n for n in read_numbers(piece, language) if not any(d.start <= n.start < d.end for d in dates)][
            :left_numbers
        ]
        left_dates -= len(dates)
        left_numbers -= len(numbers)
        parts.append(
            _Part(
                span=span,
                masked=piece,
                local=local,
                words=tuple(Token(t.text, t.stem, t.start + span.start, t.end + span.start) for t in local),
                content=content(local),
                numbers=tuple(_moved(n, span.start) for n in numbers),
                dates=tuple(_moved(d, span.start) for d in dates),
            )
        )
    return tuple(parts)


def _moved(value, by: int):
    return replace(value, start=value.start + by, end=value.end + by)


def place_of(sentence: Sentence, start: int, end: int) -> Place:
    """The place of text[start:end] in its sentence."""
    before = [t.stem for t in sentence.words if t.end <= start][-WINDOW:][::-1]
    after = [t.stem for t in sentence.words if t.start >= end][:WINDOW]
    own = {t.stem for t in sentence.words if start <= t.start < end}
    left = tuple(before) + (("^",) if len(before) < WINDOW else ())
    right = tuple(after) + (("$",) if len(after) < WINDOW else ())
    return Place(left, right, sentence.content - own)


def local_likeness(a: Place, b: Place) -> float:
    """How alike the surroundings of two values are, 0 to 1: words in common, near ones counting more, order loosely kept."""
    total = hit = 0.0
    for mine, other in ((a.left, b.left), (a.right, b.right)):
        for distance, word in enumerate(mine):
            weight = _WEIGHTS[distance] if word not in "^$" else 0.6 * _WEIGHTS[distance]
            total += weight
            if distance < len(other) and other[distance] == word:
                hit += weight
            elif word in other:
                hit += weight * (0.85 if abs(other.index(word) - distance) == 1 else 0.6)
    return hit / total if total else 0.0


def likeness(a: Place, b: Place) -> float:
    """How alike two places are, 0 to 1: surroundings, and the content of the candidate's sentence found in the source's."""
    bag = len(a.content & b.content) / len(a.content) if a.content else 0.0
    return 0.65 * local_likeness(a, b) + 0.35 * bag


class Evidence:
    """A draft read together with its sources: sentences, values by kind, an index of names."""

    def __init__(self, draft: Draft):
        language = draft.language or detect_language(draft.text)
        source_language = language or "en"
        everything = list(zip(draft.sources, range(len(draft.sources)), strict=True))
        if draft.post_text:
            everything.append((draft.post_text, -1))
        # Words seen without a capital somewhere are no names when they open a sentence.
        lowercase = frozenset(
            fold(t.text)
            for text in (draft.text, *(text for text, _ in everything))
            for part in _read_parts(text, source_language)
            for t in part.words
            if t.text[0].islower()
        )
        self.language = language
        self.draft = read_sentences(draft.text, source_language, lowercase, -2)
        self.all = [s for text, i in everything for s in read_sentences(text, source_language, lowercase, i)]
        self.notes = [s for s in self.all if s.source >= 0]
        self.index = NameIndex([list(s.words) for s in self.all], [list(s.names) for s in self.all])
        self.notes_index = NameIndex([list(s.words) for s in self.notes], [list(s.names) for s in self.notes])
        self.content = frozenset().union(*(s.content for s in self.notes)) if self.notes else frozenset()
        self.numbers = self._occurrences(lambda s: s.numbers)
        self.dates = self._occurrences(lambda s: s.dates)
        self.names = self._occurrences(lambda s: s.names)
        # A year inside a date supports a bare year: "in 2021" from "3 March 2021".
        for o in list(self.dates):
            for year in sorted({y for y, _, _ in o.value.readings if y is not None}):
                self.numbers.append(
                    Occurrence(
                        Number(str(year), o.value.start, o.value.end, frozenset({Decimal(year).normalize()})),
                        o.place,
                        o.sentence,
                    )
                )
        self.years = frozenset(
            int(v) for o in self.numbers for v in o.value.values if v == v.to_integral_value() and 1000 <= v <= 2100
        )

    def _occurrences(self, values: Callable[[Sentence], tuple]) -> list[Occurrence]:
        return [Occurrence(v, place_of(s, v.start, v.end), s) for s in self.all for v in values(s)][:MAX_EVIDENCE]


@lru_cache(maxsize=64)
def evidence_of(draft: Draft) -> Evidence:
    """The evidence of a draft, read once for all the checks that look at it."""
    return Evidence(draft)
