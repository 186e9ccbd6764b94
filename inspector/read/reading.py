"""Questions to the read model: the queue, one post, its candidates and notes, the next post to look at.

A `RunIndex` is shared by all threads of a process; each thread has its own SQLite connection and its own memory-mapped
Arrow readers. The analysts' decisions are projected into the posts' rows (`sync`), so that filtering by them costs no
more than any other filter, whichever database holds them.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
from sqlalchemy.engine import Engine

from inspector.decide import decisions as store
from inspector.decide.database import store_id
from inspector.read.columns import Columns, Test
from inspector.read.runs import Workspace, read_json
from nouns.decisions import Decision, Rules, by_post, counting_in, last_word, reviews_of, standing
from nouns.errors import Refused

log = logging.getLogger("supernotes.inspector")

SORTS: dict[str, tuple[str, str, bool]] = {
    "worth": ("most worth a look: near the line, juries apart", "worth", True),
    "gain": ("largest gain over the best existing note", "gain", True),
    "score": ("highest score", "score", True),
    "score_low": ("lowest score", "score", False),
    "width": ("widest interval", "width", True),
    "disagreement": ("aggregators disagree most", "disagreement", True),
    "ratings": ("most ratings", "n_ratings", True),
    "newest": ("newest post", "post_id", True),
    "oldest": ("oldest post", "post_id", False),
}
"""Name of an order: what a person reads, the column, whether large comes first. Ties go by post id."""

DECIDED = {
    "": "any",
    "none": "undecided",
    "unseen": "not seen by me",
    "any": "decided",
    "accept": "accepted",
    "edit": "edited",
    "reject": "rejected",
    "publish_none": "none published",
    "not_needed": "note not needed",
    "second": "needs another review, from me",
    "flagged": "flagged",
    "against": "machine against analyst",
}
OUTCOMES = {"": "any", "winner": "winner", "abstained": "abstained", "open": "not selected yet"}

FACETS = {"outcome": "outcome", "reason": "reason_code", "language": "language", "story": "story_id"}
"""Filters that offer values, and the column of each."""

STORIES, STORY_POSTS = 200, 20
"""Stories on one page, and posts shown of each."""

COUNTS = "reviews-of-one-text"
"""How decisions are projected; part of what a projection is kept under: another way of counting begins anew."""

NOTE = "note-"
"""Before a note's id where a text may be a candidate or a note that people wrote."""


@dataclass(frozen=True)
class Filters:
    """Which posts of a run, and in which order. Empty values do not filter."""

    q: str = ""
    outcome: str = ""
    reason: str = ""
    decided: str = ""
    language: str = ""
    story: str = ""
    min_score: float | None = None
    max_score: float | None = None
    min_width: float | None = None
    min_disagreement: float | None = None
    assigned: str = ""
    sort: str = "gain"

    @classmethod
    def parse(cls, values: Any) -> Filters:
        """From a query string's values; what cannot be understood is left out rather than answered with an error."""
        if not values:
            return cls()
        found: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            value = str(values.get(field.name) or "").strip()[:200].replace("\x00", "")
            if not value:
                continue
            if field.name.startswith(("min_", "max_")):
                try:
                    number = float(value)
                except ValueError:
                    continue
                if math.isfinite(number):
                    found[field.name] = number
            else:
                found[field.name] = value
        if found.get("sort") not in SORTS:
            found.pop("sort", None)
        if found.get("decided") not in DECIDED:
            found.pop("decided", None)
        if found.get("outcome") not in OUTCOMES:
            found.pop("outcome", None)
        return cls(**found)

    def query(self, **more: Any) -> str:
        """The query string that leads back to these filters; values that say nothing are left out."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) not in ("", None, field.default)
        }
        merged = {key: value for key, value in (values | more).items() if value not in ("", None)}
        return urlencode({key: (f"{value:g}" if isinstance(value, float) else value) for key, value in merged.items()})

    @property
    def active(self) -> int:
        """How many filters are set (the order is none)."""
        return sum(getattr(self, f.name) not in ("", None) for f in dataclasses.fields(self) if f.name != "sort")


@dataclass(frozen=True)
class Page:
    """One page of the queue. Cursors are None where there is nothing more; `total` counts all posts that fit."""

    rows: list[dict[str, Any]]
    total: int
    after: str | None
    before: str | None


class RunIndex:
    """The read model of one run."""

    patience = 0.25  # seconds between two looks for new decisions: many decisions are then projected in one transaction

    def __init__(self, path: Path, run_id: str, engine: Engine) -> None:
        self.path = path
        self.run_id = run_id
        self.engine = engine
        self.facts: dict[str, Any] = read_json(path / "facts.json") or {}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._looked = float("-inf")
        self._synced = (-1, "")
        self.rules = Rules()
        self._progress: tuple[int, dict[str, int]] | None = None
        self._opening = threading.Lock()
        self._columns: Columns | None = None

    @functools.cached_property
    def store_id(self) -> str:
        """Of the decision store; asked for when decisions are, since making pages needs none."""
        return store_id(self.engine)

    @property
    def columns(self) -> Columns:
        """What the queue filters and sorts by; opened by the first question."""
        if self._columns is None:
            with self._opening:
                if self._columns is None:
                    self._columns = Columns(self.path)
        return self._columns

    # -- connections -----------------------------------------------------------------------------------------------

    @property
    def sql(self) -> sqlite3.Connection:
        connection = getattr(self._local, "sql", None)
        if connection is None:
            connection = sqlite3.connect(self.path / "index.sqlite", timeout=20, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA mmap_size=1073741824")
            connection.execute("PRAGMA synchronous=NORMAL")  # rebuildable: a lost projection is projected again
            connection.execute("PRAGMA cache_size=-16000")
            self._local.sql = connection
        return connection

    def _arrow(self, name: str) -> Any:
        reader = getattr(self._local, name, None)
        if reader is None:
            path = self.path / f"{name}.arrow"
            options = pa.ipc.IpcReadOptions(use_threads=False)  # other requests want the cores
            reader = pa.ipc.open_file(pa.memory_map(str(path)), options=options) if path.is_file() else False
            setattr(self._local, name, reader)
        return reader

    # -- decisions into the posts' rows ------------------------------------------------------------------------------

    def sync(self, now: bool = False) -> None:
        """Bring the posts' rows up to the newest decision. Looks every quarter of a second, or at once with `now`.

        If another process is at it, this one goes on with what is there: a post's page reads its decisions from the store
        itself, so only filters and counts can be that little bit behind.
        """
        moment = time.monotonic()
        if not now and moment - self._looked < self.patience:
            return
        self._looked = moment
        self.rules = store.rules(self.engine)
        self._catch_up(store.newest(self.engine), f"{self.store_id} {self.rules.carry} {COUNTS}")

    def _catch_up(self, top: int, whose: str) -> None:
        """Project decisions up to number `top` of a store, unless another process is at it."""
        with self._lock:
            if (top, whose) == self._synced:
                return
            sql = self.sql
            sql.execute("PRAGMA busy_timeout=100")
            try:
                sql.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    return
                raise
            finally:
                sql.execute("PRAGMA busy_timeout=20000")
            try:
                done, known = sql.execute("SELECT seq, store FROM projected").fetchone()
                if known != whose:
                    # A fresh index, or one that has seen another database or rule: begin anew.
                    done = 0
                    sql.execute(
                        "UPDATE posts SET decision = NULL, decided_by = NULL, decided_at = NULL, decided_seq = NULL, "
                        "flagged = 0, n_analysts = 0 WHERE decided_seq IS NOT NULL"
                    )
                    sql.execute("DELETE FROM mine")
                    sql.executemany(
                        "INSERT OR IGNORE INTO mine (analyst, post_id) VALUES (?, ?)",
                        store.skipped(self.engine, self.run_id),
                    )
                if top > done:
                    self._project(sql, done)
                sql.execute("UPDATE projected SET seq = ?, store = ?", (max(top, done), whose))
                sql.execute("COMMIT")
            except BaseException:
                sql.execute("ROLLBACK")
                raise
            self._synced = top, whose

    def _project(self, sql: sqlite3.Connection, done: int) -> None:
        ours = self.columns.row
        touched = sorted(
            {row.post_id for row in store.history(self.engine, after=done) if ours(row.post_id) is not None}
        )
        for start in range(0, len(touched), 500):
            for post_id, rows in by_post(store.history(self.engine, None, touched[start : start + 500])).items():
                counting = self.standing(post_id, rows)
                last = last_word(counting)
                reviews = reviews_of(counting, last)
                sql.execute(
                    "UPDATE posts SET decision = ?, decided_by = ?, decided_at = ?, decided_seq = ?, flagged = ?, n_analysts = ? "
                    "WHERE post_id = ?",
                    (
                        last.kind if last else None,
                        last.analyst if last else None,
                        last.created_at if last else None,
                        max(row.seq for row in rows),
                        int(any(row.kind == "flag" for row in counting)),
                        len(reviews),
                        post_id,
                    ),
                )
                for analyst in {row.analyst for row in rows if row.kind != "undo"}:
                    if any(row.analyst == analyst for row in counting):
                        sql.execute(
                            "INSERT OR REPLACE INTO mine VALUES (?, ?, ?)", (analyst, post_id, analyst in reviews)
                        )
                    else:
                        sql.execute("DELETE FROM mine WHERE analyst = ? AND post_id = ?", (analyst, post_id))

    def _held(self, post_id: int) -> list[tuple[str, str]]:
        """(candidate id, text) of every text that the run holds for a post."""
        rows = self.candidates(self.post(post_id), ("candidate_id", "text"))
        return [(row["candidate_id"], row["text"] or "") for row in rows]

    def standing(self, post_id: int, rows: list[Decision]) -> list[Decision]:
        """Of a post's whole history what counts in this run; see `nouns.decisions.standing`."""
        return standing(counting_in(rows, self.run_id, self.rules.carry), self.run_id, self._held(post_id))

    def mark_seen(self, analyst: str, post_id: int) -> None:
        """Take a skipped post out of the analyst's unseen ones."""
        self.sql.execute("INSERT OR IGNORE INTO mine (analyst, post_id) VALUES (?, ?)", (analyst, post_id))

    # -- the queue -------------------------------------------------------------------------------------------------

    def _tests(self, filters: Filters, me: str) -> list[Test]:
        """What a post must pass to fit."""
        columns = self.columns
        tests: list[Test] = []
        if filters.q:
            found = columns.search(filters.q, lambda: self._find(filters.q))
            tests.append(lambda rows: found[rows])
        for column, value in (
            ("outcome", filters.outcome),
            ("reason_code", filters.reason),
            ("language", filters.language),
            ("story_id", filters.story),
        ):
            if value:
                tests.append(columns.is_word(column, value))
        if filters.decided:
            tests.append(columns.decided(filters.decided, me, self.rules.reviews))
        for column, bound in (
            ("score", filters.min_score),
            ("width", filters.min_width),
            ("disagreement", filters.min_disagreement),
        ):
            if bound is not None:
                tests.append(columns.at_least(column, bound))
        if filters.assigned:
            tests.append(columns.among(store.assigned(self.engine, self.run_id, filters.assigned)))
        if filters.max_score is not None:
            tests.append(columns.at_most("score", filters.max_score))
        return tests

    def _find(self, words: str) -> Iterator[int]:
        """Posts with these words, or with this id, or with the note of this id."""
        digits = words.lstrip("#")
        if digits.isascii() and digits.isdigit() and len(digits) <= 19 and int(digits) < 2**63:
            number = int(digits)
            of_note = self.sql.execute("SELECT post_id FROM note_posts WHERE note_id = ?", (number,))
            return iter([number, *(row[0] for row in of_note)])
        match = _match(words)
        rows = self.sql.execute("SELECT rowid FROM search WHERE search MATCH ?", (match,)) if match else ()
        return (row[0] for row in rows)

    def page(
        self, filters: Filters, me: str = "", *, after: str | None = None, before: str | None = None, limit: int = 50
    ) -> Page:
        """Posts that fit, `limit` at a time. Paging by the last row's key, so rows that change never shift a page."""
        self.sync()
        columns = self.columns
        columns.refresh()
        _, column, descending = SORTS[filters.sort]
        tests = self._tests(filters, me)
        backwards = before is not None and after is None
        cursor = _cursor(before if backwards else after)
        falling = descending != backwards
        start = columns.place(column, *cursor, beyond=not falling) if cursor else None
        rows = columns.walk(column, falling, start, tests, limit + 1)
        more = len(rows) > limit
        rows = rows[:limit]
        if backwards:
            rows.reverse()
        has_next, has_previous = (cursor is not None, more) if backwards else (more, cursor is not None)
        ends = [f"{columns.key(column, row)!r}~{columns.posts[row]}" for row in rows[:1] + rows[-1:]]
        ids = columns.posts[rows].tolist()
        there = self.posts(ids)
        return Page(
            [there[post_id] for post_id in ids],
            columns.count(tests),
            after=ends[-1] if rows and has_next else None,
            before=ends[0] if rows and has_previous else None,
        )

    def posts(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Rows of these posts with their texts, by id."""
        marks = ", ".join("?" * len(ids))
        query = (
            f"SELECT posts.*, post_text, winner_text FROM posts JOIN texts USING (post_id) WHERE post_id IN ({marks})"
        )
        return {row["post_id"]: dict(row) for row in self.sql.execute(query, ids)}

    def neighbours(self, post_id: int, filters: Filters, me: str) -> dict[str, int | None]:
        """Posts around this one in the queue's order: `previous`, `next`, and `unseen`: the next that I have not seen;
        and its `position` (from 1) among the `total` posts of the queue.

        `unseen` starts again at the queue's beginning when nothing is left below.
        """
        columns = self.columns
        columns.refresh()
        _, column, descending = SORTS[filters.sort]
        row = columns.row(post_id)
        if row is None:
            return {"previous": None, "next": None, "unseen": None, "position": None, "total": 0}
        key = columns.key(column, row)
        places = {falling: columns.place(column, key, post_id, beyond=not falling) for falling in (True, False)}

        def first(tests: list[Test], falling: bool, start: int | None) -> int | None:
            found = columns.walk(column, falling, start, tests, 1 if start is not None else 2)
            return next((int(columns.posts[other]) for other in found if other != row), None)

        tests = self._tests(filters, me)
        whole = (
            [] if filters.decided == "unseen" else tests
        )  # a post just decided stays in its place of an unseen queue
        if filters.decided == "unseen":
            whole = self._tests(dataclasses.replace(filters, decided=""), me)
        before = columns.count_before(column, descending, places[not descending], whole)
        unseen = tests
        if filters.decided in ("", "none", "unseen"):
            unseen = self._tests(dataclasses.replace(filters, decided="unseen"), me)
        return {
            "position": before + 1,
            "total": columns.count(whole),
            "next": first(tests, descending, places[descending]),
            "previous": first(tests, not descending, places[not descending]),
            "unseen": first(unseen, descending, places[descending]) or first(unseen, descending, None),
        }

    def first_unseen(self, filters: Filters, me: str) -> int | None:
        """The first post of the queue that this analyst has neither decided nor skipped."""
        found = self.page(dataclasses.replace(filters, decided="unseen"), me, limit=1).rows
        return found[0]["post_id"] if found else None

    # -- one post --------------------------------------------------------------------------------------------------

    def post(self, post_id: int) -> dict[str, Any]:
        """The post's row with its texts. Raises `Refused` 404."""
        if not -(2**63) <= post_id < 2**63:
            raise Refused("There is no such post in this run.", 404)
        row = self.sql.execute(
            "SELECT posts.*, post_text, alt_text, quoted_text, media, author, winner_text FROM posts JOIN texts USING (post_id) WHERE post_id = ?",
            (post_id,),
        ).fetchone()
        if row is None:
            raise Refused("There is no such post in this run.", 404)
        return dict(row)

    def facets(self, filters: Filters, me: str) -> dict[str, list[tuple[str, int]]]:
        """For every filter its values with how many posts each would leave beside the other filters; most first."""
        self.columns.refresh()
        found: dict[str, list[tuple[str, int]]] = {}
        for name, column in FACETS.items():
            tests = self._tests(dataclasses.replace(filters, **{name: ""}), me)  # type: ignore[arg-type]
            found[name] = self.columns.values(column, tests)
        others = self._tests(dataclasses.replace(filters, decided=""), me)
        found["decided"] = [
            (how, self.columns.count([*others, self.columns.decided(how, me, self.rules.reviews)]))
            for how in DECIDED
            if how
        ]
        return found

    def all_posts(self, filters: Filters, me: str) -> Iterator[dict[str, Any]]:
        """Rows of every post that fits, in the queue's order, some hundreds read at a time."""
        self.sync()
        self.columns.refresh()
        _, column, descending = SORTS[filters.sort]
        rows = self.columns.walk(column, descending, None, self._tests(filters, me), self.columns.n)
        for start in range(0, len(rows), 500):
            ids = self.columns.posts[rows[start : start + 500]].tolist()
            there = self.posts(ids)
            yield from (there[post_id] for post_id in ids)

    def candidates(
        self, post: dict[str, Any], columns: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> list[dict[str, Any]]:
        """Candidates of a post by rank, from the start-th to before the stop-th (all by default)."""
        return self._rows("candidates", post, columns, start, stop)

    def places(self, post: dict[str, Any]) -> list[tuple[str, float | None, float | None]]:
        """(candidate id, score, factor) of every candidate of a post by rank, the first having rank 1."""
        table = self._table("candidates", post)
        if table is None:
            return []
        names = ("candidate_id", "score", "factor")
        return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))

    def candidate(self, post: dict[str, Any], candidate_id: str) -> dict[str, Any]:
        """One candidate of the post. Raises `Refused` 404."""
        table = self._table("candidates", post)
        if table is not None:
            ids = table.column("candidate_id").to_pylist()
            if candidate_id in ids:
                return table.slice(ids.index(candidate_id), 1).to_pylist()[0]
        raise Refused("There is no such candidate for this post.", 404)

    def either(self, post: dict[str, Any], text_id: str) -> dict[str, Any]:
        """A candidate, or a note of the post under `note-<id>` in a candidate's columns (`rank` None, `status` 'note').

        `build_pairs` names notes alike. Raises `Refused` 404.
        """
        if not text_id.startswith(NOTE):
            return self.candidate(post, text_id)
        note = next((note for note in self.notes(post) if f"{NOTE}{note['note_id']}" == text_id), None)
        if note is None:
            raise Refused("There is no such note on this post.", 404)
        nothing: dict[str, Any] = {
            "rank": None,
            "status": "note",
            "problems": [],
            "source_note_ids": [],
            "reasons": [],
            "writer": "people",
        }
        return {**note, **nothing, "candidate_id": text_id, "note_status": note["status"]}

    def notes(self, post: dict[str, Any], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Notes of a post, the highest intercept first."""
        return self._rows("notes", post, columns, 0, None)

    def _table(self, name: str, post: dict[str, Any]) -> Any:
        reader = self._arrow(name)
        if not reader or not post[f"{name}_rows"]:
            return None
        # A page asks several times for the same post: the batch decompressed last is kept, one a thread and file.
        number = post[f"{name}_batch"]
        kept = getattr(self._local, f"{name}_last", None)
        if kept is None or kept[0] != number:
            kept = (number, reader.get_batch(number))
            setattr(self._local, f"{name}_last", kept)
        return kept[1].slice(post[f"{name}_start"], post[f"{name}_rows"])

    def _rows(
        self, name: str, post: dict[str, Any], columns: Sequence[str] | None, start: int, stop: int | None
    ) -> list[dict[str, Any]]:
        table = self._table(name, post)
        if table is None:
            return []
        if columns is not None:
            table = table.select(list(columns))
        stop = table.num_rows if stop is None else min(stop, table.num_rows)
        table = table.slice(start, max(0, stop - start))
        return table.to_pylist()

    # -- sums ------------------------------------------------------------------------------------------------------

    def progress(self) -> dict[str, int]:
        """Counts of the analysts' last words: kind -> posts; `undecided`; `flagged`; `against` the machine."""
        self.sync()
        self.columns.refresh()
        version = self.columns.version
        if self._progress is None or self._progress[0] != version:
            self._progress = (version, self.columns.sums())
        return self._progress[1] | {"reviewed": int((self.columns.analysts >= self.rules.reviews).sum())}

    def stories(self) -> tuple[list[dict[str, Any]], int]:
        """The `STORIES` largest stories of two posts or more, the largest first: `story_id`, `n` posts, the first `STORY_POSTS` in `posts`.

        And how many stories there are.
        """
        self.sync()
        largest, total = self.columns.shared("story_id", STORIES, STORY_POSTS)
        there = self.posts([post for _, _, ids in largest for post in ids])
        return [{"story_id": story, "n": n, "posts": [there[post] for post in ids]} for story, n, ids in largest], total

    def moves(self) -> list[dict[str, Any]]:
        """Where each winner lies in the plane, and where the best existing note of its post does, if it was judged."""
        rows = self.sql.execute(
            "SELECT * FROM posts JOIN texts USING (post_id) WHERE outcome = 'winner' ORDER BY post_id"
        )
        found = []
        for post in map(dict, rows):
            first = self.candidates(post, ("score", "factor", "lower", "upper"), 0, 1)[0]
            notes = self.notes(post, ("note_id", "score", "factor", "intercept", "factor1"))
            best = next((note for note in notes if note["note_id"] == post["best_note_id"]), None)
            words = (post["post_text"] or f"Post {post['post_id']}")[:90]
            found.append({"post_id": post["post_id"], "words": words, **first, "best": best})
        return found

    def selections(self) -> list[dict[str, Any]]:
        """Narrow rows of every post, for comparing runs and measuring agreement."""
        self.sync()
        query = "SELECT post_id, outcome, reason_code, score, lower, upper, best_score, gain, winner_id, decision, decided_by FROM posts ORDER BY post_id"
        return [dict(row) for row in self.sql.execute(query)]


def _match(words: str) -> str:
    """An FTS5 expression that finds all words, the last as a beginning; '' if there is nothing to look for."""
    found = re.findall(r"\w+", words.replace("_", " "))[:12]
    if not found:
        return ""
    quoted = [f'"{word}"' for word in found]
    quoted[-1] += "*"
    return " ".join(quoted)


def _cursor(text: str | None) -> tuple[float, int] | None:
    """The key of a row as it stands in a URL; anything else counts as no cursor."""
    key, sign, post = (text or "").partition("~")
    if not sign:
        return None
    try:
        value, post_id = float(key), int(post)
    except ValueError:
        return None
    return (value, post_id) if math.isfinite(value) and -(2**63) <= post_id < 2**63 else None


class Library:
    """The indexes of a workspace's runs: opens them, starts building where one is missing, and says how far it is."""

    def __init__(self, workspace: Workspace, engine: Engine, threshold: int) -> None:
        self.workspace = workspace
        self.engine = engine
        self.threshold = threshold
        self._open: dict[str, RunIndex] = {}
        self._builders: dict[str, subprocess.Popen[bytes]] = {}
        self._checked: dict[str, float] = {}
        self._lock = threading.Lock()

    def get(self, run_id: str) -> RunIndex | None:
        """The run's index, or None while it is being built aside. Raises `Refused` 404 for an unknown run."""
        now = time.monotonic()
        found = self._open.get(run_id)
        if found is not None and now - self._checked.get(run_id, 0.0) < 2.0:
            return found
        self.workspace.require(run_id)
        from inspector.read import (
            index,
        )  # brings polars along: half a second that starting the server need not wait for

        with self._lock:
            path = index.ready(self.workspace, run_id)
            if path is None:
                path = self._start(run_id)
                if path is None:
                    return None
            if found is None or found.path != path:
                found = RunIndex(path, run_id, self.engine)
                self._open[run_id] = found
            self._checked[run_id] = now
        return found

    def _start(self, run_id: str) -> Path | None:
        """Build now if the run is small, else in a process of its own."""
        state = self.workspace.stages(run_id)["cluster_notes"]
        if int(state.counts.get("in", 0) or 0) <= self.threshold:
            from inspector.read import index

            return index.build_index(self.workspace, run_id)
        running = self._builders.get(run_id)
        if running is not None and running.poll() is None:
            return None
        if running is not None and running.returncode != 0:
            raise Refused(
                f"The index of run {run_id} could not be built. Try on the command line: python -m inspector.read.index "
                f"WORKSPACE {run_id}; its message says why.",
                500,
            )
        command = [sys.executable, "-m", "inspector.read.index", self.workspace.store.root, run_id]
        self._builders[run_id] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return None

    def close(self) -> None:
        """Stop builders that are still at work; a half-built index was never there."""
        for process in self._builders.values():
            if process.poll() is None:
                process.terminate()
