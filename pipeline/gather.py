"""Puts the shards of a stage together: tables row by row in the order of the shards, counts added up."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nouns.errors import StageFailed


def gather(shards: Sequence[Path], counts: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """Concatenate files of equal name from `shards` into `out` and return the summed counts.

    Parquet files are copied row group by row group, so memory stays flat, and written in row groups of one size. Lines of `.jsonl` and frames of
    `.jsonl.zst` are appended. Any other file (a report of one shard) is kept as `<stem>-<shard><suffix>`.
    """
    names = sorted({path.name for shard in shards for path in shard.iterdir() if path.is_file()})
    for name in names:
        if name in ("manifest.json", "timing.json"):
            continue
        parts = [shard / name for shard in shards if (shard / name).exists()]
        if name.endswith(".parquet"):
            _gather_parquet(parts, out / name)
        elif name.endswith((".jsonl", ".jsonl.zst")):
            with (out / name).open("wb") as target:
                for part in parts:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, target)
        else:
            for number, shard in enumerate(shards):
                part = shard / name
                if part.exists():
                    shutil.copyfile(part, out / f"{part.stem}-{number:05d}{part.suffix}")
    total: dict[str, Any] = {}
    for entry in counts:
        _add(total, entry)
    return total


ROW_GROUP = 50_000
"""Rows of one row group of a gathered table, whatever the shards were: bytes must not show them."""


def _gather_parquet(parts: Sequence[Path], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(parts[0]).remove_metadata()
    waiting: list[Any] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:

        def write(least: int) -> None:
            """Whole row groups of what waits; with `least` 1 the rest, too."""
            table = pa.Table.from_batches(waiting, schema).combine_chunks()
            start = 0
            while table.num_rows - start >= least:
                writer.write_table(table.slice(start, ROW_GROUP))
                start += ROW_GROUP
            waiting[:] = table.slice(start).to_batches() if start < table.num_rows else []

        for part in parts:
            file = pq.ParquetFile(part)
            found = file.schema_arrow.remove_metadata()
            if not found.equals(schema):
                raise StageFailed(f"The shards of {target.name} have different columns: {schema} and {found}.")
            for group in range(file.num_row_groups):
                waiting += file.read_row_group(group).replace_schema_metadata(None).cast(schema).to_batches()
                if sum(batch.num_rows for batch in waiting) >= ROW_GROUP:
                    write(ROW_GROUP)
        write(1)


def _add(total: dict[str, Any], entry: dict[str, Any]) -> None:
    """Whole numbers add up and tables of them merge; what stands under `shared`, and every text, holds for all shards; a notice is told once.

    A share or a mean cannot be added: the stage has to give the two whole numbers it is made of.
    """
    for key, value in entry.items():
        if key == "notices":
            total[key] = [*total.get(key, []), *(notice for notice in value if notice not in total.get(key, []))]
        elif key == "shared" or not isinstance(value, (dict, int, float)) or isinstance(value, bool):
            if total.setdefault(key, value) != value:
                raise StageFailed(f"The shards disagree on {key!r}: {total[key]!r} and {value!r}.")
        elif isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        elif isinstance(value, float):
            raise StageFailed(f"The count {key!r} of a shard is {value!r}; only whole numbers can be added up.")
        else:
            total[key] = total.get(key, 0) + value
