"""What can go wrong in the inspector.

InputError    bad usage of the room (settings, unknown run on the command line): one paragraph, exit code 2
Refused       a request that is understood and turned down, with the sentence to show
  Conflict    ... because somebody decided in between, or the text has changed since it was read
"""

from __future__ import annotations


class InputError(ValueError):
    """Bad input or bad usage: the message says what was found, where, what was expected and what to do."""


class Refused(Exception):
    """A request turned down. `status` is the HTTP status that fits."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Conflict(Refused):
    """The analyst's page is older than the store: nothing was written. `seen` is the newest decision's number."""

    def __init__(self, message: str, seen: int = 0) -> None:
        super().__init__(message, 409)
        self.seen = seen
