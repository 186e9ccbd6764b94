"""Words as the checks compare them: tokens with positions, light stems, function words, content overlap.

Scripts written without blanks (Han, kana, Thai...) give one token a character, so that overlap means something there too.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import regex

from texts.note import Span

_TOKEN = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
    r"|(?:\p{L}\.){2,}"  # U.S., e.g.
    r"|[\p{L}\p{M}\p{N}]+(?:['’‑-][\p{L}\p{M}\p{N}]+|(?<=\p{N})[.,](?=\p{N})[\p{N}]+)*"
)


def word_set(text: str) -> frozenset[str]:
    """The words of a list written as running text."""
    return frozenset(text.split())


# Function words of English, Spanish, Portuguese, French, Italian, German and Dutch.
_FUNCTION = word_set(
    "a an the this that these those it its he she they them his her their there here i we you our your and or "
    "but nor so if then than as of in on at by for from to with without into onto over under about after "
    "before during between against through via per up down out off is are was were be been being has have had "
    "having do does did doing will would can could should shall may might must not no also only just more "
    "most very much many some any all both each other such same own too however while when where which who "
    "whom whose what how why because since until although though according said says say el la los las un una "
    "unos unas lo al del de en y o u e que se su sus con por para sin sobre entre como mas pero no es son fue "
    "era ser ha han hay este esta esto ese esa eso os as um uma do da dos das no na nos nas em com por para "
    "sem sobre foi ser sao ao aos pelo pela que nao mais mas ou le les des du au aux une et ou mais dans sur "
    "avec sans pour par est sont etait ete ce cet cette ces qui que dont ne pas plus son sa ses leur leurs il "
    "lo gli dei delle della dello degli nel nella di da con per tra fra ed ma non sono stato der die das den "
    "dem des ein eine einer eines einem einen und oder aber ist sind war waren wird werden wurde wurden hat "
    "haben hatte nicht kein keine im am zum zur von vom mit auf fur an aus bei nach uber unter als auch nur "
    "noch es er sie sich dass dies diese dieser dieses het een van en of maar niet geen is zijn was waren "
    "wordt werd werden heeft hebben had met op voor aan uit bij naar over als ook dat dit deze die te"
)
_SUFFIXES = ("'s", "’s", "s'", "s’")


@dataclass(frozen=True)
class Token:
    text: str
    stem: str
    start: int
    end: int


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """Case and accents removed: 'Émile' and 'emile' are one name."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f"))


@lru_cache(maxsize=32768)
def stem(word: str) -> str:
    """A light stem: folded, possessive and the commonest endings off, at most nine letters.

    Not linguistics: it makes 'reported', 'reports' and 'report' one word, and leaves short words alone.
    """
    word = fold(word).replace("’", "'")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) > len(suffix) + 1:
            word = word[: -len(suffix)]
            break
    if "." in word and not word.replace(".", "").isdigit():
        word = word.replace(".", "")
    if word.isalpha() and word.isascii():
        for suffix in ("ations", "ation", "ings", "ing", "ied", "ies", "edly", "ed", "es", "ly", "s", "e"):
            if word.endswith(suffix) and len(word) - len(suffix) >= 4:
                word = word[: -len(suffix)]
                break
        if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "ls":
            word = word[:-1]
    return word[:9]


def tokens(text: str) -> list[Token]:
    """The words and numbers of a text in order (links should be masked first, see `mask`)."""
    return list(_tokens_of_note(text)) if len(text) <= 2_000 else _tokens(text)


@lru_cache(maxsize=8192)
def _tokens_of_note(text: str) -> tuple[Token, ...]:
    return tuple(_tokens(text))  # sources are read again for every candidate that rests on them


def _tokens(text: str) -> list[Token]:
    return [Token(m.group(), stem(m.group()), m.start(), m.end()) for m in _TOKEN.finditer(text)]


@lru_cache(maxsize=65536)
def is_function_word(word: str) -> bool:
    return fold(word) in _FUNCTION


def content(items: Iterable[Token]) -> frozenset[str]:
    """The stems of the words that carry content."""
    return frozenset(
        t.stem
        for t in items
        if not is_function_word(t.text) and (len(t.stem) > 1 or not t.stem.isascii() or t.stem.isdigit())
    )


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with the spans (links) replaced by blanks of the same length, so that offsets stay."""
    pieces: list[str] = []
    position = 0
    for span in spans:
        pieces += [text[position : span.start], " " * (span.end - span.start)]
        position = span.end
    pieces.append(text[position:])
    return "".join(pieces)


def overlap(part: frozenset[str], whole: frozenset[str]) -> float:
    """Share of `part` that is in `whole`, 0 to 1; 0 for an empty part."""
    return len(part & whole) / len(part) if part else 0.0
