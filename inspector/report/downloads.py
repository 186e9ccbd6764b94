"""Tables that leave the inspector: CSV that a spreadsheet cannot mistake for formulas or numbers, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
"""First characters (full-width ones too) at which a spreadsheet may start to calculate."""


def safe_cell(value: Any) -> Any:
    """A cell that a spreadsheet shows as what it is.

    Text that could be a formula, and long digit strings (ids, which would lose digits as numbers), get an apostrophe in
    front; numbers and truth values pass. A program should read the JSON lines instead.
    """
    if value is None:
        return ""
    if isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    stripped = text.lstrip(" '\"\u00a0\u200b\ufeff")
    if text.startswith(DANGEROUS) or stripped.startswith(DANGEROUS) or (text.isdigit() and len(text) > 11):
        return "'" + text
    return text


def csv_rows(columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of a CSV file with every text quoted; lists are joined by '; '."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        cells = []
        for name in columns:
            value = row.get(name)
            if isinstance(value, (list, tuple)):
                value = "; ".join(str(item) for item in value)
            elif isinstance(value, dict):
                value = json.dumps(value, ensure_ascii=False)
            cells.append(safe_cell(value))
        writer.writerow(cells)
        if buffer.tell() > 64_000:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
