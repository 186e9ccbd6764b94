"""The jury room's tables: explicit schemas, and files whose bytes depend on their rows only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nouns.run import read_rows
from nouns.tables import arrow

SCHEMAS: dict[str, pa.Schema] = {
    name: arrow(name) for name in ("verdicts", "existing", "baseline", "losers", "lineage")
}


def write_rows(path: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]]) -> int:
    """Write rows (dictionaries; absent keys become null) as one Parquet file of that schema; the number of rows."""
    write_arrow(path, pa.Table.from_pylist([dict(row) for row in rows], schema=schema))
    return len(rows)


def write_arrow(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=1, store_schema=True)


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> int:
    """One JSON object a line, UTF-8, keys in the order given; NaN is refused. The number of lines."""
    n = 0
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for line in lines:
            stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            n += 1
    return n


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream if line.strip()]


def model_answers(revisions: Path | None, posts: Sequence[int] | None) -> pl.DataFrame:
    """What a language model answered about finalists, drafts and revisions: candidate_id, post_id, outcome."""
    empty = pl.DataFrame(schema={"candidate_id": pl.String, "post_id": pl.Int64, "outcome": pl.String})
    if revisions is None or not (Path(revisions) / "checks.parquet").is_file():
        return empty
    rows = read_rows(revisions, "checks", posts).filter(pl.col("check") == "judge")
    return rows.select("candidate_id", "post_id", "outcome") if rows.height else empty
