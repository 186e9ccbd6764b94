"""Makes corrupted twins of faithful candidates, and faithful paraphrases, for measuring the checks.

Deliberately ignorant of how the checks read a text: plain regular expressions find something to change, nothing of
`synthesis.check` is imported. `absent_twins` puts in a value that occurs in no source, `swapped_twins` another value of the
same kind from the same sources; both change exactly one thing. All randomness comes from the generator handed in.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_URL = re.compile(r"https?://\S+")
_NUMBER = re.compile(r"(?<![\w.,/-])\d[\d,]*(?:\.\d+)?(?![\w/-])")
_DATE = re.compile(
    rf"\b(?:{'|'.join(MONTHS)}) \d{{1,2}}(?:, \d{{4}})?\b|\b\d{{1,2}} (?:{'|'.join(MONTHS)})(?: \d{{4}})?\b|\b(?:{'|'.join(MONTHS)}) \d{{4}}\b"
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}(?: [A-Z][a-z]{2,})*\b")
_NOT_NAMES = frozenset(MONTHS) | {
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "The",
    "This",
    "Source",
    "Sources",
    "However",
    "But",
}
INVENTED_NAMES = [
    "Kovalenska",
    "Brightwater",
    "Ottoline Marsh",
    "Dunmarrow",
    "Telvane",
    "Quillfeather",
    "Harrowgate Union",
    "Ismet Sorra",
    "Vandrell",
    "Pellucid Fund",
]


@dataclass(frozen=True)
class Twin:
    """`text` is the faithful text with one thing changed: `old` became `new`, of this `kind`."""

    kind: str
    text: str
    old: str
    new: str


def _spans(pattern: re.Pattern, text: str) -> list[tuple[int, int, str]]:
    hidden = [(m.start(), m.end()) for m in _URL.finditer(text)]
    found = []
    for m in pattern.finditer(text):
        if any(a <= m.start() < b for a, b in hidden):
            continue
        value = m.group().rstrip(",.")
        if pattern is _NAME and (set(value.split()) & _NOT_NAMES):
            continue
        if pattern is _NUMBER and any(a <= m.start() < b for a, b, _ in _spans(_DATE, text)):
            continue
        found.append((m.start(), m.start() + len(value), value))
    return found


def values(text: str) -> dict[str, list[tuple[int, int, str]]]:
    """What could be changed in a text, by kind, as (start, end, value)."""
    links = [
        (m.start(), m.start() + len(m.group().rstrip(".,;:!?)\"'")), m.group().rstrip(".,;:!?)\"'"))
        for m in _URL.finditer(text)
    ]
    return {"number": _spans(_NUMBER, text), "date": _spans(_DATE, text), "name": _spans(_NAME, text), "link": links}


def absent_twins(text: str, sources: list[str], rng: random.Random) -> list[Twin]:
    """One twin per kind the text has, with a value that occurs nowhere in the sources."""
    everything = " ".join(sources)
    twins: list[Twin] = []
    for kind, found in values(text).items():
        if not found:
            continue
        start, end, old = rng.choice(found)
        for _ in range(30):
            new = _other(kind, old, rng)
            if new.lower() not in everything.lower() and new != old:
                twins.append(Twin(kind, text[:start] + new + text[end:], old, new))
                break
    return twins


def _other(kind: str, old: str, rng: random.Random) -> str:
    if kind == "number":
        digits = list(old)
        places = [i for i, c in enumerate(digits) if c.isdigit()]
        if len(places) == 4 and old.isdigit() and old[:2] in ("19", "20"):
            return str(rng.choice([y for y in range(1961, 2027) if str(y) != old]))
        i = rng.choice(places)
        digits[i] = rng.choice([d for d in "123456789" if d != digits[i]])
        return "".join(digits)
    if kind == "date":
        parts = re.split(r"( |, )", old)
        choices = [i for i, p in enumerate(parts) if p.isdigit() or p in MONTHS]
        i = rng.choice(choices)
        if parts[i] in MONTHS:
            parts[i] = rng.choice([m for m in MONTHS if m != parts[i]])
        elif len(parts[i]) == 4:
            parts[i] = str(int(parts[i]) + rng.choice([-7, -3, -2, -1, 1, 2]))
        else:
            parts[i] = str(rng.choice([d for d in range(1, 29) if str(d) != parts[i]]))
        return "".join(parts)
    if kind == "name":
        return rng.choice(INVENTED_NAMES)
    host = old.split("/")[2]
    path = re.split(r"[?#]", old)[0].rstrip("/")
    return rng.choice(
        [
            old.replace(host, "pressroom.example", 1),
            f"{path}-{rng.randrange(10, 99)}" if "/" in path[8:] else path + "/other",
            f"https://{host}/{rng.randrange(10**6)}",
        ]
    )


def swapped_twins(text: str, sources: list[str], rng: random.Random) -> list[Twin]:
    """One twin per kind, with another value of that kind that does occur in the sources."""
    twins: list[Twin] = []
    theirs: dict[str, set[str]] = {}
    for source in sources:
        for kind, found in values(source).items():
            theirs.setdefault(kind, set()).update(v for _, _, v in found)
    for kind, found in values(text).items():
        if not found:
            continue
        start, end, old = rng.choice(found)
        others = sorted(v for v in theirs.get(kind, ()) if not _alike(kind, v, old))
        if others:
            new = rng.choice(others)
            twins.append(Twin(kind, text[:start] + new + text[end:], old, new))
    return twins


def _alike(kind: str, a: str, b: str) -> bool:
    if kind == "name":
        return bool({w.lower()[:5] for w in a.split()} & {w.lower()[:5] for w in b.split()})
    if kind == "link":
        a, b = (
            re.sub(r"(?<=://)(?:www|m|mobile)\.", "", re.split(r"[?#]", url)[0].rstrip("/").lower()) for url in (a, b)
        )
        return a == b
    if kind == "date" and {p for p in a.split() if p in MONTHS} & set(b.split()):
        return True  # 'May 2019' for 'May 17, 2019' says less, not something else
    return a.replace(",", "") in b.replace(",", "") or b.replace(",", "") in a.replace(",", "")


# -------------------------------------------------------------------------------------------------------- paraphrases

_SYNONYMS = [
    ("said", "stated"), ("says", "states"), ("shows", "depicts"), ("show", "depict"), ("began", "started"), ("large", "big"), ("buy", "purchase"), ("bought", "purchased"),
    ("killed", "left dead"), ("about", "regarding"), ("also", "in addition"), ("because", "since"), ("however", "but"), ("many", "numerous"), ("false", "untrue"),
    ("misleading", "inaccurate"), ("claim", "assertion"), ("video", "footage"), ("photo", "picture"), ("image", "picture"), ("during", "in the course of"), ("while", "whereas"),
    ("people", "persons"), ("according to", "as stated by"), ("released", "made public"), ("does not", "doesn't"), ("is not", "isn't"), ("did not", "didn't"), ("was not", "wasn't"),
    ("reported", "noted"), ("more than", "over"), ("has been", "was"), ("actually", "in fact"), ("approximately", "about"), ("currently", "at present"),
]  # fmt: skip


def paraphrases(text: str, sentences: list[str], rng: random.Random) -> list[tuple[str, str]]:
    """Faithful rewordings of a text as (how, text): meaning, values and links stay, wording, order and notation change.

    `sentences` are the text's own, each with its links.
    """
    made: list[tuple[str, str]] = []
    swapped = text
    for old, new in _SYNONYMS:
        swapped = _outside_links(swapped, rf"\b{old}\b", new)
    if swapped != text:
        made.append(("synonyms", swapped))
    notation = _outside_links(text, r"\b(\d{1,3}),(\d{3})\b(?!,)", r"\1\2")
    notation = (
        _outside_links(notation, r"(\d)\s?%", r"\1 percent")
        if "%" in notation
        else _outside_links(notation, r"(\d) percent\b", r"\1%")
    )
    notation = _outside_links(notation, rf"\b({'|'.join(MONTHS)}) (\d{{1,2}}), (\d{{4}})\b", r"\2 \1 \3")
    notation = _outside_links(notation, rf"\b({'|'.join(MONTHS)}) (\d{{1,2}})\b(?!,? \d)", r"\2 \1")
    notation = _outside_links(notation, r"\$(\d+(?:\.\d+)?) million\b", r"\1 million dollars")
    if notation != text:
        made.append(("notation", notation))
    if len(sentences) > 1:
        made.append(("one sentence", rng.choice(sentences)))
        made.append(("order", " ".join(reversed(sentences))))
        first, second = sentences[0], sentences[1]
        if not _URL.search(first) and first.endswith(".") and not set('"“”') & set(first + second):
            made.append(
                (
                    "joined",
                    first[:-1]
                    + ", and "
                    + second[0].lower() * (not second[:2].isupper() and second.split()[0].lower() in _LOWERABLE)
                    + second[0] * (second[:2].isupper() or second.split()[0].lower() not in _LOWERABLE)
                    + second[1:],
                )
            )
    moved = re.sub(
        r"^(In \d{4}|On [A-Z]\w+ \d{1,2}(?:, \d{4})?), (.+?)([.!]?)(\s+https?://.*)?$",
        lambda m: m[2][0].upper() + m[2][1:] + " " + m[1][0].lower() + m[1][1:] + m[3] + (m[4] or ""),
        text,
    )
    if moved != text:
        made.append(("adverbial", moved))
    shorter = _outside_links(text, r" \([^()]{3,80}\)", "")
    if shorter != text:
        made.append(("no brackets", shorter))
    framed = _outside_links(text, r"^(?:Misleading|False)[.:] ", "")
    if framed != text and framed:
        made.append(("no verdict", framed[0].upper() + framed[1:]))
    return made


_LOWERABLE = frozenset(
    [
        "the",
        "this",
        "it",
        "he",
        "she",
        "they",
        "these",
        "those",
        "there",
        "in",
        "on",
        "at",
        "a",
        "an",
        "his",
        "her",
        "their",
    ]
)


def _outside_links(text: str, pattern: str, replacement: str) -> str:
    """`re.sub` on everything but links and quotations."""
    pieces, position = [], 0
    for m in re.finditer(r"https?://\S+|[\"“][^\"“”]*[\"”]", text):
        pieces += [re.sub(pattern, replacement, text[position : m.start()]), m.group()]
        position = m.end()
    pieces.append(re.sub(pattern, replacement, text[position:]))
    return "".join(pieces)
