"""The post's claim is what a note speaks to: a sentence that repeats it has to say that it is denied, or whose claim it is."""

from __future__ import annotations

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import Sentence, evidence_of
from synthesis.check.stance import DENIAL, TURNING, claimed, denies
from synthesis.check.support import negations
from texts.values import numbers_agree
from texts.words import overlap

RESTATES = 0.6  # share of a sentence's content that a sentence of the post has, from which it repeats the post
STATES = 0.6  # share of it that a source has to state, too, without denying it: then it is no claim of the post's alone
MIN_CONTENT = 3


def check_claim(draft: Draft) -> list[Finding]:
    """Sentences that give the post's claim as a fact, though no source states it."""
    if not draft.post_text:
        return []
    evidence = evidence_of(draft)
    posts = [s for s in evidence.all if s.source < 0 and len(s.content) >= 2]
    findings: list[Finding] = []
    for place, sentence in enumerate(evidence.draft):
        if len(sentence.content) < MIN_CONTENT:
            continue
        repeated = any(
            overlap(sentence.content, post.content) >= RESTATES and _same_way(sentence, post) for post in posts
        )
        following = evidence.draft[place + 1] if place + 1 < len(evidence.draft) else None
        turned = following is not None and TURNING.match(following.span.text) is not None
        if not repeated or turned or claimed(sentence) or any(_states(s, sentence) for s in evidence.notes):
            continue
        reason = "The sentence repeats the post's claim as a fact; no source states it."
        findings.append(Finding("support.claim", reason, sentence.span.start, sentence.span.end))
    return findings


def _same_way(sentence: Sentence, post: Sentence) -> bool:
    """Whether both say it, or both deny it, of the same number where both give one."""
    numbers = not sentence.numbers or not post.numbers or _common_number(sentence, post)
    return numbers and denies(sentence) == denies(post) and DENIAL.search(sentence.span.text) is None


def _common_number(a: Sentence, b: Sentence) -> bool:
    return any(numbers_agree(x, y) for x in a.numbers for y in b.numbers)


def _states(source: Sentence, sentence: Sentence) -> bool:
    """Whether a source says what the sentence says, and neither denies it nor calls it a claim."""
    return (
        overlap(sentence.content, source.content) >= STATES
        and not claimed(source)
        and (DENIAL.search(source.span.text) is None) == (DENIAL.search(sentence.span.text) is None)
        and negations(source, sentence) % 2 == negations(sentence, source) % 2
    )
