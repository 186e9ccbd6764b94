"""The tables of a snapshot: their schemas, and reading and writing them.

A snapshot is what `ingest` makes of X's public files: a directory with one Parquet file per table, typed, sorted and
without duplicates. Columns carry X's newest names; what an older file lacks is null (or false, for check boxes). An
input that is missing gives an empty table with the full schema, so that readers never ask whether a file exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nouns.errors import InputError
from nouns.tables import SNAPSHOT_TABLES, arrow

MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"
NOT_MISLEADING = "NOT_MISLEADING"


_I64, _STR, _BOOL = pa.int64(), pa.string(), pa.bool_()

SCHEMAS: dict[str, pa.Schema] = {name: arrow(name, "snapshot") for name in SNAPSHOT_TABLES}

SORT_KEYS: dict[str, tuple[str, ...]] = {
    "ratings": ("noteId", "createdAtMillis", "raterParticipantId"),
    "notes": ("noteId",),
    "note_status_history": ("noteId",),
    "user_enrollment": ("participantId",),
    "suggestions": ("noteId", "createdAtMillis", "raterParticipantId", "suggestionId", "suggestion", "helpfulness"),
    "note_requests": ("tweetId",),
    "posts": ("tweetId",),
    "rejects": ("table", "file", "line"),
}

# Beside ratings.parquet: the rater of each rating as a row of the sorted ids. Derived, for `dense_ratings` only.
RATER_IDS_FILE = "rating_raters.parquet"
RATER_INDEX_FILE = "rating_rater_index.parquet"
RATER_IDS_SCHEMA = pa.schema([pa.field("raterParticipantId", _STR, nullable=False)])
RATER_INDEX_SCHEMA = pa.schema([pa.field("raterIndex", pa.int32(), nullable=False)])

# A fixed number of rows a group: the bytes of a file depend on its rows only, not on how they arrived.
ROW_GROUP_ROWS = 1 << 20
# Sorted or near-sorted integers shrink to a byte or two a row as differences, at the speed of plain ones.
_DELTA_COLUMNS = frozenset({"noteId", "createdAtMillis"})


def read_table(snapshot: Path | str, name: str, columns: Sequence[str] | None = None) -> pl.LazyFrame:
    """One table of a snapshot as a Polars lazy frame, all columns or the named ones, in the table's sorted order.

    Raises InputError for a name that is no table, a snapshot without that file, or a column the table lacks.
    """
    if name not in SCHEMAS:
        raise InputError(f"A snapshot has no table {name!r}; choose one of {', '.join(SCHEMAS)}.")
    path = Path(snapshot) / f"{name}.parquet"
    if not path.is_file():
        raise InputError(
            f"{path} does not exist; a snapshot holds one Parquet file for each of {', '.join(SCHEMAS)}. "
            "Give the directory that `supernotes ingest` wrote."
        )
    frame = pl.scan_parquet(path)
    if columns is None:
        return frame
    unknown = sorted(set(columns) - set(frame.collect_schema().names()))
    if unknown:
        raise InputError(
            f"{path} has no column {', '.join(unknown)}; it has {', '.join(frame.collect_schema().names())}."
        )
    return frame.select(list(columns))


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer whose bytes depend only on the rows and on where row groups end."""
    delta = [field.name for field in schema if field.name in _DELTA_COLUMNS and field.type == _I64]
    few = [
        field.name
        for field in schema
        if pa.types.is_string(field.type) or pa.types.is_dictionary(field.type) or pa.types.is_floating(field.type)
    ]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=few,
        # Rater ids are 64 characters: their dictionary must be allowed to hold every rater of a row group.
        dictionary_pagesize_limit=256 << 20,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED"),
        write_statistics=[field.name for field in schema if field.type == _I64],
        # Without the Arrow schema a dictionary-encoded column reads back as plain strings, everywhere.
        store_schema=False,
    )


def write_batches(path: Path, schema: pa.Schema, tables: Iterable[pa.Table], row_group_rows: int | None = None) -> int:
    """Write tables one after the other in row groups of fixed size; the number of rows written.

    However the rows are cut into tables, the file has the same bytes. An empty iterable writes an empty table.
    """
    size = row_group_rows or ROW_GROUP_ROWS
    waiting: list[pa.Table] = []
    n_waiting = n_written = 0
    with writer(path, schema) as sink:
        for table in tables:
            if table.num_rows == 0:
                continue
            waiting.append(table)
            n_waiting += table.num_rows
            if n_waiting < size:
                continue
            joined = pa.concat_tables(waiting).combine_chunks()
            full = n_waiting // size * size
            for start in range(0, full, size):
                sink.write_table(joined.slice(start, size), row_group_size=size)
            waiting, n_waiting = [joined.slice(full)], n_waiting - full
            n_written += full
        rest = pa.concat_tables(waiting).combine_chunks() if waiting else schema.empty_table()
        sink.write_table(rest, row_group_size=size)
    return n_written + rest.num_rows


def conform(name: str, table: pa.Table) -> pa.Table:
    """The table with exactly the columns, order and types of `SCHEMAS[name]`.

    Absent columns become null, or false where the schema has no nulls (check boxes). Raises InputError when a required
    column is absent, holds a null, or can't be read as its type.
    """
    return conform_to(name, {column: table.column(column) for column in table.column_names}, SCHEMAS[name])


def conform_to(name: str, given: dict[str, pa.Array | pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    """Columns by name as a table of the given schema, as `conform` does."""
    rows = len(next(iter(given.values())))
    columns = []
    for field in schema:
        if field.name in given:
            try:
                column = given[field.name].cast(field.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(f"Column {field.name} of table {name} must be {field.type}: {error}") from error
        elif field.nullable:
            column = pa.nulls(rows, field.type)
        elif field.type == _BOOL:
            column = pa.array(np.zeros(rows, dtype=bool))
        else:
            raise InputError(f"Table {name} needs the column {field.name}; it has {', '.join(given)}.")
        if not field.nullable and column.null_count:
            raise InputError(f"Column {field.name} of table {name} has {column.null_count} nulls; it may have none.")
        columns.append(column)
    return pa.table(columns, schema=schema)


def write(out: Path, name: str, table: pl.DataFrame | pa.Table) -> int:
    """Write one table of a snapshot from a frame in memory; the number of rows written.

    Rows are sorted by `SORT_KEYS[name]` (stable), columns are brought into the schema by `conform`. For tests, samples
    and small tools; `ingest` itself streams.
    """
    arrow = table.to_arrow() if isinstance(table, pl.DataFrame) else table
    arrow = conform(name, arrow)
    order = pl.DataFrame({key: pl.Series(arrow.column(key)) for key in SORT_KEYS[name]}).select(
        pl.arg_sort_by(SORT_KEYS[name], maintain_order=True)
    )
    return write_batches(Path(out) / f"{name}.parquet", SCHEMAS[name], [arrow.take(order.to_series().to_arrow())])


class DenseRatings(NamedTuple):
    """Ratings with ids replaced by rows: note `note_ids[note_index[k]]` got `value[k]` from `rater_ids[rater_index[k]]`."""

    note_ids: np.ndarray  # (N,) int64, ascending
    rater_ids: pa.Array  # (R,) string, ascending by bytes
    note_index: np.ndarray  # (M,) int32, ascending
    rater_index: np.ndarray  # (M,) int32
    value: np.ndarray  # (M,) float32 in {0, 0.5, 1}
    created_at: np.ndarray  # (M,) int64, milliseconds


def dense_ratings(snapshot: Path | str) -> DenseRatings:
    """The ratings of a snapshot as arrays with dense note and rater indices, in the order of the table.

    No Python object per row is made: notes are counted along the sorted table, and rater indices are read from the two
    small files that `ingest` puts beside it. A snapshot without them (written by `write`) is read the slower way, by
    merging the dictionaries of the row groups, with the same result. Every note and every rater has at least one
    rating. An empty table gives empty arrays. Raises InputError if the table is missing or not sorted.
    """
    path = Path(snapshot) / "ratings.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes ingest` wrote.")
    source = pq.ParquetFile(path)
    n = source.metadata.num_rows
    note_of_rating = np.empty(n, dtype=np.int64)
    value = np.empty(n, dtype=np.float32)
    created_at = np.empty(n, dtype=np.int64)
    at = 0
    for group in range(source.metadata.num_row_groups):
        table = source.read_row_group(group, columns=["noteId", "createdAtMillis", "helpfulness"])
        end = at + table.num_rows
        note_of_rating[at:end] = table.column("noteId").to_numpy()
        created_at[at:end] = table.column("createdAtMillis").to_numpy()
        value[at:end] = table.column("helpfulness").to_numpy()
        at = end
    rater_ids, rater_index = rater_indices(Path(snapshot), n)
    steps = np.empty(n, dtype=bool)
    steps[:1] = True
    np.not_equal(note_of_rating[1:], note_of_rating[:-1], out=steps[1:])
    note_ids = note_of_rating[steps]
    if (note_ids[1:] <= note_ids[:-1]).any():
        raise InputError(f"{path} is not sorted by noteId; write it with `nouns.snapshot.write`.")
    note_index = np.cumsum(steps, dtype=np.int32)
    note_index -= 1
    return DenseRatings(note_ids, rater_ids, note_index, rater_index, value, created_at)


def rater_indices(snapshot: Path, n: int) -> tuple[pa.Array, np.ndarray]:
    """(R,) sorted rater ids and (n,) int32 their rows, one per rating."""
    rater_index = np.empty(n, dtype=np.int32)
    ids_path, index_path = snapshot / RATER_IDS_FILE, snapshot / RATER_INDEX_FILE
    at = 0
    if ids_path.is_file() and index_path.is_file() and pq.read_metadata(index_path).num_rows == n:
        stored = pq.ParquetFile(index_path)
        for group in range(stored.metadata.num_row_groups):
            part = stored.read_row_group(group).column(0).to_numpy()
            rater_index[at : at + len(part)] = part
            at += len(part)
        return pq.read_table(ids_path).column(0).combine_chunks().cast(_STR), rater_index
    source = pq.ParquetFile(snapshot / "ratings.parquet", read_dictionary=["raterParticipantId"])
    dictionaries: list[pa.Array] = []
    pieces: list[tuple[int, int]] = []
    for group in range(source.metadata.num_row_groups):
        for chunk in source.read_row_group(group, columns=["raterParticipantId"]).column(0).chunks:
            stop = at + len(chunk)
            rater_index[at:stop] = chunk.indices.to_numpy(zero_copy_only=False)
            dictionaries.append(chunk.dictionary.cast(_STR))
            pieces.append((at, stop))
            at = stop
    rater_ids, rows = _merge_dictionaries(dictionaries)
    for (start, stop), row in zip(pieces, rows, strict=True):
        rater_index[start:stop] = row[rater_index[start:stop]]
    return rater_ids, rater_index


def _merge_dictionaries(dictionaries: list[pa.Array]) -> tuple[pa.Array, list[np.ndarray]]:
    """All distinct strings in ascending order, and for each dictionary the row of each of its entries in them."""
    if not dictionaries:
        return pa.array([], type=_STR), []
    entries = pl.Series(pa.chunked_array(dictionaries))
    unique = entries.unique().sort()
    # A join of short tables (dictionaries, not rows) in compiled code, order kept.
    rows = (
        pl.DataFrame({"id": entries})
        .join(pl.DataFrame({"id": unique}).with_row_index("row"), on="id", how="left", maintain_order="left")
        .get_column("row")
        .cast(pl.Int32)
        .to_numpy()
    )
    ends = np.cumsum([len(entry) for entry in dictionaries])
    return unique.to_arrow().cast(_STR), np.split(rows, ends[:-1])


_WEEK_MS = 7 * 86_400_000


def newest_time(table: pl.LazyFrame) -> int | None:
    """When the newest row of a table was created, by its column createdAtMillis; None for a table without times.

    Rows dated in the future say nothing: up to one row in a hundred that comes more than a week after all others is left out, and
    of eight rows or more the last where it comes further after the others than those are apart. So the rule needs no clock, and a
    snapshot has the same newest time whenever it is read. Rows after it are those to tell of.
    """
    times = table.select(pl.col("createdAtMillis").drop_nulls())
    n = int(times.select(pl.len()).collect(engine="streaming").item())
    few = max(min(n // 100, 100_000), 1)
    last = times.top_k(few + 1, by="createdAtMillis").collect(engine="streaming")["createdAtMillis"].sort().to_numpy()
    gaps = np.flatnonzero(np.diff(last) > _WEEK_MS)
    if n < 100 and len(gaps):
        span = last[0] - int(times.select(pl.col("createdAtMillis").min()).collect().item())
        gaps = gaps if n >= 8 and last[1] - last[0] > span else gaps[:0]
    return int(last[gaps[0] if len(gaps) else -1]) if n else None


# Authors delete a few notes in a hundred over years, in all places of the file; never many at once, or all of a stretch.
MAX_DELETED_SHARE = 0.05
FEW_NOTES = 5
_STRETCH = 0.9


def looks_lost(before: np.ndarray, gone: np.ndarray) -> str | None:
    """Why notes that are gone look lost rather than deleted, in words; None if they may well be deleted.

    `before`: ids that were there; `gone`: those of them that are missing now. A handful is never called lost.
    """
    if len(gone) <= FEW_NOTES:
        return None
    share = len(gone) / len(before)
    if share > MAX_DELETED_SHARE:
        return f"{len(gone):,} of {len(before):,} notes ({share:.0%}) are gone at once; authors delete a few in a hundred over years"
    places = np.searchsorted(np.sort(before), gone)
    stretch = int(places.max() - places.min()) + 1
    if len(gone) >= 20 and len(gone) >= _STRETCH * stretch:
        return (
            f"{len(gone):,} notes are gone and nearly no other lies between them: a part of the file, not single notes"
        )
    return None
