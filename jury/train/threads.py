"""Linear algebra on one thread, where the systems are small."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _controller():
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own beside numpy's; the controller knows those loaded now
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """While this lasts, BLAS uses one thread.

    Systems of a few hundred unknowns gain nothing from a second thread, and where the cores are shared threads wait for each other in a
    busy loop: fitting the sample's jury took 34 s on two threads beside one other process, 11 s on one (docs/experiments).
    """
    return _controller().limit(limits=1, user_api="blas")


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """A function during which BLAS uses one thread."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with one_thread():
            return function(*args, **kwargs)

    return run
