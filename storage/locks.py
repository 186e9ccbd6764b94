"""Leases: one worker at a time for a name, among machines that share nothing but an object store.

A lease is a small object, made with `If-None-Match: *` and changed with `If-Match` alone, so of two workers who try the
store lets one succeed. The holder changes it every few seconds; who waits takes it over when it has stood unchanged
for `patience` seconds of his own clock: no two clocks are ever compared. Whoever was stopped for longer than that finds out
before it publishes (`check`). Needs a store with conditional writes: S3, MinIO, R2, Ceph.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nouns.errors import StageFailed

PATIENCE = 30.0  # seconds that a lease may stand unchanged before its holder is taken for dead
REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


class Lease:
    """One lease, held or wanted. `fs`: s3fs; `path`: bucket/key of the lease object."""

    def __init__(self, fs: Any, path: str, patience: float = PATIENCE) -> None:
        self.fs = fs
        self.bucket, _, self.key = path.partition("/")
        self.patience = patience
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self.lost = ""
        self._etag = ""
        self._writing = threading.Lock()

    def acquire(self) -> None:
        """Wait until the lease is ours."""
        seen, since = "", 0.0
        while True:
            etag, holder = self._read()
            if not etag:
                if self._write("", self.owner):
                    return
                continue
            if etag != seen:
                seen, since = etag, time.monotonic()
            if (not holder or time.monotonic() - since > self.patience) and self._write(etag, self.owner):
                return
            time.sleep(min(1.0, self.patience / 10))

    def check(self) -> None:
        """Renew the lease. Raises StageFailed if another worker has taken it over: what was made then may not be published."""
        with self._writing:
            if self.lost or not self._write(self._etag, self.owner):
                self.lost = f"s3://{self.bucket}/{self.key}"
                raise StageFailed(
                    f"This worker stood still for more than {self.patience:g} s and lost its lease {self.lost} to another one. "
                    "Nothing of it was kept; run it again: what the other one has finished is not repeated."
                )

    def release(self) -> None:
        """Let the next one have it at once; a lease that is lost already is left alone."""
        with self._writing:
            if not self.lost:
                self._write(self._etag, "")

    def keep(self, until: threading.Event) -> None:
        """Renew the lease until told to stop. A store that cannot be reached is tried again; `check` has the last word."""
        while not until.wait(self.patience / 5):
            with contextlib.suppress(OSError):
                try:
                    self.check()
                except StageFailed:
                    return

    def _read(self) -> tuple[str, str]:
        """The object's ETag and holder; empty strings where there is none."""
        try:
            found = self.fs.call_s3("get_object", Bucket=self.bucket, Key=self.key)
            body = _body(self.fs, found)
        except FileNotFoundError:
            return "", ""
        except Exception as error:
            if _code(error) in ("NoSuchKey", "404"):
                return "", ""
            raise
        return found["ETag"], str(json.loads(body or b"{}").get("holder", ""))

    def _write(self, etag: str, holder: str) -> bool:
        """Put the object if it still is the one with this ETag ('': if there is none); whether the store did so."""
        body = json.dumps({"holder": holder, "renewal": uuid.uuid4().hex}).encode()
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            done = self.fs.call_s3("put_object", Bucket=self.bucket, Key=self.key, Body=body, **condition)
        except Exception as error:
            if _code(error) in REFUSED or isinstance(error, FileExistsError):
                return False
            raise
        self._etag = done["ETag"]
        return True


@contextmanager
def leased(fs: Any, path: str, patience: float = PATIENCE) -> Iterator[Lease]:
    """Hold the lease at `path` while the block lasts; it is renewed meanwhile."""
    lease = Lease(fs, path, patience)
    lease.acquire()
    over = threading.Event()
    keeper = threading.Thread(target=lease.keep, args=(over,), daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        over.set()
        keeper.join()
        with contextlib.suppress(OSError):
            lease.release()


def _code(error: BaseException) -> str:
    """The store's error code, also where s3fs has wrapped it."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if response:
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def _body(fs: Any, found: Any) -> bytes:
    from fsspec.asyn import sync

    return sync(fs.loop, found["Body"].read)
