"""Length as X counts it, and whether there is anything but links."""

from __future__ import annotations

import regex

from synthesis.check.base import MAX_DRAFT, Draft, Finding
from texts.note import note_length, without_urls

_WORD = regex.compile(r"[\p{L}\p{N}]+")
_DENSE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]")


def check_length(draft: Draft) -> list[Finding]:
    """Too long (the span is what is over the limit's place, roughly), or no statement in it."""
    length = note_length(draft.text)
    findings: list[Finding] = []
    if length > draft.settings.max_length:
        at_least = " at least" if len(draft.text) >= MAX_DRAFT else ""
        findings.append(
            Finding(
                "length.limit",
                f"The text has{at_least} {length} characters as X counts them; {draft.settings.max_length} are allowed.",
            )
        )
    words = without_urls(draft.text)
    if len(_WORD.findall(words)) < 3 and len(_DENSE.findall(words)) < 8:
        findings.append(Finding("length.substance", "Besides links the text has fewer than three words."))
    return findings
