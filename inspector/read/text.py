"""Texts for people: sentences, which source sentence each rests on, differences, links and marked spans.

The link from a sentence to a source sentence is a statement about shared words, not about truth: it tells a reader where
to look first, and says so on the page.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from texts.note import Span, find_urls, host_of, split_sentences
from texts.words import content, mask, overlap, tokens

SUPPORTED = 0.34
"""Share of a sentence's content words that one source sentence must hold to be named as what it rests on."""


class Sentence(NamedTuple):
    """A sentence by its place in the text, and the source sentence that shares most words with it (None: none does)."""

    start: int
    end: int
    text: str
    source_note_id: int | None = None
    source_text: str | None = None
    share: float = 0.0


class Piece(NamedTuple):
    """A stretch of text drawn in one way: `href` for a link, `mark` for the failing check's reason, `sentence` its number."""

    text: str
    href: str | None = None
    mark: str | None = None
    sentence: int | None = None
    ends: bool = False  # last piece of its sentence: where the reference number goes


def content_words(text: str) -> frozenset[str]:
    """Stems of the words and numbers that carry meaning; addresses have none."""
    return content(tokens(mask(text, find_urls(text))))


@dataclass(frozen=True)
class Sources:
    """Sentences of source notes with their content words, prepared once for many texts."""

    sentences: tuple[tuple[int, str, frozenset[str]], ...]

    def of(self, note_ids: Collection[int]) -> Sources:
        """Only the sentences of these notes."""
        return Sources(tuple(entry for entry in self.sentences if entry[0] in note_ids))


def prepare_sources(notes: Sequence[tuple[int, str]]) -> Sources:
    """`notes`: (note id, text), in the order in which ties are decided."""
    return Sources(
        tuple(
            (note_id, sentence.text, content_words(sentence.text))
            for note_id, note in notes
            for sentence in split_sentences(note)
        )
    )


def rest_on(text: str, sources: Sources) -> list[Sentence]:
    """Each sentence of `text` with the source sentence that holds the largest share of its content words.

    Ties go to the earlier source. Below `SUPPORTED` nothing is named.
    """
    result = []
    for sentence in split_sentences(text):
        words = content_words(sentence.text)
        share, found = 0.0, None
        for source in sources.sentences:
            if (shared := overlap(words, source[2])) > share:
                share, found = shared, source
        rests = (found[0], found[1], share) if found and share >= SUPPORTED else ()
        result.append(Sentence(sentence.start, sentence.end, sentence.text, *rests))
    return result


def pieces(text: str, marks: Sequence[tuple[int, int, str]] = (), sentences: Sequence[Sentence] = ()) -> list[Piece]:
    """The whole text cut wherever a link, a marked span or a sentence begins or ends; joined it is the text again."""
    cuts = {0, len(text)}
    addresses: dict[int, tuple[int, str]] = {}
    for url in _web(text):
        with_scheme = url.text.lower().startswith(("http://", "https://"))
        addresses[url.start] = url.end, url.text if with_scheme else f"https://{url.text}"
        cuts |= {url.start, url.end}
    clean = [
        (max(0, s), min(len(text), e), why)
        for s, e, why in marks
        if s is not None and e is not None and 0 <= s < e and s < len(text)
    ]
    for s, e, _ in clean:
        cuts |= {s, e}
    begins = {}
    for number, sentence in enumerate(sentences):
        cuts |= {sentence.start, sentence.end}
        begins[sentence.start] = number
    result = []
    link_end, link = 0, ""
    current = -1  # the sentence that began last
    for begin, end in itertools.pairwise(sorted(cuts)):
        if begin in addresses:
            link_end, link = addresses[begin]
        current = begins.get(begin, current)
        inside = current >= 0 and begin < sentences[current].end
        mark = next((why for first, last, why in clean if first <= begin < last), None) if clean else None
        result.append(
            Piece(
                text[begin:end],
                link if begin < link_end else None,
                mark,
                current if inside else None,
                inside and end == sentences[current].end,
            )
        )
    return result


def differences(before: str, after: str) -> list[tuple[str, str]]:
    """Word by word: ('same' | 'removed' | 'added', text), so that leaving out 'added' gives `before`, 'removed' `after`."""
    a, b = re.findall(r"\s+|\w+|[^\w\s]", before), re.findall(r"\s+|\w+|[^\w\s]", after)
    result: list[tuple[str, str]] = []

    def add(kind: str, words: Sequence[str]) -> None:
        if words:
            if result and result[-1][0] == kind:
                result[-1] = (kind, result[-1][1] + "".join(words))
            else:
                result.append((kind, "".join(words)))

    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            add("same", a[i1:i2])
        else:
            add("removed", a[i1:i2])
            add("added", b[j1:j2])
    return result


def domain(url: str) -> str:
    """The host of an address as a reader would say it."""
    return host_of(url).removeprefix("www.")


def _web(text: str) -> list[Span]:
    """Addresses that a browser may follow: http(s), or without a scheme."""
    return [url for url in find_urls(text) if re.match(r"https?://|(?!\w+:)", url.text, re.IGNORECASE)]


def links(text: str) -> list[str]:
    """Addresses in the text, in order, without repeats."""
    return list(dict.fromkeys(url.text for url in _web(text)))
