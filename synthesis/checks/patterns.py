"""Finding patterns outside quotations and links: what somebody else said is not the note's own wording."""

from __future__ import annotations

import regex

from synthesis.checks.base import Draft, Finding
from synthesis.checks.words import mask
from synthesis.text import Span

_QUOTATION = regex.compile(
    r"[“„][^“”„]{1,400}[”“]|«[^«»]{1,400}»|「[^「」]{1,400}」|(?<![\p{L}\p{N}])\"[^\"]{1,400}\"|(?<![\p{L}\p{N}])[‘'][^‘’']{3,300}[’'](?![\p{L}\p{N}])"
)


def own_words(draft: Draft) -> str:
    """The draft with links and quotations blanked out, offsets kept."""
    text = mask(draft.text, draft.urls)
    return mask(text, [Span(m.group(), m.start(), m.end()) for m in _QUOTATION.finditer(text)])


def words_pattern(*phrases: str) -> regex.Pattern:
    """A pattern for whole words or phrases, any case; East Asian phrases need no boundary. `*` ends a stem."""
    parts = []
    for phrase in phrases:
        body = regex.escape(phrase.rstrip("*"), special_only=True).replace("'", "['’]").replace(" ", r"\s+")
        east = regex.search(r"[\p{Han}\p{Hiragana}\p{Katakana}]", phrase) is not None
        rest = r"[\p{L}]*" if phrase.endswith("*") else ""
        parts.append(body if east else r"(?<![\p{L}\p{N}_])" + body + rest + r"(?![\p{L}\p{N}_])")
    return regex.compile("|".join(parts), flags=regex.I)


def find_all(pattern: regex.Pattern, text: str, principle: str, reason: str, limit: int = 3) -> list[Finding]:
    """Findings for the first matches of a pattern; `reason` may use `{found}`."""
    findings: list[Finding] = []
    for match in pattern.finditer(text):
        if not match.group().strip():
            continue
        findings.append(
            Finding(
                principle,
                reason.format(found=match.group().strip()[:60].replace("{", "(").replace("}", ")")),
                match.start(),
                match.end(),
            )
        )
        if len(findings) == limit:
            break
    return findings
