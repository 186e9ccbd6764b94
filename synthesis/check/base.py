"""What every check gets and gives: a `Draft` (the text with its evidence) in, `Finding`s out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from synthesis.settings import CheckCandidatesSettings
from texts.note import Span, clean_text, find_urls, split_sentences

MAX_DRAFT = 2_000  # characters of a candidate that are looked at; longer ones fail the length check anyway
MAX_SOURCE = 4_000  # characters of a source that are read, links included
MAX_WORDS = 1_200  # characters of a source beside its links that count as evidence; X's notes have some 300
MAX_SOURCES = 40  # sources that count as evidence


@dataclass(frozen=True)
class Finding:
    """Something wrong with a draft: the principle it breaks, why, and where (offsets into the draft's text)."""

    principle: str
    reason: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Draft:
    """A text to be checked, cleaned, with the cleaned source notes it may rest on.

    `post_text` is what the note speaks to, never evidence for it. `language` is the language the note should have; None where unknown.
    """

    text: str
    sources: tuple[str, ...]
    post_text: str | None = None
    language: str | None = None
    settings: CheckCandidatesSettings = field(default_factory=CheckCandidatesSettings)
    own_notes: tuple[str, ...] = ()  # the notes of the post: what it is about and what is disputed, no evidence
    received: tuple[str, ...] = ()  # those of the own notes that raters found helpful
    lent: tuple[bool, ...] = ()  # per source, whether it was written under another post; as long as `sources`

    @cached_property
    def urls(self) -> list[Span]:
        return find_urls(self.text)

    @cached_property
    def sentences(self) -> list[Span]:
        return split_sentences(self.text, self.language)

    @cached_property
    def source_sentences(self) -> list[list[Span]]:
        return [split_sentences(source, self.language) for source in self.sources]


def placed(findings: Iterable[Finding], by: int) -> list[Finding]:
    """Findings of a part of a text, with offsets into the whole: the part begins at `by`."""
    return [replace(f, start=(f.start or 0) + by, end=(f.end or 0) + by) for f in findings]


def bounded_source(text: str) -> str:
    """A source cleaned and cut to what a note can be: a hostile one may not buy more than a note's worth of work."""
    text = clean_text(text, MAX_SOURCE)
    if len(text) <= MAX_WORDS:
        return text
    left, position = MAX_WORDS, 0
    for url in find_urls(text):
        if url.start - position > left:
            break
        left -= url.start - position
        position = url.end
    return text[: position + left]


def make_draft(
    text: str,
    sources: tuple[str, ...],
    *,
    post_text: str | None = None,
    language: str | None = None,
    settings: CheckCandidatesSettings | None = None,
    lent: Sequence[bool] = (),
    own_notes: Sequence[str] = (),
    received: Sequence[str] = (),
) -> Draft:
    """A draft from raw texts: cleaned and bounded, so that every later step costs what a note costs."""
    return Draft(
        text=clean_text(text, MAX_DRAFT),
        sources=tuple(bounded_source(source) for source in sources[:MAX_SOURCES]),
        post_text=bounded_source(post_text) if post_text else None,
        language=language,
        settings=settings or CheckCandidatesSettings(),
        own_notes=tuple(bounded_source(note) for note in own_notes[:MAX_SOURCES]),
        received=tuple(bounded_source(note) for note in received[:MAX_SOURCES]),
        lent=tuple(lent[: len(sources[:MAX_SOURCES])]) or (False,) * len(sources[:MAX_SOURCES]),
    )
