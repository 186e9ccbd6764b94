"""How a note is written and how it cites, as numbers: openings, punctuation, layout, links, sentences.

Two notes of one post and stance mostly make the same claim; what tells them apart is how. These columns came out of reading such pairs and
were kept because they ranked pairs on posts left out (docs/experiments). All are functions of the text alone. Several tell machine
prose from a person's (dashes, labels such as "Misleading:", hedged attributions); the model is never told who wrote a note.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence

from texts.note import Span

_FLAGS = re.IGNORECASE
# Openings and phrases: 1 where the pattern occurs in the text without its links. `^\W*` lets quotes and bullets stand before.
_PHRASES: dict[str, re.Pattern[str]] = {
    "opens_with_verdict": re.compile(
        r"^\W*(?:misleading|false|incorrect|inaccurate|not true|untrue|fake|misinformation|wrong|no[,:.]|claims?\b|(?:the|this) "
        r"(?:claim|post|tweet)\b.{0,30}?\b(?:is|are) (?:false|incorrect|inaccurate|misleading|untrue|wrong))", _FLAGS),
    "opens_with_label": re.compile(r"^\W*[\w '’-]{3,40}[:—–-]\s", _FLAGS),
    "opens_with_this_is": re.compile(r"^\W*(?:this|these|it|that)(?:'s| is| are| was| were)\b", _FLAGS),
    "opens_with_media": re.compile(r"^\W*(?:the |this )?(?:video|photo|image|picture|clip|footage|screenshot)", _FLAGS),
    "opens_with_the": re.compile(r"^\W*the\b", _FLAGS),
    "opens_with_there": re.compile(r"^\W*there\b", _FLAGS),
    "opens_with_name": re.compile(r"^\W*[A-Z][a-z]+ [A-Z][a-z]+"),
    "opens_with_digit": re.compile(r"^\W*\d"),
    "authorities": re.compile(
        r"\b(?:authorit|experts?|officials?|investigat|reporting|fact[- ]?check(?:s|ers)?|researchers|police|analys[ti]s|agencies|outlets?)", _FLAGS),
    "generated": re.compile(r"\bAI\b|artificial intel|grok|sora|midjourney|deepfake"),
    "game_or_film": re.compile(r"\bgame|arma|simulat|movie|film|series", _FLAGS),
    "dated": re.compile(
        r"\b(?:19|20)\d\d\b|years? (?:old|ago)|from (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", _FLAGS),
    "but": re.compile(r"\b(?:but|however|though|although|while|yet|not)\b", _FLAGS),
    "rather": re.compile(r"\b(?:not\b.{1,40}\bbut\b|rather than|instead)", _FLAGS),
    "is_not": re.compile(r"\b(?:is|are|was|were|did|does|do|has|have|had|can|will)(?: not|n['’]t)\b", _FLAGS),
    "never": re.compile(r"\bnever\b|\bno \w+", _FLAGS),
    "the_author": re.compile(r"\b(?:OP|poster|author of|user|account|tweet|post)\b", _FLAGS),
    "about_notes": re.compile(
        r"\bother notes?|previous notes?|notes? (?:above|below|say|claim|here)|NNN|not(?:e)? (?:needed|necessary)", _FLAGS),
    "source_label": re.compile(r"\b(?:source|sources|read more|see|more info|link|links|fuente|fonte|via)\s*:", _FLAGS),
    "list": re.compile(r"(?:^|\s)(?:\d[.)]|[-•*])\s"),
    "imperative": re.compile(r"\b(?:don['’]t|do not|please|stop|check|look|learn|read|watch|see)\b", _FLAGS),
    "should": re.compile(r"\b(?:should|must|ought|need to|needs to)\b", _FLAGS),
    "intent": re.compile(r"\b(?:intent|deliberate|trying to|attempt|purpose|narrative|agenda|propagand|bait|engagement|farm)", _FLAGS),
    "people": re.compile(r"\b(?:people|everyone|anyone|some|many|most)\b", _FLAGS),
    "ellipsis": re.compile(r"\.\.\.|…"),
}  # fmt: skip
# Counted, up to the number given.
_COUNTED: dict[str, tuple[re.Pattern[str], int]] = {
    "dashes": (re.compile(r"—| – "), 2),
    "semicolons": (re.compile(r"(?<!quot)(?<!amp);"), 2),
    "colons": (re.compile(r":"), 2),
    "brackets": (re.compile(r"\("), 3),
    "curly_quotes": (re.compile(r"[“”‘’]"), 3),
    "fixed_hyphens": (re.compile("\u2011"), 2),
    "straight_quotes": (re.compile(r'"|&quot;'), 4),
    "hyphens": (re.compile(r"\w-\w"), 3),
    "slashes": (re.compile(r"\w/\w"), 2),
    "questions": (re.compile(r"\?"), 2),
    "exclamations": (re.compile(r"!"), 2),
    "capital_words": (re.compile(r"\b[A-Z]{3,}\b"), 3),
    "shows": (re.compile(r"\b(?:shows?|confirms?|indicates?|states?|found|says?|said|reported|reports)\b", _FLAGS), 3),
}
# Properties of the links: the number of links that have it, up to the number given.
_LINKS: dict[str, tuple[Callable[[str], bool], int]] = {
    "tracked_links": (lambda u: bool(re.search(r"[?&](?:s|t|utm\w*|si|fbclid|igsh|app|ref|wprov|smid|cid)=", u)), 2),
    "text_fragments": (lambda u: "#:~:" in u, 1),
    "plain_http": (lambda u: u.startswith("http://"), 1),
    "www_links": (lambda u: "//www." in u, 3),
    "status_links": (lambda u: "/status/" in u, 2),
    "grok_links": (lambda u: "grok" in u, 1),
    "pdf_links": (lambda u: ".pdf" in u.lower(), 1),
    "dated_links": (lambda u: bool(re.search(r"/20\d\d/", u)), 2),
    "home_pages": (lambda u: u.rstrip("/").count("/") <= 2, 2),
}
_MEASURES = (
    "blank_runs", "wide_blank_runs", "starts_blank", "ends_blank", "slug_words", "link_length", "ends_with_link", "text_after_links", "links_apart",
    "sentences", "first_sentence", "last_sentence", "short_first_sentence", "words", "words_squared", "under_6_words", "under_15_words",
    "over_45_words", "distinct_words", "names", "long_words", "function_words", "digits", "adverbs", "not_latin", "no_english", "words_per_link", "linkless",
)  # fmt: skip
_FUNCTION_WORDS = frozenset(re.findall(r"\w+", (
    "the a an of to in is are was were be been and or not no on for with as by at from that this it its he she they them his her their "
    "there which who has have had does did do but if than"
)))  # fmt: skip
_WORD = re.compile(r"[\w'’\-\u2011]+")

STYLE_NAMES: tuple[str, ...] = tuple(f"style_{n}" for n in (*_PHRASES, *_COUNTED, *_LINKS, *_MEASURES))
"""Names of the columns `style_features` gives, in order."""


def style_features(text: str, cleaned: str, body: str, urls: Sequence[Span]) -> list[float]:
    """The STYLE_NAMES of one text. `cleaned` is `clean_text(text)`, `urls` its links, `body` the text without them, blanks collapsed."""
    words = _WORD.findall(body)
    lower = [w.lower() for w in words]
    n = max(len(words), 1)
    letters = max(len(body), 1)
    sentences = [s.split() for s in re.split(r"(?<=[.!?。])\s+", body) if s.strip()]
    links = [u.text for u in urls]
    stripped = text.strip()
    between = [cleaned[a.end : b.start].strip() for a, b in itertools.pairwise(urls)]
    measures = (
        min(len(re.findall(r"\s{2,}", stripped)), 6),
        min(len(re.findall(r"\s{4,}", stripped)), 4),
        text[:1] == " ",
        text[-1:] == " ",
        sum(min(len(re.findall(r"[a-z]-[a-z]", u)), 8) for u in links) / max(len(links), 1),
        sum(min(len(u), 200) for u in links) / max(len(links), 1) / 80.0,
        bool(urls) and urls[-1].end >= len(cleaned.rstrip()) - 1,
        math.log1p(len(cleaned[urls[-1].end :].strip())) if urls else 0.0,
        sum(len(b) > 15 for b in between),
        min(len(sentences), 6),
        math.log1p(len(sentences[0])) if sentences else 0.0,
        math.log1p(len(sentences[-1])) if sentences else 0.0,
        bool(sentences) and len(sentences[0]) <= 4,
        len(words) / 40.0,
        (len(words) / 40.0) ** 2,
        len(words) < 6,
        len(words) < 15,
        len(words) > 45,
        len(set(lower)) / n,
        sum(w[:1].isupper() and w[1:].islower() for w in words[1:]) / n,
        sum(len(w) > 8 for w in words) / n,
        sum(w in _FUNCTION_WORDS for w in lower) / n,
        10.0 * sum(c.isdigit() for c in body) / letters,
        5.0 * sum(w.endswith("ly") for w in words) / n,
        sum(ord(c) > 0x24F for c in body) / letters,
        len(words) > 4 and not any(w in _FUNCTION_WORDS for w in lower),
        math.log1p(len(words) / max(len(links), 1)),
        not links,
    )
    return [
        *(float(p.search(body) is not None) for p in _PHRASES.values()),
        *(float(min(len(p.findall(body)), most)) for p, most in _COUNTED.values()),
        *(float(min(sum(map(has, links)), most)) for has, most in _LINKS.values()),
        *(float(m) for m in measures),
    ]
