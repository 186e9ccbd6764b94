"""Answers of writing models that were paid for, kept for the whole workspace by what was sent to whom.

A key is a SHA-256 of the request (messages, sampling, seed, schema) and of who was asked (back end, model, revision, adapter): it knows no run,
no post and no code, so an equal request is never paid for twice, by any run, after any change. An answer is on the disk before it is used.
In a directory: one SQLite file, `calls/calls.sqlite`. On an object store: one object an answer, below `calls/`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xxhash
import zstandard
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from nouns.errors import StageFailed
from storage.store import Store

DAY_MS = 86_400_000
_TABLES = (
    "create table if not exists calls (key text primary key, kept_at integer not null, check_sum blob not null, answer blob not null) without rowid",
    "create table if not exists asking (key text primary key, who text not null, since integer not null) without rowid",
)


def _busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


class Calls:
    """Answers by key. Threads and processes may share one workspace; failures are not kept, so they are asked again.

    `max_age_days`: older answers are not found any more; 0 finds all. An answer whose bytes are damaged is not found either.
    """

    patience = 900.0  # seconds after which a call that another process has begun is taken over, were it still alive

    def __init__(self, store: Store, *, max_age_days: float = 0.0) -> None:
        self._since = int(time.time() * 1000 - max_age_days * DAY_MS) if max_age_days > 0 else 0
        self._store = store if store.remote else None
        self.path = store.home / "calls" / "calls.sqlite"
        self._who = f"{socket.gethostname()}:{os.getpid()}:{id(self)}"
        self._lock = threading.Lock()
        self._pending: list[tuple[str, bytes]] = []
        self._error: Exception | None = None
        self._connection: sqlite3.Connection | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="calls")

    # -- the three verbs -------------------------------------------------------------------------------------------

    def get(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The kept answers among `keys`."""
        wanted = sorted(set(keys))
        rows = self._remote_rows(wanted) if self._store else self._rows(wanted)
        found = {}
        for key, kept_at, check, blob in rows:
            if kept_at < self._since or xxhash.xxh3_64_digest(blob) != check:
                continue
            with contextlib.suppress(ValueError, zstandard.ZstdError):
                found[key] = json.loads(zstandard.ZstdDecompressor().decompress(blob))
        return found

    def put(self, key: str, answer: Mapping[str, Any]) -> None:
        """Queue one answer for the disk; `flush` waits for it. Answers that come at the same time share one synchronisation."""
        text = json.dumps(answer, sort_keys=True, ensure_ascii=True, allow_nan=False)
        with self._lock:
            self._pending.append((key, zstandard.ZstdCompressor().compress(text.encode())))
        self._writer.submit(self._drain)

    def flush(self) -> None:
        """Wait for the disk. Raises what kept an answer from being written: a call that cannot be kept must not pass unseen."""
        self._writer.submit(self._drain).result()
        if self._error is not None:
            raise self._error

    # -- who is asking ---------------------------------------------------------------------------------------------

    def claim(self, keys: Iterable[str]) -> set[str]:
        """The keys that this process shall ask for: those nobody else is asking for now. The others' answers will be found by `get`.

        A claim ends with its answer, with `release`, with its process, or after `patience`. On an object store every key is granted:
        there the lease of a stage keeps two workers apart.
        """
        wanted = list(dict.fromkeys(keys))
        if self._store:
            return set(wanted)
        granted = set()
        with self._lock, self._transaction() as connection:
            now = int(time.time() * 1000)  # after waiting for the other writer: its claim is not from the future
            for key in wanted:
                row = connection.execute("select who, since from asking where key = ?", (key,)).fetchone()
                if row is None or row[0] == self._who or self._gone(row[0], now - row[1]):
                    connection.execute("insert or replace into asking values (?, ?, ?)", (key, self._who, now))
                    granted.add(key)
        return granted

    def release(self, keys: Iterable[str]) -> None:
        """Give up claims whose calls failed or were not made."""
        if self._store:
            return
        with self._lock, self._transaction() as connection:
            connection.executemany("delete from asking where key = ? and who = ?", [(key, self._who) for key in keys])

    def _gone(self, who: str, age_ms: int) -> bool:
        host, pid, _ = who.rsplit(":", 2)
        if host == socket.gethostname() and not Path(f"/proc/{pid}").exists():
            return True
        return abs(age_ms) > self.patience * 1000  # a clock set back must not make a claim eternal

    # -- SQLite ----------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            for attempt in Retrying(
                retry=retry_if_exception(_busy), stop=stop_after_delay(60), wait=wait_fixed(0.05), reraise=True
            ):
                with attempt:  # SQLite's own timeout does not cover two processes that turn to WAL at once
                    connection.execute("pragma journal_mode=wal")
                    connection.execute("pragma synchronous=full")
                    for table in _TABLES:
                        connection.execute(table)
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Any:
        """One write transaction. A database that is none any more is set aside once, named, and begun anew."""
        try:
            connection = self._open()
            connection.execute("begin immediate")
        except sqlite3.DatabaseError as error:
            self._set_aside(error)
            connection = self._open()
            connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("rollback")
            if isinstance(error, sqlite3.Error):
                raise self._failed(error) from error
            raise

    def _failed(self, error: sqlite3.Error) -> StageFailed:
        return StageFailed(
            f"Answers of the model could not be kept in {self.path} ({error}). Make room or mend the path, then run the same "
            "command again: what was kept is not asked for again."
        )

    def _rows(self, keys: list[str]) -> list[tuple[str, int, bytes, bytes]]:
        if not keys or not (self.path.exists() or self._connection):
            return []
        with self._lock:
            try:
                return self._select(keys)
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                return self._select(keys)

    def _select(self, keys: list[str]) -> list[tuple[str, int, bytes, bytes]]:
        rows: list[tuple[str, int, bytes, bytes]] = []
        for start in range(0, len(keys), 500):
            part = keys[start : start + 500]
            marks = ",".join("?" * len(part))
            rows += self._open().execute(
                f"select key, kept_at, check_sum, answer from calls where key in ({marks})", part
            )
        return rows

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Only a file that is no sound database; a busy disk or a full one is the caller's."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise self._failed(error) from error
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        aside = self.path.parents[1] / "damaged" / f"calls~{int(time.time() * 1000)}.sqlite"
        aside.parent.mkdir(exist_ok=True)
        os.replace(self.path, aside)
        for rest in ("-wal", "-shm"):
            Path(f"{self.path}{rest}").unlink(missing_ok=True)
        logging.getLogger("supernotes").warning(
            "calls/calls.sqlite is damaged (%s): set aside as %s; model calls it held are made again", error, aside
        )

    def _drain(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, []
            if not pending or self._error is not None:
                return
            now = int(time.time() * 1000)
            rows = [(key, now, xxhash.xxh3_64_digest(blob), blob) for key, blob in pending]
            try:
                if self._store:
                    self._remote_put(rows)
                    return
                with self._transaction() as connection:
                    connection.executemany("insert or replace into calls values (?, ?, ?, ?)", rows)
                    connection.executemany("delete from asking where key = ?", [(row[0],) for row in rows])
            except Exception as error:
                self._error = error

    # -- object store ----------------------------------------------------------------------------------------------

    def _url(self, key: str) -> str:
        assert self._store is not None
        return f"{self._store._base}/calls/{key[:2]}/{key}"

    def _remote_rows(self, keys: list[str]) -> list[tuple[str, int, bytes, bytes]]:
        assert self._store is not None
        if not keys:
            return []
        got = self._store.fs.cat([self._url(key) for key in keys], on_error="omit")
        by_name = {path.rsplit("/", 1)[-1]: data for path, data in got.items()}
        return [(k, int.from_bytes(d[:8], "big"), d[8:16], d[16:]) for k, d in by_name.items() if len(d) > 16]

    def _remote_put(self, rows: list[tuple[str, int, bytes, bytes]]) -> None:
        assert self._store is not None
        self._store.fs.pipe({self._url(key): now.to_bytes(8, "big") + check + blob for key, now, check, blob in rows})
