"""Where X's daily files are, and how patiently they are fetched."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.stage import speed


@dataclass(frozen=True)
class FetchSettings:
    # {date} is the day as date_format writes it, {folder} and {table} the table's names on the server, {shard} the
    # number of the shard with five digits. This is the pattern of X's download page.
    url: str = "https://ton.twimg.com/birdwatch-public-data/{date}/{folder}/{table}-{shard}.zip"
    date_format: str = "%Y/%m/%d"
    # folder/table of each file to fetch. The first ones must exist, those in `optional` may be missing.
    tables: tuple[str, ...] = ("notes/notes", "noteRatings/ratings", "noteStatusHistory/noteStatusHistory")
    optional: tuple[str, ...] = ("userEnrollment/userEnrollment", "batSignals/batSignals")  # the requests
    # Numbers asked for past the last shard of a table: a gap is no end. And how much smaller a table may be than the day before.
    probe_shards: int = 3
    max_shrink: float = 0.1
    # A guard against a server that answers every number. X had about 20 rating shards in 2026.
    max_shards: int = 1000
    # Attempts for each file, with waits of about 1, 2, 4 ... seconds times `backoff_seconds` between them.
    attempts: int = speed(6)
    backoff_seconds: float = speed(1.0)
    timeout_seconds: float = speed(60.0)
