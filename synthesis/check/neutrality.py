"""Neutral wording, no opinion: word lists and small rules in several languages, outside quotations.

Lists of words are crude and meant to be: they catch what is never right in a note of its own voice. Finer judgement is for
the judging model (`synthesis/check/judge.py`), asked for finalists only.
"""

from __future__ import annotations

from synthesis.check.base import Draft, Finding
from synthesis.check.patterns import WordList, find_all, own_words

_LOADED = WordList(
    # English: insults, mockery, loaded or triumphant words
    "idiot*", "stupid*", "moron*", "imbecile*", "dumb", "dumbass", "clown*", "scum", "disgusting*", "pathetic*", "ridiculous*", "absurd", "laughable", "lol", "lmao", "bullshit",
    "bs", "crap", "shit*", "fuck*", "asshole*", "bitch*", "retard*", "liar*", "lying", "lies", "shameful*", "shameless*", "disgraceful", "evil", "vile", "hateful", "bigot*",
    "grifter*", "grift", "shill", "shills", "shilling for", "propagandist*", "brainwashed", "sheep", "snowflake*", "libtard*", "magats", "woke mob", "hysterical", "insane", "crazy", "delusional",
    "fearmongering", "rage bait", "ragebait", "clickbait", "engagement farming", "blatant lie", "blatantly", "outrageous*", "so-called", "cherry-picking", "garbage", "nonsense",
    "totally debunked", "thoroughly debunked", "slop", "trash", "hypocrit*", "cowardly", "traitor*", "regime media", "mainstream lies",
    # Spanish, Portuguese
    "idiotas", "estúpid*", "ridícul*", "mentiros*", "vergonzos*", "asqueros*", "payaso*", "imbécil*", "mierda", "basura", "patético*", "vergonhos*", "palhaço*", "nojent*", "lixo",
    # French, Italian
    "ridicule*", "menteur*", "menteuse*", "honteu*", "imbécile*", "débile*", "connard*", "merde", "ridicol*", "bugiard*", "vergognos*", "schifos*", "cretin*",
    # German, Dutch
    "lächerlich*", "dumm", "dumme*", "lügner*", "schwachsinn*", "idiotisch*", "peinlich", "widerlich*", "blödsinn", "belachelijk*", "leugenaar*", "dom", "onzin",
    # Japanese
    "馬鹿", "バカ", "嘘つき", "デマ野郎", "くだらない", "最低な", "恥知らず", "悪質な",
)  # fmt: skip
_OPINION = WordList(
    "I think", "I believe", "I guess", "I feel", "I don't think", "in my opinion", "in my view", "imo", "imho", "my opinion", "we think", "we believe", "personally", "obviously",
    "clearly just", "everyone knows", "common sense", "should be ashamed", "should stop", "shouldn't share", "don't share", "do not share", "do your own research", "wake up", "must be held",
    "needs to stop", "sadly", "unfortunately", "thankfully", "hopefully", "fortunately", "it is sad", "it's sad", "good for", "bad for everyone", "people should", "we should", "we must",
    "creo que", "en mi opinión", "deberían", "lamentablemente", "desgraciadamente", "obviamente", "acho que", "na minha opinião", "infelizmente", "deveriam",
    "je pense", "à mon avis", "malheureusement", "évidemment", "ich denke", "ich glaube", "meiner meinung nach", "leider", "offensichtlich", "penso che", "purtroppo", "secondo me",
    "と思います", "と思う", "だと思われ", "残念ながら", "べきです", "べきだ",
)  # fmt: skip
_SPECULATION = WordList(
    "probably", "perhaps", "maybe", "might have been", "may have been", "could have been", "must have been", "presumably", "supposedly", "it seems", "seems to be", "seems like", "I suspect",
    "most likely", "who knows", "it is possible that", "quizás", "quizá", "tal vez", "probablemente", "parece que", "talvez", "provavelmente", "peut-être", "probablement", "sans doute",
    "il semble", "vielleicht", "wahrscheinlich", "vermutlich", "möglicherweise", "anscheinend", "forse", "probabilmente", "misschien", "waarschijnlijk", "おそらく", "かもしれ", "たぶん",
)  # fmt: skip
_FIRST_PERSON = WordList(
    "I",
    "I'm",
    "I've",
    "I'd",
    "me",
    "my",
    "we're",
    "we've",
    "our",
    "us all",
    "yo",
    "mí",
    "eu",
    "je",
    "moi",
    "ich",
    "mein",
    "meine",
    "私は",
    "私の",
    "僕",
)
# Somebody else's guess, named as such, is a fact about them.
_ATTRIBUTED = WordList(
    "said", "says", "according to", "estimated", "estimates", "wrote", "told", "found", "reported", "experts", "researchers", "study", "officials", "police", "court", "scientists",
    "según", "segundo", "selon", "laut", "secondo", "volgens", "によると", "によれば",
)  # fmt: skip


def check_neutrality(draft: Draft) -> list[Finding]:
    """Loaded words, opinions, unattributed guesses, first person."""
    text = own_words(draft)
    findings = find_all(_LOADED, text, "neutral.wording", "The wording '{found}' is loaded or insulting.")
    findings += find_all(_OPINION, text, "neutral.no_opinion", "'{found}' gives an opinion or advice.")
    for sentence in draft.sentences:
        own = text[sentence.start : sentence.end]
        if _ATTRIBUTED.search(own):
            continue
        found = find_all(
            _SPECULATION, own, "neutral.no_opinion", "'{found}' guesses, and names nobody whose guess it is."
        )
        findings += [
            Finding(f.principle, f.reason, (f.start or 0) + sentence.start, (f.end or 0) + sentence.start)
            for f in found
        ]
    findings += [
        f
        for f in find_all(_FIRST_PERSON, text, "neutral.no_opinion", "'{found}' speaks in the first person.")
        if _is_person(draft, text[f.start : f.end])
    ]
    return findings


def _is_person(draft: Draft, word: str) -> bool:
    language = (draft.language or "en")[:2]
    if word.lower() in ("i", "i'm", "i’m", "i've", "i’ve", "i'd", "i’d"):
        return language == "en" and word[0] == "I"
    if word.lower() in ("me", "my", "we're", "we’re", "we've", "we’ve", "our", "us all"):
        return language == "en"
    owners = {"yo": "es", "mí": "es", "eu": "pt", "je": "fr", "moi": "fr", "ich": "de", "mein": "de", "meine": "de"}
    return owners.get(word.lower(), language) == language
