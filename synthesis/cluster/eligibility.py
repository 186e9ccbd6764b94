"""Which posts get a supernote, and for every other post one reason.

The rules are tried in the order below and the first that applies is the reason; a reader of the counts can therefore
add them up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nouns.post import NOT_MISLEADING, Note
from synthesis.settings import ClusterNotesSettings

HELPFUL = "CURRENTLY_RATED_HELPFUL"
DAY_MS = 86_400_000


@dataclass(frozen=True)
class NoteFacts:
    """What the rules need to know of a note besides its text."""

    note: Note
    not_needed: int = 0  # raters who ticked "note not needed"
    locked: bool = False
    duplicate: bool = False


@dataclass(frozen=True)
class Exclusion:
    """Why a post gets no supernote."""

    code: str
    sentence: str


def exclusion(
    notes: Sequence[NoteFacts],
    borrowed: int,
    settings: ClusterNotesSettings,
    as_of: int | None = None,
    newest_of_all: int = 0,
) -> Exclusion | None:
    """The first rule that excludes the post, or None: it is worth a supernote.

    `notes`: the post's own notes. `borrowed`: notes it may borrow from its story. The rules on locked and old notes
    depend on a present moment and apply only when `as_of` (milliseconds) is given. `newest_of_all`: when the newest note of the
    snapshot was written (milliseconds), from which the age window counts.
    """
    shown = next((f.note for f in notes if f.note.status == HELPFUL), None)
    if shown is not None:
        return Exclusion("already_helpful", f"Note {shown.note_id} is already rated helpful and shown.")
    usable = [f for f in notes if len(f.note.text.strip()) >= settings.min_note_chars]
    if not usable:
        return Exclusion("no_text", "None of the post's notes has a text that could be merged.")
    misleading = [f for f in usable if f.note.classification != NOT_MISLEADING]
    if not misleading:
        return Exclusion(
            "only_not_misleading", "All notes say that the post is not misleading; there is nothing to add to it."
        )
    answered = _not_needed(notes, settings)
    if answered:
        return Exclusion("note_not_needed", answered)
    if as_of is not None:
        if all(f.locked for f in misleading):
            return Exclusion("locked", "The statuses of the post's notes are locked; a new note would come too late.")
        newest = max((f.note.created_at or 0) for f in misleading)
        if settings.max_age_days > 0 and newest and as_of - newest > settings.max_age_days * DAY_MS:
            days = (as_of - newest) / DAY_MS
            return Exclusion(
                "too_old", f"The newest note is {days:.0f} days old; the limit is {settings.max_age_days:g}."
            )
    youngest = max((f.note.created_at or 0) for f in misleading)
    if settings.age_window_days > 0 and youngest < newest_of_all - settings.age_window_days * DAY_MS:
        return Exclusion(
            "outside_age_window",
            f"The newest note was written {(newest_of_all - youngest) / DAY_MS:.0f} days before the newest of the snapshot; "
            f"the window is {settings.age_window_days:g} days.",
        )
    distinct = [f for f in misleading if not f.duplicate]
    if len(distinct) + borrowed < settings.min_notes:
        return Exclusion(
            "too_few_notes",
            f"{len(distinct)} distinct note{'s' if len(distinct) != 1 else ''} saying the post is misleading; at least "
            f"{settings.min_notes} are needed to merge, and no story lends one.",
        )
    return None


def _not_needed(notes: Sequence[NoteFacts], settings: ClusterNotesSettings) -> str | None:
    """A sentence when raters have already said that the post needs no note."""
    misleading = [f for f in notes if f.note.classification != NOT_MISLEADING]
    ratings = sum(f.note.n_ratings for f in misleading)
    ticks = sum(f.not_needed for f in misleading)
    if ratings >= settings.not_needed_ratings and ticks >= settings.not_needed_share * ratings:
        return f"{ticks} of {ratings} ratings of the post's notes say that no note is needed."
    return None
