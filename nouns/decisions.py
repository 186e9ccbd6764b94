"""What people decided about texts, and the one rule of what may be published.

A decision is one row that is added and never changed. Undoing is another row, which names the first; so is resolving
somebody's flag. A decision binds to a post and to the exact text, by its SHA-256; in which run it was made does not matter.
The inspector, an export's `publication.jsonl` and its `sft` all ask `publishable`.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

VERDICT_KINDS = ("accept", "reject", "edit", "not_needed", "publish_none")
"""Kinds that settle a post; the last effective one counts. `publish_none`: none of the texts here should be published."""

PUBLISHING_KINDS = ("accept", "edit")

OF_THE_POST = ("not_needed", "publish_none")
"""Verdicts on all texts of a post; the others are about one text."""

KINDS = (*VERDICT_KINDS, "prefer", "flag")

NOT_RECORDED: dict[str, Any] = {"not_recorded": True}
"""Stands in for an edit's assessment in files that have no such column: written before decisions kept it."""

COLUMNS = (
    "seq", "decision_id", "run_id", "post_id", "kind", "candidate_id", "other_id", "text", "text_sha256", "other_sha256",
    "reasons", "comment", "blind", "based_on", "undoes", "assessment", "analyst", "created_at",
)  # fmt: skip
"""Columns of `decisions.parquet`, in order."""


def text_sha256(text: str) -> str:
    """SHA-256 of the exact text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Rules:
    """How the people of a workspace decide together. `decisions.parquet` holds both in its file metadata, as strings."""

    reviews: int = 1  # people who are to decide on each text
    carry: str = "count"  # decisions of other runs on the identical text: they 'count', or wait to be applied ('ask')

    def __post_init__(self) -> None:
        if not 1 <= self.reviews <= 9 or self.carry not in ("count", "ask"):
            raise ValueError("A post has 1 to 9 reviews, and decisions of other runs 'count' or 'ask'.")

    def to_metadata(self) -> dict[str, str]:
        return {"reviews": str(self.reviews), "carry": self.carry}

    @classmethod
    def from_metadata(cls, said: Mapping[str, str]) -> Rules:
        """The rules of a file; the defaults where it says nothing. Raises `ValueError` for rules that do not exist."""
        return cls(int(said.get("reviews", cls.reviews)), said.get("carry", cls.carry))


@dataclass(frozen=True)
class Decision:
    """One stored row. `seq` orders them all; `created_at` is milliseconds since 1970 and orders nothing.

    `text` and `text_sha256` are those of the text decided on; for an edit those of the person's own wording, and
    `candidate_id` (None: written from scratch) and `other_sha256` name the text it began from. `assessment` holds what checks
    and jury said of an edit, or what was known against a refused text that was accepted all the same.
    """

    seq: int
    decision_id: str
    run_id: str
    post_id: int
    kind: str
    candidate_id: str | None = None
    other_id: str | None = None
    text: str | None = None
    text_sha256: str | None = None
    other_sha256: str | None = None
    reasons: tuple[str, ...] = ()
    comment: str = ""
    blind: bool = False
    based_on: int = 0
    undoes: str | None = None
    assessment: dict[str, Any] | None = None
    analyst: str = ""
    created_at: int = 0

    def to_json(self) -> dict[str, Any]:
        """As the API gives it: ids and numbers of decisions as strings."""
        return {
            **self.__dict__,
            "seq": str(self.seq),
            "post_id": str(self.post_id),
            "reasons": list(self.reasons),
            "based_on": str(self.based_on),
        }

    def to_row(self) -> dict[str, Any]:
        """As a row of `decisions.parquet`."""
        said = json.dumps(self.assessment, ensure_ascii=False, allow_nan=False) if self.assessment else None
        return {**self.__dict__, "reasons": list(self.reasons), "assessment": said}


def read_rows(rows: Iterable[Mapping[str, Any]]) -> list[Decision]:
    """Decisions from rows of `decisions.parquet` in the order of `seq`.

    Files from before the whole history was kept have fewer columns and no `seq`: they are taken by time, then by id, and
    what they do not say is empty.
    """
    rows = list(rows)
    if any(row.get("seq") is None for row in rows):
        rows.sort(key=lambda row: (row["created_at"], row["decision_id"]))
        rows = [{**row, "seq": number} for number, row in enumerate(rows, 1)]
    return sorted(map(_read_row, rows), key=lambda row: row.seq)


def _read_row(row: Mapping[str, Any]) -> Decision:
    values = {name: row[name] for name in COLUMNS if row.get(name) is not None}
    values |= {name: int(values[name]) for name in ("seq", "post_id", "based_on", "created_at") if name in values}
    values["reasons"] = tuple(row.get("reasons") or ())
    if isinstance(values.get("assessment"), str):
        values["assessment"] = json.loads(values["assessment"])
    if "assessment" not in row:
        values["assessment"] = NOT_RECORDED
    values.setdefault("run_id", "")
    return Decision(**values)


def effective(rows: Iterable[Decision]) -> list[Decision]:
    """The rows that count: no undos, nothing undone. `rows` must be the whole history of the posts concerned."""
    rows = list(rows)
    undone = {row.undoes for row in rows if row.kind == "undo"}
    return [row for row in rows if row.kind != "undo" and row.decision_id not in undone]


def last_word(rows: Iterable[Decision]) -> Decision | None:
    """The effective decision that settles a post: the newest of `VERDICT_KINDS`, None where nobody has settled it."""
    settled = [row for row in effective(rows) if row.kind in VERDICT_KINDS]
    return max(settled, key=lambda row: row.seq) if settled else None


def last_words(rows: Iterable[Decision]) -> dict[str, Decision]:
    """Each person's own last settling decision, of effective rows on one post."""
    return {row.analyst: row for row in sorted(rows, key=lambda row: row.seq) if row.kind in VERDICT_KINDS}


def says(kind: str) -> str:
    """Accepting and editing both say 'publish a note here'; the other kinds stay apart."""
    return "publish" if kind in PUBLISHING_KINDS else kind


def reviews_of(rows: Iterable[Decision], word: Decision | None) -> dict[str, Decision]:
    """By person, the reviews behind a post's last word: own last words on the very text that `word` is about, or on the whole post.

    `rows`: the effective rows that stand. Where `word` is about the whole post, everybody's last word counts; without it nobody's.
    """
    if word is None:
        return {}
    return {
        name: row
        for name, row in last_words(rows).items()
        if word.kind in OF_THE_POST or row.kind in OF_THE_POST or row.text_sha256 == word.text_sha256
    }


def agreed(rows: Iterable[Decision], reviews: int) -> list[Decision]:
    """Of the effective rows of one post, those from which to learn: as many people as asked say the same of the same text, none the contrary.

    With one review asked, all. What settles nothing and compares nothing (flags) stays.
    """
    rows = sorted(rows, key=lambda row: row.seq)
    if reviews == 1:
        return rows

    def ends(row: Decision) -> list[str | None]:
        """The two texts that a preference compares, the preferred one first."""
        return [row.text_sha256 or row.candidate_id, row.other_sha256 or row.other_id]

    def voices(row: Decision) -> dict[str, bool]:
        """By person, whether the last word on the matter of this row is the same as this row's."""
        if row.kind in VERDICT_KINDS:
            return {name: says(other.kind) == says(row.kind) for name, other in reviews_of(rows, row).items()}
        compared = [other for other in rows if other.kind == "prefer" and set(ends(other)) == set(ends(row))]
        return {other.analyst: ends(other) == ends(row) for other in compared}

    def counts(row: Decision) -> bool:
        said = voices(row)
        return len(said) >= reviews and all(said.values())

    return [row for row in rows if row.kind not in (*VERDICT_KINDS, "prefer") or counts(row)]


def counting_in(rows: Iterable[Decision], run_id: str, carry: str) -> list[Decision]:
    """The rows that may count in a run: all, or where `carry` is 'ask' its own, with flags and undos of any."""
    return [row for row in rows if carry == "count" or row.run_id == run_id or row.kind in ("flag", "undo")]


def standing(rows: Iterable[Decision], run_id: str, texts: Sequence[tuple[str, str]]) -> list[Decision]:
    """The effective rows of one post's whole history that count in a run. `texts`: the run's (candidate id, text) of the post.

    What was decided in the run itself counts. From other runs: that no note is needed; what was decided on a text that the run
    holds word for word; an edit that began from such a text, or from none; flags.
    """
    names, hashes = {name for name, _ in texts}, {text_sha256(text) for _, text in texts}

    def stands(row: Decision) -> bool:
        if row.run_id == run_id or row.kind in ("not_needed", "flag"):
            return True
        if row.kind == "edit" and (row.other_sha256 is None or row.candidate_id is None):
            return row.candidate_id is None or row.candidate_id in names
        bound = row.other_sha256 if row.kind == "edit" else row.text_sha256
        return bound in hashes if bound else not texts

    return [row for row in effective(rows) if stands(row)]


def by_post(rows: Iterable[Decision]) -> dict[int, list[Decision]]:
    """The rows of each post, in the order given."""
    found: dict[int, list[Decision]] = defaultdict(list)
    for row in rows:
        found[row.post_id].append(row)
    return dict(found)


# -- publishing -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeldText:
    """One text that a run holds for a post, with what leaves beside it. `problem`: the check that it fails, '' if none."""

    candidate_id: str
    text: str
    classification: str | None = None
    language: str | None = None
    source_note_ids: tuple[int, ...] = ()
    problem: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)  # writer, prompt_version, score, ...


@dataclass(frozen=True)
class Published:
    """A text that may be published. `held` is the run's text that was accepted or edited, None for one written by a person."""

    post_id: int
    text: str
    decision: Decision
    held: HeldText | None

    def to_json(self, sources: Sequence[str], **provenance: Any) -> dict[str, Any]:
        """A line of `publication.jsonl`. `sources`: the addresses in the text; `provenance`: what the run adds (run_id, ...)."""
        held, decision = self.held, self.decision
        edited = decision.kind == "edit"
        return {
            "post_id": str(self.post_id),
            "text": self.text,
            "text_sha256": text_sha256(self.text),
            "generated": held is not None,
            "edited_by_person": edited,
            "classification": held.classification if held else "MISINFORMED_OR_POTENTIALLY_MISLEADING",
            "language": held.language if held else None,
            "sources": list(sources),
            "source_note_ids": [str(note) for note in held.source_note_ids] if held else [],
            "decision": {
                "decision_id": decision.decision_id,
                "kind": decision.kind,
                "analyst": decision.analyst,
                "created_at": decision.created_at,
                "comment": decision.comment,
                "run_id": decision.run_id,
            },
            "provenance": {
                **provenance,
                "candidate_id": held.candidate_id if held else None,
                **(held.provenance if held else {}),
                "assessment_of_edit": decision.assessment if edited and decision.assessment != NOT_RECORDED else None,
            },
        }


@dataclass(frozen=True)
class Withheld:
    """An accepted or edited text that may not be published."""

    post_id: int
    reason_code: str
    reason: str
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """A line of `withheld.jsonl`."""
        return {
            "post_id": str(self.post_id),
            "reason_code": self.reason_code,
            "reason": self.reason,
            "decision_id": self.decision.decision_id,
            "analyst": self.decision.analyst,
        }


def publishable(
    history: Iterable[Decision],
    texts: Mapping[int, Sequence[HeldText]],
    deleted: Collection[int] = (),
    *,
    run_id: str = "",
    reviews: int = 1,
    carry: str = "count",
) -> tuple[list[Published], list[Withheld]]:
    """What may be published, by post id, and what was accepted but is withheld, each with a reason.

    `history`: the whole history, of any runs. `texts`: by post, the texts that the run at hand holds; decisions on posts that
    are not in it are left alone. `deleted`: notes that their authors took back since. `run_id`: the run at hand.
    `reviews` and `carry`: see `Rules`.

    A post is published if its last word accepts or edits, and none of these holds:
    flagged             somebody's flag stands open
    gone                the run holds neither the accepted text nor the one that the edit began from
    text_changed        the run holds another text under that id, or the stored text is not the one that was decided on
    edit_fails_checks   the edited text fails a check, or was never checked
    accepted_fails_checks  the accepted text fails a check that the person was not told of when accepting
    source_deleted      a note that the text rests on was deleted
    not_applied         it was decided in another run, and the rule asks that somebody applies it in this one
    reviewers_disagree  more than one review is asked for, and somebody's last word is against this text or any
    too_few_reviews     fewer people than asked for have decided on this very text
    """
    published: list[Published] = []
    withheld: list[Withheld] = []
    for post_id, rows in sorted(by_post(history).items()):
        counting = counting_in(rows, run_id, carry)
        word = last_word(counting) or last_word(rows)
        if post_id not in texts or word is None or word.kind not in PUBLISHING_KINDS:
            continue
        flags = [row for row in effective(rows) if row.kind == "flag"]
        found = _flagged(flags) or _bound(word, texts[post_id], frozenset(deleted))
        if not isinstance(found, tuple):
            held = [(text.candidate_id, text.text) for text in texts[post_id]]
            found = _reviewed(word, standing(counting, run_id, held), reviews) or found
        if isinstance(found, tuple):
            withheld.append(Withheld(post_id, *found, word))
        else:
            text = word.text if word.kind == "edit" or found is None else found.text
            published.append(Published(post_id, text or "", word, found))
    return published, withheld


def _flagged(flags: Sequence[Decision]) -> tuple[str, str] | None:
    if not flags:
        return None
    said = "; ".join(f"{row.analyst}{f': {row.comment}' if row.comment else ''}" for row in flags)
    return "flagged", f"Flagged by {said}"


def _reviewed(word: Decision, rows: Sequence[Decision], asked: int) -> tuple[str, str] | None:
    if word not in rows:
        return "not_applied", f"{word.analyst} decided in another run; nobody has applied it in this one."
    opinions = reviews_of(rows, word)
    against = sorted(name for name, row in opinions.items() if row.kind not in PUBLISHING_KINDS)
    if asked > 1 and against:
        return "reviewers_disagree", f"The reviewers disagree: {', '.join(against)} would not publish it."
    if len(opinions) < asked:
        return "too_few_reviews", f"{len(opinions)} of {asked} people have decided."
    return None


def _bound(word: Decision, texts: Sequence[HeldText], deleted: Collection[int]) -> HeldText | tuple[str, str] | None:
    """The run's text that a decision is about (None: an edit that began from none), or why nothing may be published."""
    edit = word.kind == "edit"
    if edit and (not word.text or word.text_sha256 != text_sha256(word.text)):
        return "text_changed", "The stored text is not the one that was decided on."
    if edit and not _passed(word.assessment):
        failed = word.assessment and word.assessment.get("passed") is False
        return "edit_fails_checks", f"The edited text {'fails a check' if failed else 'was never checked'}."
    held: HeldText | None = None
    if not edit or word.candidate_id:
        named = next((text for text in texts if text.candidate_id == word.candidate_id), None)
        hash_of_base = word.other_sha256 if edit else word.text_sha256
        if named is not None and (text_sha256(named.text) == hash_of_base or (edit and hash_of_base is None)):
            held = named
        else:
            held = next((text for text in texts if text_sha256(text.text) == hash_of_base), None)
        if held is None and named is None:
            return "gone", "The run no longer holds the text that was decided on."
        if held is None:
            return "text_changed", "The run holds another text now than the one that was decided on."
        told = (word.assessment or {}).get("passed") is False
        if not edit and held.problem and not told and word.assessment != NOT_RECORDED:
            return "accepted_fails_checks", f"The accepted text fails a check: {held.problem}"
        lost = sorted(note for note in held.source_note_ids if note in deleted)
        if lost:
            return "source_deleted", f"Note {lost[0]}, on which the text rests, was deleted."
    return held


def _passed(assessment: Mapping[str, Any] | None) -> bool:
    """Whether the checks passed. What was never checked has not passed; what an old file does not say is let be."""
    return assessment is not None and (assessment.get("passed") is True or assessment == NOT_RECORDED)
