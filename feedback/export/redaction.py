"""Leaving the post's text out of prompts, and noticing when some of it is still there."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PLACEHOLDER = "[the post's text is left out of this export]"

WINDOW = 8
"""Words in a row that count as a piece of the post's text. Shorter runs occur in anybody's prose."""


def variants(post_text: str, clean: Callable[[str], str]) -> list[str]:
    """The forms in which a post's text may stand in a prompt: as it is, unescaped, cleaned; longest first."""
    forms = {post_text, post_text.strip(), html.unescape(post_text), clean(post_text)}
    forms |= {" ".join(form.split()) for form in forms}
    return sorted((form for form in forms if form.strip()), key=lambda form: (-len(form), form))


def leave_out(messages: Sequence[Mapping[str, Any]], forms: Sequence[str]) -> tuple[list[dict[str, Any]], bool]:
    """The messages with every form of the text replaced by the placeholder, and whether there was any."""
    changed = False
    cleaned = []
    for message in messages:
        content = message["content"]
        for form in forms:
            if form in content:
                content = content.replace(form, PLACEHOLDER)
                changed = True
        cleaned.append({"role": message["role"], "content": content})
    return cleaned, changed


def windows(text: str) -> set[str]:
    """All runs of WINDOW words of a text, lower case; a shorter text is one run if it has at least four words."""
    words = re.findall(r"\w+", text.lower())
    if len(words) < WINDOW:
        return {" ".join(words)} if len(words) >= 4 else set()
    return {" ".join(words[i : i + WINDOW]) for i in range(len(words) - WINDOW + 1)}


def leaks(messages: Sequence[Mapping[str, Any]], post_text: str, quoted_by: Sequence[str]) -> bool:
    """Whether a run of the post's words is still in the messages that none of the notes in `quoted_by` quotes."""
    own = windows(post_text)
    if not own:
        return False
    said = " ".join(re.findall(r"\w+", " ".join(message["content"] for message in messages).lower()))
    found = {run for run in own if run in said}
    if not found:
        return False
    quoted = [" ".join(re.findall(r"\w+", note.lower())) for note in quoted_by]
    return any(not any(run in note for note in quoted) for run in found)
