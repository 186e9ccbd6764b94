"""Calls that gave no text: counted, told in the server's own words, and too many of them end the stage."""

from __future__ import annotations

from collections import Counter
from typing import Any

from nouns.errors import GateFailed
from nouns.notices import refused_sentence
from nouns.post import Completion
from synthesis.generation.base import failure_code

AWAY = frozenset({"connection", "timeout", "deadline", "circuit_open"})
"""Failures that say that nobody answered: such a server is waited for, so they are no refusals."""
_NOT_ASKED = frozenset({"not_recorded"})


class Refusals:
    """How many calls gave no text, and what was said about it."""

    def __init__(self) -> None:
        self.calls = 0
        self.by_words: Counter[str] = Counter()
        self.given_up = False  # the server failed so long that it was left alone

    def add(self, completion: Completion) -> None:
        """Enter a finished call."""
        code = failure_code(completion.failure)
        self.given_up |= code == "circuit_open"
        if code in AWAY or code in _NOT_ASKED:
            return
        self.calls += 1
        if not completion.texts:
            self.by_words[completion.failure or "missing_choices: an empty answer"] += 1

    @property
    def refused(self) -> int:
        return self.by_words.total()

    def sentence(self) -> str:
        """What happened, with the three most frequent reasons as the server gave them; '' if every call gave a text."""
        return refused_sentence(self.calls, self.by_words) if self.refused else ""

    def gate(self, most: float, stage: str) -> None:
        """Raise `GateFailed` if more than the share `most` (0 to 1) of the calls gave no text, unless the server is to be waited for."""
        if not self.given_up and self.refused > most * self.calls:
            raise GateFailed(
                f"{stage}: {self.sentence()}. Nothing of the stage was kept; answered calls are not asked again. Mend the server or "
                f"the settings of draft_candidates, or allow it: draft_candidates.max_refused (now {most:g}; 1 allows all)."
            )

    def counts(self) -> dict[str, Any]:
        """For the counts of a stage: `refused_calls`, numbers that add up over shards, of which `nouns.notices` makes one notice."""
        return (
            {"refused_calls": {"calls": self.calls, "by_words": dict(sorted(self.by_words.items()))}}
            if self.refused
            else {}
        )
