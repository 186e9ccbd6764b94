"""Links: only from the sources, attached to the claim they support, and of a kind one may show to millions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import regex

from synthesis.check.base import Draft, Finding
from texts.note import Span, canonical_url, find_urls, host_of, split_url
from texts.words import content, mask, overlap, tokens

MIN_SHARE = 0.2  # share of a statement's content that what the link closed in its source must have
AS_GOOD = (
    0.75  # ... and this much of what the best-fitting link has: another link fitting clearly better is the right one
)
MIN_CONTENT = 3  # content words from which a sentence says enough to be told apart ("This is false." does not)


def check_links(draft: Draft) -> list[Finding]:
    """Unsafe links, links no source has, repeated links, links under a claim they were not given for, a missing link."""
    findings: list[Finding] = []
    carried = _carried(draft)
    seen: set[str] = set()
    repeated = {
        c
        for source in draft.sources
        if (row := [canonical_url(u.text) for u in find_urls(source)])
        for c in row
        if row.count(c) > 1
    }
    for url in draft.urls:
        problem = unsafe(url.text)
        if problem:
            findings.append(Finding("links.safe", f"The link '{url.text[:80]}' {problem}.", url.start, url.end))
            continue
        canonical = canonical_url(url.text)
        if canonical not in carried:
            findings.append(
                Finding("links.from_sources", f"The link '{url.text[:80]}' occurs in no source.", url.start, url.end)
            )
        elif canonical in seen and canonical not in repeated:
            findings.append(
                Finding("links.attached", f"The link '{url.text[:80]}' stands in the text twice.", url.start, url.end)
            )
        seen.add(canonical)
    usable = any(not unsafe(url.text) for source in draft.sources for url in find_urls(source))
    need = draft.settings.require_link
    if not draft.urls and (need == "always" or (need == "if_available" and usable)):
        findings.append(Finding("links.present", "The text carries no link" + (", its sources do." if usable else ".")))
    if not findings:
        findings += _attachment(draft, carried)
    return findings


# -------------------------------------------------------------------------------------------------------------- safety


def unsafe(url: str) -> str | None:
    """What makes a link unfit to be shown ('carries credentials', ...), or None.

    The clause continues a sentence: "The link '...' carries credentials."
    """
    scheme, authority, _ = split_url(url)
    if scheme not in ("", "http", "https"):
        return f"has the scheme '{scheme[:12]}'; only http and https are shown"
    if "@" in authority or "%40" in authority:
        return "carries credentials"
    host = host_of(url)
    if not host or "." not in host.strip("."):
        return "names no public host"
    port = authority.rsplit(":", 1)[1] if ":" in authority and not authority.endswith("]") else ""
    if port not in ("", "80", "443"):
        return f"names the port {port[:6]}"
    if _is_address(host):
        return "names an address instead of a host"
    if "xn--" in authority.lower():
        return "hides letters of its host in punycode"
    if not host.isascii() and _mixed(host):
        return "mixes scripts in its host"
    if not regex.fullmatch(r"[\p{L}\p{M}\p{N}._-]+", host) or ".." in host:
        return "has a host no name server knows"
    if "\\" in url:
        return "contains a backslash"
    return None


def _is_address(host: str) -> bool:
    if regex.fullmatch(r"(?:0x[0-9a-f]+|\d+)(?:\.(?:0x[0-9a-f]+|\d+))*", host, flags=regex.I):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


_SCRIPTS = (
    "Latin",
    "Cyrillic",
    "Greek",
    "Armenian",
    "Cherokee",
    "Georgian",
    "Hebrew",
    "Arabic",
    "Devanagari",
    "Thai",
    "Hangul",
)
_EAST_ASIAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
# Cyrillic, Greek and Armenian letters that look like Latin ones: a label made of nothing else imitates a Latin name.
_LOOK_ALIKE = frozenset("аеорсухіїјѕԁɡһԛԝьвкмнтӏүёαβερνοτυχικιηϲոսօցհյո")


def _mixed(host: str) -> bool:
    """Whether a label of the host mixes scripts, or is made of look-alikes of Latin letters only."""
    for label in host.split("."):
        scripts = {name for name in _SCRIPTS if regex.search(rf"\p{{{name}}}", label)}
        if len(scripts) > 1:
            return True
        letters = [c for c in label if c.isalpha()]
        if scripts & {"Cyrillic", "Greek", "Armenian"} and letters and all(c in _LOOK_ALIKE for c in letters):
            return True
    return False


# ---------------------------------------------------------------------------------------------------------- attachment


def _blocks(text: str, sentences: list[Span], urls: list[Span]) -> list[tuple[list[Span], list[frozenset[str]]]]:
    """Per link-bearing sentence: its links, and the contents of the sentences they close, those since the previous link."""
    masked = mask(text, urls)
    blocks: list[tuple[list[Span], list[frozenset[str]]]] = []
    since: list[frozenset[str]] = []
    for sentence in sentences:
        since.append(content(tokens(masked[sentence.start : sentence.end])))
        inside = [u for u in urls if sentence.start <= u.start < sentence.end]
        if inside:
            blocks.append((inside, since))
            since = []
    return blocks


def _carried(draft: Draft) -> dict[str, list[frozenset[str]]]:
    """Canonical link -> the contents of what it closes, in each source that has it."""
    carried: dict[str, list[frozenset[str]]] = {}
    for source, sentences in zip(draft.sources, draft.source_sentences, strict=True):
        urls = find_urls(source)
        whole = content(tokens(mask(source, urls)))
        for links, contents in _blocks(source, sentences, urls):
            closed = frozenset().union(*contents)
            for link in links:
                # A link that leads its source, or stands alone, supports all of it.
                carried.setdefault(canonical_url(link.text), []).append(closed or whole)
    return carried


def _attachment(draft: Draft, carried: dict[str, list[frozenset[str]]]) -> list[Finding]:
    """Links none of whose statements fits what they closed in a source about as well as what any other link closed.

    Several links at the end of a text may each close another of its statements: one fitting statement is enough.
    """
    findings: list[Finding] = []
    for links, contents in _blocks(draft.text, draft.sentences, draft.urls):
        told = [c for c in contents if len(c) >= MIN_CONTENT] or [c for c in contents if c]
        for link in links:
            canonical = canonical_url(link.text)
            if told and not any(_supports(statement, canonical, carried) for statement in told):
                reason = f"The link '{link.text[:80]}' stands under a statement that its source does not make."
                findings.append(Finding("links.attached", reason, link.start, link.end))
    return findings


def _supports(statement: frozenset[str], link: str, carried: dict[str, list[frozenset[str]]]) -> bool:
    own = max((_fit(statement, closed) for closed in carried[link]), default=0.0)
    best = max((_fit(statement, closed) for rows in carried.values() for closed in rows), default=0.0)
    return own >= max(MIN_SHARE, AS_GOOD * best)


def _fit(statement: frozenset[str], closed: frozenset[str]) -> float:
    """Share of a statement's content that is in what a link closed, 0 to 1; a link without words fits everything."""
    return overlap(statement, closed) if closed else 1.0


# ------------------------------------------------------------------------------------------------------------ liveness


def check_liveness(draft: Draft, fetch_status: Callable[[str], int | None]) -> list[Finding]:
    """Links that answer with an error. `fetch_status(url)` gives the HTTP status after redirects, None for no answer.

    No answer raises `Unreachable`, which makes the check unreadable: a dead network says nothing about a link.
    """
    findings: list[Finding] = []
    for url in draft.urls:
        status = fetch_status(canonical_url(url.text))
        if status is None:
            raise Unreachable(f"No answer from '{url.text[:80]}'; nothing is known about this link.")
        if status >= 400:
            findings.append(Finding("links.alive", f"The link '{url.text[:80]}' answers {status}.", url.start, url.end))
    return findings


class Unreachable(RuntimeError):
    """No answer came; the check cannot say anything."""
