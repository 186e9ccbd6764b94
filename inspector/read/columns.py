"""What the queue filters and sorts by, as columns in memory: every question costs a fraction of a millisecond.

`columns.arrow` holds them beside the index, mapped into memory, so that several processes share one copy. Rows are in
the order of post ids; for every sort key there is the order of the rows by (key, post id). The analysts' last words lie in
the index's SQLite file, where one process projects them; here they are mirrored as soon as that file has changed.

We had this as SQL. Each combination of filter and order wants an index of its own, and what has none walks 100,000 rows:
2 ms a page in the mean, 60 to 120 ms in the worst case, which everybody else waited for.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nouns.decisions import PUBLISHING_KINDS, VERDICT_KINDS

KEYS = ("worth", "gain", "score", "width", "disagreement", "n_ratings", "post_id")
"""Columns that something is sorted by. A missing value sorts as -9, below every real one."""

WORDS = ("outcome", "reason_code", "language", "story_id")
ANALYSTS = 200  # analysts whose seen posts are kept at a time
SEARCHES = 40  # searches whose findings are kept

Rows = NDArray[np.int64]
Test = Callable[[Any], NDArray[np.bool_]]

BIN_EDGES = tuple(round(-1 + 0.05 * k, 2) for k in range(41))
"""Edges of the score histograms in facts.json."""


def write_columns(database: sqlite3.Connection, path: Path) -> None:
    """Take the columns out of an index's `posts` into a file. The same index gives the same bytes."""
    rows = database.execute(f"SELECT {', '.join((*KEYS, *WORDS))} FROM posts ORDER BY post_id").fetchall()
    data = dict(zip((*KEYS, *WORDS), zip(*rows, strict=True), strict=True)) if rows else {}
    arrays: dict[str, NDArray[Any]] = {}
    words: dict[str, list[str]] = {}
    for name in KEYS:
        whole = name in ("n_ratings", "post_id")
        values = [np.nan if value is None else value for value in data.get(name, ())]
        arrays[name] = np.array(values, dtype=np.int64 if whole else np.float64)
        key = arrays[name] if whole else np.nan_to_num(arrays[name], nan=-9.0)
        arrays[f"order_{name}"] = np.argsort(key, kind="stable").astype(np.int32)
    for name in WORDS:
        words[name] = sorted({value for value in data.get(name, ()) if value is not None})
        code = {value: number for number, value in enumerate(words[name], 1)}
        arrays[name] = np.array([code.get(value, 0) for value in data.get(name, ())], dtype=np.int32)
    table = pa.table(arrays).replace_schema_metadata({"words": json.dumps(words, ensure_ascii=False)})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


class Columns:
    """The columns of one run's posts, and the mirror of what analysts decided. Shared by threads."""

    def __init__(self, directory: Path) -> None:
        self.watch = sqlite3.connect(
            directory / "index.sqlite", timeout=20, isolation_level=None, check_same_thread=False
        )
        table = pa.ipc.open_file(pa.memory_map(str(directory / "columns.arrow"))).read_all()
        words = json.loads(table.schema.metadata[b"words"])
        self.at: dict[str, NDArray[Any]] = {
            name: table.column(name).combine_chunks().to_numpy() for name in table.column_names
        }
        self.code = {name: {value: number for number, value in enumerate(words[name], 1)} for name in WORDS}
        self.posts: Rows = self.at["post_id"]
        self.n = len(self.posts)
        outcome = self.at["outcome"]
        self.winner = outcome == self.code["outcome"].get("winner", -1)
        self.abstained = outcome == self.code["outcome"].get("abstained", -1)
        self.version = 0  # grows whenever the mirror has changed
        self.decision = np.zeros(self.n, dtype=np.int8)  # 0: none, else 1 + the place in VERDICT_KINDS
        self.flagged = np.zeros(self.n, dtype=np.bool_)
        self.analysts = np.zeros(self.n, dtype=np.int16)  # people whose decisions count
        self._seq, self._store = 0, ""
        self._seen_file: int | None = None
        self._mine: OrderedDict[tuple[str, bool], NDArray[np.bool_]] = OrderedDict()
        self._sorted: dict[str, NDArray[Any]] = {}
        self._found: OrderedDict[str, NDArray[np.bool_]] = OrderedDict()
        self._lock = threading.Lock()

    # -- the mirror of decisions ------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """See what any process has projected or marked since. Some microseconds when nothing was."""
        with self._lock:
            file = self.watch.execute("PRAGMA data_version").fetchone()[0]
            if file == self._seen_file:
                return
            self.watch.execute("BEGIN")
            try:
                seq, store = self.watch.execute("SELECT seq, store FROM projected").fetchone()
                if store != self._store:
                    self.decision[:], self.flagged[:], self.analysts[:], self._seq = 0, False, 0, 0
                changed = self.watch.execute(
                    "SELECT post_id, decision, flagged, n_analysts FROM posts WHERE decided_seq > ?", (self._seq,)
                ).fetchall()
            finally:
                self.watch.execute("COMMIT")
            if changed:
                rows = np.searchsorted(self.posts, [row[0] for row in changed])
                self.decision[rows] = [VERDICT_KINDS.index(row[1]) + 1 if row[1] else 0 for row in changed]
                self.flagged[rows] = [bool(row[2]) for row in changed]
                self.analysts[rows] = [row[3] for row in changed]
            self._seq, self._store, self._seen_file = seq, store, file
            self._mine.clear()
            self.version += 1

    def mine(self, analyst: str, counts: bool = False) -> NDArray[np.bool_]:
        """Which posts this analyst has decided on or skipped. `counts`: without those where the decision is no review of what counts now."""
        with self._lock:
            found = self._mine.get((analyst, counts))
            if found is None:
                query = f"SELECT post_id FROM mine WHERE analyst = ?{' AND counts' if counts else ''}"
                found = self._marked(row[0] for row in self.watch.execute(query, (analyst,)))
                while len(self._mine) >= ANALYSTS:
                    self._mine.popitem(last=False)
                self._mine[analyst, counts] = found
            return found

    def search(self, key: str, find: Callable[[], Iterator[int]]) -> NDArray[np.bool_]:
        """The posts that a search finds, kept for its next page. `find` is asked once."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        found = self._marked(find())
        with self._lock:
            self._found[key] = found
            while len(self._found) > SEARCHES:
                self._found.popitem(last=False)
        return found

    def _marked(self, posts: Iterator[int]) -> NDArray[np.bool_]:
        marked = np.zeros(self.n, dtype=np.bool_)
        ids = np.fromiter(posts, dtype=np.int64)
        rows = np.searchsorted(self.posts, ids)
        there = rows < self.n
        rows, ids = rows[there], ids[there]
        marked[rows[self.posts[rows] == ids]] = True
        return marked

    # -- filters ----------------------------------------------------------------------------------------------------

    def is_word(self, column: str, value: str) -> Test:
        codes, code = self.at[column], self.code[column].get(value, -1)
        return lambda rows: codes[rows] == code

    def at_least(self, column: str, bound: float) -> Test:
        values = self.at[column]
        return lambda rows: values[rows] >= bound  # a missing value is NaN and fits no bound

    def at_most(self, column: str, bound: float) -> Test:
        values = self.at[column]
        return lambda rows: values[rows] <= bound

    def decided(self, how: str, me: str, reviews: int = 1) -> Test:
        """`how` is a key of `reading.DECIDED` other than ''; `reviews`: people who are to decide on each post."""
        decision, flagged = self.decision, self.flagged
        if how == "none":
            return lambda rows: decision[rows] == 0
        if how == "any":
            return lambda rows: decision[rows] != 0
        if how == "flagged":
            return lambda rows: flagged[rows]
        if how == "unseen":
            mine = self.mine(me)
            return lambda rows: ~mine[rows]
        if how == "second":
            mine, analysts = self.mine(me, counts=True), self.analysts
            return lambda rows: (analysts[rows] > 0) & (analysts[rows] < max(2, reviews)) & ~mine[rows]
        if how == "against":
            winner, abstained = self.winner, self.abstained
            taken = [VERDICT_KINDS.index(kind) + 1 for kind in PUBLISHING_KINDS]

            def against(rows: Any) -> NDArray[np.bool_]:
                words = decision[rows]
                publish = np.isin(words, taken)
                return (winner[rows] & (words != 0) & ~publish) | (abstained[rows] & publish)

            return against
        number = VERDICT_KINDS.index(how) + 1
        return lambda rows: decision[rows] == number

    def among(self, posts: Iterable[int]) -> Test:
        marked = self._marked(iter(posts))
        return lambda rows: marked[rows]

    def values(self, column: str, tests: list[Test]) -> list[tuple[str, int]]:
        """The values of a column among the posts that pass all tests, with how many have each; most frequent first."""
        fits = np.ones(self.n, dtype=np.bool_)
        for test in tests:
            fits &= test(slice(None))
        codes = self.at[column][fits]
        counts = np.bincount(codes, minlength=len(self.code[column]) + 1)
        found = [(value, int(counts[number])) for value, number in self.code[column].items() if counts[number]]
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))[:200]

    def shared(self, column: str, limit: int, each: int) -> tuple[list[tuple[str, int, list[int]]], int]:
        """The `limit` values that most posts share, with how many and the first `each` of them; and how many values are shared.

        Only values of two posts or more; the most frequent first, ties by value.
        """
        codes, names = self.at[column], list(self.code[column])
        counts = np.bincount(codes, minlength=len(names) + 1)
        several = np.flatnonzero(counts[1:] > 1) + 1
        largest = several[np.argsort(-counts[several], kind="stable")][:limit]
        order = np.argsort(codes, kind="stable")
        starts = np.searchsorted(codes[order], largest)
        found = [
            (names[code - 1], int(counts[code]), self.posts[order[start : start + min(each, counts[code])]].tolist())
            for code, start in zip(largest.tolist(), starts.tolist(), strict=True)
        ]
        return found, len(several)

    # -- orders -----------------------------------------------------------------------------------------------------

    def key(self, column: str, row: int) -> float | int:
        """The sort key of a row, as it stands in a cursor."""
        value = self.at[column][row].item()
        return -9.0 if value != value else value

    def row(self, post_id: int) -> int | None:
        """The row of a post, None if the run has no such post."""
        row = int(np.searchsorted(self.posts, post_id))
        return row if row < self.n and self.posts[row] == post_id else None

    def place(self, column: str, key: float, post_id: int, beyond: bool) -> int:
        """How many rows come before (key, post) in the ascending order; with `beyond` those equal to it count too."""
        side: Any = "right" if beyond else "left"
        among = int(np.searchsorted(self.posts, post_id, side))
        if column == "post_id":
            return among
        keys = self._sorted.get(column)
        order = self.at[f"order_{column}"]
        if keys is None:
            values = self.at[column][order]
            keys = self._sorted[column] = values if values.dtype == np.int64 else np.nan_to_num(values, nan=-9.0)
        first, last = int(np.searchsorted(keys, key, "left")), int(np.searchsorted(keys, key, "right"))
        return first + int(np.searchsorted(order[first:last], among, "left"))

    def walk(self, column: str, falling: bool, start: int | None, tests: list[Test], limit: int) -> list[int]:
        """The first `limit` rows that pass, upwards from place `start` in the order, or downwards from before it.

        None starts at the end where the walk begins.
        """
        order = self.at[f"order_{column}"]
        place = (self.n if falling else 0) if start is None else start
        found: list[int] = []
        step = max(64, 2 * limit)
        while len(found) < limit and (place > 0 if falling else place < self.n):
            if falling:
                rows = order[max(0, place - step) : place][::-1]
                place -= step
            else:
                rows = order[place : place + step]
                place += step
            for test in tests:
                rows = rows[test(rows)]
            found.extend(rows[: limit - len(found)].tolist())
            step *= 4
        return found

    def count_before(self, column: str, falling: bool, place: int, tests: list[Test]) -> int:
        """How many posts that pass come before a place in the order."""
        rows = self.at[f"order_{column}"]
        rows = rows[place:] if falling else rows[:place]
        for test in tests:
            rows = rows[test(rows)]
        return len(rows)

    def count(self, tests: list[Test]) -> int:
        """How many posts pass all tests."""
        if not tests:
            return self.n
        fits = tests[0](slice(None))
        for test in tests[1:]:
            fits = fits & test(slice(None))
        return int(np.count_nonzero(fits))

    def sums(self) -> dict[str, int]:
        """Posts by the analysts' last word; `undecided`; `against` the machine; `flagged`."""
        counts = np.bincount(self.decision, minlength=len(VERDICT_KINDS) + 1).tolist()
        known = {kind: n for kind, n in zip(("undecided", *VERDICT_KINDS), counts, strict=True) if n}
        against = self.count([self.decided("against", "")])
        return known | {"against": against, "flagged": int(np.count_nonzero(self.flagged))}
