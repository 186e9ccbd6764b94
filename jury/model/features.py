"""What a note's text looks like to the rater model: form, tone, sources, and hashed words and domains.

Everything here is a pure function of the text (and the post's text); nothing that is known only afterwards - rating counts,
status, times, ids, author, writer - can enter, because it is not an argument.

What comes out (README, eq. 2):

- *form*: `FORM_NAMES`, numbers a person could count: length as X counts it, links, kinds of sources, tone, and style (`models/style.py`);
- *words*: hashed words, marks and pairs of them, every link read as the word "url" (no vocabulary is stored);
- *letters*: hashed groups of two to four characters, which see style where words see subject;
- *domains*: hashed registered domains of the links, by which notes that share a source are found (`model/relations.py`).

Words and letters are sparse counts; the model weighs buckets by rarity and keeps their main axes (`Design` in `models/hierarchical.py`).

Embeddings are a fourth block and live in `jury/model/encoders.py`.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from jury.model.style import STYLE_NAMES, style_features
from texts.note import clean_text, find_urls, host_of, normalise_for_comparison, note_length, registered_domain

MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"
NOT_MISLEADING = "NOT_MISLEADING"

# Kinds of sources by public host names; everything else is told apart only by a hash. The lists are ours, made by hand.
_HOST_KINDS: dict[str, frozenset[str]] = {
    "encyclopedia": frozenset({"wikipedia.org", "britannica.com", "wikimedia.org"}),
    "x": frozenset({"x.com", "twitter.com", "t.co"}),
    "video": frozenset({"youtube.com", "youtu.be", "tiktok.com", "vimeo.com", "twitch.tv"}),
    "social": frozenset({"facebook.com", "instagram.com", "reddit.com", "threads.net", "medium.com", "substack.com", "linkedin.com",
                         "telegram.org", "t.me", "quora.com", "bsky.app", "redd.it", "imgur.com", "fandom.com"}),
    "wire": frozenset({"reuters.com", "apnews.com", "afp.com", "npr.org", "bbc.com", "bbc.co.uk", "pbs.org"}),
    "factcheck": frozenset({"snopes.com", "politifact.com", "factcheck.org", "fullfact.org", "leadstories.com", "checkyourfact.com",
                            "factcheck.afp.com", "usatoday.com", "truthorfiction.com", "mediabiasfactcheck.com", "hoax-slayer.com"}),
    "press": frozenset({"nytimes.com", "washingtonpost.com", "theguardian.com", "cnn.com", "nbcnews.com", "cbsnews.com", "abcnews.go.com",
                        "go.com", "wsj.com", "bloomberg.com", "ft.com", "time.com", "forbes.com", "politico.com", "thehill.com", "axios.com",
                        "latimes.com", "economist.com", "theatlantic.com", "newsweek.com", "independent.co.uk", "telegraph.co.uk", "cnbc.com",
                        "msnbc.com", "msn.com", "yahoo.com", "businessinsider.com", "aljazeera.com", "dw.com", "lemonde.fr", "vox.com",
                        "theverge.com", "propublica.org", "sky.com", "france24.com", "elpais.com", "timesofisrael.com"}),
    "tabloid": frozenset({"foxnews.com", "nypost.com", "dailymail.co.uk", "dailycaller.com", "breitbart.com", "thesun.co.uk", "washingtonexaminer.com",
                          "washingtontimes.com", "thefederalist.com", "dailywire.com", "rumble.com", "theepochtimes.com", "zerohedge.com", "rt.com",
                          "nationalreview.com", "dailykos.com", "salon.com", "thedailybeast.com", "huffpost.com", "mediamatters.org", "express.co.uk"}),
    "science": frozenset({"nature.com", "science.org", "sciencemag.org", "doi.org", "nejm.org", "thelancet.com", "jamanetwork.com", "bmj.com",
                          "sciencedirect.com", "springer.com", "wiley.com", "arxiv.org", "medrxiv.org", "biorxiv.org", "plos.org", "pnas.org",
                          "who.int", "mayoclinic.org", "hopkinsmedicine.org", "ourworldindata.org", "pewresearch.org", "oup.com", "mdpi.com", "cell.com"}),
    "archive": frozenset({"archive.org", "archive.is", "archive.ph", "archive.today", "perma.cc", "ghostarchive.org"}),
    "search": frozenset({"google.com", "bing.com", "duckduckgo.com", "goo.gl", "bit.ly", "tinyurl.com"}),
}  # fmt: skip
_KIND_OF_HOST = {host: kind for kind, hosts in _HOST_KINDS.items() for host in hosts}
_KINDS = (*_HOST_KINDS, "government", "university", "organisation", "other")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


# Counted per note and saturated (see `_saturate`). English first; the commonest Spanish, Portuguese, French and German forms beside.
_PATTERNS: dict[str, re.Pattern[str]] = {
    "first_person": _words(r"i|i'm|i've|i'd|me|my|mine|we|our|us|yo|mi|eu|meu|je|mon|ich|mein"),
    "second_person": _words(r"you|your|you're|yours|ur"),
    "opinion": _words(r"opinions?|believes?|think|feel|feels|should|must|ought|personal|subjective|agree|disagree|opini[oó]n|opini[aã]o|meinung"),
    "speculation": _words(r"may|might|could|likely|possibly|perhaps|probably|seems?|appears?|suggests?|presumably|apparently|allegedly|potentially"),
    "hedge": _words(r"some|often|generally|usually|typically|about|around|approximately|nearly|almost|many|most"),
    "certainty": _words(r"clearly|obviously|certainly|definitely|absolutely|totally|completely|entirely|literally|simply|never|always|every|all|no one|nobody"),
    "accuse": _words(r"lie|lies|lied|liar|lying|fraud|fraudulent|propaganda|hoax|conspiracy|disinformation|fear ?mongering|grift\w*|troll\w*|shill|smear|hate|racist|racism|bigot\w*|bias|biased|dishonest|deceptive|deceitful|manipulat\w*|ignoran\w*|stupid|idiot\w*|ridiculous|nonsense|absurd|laughable|pathetic|disgusting"),
    "verdict": _words(r"false|falsely|untrue|incorrect|inaccurate|wrong|fake|misleading|misleads?|misinformation|misrepresent\w*|debunked|baseless|unfounded|unsubstantiated|falso|falsa|enganos[oa]|faux|falsch"),
    "no_evidence": _words(r"no (?:evidence|proof|source|sources|basis|indication|record)|unverified|unproven|without (?:evidence|proof)|lacks? evidence|not supported"),
    "note_needed": re.compile(r"\bNNN\b|no note (?:is )?(?:needed|necessary)|note (?:is )?not (?:needed|necessary)|not? need(?:ed)? (?:a )?(?:community )?note|\bCN\b|community notes?|birdwatch|\bnotes?\b", re.IGNORECASE),
    "satire": _words(r"satire|satirical|joke|jokes|joking|parody|humou?r|sarcasm|sarcastic|irony|ironic|meme|s[aá]tira|piada|satirisch"),
    "attribution": _words(r"according to|reported|reports?|stated|states|said|says|announced|confirmed|confirms|published|study|studies|research|data|survey|poll|records?|statement|official|officials|documents?|court|transcript|seg[uú]n|segundo|selon|laut"),
    "media": _words(r"video|videos|photo|photos|photograph|image|images|picture|footage|clip|screenshot|audio|recording|foto|imagen|imagem|vid[eé]o|bild"),
    "manipulated": _words(r"edited|altered|photoshop\w*|doctored|ai[- ]generated|generated (?:by|with|using) ai|artificial intelligence|deepfake|cgi|staged|fabricated|manipulated|digitally|out of context|taken out|cropped|spliced"),
    "origin": _words(r"originally|original|actual|actually|full|taken|filmed|recorded|dates? (?:from|back)|from (?:19|20)\d\d|years? ago|old|older|previous\w*|earlier|first posted"),
    "spam": _words(r"scam\w*|spam|phishing|bot|bots|crypto\w*|giveaway|ads?|advert\w*|dropship\w*|malware|affiliate|estafa|golpe"),
    "missing_context": _words(r"context|omits?|omitted|leaves? out|left out|fails? to mention|missing|ignores?|neglects?|also|however|but|although|while"),
    "politics": _words(r"republicans?|democrats?|gop|liberals?|conservatives?|left|right|leftists?|far[- ]right|far[- ]left|trump|biden|harris|maga|woke|socialis\w*|communis\w*|fascis\w*|nazis?|antifa|blm"),
    "the_post": _words(r"this (?:post|tweet|claim|video|image|photo|is|user|account|person|poster|statement|article|quote)|the (?:post|tweet|claim|poster|op|author|user|account|video|image|photo)|tweet|op"),
    "fact": _words(r"facts?|factual|factually|fact[- ]check\w*|true|truth|truthful|accurate|correct|correctly|evidence|proof|sources?|verified|verif\w+"),
    "negation": _words(r"not|no|n't|isn't|wasn't|doesn't|didn't|don't|aren't|weren't|can't|cannot|never|neither|nor|none|without|no es|n[aã]o|nicht|kein\w*"),
    "contrast_number": re.compile(r"\b\d[\d,.]*\s?(?:%|percent|million|billion|thousand|trillion|k|bn|m)\b|[$€£]\s?\d", re.IGNORECASE),
    "year": re.compile(r"\b(?:19|20)\d\d\b"),
    "date": _words(r"january|february|march|april|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}"),
    "quote": re.compile(r"[\"“”«»„][^\"“”«»„]{3,}[\"“”«»„]"),
    "law": _words(r"law|laws|legal|illegal|court|judge|constitution\w*|amendment|act|statute|rule|rules|ruling|policy|bill|section|federal"),
    "health": _words(r"vaccin\w*|covid(?:-19)?|virus|cdc|fda|doctors?|medical|disease|pandemic|deaths?|masks?"),
    "because": _words(r"because|since|therefore|thus|due to|caused?|result\w*|so that|which means|in fact|instead|rather"),
    "emotion": _words(r"sad|shame|shameful|outrag\w*|horrible|terrible|awful|evil|amazing|great|wonderful|wow|please|stop|lol|lmao|omg|wtf|hell|damn|shit|fuck\w*|bullshit"),
}  # fmt: skip

_SCALARS = (
    "length",
    "log_words",
    "short",
    "full",
    "n_links",
    "has_link",
    "two_links",
    "four_links",
    "link_share",
    "deep_links",
    "starts_with_link",
    "same_domain",
    "word_length",
    "sentence_length",
    "numbers",
    "question",
    "exclamation",
    "capitals",
    "shouted_words",
    "not_latin",
    "emoji",
    "mentions",
    "line_breaks",
    "lower_start",
    "has_post_text",
    "post_overlap",
    "post_numbers_shared",
    "post_words_new",
)
_BASE_NAMES: tuple[str, ...] = (
    *_SCALARS,
    *(f"says_{n}" for n in _PATTERNS),
    *(f"cites_{k}" for k in _KINDS),
    *STYLE_NAMES,
)
FORM_NAMES: tuple[str, ...] = (
    *_BASE_NAMES,
    "links_and_length",
    "attributed_with_link",
    "accuses_without_link",
    "opinion_without_link",
    "number_with_link",
    *(
        f"not_misleading:{n}"
        for n in (
            "stance",
            "length",
            "has_link",
            "says_opinion",
            "says_satire",
            "says_fact",
            "says_accuse",
            "says_attribution",
        )
    ),
)
"""Names of the form block, in column order."""

N_WORD_BUCKETS = 1024
N_LETTER_BUCKETS = 1024
N_DOMAIN_BUCKETS = 256
_MARKED = re.compile(r"\w+|[^\w\s]")
_TOKEN = re.compile(r"[a-zà-öø-ÿā-ž0-9']+|[^\W\d_]", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d,.]*")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
_CACHED_TEXTS = 65536


@dataclass(frozen=True)
class TextParts:
    """What one text was read into: `form` without the classification's columns, sparse word, letter and domain buckets, the words."""

    form: NDArray[np.float32]
    words: tuple[tuple[int, float], ...]
    letters: tuple[tuple[int, float], ...]
    domains: tuple[tuple[int, float], ...]
    body: str


def _saturate(count: int) -> float:
    """Counts with a ceiling: the third "false" says little more than the second. 0, 1, 1.58, 2, ... (log2)."""
    return math.log2(1 + min(count, 7))


def source_kind(url: str) -> str:
    """The kind of source a link leads to, one of the keys of the table above, `government`, `university`, `organisation` or `other`."""
    domain = registered_domain(url)
    kind = _KIND_OF_HOST.get(domain) or _KIND_OF_HOST.get(host_of(url))
    if kind:
        return kind
    host = host_of(url)
    if re.search(r"(?:^|\.)(?:gov|mil|gob|gouv|govt|europa)(?:\.|$)|\.gc\.ca$|\.int$|^(?:.*\.)?congress\.", host):
        return "government"
    if re.search(r"\.(?:edu|ac)(?:\.|$)", host):
        return "university"
    return "organisation" if host.endswith(".org") else "other"


@lru_cache(maxsize=_CACHED_TEXTS)
def strip_links(text: str) -> str:
    """The text as a reader sees it, without its links, blanks collapsed: what word and sentence encoders are given."""
    text = clean_text(text)
    pieces, position = [], 0
    for url in find_urls(text):
        pieces.append(text[position : url.start])
        position = url.end
    pieces.append(text[position:])
    return re.sub(r"\s+", " ", " ".join(pieces)).strip()


@lru_cache(maxsize=_CACHED_TEXTS)
def said(text: str) -> str:
    """What the text says, in a form in which texts that differ in blanks, quotes or entities alone are equal: then they are one note."""
    return normalise_for_comparison(text)


@lru_cache(maxsize=_CACHED_TEXTS)
def read_text(text: str) -> TextParts:
    """Form, words and domains of one text, the post aside. Cached, because a sibling is read for every candidate of its post."""
    cleaned = clean_text(text)
    urls = find_urls(cleaned)
    pieces, position = [], 0
    for url in urls:
        pieces.append(cleaned[position : url.start])
        position = url.end
    pieces.append(cleaned[position:])
    body = re.sub(r"\s+", " ", " ".join(pieces)).strip()
    tokens = [t.lower() for t in _TOKEN.findall(body)]
    n_words = len(tokens)
    letters = [c for c in body if c.isalpha()]
    n_letters = max(len(letters), 1)
    domains = [registered_domain(u.text) or host_of(u.text) for u in urls]
    kinds = [source_kind(u.text) for u in urls]
    length = note_length(text)
    sentences = max(1, len(re.findall(r"[.!?。！？]+(?:\s|$)", body)))
    long_words = [t for t in tokens if len(t) > 1]
    scalars = {
        "length": length / 280.0,
        "log_words": math.log1p(n_words),
        "short": float(length < 80),
        "full": float(length > 240),
        "n_links": min(len(urls), 6) / 2.0,
        "has_link": float(bool(urls)),
        "two_links": float(len(urls) >= 2),
        "four_links": float(len(urls) >= 4),
        "link_share": sum(len(u.text) for u in urls) / max(len(cleaned), 1),
        "deep_links": sum(u.text.rstrip("/").count("/") > 2 for u in urls) / max(len(urls), 1),
        "starts_with_link": float(bool(urls) and urls[0].start == 0),
        "same_domain": float(len(set(domains)) < len(domains)),
        "word_length": (sum(map(len, long_words)) / max(len(long_words), 1)) / 5.0,
        "sentence_length": math.log1p(n_words / sentences),
        "numbers": _saturate(len(_NUMBER.findall(body))),
        "question": _saturate(body.count("?") + body.count("？")),
        "exclamation": _saturate(body.count("!") + body.count("！")),
        "capitals": sum(c.isupper() for c in letters) / n_letters,
        "shouted_words": _saturate(len(re.findall(r"\b[A-Z]{4,}\b", body))),
        "not_latin": sum(ord(c) > 0x24F for c in letters) / n_letters,
        "emoji": float(bool(_EMOJI.search(body))),
        "mentions": _saturate(len(re.findall(r"[@#]\w+", body))),
        "line_breaks": _saturate(len(re.findall(r"\n|\s{2,}", cleaned))),
        "lower_start": float(bool(body) and body[0].islower()),
        "has_post_text": 0.0,
        "post_overlap": 0.0,
        "post_numbers_shared": 0.0,
        "post_words_new": 0.0,
    }
    says = [_saturate(len(p.findall(body))) for p in _PATTERNS.values()]
    cites = [min(kinds.count(k), 3) / math.sqrt(max(len(kinds), 1)) for k in _KINDS]
    style = style_features(text, cleaned, body, urls)
    form = np.array([*(scalars[n] for n in _SCALARS), *says, *cites, *style], dtype=np.float32)

    # Links become a word of their own: that there is one, and where, belongs to the wording.
    worded = " URL ".join(pieces).lower()
    marks = _MARKED.findall(worded)
    words = _hashed([*marks, *(f"{a} {b}" for a, b in itertools.pairwise(marks))], N_WORD_BUCKETS)
    groups = _hashed_letters(" ".join(worded.split()))
    sites = sorted({(zlib.crc32(d.encode("utf-8", "replace")) % N_DOMAIN_BUCKETS, 1.0) for d in domains})
    return TextParts(form, words, groups, tuple(sites), body)


def _hashed(grams: Sequence[str], size: int) -> tuple[tuple[int, float], ...]:
    """Signed, damped counts of `grams` by bucket (CRC-32: equal everywhere and fast), sorted by bucket."""
    counts: dict[str, int] = {}
    for gram in grams:
        counts[gram] = counts.get(gram, 0) + 1
    out: dict[int, float] = {}
    for gram, count in counts.items():
        digest = zlib.crc32(gram.encode("utf-8", "replace"))
        bucket = digest % size
        out[bucket] = out.get(bucket, 0.0) + (1 + math.log(count)) * (1.0 if (digest >> 20) & 1 else -1.0)
    return tuple(sorted((k, v) for k, v in out.items() if v))


def _hashed_letters(text: str) -> tuple[tuple[int, float], ...]:
    """Signed, damped counts of the groups of 2 to 4 characters within words (blanks around a word belong to it), by bucket."""
    if not text:
        return ()
    codes = np.frombuffer(f" {text} ".encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    found = []
    for n in (2, 3, 4):
        places = len(codes) - n + 1
        if places <= 0:
            break
        key = np.full(places, n, dtype=np.uint64)
        whole = np.ones(places, dtype=bool)
        for j in range(n):
            key = key * np.uint64(0x100000001B3) + codes[j : j + places]
            if 0 < j < n - 1:
                whole &= codes[j : j + places] != 32
        found.append(key[whole])
    keys, count = (
        np.unique(np.concatenate(found), return_counts=True) if found else (np.zeros(0, np.uint64), np.zeros(0))
    )
    # The finisher of MurmurHash3: polynomial keys alone would put similar groups into neighbouring buckets.
    mixed = (keys ^ (keys >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed ^= mixed >> np.uint64(33)
    sign = np.where((mixed >> np.uint64(40)) & np.uint64(1), 1.0, -1.0)
    total = np.bincount(
        (mixed % np.uint64(N_LETTER_BUCKETS)).astype(np.int64), sign * (1 + np.log(count)), N_LETTER_BUCKETS
    )
    return tuple((int(k), float(total[k])) for k in np.flatnonzero(total))


@lru_cache(maxsize=_CACHED_TEXTS)
def _content_words(text: str) -> frozenset[str]:
    return frozenset(t.lower() for t in _TOKEN.findall(strip_links(text)) if len(t) > 3 or t.isdigit())


@lru_cache(maxsize=_CACHED_TEXTS)
def form_features(text: str, classification: str, post_text: str | None) -> NDArray[np.float32]:
    """The form block of one note, (len(FORM_NAMES),). Unknown classification counts as misleading, an unknown post as absent."""
    parts = read_text(text)
    base = parts.form.copy()
    at = {n: i for i, n in enumerate(_BASE_NAMES)}
    if post_text and post_text.strip():
        mine, theirs = _content_words(text), _content_words(post_text)
        shared = mine & theirs
        base[at["has_post_text"]] = 1.0
        base[at["post_overlap"]] = len(shared) / math.sqrt(max(len(mine) * len(theirs), 1))
        base[at["post_numbers_shared"]] = float(any(w[0].isdigit() for w in shared))
        base[at["post_words_new"]] = 1.0 - len(shared) / max(len(mine), 1)
    has_link = base[at["has_link"]]
    no_link = 1.0 - has_link
    crossed = (
        base[at["n_links"]] * base[at["length"]],
        base[at["says_attribution"]] * has_link,
        base[at["says_accuse"]] * no_link,
        base[at["says_opinion"]] * no_link,
        base[at["numbers"]] * has_link,
    )
    stance = float(classification == NOT_MISLEADING)
    by_stance = [
        stance * v
        for v in (
            1.0,
            base[at["length"]],
            has_link,
            base[at["says_opinion"]],
            base[at["says_satire"]],
            base[at["says_fact"]],
            base[at["says_accuse"]],
            base[at["says_attribution"]],
        )
    ]
    return np.concatenate([base, np.array([*crossed, *by_stance], dtype=np.float32)])


def sparse_block(rows: Sequence[tuple[tuple[int, float], ...]], size: int) -> NDArray[np.float32]:
    """Sparse rows as a dense (n, size) float32 matrix."""
    block = np.zeros((len(rows), size), dtype=np.float32)
    for i, row in enumerate(rows):
        for bucket, value in row:
            block[i, bucket] = value
    return block


def stance_index(classification: str) -> int:
    """0 for a note that calls its post misleading (and for an unknown classification), 1 for one that does not."""
    return int(classification == NOT_MISLEADING)
