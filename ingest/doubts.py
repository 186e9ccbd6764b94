"""What makes a snapshot doubtful, told from names, ids and texts alone. `ingest` says it, or stops: see `IngestSettings`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = re.compile(r"[-_](\d{1,5})$")
_UNFINISHED = re.compile(
    r"\.(part|partial|crdownload|download|opdownload|filepart|aria2|tmp|temp|incomplete|!ut|fdmdownload|st)$",
    re.IGNORECASE,
)
_TRANSFER = re.compile(r"^\.(?P<name>.+?\.(tsv|zip|gz|zst|bz2|xz|parquet))(\.[A-Za-z0-9_]{4,8})?$", re.IGNORECASE)
_FORMS = {
    ".csv": "separated by commas; X's files are .tsv, separated by tabs and never quoted",
    ".tgz": "a tar archive; unpack it",
    ".tar": "a tar archive; unpack it",
    ".7z": "a 7z archive; unpack it",
    ".rar": "a rar archive; unpack it",
    ".xlsx": "an Excel workbook, which cuts ids to 15 digits; use the file as published",
    ".xls": "an Excel workbook, which cuts ids to 15 digits; use the file as published",
    ".json": "JSON; expected X's .tsv, or Parquet",
    ".jsonl": "JSON lines; expected X's .tsv, or Parquet",
    ".feather": "a Feather file; expected X's .tsv, or Parquet",
    ".arrow": "an Arrow file; expected X's .tsv, or Parquet",
    ".txt": "named .txt; rename it to .tsv if it is X's file",
}
_FLOAT_BITS = 53
FLOAT_ID = re.compile(r"\d+\.\d*([eE]\+?\d+)?|\d+[eE]\+?\d+")
"""An id as programs write it that hold numbers as floats."""
SWALLOWED = r'\n"?[1-9]\d{14,19}"?[,;|]'
"""The start of a line of a posts table inside of a text."""
_FEWEST_IDS = 8


def finished_name(name: str) -> str | None:
    """The name that a download still under way will have when it is whole; None if the name is no such name."""
    if _UNFINISHED.search(name):
        return _UNFINISHED.sub("", name).lstrip(".")
    # rsync and others write to a hidden file of the final name with a random ending
    match = _TRANSFER.match(name)
    return match["name"] if match else None


def form_of(name: str) -> str:
    """Why a file whose name belongs to a table is not read, said of its form."""
    lowered = name.lower()
    for suffix in (".gz", ".zst", ".bz2", ".xz"):
        lowered = lowered.removesuffix(suffix)
    ending = "." + lowered.rsplit(".", 1)[-1] if "." in lowered else ""
    return _FORMS.get(ending, f"of a form that is not known ({ending or 'no ending'}); expected X's .tsv, or Parquet")


def missing_shards(names: Iterable[str]) -> list[str]:
    """Names of the shards that must exist between those that do: X numbers a table's files from 00000 without gaps.

    Files numbered by others (01, 02) may start at 1. Names without a number, or with a date in its place, tell nothing.
    """
    found: dict[str, dict[int, int]] = {}
    for name in names:
        if match := _NUMBER.search(name):
            found.setdefault(name[: match.start(1)], {})[int(match[1])] = len(match[1])
    missing = []
    for stem, numbers in sorted(found.items()):
        width = max(numbers.values())
        first = 0 if width == 5 else min(1, min(numbers))
        gaps = [number for number in range(first, max(numbers)) if number not in numbers]
        # "ratings_2024" is a year: no folder lacks nearly all of its files.
        if width == 5 or len(gaps) <= 4 * len(numbers):
            missing += [f"{stem}{number:0{width}d}" for number in gaps]
    return missing


def rounding_of(ids: np.ndarray) -> str | None:
    """How 64-bit ids have lost their last digits, in words; None if they have not.

    Through a float64 they become multiples of the distance between its values at that size (256 today); a spreadsheet
    or JavaScript also leaves zeros at their end. Of true ids 1 in 100 ends in two zeros, and up to 4 in 10 (2021) are
    multiples of 256. Ids made from times alone, all 22 low bits zero, are none of these. Fewer than eight tell nothing.
    """
    large = np.unique(ids[ids > 2**_FLOAT_BITS])
    if len(large) < _FEWEST_IDS:
        return None
    if (large % 100 == 0).mean() >= 0.9:
        zeros = next(n for n in range(2, 19) if n == 18 or (large % 10 ** (n + 1) == 0).mean() < 0.9)
        return f"end in {zeros} zeros, as numbers do that a spreadsheet or JavaScript has rounded"
    step = 1 << (int(large.max()).bit_length() - _FLOAT_BITS)
    if step >= 8 and (large % step == 0).mean() >= 0.95 and (large % (1 << 22) == 0).mean() < 0.5:
        return f"are multiples of {step}, as ids are that went through floating-point numbers (float64)"
    return None


def quoted(texts: pa.Array | pa.ChunkedArray) -> int:
    """The number of texts in CSV quotes, if so many have them that the file was written with quoting; else 0.

    A file written with quotes "where needed" doubles every quotation mark inside and has none that stands alone.
    """
    if len(texts) == 0:
        return 0
    wrapped = pc.match_substring_regex(texts, r'(?s)^".*"$')
    inside = pc.utf8_slice_codeunits(texts, 1, -1)
    marks, pairs = pc.count_substring(inside, '"'), pc.count_substring(inside, '""')
    proper = pc.and_(wrapped, pc.equal(marks, pc.multiply(pairs, 2)))
    n_wrapped, n_proper = _sum(wrapped), _sum(proper)
    with_marks = _sum(pc.match_substring(texts, '"'))
    doubled = _sum(pc.and_(proper, pc.greater(pairs, 0)))
    everywhere = len(texts) >= 3 and n_wrapped >= 0.9 * len(texts)
    where_needed = doubled >= 1 and n_proper >= 0.9 * with_marks
    return n_wrapped if everywhere or where_needed else 0


def look_swapped(words: Iterable[str], others: Mapping[str, Iterable[str]]) -> bool:
    """Whether cells that are no known words of their column are no new words either: numbers, texts, another column's words."""
    known = {word for vocabulary in others.values() for word in vocabulary}
    words = list(words)
    strange = sum(word in known or re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", word) is None for word in words)
    return strange * 2 > len(words)


def _sum(flags: pa.Array | pa.ChunkedArray) -> int:
    return int(pc.sum(flags).as_py() or 0)
