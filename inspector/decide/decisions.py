"""Decisions of analysts: what was decided on which exact text, by whom and when; added to, never changed.

A decision is one row. Undoing is another row that names the first. *Effective* decisions are those that are neither an
undo nor undone. A decision on a text carries the text's SHA-256; it is refused if the run now holds another text
under that id. `based_on` is the newest decision of the post that the analyst's page had shown: if somebody decided since,
nothing is stored and the analyst is told who and what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from inspector.decide.database import (
    assignments,
    decisions,
    drafts,
    meta,
    next_number,
    open_database,
    run_names,
    skips,
    views,
    writing,
)
from inspector.words import KINDS as KINDS_SAID
from nouns.decisions import COLUMNS, KINDS, VERDICT_KINDS, Decision, Rules, text_sha256
from nouns.errors import Conflict, Refused

REASONS = {
    "notHelpfulIncorrect": "Incorrect information",
    "notHelpfulSourcesMissingOrUnreliable": "Sources missing or unreliable",
    "notHelpfulMissingKeyPoints": "Misses key points",
    "notHelpfulHardToUnderstand": "Hard to understand",
    "notHelpfulArgumentativeOrBiased": "Argumentative or biased",
    "notHelpfulSpamHarassmentOrAbuse": "Spam, harassment or abuse",
    "notHelpfulIrrelevantSources": "Sources do not support the note",
    "notHelpfulOpinionSpeculation": "Opinion or speculation",
    "notHelpfulNoteNotNeeded": "Note not needed on this post",
    "notHelpfulOther": "Other",
}
"""Reasons to reject, in X's vocabulary for raters (facts.md section 3)."""

MAX_TEXT = 4_000
MAX_COMMENT = 2_000


@dataclass(frozen=True)
class NewDecision:
    """What an analyst asks to store. `client_key` is unique per form: sent twice, it is stored once."""

    run_id: str
    post_id: int
    kind: str
    analyst: str
    client_key: str
    candidate_id: str | None = None
    other_id: str | None = None
    text: str | None = None
    text_sha256: str | None = None
    other_sha256: str | None = None
    reasons: tuple[str, ...] = ()
    comment: str = ""
    blind: bool = False
    based_on: int | None = None  # None: do not look for decisions made in between
    assessment: dict[str, Any] | None = None


def _decision(row: Any) -> Decision:
    values = dict(row._mapping)
    values.pop("client_key")
    values["blind"] = bool(values["blind"])
    values["reasons"] = tuple(json.loads(values["reasons"]))
    values["assessment"] = json.loads(values["assessment"]) if values["assessment"] else None
    return Decision(**values)


def check_decision(new: NewDecision) -> None:
    """Raises `Refused` for a decision that lacks something or is too long; says what to add."""
    if new.kind not in KINDS:
        raise Refused(f"{new.kind!r} is not a kind of decision; choose one of {', '.join(KINDS)}.", 422)
    unknown = [reason for reason in new.reasons if reason not in REASONS]
    if unknown:
        raise Refused(f"{unknown[0]!r} is not one of the reasons; choose from {', '.join(REASONS)}.", 422)
    if new.kind == "reject" and not new.reasons:
        raise Refused("A rejection needs at least one reason. Tick what is wrong with the text.", 422)
    if new.kind in ("accept", "reject", "prefer") and not new.candidate_id:
        raise Refused(f"To {new.kind} needs a candidate; this post may have none.", 422)
    if new.kind == "prefer" and (not new.other_id or new.other_id == new.candidate_id):
        raise Refused("To prefer one text needs two different candidates.", 422)
    if new.kind == "edit" and not (new.text or "").strip():
        raise Refused("The edited text is empty. Write a text, or choose another decision.", 422)
    if len(new.text or "") > MAX_TEXT:
        raise Refused(f"The text has {len(new.text or '')} characters; {MAX_TEXT} is the most that is stored.", 422)
    if len(new.comment) > MAX_COMMENT:
        raise Refused(f"The comment has {len(new.comment)} characters; {MAX_COMMENT} is the most that is stored.", 422)
    if not 8 <= len(new.client_key) <= 64:
        raise Refused("The form's key is missing. Load the page again.", 422)
    for value in (new.text, new.comment):
        if value and "\x00" in value:
            raise Refused("The text holds a NUL character, which cannot be stored.", 422)


def record(engine: Engine, new: NewDecision, now: int) -> tuple[Decision, bool]:
    """Store a decision; returns it and whether it is new (False: the same form had arrived before).

    Raises `Refused` for an incomplete one and `Conflict` when somebody decided on the post after `based_on`.
    """
    check_decision(new)
    with writing(engine) as connection:
        known = connection.execute(sa.select(decisions).where(decisions.c.client_key == new.client_key)).first()
        if known is not None:
            if (known.analyst, known.run_id, int(known.post_id)) != (new.analyst, new.run_id, new.post_id):
                raise Refused("This form's key was used for something else. Load the page again.", 409)
            return _decision(known), False
        # The counter's row is the lock: from here to the commit nobody else can add a decision.
        seq = next_number(connection, "decisions")
        if new.based_on is not None:
            _refuse_stale(connection, new)
        row = _values(new, seq, now)
        connection.execute(decisions.insert().values(**row))
        if new.kind in VERDICT_KINDS:
            connection.execute(drafts.delete().where(*_mine(drafts, new.analyst, new.run_id, new.post_id)))
        stored = connection.execute(sa.select(decisions).where(decisions.c.seq == seq)).one()
    return _decision(stored), True


def _values(new: NewDecision, seq: int, now: int) -> dict[str, Any]:
    seed = f"{new.run_id}|{new.post_id}|{new.analyst}|{seq}|{new.client_key}"
    return {
        "seq": seq,
        "decision_id": hashlib.sha256(seed.encode()).hexdigest()[:16],
        "client_key": new.client_key,
        "run_id": new.run_id,
        "post_id": new.post_id,
        "kind": new.kind,
        "candidate_id": new.candidate_id,
        "other_id": new.other_id,
        "text": new.text,
        "text_sha256": new.text_sha256 or (text_sha256(new.text) if new.text is not None else None),
        "other_sha256": new.other_sha256,
        "reasons": json.dumps(sorted(set(new.reasons), key=list(REASONS).index)),
        "comment": new.comment.strip(),
        "blind": new.blind,
        "based_on": new.based_on or 0,
        "undoes": None,
        "assessment": json.dumps(new.assessment) if new.assessment else None,
        "analyst": new.analyst,
        "created_at": now,
    }


def _refuse_stale(connection: Connection, new: NewDecision) -> None:
    query = sa.select(decisions).where(decisions.c.post_id == new.post_id, decisions.c.seq > new.based_on)
    row = connection.execute(query.order_by(decisions.c.seq.desc()).limit(1)).first()
    if row is not None:
        who = "you" if row.analyst == new.analyst else row.analyst
        raise Conflict(
            f"Your decision was not stored: {who} decided on this post ({KINDS_SAID[row.kind]}) after you had opened it. "
            "Look at what is there now; then decide again if you still want to.",
            int(row.seq),
        )


def _mine(table: sa.Table, analyst: str, run_id: str, post_id: int) -> tuple[Any, ...]:
    return table.c.analyst == analyst, table.c.run_id == run_id, table.c.post_id == post_id


def undo(
    engine: Engine,
    decision_id: str,
    analyst: str,
    client_key: str,
    now: int,
    *,
    admin: bool = False,
    comment: str = "",
) -> Decision:
    """Take back one's own decision (an admin: anybody's) by adding a row that says so. Undoing twice changes nothing.

    A flag is everybody's to resolve, with a comment that says why it no longer holds.
    """
    with writing(engine) as connection:
        seq = next_number(connection, "decisions")
        row = connection.execute(sa.select(decisions).where(decisions.c.decision_id == decision_id)).first()
        if row is None or row.kind == "undo":
            raise Refused("There is no such decision to undo.", 404)
        resolves = row.kind == "flag" and bool(comment.strip())
        if row.kind == "flag" and row.analyst != analyst and not admin and not resolves:
            raise Refused(f"This is {row.analyst}'s flag: say in a comment why it no longer holds.", 422)
        if row.analyst != analyst and not admin and not resolves:
            raise Refused(f"This decision is {row.analyst}'s; only {row.analyst} or an admin can undo it.", 403)
        before = connection.execute(sa.select(decisions).where(decisions.c.undoes == decision_id)).first()
        if before is not None:
            # The number just taken stays unused; gaps are harmless, order is what matters.
            return _decision(before)
        new = NewDecision(
            row.run_id,
            int(row.post_id),
            "undo",
            analyst,
            client_key,
            row.candidate_id,
            row.other_id,
            comment=comment[:MAX_COMMENT],
        )
        values = _values(new, seq, now) | {"undoes": decision_id}
        connection.execute(decisions.insert().values(**values))
        stored = connection.execute(sa.select(decisions).where(decisions.c.seq == seq)).one()
    return _decision(stored)


def newest(engine: Engine) -> int:
    """The newest decision's number over all runs; 0 if there is none."""
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(decisions.c.seq), 0))).scalar_one())


def history(
    engine: Engine,
    run_id: str | None = None,
    post_ids: Sequence[int] | None = None,
    *,
    analyst: str | None = None,
    kind: str | None = None,
    after: int | None = None,
    before: int | None = None,
    limit: int | None = None,
    descending: bool = False,
) -> list[Decision]:
    """Every row, undone ones and undos included, in the order in which they were stored (or newest first)."""
    query = sa.select(decisions)
    if run_id is not None:
        query = query.where(decisions.c.run_id == run_id)
    if post_ids is not None:
        query = query.where(decisions.c.post_id.in_(list(post_ids)))
    if analyst is not None:
        query = query.where(decisions.c.analyst == analyst)
    if kind is not None:
        query = query.where(decisions.c.kind == kind)
    if after is not None:
        query = query.where(decisions.c.seq > after)
    if before is not None:
        query = query.where(decisions.c.seq < before)
    query = query.order_by(decisions.c.seq.desc() if descending else decisions.c.seq)
    if limit is not None:
        query = query.limit(limit)
    with engine.connect() as connection:
        return [_decision(row) for row in connection.execute(query)]


# -- drafts and skipped posts --------------------------------------------------------------------------------------


def _replace(engine: Engine, table: sa.Table, keys: dict[str, Any], values: dict[str, Any] | None) -> None:
    """The one row of these keys now holds `values`; None: there is none."""
    with writing(engine) as connection:
        connection.execute(table.delete().where(*(table.c[name] == value for name, value in keys.items())))
        if values is not None:
            connection.execute(table.insert().values(**keys, **values))


def save_draft(engine: Engine, analyst: str, run_id: str, post_id: int, candidate_id: str, text: str, now: int) -> None:
    """Keep an unfinished edit; an empty text forgets it."""
    if len(text) > MAX_TEXT or "\x00" in text:
        raise Refused(f"A draft may have up to {MAX_TEXT} characters and no NUL; this one has {len(text)}.", 422)
    kept = {"candidate_id": candidate_id, "text": text, "updated_at": now} if text.strip() else None
    _replace(engine, drafts, {"analyst": analyst, "run_id": run_id, "post_id": post_id}, kept)


def read_draft(engine: Engine, analyst: str, run_id: str, post_id: int) -> dict[str, Any] | None:
    with engine.connect() as connection:
        row = connection.execute(sa.select(drafts).where(*_mine(drafts, analyst, run_id, post_id))).first()
    return dict(row._mapping) if row else None


def list_drafts(engine: Engine, analyst: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        query = sa.select(drafts).where(drafts.c.analyst == analyst).order_by(drafts.c.updated_at.desc()).limit(100)
        return [dict(row._mapping) for row in connection.execute(query)]


def skip(engine: Engine, analyst: str, run_id: str, post_id: int, now: int) -> None:
    """Remember that this analyst has seen the post and moved on. Not a decision: nothing downstream reads it."""
    _replace(engine, skips, {"analyst": analyst, "run_id": run_id, "post_id": post_id}, {"at": now})


def skipped(engine: Engine, run_id: str) -> list[tuple[str, int]]:
    """(analyst, post) of every skipped post of a run."""
    query = sa.select(skips.c.analyst, skips.c.post_id).where(skips.c.run_id == run_id)
    with engine.connect() as connection:
        return [(row.analyst, int(row.post_id)) for row in connection.execute(query)]


# -- assigned posts, saved views, names of runs --------------------------------------------------------------------


def assign(engine: Engine, run_id: str, post_ids: Sequence[int], analyst: str, by: str, now: int) -> None:
    """Give posts of a run to a person. Several people may have the same post, for second opinions."""
    known = sa.select(assignments.c.post_id).where(assignments.c.run_id == run_id, assignments.c.analyst == analyst)
    with writing(engine) as connection:
        have = set(connection.execute(known).scalars())
        new = [
            {"run_id": run_id, "post_id": post, "analyst": analyst, "by": by, "at": now}
            for post in dict.fromkeys(post_ids)
            if post not in have
        ]
        if new:
            connection.execute(assignments.insert(), new)


def assigned(engine: Engine, run_id: str, analyst: str) -> list[int]:
    query = sa.select(assignments.c.post_id).where(assignments.c.run_id == run_id, assignments.c.analyst == analyst)
    with engine.connect() as connection:
        return [int(post) for post in connection.execute(query).scalars()]


def save_view(engine: Engine, owner: str, name: str, query: str, now: int) -> None:
    """Keep filters under a name; an empty query forgets them."""
    if not name.strip() or len(name) > 80 or len(query) > 2_000:
        raise Refused("A saved view needs a name of 1 to 80 characters.", 422)
    _replace(engine, views, {"owner": owner, "name": name.strip()}, {"query": query, "at": now} if query else None)


def list_views(engine: Engine, owner: str) -> list[tuple[str, str]]:
    query = sa.select(views.c.name, views.c.query).where(views.c.owner == owner).order_by(views.c.name)
    with engine.connect() as connection:
        return [(row.name, row.query) for row in connection.execute(query)]


def name_run(engine: Engine, run_id: str, name: str) -> None:
    _replace(engine, run_names, {"run_id": run_id}, {"name": name.strip()[:120]} if name.strip() else None)


def names_of_runs(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {row.run_id: row.name for row in connection.execute(sa.select(run_names))}


def rules(engine: Engine) -> Rules:
    with engine.connect() as connection:
        found = connection.execute(sa.select(meta.c.value).where(meta.c.key == "rules")).scalar()
    reviews, _, carry = found.partition(" ") if found else ("1", "", "count")
    return Rules(int(reviews), carry)


def set_rules(engine: Engine, reviews: int, carry: str) -> None:
    try:
        said = Rules(reviews, carry)
    except ValueError as error:
        raise Refused(str(error), 422) from None
    _replace(engine, meta, {"key": "rules"}, {"value": f"{said.reviews} {said.carry}"})


# -- decisions as data ---------------------------------------------------------------------------------------------


def decisions_frame(rows: Sequence[Decision]):
    """The whole history as the table that `build_pairs` and exports read: the columns of `nouns.decisions.COLUMNS`."""
    import polars as pl

    whole, flag, reasons = ("seq", "post_id", "based_on", "created_at"), ("blind",), ("reasons",)
    schema: dict[str, Any] = {
        name: pl.Int64
        if name in whole
        else pl.Boolean
        if name in flag
        else pl.List(pl.String)
        if name in reasons
        else pl.String
        for name in COLUMNS
    }
    return pl.DataFrame([row.to_row() for row in rows], schema=schema)


def write_decisions(path: Path, database_url: str, run_id: str | None = None) -> int:
    """Write the whole history of a run (None: of all runs) as Parquet, the workspace's rules in the metadata; returns how many rows."""
    engine = open_database(database_url)
    frame = decisions_frame(history(engine, run_id))
    frame.write_parquet(path, compression="zstd", metadata=rules(engine).to_metadata())
    return len(frame)
