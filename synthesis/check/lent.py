"""Sentences lent from another post: nothing in them may point at what this post, and its own notes, do not have.

'The editorial linked rests on a survey' is sense under the post that linked an editorial and nonsense under its sister.
"""

from __future__ import annotations

import regex

from synthesis.check.base import Draft, Finding
from synthesis.check.evidence import Sentence, evidence_of, read_sentences
from texts.words import fold, overlap, stem, word_set

# A noun made definite, which the reader has to know already. What follows tells it otherwise: 'the mayor of Lindow'.
_DEFINITE = regex.compile(
    r"(?<![\p{L}\p{N}])(?P<which>(?i:the|this|these|el|la|los|las|este|esta|estos|estas|der|die|das|dieser|diese|dieses|le|les|cet|cette|ces|il|lo|gli|questo|questa))"
    r"\s+(?:(?P<adjective>\p{Ll}[\p{L}-]+)\s+)?(?P<noun>\p{Ll}[\p{L}-]{2,})(?![\p{L}-])(?P<after>\s+(?:of|in|on|at|from|by|that|which|who|where|for|with|to|between|against|de|del|du|von|des|di|da|do|que|qui|en|na|no)\b)?"
)
# 'There is no desert called Sahara': what is denied has to be said somewhere.
_NO = regex.compile(
    r"(?i)(?<!\p{L})(?:there (?:is|are|was|were) no|never|no hay ningún|no existe|es gibt keine?n?|il n[’']y a (?:pas d[e’']|aucun)) (?P<noun>\p{L}{3,})"
)
_POINTED = regex.compile(
    r"(?i)\b(?P<noun>\p{L}{4,}) (?:linked|shown|pictured|cited|quoted|posted|shared|attached|mentioned|above|below|in question|here|enlazad\w|citad\w|mostrad\w|adjunt\w|lié\w*|cité\w*|ci-dessus|verlinkt\w*|gezeigt\w*|oben)\b"
    r"|\b(?:linked|pictured|attached|quoted|cited|aforementioned) (?P<noun2>\p{L}{4,})"
)
_SHOWN = (  # kinds of things a post may carry; one word of a kind in the post's own context stands for the others
    "video clip footage film recording vídeo vidéo", "photo picture image photograph screenshot foto imagen imagem bild", "article story report editorial piece column headline artículo artigo artikel",
    "chart graph graphic map table gráfico diagramm", "study paper research survey poll estudio estudo studie étude", "quote quotation statement speech cita citation zitat", "tweet post thread claim publicación postagem beitrag publication author account user poster",
)  # fmt: skip
_KINDS = {stem(word): number for number, words in enumerate(_SHOWN) for word in words.split()}
MIN_SHARED = 0.25  # share of a lent text's content that this post and its own notes have ...
ENOUGH = 3  # ... or so many words of it
# What nobody has to be told which one is meant.
_UNIQUE = frozenset(
    stem(w)
    for w in word_set(
        "world air flu sun moon sea sky public media internet country nation government president past future same first last only most year years day time number rest virus vaccine pandemic election case fact truth way people claim risk actual real following other whole evidence proof indication record mention confirmation reason sign doubt basis"
    )
)


def check_lent(draft: Draft) -> list[Finding]:
    """What lent sentences point at without this post or its own notes having it, and lent sentences about something else."""
    if not any(draft.lent):
        return []
    evidence = evidence_of(draft)
    lent = [s for s in evidence.notes if draft.lent[s.source]]
    language = evidence.language or "en"
    own = [s for s in evidence.all if s.source < 0 or not draft.lent[s.source]]
    own += [s for note in draft.own_notes for s in read_sentences(note, language, frozenset(), -3)]
    known = frozenset(t.stem for s in own for t in s.words)
    kinds = {_KINDS[word] for word in known if word in _KINDS}
    if draft.post_text:
        kinds.add(_KINDS["tweet"])
    about = frozenset().union(*(s.content for s in own)) if own else frozenset()
    findings: list[Finding] = []
    told: set[str] = set()
    speaking: set[str] = set()
    for sentence in evidence.draft:
        best_own = max((overlap(sentence.content, s.content) for s in own if s.source != -1), default=0.0)
        best_lent = max((overlap(sentence.content, s.content) for s in lent), default=0.0)
        if best_lent >= 0.5 and best_lent > best_own:
            findings += _pointing(sentence, known, kinds, told)
            speaking |= sentence.content
        told |= {t.stem for t in sentence.words}
    shared = speaking & about
    if speaking and about and len(shared) < ENOUGH and len(shared) < MIN_SHARED * len(speaking):
        findings.append(
            Finding("support.lent", "Another post's note; it speaks of what this post and its notes do not.")
        )
    return findings


def _pointing(sentence: Sentence, known: frozenset[str], kinds: set[int], told: set[str]) -> list[Finding]:
    text = sentence.span.text
    for match in (*_POINTED.finditer(text), *_NO.finditer(text), *_DEFINITE.finditer(text)):
        groups = match.groupdict()
        noun = groups.get("noun") or groups.get("noun2") or ""
        words = [w for w in (noun, groups.get("adjective") or "") if w]
        roots = {stem(fold(word)) for word in words}
        kind = next((_KINDS[root] for root in roots if root in _KINDS), None)
        if kind is not None:
            there = kind in kinds
        else:  # 'the mayor of Lindow' says itself which; so does what this sentence or one before has introduced
            there = bool(roots & known or roots & told or roots & _UNIQUE) or bool(groups.get("after"))
        if not there:
            start = sentence.span.start + match.start()
            reason = f"'{match.group().strip()[:60]}' points at what neither this post nor its own notes have."
            return [Finding("support.lent", reason, start, sentence.span.start + match.end())]
    return []
