"""What can go wrong, in one tree.

SupernotesError          one paragraph for a person: found, expected, what to do; exit code 1
├── InputError           bad input or bad usage; exit code 2, never retried
│   └── NotMade          a stage that is needed is not finished: names its verb
├── NothingToDo          there is nothing to work on; exit code 0, Airflow skips the task
├── StageFailed          a stage could not finish and nothing of it was kept; may be retried
│   ├── ModelServerGone  the model server is away: wait for it, then ask for what is missing
│   └── Damaged          a finished directory is not what its manifest says: set aside and made again
├── GateFailed           a jury too weak, too many model calls refused; never retried
└── Refused              the inspector understands a request and turns it down, with an HTTP status
    └── Conflict         ... because somebody decided in between, or the text has changed since it was read
"""

from __future__ import annotations

from collections.abc import Sequence


class SupernotesError(Exception):
    """The message says what was found, what was expected and what to do. `notices`: what was noticed before."""

    exit_code = 1
    notices: Sequence[dict[str, str]] = ()


class InputError(SupernotesError, ValueError):
    """Bad input or bad usage: the message says what was found, where, what was expected and what to do."""

    exit_code = 2


class NotMade(InputError):
    """A stage whose result is needed is not finished; the message names the command that makes it."""


class NothingToDo(SupernotesError):
    """There is nothing to work on, and that is no failure."""

    exit_code = 0


class StageFailed(SupernotesError):
    """A stage could not finish; nothing of it was kept."""


class ModelServerGone(StageFailed):
    """A stage ended without the model server it needs. The answers it got are kept and not asked for again."""


class Damaged(StageFailed):
    """A finished directory does not hold what its manifest says."""


class GateFailed(SupernotesError):
    """The result is too poor to be used: a jury no better than the baselines, too many model calls refused."""


class Refused(SupernotesError):
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
