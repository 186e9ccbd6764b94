"""Finding patterns outside quotations and links: what somebody else said is not the note's own wording."""

from __future__ import annotations

from collections.abc import Iterator

import regex

from synthesis.check.base import Draft, Finding
from texts.note import Span
from texts.words import mask

QUOTATION = regex.compile(
    r"[“„][^“”„]{1,400}[”“]|«[^«»]{1,400}»|「[^「」]{1,400}」|(?<![\p{L}\p{N}])\"[^\"]{1,400}\"|(?<![\p{L}\p{N}])[‘'][^‘’']{3,300}[’'](?![\p{L}\p{N}])"
)


def own_words(draft: Draft) -> str:
    """The draft with links and quotations blanked out, offsets kept."""
    text = mask(draft.text, draft.urls)
    return mask(text, [Span(m.group(), m.start(), m.end()) for m in QUOTATION.finditer(text)])


_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}]+)*")
_EAST = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")


class WordList:
    """Whole words and phrases looked up in a text, any case: one pass over its words, however long the list is.

    A phrase's blanks stand for any white space; `*` at the end of a single word accepts every continuation; East Asian phrases
    need no boundary. `finditer` yields spans in order, not overlapping.
    """

    def __init__(self, *phrases: str):
        self._words: set[str] = set()
        self._stems: set[str] = set()
        self._phrases: dict[str, list[tuple[str, ...]]] = {}
        east: list[str] = []
        for phrase in phrases:
            plain = phrase.lower().replace("’", "'")
            parts = tuple(plain.split())
            if _EAST.search(plain):
                east.append(regex.escape(plain))
            elif len(parts) > 1:
                self._phrases.setdefault(parts[0], []).append(parts[1:])
            elif plain.endswith("*"):
                self._stems.add(plain[:-1])
            else:
                self._words.add(plain)
        self._lengths = sorted({len(stem) for stem in self._stems})
        self._east = regex.compile("|".join(east)) if east else None

    def finditer(self, text: str) -> Iterator[Span]:
        found = list(self._western(text))
        if self._east is not None and _EAST.search(text):
            found += [Span(m.group(), m.start(), m.end()) for m in self._east.finditer(text)]
            found.sort(key=lambda span: span.start)
        yield from found

    def _western(self, text: str) -> Iterator[Span]:
        words = [(m.group().lower().replace("’", "'"), m.start(), m.end()) for m in _WORD.finditer(text)]
        i = 0
        while i < len(words):
            word, start, end = words[i]
            last = -1
            for rest in self._phrases.get(word, ()):
                following = words[i + 1 : i + 1 + len(rest)]
                if tuple(w for w, _, _ in following) == rest and text[end : following[-1][2]].replace("\n", " ").count(
                    " "
                ) >= len(rest):
                    last = max(last, i + len(rest))
            if last < 0 and (
                word in self._words or any(word[:n] in self._stems for n in self._lengths if n <= len(word))
            ):
                last = i
            if last >= 0:
                yield Span(text[start : words[last][2]], start, words[last][2])
                i = last
            i += 1

    def search(self, text: str) -> Span | None:
        return next(self.finditer(text), None)

    def count(self, text: str) -> int:
        return sum(1 for _ in self.finditer(text))


def find_all(
    pattern: regex.Pattern | WordList, text: str, principle: str, reason: str, limit: int = 3
) -> list[Finding]:
    """Findings for the first matches of a pattern; `reason` may use `{found}`."""
    findings: list[Finding] = []
    for match in pattern.finditer(text):
        found, start, end = (
            (match.text, match.start, match.end)
            if isinstance(match, Span)
            else (match.group(), match.start(), match.end())
        )
        if not found.strip():
            continue
        shown = found.strip()[:60].replace("{", "(").replace("}", ")")
        findings.append(Finding(principle, reason.format(found=shown), start, end))
        if len(findings) == limit:
            break
    return findings
