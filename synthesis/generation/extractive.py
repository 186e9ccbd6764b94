"""The writer without weights: picks and joins whole sentences of the source notes, each with its own links.

It is the embedded default and the baseline every model has to beat. Nothing it writes is new: every sentence stands in
a source, whole, with the link that closed it there: the one in it, or the next one in its note (writers of notes put
sources after what they support). It works in any language, because it only chooses.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import regex

from nouns.post import Completion, Note, Request
from synthesis.check.base import make_draft
from synthesis.check.conduct import INTENT, check_conduct, check_denial
from synthesis.check.consistency import check_consistency
from synthesis.check.injection import check_injection
from synthesis.check.lent import check_lent
from synthesis.check.neutrality import check_neutrality
from synthesis.check.stance import TURNING
from synthesis.check.style import check_style
from synthesis.check.support import check_checkable
from synthesis.check.whole import check_whole
from synthesis.cluster.subsets import steady_worth
from texts.note import (
    MAX_NOTE_LENGTH,
    canonical_url,
    clean_text,
    find_urls,
    note_length,
    split_sentences,
    without_urls,
)
from texts.words import content, tokens

_CHATTER = regex.compile(
    r"(?i)\b(birdwatch|no note needed|note not needed|not a note|rate this|please rate|helpful note|readers added|nota no necesaria)\b"
)
# Openings that lean on a sentence before them: such a sentence may not come first, nor follow a stranger.
_LEANING = regex.compile(
    r"(?i)^(however|but|and|also|moreover|furthermore|additionally|in addition|therefore|thus|hence|so|instead|he|she|they|it|this|these|those|"
    r"that|his|her|their|its|such|the latter|as such|in fact|likewise|similarly|meanwhile|otherwise|pero|además|sin embargo|esto|este|esta|"
    r"él|ella|ellos|aber|und|außerdem|jedoch|er|sie|es|das|dies|diese|mas|porém|além disso|isso|ele|ela)\b(?![’'])"
)
# Of these, words that point at the post itself when they open a note: 'This is not what happened.'
_POINTING = regex.compile(
    r"(?i)^(he|she|they|it|this|these|those|that|his|her|their|its|esto|este|esta|él|ella|ellos|er|sie|es|das|dies|diese|isso|ele|ela)\b"
)
# A third person among the first words of a later sentence: who or what is meant stands in the sentence before.
_PRONOUN = regex.compile(r"(?i)^(?:[^\s,;:]+\s+){1,5}(it|him|them|he|she|they|himself|herself|themselves)\b(?![’'])")
# A verdict on the post that gives the reader no fact.
_VERDICT = regex.compile(
    r"(?i)^(this|the|that)( above)? (tweet|post|claim|statement|video|user|author|account|poster)\b.{0,60}?\b((mis|dis)information|misleading|false|untrue|inaccurate|"
    r"lacks?|ignores?|offers? no|opinions?|context|doubts?|fake|nonsense)\b"
)
# A sentence that shows the way to a link has nothing to say without the link right behind it.
_SHOWING = regex.compile(
    r"(?i)\b(here (is|are|was)|here[’']s|(this|the|following|attached|linked) (link|links|article|articles|url)|below|see (here|also|the)|click|read (here|more)|source)\b"
)
_BROKEN = regex.compile(r"\p{L}[?\ufffd]\p{Ll}|\ufffd")  # 'Here?s': an apostrophe lost on the way
# Words that no sentence ends with: it was cut there.
_DANGLING = regex.compile(
    r"(?i)\b(the|an|of|and|or|but|because|with|from|into|onto|than|between|about|against|regarding|including|which|whose|der|den|und|oder|mit|von|el|los|las|y|con|de|del|les|des|et|avec)\W*$"
    r"|\b(on|in|at|by|for|to)\.$"
)
_REFERENCE = regex.compile(r"\[\d{1,2}\]")  # footnote marks, whose footnote may stay behind
_ENDING = regex.compile(r"[.!?…。！？।؟]['\"”’)\]]*$")
_NEGATED = regex.compile(
    r"(?i)\b(not|no|never|none|nobody|without|cannot|false|untrue|incorrect|\w+n[’']t|nicht|kein\w*|nie|falsch|nunca|ningun[oa]?|ningún|fals[oa]|não|nenhum\w*|ne|pas|jamais|non)\b"
    r"|ない|ません|没有|不是"
)
# What a sentence says there is no evidence for, or is not so.
_DENIED = regex.compile(
    r"(?i)\b(?:(?:no|zero|without|lacks?|little|any)\b.{0,40}?\b(?:evidence|proof|reports?|basis|indications?|context|confirmation)|(?:false|untrue|not true|incorrect|wrong))"
    r"\b.{0,30}?\bthat\b(.+)"
)
_TRAILING_OFF = regex.compile(r"(\.\.\.|…)['\"”’)\]]*$")
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_DENSE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]")
MIN_LENGTH = 40  # characters a note needs to say something; one of East Asian or Thai script counts as two


def _words(text: str) -> frozenset[str]:
    """The words of a text in small letters; where words are not set apart by blanks, pairs of neighbouring characters."""
    found: set[str] = set()
    for word in _WORD.findall(text):
        if _DENSE.search(word):
            found.update(word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            found.add(word.lower())
    return frozenset(found)


@dataclass(frozen=True)
class Sentence:
    """One whole sentence of a source note with the links that go with it."""

    text: str  # as it stands in the source, links and all
    note_id: int
    position: int  # place in its note
    length: int  # as X counts it
    words: frozenset[str]
    links: tuple[str, ...]  # those that stand in it
    closing: tuple[str, ...]  # those that close it in its note: its own, or the next ones
    bare: str | None  # without its links, where they stand after its end
    said: frozenset[str]  # stems of its content words
    leaning: bool  # makes sense only after the sentence before it
    turned: bool  # the next sentence of its note turns it round
    shows: bool  # points at a link that has to follow
    opener: bool  # points at the post: makes sense only at the beginning
    quality: float
    borrowed: bool  # from another post of the story


def _cut_open(sentence: str, position: int) -> bool:
    """Whether a piece looks like the inside of a sentence: it starts in mid-air or holds one half of a quotation."""
    quotes = (
        sentence.count('"') % 2
        or sentence.count("“") != sentence.count("”")
        or sentence.count("(") != sentence.count(")")
    )
    starts = sentence[:1] in "….,;:)]}" or (position > 0 and (sentence[:1].islower() or sentence[:1].isdigit()))
    return bool(quotes or starts or _DANGLING.search(sentence))


def _fit_to_say(sentence: str, note: str, language: str | None) -> bool:
    """Whether a sentence of a note may stand in a supernote at all: no opinion, motive, talk about notes, instruction."""
    draft = make_draft(sentence, (note,), language=language)
    found = [*check_neutrality(draft), *check_conduct(draft), *check_injection(draft), *check_style(draft)]
    return INTENT.search(sentence) is None and all(f.principle == "style.plain" for f in found)


@lru_cache(maxsize=4096)
def sentences_of(note: Note, language: str | None) -> tuple[Sentence, ...]:
    """The usable sentences of a note in order: chatter, instructions, shouting and cut-off fragments are left out."""
    text = clean_text(note.text)
    found: list[Sentence] = []
    spans = split_sentences(text, language)
    following: tuple[str, ...] = ()
    closings: list[tuple[str, ...]] = []
    for span in reversed(spans):
        following = tuple(url.text for url in find_urls(span.text)) or following
        closings.append(following)
    closings.reverse()
    broken = False  # whether the sentence before trails off: what follows is then its rest
    for position, span in enumerate(spans):
        whole = " ".join(span.text.split())
        bare = without_urls(whole).strip(" :–-•*|")
        links = tuple(url.text for url in find_urls(whole))
        words = _words(bare)
        after_break, broken = broken, _TRAILING_OFF.search(bare) is not None
        if after_break or broken:
            continue
        if _CHATTER.search(whole) or _BROKEN.search(bare) or not _fit_to_say(whole, text, language):
            continue
        if not links and (len(words) < 4 or not _ENDING.search(bare)):
            # A fragment without link and without an end was cut off by X's length limit, or is a heading.
            if not (len(words) >= 6 and position == 0 and len(text) == len(span.text)):
                continue
            whole += "."
        if bare.endswith("?") or _cut_open(bare, position):
            continue
        letters = [c for c in bare if c.isalpha()]
        shouting = sum(c.isupper() for c in letters) > 0.5 * len(letters) if len(letters) > 12 else False
        quality = steady_worth(note)
        quality += 0.10 if links else 0.05 if closings[position] else 0.0
        quality += 0.05 if regex.search(r"\d", bare) else 0.0
        quality -= 0.15 if _REFERENCE.search(bare) else 0.0
        quality -= 0.15 if _VERDICT.search(bare) else 0.0
        quality -= 0.25 if shouting or "!" in bare else 0.0
        quality -= 0.30 if regex.search(r"(?i)\b(i|my|we|our|you|your)\b|(?<!\w)[@#]\w", bare) else 0.0
        quality -= 0.02 * position
        found.append(
            Sentence(
                whole,
                note.note_id,
                position,
                note_length(whole),
                words,
                links,
                closings[position],
                _without_trailing(whole, links),
                content(tokens(bare)),
                ((bool(_LEANING.match(bare)) or len(words) < 4) and not (position == 0 and _POINTING.match(bare)))
                or (position > 0 and _PRONOUN.match(bare) is not None),
                position + 1 < len(spans) and TURNING.match(spans[position + 1].text) is not None,
                _SHOWING.search(bare) is not None,
                position == 0 and bool(_POINTING.match(bare)),
                quality,
                note.borrowed,
            )
        )
    return tuple(found)


def _without_trailing(sentence: str, links: tuple[str, ...]) -> str | None:
    """The sentence without the links after its end; None where a link stands inside it or no end comes before."""
    rest = sentence
    for link in reversed(links):
        cut = rest.rfind(link)
        if cut < 0 or rest[cut + len(link) :].strip(" .,;)]"):
            return None
        rest = rest[:cut].rstrip(" ([")
    return rest if links and _ENDING.search(rest) else None


def overlap(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of the smaller sentence's words that the other one has, too."""
    smaller = min(len(a), len(b))
    return len(a & b) / smaller if smaller else 0.0


def _agrees(text: str, notes: Sequence[Note], language: str | None) -> bool:
    """Whether a text of sentences that are fit each hangs together: whole, of one mind, with a reason, and nothing lent that points elsewhere."""
    sources, lent = tuple(note.text for note in notes), tuple(note.borrowed for note in notes)
    if all(lent):
        lent = ()  # nothing of this post is at hand; what it is about stands in the check's inputs
    draft = make_draft(text, sources, language=language, lent=lent)
    checks = (check_consistency, check_denial, check_lent, check_whole, check_checkable)
    return not any(check(draft) for check in checks)


def _said(block: Sequence[Sentence]) -> frozenset[str]:
    return frozenset().union(*(s.said or s.words for s in block))


def _clash(a: Sequence[Sentence], b: Sequence[Sentence]) -> bool:
    """Whether two blocks should not stand together: they repeat each other, or may contradict each other.

    Blocks of different notes repeat each other from half of the shorter one's content words on. They may contradict where one says that there
    is no evidence that something happened, and the other speaks of just that.
    """
    shared = overlap(_said(a), _said(b))
    if a[0].note_id == b[0].note_id:
        return shared > 0.6
    if shared >= 0.5:
        return True
    return any(
        overlap(content(tokens(match[1])), y.said) >= 0.5
        for x, y in (*itertools.product(a, b), *itertools.product(b, a))
        if (match := _DENIED.search(without_urls(x.text)))
    )


class Extractive:
    """`TextGenerator` that answers from `Request.sources` alone; deterministic, no model, any language."""

    name = "extractive"

    def __init__(self, max_length: int = MAX_NOTE_LENGTH, pool: int = 14) -> None:
        self.max_length = max_length
        self.pool = pool

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Completion:
        texts = (
            self.revise(request)
            if request.purpose == "revise"
            else self.compose(request.sources, request.n, request.language)
        )
        failure = None if texts else "no_usable_sentence"
        return Completion(request.request_id, tuple(texts), self.name, failure, ("stop",) * len(texts))

    def compose(self, notes: Sequence[Note], n: int, language: str | None = None) -> list[str]:
        """At most `n` different texts of whole sentences within the length, best first; empty if nothing is usable."""
        blocks = self._blocks(notes, language)
        if not blocks:
            return []
        scored: dict[str, float] = {}
        sets: list[tuple[float, str, frozenset[str]]] = []
        ranked = sorted(
            blocks, key=lambda block: (-max(s.quality for s in block), block[0].note_id, block[0].position)
        )[: self.pool]
        for size in (1, 2, 3, 4):
            for group in itertools.combinations(ranked, size):
                text = self._join(group)
                if text is None or text in scored:
                    continue
                value = self._value(group)
                scored[text] = value
                sets.append((value, text, frozenset().union(*(s.words for block in group for s in block))))
        if any(find_urls(text) for _, text, _ in sets):  # without a link where there is one, no text passes the checks
            sets = [entry for entry in sets if find_urls(entry[1])]
        sets.sort(key=lambda entry: (-entry[0], entry[1]))
        chosen: list[tuple[float, str, frozenset[str]]] = []
        for entry in sets:
            if all(len(entry[2] & other[2]) / max(1, len(entry[2] | other[2])) < 0.85 for other in chosen) and _agrees(
                entry[1], notes, language
            ):
                chosen.append(entry)
            if len(chosen) == n:
                break
        return [text for _, text, _ in chosen]

    def revise(self, request: Request) -> list[str]:
        """Other compositions of the same sources that answer the feedback: more sources, no opinion, missing points.

        Works on the words of the feedback, which our own revising stage writes: sources, clear, opinion, biased, missing.
        """
        feedback = (request.feedback or "").lower()
        options = [text for text in self.compose(request.sources, 12, request.language) if text != request.parent_text]
        parent = request.parent_text or ""

        def gain(text: str) -> float:
            links = len(find_urls(text)) - len(find_urls(parent))
            words = len(_words(without_urls(text))) - len(_words(without_urls(parent)))
            value = 0.0
            if "source" in feedback:
                value += 1.0 * links
            if "missing" in feedback or "key point" in feedback or "context" in feedback:
                value += 0.05 * words
            if "hard to understand" in feedback or "clear" in feedback:
                value -= 0.05 * words
            if "opinion" in feedback or "bias" in feedback or "argument" in feedback:
                value -= text.count("!") + len(text.split()) / 100
            return value

        return sorted(options, key=lambda text: (-gain(text), options.index(text)))[: request.n]

    def _blocks(self, notes: Sequence[Note], language: str | None) -> list[tuple[Sentence, ...]]:
        """Sentences that may stand alone, and pairs where the second leans on the first, of all notes; near-equal ones once."""
        blocks: list[tuple[Sentence, ...]] = []
        for note in notes:
            found = sentences_of(note, language)
            for i, sentence in enumerate(found):
                if sentence.leaning:
                    previous = found[i - 1] if i else None
                    follows = previous is not None and previous.position == sentence.position - 1
                    if previous is not None and follows and not previous.leaning and not sentence.turned:
                        blocks.append((previous, sentence))
                    continue
                if sentence.words and not sentence.turned:
                    blocks.append((sentence,))
        blocks = [block for block in blocks if sum(s.length for s in block) + len(block) - 1 <= self.max_length]
        blocks.sort(key=lambda block: (-max(s.quality for s in block), block[0].note_id, block[0].position, len(block)))
        kept: list[tuple[Sentence, ...]] = []
        for block in blocks:
            text = " ".join(s.text for s in block)
            if not any(" ".join(s.text for s in other) == text for other in kept):
                kept.append(block)
        return kept

    def _join(self, group: Sequence[tuple[Sentence, ...]]) -> str | None:
        """The sentences of a group as one text: claim first, then evidence; None when too long, repeating or without words."""
        flat = [s for block in group for s in block]
        if len({(s.note_id, s.position) for s in flat}) < len(flat) or sum(s.opener for s in flat) > 1:
            return None
        if sum(s.length for s in flat) + len(flat) - 1 > self.max_length:
            return None
        for a, b in itertools.combinations(group, 2):
            if _clash(a, b):
                return None
        if len({s.borrowed for s in flat}) > 1 and len({_NEGATED.search(s.text) is not None for s in flat}) > 1:
            return None  # a sister post may have claimed the opposite; yes and no of two posts never stand together
        lead: dict[
            int, tuple[bool, int, float, int]
        ] = {}  # note id -> where its sentences come: one that points at the post first, then claims before details
        for s in flat:
            place = (not s.opener, s.position, -s.quality, s.note_id)
            lead[s.note_id] = min(place, lead.get(s.note_id, place))
        ordered = sorted(flat, key=lambda s: (lead[s.note_id], s.position))
        if any(s.opener for s in ordered[1:]):
            return None
        parts: list[str] = []
        seen: set[str] = set()
        for i, sentence in enumerate(ordered):
            own = {canonical_url(url) for url in sentence.links}
            if own & seen:
                if sentence.bare is None or sentence.shows or not own <= seen:
                    return None
                parts.append(sentence.bare)
                continue
            seen |= own
            parts.append(sentence.text if _ENDING.search(sentence.text) or sentence.links else sentence.text + ".")
            following = ordered[i + 1] if i + 1 < len(ordered) else None
            if own or (following and (following.note_id, following.closing) == (sentence.note_id, sentence.closing)):
                continue
            for url in sentence.closing[:2]:
                if canonical_url(url) not in seen:
                    seen.add(canonical_url(url))
                    parts.append(url)
        text = " ".join(parts)
        length = note_length(text)
        return text if length <= self.max_length and length + len(_DENSE.findall(text)) >= MIN_LENGTH else None

    def _value(self, group: Sequence[tuple[Sentence, ...]]) -> float:
        """What a composition promises: its sentences' quality, links, several notes agreeing, enough said, not too much."""
        flat = [s for block in group for s in block]
        length = sum(s.length for s in flat)
        links = len({canonical_url(url) for s in flat for url in s.closing[:2]})
        value = float(np.mean([s.quality for s in flat]))
        value += 0.20 * min(links, 1) + 0.08 * min(max(links - 1, 0), 2)
        value += 0.05 * (len({s.note_id for s in flat}) - 1)
        value += 0.15 * min(length, 200) / 200
        value -= 0.06 * (len(flat) - 2) if len(flat) > 2 else 0.0
        return value
