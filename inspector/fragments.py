"""The parts of a post's page that a run settles once for all, kept ready: in memory, and on disk beside the index.

A post's texts, pictures, candidates and notes never change within a run; who is asking, the queue's filters, decisions and
drafts do. So the first are rendered once, with stand-ins where an address depends on the asker, and filled on every request.
What is kept can be thrown away at any time; it is ignored when code or templates that make it have changed since.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import re
import secrets
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

ROOM = Path(__file__).parent
WAITING = 500  # pages that wait to be kept on disk
MEMORY = 48 * 2**20  # characters of parts kept in memory by one process and run: some 800 posts

# Drawn anew in every process and never stored, so that no text of a post can hold one.
_MARK = secrets.token_hex(12)
_QUERY, _QUERY_AND, BASE = (f"{_MARK}{k}z" for k in range(3))
_PIECE, _PART = "\x1e", "\x1f"  # "record separator" and "unit separator"
_PLAIN = re.compile("[A-Za-z0-9_.-]+")
_CUT = re.compile(f"{_MARK}([012])z")


class AnyFilters:
    """Stands in for `Filters` where a part is rendered: the reader's own are filled in later."""

    def query(self, **more: Any) -> str:
        given = {key: value for key, value in more.items() if value not in ("", None)}
        if not given:
            return _QUERY
        if all(_PLAIN.fullmatch(str(value)) for value in given.values()):  # as ids are: nothing to quote
            return _QUERY_AND + "&".join(f"{key}={value}" for key, value in given.items())
        return _QUERY_AND + urlencode(given)


@dataclass(frozen=True)
class Parts:
    """Three stretches of a post's page, each cut at its stand-ins: text, number of a stand-in, text, ...

    `candidate_id` and `text_sha256` name the text that the page is about, None where the post has no candidate.
    """

    candidate_id: str | None
    text_sha256: str | None
    reading: list[str]
    pictures: list[str]
    lists: list[str]

    @property
    def size(self) -> int:
        return sum(len(piece) for part in (self.reading, self.pictures, self.lists) for piece in part)

    def fill(self, query: str, base: str) -> dict[str, Any]:
        """What the page's template needs, for a reader with these filters below this path."""
        shown = str(escape(query))
        values = (shown, shown + "&amp;" if shown else "", str(escape(base)))

        def whole(part: list[str]) -> Markup:
            return Markup("".join(values[int(x)] if k % 2 else x for k, x in enumerate(part)))

        return {
            "candidate_id": self.candidate_id,
            "text_sha256": self.text_sha256,
            "reading": whole(self.reading),
            "pictures": whole(self.pictures),
            "lists": whole(self.lists),
        }

    def pack(self) -> bytes:
        """For the disk. Raises `ValueError` if a text holds one of the two characters that separate (nobody writes them)."""
        import zstandard

        parts = [[self.candidate_id or "", self.text_sha256 or ""], self.reading, self.pictures, self.lists]
        whole = _PART.join(map(_PIECE.join, parts))
        if whole.count(_PART) != 3 or whole.count(_PIECE) != sum(map(len, parts)) - 4:
            raise ValueError("a separator in the text")
        return zstandard.compress(whole.encode("utf-8", "surrogatepass"), 1)

    @classmethod
    def unpack(cls, data: bytes) -> Parts:
        import zstandard

        named, *parts = zstandard.decompress(data).decode("utf-8", "surrogatepass").split(_PART)
        candidate_id, sha256 = named.split(_PIECE)
        reading, pictures, lists = (part.split(_PIECE) for part in parts)
        return cls(candidate_id or None, sha256 or None, reading, pictures, lists)


def cut(html: str) -> list[str]:
    """Rendered text cut at its stand-ins."""
    return _CUT.split(html)


@functools.cache
def room_version() -> str:
    """A digest of the code that makes the parts: parts rendered by others are not used."""
    code = ("charts.py", "fragments.py", "markup.py", "text.py", "why.py", "reading.py", "pages/posts.py")
    files = [ROOM / name for name in code]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


class Fragments:
    """The kept parts of one run's posts. Shared by threads; several processes may share the file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "pages.sqlite"
        self._local = threading.local()
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, str, int], Parts] = OrderedDict()
        self._size = 0
        self._waiting: list[tuple[int, Parts]] = []

    @property
    def _sql(self) -> sqlite3.Connection | None:
        """This thread's connection; None while the file cannot be used: pages are rendered each time then."""
        found = getattr(self._local, "sql", None)
        if found is not None:
            return found
        try:
            connection = sqlite3.connect(self.path, timeout=0.05, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=OFF")  # what is lost is rendered again
                connection.execute("PRAGMA mmap_size=1073741824")
                connection.execute("CREATE TABLE IF NOT EXISTS pages (post_id INTEGER PRIMARY KEY, version, body)")
            except sqlite3.Error:
                connection.close()
                return None
        except sqlite3.Error:
            return None
        self._local.sql = connection
        return connection

    def get(self, post_id: int, candidate: str, start: int, make: Callable[[], Parts]) -> Parts:
        """The parts of a post's page about a candidate ('': the best ranked), listing candidates from `start`.

        The page as the queue links to it is kept on disk too; the others in memory only.
        """
        key = (post_id, candidate, start)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        plain = not candidate and not start
        found = self._read(post_id) if plain else None
        if found is None:
            found = make()
            if plain:
                self._store_later(post_id, found)
        with self._lock:
            before = self._kept.pop(key, None)
            self._kept[key] = found
            self._size += found.size - (before.size if before else 0)
            while self._size > MEMORY:
                self._size -= self._kept.popitem(last=False)[1].size
        return found

    def _store_later(self, post_id: int, parts: Parts) -> None:
        """Keep parts on disk in a moment, several at a time and where no reader waits for it."""
        with self._lock:
            if len(self._waiting) >= WAITING:  # made faster than they can be kept: they are made again when needed
                return
            self._waiting.append((post_id, parts))
            if len(self._waiting) > 1:
                return
        threading.Thread(target=self._store_waiting, name="pages", daemon=True).start()

    def _store_waiting(self) -> None:
        time.sleep(0.5)
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self.store(waiting, pause=0.001)
        if self._sql is not None:
            self._sql.close()

    def has(self, post_id: int) -> bool:
        return self._read(post_id) is not None

    def _read(self, post_id: int) -> Parts | None:
        sql = self._sql
        if sql is None:
            return None
        try:
            row = sql.execute(
                "SELECT body FROM pages WHERE post_id = ? AND version = ?", (post_id, room_version())
            ).fetchone()
            return Parts.unpack(row[0]) if row else None
        except (sqlite3.Error, ValueError, TypeError):
            return None

    def store(self, parts: Iterable[tuple[int, Parts]], pause: float = 0.0) -> None:
        """Keep parts on disk. A file that is busy or broken is no error: it only saves time.

        `pause`: seconds to step back after each, for a thread beside one that makes pages: Python's lock changes hands
        of itself only every 5 ms, so packing many in a row would hold up those pages.
        """
        sql = self._sql
        if sql is None:
            return
        rows = []
        for post_id, entry in parts:
            with contextlib.suppress(ValueError):
                rows.append((post_id, room_version(), entry.pack()))
            if pause:
                time.sleep(pause)
        try:
            sql.execute("BEGIN IMMEDIATE")
            sql.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?)", rows)
            sql.execute("COMMIT")
        except sqlite3.Error:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
