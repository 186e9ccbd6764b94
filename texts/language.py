"""Which language a text is written in, or that nobody can tell.

py3langid (naive Bayes over byte n-grams, weights inside the package) restricted to the languages notes are written in:
among all of its 140 the near neighbours (Asturian, Scots, Wu) take probability from the likely ones.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from texts.note import without_urls

LANGUAGES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi", "hr", "hu", "hy",
    "id", "it", "ja", "ka", "kn", "ko", "lt", "lv", "ml", "mr", "ms", "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "sk",
    "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
MIN_PROBABILITY = 0.6
MIN_LETTERS = 12  # Latin, Cyrillic, Arabic... letters; a third of it for East Asian characters, which say more each
_READ = 2000  # characters looked at: enough to be sure, bounded for hostile texts
_NOISE = regex.compile(r"[@#][\p{L}\p{N}_]++|[\p{N}]++")
_DENSE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]")
# Scripts that one language (of those above) owns settle the matter before any statistics.
_OWN_SCRIPT = (
    ("ja", regex.compile(r"[\p{Hiragana}\p{Katakana}]")),
    ("ko", regex.compile(r"\p{Hangul}")),
    ("th", regex.compile(r"\p{Thai}")),
    ("el", regex.compile(r"\p{Greek}")),
    ("he", regex.compile(r"\p{Hebrew}")),
    ("hy", regex.compile(r"\p{Armenian}")),
    ("ka", regex.compile(r"\p{Georgian}")),
    ("ta", regex.compile(r"\p{Tamil}")),
)


@lru_cache(maxsize=1)
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(sorted(set(LANGUAGES) & set(identifier.labels)))
    return identifier


@lru_cache(maxsize=8192)
def detect_language(text: str) -> str | None:
    """ISO 639-1 code of the text's language, or None where it is too short or the guess is below 0.6.

    Links, mentions, hashtags and numbers are left out of account; only the first 2,000 characters are read.
    """
    text = _NOISE.sub(" ", without_urls(text[: 2 * _READ]))[:_READ]
    letters = sum(char.isalpha() for char in text)
    dense = len(_DENSE.findall(text))
    if letters + 2 * dense < MIN_LETTERS:
        return None
    for language, script in _OWN_SCRIPT:
        if len(script.findall(text)) >= max(2, letters // 4):
            return language
    best, probability = _identifier().classify(text)
    return best if probability >= MIN_PROBABILITY else None
