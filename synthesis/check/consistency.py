"""One text does not contradict itself: numbers, dates, yes and no about the same thing.

Merging is what brings a text to say two things: each sentence has its source. What it says is compared with the notes of the post that raters
found helpful, too: left out of the merge, they are still what people know. So two values that one source gives itself are
taken to be about different things, and two that no single source gives, in places that nothing tells apart, are a conflict.
"""

from __future__ import annotations

import itertools

import regex

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import Evidence, Sentence, evidence_of, read_sentences
from synthesis.check.patterns import WordList
from synthesis.check.stance import DENIAL, NEGATION, denied_before, verdicts
from synthesis.check.support import negations
from texts.names import names_agree
from texts.values import Number, dates_agree, numbers_agree
from texts.words import content, overlap, stem

ALIKE = 0.5  # share of the shorter sentence's content from which two sentences speak of the same thing


def check_consistency(draft: Draft) -> list[Finding]:
    """Pairs of sentences of the text that exclude each other; the span is the later one."""
    evidence = evidence_of(draft)
    findings: list[Finding] = []
    for a, b in itertools.combinations(evidence.draft, 2):
        reason = _numbers(evidence, a, b) or _dates(evidence, a, b) or _yes_and_no(evidence, a, b)
        if reason:
            findings.append(Finding("support.consistency", reason, b.span.start, b.span.end))
    findings += _real_or_not(draft, evidence)
    for note in draft.received:
        for other in read_sentences(note, draft.language, frozenset(), -3):
            for sentence in evidence.draft:
                if _numbers(evidence, sentence, other, measured_only=True) or _turned(sentence, other):
                    reason = f"A note of this post that raters found helpful says otherwise: '{other.span.text[:100]}'."
                    findings.append(Finding("support.received", reason, sentence.span.start, sentence.span.end))
    return findings


_LACKING = WordList(
    "exempt*", "lack*", "absen*", "refus*", "den*", "prevent*", "prohibit*", "ban", "banned", "bans", "exclu*", "stop*", "end*", "fail*", "exent*", "careci*", "falt*", "proh*", "impid*", "isent*", "impe*", "manqu*", "interdi*", "empêch*", "befrei*", "verbot*", "fehl*", "mangel*", "verhinder*"
)  # fmt: skip
"""Words that deny without a negation: with one of them nobody can tell by counting whether two sentences say the same."""


_REAL = regex.compile(
    r"(?i)\b(?:is|are|was|were|es|era|fue|é|foi|est|était|ist|war|sind|waren) (?:indeed |in fact |actually |realmente |tatsächlich )?(?:(?:an?|the|una?|um|une?|ein(?:e|en)?) )?"
    r"(?:(?:real|actual|authentic|genuine|auténtic\w|verdader\w|autêntic\w|verdadeir\w|authentique|vrai\w?|echte?[srn]?) (?P<what>\p{L}{4,})|(?P<what2>\p{L}{4,}) (?:real|auténtic\w|verdader\w|autêntic\w|verdadeir\w|authentique)\b)"
)


def _real_or_not(draft: Draft, evidence: Evidence) -> list[Finding]:
    """A text that calls a thing real though another of the notes it merges says that there is none, or that it is false."""
    findings = []
    for sentence in evidence.draft:
        if (found := _REAL.search(sentence.span.text)) is None or NEGATION.search(sentence.span.text[: found.start()]):
            continue
        what = stem(found["what"] or found["what2"])
        homes = _homes(evidence, sentence)
        merged = set().union(*(_homes(evidence, s) for s in evidence.draft)) - homes
        for other in evidence.notes:
            if other.source in merged and what in other.content and (_lacks(other, what) or verdicts(other)):
                reason = f"One of the notes it merges calls it real, another says: '{other.span.text[:100]}'."
                findings.append(Finding("support.consistency", reason, sentence.span.start, sentence.span.end))
                break
    return findings


def _homes(evidence: Evidence, sentence: Sentence) -> set[int]:
    """The sources that a sentence was taken from."""
    return {s.source for s in evidence.notes if sentence.content and overlap(sentence.content, s.content) >= 0.9}


def _lacks(sentence: Sentence, what: str) -> bool:
    """Whether a negation bears on the thing: 'does not have a tweet', 'no such photo'."""
    at = next(t.start for t in sentence.words if t.stem == what) - sentence.span.start
    return any(0 <= at - n.end <= 24 for n in NEGATION.finditer(sentence.span.text))


def _turned(a: Sentence, b: Sentence) -> bool:
    """Whether two notes' sentences say the same but for one negation; words for 'false' do not count."""
    if min(len(a.content), len(b.content)) < 3 or _told_apart(a, b):
        return False
    if any(DENIAL.search(s.span.text) or _LACKING.search(s.span.text) for s in (a, b)):
        return False
    shared = len(a.content & b.content)
    near = shared >= 0.75 * min(len(a.content), len(b.content)) and shared >= 0.5 * max(len(a.content), len(b.content))
    return (
        near
        and sorted(NEGATION.count(s.span.text) for s in (a, b)) == [0, 1]
        and negations(a, b, 2) + negations(b, a, 2) == 1
    )


def _shared(a: Sentence, b: Sentence) -> float:
    """Content that two sentences share, of the shorter one, without digits and verdicts."""
    x, y = ({w for w in s.content if not w[:1].isdigit()} for s in (a, b))
    return len(x & y) / max(1, min(len(x), len(y)))


def _told_apart(a: Sentence, b: Sentence) -> bool:
    """Whether each sentence names a time or a name of its own: the two may speak of different things."""
    years = [
        {t.stem for t in s.words if len(t.stem) == 4 and t.stem.isdigit() and t.stem[:2] in ("19", "20")}
        for s in (a, b)
    ]
    dated = [bool(s.dates) or bool(y) for s, y in zip((a, b), years, strict=True)]
    if (
        all(dated)
        and not any(dates_agree(x, y, frozenset()) for x in a.dates for y in b.dates)
        and not years[0] & years[1]
    ):
        return True
    named = [[n for n in s.names if not any(names_agree(n, m) for m in o.names)] for s, o in ((a, b), (b, a))]
    return all(named)


def _numbers(evidence: Evidence, a: Sentence, b: Sentence, measured_only: bool = False) -> str | None:
    for x, y in itertools.product(a.numbers, b.numbers):
        if x.unit != y.unit or numbers_agree(x, y) or numbers_agree(y, x) or _is_year(x) or _is_year(y):
            continue
        if any(numbers_agree(x, z) for z in b.numbers) or any(numbers_agree(y, z) for z in a.numbers):
            continue  # the other sentence knows this value as well: the two are different things
        if denied_before(a, x.start) or denied_before(b, y.start) or _told_apart(a, b):
            continue
        near_x, near_y = _around(a, x), _around(b, y)
        measured = bool(x.unit) or bool(_MAGNITUDES & set(x.text.lower().split()) & set(y.text.lower().split()))
        if measured_only and not measured:
            continue
        same = len(near_x & near_y) >= (1 if measured else 2) or (measured and _shared(a, b) >= ALIKE)
        alone = len(a.numbers) == 1 or len(near_x & near_y) >= 1 or measured
        if same and alone and not _one_source(evidence, x, y):
            return f"The text says '{x.text.strip()}' and then '{y.text.strip()}' of the same thing."
    return None


_MAGNITUDES = {"million", "billion", "trillion", "thousand", "millones", "mil", "milhões", "bilhões", "millions", "milliards", "millionen", "milliarden", "milioni", "miliardi", "percent", "prozent"}  # fmt: skip


def _around(sentence: Sentence, number: Number) -> frozenset[str]:
    """Content of the three words on either side of a number: what is counted, and what it does."""
    before = [t for t in sentence.words if t.end <= number.start][-3:]
    after = [t for t in sentence.words if t.start >= number.end][:3]
    return frozenset(w for w in content([*before, *after]) if not w[:1].isdigit())


def _is_year(number: Number) -> bool:
    return not number.unit and len(number.text.strip()) == 4 and number.text.strip()[:2] in ("18", "19", "20")


def _one_source(evidence: Evidence, x: Number, y: Number) -> bool:
    have = [
        {o.sentence.source for o in evidence.numbers if o.sentence.source >= 0 and numbers_agree(v, o.value)}
        for v in (x, y)
    ]
    return bool(have[0] & have[1])


def _dates(evidence: Evidence, a: Sentence, b: Sentence) -> str | None:
    if len(a.dates) != 1 or len(b.dates) != 1 or _shared(a, b) < ALIKE:
        return None
    x, y = a.dates[0], b.dates[0]
    years = frozenset(y for d in (x, y) for y, _, _ in d.readings if y is not None)
    if dates_agree(x, y, years) or dates_agree(y, x, years) or denied_before(a, x.start) or denied_before(b, y.start):
        return None
    have = [
        {
            o.sentence.source
            for o in evidence.dates
            if o.sentence.source >= 0 and dates_agree(v, o.value, evidence.years)
        }
        for v in (x, y)
    ]
    if have[0] & have[1]:
        return None
    return f"The text says '{x.text}' and then '{y.text}' of the same thing."


def _yes_and_no(evidence: Evidence, a: Sentence, b: Sentence) -> str | None:
    if min(len(a.content), len(b.content)) < 2 or _shared(a, b) < 0.6:
        return None
    verdicts = [DENIAL.search(s.span.text) is not None for s in (a, b)]
    flips = (negations(a, b, 2) - negations(b, a, 2)) % 2
    if verdicts[0] != verdicts[1]:
        flips = 1 - flips
    if not flips or _told_apart(a, b):
        return None
    for source in {s.source for s in evidence.notes}:
        own = [s.content for s in evidence.notes if s.source == source]
        if all(any(overlap(s.content, c) >= 0.8 for c in own) for s in (a, b)):
            return None
    return "One sentence says what the other denies."
