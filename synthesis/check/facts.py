"""No new facts: numbers, dates, names and quotations of a draft occur in its sources, in the same role.

Two questions per value. Does a source have it at all (or the post, where the sentence denies it or says whose claim it is)? And where the sources have a
place like the one it stands in here, do they have this value there, or another one?
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise

import regex

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import (
    Evidence,
    Occurrence,
    Place,
    Sentence,
    evidence_of,
    likeness,
    local_likeness,
    place_of,
)
from synthesis.check.stance import claimed, denied_before, denies
from texts.names import TITLES, Name, names_agree
from texts.note import find_urls, fold_quotes, without_urls
from texts.values import Date, Number, dates_agree, numbers_agree
from texts.words import Token, fold, is_function_word, tokens, word_set

_QUOTED = regex.compile(
    r"[“„]([^“”„]{2,400})[”“]|«([^«»]{2,400})»|「([^「」]{2,400})」|『([^『』]{2,400})』"
    r"|(?<![\p{L}\p{N}])\"([^\"]{2,400})\"(?!\p{N})|(?<![\p{L}\p{N}'])'(?=\p{L})([^']{12,300})'(?![\p{L}\p{N}])"
)


_ANOTHER_YEAR = regex.compile(r",?\s(?:1[89]|20)\d{2}(?![\d,.]\d|\d)")


def check_facts(draft: Draft) -> list[Finding]:
    """Numbers, dates, names, quotations without support in the sources, or with support only in another place."""
    evidence = evidence_of(draft)
    findings: list[Finding] = []
    for sentence in evidence.draft:
        for number in sentence.numbers:
            findings += _number(draft, evidence, sentence, number)
        for date in sentence.dates:
            findings += _date(draft, evidence, sentence, date)
        for name in sentence.names:
            findings += _name(draft, evidence, sentence, name)
        findings += _year_twice(draft, sentence)
        findings += _exchanged(draft, evidence, sentence)
    findings += _quotations(draft, evidence)
    return findings


def _number(draft: Draft, evidence: Evidence, sentence: Sentence, number: Number) -> list[Finding]:
    agreeing = [o for o in evidence.numbers if numbers_agree(number, o.value)]
    return _value(draft, evidence.numbers, agreeing, sentence, number, "facts.numbers", "number")


def _date(draft: Draft, evidence: Evidence, sentence: Sentence, date: Date) -> list[Finding]:
    agreeing = [o for o in evidence.dates if dates_agree(date, o.value, evidence.years)]
    return _value(draft, evidence.dates, agreeing, sentence, date, "facts.dates", "date")


def _value(
    draft: Draft,
    everything: list[Occurrence],
    agreeing: list[Occurrence],
    sentence: Sentence,
    value: Number | Date,
    principle: str,
    what: str,
) -> list[Finding]:
    """A finding where no source has the value (the post's claim counts where the sentence denies it or says whose it is), or it is another's."""
    of_post = bool(agreeing) and (denied_before(sentence, value.start) or claimed(sentence))
    if not of_post and all(o.sentence.source < 0 for o in agreeing):
        return [_absent(principle, what, value)]
    return _role(draft, everything, agreeing, sentence, value, principle, what)


def _name(draft: Draft, evidence: Evidence, sentence: Sentence, name: Name) -> list[Finding]:
    told = denied_before(sentence, name.start) or claimed(sentence)
    if not evidence.index.has(name) or not (
        told or evidence.notes_index.has(name) or any(evidence.notes_index.has_word(word) for word in name.words)
    ):
        return [_absent("facts.entities", "name", name)]
    agreeing = [o for o in evidence.names if names_agree(name, o.value)]
    if not agreeing:
        # Known only as plain words (small letters, the start of a sentence): the places of those words speak for it.
        agreeing = [
            Occurrence(name, place_of(s, t.start, t.end), s)
            for s in evidence.all
            for t in s.words
            if any(fold(t.text) == w for w in name.words)
        ]
    return _role(draft, evidence.names, agreeing, sentence, name, "facts.entities", "name")


def _year_twice(draft: Draft, sentence: Sentence) -> list[Finding]:
    """'on May 2021, 2020': a day overwritten by a year leaves a date that no source could contradict."""
    findings: list[Finding] = []
    for date in sentence.dates:
        if all(year is not None for year, _, _ in date.readings) and (
            again := _ANOTHER_YEAR.match(draft.text, date.end)
        ):
            findings.append(
                Finding(
                    "facts.dates",
                    f"The date '{draft.text[date.start : again.end()]}' gives the year twice.",
                    date.start,
                    again.end(),
                )
            )
    return findings


def _absent(principle: str, what: str, value: Number | Date | Name) -> Finding:
    return Finding(principle, f"The {what} '{value.text.strip()[:60]}' occurs in no source.", value.start, value.end)


def _role(
    draft: Draft,
    everything: list[Occurrence],
    agreeing: list[Occurrence],
    sentence: Sentence,
    value: Number | Date | Name,
    principle: str,
    what: str,
) -> list[Finding]:
    """A finding if the sources have this place, with another value in it, and not with this one."""
    here = place_of(sentence, value.start, value.end)
    mine = max((likeness(here, o.place) for o in agreeing), default=0.0)
    same = {id(o) for o in agreeing}
    settings = draft.settings
    best: Occurrence | None = None
    best_score = mine + settings.alignment_margin
    for other in everything:
        if id(other) in same or other.sentence.source < 0:
            continue  # what the post says at this place is what the note may be correcting
        score = likeness(here, other.place)
        if score >= best_score and _same_place(here, other.place, settings.min_alignment):
            best, best_score = other, score
    if best is None:
        return []
    reason = f"Where the draft has the {what} '{value.text.strip()[:60]}', the best-fitting sentence of source {best.sentence.source + 1} has '{best.value.text.strip()[:60]}'."
    return [Finding(principle, reason, value.start, value.end)]


def _same_place(a: Place, b: Place, threshold: float) -> bool:
    return local_likeness(a, b) >= threshold or (
        local_likeness(a, b) >= 0.75 * threshold and likeness(a, b) >= threshold
    )


# ----------------------------------------------------------------------------------- words exchanged in a copied sentence

_CASELESS = regex.compile(
    r"[\p{Arabic}\p{Devanagari}\p{Hebrew}\p{Bengali}\p{Tamil}\p{Telugu}\p{Thai}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Georgian}]"
)
COPIED = 0.6  # share of the words of either sentence that the other has, from which one is a copy of the other
LONGEST_EXCHANGE = 6  # words
COMPARED = 3  # source sentences that a sentence of the draft is laid beside


def _exchanged(draft: Draft, evidence: Evidence, sentence: Sentence) -> list[Finding]:
    """A name exchanged for another inside an otherwise copied sentence; in scripts without capitals, words that no source knows."""
    words = [t.stem for t in sentence.words]
    text = sentence.span.text
    caseless = len(_CASELESS.findall(text)) >= 0.4 * sum(c.isalpha() for c in text)
    if len(words) < 4:
        return []
    least = 0.7 if caseless else COPIED
    copied = sorted((s for s in evidence.notes if _copied(words, s) >= least), key=lambda s: -_copied(words, s))
    known = {t.stem for s in evidence.all for t in s.words}
    findings: dict[int, Finding] = {}
    for other in copied[:COMPARED]:
        for i, j, k, end in _replaced(words, [t.stem for t in other.words]):
            mine, theirs = sentence.words[i:j], other.words[k:end]
            if caseless:
                wrong = not known & set(words[i:j])
            else:
                named = _named(sentence, i, j) and not _titles(mine, sentence.words[j:])
                other_name = _named(other, k, end) and _another_name(mine, theirs)
                wrong = bool(named) and (other_name or _no_name_there(theirs)) and not _beside(words, i, j, evidence)
            if wrong:
                found, there = draft.text[mine[0].start : mine[-1].end], " ".join(t.text for t in theirs)
                reason = f"Where the draft has '{found[:60]}', the sentence it copies from source {other.source + 1} has '{there[:60]}'."
                findings.setdefault(i, Finding("facts.entities", reason, mine[0].start, mine[-1].end))
    return list(findings.values())


def _replaced(mine: list[str], theirs: list[str]) -> list[tuple[int, int, int, int]]:
    """Runs of words of one sentence that stand in the place of others of the other: from, to, from, to."""
    opcodes = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    longest = min(LONGEST_EXCHANGE, len(mine) - 1)
    return [(i, j, k, n) for what, i, j, k, n in opcodes if what == "replace" and j - i <= longest]


def _copied(words: list[str], other: Sentence) -> float:
    theirs = {t.stem for t in other.words}
    return len(theirs & set(words)) / min(len(theirs), len(set(words))) if len(theirs) >= 4 else 0.0


def _another_name(mine: Sequence[Token], theirs: Sequence[Token]) -> bool:
    """Whether two runs of words name different things: both have a name, and neither is short for, or a form of, the other."""
    named = [t for t in theirs if t.text[0].isupper() and not is_function_word(fold(t.text))]
    a, b = tuple(fold(t.text) for t in mine), tuple(fold(t.text) for t in named)
    if not named or {word[:4] for word in a} & {word[:4] for word in b}:
        return False
    initials = ["".join(word[0] for word in run) for run in (a, tuple(fold(t.text) for t in theirs))]
    return initials[0] not in b and initials[1] not in a and not names_agree(Name("", 0, 0, a), Name("", 0, 0, b))


# Words in whose place no name can stand: 'Giuliani democracy is weakening' for 'While democracy is weakening'.
_JOINING = word_set(
    "while although though because since when if whereas unless until after before according despite regarding concerning claiming looking saying stating based and but or so as than "
    "mientras aunque porque cuando si según pero y o como embora porque quando se segundo mas ou bien que quoique parce quand selon mais et während obwohl weil wenn laut aber und oder nachdem bevor sobald"
)


def _no_name_there(theirs: Sequence[Token]) -> bool:
    return bool(theirs) and all(fold(t.text) in _JOINING for t in theirs)


def _named(sentence: Sentence, i: int, j: int) -> bool:
    """Whether a run of words holds a name or part of one, or a capital where no sentence begins."""
    run = sentence.words[i:j]
    within = any(n.start < run[-1].end and run[0].start < n.end for n in sentence.names)
    return within or any(t.text[0].isupper() for t in sentence.words[max(i, 1) : j])


def _titles(mine: Sequence[Token], following: Sequence[Token]) -> bool:
    """Whether the words only say what the person named after them is: 'Senator Hale' for 'Mara Hale'."""
    return all(fold(t.text) in TITLES for t in mine) and bool(following) and following[0].text[0].isupper()


def _beside(words: list[str], i: int, j: int, evidence: Evidence) -> bool:
    """Whether the words i to j stand somewhere in the sources or the post between the same neighbours."""
    left, right = (["^", *words][i], words[i]), (words[j - 1], [*words, "$"][j])
    pairs = {pair for s in evidence.all for pair in pairwise(["^", *(t.stem for t in s.words), "$"])}
    return left in pairs and right in pairs


# --------------------------------------------------------------------------------------------------------- quotations


def _quotations(draft: Draft, evidence: Evidence) -> list[Finding]:
    """Text in quotation marks that no source has word for word, nor the post where the sentence says whose claim it is, or denies it."""
    texts = [_plain(without_urls(source)) for source in draft.sources]
    post = _plain(without_urls(draft.post_text)) if draft.post_text else ""
    findings: list[Finding] = []
    for match in _QUOTED.finditer(draft.text):
        group = next(i for i, g in enumerate(match.groups(), start=1) if g is not None)
        quoted = _plain(match.group(group))
        if not quoted.strip() or find_urls(match.group(group)):  # a link inside: the marks belong to two quotations
            continue
        parts = [p.strip() for p in regex.split(r"\.\.\.|\[[^\]]*\]", fold_quotes(match.group(group))) if p.strip()]
        if any(quoted in text for text in texts) or (
            len(parts) > 1 and any(all(_plain(p) in text for p in parts) for text in texts)
        ):
            continue
        here = next((s for s in evidence.draft if s.span.start <= match.start() < s.span.end), None)
        if quoted in post and (here is None or claimed(here) or denies(here)):
            continue
        findings.append(
            Finding(
                "facts.quotations",
                f"The quotation '{match.group(group)[:60]}' stands word for word in no source.",
                match.start(),
                match.end(),
            )
        )
    return findings


def _plain(text: str) -> str:
    """Folded words between single blanks, with a blank at both ends."""
    return " " + " ".join(fold(t.text).replace("’", "'") for t in tokens(text)) + " "
