"""Names in a text: people, places, organisations, works, as far as spelling shows them.

Capitals show them in Latin, Cyrillic and Greek text; in East Asian text katakana words, Latin words and what stands before a
title do. Names that spelling does not show (Arabic, Hindi...) are guarded by `alignment.substitutions` instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import regex

from texts.words import Token, fold, is_function_word, stem, tokens, word_set

TITLES = word_set(
    "mr mrs ms dr prof sir lord lady president senator rep representative sen governor gov mayor minister "
    "secretary judge justice general king queen prince princess pope chancellor chairman ceo director chief "
    "professor doctor herr frau presidente ministro señor senhor monsieur madame rey reina präsident"
)
_CONNECTORS = word_set("of the de la le del der den da do dos das di du van von bin al el for and und y e et & 's")
# Words that may open a sentence with a capital without being a name. Function words are known already.
_OPENERS = word_set(
    "misleading false true fake incorrect wrong missing additional context fact facts actually contrary "
    "despite however meanwhile moreover furthermore instead records data experts officials police authorities "
    "researchers scientists studies study reports report reporting evidence multiple several many most few "
    "video videos photo photos image images picture footage clip clips claims claim quote quotes statement "
    "post posts tweet account accounts source sources read see note here today yesterday later earlier "
    "originally currently recently previously now then once never always nothing none neither either every "
    "everyone nobody people users readers voters women men children workers doctors lawmakers residents "
    "witnesses critics supporters investigators prosecutors court courts law laws federal state local "
    "national international public private government officials independent archived original viral altered "
    "edited official according based released published filmed taken made created shown first second third "
    "last next another one two three four five six seven eight nine ten about around nearly almost over under "
    "like unlike even still yet already perhaps maybe thus hence therefore so because although though while "
    "following prior given regarding concerning including excluding during within without between among "
    "against by with using both each such same only just full partial similar different new old real no yes "
    "not please both total overall general average median estimates figures numbers statistics results "
    "research analysis documents emails court-filings fact-checkers checkers journalists reporters media "
    "outlets news articles article headlines headline falso falsa engañoso enganoso contexto vídeo video foto "
    "imagen datos según segun aunque además también sin embargo pero noticia noticias faux trompeur contexte "
    "selon cependant vidéo image falsch irreführend kontext laut video bild zudem jedoch außerdem allerdings "
    "artikel studie falso enganoso contexto segundo embora além também imagem dados porém"
)
_COMMON_ENDINGS = regex.compile(
    r"(?:ing|ly|tions?|ments?|ness|ists?|ologists|isms?|ities|ity|ances?|ences?|ers|ors|able|ible|ful|less|ous|ive|ed)$"
)
_GERMAN_COMMON = regex.compile(
    r"(?:ung|ungen|heit|heiten|keit|keiten|schaft|schaften|tion|tionen|tät|täten|nis|nisse|ment|mente|ik|ismus|ling|er|ern|en|chen|tum|ur|ie|ien|e|t|s|g|d)$"
)

_EAST_NAME_LETTER = regex.compile(r"[\p{Han}\p{Katakana}\p{Hiragana}]")
_EAST_NAME = regex.compile(
    r"(?P<katakana>[\p{Katakana}ー・]{3,})|(?P<titled>[\p{Han}々]{1,4})(?=(?:氏|さん|首相|大統領|大臣|知事|市長|議員|社長|教授|先生|女士|总统|總統|总理|主席|部长))"
    r"|(?P<place>[\p{Han}々]{1,4}(?:市|県|省|州|区|町|村|国|党|大学|新聞|社))"
)
_WORD_WITH_CAPITAL = regex.compile(r"\p{Lu}")
_COMPOUND = regex.compile(r"(\p{Lu}[\p{L}.]*)(?:-\p{Ll}{3,})+")
_INNER = regex.compile(r"\p{Ll}\p{Lu}|\p{L}\p{N}|\p{N}\p{L}")
_ALIASES = (
    {"us", "usa", "u.s", "america", "american", "americans", "united states", "united states of america", "u.s.a"},
    {"uk", "u.k", "britain", "british", "united kingdom", "great britain"},
    {"eu", "e.u", "european union"},
    {"un", "u.n", "united nations"},
    {"who", "world health organization", "world health organisation"},
    {"twitter", "x", "x.com"},
    {"france", "french"}, {"netherlands", "dutch", "holland"}, {"spain", "spanish", "spaniards"}, {"germany", "german", "germans"}, {"greece", "greek"},
    {"ireland", "irish"}, {"switzerland", "swiss"}, {"denmark", "danish", "danes"}, {"poland", "polish", "poles"}, {"turkey", "turkish", "türkiye", "turkiye"},
    {"england", "english"}, {"wales", "welsh"}, {"scotland", "scottish", "scots"}, {"china", "chinese"}, {"japan", "japanese"}, {"ukraine", "ukrainian", "ukrainians"},
    {"israel", "israeli", "israelis"}, {"palestine", "palestinian", "palestinians"}, {"covid", "covid-19", "coronavirus", "sars-cov-2"},
    {"democrat", "democrats", "democratic", "dem", "dems"}, {"republican", "republicans", "gop"}, {"muslim", "muslims", "islam", "islamic"},
    {"jew", "jews", "jewish"}, {"christian", "christians", "christianity"},
)  # fmt: skip
_ALIAS_OF = {name: number for number, group in enumerate(_ALIASES) for name in group}
_DEMONYM = ("n", "an", "ian", "i", "ese", "ish", "s", "ns", "ans", "ians", "is", "n's", "ic", "er", "ers")


@dataclass(frozen=True)
class Name:
    """A name as it stands: `words` folded, without titles and connectors; `sure` unless only its place at the start of a sentence hides what it is."""

    text: str
    start: int
    end: int
    words: tuple[str, ...]
    sure: bool = True


@lru_cache(maxsize=65536)
def _bare(word: str) -> str:
    word = fold(word).replace("’", "'").replace("‑", "-").replace("‐", "-")
    return word[:-2] if word.endswith("'s") else word.rstrip("'")


def read_names(text: str, words: list[Token], lowercase: frozenset[str], language: str | None = None) -> list[Name]:
    """The names of one sentence (links masked) in order.

    `lowercase`: folded words that occur without a capital somewhere around; a word among them that opens a sentence is no name.
    """
    names: list[Name] = [
        Name(m.group(), m.start(), m.end(), (fold(m.group()),), sure=True)
        for m in _EAST_NAME.finditer(text)
        if len(m.group().strip("ー・")) >= 2
    ]
    shouting = _is_shouting(text)
    run: list[Token] = []
    for index, token in enumerate(words):
        if _is_capital(token.text, shouting) and not (run and not _joins(text[run[-1].end : token.start])):
            run.append(token)
            continue
        if _is_capital(token.text, shouting):
            names += _close(text, run, lowercase, language)
            run = [token]
            continue
        if (
            run
            and fold(token.text) in _CONNECTORS
            and index + 1 < len(words)
            and _is_capital(words[index + 1].text, shouting)
            and not is_break(text[run[-1].end : words[index + 1].start])
        ):
            continue
        names += _close(text, run, lowercase, language)
        run = []
    names += _close(text, run, lowercase, language)
    return sorted(names, key=lambda n: n.start)


def _is_shouting(text: str) -> bool:
    letters = [c for c in text if c.isalpha() and c.lower() != c.upper()]
    return len(letters) > 20 and sum(c.isupper() for c in letters) > 0.7 * len(letters)


def _is_capital(word: str, shouting: bool) -> bool:
    if shouting:
        return bool(regex.search(r"\p{N}", word)) and bool(regex.search(r"\p{L}", word))
    return bool(_WORD_WITH_CAPITAL.match(word)) or bool(_INNER.search(word) and not word[0].isdigit())


def is_break(between: str) -> bool:
    return any(c in ',;:.!?()[]"“”«»„—–/|\n' for c in between)


def _joins(between: str) -> bool:
    return not is_break(between.replace(".", "", 1) if between == ". " else between)


def _close(text: str, run: list[Token], lowercase: frozenset[str], language: str | None) -> list[Name]:
    """The name made of a run of capitalised words, or none: openers of sentences and titles are peeled off first."""
    run = list(run)
    sure = True
    while run:
        word = _bare(run[0].text)
        opening = _opens(text, run[0].start)
        plain = is_function_word(word) or word.split("-")[0] in _OPENERS or word in TITLES
        acronym = run[0].text.isupper() and 2 <= len(run[0].text) <= 6 and word not in _OPENERS
        if acronym and (not is_function_word(word) or run[0].text in ("US", "IT", "WHO", "UN")):
            break
        if plain or (opening and word in lowercase):
            run.pop(0)
            continue
        if opening and len(run) == 1:
            if _COMMON_ENDINGS.search(word) and len(word) > 5:
                run.pop(0)
                continue
            sure = False
        break
    while run and (is_function_word(run[-1].text) and not run[-1].text.isupper()):
        run.pop()
    if not run:
        return []
    if language == "de" and len(run) == 1 and not run[0].text.isupper() and _GERMAN_COMMON.search(_bare(run[0].text)):
        # German writes every noun with a capital: a single word is taken for a name only as far as an ending allows.
        sure = False
    kept = tuple(_bare(t.text) for t in run if _bare(t.text) not in TITLES)
    kept = tuple(w for w in kept if w) or tuple(_bare(t.text) for t in run)
    if len(run) == 1 and (compound := _COMPOUND.fullmatch(run[0].text.replace("‑", "-"))):
        kept = (_bare(compound[1]),)  # German-born, AI-generated: the name is the first part
    if len(kept) == 1 and len(kept[0]) == 1:
        return []
    return [Name(text[run[0].start : run[-1].end], run[0].start, run[-1].end, kept, sure)]


def _opens(text: str, position: int) -> bool:
    """Whether the word at `position` opens a sentence, a quotation or what follows a colon or dash."""
    before = text[:position].rstrip(" ")
    return not before or before[-1] in "\"“”„«'‘(:—–-.!?…•*\n|" or before[-1] in "。！？"


_GENERAL = word_set("i tweet tweets twitter x post posts note notes birdwatch community user op author")
"""Capitalised or not, these say nothing about what a note is about."""


def subjects(text: str) -> frozenset[str] | None:
    """What a note is about, as far as its words show: words of its sure names, and numbers of two digits or more, folded.

    Links should have been taken out. `None` where nobody can tell: most letters of a script without capitals. Empty for "This is not true."
    """
    letters = [c for c in text if c.isalpha()]
    cased = sum(c.lower() != c.upper() for c in letters)
    if letters and 2 * cased < len(letters):
        return None
    words = tokens(text)
    lowercase = frozenset(word.text for word in words if word.text.islower())
    found = {word for name in read_names(text, words, lowercase) if name.sure for word in name.words}
    found |= {fold(word.text) for word in words if sum(c.isdigit() for c in word.text) >= 2}
    return frozenset(found - _GENERAL)


# --------------------------------------------------------------------------------------------------------- comparing


@lru_cache(maxsize=65536)
def same_name_word(a: str, b: str) -> bool:
    """Whether two folded words name the same: equal, plural or possessive, adjective of a country, listed alias."""
    if a == b or a.replace(".", "") == b.replace(".", ""):
        return True
    if a in _ALIAS_OF and _ALIAS_OF[a] == _ALIAS_OF.get(b):
        return True
    short, long = (a, b) if len(a) <= len(b) else (b, a)
    if len(short) >= 4 and short.isalpha():
        trimmed = short[:-1] if short[-1] in "aeyo" else short
        for base in {short, trimmed}:
            if long.startswith(base) and long[len(base) :] in _DEMONYM:
                return True
    return (
        len(a) > 5 and len(b) > 5 and a.isalpha() and b.isalpha() and stem(a) == stem(b) and abs(len(a) - len(b)) <= 4
    )


class NameIndex:
    """The words, sequences and initials of the sources, for looking names up."""

    def __init__(self, sentences: list[list[Token]], names: list[list[Name]]):
        self.words = {_bare(t.text) for sentence in sentences for t in sentence}
        self.words |= {part for word in self.words if "-" in word for part in word.split("-") if len(part) > 1}
        self._by_prefix: dict[str, list[str]] = {}
        for word in sorted(self.words):
            self._by_prefix.setdefault(word[:3], []).append(word)
        self.initials = {"".join(w[0] for w in n.words) for row in names for n in row if len(n.words) >= 2}
        self.phrases: set[str] = set()
        for sentence in sentences:
            bare = [_bare(t.text) for t in sentence]
            for size in (2, 3, 4):
                self.phrases |= {" ".join(bare[i : i + size]) for i in range(len(bare) - size + 1)}
        self.acronyms = {w.replace(".", "") for w in self.words if 2 <= len(w.replace(".", "")) <= 6}
        self._known: dict[str, bool] = {}
        self.text = "".join(fold(t.text) for sentence in sentences for t in sentence)

    def has_word(self, word: str) -> bool:
        known = self._known.get(word)
        if known is None:
            known = word in self.words or any(
                same_name_word(word, other) for other in self._by_prefix.get(word[:3], ())
            )
            if not known and word in _ALIAS_OF:
                group = _ALIASES[_ALIAS_OF[word]]
                known = any(alias in self.words or alias in self.phrases for alias in group)
            if not known and "-" in word and not any(c.isdigit() for c in word):
                known = all(self.has_word(part) for part in word.split("-") if part)
            self._known[word] = known
        return known

    def has(self, name: Name) -> bool:
        """Whether every word of the name occurs, or the name abbreviates or spells out one that does."""
        if all(self.has_word(word) for word in name.words):
            return True
        if _EAST_NAME_LETTER.match(name.text.lstrip("・")):  # written without blanks: no word boundaries to look for
            return name.words[0].replace("・", "") in self.text
        joined = " ".join(name.words)
        if joined in _ALIAS_OF:
            return any(alias in self.words or alias in self.phrases for alias in _ALIASES[_ALIAS_OF[joined]])
        if (
            len(name.words) == 1
            and name.text.replace(".", "").isupper()
            and name.words[0].replace(".", "") in self.initials
        ):
            return True
        return len(name.words) >= 2 and "".join(w[0] for w in name.words) in self.acronyms and len(name.words) >= 3


def names_agree(candidate: Name, source: Name) -> bool:
    """Whether one name is a shorter form of the other (Hale, Senator Mara Hale) or abbreviates it."""
    fewer, more = sorted((candidate.words, source.words), key=len)
    if all(any(same_name_word(a, b) for b in more) for a in fewer):
        return True
    for short, long in ((candidate, source), (source, candidate)):
        if len(short.words) == 1 and len(long.words) >= 2:
            if short.words[0].replace(".", "") == "".join(w[0] for w in long.words):
                return True
            joined = " ".join(long.words)
            if joined in _ALIAS_OF and _ALIAS_OF[joined] == _ALIAS_OF.get(short.words[0]):
                return True
    return False
