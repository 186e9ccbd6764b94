"""The two pages that are read all the time, answered before any routing: the queue and a post's page.

What a web framework does for any request (routing, dependencies, a thread of its own, streaming compression) costs more
than these pages themselves. They are made in the event loop, one after another in the order in which they were asked for:
everything they need lies in memory or in local files, and threads would only wait for each other's lock.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import zstandard
from fastapi import Request, Response

from inspector.site import Site

PATH = re.compile(r"/runs/([^/]+)/posts(?:/([^/]+))?")
REFUSED = re.compile(r";\s*q=0(\.0*)?\s*$")  # of an encoding in Accept-Encoding
SMALL = 1_000  # bytes below which compressing gains nothing

Page = Callable[..., Response]


class Quick:
    """Answers `GET /runs/<run>/posts` and `.../posts/<post>` itself; hands everything else on to `app`.

    It steps aside where waiting could take long: an index that is not open yet, and stores behind a network. It also steps
    aside when a page raises: the regular route then raises again, where errors are answered.
    """

    def __init__(self, app: Callable[..., Any], site: Site, queue: Page, post: Page) -> None:
        self.app = app
        self.site = site
        self.pages = queue, post
        self.packer = zstandard.ZstdCompressor(level=1)  # used by the event loop's thread only

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        answer = (
            self._answer(scope) if self.site.local and scope["type"] == "http" and scope["method"] == "GET" else None
        )
        if answer is None:
            await self.app(scope, receive, send)
        else:
            head, body = answer
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: dict[str, Any]) -> tuple[list[tuple[bytes, bytes]], bytes] | None:
        found = PATH.fullmatch(scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")))
        if found is None or not self.site.indexes.is_open(found[1]):
            return None
        request = Request(scope)
        try:
            if found[2] is None:
                page = self.pages[0](request, self.site, found[1])
            else:
                page = self.pages[1](request, self.site, found[1], found[2])
        except Exception:  # whatever it is happens again on the regular route, which knows how to say it
            return None
        if page.status_code != 200:
            return None
        body = bytes(page.body)
        head = [entry for entry in page.raw_headers if entry[0] != b"content-length"]
        if len(body) >= SMALL:
            body, encoding = self._compress(body, request.headers.get("accept-encoding", ""))
            if encoding:
                head.append((b"content-encoding", encoding))
        head += [(b"vary", b"Accept-Encoding"), (b"content-length", b"%d" % len(body))]
        return head, body

    def _compress(self, data: bytes, accepted: str) -> tuple[bytes, bytes]:
        """The data as the reader takes it, and how it is packed then: zstd costs a third of gzip, and makes less of it."""
        names = {part.partition(";")[0].strip() for part in accepted.lower().split(",") if not REFUSED.search(part)}
        if "zstd" in names:
            return self.packer.compress(data), b"zstd"
        if "gzip" in names:
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            return packer.compress(data) + packer.flush(), b"gzip"
        return data, b""
