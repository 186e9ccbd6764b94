"""A notifier as an operator would write one: appends each alert to the file that SUPERNOTES_TEST_ALERTS names."""

from __future__ import annotations

import json
import os


def write_down(message: str, facts: dict[str, str]) -> None:
    with open(os.environ["SUPERNOTES_TEST_ALERTS"], "a", encoding="utf-8") as stream:
        stream.write(json.dumps({"message": message, "facts": facts}) + "\n")


def breaks(message: str, facts: dict[str, str]) -> None:
    raise RuntimeError("the pager is out of order")
