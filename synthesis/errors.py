"""Errors a user can act on."""


class InputError(ValueError):
    """Bad input or bad usage: the message says what was found, where, what was expected and what to do."""
