"""Links: only from the sources, attached to the claim they support, and of a kind one may show to millions."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import regex

from synthesis.checks.base import Draft, Finding
from synthesis.checks.words import content, mask, overlap, tokens
from synthesis.text import Span, canonical_url, find_urls, host_of, split_url

MIN_SHARE = 0.2  # share of content (of the smaller side) from which sentences speak of one thing
BETTER_ELSEWHERE = 0.5  # a link fails if its own sentences fit less than this share of what those of another link do


def check_links(draft: Draft) -> list[Finding]:
    """Unsafe links, links no source has, repeated links, links under a claim they were not given for, a missing link."""
    findings: list[Finding] = []
    carried = _carried(draft)
    seen: set[str] = set()
    for url in draft.urls:
        problem = unsafe(url.text)
        if problem:
            findings.append(Finding("links.safe", f"The link '{url.text[:80]}' {problem}.", url.start, url.end))
            continue
        canonical = canonical_url(url.text)
        if canonical not in carried:
            findings.append(Finding("links.from_sources", f"The link '{url.text[:80]}' occurs in no source.", url.start, url.end))
        elif canonical in seen:
            findings.append(Finding("links.attached", f"The link '{url.text[:80]}' stands in the text twice.", url.start, url.end))
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


_SCRIPTS = ("Latin", "Cyrillic", "Greek", "Armenian", "Cherokee", "Georgian", "Hebrew", "Arabic", "Devanagari", "Thai", "Hangul")
_EAST_ASIAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
# Cyrillic, Greek and Armenian letters that look like Latin ones: a label made of nothing else imitates a Latin name.
_LOOK_ALIKE = frozenset("аеорсухіїјѕԁɡһԛԝьвкмнтαβερνοτυχικαոսօցհ")


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


def _blocks(text: str, sentences: list[Span], urls: list[Span]) -> list[tuple[list[Span], frozenset[str]]]:
    """Per link-bearing sentence: its links, and the content of the sentences they close.

    Links close the sentences since the previous link. Where the only links of a text stand together at its end they close
    the whole text, as notes do it.
    """
    masked = mask(text, urls)
    blocks: list[tuple[list[Span], frozenset[str]]] = []
    since: list[str] = []
    for sentence in sentences:
        since.append(masked[sentence.start : sentence.end])
        inside = [u for u in urls if sentence.start <= u.start < sentence.end]
        if inside:
            blocks.append((inside, content(t for piece in since for t in tokens(piece))))
            since = []
    return blocks


def _carried(draft: Draft) -> dict[str, list[frozenset[str]]]:
    """Canonical link -> the contents of what it closes, in each source that has it."""
    carried: dict[str, list[frozenset[str]]] = {}
    for source, sentences in zip(draft.sources, draft.source_sentences, strict=True):
        urls = find_urls(source)
        whole = content(tokens(mask(source, urls)))
        for links, words in _blocks(source, sentences, urls):
            for link in links:
                # A link that leads its source, or stands alone, supports all of it.
                carried.setdefault(canonical_url(link.text), []).append(words or whole)
    return carried


def _attachment(draft: Draft, carried: dict[str, list[frozenset[str]]]) -> list[Finding]:
    blocks = _blocks(draft.text, draft.sentences, draft.urls)
    findings: list[Finding] = []
    for links, words in blocks:
        if not words:
            continue
        for link in links:
            canonical = canonical_url(link.text)
            own = max((_fit(words, there) for there in carried[canonical]), default=0.0)
            elsewhere = max((_fit(words, there) for other, rows in carried.items() if other != canonical for there in rows), default=0.0)
            if len(links) > 1 and own >= MIN_SHARE:
                continue  # several links close several statements: each needs its share only
            if own < MIN_SHARE * (0.5 if len(links) > 1 else 1.0) or own < BETTER_ELSEWHERE * elsewhere:
                findings.append(
                    Finding("links.attached", f"The link '{link.text[:80]}' stands under a statement that its source does not make.", link.start, link.end)
                )
    return findings


def _fit(a: frozenset[str], b: frozenset[str]) -> float:
    """Share of the smaller content found in the other, 0 to 1."""
    return overlap(*sorted((a, b), key=len)) if a and b else (1.0 if not b else 0.0)


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
