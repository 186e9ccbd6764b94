"""Near-copies among the candidates of a post, collapsed to one survivor each."""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz import fuzz

from texts.note import canonical_urls, normalise_for_comparison, note_length

SHINGLE = 4  # characters
COMPARED = 1_000  # characters of a normalised text that are compared; notes are shorter
_LOOSER = 0.75  # shingle overlap below this share of the threshold settles a pair without the finer comparison


def _shingles(text: str) -> frozenset[str]:
    return frozenset(text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1)))


def near_duplicates(texts: Sequence[str], ids: Sequence[str], threshold: float = 0.92) -> dict[str, str]:
    """id of each candidate that is a near-copy -> id of the one that stays for it. Candidates of one post.

    Alike are two texts whose character 4-grams and words in any order agree to `threshold` (0 to 1), with the same numbers and the
    same links: `12` and `13` are one character apart and two different notes. In order of (length as X counts it, id) each
    candidate either joins the first survivor it resembles or survives: the outcome does not depend on the order of the input.
    """
    order = sorted(range(len(texts)), key=lambda i: (note_length(texts[i][:4_000]), ids[i]))
    read: dict[int, tuple[str, frozenset[str], tuple[str, ...], frozenset[str]]] = {}
    for i in order:
        plain = normalise_for_comparison(texts[i])[:COMPARED]
        digits = tuple(
            sorted(w.strip(".,;:!?()'\"") for w in plain.split() if any(c.isdigit() for c in w) and "://" not in w)
        )
        read[i] = (plain, _shingles(plain), digits, frozenset(canonical_urls([texts[i][:4_000]])))
    survivors: list[int] = []
    copies: dict[str, str] = {}
    for i in order:
        for kept in survivors:
            if _alike(read[i], read[kept], threshold):
                copies[ids[i]] = ids[kept]
                break
        else:
            survivors.append(i)
    return copies


def _alike(a: tuple, b: tuple, threshold: float) -> bool:
    if a[0] == b[0]:
        return True
    if a[2] != b[2] or a[3] != b[3]:
        return False
    shared = len(a[1] & b[1]) / max(1, len(a[1] | b[1]))
    if shared < _LOOSER * threshold:
        return False
    return (
        fuzz.ratio(a[0], b[0]) / 100 >= threshold
        or fuzz.token_sort_ratio(a[0], b[0]) / 100 >= threshold + (1 - threshold) / 2
    )
