"""Instruction-like text: what tries to speak to a model instead of to a reader.

Notes are evidence, never commands; a draft that repeats a command shows that a writer listened to it.
"""

from __future__ import annotations

import regex

from synthesis.check.base import Draft, Finding
from texts.note import MAX_TEXT, Span, clean_text

_INSTRUCTION = regex.compile(
    r"(?:ignore|disregard|forget|override|bypass)\s+(?:(?:all|any|the|these|your|my|of|previous|prior|above|earlier|preceding|other)\s+){0,4}(?:instructions?|prompts?|rules?|guidelines?|context|messages?|directions?|notes?)"
    r"|(?:^|[\n.]\s*)(?:system|assistant|user|developer)\s*(?:message|prompt)?\s*[:：](?=\s*\S)"
    r"|(?:system|developer)\s+(?:prompt|message|override|instruction)s?"
    r"|<\|[\w /-]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:system|assistant|user|instructions?|prompt|s)>|###\s*(?:instruction|response|system|human|assistant)"
    r"|\{\{[^{}\n]{0,200}\}\}|\{%[^{}\n]{0,200}%\}|\$\{[^{}\n]{0,200}\}|<%[^<>\n]{0,200}%>|\{\{|\}\}"
    r"|\bas\s+an?\s+(?:ai|language\s+model|llm|ai\s+assistant)\b|\byou\s+are\s+(?:now\s+)?(?:an?\s+)?(?:ai|assistant|chatgpt|language\s+model|dan|helpful\s+assistant|in\s+developer\s+mode)\b"
    r"|\b(?:respond|reply|answer|output|print|write|say|return)\s+(?:only|just|exactly|with\s+only|nothing\s+but)\b"
    r"|\b(?:rate|mark|score|rank|grade|judge|approve)\s+(?:this|it|my|the)\s*(?:note|candidate|text|answer|response|one)?\s*(?:as\s+)?(?:highly\s+|very\s+)?(?:helpful|highest|best|first|100|10/10|approved|winner)\b"
    r"|\b(?:reveal|repeat|print|show|leak)\s+(?:me\s+)?(?:your|the|all)\s+(?:system\s+|hidden\s+|initial\s+)?(?:prompt|instructions?|rules)\b"
    r"|\b(?:do\s+not|don['’]t|never)\s+(?:follow|obey|mention|tell)\s+(?:the\s+|these\s+|your\s+|any\s+)?(?:instructions?|rules?|user|prompt)\b"
    r"|\b(?:new|updated|real|important)\s+(?:instructions?|task|system\s+prompt)\s*[:：]|\b(?:end|begin|start)\s+of\s+(?:prompt|instructions?|system|context|notes?)\b"
    r"|\bjailbreak\b|\bprompt\s+injection\b|\bdeveloper\s+mode\b|\bpretend\s+(?:to\s+be|you\s+are|that\s+you)\b|\bact\s+as\s+(?:an?|the|if)\b"
    r"|ignor[ae]\w*\s+(?:todas?\s+)?(?:las|as|los|os|le|les|tutte\s+le)?\s*(?:instruc\w+|istruzioni|consignes)(?:\s+(?:anteriores|précédentes|precedenti))?|ignore[rz]?\s+(?:toutes\s+)?les\s+instructions"
    r"|ignorier\w*\s+(?:alle\s+)?(?:vorherigen\s+|bisherigen\s+)?(?:anweisungen|anleitungen|befehle)|negeer\s+(?:alle\s+)?(?:vorige\s+|eerdere\s+)?instructies"
    r"|игнорируй\w*\s+(?:все\s+)?(?:предыдущие\s+)?инструкции|(?:以前|これまで|上記|前)の(?:すべての)?(?:指示|命令|プロンプト)|指示を無視|忽略(?:之前|以上|所有|前面)?的?(?:所有)?(?:指令|指示|提示)|تجاهل\s+(?:جميع\s+|كل\s+)?التعليمات|निर्देशों\s+को\s+(?:अनदेखा|नज़रअंदाज़)",
    flags=regex.I | regex.M,
)


def instruction_like(text: str) -> list[Span]:
    """The places of a text that look like instructions to a model, template syntax or chat markup (at most 20).

    Offsets refer to `clean_text(text)`; only its first 20,000 characters are read. For framing and reports as well as checks:
    a source note with such places is still evidence for what else it says.
    """
    text = clean_text(text, MAX_TEXT)
    found: list[Span] = []
    for match in _INSTRUCTION.finditer(text):
        found.append(Span(match.group(), match.start(), match.end()))
        if len(found) == 20:
            break
    return found


def check_injection(draft: Draft) -> list[Finding]:
    """Instruction-like text in a draft."""
    return [
        Finding(
            "safety.no_instructions",
            f"'{span.text.strip()[:60]}' speaks to a model, not to a reader.",
            span.start,
            span.end,
        )
        for span in instruction_like(draft.text)
    ]
