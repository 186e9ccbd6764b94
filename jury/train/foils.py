"""Foils: edits of a note that tell nobody anything new, or make it worse. A jury that reads content must not be moved upwards by them.

Every foil is a pure function of the text as judged (note, post and siblings), notes of other posts and a random stream. It works on the note
*without its links*, so that what a link adds is seen alone; `own_links` puts the note's own links back and is the one edit that should help.
The words stand in foils.toml (English, Spanish, Portuguese, German); a note in another language is edited in English. They are for measuring:
a jury trained on them would learn them by heart, so training makes its corrupted notes from the notes at hand.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from jury.model.features import strip_links
from jury.records import JudgedText, Ratings, Sibling
from jury.train.measures import mean_measure
from texts.language import detect_language
from texts.note import find_urls
from texts.words import content, tokens

AHEAD = 0.02
"""A text is ahead of a sibling when its score is this much higher, as `select_winners.minimum_gain`."""
CONTROL = "own_links"
LOREM = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore."


@dataclass(frozen=True)
class Edit:
    """What a foil is made from: the text as judged, the same without links (`bare`), the language of the words, notes of other posts, the stream."""

    judged: JudgedText
    bare: str
    language: str
    elsewhere: Sequence[str]
    rng: Random

    def say(self, kind: str, *blanks: object) -> str:
        return self.rng.choice(_wordings()["words"][self.language][kind]).format(*blanks)

    def link(self, *kinds: str) -> str:
        return self.rng.choice([link for kind in kinds for link in _wordings()["links"][kind]])

    @property
    def sentence(self) -> str:
        """The bare note, ending as a sentence does."""
        return self.bare if self.bare[-1:] in ".!?。…" else f"{self.bare}."

    def stranger(self, linked: bool = False) -> str | None:
        """A note of another post, with its links or without."""
        found = [e for e in self.elsewhere if find_urls(e)] if linked else [strip_links(e) for e in self.elsewhere]
        return self.rng.choice(found) if found else None

    def rival(self) -> str | None:
        """What a note of the other stance says, with this note's links."""
        rivals = [s.text for s in self.judged.siblings if s.classification != self.judged.classification]
        return " ".join([strip_links(self.rng.choice(rivals)), *links_of(self.judged.text)]) if rivals else None


@dataclass(frozen=True)
class Foil:
    """One kind of edit; `make` gives the edited text, or None where the edit has no meaning.

    `most` and `raised`: the mean change of the score and the share of notes raised under which a sound jury stays.
    """

    name: str
    make: Callable[[Edit], str | None]
    most: float = 0.0
    raised: float = 0.30


@cache
def _wordings() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("foils.toml").read_text(encoding="utf-8"))


def links_of(text: str) -> list[str]:
    """The links of a note, in order."""
    return [u.text for u in find_urls(text)]


def negate(text: str, language: str) -> str:
    """The text with its first negation taken out, or, where it has none, with its first verb negated."""
    words = _wordings()["words"][language]
    without, n = re.subn(words["negation"], "", text, count=1)
    if n:
        return re.sub(r"\bca\b", "can", without, count=1)
    said, n = re.subn(words["verb"], words["negated"], text, count=1, flags=re.IGNORECASE)
    return said if n else words["untrue"][0].format(text)


def shuffled(text: str, rng: Random) -> str | None:
    """The words in another order; None for a text of fewer than four."""
    words = text.split()
    return " ".join(rng.sample(words, len(words))) if len(words) >= 4 else None


def _truncated(text: str, rng: Random) -> str | None:
    words = text.split()
    return " ".join(words[: max(len(words) * rng.randint(40, 60) // 100, 2)]) if len(words) >= 8 else None


def _claimed(e: Edit) -> str | None:
    claim = strip_links(e.judged.post_text or "")[:240]
    return e.say("fact", claim) if claim else None


def _foreign(e: Edit) -> str:
    other = e.rng.choice([k for k in _wordings()["words"] if k != e.language])
    return f"{replace(e, language=other).say('template')} {e.link('news')}"


FOILS: tuple[Foil, ...] = (
    Foil("junk_link", lambda e: f"{e.bare} {e.link('junk')}"),
    Foil("news_link", lambda e: f"{e.bare} {e.link('news')}"),
    Foil("stale_link", lambda e: f"{e.bare} {e.link('stale')}"),
    Foil("filler_and_link", lambda e: f"{e.sentence} {e.say('filler')} {e.link('junk', 'news')}"),
    Foil("irrelevant_truth", lambda e: f"{e.sentence} {e.say('truth')}"),
    Foil("attributed", lambda e: e.say("attributed", e.sentence)),
    Foil("invented_numbers", lambda e: f"{e.sentence} {e.say('number', e.rng.randint(12, 79), e.rng.randint(80, 400))}"),
    Foil("double_negation", lambda e: e.say("doubled", e.bare)),
    Foil("capitals", lambda e: e.bare.upper()),
    Foil("truncated", lambda e: _truncated(e.bare, e.rng)),
    Foil("claim_as_fact", _claimed),
    Foil("rival_content", Edit.rival),
    Foil("wrong_language", _foreign),
    Foil("negated", lambda e: negate(e.bare, e.language), -0.03, 0.25),
    Foil("insult", lambda e: f"{e.sentence} {e.say('insult')}", -0.05),
    Foil("insult_and_link", lambda e: f"{e.sentence} {e.say('insult')} {e.link('junk', 'news')}", -0.05),
    Foil("shuffled", lambda e: shuffled(e.bare, e.rng), -0.10),
    Foil("off_topic", Edit.stranger, -0.10),
    Foil("off_topic_and_link", lambda e: e.stranger(linked=True), -0.10),
    Foil("template", lambda e: e.say("template"), -0.10),
    Foil("template_and_links", lambda e: f"{e.say('template')} {e.link('news')} {e.link('stale')}", -0.10),
    Foil("lorem_and_links", lambda e: f"{LOREM} {e.link('news')} {e.link('stale')}", -0.10),
    Foil(CONTROL, lambda e: " ".join([e.bare, *links_of(e.judged.text)])),
)  # fmt: skip
"""All kinds. The last is no foil but the control: the note's own links put back, which raters value."""


def foil(kind: Foil, judged: JudgedText, elsewhere: Sequence[str], rng: Random) -> tuple[JudgedText, JudgedText] | None:
    """The note without its links, and the same after the edit; None where the edit does not apply or changes nothing.

    `elsewhere`: notes of other posts. A negated note stands beside the note it contradicts, as a candidate does; what a rival says is put in the
    place of what the note says, links and all.
    """
    bare = strip_links(judged.text)
    if len(bare) < 20:
        return None
    found = detect_language(judged.text) or judged.language or "en"
    made = kind.make(Edit(judged, bare, found if found in _wordings()["words"] else "en", elsewhere, rng))
    if made is None or made.strip() == bare:
        return None
    siblings = judged.siblings
    if kind.name == "negated":
        siblings = (*siblings, Sibling(None, judged.text, judged.classification, ratings=judged.own_ratings))
    start = judged.text if kind.name == "rival_content" else bare
    base = replace(judged, text=start, siblings=siblings, own_ratings=Ratings(), published=False)
    return base, replace(base, text=made)


def foil_table(
    score: Callable[[Sequence[JudgedText]], Any],
    texts: Sequence[JudgedText],
    passes: Callable[[JudgedText, JudgedText], bool] | None = None,
    *,
    kinds: Sequence[Foil] = FOILS,
    seed: int = 0,
    bootstrap: int = 300,
) -> list[dict[str, Any]]:
    """One row a kind: {"foil", "mean", "lo", "hi", "raised", "raised_lo", "raised_hi", "ahead_of_best_sibling", "passes_checks", "n", "met"}.

    `score(texts)` gives predicted intercepts. `mean` is the mean change by the edit, `raised` the share of notes whose score rose by more than
    0.002; intervals resample posts. `ahead_of_best_sibling`: of the notes with siblings, the share whose foil is ahead of the best of them (by
    its own ratings, where it has some) by AHEAD where the original is not. With `passes(foil, original)`, the checks, only foils that pass can be
    ahead, and `passes_checks` is the share that does; None: not measured. `met`: the row is within what its kind allows.
    """
    pairs: list[tuple[int, int, JudgedText, JudgedText]] = []
    for i, judged in enumerate(texts):
        elsewhere = [t.text for t in texts if t.post_id != judged.post_id]
        for k, kind in enumerate(kinds):
            made = foil(kind, judged, elsewhere, Random(f"{seed} {kind.name} {judged.id}"))
            if made is not None:
                pairs.append((i, k, *made))
    others = [(i, s) for i, t in enumerate(texts) for s in range(len(t.siblings))]
    asked = [p[2] for p in pairs] + [p[3] for p in pairs] + [_sibling(texts[i], s) for i, s in others]
    scores = np.asarray(score(asked), dtype=np.float64) if pairs else np.zeros(0)
    before, after = scores[: len(pairs)], scores[len(pairs) : 2 * len(pairs)]
    best = np.full(len(texts), -np.inf)
    np.maximum.at(best, [i for i, _ in others], scores[2 * len(pairs) :])
    rows = []
    for k, kind in enumerate(kinds):
        at = np.array([n for n, p in enumerate(pairs) if p[1] == k], dtype=np.int64)
        if not len(at):
            continue
        whose = np.array([pairs[n][0] for n in at])
        posts = np.array([texts[i].post_id if texts[i].post_id is not None else -i - 1 for i in whose], dtype=np.int64)
        change = after[at] - before[at]
        moved = mean_measure(posts, change, bootstrap)
        raised = mean_measure(posts, (change > 0.002).astype(np.float64), bootstrap)
        passed = np.array([passes is None or passes(pairs[n][3], texts[pairs[n][0]]) for n in at])
        bar = best[whose] + AHEAD
        ahead = (after[at] >= bar) & (before[at] < bar) & passed
        known = np.isfinite(bar)
        control = kind.name == CONTROL
        rows.append({
            "foil": kind.name, "mean": moved["value"], "lo": moved["lo"], "hi": moved["hi"],
            "raised": raised["value"], "raised_lo": raised["lo"], "raised_hi": raised["hi"],
            "ahead_of_best_sibling": float(ahead[known].mean()) if known.any() else None,
            "passes_checks": None if passes is None else float(passed.mean()), "n": len(at),
            "met": bool(moved["value"] >= 0.05 if control else moved["value"] <= kind.most and raised["value"] <= kind.raised),
        })  # fmt: skip
    return rows


def _sibling(judged: JudgedText, k: int) -> JudgedText:
    """The k-th sibling as the jury sees an existing note: with its ratings, the others as siblings."""
    this = judged.siblings[k]
    rest = judged.siblings[:k] + judged.siblings[k + 1 :]
    return replace(
        judged,
        text=this.text,
        classification=this.classification,
        siblings=rest,
        own_ratings=this.ratings,
        published=True,
    )


def notes_to_edit(texts: Sequence[JudgedText], most: int, seed: int = 0) -> list[JudgedText]:
    """At most `most` texts, one a post, those with links, siblings and enough words first; the same ones every time."""
    order = sorted(texts, key=lambda t: (t.post_id or 0, t.id))
    Random(seed).shuffle(order)
    # What an edit is worth is seen where there is something to compare with.
    order.sort(
        key=lambda t: -(bool(t.siblings) + bool(links_of(t.text)) + (len(content(tokens(strip_links(t.text)))) > 4))
    )
    chosen: dict[Any, JudgedText] = {}
    for text in order:
        chosen.setdefault(text.id if text.post_id is None else text.post_id, text)
    return list(chosen.values())[:most]
