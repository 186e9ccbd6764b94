"""Discourse norms as scores: Grice's four maxims, published with the result.

Quality, quantity, relation, manner (Grice 1975), as the norms of a conversational agent in Kasirzadeh and Gabriel (2023). The
scores are simple, readable functions of the text: they rank and explain, they do not pretend to understand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import evidence_of
from texts.note import find_urls, note_length
from texts.words import content, mask, overlap, tokens


@dataclass(frozen=True)
class Rubric:
    """Each 0 (broken) to 1 (kept)."""

    quality: float
    quantity: float
    relation: float
    manner: float


def score_rubric(draft: Draft) -> Rubric:
    """The four scores of a draft. An empty text scores 0 everywhere."""
    evidence = evidence_of(draft)
    sentences = [s for s in evidence.draft if s.content]
    if not sentences:
        return Rubric(0.0, 0.0, 0.0, 0.0)
    words = frozenset().union(*(s.content for s in sentences))

    supported = overlap(words, evidence.content)
    quality = supported * (1.0 if draft.urls else 0.7)

    length = note_length(draft.text)
    enough = min(1.0, length / 60)
    repeated = max(
        (
            overlap(min(a.content, b.content, key=len), max(a.content, b.content, key=len))
            for i, a in enumerate(sentences)
            for b in sentences[:i]
        ),
        default=0.0,
    )
    quantity = (
        enough * (1.0 if length <= draft.settings.max_length else 0.3) * (1.0 - 0.7 * max(0.0, repeated - 0.4) / 0.6)
    )

    if draft.post_text:
        about = content(tokens(mask(draft.post_text, find_urls(draft.post_text))))
        relation = (
            0.5 * min(1.0, 3 * overlap(words, about)) + 0.5 * min(1.0, 1.5 * supported)
            if about
            else min(1.0, 1.5 * supported)
        )
    else:
        relation = min(1.0, 1.5 * supported)

    longest = max(len(s.words) for s in sentences)
    average = sum(len(s.words) for s in sentences) / len(sentences)
    letters = [c for c in mask(draft.text, draft.urls) if c.isalpha()]
    capitals = sum(c.isupper() for c in letters) / max(1, len(letters))
    manner = (
        1.0
        - min(0.5, max(0.0, average - 25) / 40)
        - min(0.2, max(0.0, longest - 45) / 100)
        - min(0.3, max(0.0, capitals - 0.25))
        - 0.1 * min(2, draft.text.count("((") + max(0, draft.text.count("(") - 2))
    )
    return Rubric(*(round(max(0.0, min(1.0, x)), 3) for x in (quality, quantity, relation, manner)))


def check_rubric(draft: Draft) -> tuple[list[Finding], Rubric]:
    """Scores below the settings' minimum as findings, and the scores themselves."""
    rubric = score_rubric(draft)
    low = draft.settings.min_rubric
    findings = [
        Finding(f"grice.{name}", f"The score of the maxim of {name} is {value:.2f}; at least {low:.2f} is expected.")
        for name, value in asdict(rubric).items()
        if value < low
    ]
    return findings, rubric
