"""The jury's small finished run serves the tests of what is learned from it."""

from __future__ import annotations

from tests.jury.conftest import run

__all__ = ["run"]
