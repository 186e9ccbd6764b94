"""Writing the folder: Parquet shards and their JSONL mirror by split, in streams, and the checksums at the end."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

SPLITS = ("train", "test")


def is_test(key: str, share: float) -> bool:
    """Whether a split key belongs to the test split: by its hash, so that a key stays where it is in every later export."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"split").digest()
    return int.from_bytes(digest, "big") < share * 2**64


class _SplitFile:
    """One split of one config: shards of at most `rows_per_file` rows, named when their number is known."""

    def __init__(self, folder: Path, jsonl: Path | None, split: str, schema: pa.Schema, rows_per_file: int) -> None:
        self.folder, self.split, self.schema, self.limit = folder, split, schema, rows_per_file
        self.jsonl = jsonl
        self.rows = self.in_shard = self.shards = 0
        self._parquet: pq.ParquetWriter | None = None
        self._lines = None if jsonl is None else (jsonl / f"{split}.jsonl").open("wb")

    def write(self, table: pa.Table) -> None:
        start = 0
        while start < table.num_rows or self._parquet is None:
            if self._parquet is None or self.in_shard >= self.limit:
                self._next_shard()
            assert self._parquet is not None
            part = table.slice(start, self.limit - self.in_shard)
            if part.num_rows:
                self._parquet.write_table(part)
            start += part.num_rows
            self.in_shard += part.num_rows
            if start >= table.num_rows:
                break
        self.rows += table.num_rows
        if self._lines is not None and table.num_rows:
            frame = pl.DataFrame(table)
            # JSON knows no NaN and no infinity.
            floats = [name for name, kind in frame.schema.items() if kind.is_float()]
            frame = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)) for name in floats)
            frame.write_ndjson(self._lines)

    def _next_shard(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
        path = self.folder / f"{self.split}-{self.shards:05d}.part"
        self._parquet = pq.ParquetWriter(path, self.schema, compression="zstd", compression_level=1)
        self.shards += 1
        self.in_shard = 0

    def close(self) -> None:
        if self._parquet is None:  # a split without rows still has a file with its columns
            self.write(self.schema.empty_table())
        assert self._parquet is not None
        self._parquet.close()
        for number in range(self.shards):
            part = self.folder / f"{self.split}-{number:05d}.part"
            part.rename(self.folder / f"{self.split}-{number:05d}-of-{self.shards:05d}.parquet")
        if self._lines is not None:
            self._lines.close()


class ConfigWriter:
    """Both splits of one config. A context manager: closed without an error, the shards get their names."""

    def __init__(self, root: Path, config: str, schema: pa.Schema, rows_per_file: int, jsonl: bool) -> None:
        folder = root / config
        folder.mkdir(parents=True, exist_ok=True)
        lines = root / "jsonl" / config if jsonl else None
        if lines is not None:
            lines.mkdir(parents=True, exist_ok=True)
        self.config, self.schema = config, schema
        self._splits = {split: _SplitFile(folder, lines, split, schema, rows_per_file) for split in SPLITS}

    def write(self, split: str, table: pa.Table) -> None:
        self._splits[split].write(table)

    @property
    def rows(self) -> dict[str, int]:
        return {split: file.rows for split, file in self._splits.items()}

    def __enter__(self) -> ConfigWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for file in self._splits.values():
            file.close()
        if not any(self.rows.values()):  # `datasets` refuses a folder without a row
            for folder in {file.folder for file in self._splits.values()} | {
                file.jsonl for file in self._splits.values() if file.jsonl
            }:
                shutil.rmtree(folder)


def write_checksums(root: Path, leave_out: Mapping[str, object] | tuple[str, ...] = ()) -> None:
    """`checksums.sha256` of all files below `root`, in the format of sha256sum, in the order of the names."""
    lines = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name != "checksums.sha256" and name not in leave_out:
            lines.append(f"{file_sha256(path)}  {name}\n")
    (root / "checksums.sha256").write_text("".join(lines), encoding="utf-8")


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
