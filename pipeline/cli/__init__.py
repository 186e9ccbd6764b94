"""The command line: `app` holds the verbs, `alone` those that need no run, `doctor` and `demo` one verb each."""

from __future__ import annotations


def main() -> None:
    """The entry point `supernotes`."""
    from pipeline.cli.app import main as run

    run()
