"""Plain prose: no markup, hashtags, emoji, headings, shouting, labels, and nobody addressed."""

from __future__ import annotations

import regex

from synthesis.check.base import Draft, Finding
from synthesis.check.patterns import WordList, find_all, own_words
from texts.words import mask

_EMOJI = regex.compile(
    r"[\p{Extended_Pictographic}--[\p{N}#*©®™‼⁉↔↕]]\uFE0F?|[\U0001F1E6-\U0001F1FF]{2}|[\p{N}#*]\uFE0F?\u20E3",
    flags=regex.V1,
)
_HASHTAG = regex.compile(r"(?<![\p{L}\p{N}&/])[#＃][\p{L}_][\p{L}\p{N}_]*")
_MENTION = regex.compile(r"(?<![\p{L}\p{N}.])[@＠][A-Za-z_]\w{1,20}")
_MARKUP = regex.compile(
    r"\*\*[^*\n]{1,200}\*\*|(?<!\w)__[^_\n]{1,200}__(?!\w)|`[^`\n]{1,200}`|\[[^\[\]\n]{1,200}\]\(|</?[a-zA-Z][^<>\n]{0,200}>|<!--|^\s{0,3}#{1,6}\s|^\s{0,3}>\s|^\s*(?:[-*•]|\d{1,2}[.)])\s+(?=\S)",
    flags=regex.M,
)
_HEADING = regex.compile(
    r"^(?=[^\n]{2,60}\n)[^\n.!?。！？:]{2,60}:?[ \t]*\n(?=\S)|^[\p{Lu}\d ,'’-]{12,80}(?:[:–—]|\s-)(?=\s)", flags=regex.M
)
_SHOUTING = regex.compile(r"(?:(?<![\p{L}\p{N}])\p{Lu}{2,}(?:['’]\p{Lu}+)?[\s,]+){3,}\p{Lu}{2,}")
_MARKS = regex.compile(r"[!！?？]{2,}|[\p{L}\p{N}]*!(?=\s|$)")
_LABEL = regex.compile(
    r"(?:^|(?<=[.\n]\s))\s*(?:community\s+notes?|readers(?:\s+have)?\s+added\s+context|(?:reader\s+)?context|fact[\s-]?check(?:ed)?|note|nota(?:\s+de\s+la\s+comunidad|\s+da\s+comunidade)?|"
    r"notes?\s+de\s+la\s+communauté|anmerkung|kollektive\s+anmerkung(?:en)?|contexto|contexte|kontext|コミュニティノート|背景情報|supernote)\s*[:：\-–—]|"
    r"(?<![\p{L}\p{N}])NNN(?![\p{L}\p{N}])|(?<![\p{L}])note\s+not\s+needed(?![\p{L}])",
    flags=regex.I,
)
# Words of the form in which a note is written, not of the matter.
_FORM = regex.compile(r"(?i)\bharms? (?:factor|level)|\b(?:low|high|little|considerable|minimal) (?:potential )?(?:harm|on the harm\w*)\b|\blabel (?:it|this)\b|\bmanipulated media\.|\bnivel de daño\b|\bdaño (?:bajo|alto|considerable)\b|\bschadensstufe\b|\b(?:geringer|hoher) schaden\b")  # fmt: skip
_MENTIONED = regex.compile(r"(?i)(?<!\p{L})community\s+notes?(?!\p{L})|コミュニティノート")
_TALK = regex.compile(
    r"(?i)\b(?:the|this|that|these|those|both|several|some|most|all|many|two|three|another|one|other|first|second|third|proposed|existing|previous|merged|combined|above|original|following|revised) (?:(?:proposed|existing|other|community|source|merged) )?notes?\b(?! (?:of|in|to) (?:the )?(?:album|school|bank))"
    r"|\b(?:most|some|many|all|several) (?:of the )?(?:readers|raters|contributors)\b|\b(?:the )?(?:readers|raters|note writers) (?:found|find|rated|agree\w*|of (?:both|either|one)|on (?:both|either)|from both|should|who|may|might|disagree\w*|said|say)\b"
    r"|\b(?:esta|la|las|estas|otras?|ambas) notas?\b(?= (?:dice|dicen|es|son|afirma|aclara|explica|indica|señala|mencion))|\b(?:los|algunos|muchos) lectores\b|\b(?:a|esta|as|outras?) notas?\b(?= (?:diz|dizem|é|afirma|explica))|\b(?:os|alguns) leitores\b"
    r"|\b(?:la|cette|les|ces) notes?\b(?= (?:dit|disent|est|affirme|explique|indique))|\b(?:les|certains) lecteurs\b|\b(?:die|diese|andere) (?:notiz|anmerkung)(?:en)?\b|\b(?:die|manche|viele) leser\b|このノート|他のノート"
)
# 'You' that means whoever reads: 'if you look closely', 'you can see'. What is left speaks to the author.
_ANYBODY = regex.compile(
    r"(?i)\b(?:(?:if|when|once|unless|until|before|after|whether|as|than what|what|where|how|lets?|allows?|helps?|gives?|protects?|makes?|hydrates?|keeps?|tracks?|costs?) you\b|you (?:can|could|cannot|can[’']t|may|might|must|need|have to|will|would|do not need|don[’']t need|get|see|still)\b)"
)
_ADDRESS = WordList(
    "OP", "OP's", "you know", "you said", "you say", "you claim", "you claimed", "you are wrong", "you're wrong", "you are lying", "you're lying", "you lie", "you lied", "you should", "you posted", "you forgot", "you left out", "your claim", "your post", "your tweet", "your source", "your own", "note author", "your words", "your argument", "your account", "your lie", "your lies", "shame on you", "you", "you're", "you've", "tú", "usted", "ustedes", "você", "vocês", "vous", "votre", "あなた", "du", "dein", "deine", "Sie haben",
)  # fmt: skip


def check_style(draft: Draft) -> list[Finding]:
    """Patterns the note spec names, in the draft's own words (not in quotations or links)."""
    text = own_words(draft)
    visible = mask(draft.text, draft.urls)
    findings = find_all(_EMOJI, visible, "style.plain", "The emoji '{found}'.")
    findings += find_all(_HASHTAG, visible, "style.plain", "The hashtag '{found}'.")
    findings += find_all(_MARKUP, visible, "style.plain", "The markup '{found}'.")
    findings += find_all(_HEADING, text, "style.plain", "The heading '{found}'.")
    findings += find_all(_SHOUTING, text, "style.plain", "Words in capitals: '{found}'.")
    findings += find_all(_MARKS, text, "style.plain", "The exclamation '{found}'.")
    # What a source writes so may be a title ('Yahoo!'), a quoted sign, or the matter itself.
    findings = [f for f in findings if not any(draft.text[f.start : f.end] in source for source in draft.sources)]
    findings += find_all(_LABEL, text, "style.no_label", "'{found}' announces the note or speaks about notes.")
    findings += [
        f
        for f in find_all(_MENTIONED, text, "style.no_label", "'{found}' speaks about notes.")
        if not any(text[f.start : f.end].lower() in source.lower() for source in draft.sources)
    ]
    findings += find_all(_FORM, text, "style.no_label", "'{found}' answers the form of a note, not the post.")
    findings += find_all(_TALK, text, "style.no_address", "'{found}' speaks of notes or readers, not of the matter.")
    findings += [
        f
        for f in find_all(_MENTION, visible, "style.no_address", "'{found}' mentions an account.")
        if not any(visible[f.start : f.end].lower() in source.lower() for source in draft.sources)
    ]
    if (draft.language or "")[:2] not in ("nl", "it", "ro", "fr") or not regex.fullmatch(
        r"du", text[:2], flags=regex.I
    ):
        findings += [
            f
            for f in find_all(_ADDRESS, text, "style.no_address", "'{found}' addresses the author or other writers.")
            if _is_address(draft, text, f)
        ]
    return findings


def _is_address(draft: Draft, text: str, finding: Finding) -> bool:
    """`du` is German for 'you' and French for 'of the'; `OP` counts only in capitals."""
    word = text[finding.start : finding.end]
    sentence = next((s for s in draft.sentences if s.start <= (finding.start or 0) < s.end), None)
    if word.lower() in ("you", "you're", "you’re", "you've", "you’ve") and sentence is not None:
        own = text[sentence.start : sentence.end]
        return _ANYBODY.search(own) is None and (draft.language or "en")[:2] == "en"
    language = (draft.language or "")[:2]
    if word.lower() in ("du", "dein", "deine") or word == "Sie haben":
        return language == "de"
    if word.lower() in ("vous", "votre"):
        return language == "fr"
    return word.lower() not in ("op", "op's") or word.startswith("OP")
