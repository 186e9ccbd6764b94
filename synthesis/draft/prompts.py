"""Prompts: from a post and its notes to a `Request`, and from a model's reply back to the text of a note.

A prompt is a file `prompts/<purpose>-v<number>.txt`, never edited once used: a change is a new file with a new number. The
file has a part `=== system ===`, a part `=== user ===` and placeholders in double braces. Placeholders are looked for in the
file alone and filled in one pass, so a note that says `{{notes}}` stays as it is; there is no template engine.

Notes and posts are text by strangers. In a prompt each of them stands between a line `[begin ...]` and a line `[end ...]`, and
each of its lines begins with `| `: no text can end its own frame. What a tokenizer could take for a control token
(`<|im_start|>`, `</s>`, `[INST]`) is made harmless by changing its first bracket, and a text that is too long is cut with a
notice. How raters received a note is told in words; a number would invite the writer to please the numbers.

We considered quoting the evidence as JSON strings: as safe, but small models copy the escapes into their notes, and links with
`\\/` no longer match. We considered changing every `<`: that spoils "inflation was < 2 %", which never is a control token.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import regex

from nouns.errors import InputError
from nouns.post import NOT_MISLEADING, Message, Note, Post, Request
from synthesis.settings import DraftCandidatesSettings
from texts.note import clean_text, note_length

__all__ = [
    "NOTE_SCHEMA",
    "defuse",
    "draft_request",
    "judge_request",
    "language_name",
    "read_completion",
    "reception",
    "revise_request",
    "shorten_request",
]

MAX_NOTE = (
    2_000  # characters of one note in a prompt; X allows 280 with links counted as one, real ones stay under 1,500
)
MAX_POST = 4_000  # characters of the post; long posts make their claim early
MAX_FEEDBACK = 2_000
MAX_REPLY = 40_000  # characters of a reply that are looked at at all

NOTE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"note": {"type": "string"}},
    "required": ["note"],
    "additionalProperties": False,
}
"""Flat, strings only: what every engine of structured output supports alike (lengths and ranges are not; peers.md P7)."""

_AS_JSON = '\nReply with one JSON object and nothing else: {"note": "<the text of the note>"}'
_AS_TEXT = "\nReply with the text of the note and nothing else."

_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "gl": "Galician", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "hy": "Armenian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese",
    "ka": "Georgian", "kn": "Kannada", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ml": "Malayalam",
    "mr": "Marathi", "ms": "Malay", "ne": "Nepali", "nl": "Dutch", "no": "Norwegian", "pa": "Punjabi", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sq": "Albanian",
    "sr": "Serbian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "te": "Telugu", "th": "Thai", "tl": "Tagalog",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- requests


def draft_request(
    post: Post,
    cluster_id: str,
    notes: Sequence[Note],
    settings: DraftCandidatesSettings,
    *,
    language: str,
    n: int,
    seed: int,
) -> Request:
    """Asks for `n` notes merged from `notes` (best first), in `language` (ISO 639-1; others and 'und': the post's).

    The request's id is a hash of everything that shapes the answer and of post, cluster and sources, so equal prompts of
    different posts keep apart. Draw i is meant to use seed + i.
    """
    _some(notes, post)
    values = _shared(post, notes, language, settings)
    return _request("draft", settings.prompt, values, post, notes, settings, language, n, seed, identity=cluster_id)


def revise_request(
    post: Post,
    notes: Sequence[Note],
    parent_text: str,
    feedback: str,
    settings: DraftCandidatesSettings,
    *,
    language: str,
    n: int,
    seed: int,
) -> Request:
    """Asks for `n` rewritings of `parent_text` that meet `feedback` (objections in words, never scores)."""
    _some(notes, post)
    values = _shared(post, notes, language, settings) | {
        "parent": _block("note to be improved", parent_text, MAX_NOTE),
        "feedback": _block("objections of the jury", feedback, MAX_FEEDBACK),
    }
    name = settings.revise_prompt
    return _request("revise", name, values, post, notes, settings, language, n, seed, parent_text, feedback)


def shorten_request(
    post: Post,
    notes: Sequence[Note],
    text: str,
    settings: DraftCandidatesSettings,
    *,
    language: str,
    n: int,
    seed: int,
) -> Request:
    """Asks for `n` versions of `text` that fit into `settings.max_length` characters as X counts them."""
    feedback = f"The note has {note_length(text):,} characters; {settings.max_length} fit."
    values = _shared(post, notes, language, settings) | {
        "parent": _block("note to be shortened", text, MAX_NOTE),
        "feedback": feedback,
    }
    name = settings.shorten_prompt
    return _request("shorten", name, values, post, notes, settings, language, n, seed, text, feedback)


def judge_request(
    post: Post,
    notes: Sequence[Note],
    text: str,
    questions: Mapping[str, str],
    settings: DraftCandidatesSettings,
    *,
    language: str,
    seed: int,
) -> Request:
    """Asks yes-or-no `questions` (wording by principle id) about `text`; one reply, greedy.

    The reply has the form `{"answers": {id: "yes" | "no"}}`; `synthesis.check.judge.read_answers` reads it.
    """
    if not questions:
        raise InputError("judge_request got no questions; hand over at least one principle's question.")
    values = _shared(post, notes, language, settings) | {
        "parent": _block("note to be examined", text, MAX_NOTE),
        "questions": "\n".join(f"- {name}: {question}" for name, question in questions.items()),
    }
    schema = _answers_schema(tuple(questions))
    name = settings.judge_prompt
    return _request("judge", name, values, post, notes, settings, language, 1, seed, text, schema=schema, greedy=True)


def _some(notes: Sequence[Note], post: Post) -> None:
    if not notes:
        raise InputError(f"A note for post {post.post_id} was asked for with no source notes; hand over at least one.")


def _answers_schema(ids: tuple[str, ...]) -> dict[str, Any]:
    answers = {name: {"type": "string", "enum": ["yes", "no"]} for name in ids}
    inner = {"type": "object", "properties": answers, "required": list(ids), "additionalProperties": False}
    return {"type": "object", "properties": {"answers": inner}, "required": ["answers"], "additionalProperties": False}


def _request(
    purpose: Literal["draft", "revise", "shorten", "judge"],
    prompt: str,
    values: Mapping[str, str],
    post: Post,
    notes: Sequence[Note],
    settings: DraftCandidatesSettings,
    language: str,
    n: int,
    seed: int,
    parent_text: str | None = None,
    feedback: str | None = None,
    identity: str = "",
    schema: dict[str, Any] | None = None,
    greedy: bool = False,
) -> Request:
    if n < 1:
        raise InputError(f"A {purpose} request for post {post.post_id} asks for n = {n} texts; ask for at least one.")
    messages = fill(prompt, values)
    temperature, top_p = (0.0, 1.0) if greedy else (settings.temperature, settings.top_p)
    schema = (schema or NOTE_SCHEMA) if settings.structured else None
    content = {
        "purpose": purpose,
        "prompt": prompt,
        "post": post.post_id,
        "cluster": identity,
        "sources": [[note.note_id, note.borrowed] for note in notes],
        "messages": [[message.role, message.content] for message in messages],
        "sampling": [n, float(temperature), float(top_p), settings.max_tokens, seed],
        "schema": schema,
        "parent": parent_text,
        "feedback": feedback,
    }
    told = json.dumps(content, sort_keys=True, ensure_ascii=True)  # ASCII: a lone surrogate must not stop the hash
    return Request(
        request_id=f"{purpose}-{hashlib.sha256(told.encode()).hexdigest()[:32]}",
        post_id=post.post_id,
        messages=messages,
        purpose=purpose,
        prompt_version=prompt,
        sources=tuple(notes),
        language=language,
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_tokens=settings.max_tokens,
        seed=seed,
        schema=schema,
        parent_text=parent_text,
        feedback=feedback,
    )


# -------------------------------------------------------------------------------------------------------------- files

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_PART = re.compile(r"^=== (system|user) ===\n", flags=re.MULTILINE)
_KNOWN = frozenset(
    {"max_length", "language", "reply_form", "post", "notes", "stance", "parent", "feedback", "questions"}
)


@lru_cache(maxsize=32)
def _parts(name: str) -> tuple[tuple[Literal["system", "user"], str], ...]:
    """The parts of a prompt file, checked once: a system part, a user part, no placeholder nobody knows."""
    directory = Path(__file__).parent / "prompts"
    there = sorted(path.stem for path in directory.glob("*.txt"))
    if name not in there:
        raise InputError(f"There is no prompt {name!r} in synthesis/prompts; choose one of {', '.join(there)}.")
    pieces = _PART.split((directory / f"{name}.txt").read_text(encoding="utf-8"))
    if pieces[0].strip() or pieces[1::2] != ["system", "user"]:
        raise InputError(f"Prompt {name!r} must have a part '=== system ===' and then a part '=== user ===' only.")
    unknown = {key for text in pieces[2::2] for key in _PLACEHOLDER.findall(text)} - _KNOWN
    if unknown:
        raise InputError(
            f"Prompt {name!r} has unknown placeholders {sorted(unknown)}; known are {', '.join(sorted(_KNOWN))}."
        )
    return ("system", pieces[2].strip()), ("user", pieces[4].strip())


def fill(prompt: str, values: Mapping[str, str]) -> tuple[Message, ...]:
    """The messages of a prompt file with its placeholders filled, in one pass: values are never searched."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise InputError(f"Prompt {prompt!r} uses {{{{{match[1]}}}}}, which its purpose does not offer.")
        return values[match[1]]

    return tuple(Message(role, _PLACEHOLDER.sub(value, text).strip()) for role, text in _parts(prompt))


# ----------------------------------------------------------------------------------------------------------- evidence

# A bracket that could open a tag or a control token: followed by a letter, slash, bar, bracket or exclamation mark. "< 2 %" stays.
_OPENING = regex.compile(r"[<＜﹤](?=\s*+[\p{L}/|｜!<＜﹤?_])")
# Control tokens in square brackets of chat templates (Mistral's family), and our own frame lines.
_BRACKETED = regex.compile(
    r"\[(?=\s*+/?\s*+(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG\w*|ARGS|CALL_ID|THINK|begin|end)\b)",
    flags=regex.I,
)


def defuse(text: str, limit: int = MAX_NOTE) -> tuple[str, bool]:
    """A stranger's text made fit for a prompt, and whether it had to be cut to `limit` characters.

    Cleaned as a reader sees it (`clean_text`), control tokens of chat templates broken, runs of empty lines closed. Cut
    at a blank where there is one near the end, so that no half link is left behind.
    """
    # Cleaned with room beyond the limit: cleaning first and cutting then cannot break an entity or an invisible character.
    clean = clean_text(text, limit=limit + 1)
    clean = _BRACKETED.sub("(", _OPENING.sub("‹", clean))
    clean = regex.sub(r"\n(?:[^\S\n]*+\n)+", "\n", clean)
    if len(clean) <= limit:
        return clean, False
    kept = clean[:limit]
    blank = max(kept.rfind(" "), kept.rfind("\n"))
    return (kept[:blank] if blank > limit // 2 else kept).rstrip(), True


def _block(label: str, text: str, limit: int, about: str = "") -> str:
    body, cut = defuse(text, limit)
    lines = [f"| {line}" for line in body.split("\n")] if body else ["| (empty)"]
    if cut:
        lines.append(f"(cut here: the text goes on after {limit:,} characters)")
    return "\n".join([f"[begin {label}{about}]", *lines, f"[end {label}]"])


def _shared(post: Post, notes: Sequence[Note], language: str, settings: DraftCandidatesSettings) -> dict[str, str]:
    return {
        "max_length": str(settings.max_length),
        "language": language_name(language),
        "reply_form": _AS_JSON if settings.structured else _AS_TEXT,
        "post": _block("post", post.text, MAX_POST)
        if post.text and clean_text(post.text)  # nothing but invisible characters is no text either
        else "The text of the post is not at hand; what it claims has to be understood from the notes.",
        "notes": "\n\n".join(_note_block(note, i, len(notes)) for i, note in enumerate(notes, 1)) or "(no notes)",
        "stance": "These notes say that the post is not misleading."
        if notes and all(note.classification == NOT_MISLEADING for note in notes)
        else "These notes say that the post is misleading or lacks context.",
    }


def _note_block(note: Note, number: int, of: int) -> str:
    origin = "proposed under another post that makes the same claim" if note.borrowed else "proposed under this post"
    about = "; ".join(word for word in (origin, _status(note), reception(note)) if word)
    return _block(f"note {number} of {of}", note.text, MAX_NOTE, f": {about}")


def _status(note: Note) -> str:
    return {
        "CURRENTLY_RATED_HELPFUL": "rated helpful on X",
        "CURRENTLY_RATED_NOT_HELPFUL": "rated not helpful on X",
        "NEEDS_MORE_RATINGS": "needs more ratings on X",
    }.get(note.status or "", "")


def reception(note: Note) -> str:
    """How raters of either side received a note, in words. 'One side' is always the side of negative factors.

    From the helpful-minus-not-helpful balance per side; without it, from the note's intercept and factor (X's bars for
    helpful, 0.40 and 0.50, and for not helpful, facts.md section 2); without either, that nothing is known.
    """
    one, other = note.net_helpful_negative, note.net_helpful_positive
    if note.n_ratings > 0 and one is not None and other is not None:
        few = "few readers rated it; " if note.n_ratings < 5 else ""
        if one > 0 and other > 0:
            return few + "readers of both sides found it more helpful than not"
        if one < 0 and other < 0:
            return few + "readers of both sides found it rather not helpful"
        return few + f"readers of one side {_found(one)}, readers of the other side {_found(other)}"
    if note.intercept is not None and note.factor is not None:
        if note.intercept >= 0.40 and abs(note.factor) < 0.50:
            return "readers of both sides found it helpful"
        if abs(note.factor) >= 0.50:
            liked = "one side" if note.factor < 0 else "the other side"
            return f"mostly readers of {liked} found it helpful"
        if note.intercept < -0.05 - 0.8 * abs(note.factor):
            return "readers of both sides found it rather not helpful"
        return "readers of both sides were undecided"
    return "not known how readers received it"


def _found(balance: float) -> str:
    return (
        "found it more helpful than not"
        if balance > 0
        else "found it rather not helpful"
        if balance < 0
        else "were undecided"
    )


def language_name(code: str | None) -> str:
    """The English name of a language by its ISO 639-1 code ('pt-BR' and 'pt_BR' count as 'pt')."""
    return _LANGUAGES.get(re.split(r"[-_]", (code or "").lower())[0], "the language of the post and its notes")


# ------------------------------------------------------------------------------------------------------------ replies

_THINKING = re.compile(r"<(/?)(?:think|thinking|reasoning)>", flags=re.IGNORECASE)
_FENCE = re.compile(r"```[A-Za-z]*[ \t]*\n?(.*?)```", flags=re.DOTALL)
_PREAMBLE = regex.compile(
    r"^(?:sure|certainly|of course|okay|ok|here(?:'s|’s| is| are)|the (?:revised|rewritten|shortened|merged) note|below is)\b[^\n]{0,120}:\s*\n+",
    flags=regex.I,
)
_LABEL = regex.compile(
    r"^(?:[*_#>\s]*)(?:(?:revised |rewritten |shortened |merged |final |proposed )?(?:community )?note|note text|"
    r"nota(?: de la comunidad| da comunidade)?|note de la communauté|hinweis|anmerkung|コミュニティノート|ノート)\s*[*_]*\s*[:：]\s*[*_]*\s*",
    flags=regex.I,
)
_COUNT = regex.compile(
    r"\s*[\[(]\s*(?:character count:?\s*)?\d{1,4}\s*(?:/\s*\d{1,4}\s*)?(?:characters?|chars?)?[.\s]*[\])]\s*$",
    flags=regex.I,
)
_REFUSAL = regex.compile(
    r"^(?:i(?:['’]m| am) sorry|sorry,|i (?:can(?:no|['’])t|cannot|am unable to|am not able to)|as an ai\b|unfortunately, i\b)",
    flags=regex.I,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’", "「": "」", "『": "』", "`": "`"}


def read_completion(text: str) -> str | None:
    """The note in a model's reply, or None where no note can be read out of it with certainty.

    Read are, in this order: the reply as one JSON object with a text under `note` (alone, in a code fence, or with prose
    around it), a code fence with plain text, plain text. Reasoning in `<think>` is left out; labels ("Note:"), an
    announcement line, a character count and quotation marks around the whole are taken off. None: empty, only
    reasoning, a refusal, JSON that is broken off, of another shape, with a doubled key, or two objects that differ:
    half a note is not a note.
    """
    text = text[:MAX_REPLY].replace("\ufeff", "")
    tags = list(_THINKING.finditer(text))
    if tags and not tags[-1][1]:
        return None  # still thinking when the reply broke off
    text = text[tags[-1].end() if tags else 0 :].strip()  # what stands behind the end of the reasoning
    fence = _FENCE.search(text)
    inner = fence[1].strip() if fence else None
    for body in (text, inner):
        if body and body[0] in "{[":
            return _from_json(body)
    if inner is not None:
        return _plain(inner)
    start = text.find('{"note"')
    if start > 0:
        return _from_json(text[start:])
    if text.startswith("```"):
        return None  # a fence that never closes: broken off
    return _plain(text)


def _from_json(body: str) -> str | None:
    decoder = json.JSONDecoder(object_pairs_hook=_no_doubles, strict=False)
    notes: list[str] = []
    position = 0
    try:
        while position < len(body) and body[position] == "{":
            value, position = decoder.raw_decode(body, position)
            note = value.get("note") if isinstance(value, dict) else None
            if not isinstance(note, str):
                return None
            notes.append(note)
            while position < len(body) and body[position].isspace():
                position += 1
    except (ValueError, RecursionError):
        return None
    return _plain(notes[0]) if len(set(notes)) == 1 else None


def _no_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _plain(text: str) -> str | None:
    text = clean_text(text, limit=MAX_REPLY)
    for _ in range(4):  # a label may stand inside quotation marks inside a label
        before = text
        text = _LABEL.sub("", _PREAMBLE.sub("", text.strip())).strip()
        text = _COUNT.sub("", text)
        if all(line.startswith("|") for line in text.split("\n")):
            text = "\n".join(line[1:].strip() for line in text.split("\n"))  # our own frame, copied
        if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and not _inside(text):
            text = text[1:-1].strip()
        if text == before:
            break
    if not text or _REFUSAL.match(text):
        return None
    return text


def _inside(text: str) -> bool:
    """Whether the outer quotation marks also occur within: then they are two quotations, not one around everything."""
    return text[0] in text[1:-1] or text[-1] in text[1:-1]
