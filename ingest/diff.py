"""What appeared and vanished between two snapshots, by table, and whether that looks like deletion or like loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from nouns import snapshot
from nouns.errors import InputError
from nouns.snapshot import FEW_NOTES, MAX_DELETED_SHARE, SORT_KEYS, looks_lost

_KEYS = {"ratings": ("noteId", "raterParticipantId"), "suggestions": SORT_KEYS["suggestions"]}
_CONTENT = {"notes": "summary", "note_status_history": "currentStatus", "ratings": "helpfulness", "posts": "text"}


def compare(before: Path, after: Path, memory_mb: int = 1024) -> dict[str, Any]:
    """The difference of two snapshots: `tables` (rows before and after, appeared, vanished, changed), and `causes`.

    `changed` counts the rows with the same key and another text, status or rating. `causes` are sentences, likely first
    reasons for what vanished or came late; none if nothing is unusual. Raises InputError if either is no snapshot.
    """
    for directory in (before, after):
        if not (directory / "notes.parquet").is_file():
            raise InputError(
                f"{directory} is no snapshot: it has no notes.parquet. Give what `supernotes ingest` wrote."
            )
    connection = duckdb.connect(config={"memory_limit": f"{memory_mb}MB"})

    def one(sql: str) -> int:
        return int(connection.sql(sql).fetchall()[0][0])

    def ids(sql: str) -> np.ndarray:
        return np.sort(connection.sql(sql).fetchnumpy()["noteId"].astype(np.int64))

    tables = {}
    for name in snapshot.SCHEMAS:
        if name == "rejects" or not all((directory / f"{name}.parquet").is_file() for directory in (before, after)):
            continue
        key = ", ".join(f'"{column}"' for column in _KEYS.get(name, snapshot.SORT_KEYS[name][:1]))
        a, b = (f"read_parquet('{str(d / name).replace(chr(39), chr(39) * 2)}.parquet')" for d in (before, after))
        content = _CONTENT.get(name)
        tables[name] = {
            "before": one(f"SELECT count(*) FROM {a}"),
            "after": one(f"SELECT count(*) FROM {b}"),
            "appeared": one(f"SELECT count(*) FROM {b} ANTI JOIN {a} USING ({key})"),
            "vanished": one(f"SELECT count(*) FROM {a} ANTI JOIN {b} USING ({key})"),
            "changed": one(
                f"SELECT count(*) FROM {a} x JOIN {b} y USING ({key}) WHERE x.{content} IS DISTINCT FROM y.{content}"
            )
            if content
            else 0,
        }
        if name == "notes":
            had, has = ids(f"SELECT noteId FROM {a}"), ids(f"SELECT noteId FROM {b}")
            newest = [_newest(directory) for directory in (before, after)]
            gone = np.setdiff1d(had, has)
            late = one(
                f"SELECT count(*) FROM {b} b ANTI JOIN {a} a USING (noteId) WHERE b.createdAtMillis < {newest[0] - 3 * 86_400_000}"
            )
        if name == "ratings":
            of_lost = one(
                f"SELECT count(*) FROM {a} WHERE noteId IN (SELECT noteId FROM {a} EXCEPT SELECT noteId FROM {b})"
            )
    connection.close()
    return {"tables": tables, "causes": _causes(tables, had, has, gone, newest, late, of_lost)}


def _causes(
    tables: dict[str, dict[str, int]],
    had: np.ndarray,
    has: np.ndarray,
    gone: np.ndarray,
    newest: list[int],
    late: int,
    of_lost: int,
) -> list[str]:
    causes = []
    for name, table in tables.items():
        if table["before"] and not table["after"]:
            causes.append(f"{name}: the second has none at all; its files are missing or were not read")
        elif name not in ("notes", "posts") and table["vanished"] > max(FEW_NOTES, MAX_DELETED_SHARE * table["before"]):
            whole = f" ({of_lost:,} of them all the ratings of their notes)" if name == "ratings" and of_lost else ""
            causes.append(
                f"{name}: {table['vanished'] / table['before']:.0%} of the rows vanished{whole}: a lost or cut file"
            )
    if len(had) and len(has) and len(gone) == len(had):
        causes.append(
            "notes: the two have no note in common: different data, or ids changed on the way (rounded, renamed)"
        )
    elif newest[1] < newest[0]:
        causes.append("the second is the earlier one: its newest note is older; what vanished had not been written yet")
    elif len(has) and (reason := looks_lost(had, gone)):
        causes.append(f"notes: {reason}: a lost or cut file")
    elif len(gone):
        causes.append(f"notes: {len(gone):,} gone, so few that their authors probably deleted them")
    if late > max(FEW_NOTES, MAX_DELETED_SHARE * len(had)):
        causes.append(
            f"notes: {late:,} appeared that are older than the first's newest by days: the first had lost them"
        )
    return causes


def doubt(before: Path, after: Path) -> str | None:
    """What speaks against taking the notes gone from `after` for deleted; None if nothing does, or it is no later one."""
    had, has = (snapshot.read_table(d, "notes", ["noteId"]).collect()["noteId"].to_numpy() for d in (before, after))
    gone = np.setdiff1d(had, has)
    if _newest(after) < _newest(before) or len(gone) == len(had):
        return None
    return looks_lost(had, gone)


def _newest(directory: Path) -> int:
    """When the newest note was written, by the notes or by the status history, which may be whole where notes are not."""
    tables = [snapshot.read_table(directory, name, ["createdAtMillis"]) for name in ("notes", "note_status_history")]
    return max(snapshot.newest_time(table) or 0 for table in tables)
