"""What a post is about, by words of its text and notes: a rough label for slices of reports. Never an input of any model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from jury.model.features import strip_links


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TOPICS: dict[str, frozenset[str]] = {
    "health": _set(
        "vaccine vaccines vaccinated covid covid-19 virus pandemic mask masks cdc fda doctor doctors cancer autism disease medical health drug drugs "
        "hospital patients measles flu ivermectin"),
    "elections and politics": _set(
        "election elections vote votes voted voter voters ballot ballots senate congress senator president biden trump harris republican republicans "
        "democrat democrats gop party governor parliament minister impeachment"),
    "war and foreign affairs": _set(
        "war ukraine russia russian putin israel israeli gaza palestinian hamas iran china chinese military army nato missile troops syria sudan "
        "genocide un"),
    "law and crime": _set(
        "police officer court judge murder killed shooting shot arrested charged crime criminal gun guns prison ice immigrants illegal border "
        "riot lawsuit convicted"),
    "economy": _set(
        "tax taxes inflation economy economic jobs unemployment debt deficit prices wage wages tariff tariffs budget billion trillion gdp "
        "stock market bank"),
    "science and climate": _set(
        "climate warming co2 carbon temperature nasa science scientists energy solar nuclear weather earth species planet physics"),
    "pictures and generated media": _set(
        "ai ai-generated deepfake photoshopped edited footage video videos image images photo photos picture filmed clip cgi generated sora grok"),
    "sport and entertainment": _set(
        "game games player players team league football soccer nba nfl match coach movie film album song singer actor actress celebrity"),
    "scams and advertising": _set(
        "scam scams crypto bitcoin giveaway dropshipping ad ads advertisement advertising phishing spam bot bots"),
}  # fmt: skip
_WORD = re.compile(r"[a-z][a-z0-9-]+")


def topic_of(texts: Sequence[str]) -> str:
    """The topic most of whose words occur in the texts (each word once per text), 'other' with fewer than two; ties go to the earlier topic."""
    seen: Counter[str] = Counter()
    for text in texts:
        words = set(_WORD.findall(strip_links(text).lower()))
        seen.update({name: len(words & known) for name, known in TOPICS.items()})
    best = max(TOPICS, key=lambda name: seen[name])
    return best if seen[best] >= 2 else "other"


def topics_of_posts(post: Sequence[int], text: Sequence[str], post_text: Sequence[str | None]) -> dict[int, str]:
    """A topic for every post, from its own text (where known) and its notes. The three sequences are parallel, one entry per note."""
    of_post: dict[int, list[str]] = {}
    for p, note, original in zip(post, text, post_text, strict=True):
        of_post.setdefault(int(p), [original] if original else []).append(note)
    return {p: topic_of(texts) for p, texts in sorted(of_post.items())}


def as_labels(post: Sequence[int], topics: Mapping[int, str]) -> tuple[str | None, ...]:
    """The topic of every note, by its post."""
    return tuple(topics.get(int(p)) for p in post)
