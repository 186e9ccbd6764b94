"""Leaving the post's text out of an export: taken out of prompts where it stands, and noticed where it is still there.

In a prompt the post stands between `[begin post]` and `[end post]`, each of its lines with `| ` in front, cleaned and perhaps
cut (synthesis/draft/prompts.py); no text can forge those lines. What a note quotes of the post is the note's text, and stays.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PLACEHOLDER = "[the post's text is left out of this export]"

WINDOW, WINDOW_UNSPACED = 8, 24
"""Words (characters, in scripts without blanks) in a row that count as a piece of the post. Shorter runs occur in anybody's prose."""

_POST = re.compile(r"^\[begin post\]\n(.*?)^\[end post\]$", re.MULTILINE | re.DOTALL)
_NOTE = re.compile(r"^\[begin note \d+ of \d+[^\n]*\]\n(.*?)^\[end note [^\n]*\]$", re.MULTILINE | re.DOTALL)
_UNSPACED = r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_LINK = re.compile(r"https?://\S+")
_WORD = re.compile(rf"{_UNSPACED}|(?:(?!{_UNSPACED})\w)+")


def words(text: str) -> list[str]:
    """A text's words in lower case, entities resolved, links left out; in scripts without blanks its characters."""
    return _WORD.findall(_LINK.sub(" ", html.unescape(text)).lower())


def spoken(text: str) -> str:
    """The words with one blank between and around them, so that runs of words are found as substrings."""
    return f" {' '.join(words(text))} "


class PostText:
    """The text of one post as far as it must not leave. `clean` is how prompts clean a stranger's text."""

    def __init__(self, text: str, clean: Callable[[str], str]) -> None:
        forms = {text.strip(), html.unescape(text).strip(), clean(text)}
        forms |= {" ".join(form.split()) for form in forms}
        self._runs = self._runs_of(text)
        # Outside its frame, a post of one or two words can't be told from anybody's words.
        self._forms = sorted((form for form in forms if len(words(form)) >= 4), key=lambda form: (-len(form), form))

    @staticmethod
    def _runs_of(text: str) -> list[str]:
        found = words(text)
        unspaced = sum(len(word) == 1 and bool(re.match(_UNSPACED, word)) for word in found) * 2 > len(found)
        size = WINDOW_UNSPACED if unspaced else WINDOW
        if len(found) < size:
            return [f" {' '.join(found)} "] if len(found) >= size // 2 else []
        return sorted({f" {' '.join(found[i : i + size])} " for i in range(len(found) - size + 1)})

    def take_out(self, messages: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """The messages with the post's text replaced by the placeholder, and whether there was any. What notes quote stays."""
        taken, changed = [], False
        for message in messages:
            content = _POST.sub(f"[begin post]\n| {PLACEHOLDER}\n[end post]", message["content"])
            pieces, at = [], 0
            for frame in _NOTE.finditer(content):
                pieces += [self._without(content[at : frame.start()]), frame[0]]
                at = frame.end()
            content = "".join([*pieces, self._without(content[at:])])
            changed = changed or content != message["content"]
            taken.append({"role": message["role"], "content": content})
        return taken, changed

    def _without(self, text: str) -> str:
        for form in self._forms:
            text = text.replace(form, PLACEHOLDER)
        return text

    def leaves_with(self, text: str, quoted: str = "") -> bool:
        """Whether a run of the post's words is in the text that is not in `quoted` (the `spoken` words of notes) too."""
        if not self._runs:
            return False
        said = spoken(text)
        return any(run in said and run not in quoted for run in self._runs)


def notes_in(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of the notes that a prompt shows, as it shows them."""
    found = [inner for message in messages for inner in _NOTE.findall(message["content"])]
    return ["\n".join(line.removeprefix("| ") for line in inner.rstrip("\n").split("\n")) for inner in found]


def beside_notes(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a prompt says beside its notes."""
    return "\n".join(_NOTE.sub("", message["content"]) for message in messages)
