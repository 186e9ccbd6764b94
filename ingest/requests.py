"""Which posts want a note: people's requests in a snapshot, ranked, without copies and spam."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from nouns.snapshot import read_table

MANY_POSTS = 5  # posts under which one and the same text or link is a template, not a request
FEWEST_LETTERS = 8  # a shorter suggestion says nothing
FEWEST_WITHOUT_SPACES = 4  # the same in scripts without blanks between words, where a letter says more
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)

_TRACKING = re.compile(r"(utm_[^=]*|fbclid|gclid|si)(=.*)?", re.I)  # parts of a query that don't change the page
_TRACKING_ON_X = re.compile(r"(s|t|ref|cxt)(=.*)?", re.I)
_X_HOSTS = ("x.com", "twitter.com", "www.x.com", "www.twitter.com", "mobile.x.com", "mobile.twitter.com")

# The feeds in which X showed a request, the choosiest first: how far it got says how many asked, which X does not publish.
FEEDS = {
    "noteRequestFeedEligibleTimestamp": 3,  # shown to note writers in the app
    "apiSmallFeedEligibleTimestamp": 2,
    "apiLargeFeedEligibleTimestamp": 1,
    "apiXlFeedEligibleTimestamp": 0,
}


def ranked_requests(snapshot: Path) -> list[dict[str, Any]]:
    """The posts for which people asked for a note, those that want one most first.

    A post stands higher without a note that is rated Helpful, then the choosier the feeds that X showed the request in, then the
    more different suggestions and links it has (each 1, a link 2, both at most 10 a post), then the later it was asked for: what
    anybody can make up never outweighs what X counted. The same
    words or link under `MANY_POSTS` posts count as spam. Per post: `post_id`, `since` (ms), `reach` (0 to 6), `feeds` (0 to 4), `suggestions`,
    `links` (offered by readers, checked by nobody), `notes`, `helpful` (has a note rated Helpful), `spam` (left out).
    """
    table = read_table(snapshot, "note_requests").collect()
    asked: dict[int, tuple[list[str], list[str]]] = {}
    posts_of: dict[str, set[int]] = defaultdict(set)
    for row in table.iter_rows(named=True):
        said, links = _read(row["suggestions"], row["sourceLinks"])
        asked[row["tweetId"]] = said, links
        for text in (*said, *links):
            posts_of[_template(text)].add(row["tweetId"])
    notes = read_table(snapshot, "notes", ["noteId", "tweetId"])
    status = read_table(snapshot, "note_status_history", ["noteId", "currentStatus"])
    there = notes.join(status, on="noteId", how="left").group_by("tweetId").agg(
        pl.len(), helpful=(pl.col("currentStatus") == "CURRENTLY_RATED_HELPFUL").any()
    )  # fmt: skip
    known = {post: (n, bool(helpful)) for post, n, helpful in there.collect().iter_rows()}
    found = []
    for row in table.iter_rows(named=True):
        post = row["tweetId"]
        kept, spam = [], 0
        for texts in asked[post]:
            distinct: dict[str, str] = {}
            for text in texts:
                distinct.setdefault(_key(text, numbers=True), text)
            good = [text for text in distinct.values() if len(posts_of[_template(text)]) < MANY_POSTS]
            spam += len(distinct) - len(good)
            kept.append(good)
        times = [row[feed] for feed in FEEDS if row[feed] is not None]
        n_notes, helpful = known.get(post, (0, False))
        found.append(
            {
                "post_id": post,
                "since": min(times, default=None),
                "reach": sum(weight for feed, weight in FEEDS.items() if row[feed] is not None),
                "feeds": len(times),
                "suggestions": kept[0],
                "links": kept[1],
                "notes": n_notes,
                "helpful": helpful,
                "spam": spam,
            }
        )
    return sorted(found, key=_order)


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    said = min(len(row["suggestions"]) + 2 * len(row["links"]), 10)
    return row["helpful"], -row["reach"], -said, -(row["since"] or 0), row["post_id"]


def _read(suggestions: str | None, links: str | None) -> tuple[list[str], list[str]]:
    """What was said and linked, both as X writes them: JSON arrays. What can't be read counts as nothing."""
    said, linked = [], [_clean(link) for link in _json(links) if isinstance(link, str)]
    for entry in _json(suggestions):
        if isinstance(entry, dict):
            text, link = (_clean(str(entry.get(name) or "")) for name in ("suggestion", "source_link"))
            linked.append(link)
            if _says_something(text) and not re.fullmatch(r"https?://\S+", text, re.I):
                said.append(text)
    return said, [link for link in linked if _is_link(link)]


def _clean(text: str) -> str:
    """One line that any terminal and any UTF-8 file takes: blanks joined, control characters as blanks, no lone surrogates."""
    whole = text.encode("utf-8", "replace").decode()
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in whole).split())


def _says_something(text: str) -> bool:
    letters = sum(unicodedata.category(c)[0] in "LM" for c in text)
    return letters >= (FEWEST_WITHOUT_SPACES if _WITHOUT_SPACES.search(text) else FEWEST_LETTERS)


def _is_link(text: str) -> bool:
    """Whether a text is one web address, without a user's name, which would show another host than it leads to."""
    if not re.fullmatch(r"https?://\S+", text, re.I):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:  # such as a host with an open bracket
        return False


def _json(text: str | None) -> list[Any]:
    try:
        value = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return value if isinstance(value, list) else []


def _key(text: str, numbers: bool = False) -> str:
    """Equal for texts that differ in case, marks and blanks alone (without `numbers`: and in digits), and for links to one page."""
    if not _is_link(text):
        return " ".join(re.findall(r"\w+" if numbers else r"[^\W\d]+", text.lower()))
    parts = urlsplit(text)
    host, on_x = parts.netloc.lower(), parts.netloc.lower() in _X_HOSTS
    kept = [
        part
        for part in parts.query.split("&")
        if part and not _TRACKING.fullmatch(part) and not (on_x and _TRACKING_ON_X.fullmatch(part))
    ]
    return f"{parts.scheme}://{'x.com' if on_x else host}{parts.path.rstrip('/')}?{'&'.join(kept)}"


def _template(text: str) -> str:
    """Equal for texts and links that one sender spreads: links that differ in who sent the reader, as `ref` says, are one."""
    return _key(re.sub(r"(?<=[?&])ref=[^&#]*&?", "", text, flags=re.I) if _is_link(text) else text)
