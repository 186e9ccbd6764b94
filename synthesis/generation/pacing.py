"""How hard to press a server: requests in flight, waiting times, and when to leave it alone.

All of it is plain arithmetic on times that are handed in or taken from the event loop; nothing here knows HTTP.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LONGEST_WAIT = 30.0  # seconds between two attempts, unless the server itself asks for more


class Pacer:
    """At most `limit` attempts in flight; `limit` adapts between 1 and `most`.

    Additive increase, multiplicative decrease (Chiu and Jain 1989): it starts at `most`, each answer adds 1/limit (one per
    round of answers), an overload halves it. Attempts that were already under way when it was halved do not halve it
    again: thirty requests refused at once are one piece of news. `pause` lets nobody start before a time the server named.
    One pacer belongs to one event loop.
    """

    def __init__(self, most: int, limit: float | None = None) -> None:
        self.most = max(1, most)
        self.limit = float(self.most) if limit is None else min(max(1.0, limit), float(self.most))
        self.in_flight = 0
        self._cut_at = float("-inf")
        self._not_before = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Wait for a place; gives the time at which the attempt began. First come, first served."""
        loop = asyncio.get_running_loop()
        if self._waiting or not self._free(loop.time()):
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            self._wake()
            try:
                await turn  # whoever wakes us has already counted us in
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._leave()
                raise
        else:
            self.in_flight += 1
        try:
            yield loop.time()
        finally:
            self._leave()

    def went_well(self) -> None:
        self.limit = min(float(self.most), self.limit + 1.0 / self.limit)

    def overloaded(self, began: float) -> None:
        """The attempt that `began` then was refused or timed out."""
        if began >= self._cut_at:
            self.limit = max(1.0, self.limit / 2)
            self._cut_at = asyncio.get_running_loop().time()

    def pause(self, seconds: float) -> None:
        """Start nothing for so many seconds."""
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)

    def _free(self, now: float) -> bool:
        return self.in_flight < int(self.limit) and now >= self._not_before

    def _leave(self) -> None:
        self.in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._waiting and self._free(now):
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._waiting and now < self._not_before:
            self._alarm = loop.call_at(self._not_before, self._wake)


class Circuit:
    """Opens after `failures` in a row that last at least `seconds`, and stays open: then the server is left alone.

    The time matters because with many requests in flight one dropped connection gives many failures at once; a server that
    restarts is waited for. Answers of any kind, refusals too, show that somebody is there and close the row.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        self.failures = failures
        self.seconds = seconds
        self.open = False
        self._row = 0
        self._since = 0.0

    def answered(self) -> None:
        self._row = 0

    def failed(self, now: float) -> None:
        if self._row == 0:
            self._since = now
        self._row += 1
        if self._row >= self.failures and now - self._since >= self.seconds:
            self.open = True


def waiting_time(attempt: int, base: float, rng: random.Random) -> float:
    """Seconds before attempt `attempt` + 1 (from 1): doubling from `base`, at most 30, each between half and the whole."""
    return min(LONGEST_WAIT, base * 2.0 ** min(attempt - 1, 16)) * rng.uniform(0.5, 1.0)
