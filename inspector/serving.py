"""Several server processes behind one port: the program is loaded once, then forked; connections are dealt out evenly.

We had uvicorn's own supervisor, which starts every process from nothing (three to four seconds for two), and a socket for
each process, among which the kernel draws lots: 25 connections fell 13 to 12 or 17 to 8. Here one socket is shared, and
a process leaves a new connection to whoever has fewer.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

import uvicorn

from nouns.errors import InputError

log = logging.getLogger("supernotes.inspector")

YIELD = 0.004  # seconds that a process leaves a new connection to one that has fewer, before it takes it anyway
BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `InputError` where the address cannot be bound."""
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise InputError(
            f"The inspector cannot listen on {host} port {port}: {error.strerror}. Choose another with --port."
        ) from error
    opened.setblocking(False)
    return opened


class Tally:
    """How many connections each process holds, in memory that all of them share."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._memory = mmap.mmap(-1, 4 * n)

    def put(self, number: int, connections: int) -> None:
        struct.pack_into("=i", self._memory, 4 * number, connections)

    def all(self) -> tuple[int, ...]:
        return struct.unpack_from(f"={self.n}i", self._memory)


class EvenServer(uvicorn.Server):
    """One of several servers behind a shared socket."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket, number: int, tally: Tally) -> None:
        super().__init__(config)
        self.listener = listener
        self.number = number
        self.tally = tally
        self._welcomes: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self._open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().remove_reader(self.listener)
        self.tally.put(self.number, 2**30)
        await super().shutdown(sockets=[])

    async def on_tick(self, counter: int) -> bool:
        self._count()
        return await super().on_tick(counter)

    def _count(self) -> int:
        held = len(self.server_state.connections) + len(self._welcomes)
        self.tally.put(self.number, held)
        return held

    def _open(self) -> None:
        asyncio.get_running_loop().add_reader(self.listener, self._knock)

    def _knock(self) -> None:
        """Somebody wants to connect: take them, or leave them for a moment to a process with fewer connections."""
        if self._count() > min(self.tally.all()):
            loop = asyncio.get_running_loop()
            loop.remove_reader(self.listener)
            loop.call_later(YIELD, self._take_late)
        else:
            self._take()

    def _take_late(self) -> None:
        if not self.should_exit:
            self._take()
            self._open()

    def _take(self) -> None:
        try:
            taken, _ = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # another process was quicker, or they left
            return
        taken.setblocking(False)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        welcome = asyncio.get_running_loop().create_task(self._welcome(taken))
        self._welcomes.add(welcome)
        self._count()
        welcome.add_done_callback(self._welcomes.discard)

    async def _welcome(self, taken: socket.socket) -> None:
        def protocol() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state
            )

        try:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, taken)
        except OSError:  # gone already
            taken.close()


def serve_forked(make_app: Callable[[], Any], listener: socket.socket, workers: int, options: dict[str, Any]) -> None:
    """Serve with several processes until SIGINT or SIGTERM; one that ends unasked is started again.

    `make_app` is called in each process and gives the app and what to do in the end: nothing that must not be shared (connections to databases, threads) may be open
    in this one.
    """
    tally = Tally(workers)
    children: dict[int, int] = {}
    stopping = False

    def start(number: int) -> None:
        tally.put(number, 0)
        sys.stdout.flush()
        sys.stderr.flush()
        signals = (signal.SIGTERM, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # the child must not get one before its own handlers stand
        child = os.fork()
        if child:
            children[child] = number
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            return
        status, close = 1, lambda: None
        try:
            for known in signals:
                signal.signal(known, leave)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            app, close = make_app()
            EvenServer(uvicorn.Config(app, **options), listener, number, tally).run()
            status = 0
        except (SystemExit, KeyboardInterrupt):
            status = 0
        except BaseException:
            log.exception("server process %d ended", number)
        finally:
            close()
            os._exit(status)  # what else there is to clean up is the parent's

    def leave(_number: int, _frame: Any) -> None:
        raise SystemExit(0)

    def stop(number: int, _frame: Any) -> None:
        nonlocal stopping
        stopping = True
        for child in children:
            os.kill(child, signal.SIGTERM)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in range(workers):
            start(number)
        while children:
            started = time.monotonic()
            ended, _ = os.wait()
            lost = children.pop(ended, None)
            if lost is not None and not stopping:
                log.error("server process %d ended and is started again", lost)
                time.sleep(max(0.0, 1 - (time.monotonic() - started)))
                start(lost)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
