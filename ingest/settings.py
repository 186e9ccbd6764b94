"""Settings of the `ingest` stage."""

from __future__ import annotations

from dataclasses import dataclass

from nouns.notices import Level
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
    # What makes a snapshot doubtful, and what is done about it: "told" (a line), "warned" (a line that stands out),
    # "refused" (the stage stops). Refused by default is what surely lacks or spoils rows.
    # A number is missing among a table's shards, or a file that fetch.json lists is not there or has another size.
    shard_gap: Level = "refused"
    # A download still under way (.part, .crdownload, a hidden file of rsync ...) whose finished file is not there.
    unfinished_download: Level = "refused"
    # A file named after a table in a form that is not read (.csv, .tar.gz, .xlsx ...).
    other_kind: Level = "warned"
    # A file whose last line lacks its line break and some of its cells: an interrupted download.
    cut_line: Level = "warned"
    # Ids that went through floating-point numbers or a spreadsheet, so that notes and ratings no longer meet.
    rounded_ids: Level = "refused"
    # Texts in quotation marks, as a program wrote them that quotes where X does not.
    quoted_texts: Level = "warned"
    # A posts table that has no post of any note.
    unmatched_posts: Level = "warned"
    # More ratings are about notes that are not there than deletion explains.
    lacking_notes: Level = "warned"
    # A file that has a header and nothing else.
    empty_table: Level = "warned"
    # Lines with the same key and other contents; the latest stays.
    conflicting_rows: Level = "warned"
    # Words that are new in a column with a fixed vocabulary: each is read as an empty cell.
    unknown_words: Level = "warned"
    # Notes or ratings dated long after all others: no cut, age or window goes by them.
    future_dates: Level = "warned"
    # Notes of the workspace's snapshot before that are gone in such a number that no deletion explains it.
    shrunk: Level = "warned"
