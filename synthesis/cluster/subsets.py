"""Which sets of source notes to merge: a few that matter instead of all 2^k.

The paper tries every subset (1,013 candidates at ten notes). Here sets are built to cover the claims and to hold what
each side of the raters liked best; there are at most `limit` of them, best first, never mixing stances.
"""

from __future__ import annotations

from collections.abc import Sequence

from nouns.post import Note
from synthesis.cluster.cluster import Clustered


def worth(note: Note) -> float:
    """How much a note promises as a source, from what raters said of it; 0 for a note nobody rated.

    The intercept shrunk by the number of ratings, a little less for polarised and for borrowed notes.
    """
    value = 0.0
    if note.intercept is not None and note.n_ratings > 0:
        trust = note.n_ratings / (note.n_ratings + 5.0)
        value = trust * (note.intercept - 0.2 * abs(note.factor or 0.0))
    return value - (0.05 if note.borrowed else 0.0)


def steady_worth(note: Note) -> float:
    """`worth` to two decimals: a day's new fit moves the last digits of every note, and they choose nothing."""
    return round(worth(note), 2)


def liked_by(note: Note, side: str) -> float:
    """Net helpful ratings of one side of the raters, 0 where unknown."""
    value = note.net_helpful_negative if side == "negative" else note.net_helpful_positive
    return float(value or 0.0)


def choose_subsets(
    notes: Sequence[Note], placed: Sequence[Clustered], *, limit: int, max_sources: int
) -> list[tuple[Note, ...]]:
    """Sets of notes of one stance to merge, best first, each in the order of `worth`; at most `limit`.

    1. the best note of every claim; 2. the largest claim whole; 3. the note each side likes best, together; 4. the two
    best notes; 5. everything, up to `max_sources`. Duplicates are left out; equal sets appear once. A single note gives
    one set of one: its sentences can still be put better.
    """
    row_of = {row.note_id: row for row in placed}
    usable = [note for note in notes if note.note_id in row_of and row_of[note.note_id].duplicate_of is None]
    ranked = sorted(usable, key=lambda note: (-worth(note), note.note_id))
    if not ranked:
        return []
    claims: dict[str, list[Note]] = {}
    for note in ranked:
        claims.setdefault(row_of[note.note_id].cluster_id, []).append(note)
    by_size = sorted(claims.values(), key=lambda group: (-len(group), -worth(group[0]), group[0].note_id))
    sides = [
        max(ranked, key=lambda note: (liked_by(note, side), worth(note), -note.note_id))
        for side in ("negative", "positive")
    ]
    proposals = [
        [group[0] for group in by_size],
        by_size[0],
        sides,
        ranked[:2],
        ranked,
    ]
    chosen: list[tuple[Note, ...]] = []
    seen: set[frozenset[int]] = set()
    for proposal in proposals:
        unique = sorted(
            {note.note_id: note for note in proposal}.values(), key=lambda note: (-worth(note), note.note_id)
        )[:max_sources]
        identity = frozenset(note.note_id for note in unique)
        if len(unique) >= min(2, len(ranked)) and identity not in seen:
            seen.add(identity)
            chosen.append(tuple(unique))
    return chosen[:limit]
