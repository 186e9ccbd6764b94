"""What a stage has to say beside its numbers: records of level, stage and text, in the stage's counts as `notices`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Level = Literal["told", "warned", "refused"]
"""told: worth knowing; warned: the result may be wrong; refused: the stage stopped because of it."""

REFIT_SHARE = 0.25
"""Above this share of ratings by raters the jury does not know, a run asks for a refit."""

_RANK = {"refused": 0, "warned": 1, "told": 2}


def notice(level: Level, stage: str, text: str) -> dict[str, str]:
    return {"level": level, "stage": stage, "text": text}


def notices_of(stage: str, counts: Mapping[str, Any]) -> list[dict[str, str]]:
    """The notices in a stage's counts, the gravest first. Manifests of older versions hold plain sentences: told.

    What a model server refused (`refused_calls`), and how many ratings the jury read by raters it knows (`sibling_ratings`,
    `read_with_the_jury`), stand in the counts as numbers, because shards and runs add them up; each is said once.
    """
    given = (
        [notice("warned", stage, refused_sentence(**counts["refused_calls"]))] if counts.get("refused_calls") else []
    )
    if there := counts.get("sibling_ratings", 0):
        unknown = there - counts.get("read_with_the_jury", 0)
        many = unknown > REFIT_SHARE * there
        asks = f", more than {REFIT_SHARE:.0%}: refit and train anew with run.jury_days=0" if many else ""
        text = f"{unknown:,} of {there:,} ratings of the posts' notes are by raters the jury does not know{asks}."
        given.append(notice("warned" if many else "told", stage, text))
    given += [
        notice("told", stage, entry) if isinstance(entry, str) else {"level": "told", "stage": stage} | dict(entry)
        for entry in counts.get("notices") or ()
    ]
    return sorted(given, key=lambda entry: _RANK.get(entry["level"], 1))


def refused_sentence(calls: int, by_words: Mapping[str, int]) -> str:
    """How many calls to the writing model gave no text, with the three most frequent reasons as the server gave them."""
    often = sorted(by_words.items(), key=lambda entry: (-entry[1], entry[0]))[:3]
    told = "; ".join(f"{n:,} x {words[:240]}" for words, n in often)
    return f"{sum(by_words.values()):,} of {calls:,} calls to the writing model gave no text: {told}"


def as_lines(notices: Iterable[Mapping[str, str]]) -> list[str]:
    """One line for a terminal or a log each: the level unless it is only told, then the text."""
    return [("" if entry["level"] == "told" else f"{entry['level']}: ") + entry["text"] for entry in notices]
