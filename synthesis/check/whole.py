"""A text is whole: it ends where its last sentence ends, no word is dropped or doubled, and nothing of a form is left in it."""

from __future__ import annotations

import itertools
from functools import lru_cache
from pathlib import Path

import regex

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import Sentence, evidence_of
from synthesis.check.stance import TURNING, claimed
from texts.note import find_urls
from texts.words import fold, mask, overlap, word_set

_END = regex.compile(r"[.!?…。！？।؟።][\s'\"”’»)\]」』]*$|[」』][\s]*$")
# No sentence ends with these: it was cut there.
_OPEN_END = word_set(
    "the a an of and or but nor because with from into onto than between regarding including which whose that as if when while although since is are was were has have had will would "
    "der den dem das ein eine und oder mit von wie dass weil ist sind wird el los las un una y o con de del que como porque es son la le les des du et avec qui que dont est sont "
    "os as um uma e ou com da do dos das il gli di e ed con che sono het een en of met van"
)
_DROPPED = word_set(
    "is are was were be been being has have had of to in on at for by with from the a an es son fue era ha han de en por con para el la los las un una é são foi da do em com um uma "
    "est sont été a ont de dans avec le la les un une ist sind war wurde hat von in mit der die das ein eine è sono di con il lo"
)
_DOUBLED = regex.compile(r"(?i)(?<![\p{L}\p{N}-])(\p{L}+)\s+\1(?![\p{L}\p{N}-])")
# An article with nothing to stand before: 'reducing the of droplets'.
_BEREFT = regex.compile(r"(?<![\p{L}-])(?:the|a|an) (?:of|and|or|is|are|was|were|by|with|from|because)(?![\p{L}'’-])")
# Two forms of one verb in a row: 'there were was no evidence'.
_TWO_VERBS = regex.compile(
    r"(?i)(?<!\b(?:what|who|whoever|which|that|it|those|there|where|how|all|as|they|he|she) )\b(?:is|are|was|were) (?:is|are|was|were)\b|\bthere (?:were was|was were|is are|are is|were is|was is|is was)\b|\b(?:has have|have has|had has|do does|does do)\b|\b(?:es son|son es|fue fueron|era eran|é são|são é|est sont|sont est|ist sind|sind ist|war waren|waren war)\b"
)
# A pronoun for something said before: 'do not carry this due to its price'. What it means stands in the sentence in front.
_MEANING_BEFORE = regex.compile(
    r"(?i)\b(?:this|these|those)(?=\s*(?:[.,;:]|$|(?:when|due|because|since|and|or|but|as|if|so|in|on|at|by|to|for|until|unless|without|despite|although|though)\b))|\bthat(?=[.,;:]|$)"
    r"|(?<=\p{L}\s)\b(?:esto|eso|ello|isto|isso|aquilo|cela|ceci|dies|ciò)\b|\b(?:davon|dagegen|darüber|hierzu|hierfür)\b"
)
_POSSESSIVE = word_set("its their his her it they them he him she sus su seu sua seus suas leur leurs ihr ihre ihren")
_MAY_DOUBLE = word_set("that had her you so very no bye blah nous vous que die der das sie no muy dum")
_SLOT = regex.compile(
    r"<[\p{L}][^<>\n]{2,60}>|\[(?:insert|your|the|add|link|url|source|date|name|number|text|note|place|post|author|enlace|fuente|fecha|nombre|lien|quelle|datum)\b[^\[\]\n]{0,60}\]"
    r"|\{\{?[\p{L}_ ]{2,40}\}?\}|(?i)\blorem ipsum\b|\b(?:TODO|TBD|XXX+)\b|\[(?:begin|end) [^\]\n]{2,40}\]|^\s*\||_{3,}"
)
_ELLIPSIS = regex.compile(r"(?:\.\.\.|…)[\s'\"”’)\]]*$")
SAME, MERGED = (
    0.8,
    0.7,
)  # shares of content from which a sentence says the same as another, at any rate and where both are lent
_CAPITALS = frozenset(["en", "es", "pt", "fr", "it", "de", "nl", "sv", "da", "no", "pl", "cs", "ro", "hu", "fi"])
# Where the proof is said to stand: somewhere the reader is not.
_REFERS = regex.compile(
    r"(?i)\b(?:as|was|were|been) (?:\w+ly )?(?:stated|noted|explained|described|reported|discussed|detailed|outlined|demonstrated|evidenced|documented|proven|confirmed|clarified) (?:in|by|on|at|from|with) (?:this|these|my|our) \w+\b|\bas (?:\w+ly )?(?:shown|seen|found|quoted|cited|mentioned) (?:in|by|on|at|from) (?:this|these) \w+\b"
    r"|\b(?:see|read|watch|check|click|look at|refer to|listen to) (?:here|below|above|this|these|the (?:link|links|source|sources|article|thread|video|attached|following|full)\b[^.]*)(?=[.:,;)\s]*$|[.:])|\b(?:here is|here[’']s|here are) (?:the|a|an|his|her|their) (?:link|source|article|video|tweet|proof|full|thread|study|report|statement)\w*\b|\b(?:the following|linked|attached) (?:link|article|source|video|tweet|study|report)s?\b"
    r"|\b(?:como (?:se (?:ve|indica|explica|muestra)|dice)|según) (?:en )?(?:este|esta|el siguiente|la siguiente) (?:tuit|tweet|hilo|artículo|enlace|vídeo|video|publicación|noticia)\b|\b(?:ver|véase|lea|mire) (?:aquí|abajo|enlace)\b|\b(?:como (?:se vê|mostra|diz|explica)|conforme) (?:em |n)?(?:este|esta|neste|nesta) (?:tweet|artigo|link|vídeo|publicação)\b"
    r"|\b(?:comme (?:indiqué|expliqué|montré)) (?:dans|par) (?:ce|cet|cette) (?:tweet|article|lien|vidéo|publication)\b|\bvoir (?:ici|ci-dessous|le lien)\b|\bwie (?:in|im) (?:diesem?|dieser|folgenden?) (?:tweet|artikel|link|video|beitrag) (?:\p{L}+ )?\b|\bsiehe (?:hier|unten|link)\b"
)
ECHO = 7  # words in a row that a text shares with our own prompts' rules before it is taken to repeat them


def check_whole(draft: Draft) -> list[Finding]:
    """An unfinished end, a dropped or doubled word, a sentence said twice, a slot left unfilled, words of our own prompt."""
    evidence = evidence_of(draft)
    return [
        *_unfinished(draft, evidence.draft, evidence.notes),
        *_repeats(draft, evidence.draft, evidence.notes),
        *_drops(evidence.draft, evidence.notes),
        *_slots(draft),
        *_begun_within(draft, evidence.draft, evidence.notes),
        *_left_behind(evidence.draft, evidence.notes),
        *_pointing_nowhere(draft),
    ]


def _bare(sentence: Sentence) -> str:
    return mask(sentence.span.text, find_urls(sentence.span.text)).rstrip()


def _unfinished(draft: Draft, sentences: list[Sentence], notes: list[Sentence]) -> list[Finding]:
    spoken = [s for s in sentences if s.words]
    if not spoken:
        return []
    last, text = spoken[-1], draft.text.rstrip()
    body = _bare(last).rstrip(" .,;:–-([" if _END.search(_bare(last)) is None else " ")
    word = fold(last.words[-1].text)
    linked = bool(draft.urls) and draft.urls[-1].start >= last.words[-1].end
    whole = any(_bare(s) == _bare(last) for s in notes)
    dangling = word in _OPEN_END and not (whole and (linked or _END.search(body)))
    if not dangling and ((_END.search(body) and not _ELLIPSIS.search(body)) or whole):
        return []
    if not dangling and linked and not _ELLIPSIS.search(body):
        return []  # 'The photo is from 2016 https://...': the link stands for the stop
    shown = body[-40:].strip()
    return [
        Finding(
            "style.finished", f"The text breaks off after '{shown}'.", last.span.start, min(last.span.end, len(text))
        )
    ]


def _repeats(draft: Draft, sentences: list[Sentence], notes: list[Sentence]) -> list[Finding]:
    findings: list[Finding] = []
    visible = mask(draft.text, draft.urls)
    theirs = " ".join(_bare(s) for s in notes)
    for match in _DOUBLED.finditer(visible):
        if fold(match[1]) not in _MAY_DOUBLE and match.group() not in theirs and not match[1][0].isupper():
            findings.append(Finding("style.finished", f"'{match.group()}' doubles a word.", match.start(), match.end()))
    for match in _TWO_VERBS.finditer(visible):
        findings.append(
            Finding("style.finished", f"'{match.group()}' has two verbs for one.", match.start(), match.end())
        )
    for match in _BEREFT.finditer(visible):
        findings.append(
            Finding("style.finished", f"A word is missing in '{match.group()}'.", match.start(), match.end())
        )
    for i, a in enumerate(sentences):
        if any(_says_again(a, b, notes) for b in sentences[:i]):
            reason = "A sentence says the same as one before."
            findings.append(Finding("style.finished", reason, a.span.start, a.span.end))
    return findings


def _says_again(a: Sentence, b: Sentence, notes: list[Sentence]) -> bool:
    """Whether two sentences say one thing: nearly the same words; of two sources, most of the shorter's, or one day and two words of it."""
    homes = [{s.source for s in notes if _bare(s) == _bare(sentence)} for sentence in (a, b)]
    if min(len(a.content), len(b.content)) < 3 or (homes[0] & homes[1] and a.span.text != b.span.text):
        return False  # one writer put it so
    if {n.values for n in a.numbers} == {n.values for n in b.numbers}:
        least = (MERGED,) if all(homes) else (SAME, SAME)
        shares = sorted((overlap(a.content, b.content), overlap(b.content, a.content)), reverse=True)
        if len(a.content & b.content) >= 3 and all(share >= bar for share, bar in zip(shares, least, strict=False)):
            return True
    days = [{day for d in s.dates for day in d.readings if None not in day} for s in (a, b)]
    return bool(days[0] & days[1]) and len(a.content & b.content) >= 3


def _drops(sentences: list[Sentence], notes: list[Sentence]) -> list[Finding]:
    """A sentence copied from a source but for one or two small words that held it together."""
    findings: list[Finding] = []
    for sentence in sentences:
        mine = [fold(t.text) for t in sentence.words]
        if len(mine) < 5:
            continue
        for other in notes:
            theirs = [fold(t.text) for t in other.words]
            missing = _left_out(mine, theirs)
            if missing and len(missing) <= 2 and all(word in _DROPPED for word in missing):
                reason = f"The sentence is that of source {other.source + 1} without '{' '.join(missing)}'."
                findings.append(Finding("style.finished", reason, sentence.span.start, sentence.span.end))
                break
            if missing == []:
                break
    return findings


def _left_out(mine: list[str], theirs: list[str]) -> list[str] | None:
    """The words inside a source's sentence that a text of the same words leaves out; None where it is not the same sentence."""
    if not 0 <= len(theirs) - len(mine) <= 2:
        return None
    missing: list[str] = []
    i = 0
    for word in theirs:
        if i < len(mine) and word == mine[i]:
            i += 1
        else:
            missing.append(word)
    return missing if i == len(mine) else None


def _begun_within(draft: Draft, sentences: list[Sentence], notes: list[Sentence]) -> list[Finding]:
    """A text that begins in the middle of a source's sentence: 'murdered 82.' of 'The siege in which agents murdered 82.'"""
    first = next((s for s in sentences if s.words), None)
    if first is None or not first.words[0].text[0].islower() or (draft.language or "en")[:2] not in _CAPITALS:
        return []
    words = [fold(t.text) for t in first.words]
    for other in notes:
        theirs = [fold(t.text) for t in other.words]
        if theirs[: len(words)] == words:
            return []  # its writer began so
    opening = first.words[0].text
    if draft.text[: first.words[0].start].strip() or "." in opening or any(c.isupper() or c.isdigit() for c in opening):
        return []  # 'iPhone', a quotation, a name of a site
    return [
        Finding("style.finished", f"The text begins within a sentence: '{opening}'.", first.span.start, first.span.end)
    ]


def _left_behind(sentences: list[Sentence], notes: list[Sentence]) -> list[Finding]:
    """A sentence taken from a source without the one in front of it there, which its 'this' means or which it turns round."""
    findings: list[Finding] = []
    spoken = [_plainly(s) for s in sentences]
    for before, source in itertools.pairwise(notes):
        if before.source != source.source or len(source.content) < 2:
            continue
        lead, words = _plainly(before), _plainly(source)
        if words in spoken and lead not in spoken and (_MEANING_BEFORE.search(_bare(source)) or _whose(source)):
            at = sentences[spoken.index(words)].span
            reason = "The sentence points at the one before it in its source, which is left out."
            findings.append(Finding("style.finished", reason, at.start, at.end))
        if lead in spoken and words not in spoken and TURNING.match(source.span.text) and claimed(before):
            at = sentences[spoken.index(lead)].span
            reason = f"The claim is told without what its source says against it: '{source.span.text[:80]}'."
            findings.append(Finding("support.claim", reason, at.start, at.end))
    return findings


def _whose(sentence: Sentence) -> bool:
    """Whether a pronoun stands in a sentence before anything it could mean: 'The 99 % are its specificity'."""
    first = next((t.start for t in sentence.words if t.stem in sentence.content and t.text.isalpha()), None)
    return any(fold(t.text) in _POSSESSIVE and (first is None or t.start < first) for t in sentence.words[1:])


def _plainly(sentence: Sentence) -> tuple[str, ...]:
    return tuple(fold(t.text) for t in sentence.words)


def _pointing_nowhere(draft: Draft) -> list[Finding]:
    """'As stated in this tweet': what a text refers its reader to, and no link after it leads there."""
    last = max((url.start for url in draft.urls), default=-1)
    return [
        Finding(
            "style.finished", f"'{m.group().strip()[:60]}' points at what the reader does not have.", m.start(), m.end()
        )
        for m in _REFERS.finditer(mask(draft.text, draft.urls))
        if m.end() > last
    ]


def _slots(draft: Draft) -> list[Finding]:
    visible = mask(draft.text, draft.urls)
    findings = [
        Finding("style.finished", f"'{m.group().strip()[:60]}' is a slot left unfilled.", m.start(), m.end())
        for m in _SLOT.finditer(visible)
        if not any(m.group() in source for source in draft.sources)
    ]
    words = [fold(t) for t in regex.findall(r"[\p{L}\p{N}]+", visible)]
    if any(tuple(words[i : i + ECHO]) in _our_words() for i in range(len(words) - ECHO + 1)):
        findings.append(Finding("style.finished", "The text repeats the rules it was written by."))
    return findings


@lru_cache(maxsize=1)
def _our_words() -> frozenset[tuple[str, ...]]:
    """Runs of words of our own prompts."""
    found: set[tuple[str, ...]] = set()
    for path in sorted((Path(__file__).parents[1] / "draft" / "prompts").glob("*.txt")):
        words = [fold(t) for t in regex.findall(r"[\p{L}\p{N}]+", path.read_text(encoding="utf-8"))]
        found.update(tuple(words[i : i + ECHO]) for i in range(len(words) - ECHO + 1))
    return frozenset(found)
