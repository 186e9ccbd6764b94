"""Whether a text speaks of the matter at hand: what the post, its other notes and the addresses of its links have in common with it.

Form can be put on any text; these columns cannot. They ask whether the words are those of the post and of the other notes, whether they stand in
an order in which people write, whether a sentence says the opposite of what another note says, whether the text only repeats the post. Every one is
bounded and counts only material about the matter, so that adding anything else cannot raise it.

In a text that nobody has published a link counts as a source only where something speaks for it: the words of its address are those of the text, the post or the other notes or lie as
near to them, by the encoder, as hardly ever those of a link that belongs elsewhere, or another note gives the same address. `reading` takes the other
links out before any column is made. On real notes seven in ten links stay, of links of other posts' notes one in thirty; the rest of the
real ones have no words in their address.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from random import Random
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from jury.model.features import said, strip_links
from texts.note import canonical_url, clean_text, find_urls
from texts.words import content, tokens

Array = NDArray[Any]

CONTENT_NAMES = (
    "about_post", "about_others", "about_nothing", "matter", "beside_the_matter", "order", "contradicts", "repeats_post", "insults", "new_numbers", "aside",
)  # fmt: skip
READ_NAMES = (*CONTENT_NAMES, "far", "strays")
"""What `reading` gives: CONTENT_NAMES, and what only guards see, because raters do not mind it. far: how little the text resembles the post and every
other note, 0 where an embedding finds it among them, 1 where it is as far as the farther of the texts about something else. strays: 1 where a link was taken out."""
"""Columns of `reading`. about_post, about_others: share of the text's words (weighed by rarity) that the post, the other notes have, up to ENOUGH.
about_nothing: 1 where it shares nothing rarer with either. matter, beside_the_matter: words shared with them and not shared, up to a ceiling.
order: mean surplus of neighbouring words over chance, up to what notes usually have. contradicts: the likeness of the likest sentence of another
note of the stance that has one negation more or less. repeats_post: how far a misleading note says what its post says. insults; numbers nobody else gives. aside: share of the sentences that
share nothing with the post, the other notes or each other."""
ENOUGH = 0.30
SPEAKS = 0.55
"""Rarity of shared words from which on they speak for a link: one rare word, or two or three common ones."""
GUARD_NAMES = (
    "nothing", "disorder", "contradicts", "repeats", "insults", "aside", "numbers", "shouted", "unended", "denials", "hearsay", "strays",
)  # fmt: skip
"""Columns of `guards`, 0 to 1 each. They can only lower a score: they are at work where hardly a real note is."""
BUCKETS = 65536
COMMON = 20  # times a word was written from which on it stands for itself in the order of words
_COMPARED = 240  # sentences of other notes a text is compared with, at most: a crowded post must not cost the square of its notes
_NEGATIONS = re.compile(
    r"\b(?:not|no|never|none|neither|nor|nobody|nothing|without|cannot|false|untrue|incorrect|wrong|nunca|jam[aá]s|sin|ning[uú]n\w*|falso|falsa|n[aã]o|sem|"
    r"nenhum\w*|nicht|kein\w*|nie|niemals|ohne|falsch|unwahr|pas|jamais|sans|aucune?|faux)\b|n['’]t\b|ない|ません", re.IGNORECASE)  # fmt: skip
_INSULTS = re.compile(
    r"\b(?:morons?|idiots?|idiotic|stupid|dumb\w*|imbeciles?|clowns?|losers?|pathetic|brainless|brain ?dead|braindead|fools?|foolish|liars?|trash|garbage|scum|"
    r"sheep|cretins?|jackass\w*|dimwits?|nutjobs?|lunatics?|crybab\w*|snowflakes?|shut up|grow up|disgrace|delusional|asshole\w*|fuck\w*|bullshit|retard\w*|"
    r"idiotas?|imb[eé]ci[l]\w*|est[uú]pid\w*|payas\w*|mentiros\w*|tont[oa]s?|palha[çc]o\w*|burr[oa]s?|ot[aá]ri\w*|rid[ií]cul\w*|pat[eé]tic\w*|asn[oa]s?|"
    r"\w*idiot\w*|dumm\w*|bl[oö]d\w*|l[uü]gner\w*|erb[aä]rmlich\w*|trottel\w*|schwachkopf\w*|connards?|menteurs?|d[eé]biles?|abruti\w*)\b|馬鹿|バカ", re.IGNORECASE)  # fmt: skip
_HEARSAY = re.compile(
    r"\b(?:according to|reported by|reports? that|said|says|confirmed|seg[uú]n|segundo|inform(?:ó|a[çc][aã]o)|laut|berichtet|selon)\b", re.IGNORECASE
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+|\d+|[.,!?;:]")
_ADDRESS = re.compile(r"[A-Z]?[a-zà-öø-ÿ]{2,}|[A-Z]{2,}|[^\W\d_]{2,}|\d{4,}")
_PATH_WORDS = frozenset(
    [
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "news",
        "article",
        "articles",
        "story",
        "stories",
        "post",
        "posts",
        "index",
        "html",
        "htm",
        "php",
        "aspx",
        "www",
        "com",
        "org",
        "amp",
        "pdf",
        "wiki",
        "status",
        "watch",
        "reel",
        "http",
        "https",
        "utm",
        "source",
        "share",
        "uploads",
        "content",
        "media",
        "images",
        "image",
        "files",
        "file",
    ]
)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+")


@lru_cache(maxsize=65536)
def stems(text: str) -> frozenset[str]:
    """Stems of the words that carry content, links aside."""
    return content(tokens(strip_links(text)))


@lru_cache(maxsize=65536)
def address_stems(url: str) -> frozenset[str]:
    """Stems of the words in an address: host, path and query, read apart at capitals and marks."""
    rest = re.sub(r"^\w+://(?:www\.)?", "", url)
    return content(tokens(" ".join(_ADDRESS.findall(rest))))


@lru_cache(maxsize=65536)
def address_phrase(url: str) -> str:
    """The words of an address' path, to be read by an encoder; empty where it has none."""
    path = re.sub(r"^\w+://[^/]*", "", unquote(url))
    words = [
        w for w in re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]{2,}", path) if len(w) > 2 and w.lower() not in _PATH_WORDS
    ]
    return " ".join(words)


@lru_cache(maxsize=65536)
def _sentences(text: str) -> tuple[tuple[frozenset[str], int], ...]:
    """Content stems and parity of negations of every sentence."""
    return tuple((stems(s), len(_NEGATIONS.findall(s)) % 2) for s in _SENTENCE.split(strip_links(text)) if s)


@lru_cache(maxsize=65536)
def _links(text: str) -> tuple[tuple[int, int, str], ...]:
    """Begin, end (in the cleaned text) and canonical form of every link."""
    return tuple((u.start, u.end, canonical_url(u.text)) for u in find_urls(clean_text(text)))


def addresses_of(text: str) -> list[str]:
    """Canonical forms of a text's links, in order."""
    return [url for _, _, url in _links(text)]


@lru_cache(maxsize=262144)
def _bucket(key: str) -> int:
    return zlib.crc32(key.encode("utf-8", "replace")) % BUCKETS


@dataclass(frozen=True)
class Lexicon:
    """What words are worth: `rarity` (BUCKETS,) by hashed stem, 0 in every note to 1 in none; `pairs` (BUCKETS,) counts of neighbouring words,
    `singles` (BUCKETS,) of words, by hash. No word of anybody's text is in it. `usual_order`: median order of the notes it was made from, `no_order` of the same with their words shuffled, `low_order` below nearly all notes.
    By the encoder, from `set_borders`: `link_border`, the cosine a link must reach; `near_low`, `near_high`, cosines of texts about something else."""

    rarity: NDArray[np.float32]
    pairs: NDArray[np.float32]
    singles: NDArray[np.float32]
    usual_order: float = 0.0
    low_order: float = 0.0
    no_order: float = 0.0
    link_border: float = math.inf
    near_low: float = 0.0
    near_high: float = 0.0
    _orders: dict[tuple[str, bool], float] = field(default_factory=dict, compare=False, repr=False)

    def mass(self, words: Iterable[str]) -> float:
        return float(self.rarity[sorted(_bucket(w) for w in words)].sum())

    def order(self, text: str, seen: bool = False) -> float:
        """Mean over neighbouring words of how much commoner the pair is than chance (a logarithm); `seen`: the text itself was counted."""
        known = self._orders.get((text, seen))
        if known is None:
            if len(self._orders) >= 65536:
                self._orders.clear()
            known = self._orders[text, seen] = self._order(text, seen)
        return known

    def _order(self, text: str, seen: bool) -> float:
        words = _classes(strip_links(text), self)
        if len(words) < 4:
            return self.usual_order
        less = float(seen)
        total = max(self.total, 1.0)
        single = [max(float(self.singles[_bucket(w)]) - less, 0.0) for w in words]
        pair = [max(float(self.pairs[_bucket(f"{a} {b}")]) - less, 0.0) for a, b in itertools.pairwise(words)]
        surplus = [math.log((p + 0.2) / (single[k] * single[k + 1] / total + 0.2)) for k, p in enumerate(pair)]
        return float(np.clip(surplus, -3.0, 3.0).mean())

    @cached_property
    def total(self) -> float:
        return float(self.singles.sum())

    def common(self, word: str) -> bool:
        return bool(self.singles[_bucket(word)] >= COMMON)


def _classes(body: str, lexicon: Lexicon) -> list[str]:
    """Words in order; those that are not common by their kind (number, capital, ending) instead."""
    out = []
    for word in _WORD.findall(body):
        low = word.lower()
        if lexicon.common(low):
            out.append(low)
        else:
            out.append("0" if word.isdigit() else f"A{low[-1:]}" if word[0].isupper() else f"~{low[-2:]}")
    return out


def no_lexicon() -> Lexicon:
    """A lexicon that knows no word: of models that do not read content."""
    nothing = np.zeros(0, np.float32)
    return Lexicon(nothing, nothing, nothing)


def make_lexicon(texts: Sequence[str], most: int = 8000) -> Lexicon:
    """Rarity and neighbourhoods of words from at most `most` of the notes at hand; a word in one of thirty is worth nothing."""
    texts = texts[:: -(-len(texts) // most)] if texts else texts
    spoken, linked, counts, pairs = (np.zeros(BUCKETS, np.float32) for _ in range(4))
    for text in texts:
        spoken[[_bucket(w) for w in stems(text)]] += 1
        linked[[_bucket(w) for w in {w for _, _, url in _links(text) for w in address_stems(url)}]] += 1
        np.add.at(counts, [_bucket(w.lower()) for w in _WORD.findall(strip_links(text))], 1)
    rarity = 1.0 - np.log1p(np.maximum(spoken, linked)) / math.log1p(max(len(texts), 2) / 2)
    lexicon = Lexicon(np.clip((rarity - 0.3) / 0.7, 0.0, 1.0).astype(np.float32), pairs, counts)
    singles = np.where(counts >= COMMON, counts, 0).astype(np.float32)
    for text in texts:
        words = _classes(strip_links(text), lexicon)
        np.add.at(singles, [_bucket(w) for w in words if not lexicon.common(w)], 1)
        np.add.at(pairs, [_bucket(f"{a} {b}") for a, b in itertools.pairwise(words)], 1)
    made = replace(lexicon, singles=singles)
    some = texts[:: max(len(texts) // 1000, 1)]
    if not some:
        return made
    low, usual = np.quantile([made.order(t, seen=True) for t in some], [0.05, 0.5])
    rng = Random(0)
    mixed = [" ".join(rng.sample(w, len(w))) for w in (strip_links(t).split() for t in some)]
    none = float(np.median([made.order(t) for t in mixed]))
    # Notes of another year use other words and seem less in order than those it was made from: the border keeps a distance from these.
    return replace(made, usual_order=float(usual), low_order=none + 0.6 * max(float(low) - none, 0.0), no_order=none)


class Around:
    """What stands beside a text: the post, and the other notes of the post with their stances (the text itself may be among them).

    `unit` (n, E) are the embeddings of the texts, `post_unit` (E,) that of the post; E may be 0.
    """

    def __init__(
        self,
        post_text: str | None,
        texts: Sequence[str],
        stances: Sequence[int],
        unit: Array | None = None,
        post_unit: Array | None = None,
    ) -> None:
        self.post = stems(post_text) if post_text and post_text.strip() else frozenset()
        self.texts = Counter((said(t), int(s)) for t, s in zip(texts, stances, strict=True))
        self.words = Counter(w for t in texts for w in stems(t))
        self.links = Counter(url for t in texts for url in {u for _, _, u in _links(t)})
        self.numbers = {w for t in (*texts, post_text or "") for w in re.findall(r"\d+", t)}
        self.sentences = [
            (said(t), int(s), words, parity) for t, s in zip(texts, stances, strict=True) for words, parity in _sentences(t)
        ][:_COMPARED]  # fmt: skip
        self._whose = [(said(t), int(s)) for t, s in zip(texts, stances, strict=True)] + [("", -1)]
        width = 0 if unit is None else unit.shape[1]
        beside = np.zeros((len(texts) + 1, width), np.float32)
        if width and unit is not None:
            beside[:-1] = unit
            if self.post and post_unit is not None:
                beside[-1] = post_unit
        self._beside = beside

    def besides(self, me: str, stance: int) -> Array:
        """Embeddings of the post and the other notes, the text itself left out, (k, E)."""
        return self._beside[[w != (me, stance) for w in self._whose]]


def reading(
    text: str,
    stance: int,
    around: Around,
    lexicon: Lexicon,
    seen: bool = False,
    unit: Array | None = None,
    addresses: Mapping[str, Array] | None = None,
    published: bool = False,
) -> tuple[str, Array]:
    """The text without the links nothing speaks for, and its READ_NAMES, (13,); not a number where there is nothing to compare with.

    `seen`: the text is one of those the lexicon was made from. `unit` (E,) is its embedding, `addresses` those of its links' `address_phrase`. A `published` note keeps its links.
    """
    own, me = stems(text), said(text)
    itself = around.texts[me, stance]
    less = 1 if itself else 0
    others = {w for w in own if around.words[w] > less}
    has_others = sum(around.texts.values()) > itself
    shared = others | (own & around.post)
    mass, of_matter = lexicon.mass(own), lexicon.mass(shared)
    compared = bool(around.post) or has_others
    beside = around.besides(me, stance)
    far = 1.0
    if unit is not None and len(unit) and compared:
        near = float((beside @ unit).max())
        far = 1.0 - float(
            np.clip((near - lexicon.near_low) / max(lexicon.near_high - lexicon.near_low, 1e-6), 0.0, 1.0)
        )
    # What a text says of something else speaks for no link.
    trusted = not compared or of_matter >= SPEAKS or far < 0.5
    if unit is not None and trusted:
        beside = np.vstack([beside, unit])
    near_links = {
        url for url, its in (addresses or {}).items() if float((beside @ its).max(initial=0.0)) >= lexicon.link_border
    }
    pruned = text if published else _supported(text, own if trusted else shared, around, less, lexicon, near_links)
    out = np.full(len(READ_NAMES), np.nan)
    out[11:] = far, float(pruned != text)
    if around.post:
        out[0] = min(lexicon.mass(own & around.post) / max(mass, 1.0), ENOUGH)
    if has_others:
        out[1] = min(lexicon.mass(others) / max(mass, 1.0), ENOUGH)
    if compared:
        out[2] = 1.0 - min(of_matter / SPEAKS, 1.0)
        out[3] = min(of_matter, 4.0) / 2.0
        out[4] = min(mass - of_matter, 8.0) / 4.0
    out[5] = min(lexicon.order(text, seen), lexicon.usual_order)
    out[6] = _contradiction(text, stance, me, around, lexicon)
    if around.post and stance == 0:
        out[7] = max((lexicon.mass(own & around.post) / max(mass, 0.5) - 0.6) / 0.4, 0.0)
    out[8] = min(len(_INSULTS.findall(strip_links(text))), 2) / 2.0
    if compared:
        parts = [words for words, _ in _sentences(text) if len(words) >= 2]
        apart = [
            not any(w in around.post or around.words[w] > less or sum(w in p for p in parts) > 1 for w in words)
            for words in parts
        ]
        out[10] = sum(apart) / len(parts) if len(parts) > 1 else 0.0
        new = (
            {w for w in re.findall(r"\d+", strip_links(text)) if w not in around.numbers}
            if not (less or published)
            else set()
        )
        out[9] = min(len(new), 3) / 3.0
    return pruned, out


def guards(read: str, row: Array, lexicon: Lexicon) -> list[float]:
    """GUARD_NAMES of one text from what `reading` gave of it, (12,), 0 where nobody can tell.

    One real note in four shares no rarer word with post and other notes and is received like the rest: it says the same in other words, which an
    embedding sees.
    """
    known = dict(zip(READ_NAMES, np.nan_to_num(row).tolist(), strict=True))
    body, links = strip_links(read), len(_links(read))
    capitals = sum(c.isupper() for c in body) / max(sum(c.isalpha() for c in body), 1)
    denied = max((len(_NEGATIONS.findall(s)) for s in _SENTENCE.split(body)), default=0)
    return [
        known["far"] * max(known["about_nothing"] - 0.4, 0.0) / 0.6,
        float(np.clip((lexicon.low_order - known["order"]) / max(lexicon.low_order - lexicon.no_order, 0.1), 0.0, 1.0)),
        known["contradicts"],
        min(known["repeats_post"], 1.0),
        known["insults"],
        max(known["aside"] - 0.2, 0.0) / 0.8,
        known["new_numbers"],
        max(capitals - 0.3, 0.0) / 0.7,
        float(body[-1:].isalnum() and not links),
        min(max(denied - 1, 0), 2) / 2.0,
        float(not links and _HEARSAY.search(body) is not None),
        known["strays"],
    ]


def _supported(text: str, own: Set[str], around: Around, less: int, lexicon: Lexicon, near: Set[str]) -> str:
    found = _links(text)
    if not found:
        return text
    cleaned, kept, position = clean_text(text), [], 0
    for begin, end, url in found:
        words = address_stems(url)
        spoken = {w for w in words if w in own or w in around.post or around.words[w] > less}
        if url in near or around.links[url] > less or lexicon.mass(spoken) >= SPEAKS:
            continue
        kept.append(cleaned[position:begin])
        position = end
    if not kept:
        return text
    return re.sub(r" {2,}", " ", "".join([*kept, cleaned[position:]])).rstrip()


def _contradiction(text: str, stance: int, me: str, around: Around, lexicon: Lexicon) -> float:
    """How like the likest sentence of another note of the stance is that has the other parity of negations: 0 below 0.6 of the words, 1 for all."""
    most = 0.0
    for words, parity in _sentences(text):
        if len(words) < 3:
            continue
        for whose, its_stance, others, its_parity in around.sentences:
            if its_parity == parity or its_stance != stance or whose == me or len(others & words) < 3:
                continue
            most = max(most, (lexicon.mass(words & others) / max(lexicon.mass(words | others), 0.1) - 0.6) / 0.4)
    return most
