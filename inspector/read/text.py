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

URL = re.compile(r"(?:https?://|www\.)[^\s<>\"']+", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+(?=\S)|(?<=[。！？])")
_WORD = re.compile(r"\w+", re.UNICODE)
_SHORT = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for from had has have he her his in into is it its of on or she that the their they "
        "this to was were which who with not no",
    )
)

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


def _addresses(text: str) -> list[re.Match[str]]:
    """Addresses in the text. Most texts have few, and looking for two letters is quicker than the expression."""
    return list(URL.finditer(text)) if "://" in text or "ww" in text or "WW" in text else []


def split_sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence; addresses are left out, an address never ends a sentence."""
    spans: list[tuple[int, int]] = []
    position = 0
    for piece in [*_addresses(text), None]:
        stop = piece.start() if piece else len(text)
        begin = position
        for cut in [*_END.finditer(text, position, stop), None]:
            end = cut.start() if cut else stop
            if _WORD.search(text, begin, end):
                part = text[begin:end]
                spans.append((end - len(part.lstrip()), begin + len(part.rstrip())))
            begin = cut.end() if cut else stop
        position = piece.end() if piece else stop
    return spans


def content_words(text: str) -> frozenset[str]:
    """Lower-case words and numbers that carry meaning; without those every English sentence has."""
    if _addresses(text):
        text = URL.sub(" ", text)
    return frozenset(map(str.casefold, _WORD.findall(text))) - _SHORT


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
            (note_id, note[start:end], content_words(note[start:end]))
            for note_id, note in notes
            for start, end in split_sentences(note)
        )
    )


def rest_on(text: str, sources: Sources) -> list[Sentence]:
    """Each sentence of `text` with the source sentence that holds the largest share of its content words.

    Ties go to the earlier source. Below `SUPPORTED` nothing is named.
    """
    result = []
    for start, end in split_sentences(text):
        words = content_words(text[start:end])
        most, note_id, found = 0, None, None
        for source_id, source, have in sources.sentences:
            shared = len(words & have)
            if shared > most:
                most, note_id, found = shared, source_id, source
        share = most / len(words) if words else 0.0
        if share >= SUPPORTED:
            result.append(Sentence(start, end, text[start:end], note_id, found, share))
        else:
            result.append(Sentence(start, end, text[start:end]))
    return result


def pieces(text: str, marks: Sequence[tuple[int, int, str]] = (), sentences: Sequence[Sentence] = ()) -> list[Piece]:
    """The whole text cut wherever a link, a marked span or a sentence begins or ends; joined it is the text again."""
    cuts = {0, len(text)}
    addresses: dict[int, tuple[int, str]] = {}
    for found in _addresses(text):
        address = found.group().rstrip(".,;:!?)]}'\"")
        end = found.start() + len(address)
        with_scheme = address.lower().startswith(("http://", "https://"))
        addresses[found.start()] = end, address if with_scheme else f"https://{address}"
        cuts |= {found.start(), end}
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
    return re.sub(r"^(?:https?://)?(?:www\.)?", "", url, flags=re.IGNORECASE).split("/")[0]


def links(text: str) -> list[str]:
    """Addresses in the text, in order, without trailing punctuation and without repeats."""
    return list(dict.fromkeys(found.group().rstrip(".,;:!?)]}'\"") for found in URL.finditer(text)))
