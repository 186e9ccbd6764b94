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
_MARKS = regex.compile(r"[!！?？]{2,}|!(?=\s|$)")
_LABEL = regex.compile(
    r"(?:^|(?<=[.\n]\s))\s*(?:community\s+notes?|readers(?:\s+have)?\s+added\s+context|(?:reader\s+)?context|fact[\s-]?check(?:ed)?|note|nota(?:\s+de\s+la\s+comunidad|\s+da\s+comunidade)?|"
    r"notes?\s+de\s+la\s+communauté|anmerkung|kollektive\s+anmerkung(?:en)?|contexto|contexte|kontext|コミュニティノート|背景情報|supernote)\s*[:：\-–—]|"
    r"(?<![\p{L}\p{N}])NNN(?![\p{L}\p{N}])|(?<![\p{L}])note\s+not\s+needed(?![\p{L}])|(?<![\p{L}])community\s+notes?(?![\p{L}])|コミュニティノート",
    flags=regex.I,
)
_ADDRESS = WordList(
    "you", "your", "you're", "you've", "yours", "yourself", "OP", "OP's", "the other note", "other notes", "this note", "previous note", "the note above", "proposed note",
    "note author", "tú", "usted", "ustedes", "você", "vocês", "vous", "votre", "あなた", "du", "dein", "deine", "Sie haben",
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
    findings += find_all(_LABEL, text, "style.no_label", "'{found}' announces the note or speaks about notes.")
    findings += find_all(_MENTION, visible, "style.no_address", "'{found}' mentions an account.")
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
    language = (draft.language or "")[:2]
    if word.lower() in ("du", "dein", "deine") or word == "Sie haben":
        return language == "de"
    if word.lower() in ("vous", "votre"):
        return language == "fr"
    return word.lower() not in ("op", "op's") or word.startswith("OP")
