"""What a note may say about people: no motives, no accusation that no source makes, no flat verdict on what is disputed."""

from __future__ import annotations

import regex

from synthesis.check.base import Draft, Finding, placed
from synthesis.check.evidence import Evidence, Sentence, evidence_of, read_sentences
from synthesis.check.patterns import WordList, find_all, own_words
from synthesis.check.stance import DENIAL, NEGATION, denies
from texts.names import names_agree
from texts.note import canonical_urls, find_urls
from texts.words import overlap, stem, word_set

# What somebody is after, said as a fact: a guess about a person, whoever makes it.
MOTIVE = regex.compile(
    r"(?i)\b(?:(?:(?:is|are|was|were|been|being) )?(?:trying|attempting|seeking|hoping|aiming|wants?|wanted|designed|meant|intended|intends|aims?|seeks?|tries|tried) (?:you |people |us |voters |readers )?to (?:\w+ly )?(?:mislead|deceive|confuse|scare|smear|discredit|distract|divide|manipulate|provoke|hide|cover|fool|trick|inflame|incite|frighten|change the narrative|damage|undermine|harm)"
    r"|(?:to|so as to|in order to) (?:\w+ly )?(?:mislead|deceive|fool|trick|manipulate|smear|discredit|scare|stir up|stoke|(?:gain|win|get) (?:votes|attention|sympathy|followers|clicks))\b|(?:for|out of) (?:(?:political|personal|financial) gain|attention|clicks|spite|greed|hatred|revenge)\b"
    r"|(?:has|have|had|pushing|pushes|with) an? (?:\p{L}+ )?agenda|because (?:he|she|they|it) (?:hates?|wants?|fears?)\b"
    r"|para (?:engañar|confundir|asustar|desacreditar|manipular|ganar votos)|(?:busca|buscan|pretende|pretenden|quiere|quieren|intenta|intentan) (?:engañar|confundir|asustar|desacreditar|manipular|dañar|ocultar)"
    r"|para (?:enganar|assustar)|(?:quer|querem|busca|tenta|tentam) (?:enganar|confundir|manipular|esconder)|pour (?:tromper|effrayer|manipuler|discréditer|faire peur|gagner des voix)|(?:veut|veulent|cherche|cherchent)(?: à)? (?:tromper|manipuler|cacher|discréditer|nuire)"
    r"|um (?:[\p{L}]+ ){0,3}zu (?:täuschen|verunsichern|manipulieren|verwirren|diffamieren|schaden)|(?:will|wollen) (?:[\p{L}]+ ){0,4}(?:täuschen|manipulieren|verunsichern|schaden|vertuschen|diffamieren)|per (?:ingannare|spaventare|screditare))"
)
# What somebody is guessed to want or think: a source's guess is a guess, too.
_GUESS = regex.compile(
    r"(?i)\b(?:would |will |may |might )?(?:probably|likely|presumably|surely|certainly|perhaps|maybe|no doubt) (?:just |only |also |really )?(?:wants?|wanted|hopes?|hoped|thinks?|thought|believes?|feels?|fears?|cares?|hates?|knows?|knew|wish(?:es)?)\b|\b(?:keeps?|kept) (?:\p{L}+[- ]){0,2}(?:mis-?\p{L}+ing|lying|whining|attacking|smearing|insulting)\b"
    r"|\b(?:probablemente|seguramente|quizás?|seguro que|provavelmente|talvez|com certeza) (?:solo |só )?(?:quier\w+|pien?s\w+|espera\w*|cree[n]?|odia\w*|quer\w*|pensa\w*|acredita\w*|odeia\w*)\b|\b(?:veut|veulent|pense|pensent|espère|espèrent|croit|croient|déteste\w*) (?:sans doute|probablement|sûrement|peut-être)\b|\b(?:will|wollen|denkt|denken|hofft|hoffen|glaubt|glauben|hasst|hassen) (?:wohl|vermutlich|wahrscheinlich|sicher|bestimmt|vielleicht)\b"
)
# Intent and bait: what a source may have found out, and a note then may say after it.
INTENT = regex.compile(
    r"(?i)\b(?:(?:with|has|have|had) (?:the |an? )?(?:sole |only |clear )?(?:intent(?:ion)?|goal|purpose|motive)s?\b|in an? (?:attempt|effort|bid) to|(?:deliberate|intentional|knowing|wilful|willful|malicious|cynical)ly|on purpose|rage[- ]?bait\w*|engagement (?:farm|bait)\w*|click[- ]?bait\w*|(?:for|to (?:farm|get|gain|increase)) engagement"
    r"|con (?:la|el) (?:intención|fin|objetivo|propósito) de|a propósito|deliberadamente|intencionad\w+|com (?:a|o) (?:intenção|objetivo|propósito) de|de propósito|dans (?:le|l[’'])? ?(?:but|intention|objectif) d|délibérément|exprès|absichtlich|vorsätzlich|mit (?:der absicht|dem ziel)|con (?:lo scopo|l[’']intento) di|apposta)"
    r"|(?:意図的に|わざと|故意に)"
)
# Words that charge somebody with a wrong.
ACCUSING = WordList(
    "lied", "liar*", "lying", "fraud*", "defraud*", "steal*", "stole*", "theft", "thief", "corrupt*", "brib*", "criminal*", "crime", "crimes", "illegal*", "murder*", "rape*", "rapist*", "abus*", "assault*", "molest*", "embezzl*", "launder*", "cheat*", "plagiar*",
    "pedophil*", "paedophil*", "traitor*", "treason", "covered up", "cover-up", "coverup", "concealed", "hid", "falsified", "forged", "rigged", "conspir*", "deceiv*", "deception", "misled", "guilty", "convicted", "arrested", "indicted", "charged with", "scam*", "blackmail*", "extort*", "perjur*",
    "terrorist*", "nazi*", "racist*", "antisemit*", "knew", "ignored", "refused", "ordered", "harass*", "threaten*", "abandon*", "profited", "pocketed", "sabotag*", "leaked", "neglect*", "insider trading", "misus*", "mismanag*",
    "mintió", "miente*", "mentiros*", "fraude*", "robó", "robar*", "robo", "ladrón", "ladrones", "corrup*", "soborn*", "delito*", "delincuente*", "criminales", "ilegal*", "asesin*", "viol*ador", "abusó", "encubri*", "ocultó", "falsific*", "culpable*", "condenad*", "detenid*", "estaf*", "sabía", "sabían", "ignoró", "se negó",
    "mentiu", "roubou", "ladrão", "suborn*", "crime*", "escondeu", "culpad*", "golpista*", "menti", "ment", "volé", "vole", "voleur*", "fraudé", "pot-de-vin", "corrompu*", "illégal*", "meurtr*", "coupable*", "escroc*", "caché", "savait", "savaient", "refusé", "condamné*",
    "gelogen", "lügt", "betrug", "betrogen", "betrüg*", "gestohlen", "stahl", "diebstahl", "bestochen", "bestech*", "korrupt*", "verbrech*", "kriminell*", "mörder*", "ermordet*", "missbrauch*", "vertusch*", "verheimlich*", "gefälscht", "schuldig", "verurteilt", "verhaftet", "wusste", "wussten", "weigerte", "ignorierte", "ha mentito", "rubato", "corrott*", "colpevol*", "truff*", "sapeva",
)  # fmt: skip
_DISPUTED = WordList(
    "disputed", "contested", "unclear", "unproven", "unconfirmed", "unverified", "inconclusive", "under investigation", "investigating", "not yet known", "not been confirmed", "no consensus", "debated", "experts disagree", "remains open", "not settled", "still being", "mixed evidence",
    "en disputa", "no está claro", "sin confirmar", "se investiga", "bajo investigación", "em disputa", "não está claro", "sem confirmação", "contesté*", "pas clair", "non confirmé*", "enquête", "umstritten", "unklar", "unbestätigt", "ungeklärt", "wird ermittelt", "discuss*o", "non è chiaro",
)  # fmt: skip


# What gives a denial its reason: a cause, or who says so.
_REASON = regex.compile(
    r"(?i)\b(?:because|since|as the|due to|according to|instead|rather|but|after|when|while|whereas|before|only|satir\w+|parod\w+|altered|doctored|edited|shows?|showed|said|says|told|stated|found|confirm\w*|report\w*|ruled|is from|was from|made by|by the|in fact"
    r"|porque|según|sino|pues|ya que|debido|segundo|pois|mas|car|parce que|puisque|selon|mais|weil|denn|da|laut|sondern|perché|poiché|secondo|ma)\b|によ|ため|から"
)
BARE = 6  # content words; a text with more says at least what is denied


# That nothing is known of it anywhere, which a link to a report belies.
_UNREPORTED = regex.compile(
    r"(?i)\b(?:(?:has|have|had) (?:not|never) been reported|(?:no|not any|not a single) (?:\p{L}+ )?(?:news|media|source|sources|outlets?|reports?|reporting)\b|nobody (?:has )?report\w*|ning[uú]n medio|ninguna fuente|nadie (?:ha|lo ha) (?:informado|publicado)|nenhum (?:meio|jornal|veículo)|nenhuma fonte|aucun (?:média|journal)|aucune source|kein (?:einziges )?(?:medium|bericht)|keine (?:einzige )?(?:quelle|zeitung)|niemand (?:hat )?(?:darüber )?bericht\w*)\b"
)
_OPEN = frozenset(
    stem(w)
    for w in word_set("still investigation investigating sigue investigación bajo noch unklar ainda encore ancora")
)


def check_conduct(draft: Draft) -> list[Finding]:
    """Motives in the note's own words; accusations and verdicts that go beyond the sources."""
    evidence = evidence_of(draft)
    text = own_words(draft)
    findings: list[Finding] = []
    for sentence in evidence.draft:
        own = text[sentence.span.start : sentence.span.end]
        if NEGATION.search(own) is None:  # 'the point was not to smear anybody' alleges nothing
            motives = find_all(MOTIVE, own, "conduct.motive", "'{found}' speaks of what somebody is after.")
            motives += [
                f
                for f in find_all(INTENT, own, "conduct.motive", "'{found}' speaks of an intent that no source does.")
                if not _told(evidence, own[f.start : f.end])
            ]
            findings += placed(motives, sentence.span.start)
        guesses = find_all(_GUESS, own, "conduct.motive", "'{found}' guesses what somebody wants or thinks.")
        findings += placed(guesses, sentence.span.start)
        findings += _accusation(evidence, sentence, own)
        findings += _disputed(evidence, sentence)
    return findings


def check_denial(draft: Draft) -> list[Finding]:
    """A text, or a sentence the rest has nothing to do with, that denies and says nothing else: without a source, or though another note of the post states it."""
    spoken = [s for s in evidence_of(draft).draft if s.content]
    for sentence in spoken if draft.urls else ():
        if _UNREPORTED.search(sentence.span.text) and not find_urls(sentence.span.text):
            sources = {o.source for o in evidence_of(draft).notes if overlap(sentence.content, o.content) >= 0.9}
            if sources and not any(find_urls(draft.sources[i]) for i in sources):
                reason = "The sentence says that nobody reports it; the text links a report that another note gives."
                return [Finding("conduct.disputed", reason, sentence.span.start, sentence.span.end)]
    cited = canonical_urls([draft.text])
    homes = [{o.source for o in evidence_of(draft).notes if overlap(s.content, o.content) >= 0.9} for s in spoken]
    for sentence, home in zip(spoken, homes, strict=True):
        others = [s for s, its in zip(spoken, homes, strict=True) if not home & its]
        topic = _topic(sentence)
        if (
            len(others) < len(spoken) - 1
            or not others
            or not 1 <= len(topic) <= 3
            or _REASON.search(sentence.span.text)
        ):
            continue  # one writer put it so
        bare = (
            denies(sentence)
            and not sentence.numbers
            and not any(cited & canonical_urls([draft.sources[i]]) for i in home)
        )
        if bare and not any(topic & s.content for s in others):
            reason = "The sentence only denies; what the text says besides comes from another note and speaks of something else."
            return [Finding("conduct.disputed", reason, sentence.span.start, sentence.span.end)]
    reasons = _REASON.search(own_words(draft)) or any(s.numbers or s.dates or not denies(s) for s in spoken)
    if not spoken or reasons:
        return []
    first = spoken[0]
    if len(frozenset().union(*(s.content for s in spoken))) > BARE:
        return []
    if not draft.urls:
        reason = "The text denies and gives neither a reason nor a source."
    elif note := _stated(draft, spoken):
        reason = f"The text only denies what another note of this post states: '{note[:100]}'."
    else:
        return []
    return [Finding("conduct.disputed", reason, first.span.start, first.span.end)]


def _topic(sentence: Sentence) -> frozenset[str]:
    """What a sentence speaks of, without the words by which it denies."""
    return frozenset(t.stem for t in sentence.words if t.stem in sentence.content and not DENIAL.search(t.text))


def _stated(draft: Draft, spoken: list[Sentence]) -> str | None:
    """A sentence of the post's own notes that states what the text denies."""
    for note in draft.own_notes:
        for other in read_sentences(note, draft.language, frozenset(), -3):
            for sentence in spoken:
                topic = _topic(sentence)
                if len(topic) >= 2 and overlap(topic, other.content) >= 0.9 and not denies(other):
                    return other.span.text
    return None


def _accusation(evidence: Evidence, sentence: Sentence, own: str) -> list[Finding]:
    """A word that charges somebody, which no source sentence uses of the same people, or none at all."""
    for found in ACCUSING.finditer(own):
        making = [
            s
            for s in evidence.notes
            if _uses(s, found.text) and (NEGATION.search(s.span.text) is None or NEGATION.search(sentence.span.text))
        ]
        if not making:
            reason = f"'{found.text}' charges somebody; no source says so."
        elif sentence.names and not any(_same_people(sentence, s, evidence) for s in making):
            reason = f"'{found.text}' charges '{sentence.names[0].text}'; no source says so of that name."
        else:
            continue
        start = sentence.span.start + found.start
        return [Finding("conduct.accusation", reason, start, start + len(found.text))]
    return []


def _told(evidence: Evidence, words: str) -> bool:
    return any(words.lower() in s.span.text.lower() for s in evidence.notes)


def _uses(source: Sentence, word: str) -> bool:
    root = word.lower()[: max(4, len(word) - 3)]
    return any(t.text.lower().startswith(root) for t in source.words) or word.lower() in source.span.text.lower()


def _same_people(sentence: Sentence, source: Sentence, evidence: Evidence) -> bool:
    """Whether a name of the sentence stands in the source's sentence, or in the one before it, which a pronoun may mean."""
    near = [s for s in evidence.notes if s.source == source.source and s.span.start <= source.span.start][-2:]
    return any(names_agree(n, m) for n in sentence.names for s in near for m in s.names) or not any(
        s.names for s in near
    )


def _disputed(evidence: Evidence, sentence: Sentence) -> list[Finding]:
    """A flat denial of what a source calls open; one that another source makes as flatly stays a denial of something disputed."""
    text = sentence.span.text
    if len(sentence.content) < 2 or _DISPUTED.search(text) or not (DENIAL.search(text) or NEGATION.search(text)):
        return []
    for source in evidence.notes:
        if _DISPUTED.search(source.span.text) is None:
            continue
        topic = frozenset(t.stem for t in source.words if t.stem in source.content and _DISPUTED.search(t.text) is None)
        if overlap(sentence.content, source.content) >= 0.5 or (
            len(topic) >= 2 and overlap(topic - _OPEN, sentence.content) >= 0.6
        ):
            reason = f"Source {source.source + 1} calls this open: '{source.span.text[:100]}'."
            return [Finding("conduct.disputed", reason, sentence.span.start, sentence.span.end)]
    return []
