"""Whether a draft is written in the language of its post."""

from __future__ import annotations

from synthesis.check.base import Draft, Finding
from texts.language import detect_language

# Written so much alike that statistics over 280 characters do not tell them apart.
_NEIGHBOURS = (
    {"no", "nb", "nn", "da"},
    {"hr", "sr", "bs", "sl"},
    {"id", "ms"},
    {"hi", "mr", "ne"},
    {"cs", "sk"},
    {"es", "ca", "gl"},
    {"ur", "fa", "ar"},
    {"zh", "ja"},
)
_SAME = {"in": "id", "iw": "he", "nb": "no", "nn": "no", "zh-cn": "zh", "zh-tw": "zh", "und": "", "fil": "tl"}


def check_language(draft: Draft) -> list[Finding]:
    """A finding if the language is known on both sides and differs. X's codes (`in`, `iw`, `und`) are understood."""
    expected = (draft.language or "").lower()
    expected = _SAME.get(expected, expected).split("-")[0]
    if len(expected) != 2:  # unknown, or X's codes for texts without words (qme, zxx, art)
        return []
    found = detect_language(draft.text)
    if (
        found is None
        or found == expected
        or any({found, expected} <= group and group != {"zh", "ja"} for group in _NEIGHBOURS)
    ):
        return []
    return [Finding("language.match", f"The text is written in '{found}', the post in '{expected}'.")]
