"""How a sentence stands to what it speaks of: whether it denies it, says whose claim it is, or turns round what stood before.

Words of English, Spanish, Portuguese, French, German, Italian and Japanese; a language that is not among them is read by its
numbers and names alone.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from synthesis.check.evidence import Sentence
from synthesis.check.patterns import WordList

NEGATION = WordList(
    "not", "no", "never", "none", "nobody", "nothing", "neither", "nor", "without", "cannot", "isn't", "aren't", "wasn't", "weren't", "doesn't", "don't", "didn't", "hasn't", "haven't",
    "hadn't", "won't", "wouldn't", "can't", "couldn't", "shouldn't", "isnt", "wasnt", "doesnt", "didnt", "dont", "unable", "fails to", "failed to", "no one", "nunca", "jamás", "ningún", "ninguna", "sin",
    "nadie", "não", "nenhum", "nenhuma", "ninguém", "sem", "pas", "jamais", "aucun", "aucune", "personne", "sans", "ne", "nicht", "kein", "keine", "keinen", "keiner", "niemand", "nie", "ohne", "non", "nessun", "nessuna",
    "nessuno", "senza", "niet", "geen", "nooit", "zonder", "не", "нет", "никогда", "без", "ない", "なかった", "ません", "ませんでした", "ではなく", "没有", "不是", "沒有", "未", "नहीं", "ليس", "لم", "لا", "لن", "değil", "yok",
)  # fmt: skip
DENIAL = WordList(
    "false*", "fake*", "untrue", "incorrect*", "inaccurate*", "wrong*", "mislead*", "hoax*", "fabricat*", "debunk*", "myth", "baseless", "unfounded", "unsubstantiated", "disproved", "disproven", "refuted",
    "satire", "satirical", "parody", "altered", "doctored", "contrary to", "instead of", "rather than", "lacks", "denied", "denies", "misrepresent*", "misquot*", "misattribut*", "exaggerat*", "out of context",
    "falso", "falsa", "falsos", "falsas", "bulo", "engaños*", "incorrecto", "incorrecta", "mentira", "desmentid*", "sátira", "enganos*", "incorreto", "incorreta", "boato", "faux", "fausse", "trompeu*", "infondé*",
    "inexact*", "démenti*", "falsch*", "unwahr", "irreführend*", "gefälscht*", "widerlegt*", "unbelegt*", "errato", "errata", "ingannevol*", "smentit*", "bufala", "onjuist*", "onwaar", "誤り", "虚偽", "デマ", "嘘", "誤解",
)  # fmt: skip
# Somebody's claim, named as such: the note then says that it is claimed, not that it is so.
_CLAIMED = regex.compile(
    r"(?i)\b(?:claim(?:s|ed|ing)?|alleg\w+|assert\w*|purport\w*|supposed\w*|insinuat\w*|impl(?:y|ies|ied)|suggest(?:s|ed)?|(?:the|this|that) (?:post|tweet|caption|headline|author|poster|user|account|meme)(?:[’']s)?\b"
    r"|afirma\w*|alega\w*|supuest\w*|suposta\w*|asegura\w*|sugier\w*|(?:esta|la) publicación|(?:a|esta) (?:publicação|postagem)|affirme\w*|prétend\w*|allègue\w*|(?:la|cette) publication"
    r"|behaupte\w*|angeblich\w*|(?:der|dieser) (?:beitrag|post)|sostien\w*|afferma\w*|presunt\w*|(?:il|questo) post)|主張|投稿|とされ"
)
# Openings that turn round the sentence before.
TURNING = regex.compile(
    r"(?i)^(?:however|but|yet|nevertheless|in fact|in reality|actually|contrary to this|no,|(?:this|that|it|these|both|the claim|which) (?:is|are|was|has been|[’']?s) (?:not|false|fake|untrue|incorrect|inaccurate|misleading|wrong|a lie|a hoax|been debunked)"
    r"|(?:this|that|it|they) (?:isn[’']t|wasn[’']t|(?:is|are|was|were|has|have|had|did|does|do|could|can) (?:\p{L}+ )?(?:not|never|no)\b|hasn[’']t|didn[’']t|doesn[’']t)|not true|false[.:,]|(?:esto|eso) (?:es|no)|es fals|pero|sin embargo|aber|jedoch|das (?:ist|stimmt) (?:nicht|falsch)|mas|porém|no entanto|isso (?:é|não)|é falso|mais|cependant|c[’']est faux|ma|però|è falso)"
)
_BUT = regex.compile(r"(?i)\b(?:but|sino|mas sim|mais|sondern|ma|bensì)\b")


def denies(sentence: Sentence) -> bool:
    """Whether a sentence denies anything at all."""
    return NEGATION.search(sentence.span.text) is not None or DENIAL.search(sentence.span.text) is not None


def claimed(sentence: Sentence) -> bool:
    """Whether a sentence says that something is claimed, without saying that it is so."""
    return _CLAIMED.search(sentence.span.text) is not None


@lru_cache(maxsize=4096)
def verdicts(sentence: Sentence) -> frozenset[str]:
    """Stems of the words by which a sentence takes back a claim: a source that calls a claim false says its negation."""
    return frozenset(t.stem for t in sentence.words if DENIAL.search(t.text))


def denied_before(sentence: Sentence, start: int) -> bool:
    """Whether what stands at text offset `start` is denied: a verdict in the sentence, or a negation in front that no 'but' lifts."""
    text = sentence.span.text
    if DENIAL.search(text) is not None:
        return True
    before = text[: max(0, start - sentence.span.start)]
    last = max((found.end for found in NEGATION.finditer(before)), default=-1)
    return last >= 0 and _BUT.search(before, last) is None
