"""The jury room's tables: explicit schemas, and files whose bytes depend on their rows only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from jury.settings import AGGREGATOR_NAMES
from nouns.errors import InputError

REASON = pa.struct([("side", pa.string()), ("tag", pa.string()), ("probability", pa.float32())])

_RECEPTION = [
    ("score", pa.float64()),
    ("lower", pa.float64()),
    ("upper", pa.float64()),
    ("factor", pa.float64()),
    ("helpful_negative", pa.float64()),
    ("helpful_middle", pa.float64()),
    ("helpful_positive", pa.float64()),
    ("reasons", pa.list_(REASON)),
    ("aggregator", pa.string()),
    ("n_jurors", pa.int32()),
    ("unjudged_reason", pa.string()),
    ("sd", pa.float32()),
    ("sd_within", pa.float32()),
    ("net_helpful_negative", pa.float32()),
    ("net_helpful_positive", pa.float32()),
    *((f"score_{name}", pa.float32()) for name in AGGREGATOR_NAMES),
    ("curve", pa.list_(pa.float32())),
    ("helpful_chance", pa.float64()),
]

SCHEMAS: dict[str, pa.Schema] = {
    "verdicts": pa.schema([("candidate_id", pa.string()), ("post_id", pa.int64()), *_RECEPTION]),
    "existing": pa.schema(
        [
            ("note_id", pa.int64()),
            ("post_id", pa.int64()),
            *_RECEPTION,
            ("n_ratings", pa.int64()),
            ("fitted_intercept", pa.float64()),
        ]
    ),
    "baseline": pa.schema(
        [
            ("post_id", pa.int64()),
            ("writer", pa.string()),
            *((f"{who}_candidate_id", pa.string()) for who in ("model", "baseline")),
            *((f"{who}_{what}", pa.float64()) for who in ("model", "baseline") for what in ("score", "appeal")),
        ]
    ),
    "losers": pa.schema(
        [
            ("candidate_id", pa.string()),
            ("post_id", pa.int64()),
            ("decided_by", pa.string()),
            ("value", pa.float64()),
            ("threshold", pa.float64()),
            ("compared_with", pa.string()),
            ("reason", pa.string()),
        ]
    ),
    "lineage": pa.schema(
        [
            ("candidate_id", pa.string()),
            ("parent_id", pa.string()),
            ("post_id", pa.int64()),
            ("round", pa.int32()),
            ("request_id", pa.string()),
            ("score_before", pa.float64()),
            ("score_after", pa.float64()),
            ("kept", pa.bool_()),
            ("reason", pa.string()),
            ("feedback", pa.string()),
        ]
    ),
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


def read_rows(
    directory: Path | None,
    name: str,
    posts: Sequence[int] | None,
    key: str = "post_id",
    optional: bool = False,
) -> pl.DataFrame:
    """A stage's table, only the rows of `posts` (None: all). Raises InputError when the file is missing.

    An optional table whose directory or file is missing gives a frame without rows and columns.
    """
    path = Path(directory) / f"{name}.parquet" if directory is not None else None
    if path is None or not path.is_file():
        if optional:
            return pl.DataFrame()
        raise InputError(f"{path} does not exist; give the directory of the stage that writes {name}.parquet.")
    frame = pl.scan_parquet(path)
    if posts is not None:
        frame = frame.filter(pl.col(key).is_in(list(posts)))
    return frame.collect()


def model_answers(revisions: Path | None, posts: Sequence[int] | None) -> pl.DataFrame:
    """What a language model answered about finalists, drafts and revisions: candidate_id, post_id, outcome."""
    empty = pl.DataFrame(schema={"candidate_id": pl.String, "post_id": pl.Int64, "outcome": pl.String})
    if revisions is None or not (Path(revisions) / "checks.parquet").is_file():
        return empty
    rows = read_rows(revisions, "checks", posts).filter(pl.col("check") == "judge")
    return rows.select("candidate_id", "post_id", "outcome") if rows.height else empty
