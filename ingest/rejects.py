"""Rows that `ingest` leaves out: counted by table, file and reason, and described one by one in `rejects.parquet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.columns import Matching
from ingest.parse import REASONS, Lines
from nouns import snapshot

# Not a sign of an unreadable file: they don't count towards `max_rejected_share`.
HARMLESS = frozenset({"duplicate", "no_rating", "unknown_helpfulness_level", "after_as_of"})
_VALUE_CHARACTERS = 200
_SPILL_ROWS = 200_000


@dataclass
class Rejects:
    """Collects rejects; those beyond a few hundred thousand wait in a scratch file."""

    scratch: Path
    by_table: dict[str, Counter[str]] = field(default_factory=dict)
    by_file: dict[str, Counter[str]] = field(default_factory=dict)
    # (table, reason, column) -> [count, file, line, value of the first one]
    examples: dict[tuple[str, str, str], list] = field(default_factory=dict)
    last_line: dict[str, int] = field(default_factory=dict)  # of each file the last physical line that was rejected
    _waiting: list[pa.Table] = field(default_factory=list)
    _n_waiting: int = 0
    _sink: pq.ParquetWriter | None = None

    def add(
        self, table: str, file: str, lines: np.ndarray, column: str | None, reason: str, values: pa.Array | list[str]
    ) -> None:
        """Reject the given physical lines of one file for one reason."""
        n = len(lines)
        if n == 0:
            return
        self.by_table.setdefault(table, Counter())[reason] += n
        self.by_file.setdefault(file, Counter())[reason] += n
        if reason not in HARMLESS:
            self.last_line[file] = max(self.last_line.get(file, 0), int(lines.max()))
        values = values if isinstance(values, pa.Array) else pa.array(values, type=pa.string())
        example = self.examples.setdefault((table, reason, column or ""), [0, file, int(lines[0]), str(values[0])])
        example[0] += n
        schema = snapshot.SCHEMAS["rejects"]
        self._waiting.append(
            pa.table(
                [
                    pa.repeat(table, n),
                    pa.repeat(file, n),
                    pa.array(lines, type=pa.int64()),
                    pa.repeat(column, n) if column is not None else pa.nulls(n, pa.string()),
                    pa.repeat(reason, n),
                    values,
                ],
                schema=schema,
            )
        )
        self._n_waiting += n
        if self._n_waiting >= _SPILL_ROWS:
            self._spill()

    def add_problems(self, table: str, file: str, first_line: int, lines: Lines, matching: Matching) -> np.ndarray:
        """Reject the lines in which the parser found a problem; returns the rows that had none."""
        problem = lines.problem
        rows = np.flatnonzero(problem)
        if len(rows):
            columns = lines.problem_column[rows]
            codes = problem[rows]
            for code, column in sorted(set(zip(codes.tolist(), columns.tolist(), strict=True))):
                these = rows[(codes == code) & (columns == column)]
                name = matching.names[column] if column >= 0 else None
                values = [escape(lines.cell(row, column)) for row in these.tolist()]
                self.add(table, file, these + first_line, name, REASONS[code], values)
            return np.flatnonzero(problem == 0)
        return np.arange(len(problem))

    def unreadable(self, table: str) -> int:
        return sum(n for reason, n in self.by_table.get(table, {}).items() if reason not in HARMLESS)

    def total(self, table: str) -> int:
        return sum(self.by_table.get(table, {}).values())

    def write(self, out: Path, sort_memory_mb: int) -> int:
        """Write `rejects.parquet`, sorted by table, file and line; the number of rows."""
        self._spill()
        if self._sink is None:
            return snapshot.write_batches(out / "rejects.parquet", snapshot.SCHEMAS["rejects"], [])
        self._sink.close()
        order = '"table", file, line, reason, "column", value'
        batches = sorted_batches(self._path, order, self.scratch, sort_memory_mb)
        return snapshot.write_batches(out / "rejects.parquet", snapshot.SCHEMAS["rejects"], batches)

    @property
    def _path(self) -> Path:
        return self.scratch / "rejects.parquet"

    def _spill(self) -> None:
        if not self._waiting:
            return
        if self._sink is None:
            self._sink = pq.ParquetWriter(self._path, snapshot.SCHEMAS["rejects"], compression="zstd")
        self._sink.write_table(pa.concat_tables(self._waiting))
        self._waiting, self._n_waiting = [], 0


def escape(raw: bytes) -> str:
    """The first 200 characters of a cell as printable text: control characters and broken UTF-8 as `\\x..`."""
    text = raw.decode("utf-8", "backslashreplace")[:_VALUE_CHARACTERS]
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)[:_VALUE_CHARACTERS]


def sorted_batches(path: Path, order: str, scratch: Path, memory_mb: int) -> Iterator[pa.Table]:
    """The rows of a Parquet file in the order of an SQL `ORDER BY` list, sorted on disk where memory is short."""
    if pq.read_metadata(path).num_rows == 0:
        return
    connection = duckdb.connect(
        config={"memory_limit": f"{memory_mb}MB", "temp_directory": str(scratch / "duckdb"), "threads": 2}
    )
    try:
        schema = pq.read_schema(path)
        sql = f"SELECT * FROM read_parquet(?) ORDER BY {order}"
        for batch in connection.sql(sql, params=[str(path)]).to_arrow_reader(100_000):
            yield pa.Table.from_batches([batch]).cast(schema)
    except duckdb.Error as error:
        raise OSError(
            f"Sorting {path.stem} failed: {str(error).splitlines()[0]} The workspace needs free space of about twice the "
            "table's size; ingest.sort_memory_mb sets how much memory may be used."
        ) from error
    finally:
        connection.close()
