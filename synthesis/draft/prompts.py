"""Prompts: from a post and its notes to a `Request`, and from a model's reply back to the text of a note.

A prompt is a file `prompts/<purpose>-v<number>.txt`, never edited once used: a change is a new file with a new number. The
file has a part `=== system ===`, a part `=== user ===`, perhaps a part `=== example ===` for where there is room, and placeholders in
double braces. Placeholders are looked for in the
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
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, Literal

import regex

from nouns.errors import InputError
from nouns.post import NOT_MISLEADING, Message, Note, Post, Request
from nouns.x import HELPFUL_AT, HELPFUL_FACTOR
from synthesis.settings import DraftCandidatesSettings
from texts.note import clean_text, note_length

__all__ = [
    "NOTE_SCHEMA",
    "as_reply",
    "defuse",
    "draft_request",
    "judge_request",
    "language_name",
    "read_completion",
    "read_object",
    "read_reply",
    "reception",
    "reply_form",
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

ReplyForm = Literal["json", "text"]

_ASKED_FOR: dict[ReplyForm, str] = {
    "json": '\nReply with one JSON object and nothing else. Its only key is "note", its value the text of the note.',
    "text": "\nReply with the text of the note and nothing else.",
}
# What the first prompts said: the words of a used prompt never change. Small models copied the placeholder.
_ASKED_FOR_V1 = _ASKED_FOR | {
    "json": '\nReply with one JSON object and nothing else: {"note": "<the text of the note>"}'
}
SMALLEST_NOTE = (
    300  # characters of a note that a small context still shows, and notes beside the first that it may lose
)


def reply_form(settings: DraftCandidatesSettings) -> ReplyForm:
    """The one form a writer is asked to reply in: 'json' (`{"note": text}`) or 'text'. Prompts, parser and training targets ask here."""
    return "json" if settings.structured else "text"


def as_reply(text: str, form: ReplyForm) -> str:
    """A note as a writer would have replied with it: what a training target has to look like."""
    # What json.dumps gives, seven times as fast: exports write millions.
    return f'{{"note": {encode_basestring(text)}}}' if form == "json" else text


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

    The reply has the form `{"answers": {id: "yes" | "no"}}`; `synthesis.judge.judge.read_answers` reads it.
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
    if settings.max_context:
        messages, notes = _fitted(prompt, values, post, notes, settings)
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


def estimated_tokens(text: str) -> int:
    """Tokens a text has at most, roughly: a third of its ASCII characters, one for any other (tokenizers differ)."""
    plain = sum(char.isascii() for char in text)
    return plain // 3 + len(text) - plain


def _fitted(
    prompt: str, values: Mapping[str, str], post: Post, notes: Sequence[Note], settings: DraftCandidatesSettings
) -> tuple[tuple[Message, ...], Sequence[Note]]:
    """Messages that leave room for the reply in `settings.max_context`, and the notes they still show.

    Given up in this order, as far as needed: the example, the length of the notes and the post, the last notes. The first note
    always stays; what then still does not fit is the server's to refuse.
    """
    room = settings.max_context - settings.max_tokens
    limit, shown, example = MAX_NOTE, len(notes), True
    while True:
        values = dict(values) | {
            "notes": _notes_block(notes[:shown], limit),
            "post": _post_block(post, MAX_POST if limit == MAX_NOTE else limit),
        }
        messages = fill(prompt, values, example=example)
        if sum(estimated_tokens(message.content) for message in messages) <= room:
            break
        if example and "{{example}}" in _parts(prompt)["system"]:
            example = False
        elif limit > SMALLEST_NOTE:
            limit //= 2
        elif shown > 1:
            shown -= 1
        else:
            break
    return messages, notes[:shown]


# -------------------------------------------------------------------------------------------------------------- files

_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_PART = re.compile(r"^=== (system|example|user) ===\n", flags=re.MULTILINE)
_KNOWN = frozenset(
    {"max_length", "language", "reply_form", "example", "post", "notes", "stance", "parent", "feedback", "questions"}
)


@lru_cache(maxsize=32)
def _parts(name: str) -> dict[str, str]:
    """The parts of a prompt file, checked once: system, perhaps an example, user; no placeholder nobody knows."""
    directory = Path(__file__).parent / "prompts"
    there = sorted(path.stem for path in directory.glob("*.txt"))
    if name not in there:
        raise InputError(f"There is no prompt {name!r} in synthesis/draft/prompts; choose one of {', '.join(there)}.")
    pieces = _PART.split((directory / f"{name}.txt").read_text(encoding="utf-8"))
    if pieces[0].strip() or [part for part in pieces[1::2] if part != "example"] != ["system", "user"]:
        raise InputError(f"Prompt {name!r} must have a part '=== system ===' and then a part '=== user ==='.")
    unknown = {key for text in pieces[2::2] for key in _PLACEHOLDER.findall(text)} - _KNOWN
    if unknown:
        raise InputError(
            f"Prompt {name!r} has unknown placeholders {sorted(unknown)}; known are {', '.join(sorted(_KNOWN))}."
        )
    return {part: text.strip() for part, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def fill(prompt: str, values: Mapping[str, str], *, example: bool = True) -> tuple[Message, ...]:
    """The messages of a prompt file with its placeholders filled, in one pass: values are never searched."""
    parts = _parts(prompt)
    offered = dict(values) | {"example": "\n" + parts["example"] if example and "example" in parts else ""}
    if "reply_form" in offered:
        offered["reply_form"] = (_ASKED_FOR_V1 if prompt.endswith("-v1") else _ASKED_FOR)[offered["reply_form"]]  # type: ignore[index]

    def value(match: re.Match[str]) -> str:
        if match[1] not in offered:
            raise InputError(f"Prompt {prompt!r} uses {{{{{match[1]}}}}}, which its purpose does not offer.")
        return offered[match[1]]

    roles: tuple[Literal["system", "user"], ...] = ("system", "user")
    return tuple(Message(role, _PLACEHOLDER.sub(value, parts[role]).strip()) for role in roles)


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
        "reply_form": reply_form(settings),
        "post": _post_block(post, MAX_POST),
        "notes": _notes_block(notes, MAX_NOTE),
        "stance": "These notes say that the post is not misleading."
        if notes and all(note.classification == NOT_MISLEADING for note in notes)
        else "These notes say that the post is misleading or lacks context.",
    }


def _post_block(post: Post, limit: int) -> str:
    if post.text and clean_text(post.text):  # nothing but invisible characters is no text either
        return _block("post", post.text, limit)
    return "The text of the post is not at hand; what it claims has to be understood from the notes."


def _notes_block(notes: Sequence[Note], limit: int) -> str:
    return "\n\n".join(_note_block(note, i, len(notes), limit) for i, note in enumerate(notes, 1)) or "(no notes)"


def _note_block(note: Note, number: int, of: int, limit: int) -> str:
    origin = "proposed under another post that makes the same claim" if note.borrowed else "proposed under this post"
    about = "; ".join(word for word in (origin, _status(note), reception(note)) if word)
    return _block(f"note {number} of {of}", note.text, limit, f": {about}")


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
        if note.intercept >= HELPFUL_AT and abs(note.factor) < HELPFUL_FACTOR:
            return "readers of both sides found it helpful"
        if abs(note.factor) >= HELPFUL_FACTOR:
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
# What is left of a form, not a note: our frame's lines, an object inside the object, a slot with nothing beside it.
_FORM = regex.compile(
    r"\[(?:begin|end) (?:post|note|objections)\b|^[{}]|^[<\[(][^<>\[\]()]{0,60}[>\])]$", flags=regex.I
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "‘": "’", "「": "」", "『": "』", "`": "`"}


def read_reply(reply: str, form: ReplyForm) -> str | None:
    """The note in a reply that was asked for in `form`, or None where no note can be read out of it with certainty.

    The asked form is expected; the other one is understood as well, because servers ignore schemas and models are trained to
    like them. Reasoning is left out; labels ("Note:"), an announcement line, a character count and quotation marks around the
    whole are taken off. None: empty, only reasoning, a refusal, a form left unfilled, JSON that is broken off, of another shape,
    with a doubled key, or two objects that differ: half a note is not a note.
    """
    body, is_object = _body(reply, '{"note"')
    if form == "text" and body and body[0] == "[":
        return _plain(body)  # a note may begin with a bracket; asked for JSON, it is a list nobody wanted
    return _read_note(body, is_object)


def read_completion(text: str) -> str | None:
    """`read_reply` where nothing is known of what was asked: one JSON object with a text under `note`, or plain text."""
    return _read_note(*_body(text, '{"note"'))


def _read_note(body: str | None, is_object: bool) -> str | None:
    if body is None or not is_object:
        return _plain(body) if body else None
    found = _objects(body)
    notes = [value.get("note") for value in found or ()]
    if not notes or not all(isinstance(note, str) for note in notes):
        return None
    return _plain(str(notes[0])) if len(set(notes)) == 1 else None


def read_object(text: str, key: str) -> dict[str, object] | None:
    """The JSON object in a reply that has `key`, read as a note is: behind reasoning, in a fence, with prose around it.

    None where there is none, where it is broken off, or where there are two.
    """
    body, is_object = _body(text, f'{{"{key}"')
    found = _objects(body) if body and is_object else None
    return found[0] if found and len(found) == 1 and key in found[0] else None


def _body(text: str, opening: str) -> tuple[str | None, bool]:
    """The part of a reply that counts, and whether it is (meant as) JSON; None where it broke off or is only reasoning."""
    text = text[:MAX_REPLY].replace("\ufeff", "")
    tags = list(_THINKING.finditer(text))
    if tags and not tags[-1][1]:
        return None, False  # still thinking when the reply broke off
    text = text[tags[-1].end() if tags else 0 :].strip()  # what stands behind the end of the reasoning
    fence = _FENCE.search(text)
    inner = fence[1].strip() if fence else None
    for body in (text, inner):
        if body and body[0] in "{[":
            return body, True
    if inner is not None:
        return inner, False
    start = text.find(opening)
    if start > 0:
        return text[start:], True
    return (None if text.startswith("```") else text), False  # a fence that never closes: broken off


def _objects(body: str) -> list[dict[str, object]] | None:
    """The JSON objects a text begins with; None where one is broken, holds a key twice, or is no object."""
    decoder = json.JSONDecoder(object_pairs_hook=_no_doubles, strict=False)
    found: list[dict[str, object]] = []
    position = 0
    try:
        while position < len(body) and body[position] == "{":
            value, position = decoder.raw_decode(body, position)
            found.append(value)
            while position < len(body) and body[position].isspace():
                position += 1
    except (ValueError, RecursionError):
        return None
    return found


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
    return None if _REFUSAL.match(text) or _FORM.search(text) or not regex.search(r"\p{L}", text) else text


def _inside(text: str) -> bool:
    """Whether the outer quotation marks also occur within: then they are two quotations, not one around everything."""
    return text[0] in text[1:-1] or text[-1] in text[1:-1]
