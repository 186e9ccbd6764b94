"""What can go wrong, in one tree.

    SupernotesError          one paragraph for a person, never a traceback
    ├── InputError           bad input or bad usage: exit code 2
    └── StageFailed          a stage could not finish: exit code 1

The rooms raise their own `InputError(ValueError)`; `is_input_error` recognises them all by name, so that a room needs
to import nothing of ours.
"""

from __future__ import annotations


class SupernotesError(Exception):
    """The message says what was found, what was expected and what to do."""

    exit_code = 1


class InputError(SupernotesError, ValueError):
    """Bad input or bad usage."""

    exit_code = 2


class StageFailed(SupernotesError):
    """A stage could not finish; nothing of it was kept."""


class ModelServerGone(StageFailed):
    """A stage ended without the model server it needs. The answers it got are kept and not asked for again."""


def is_input_error(error: BaseException) -> bool:
    """Whether a room or this package says the input is at fault (exit code 2)."""
    return any(cls.__name__ == "InputError" for cls in type(error).__mro__)
