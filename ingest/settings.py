"""Settings of the `ingest` stage."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.stage import speed


@dataclass(frozen=True)
class IngestSettings:
    # Above this share of unreadable rows in a table the stage fails, because columns are then more likely swapped than
    # rows broken. Duplicates, rows without a rating and rows after `as_of` are not counted as unreadable.
    max_rejected_share: float = 0.20
    # A longer line means lost line breaks (one such line can hide thousands of rows), so the stage stops. Bytes. The
    # longest real lines, requests with many suggestions, stay under 1 MiB.
    max_line_bytes: int = 4 << 20
    # Bytes of decompressed text parsed at once by one thread.
    block_bytes: int = speed(16 << 20)
    # Ratings sorted in memory at once; more are sorted in runs on disk (48 bytes each) and merged. Rows.
    run_rows: int = speed(2_000_000)
    # Parsing threads; 0 means one for each core.
    threads: int = speed(0)
    # Memory that DuckDB may use to sort the text tables before it spills to disk. Megabytes.
    sort_memory_mb: int = speed(1024)
