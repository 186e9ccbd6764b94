"""The optional table of posts: X's public files have no post texts, so users bring them in a format of their own.

Parquet, JSON lines, a JSON array, CSV (quoted as CSV is) or TSV (unquoted). Read in batches; a bad row is rejected, not repaired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from ingest.parse import MAX_MILLIS, MIN_MILLIS
from nouns.errors import InputError
from nouns.snapshot import SCHEMAS

ALIASES: dict[str, tuple[str, ...]] = {
    "tweetId": ("tweet_id", "post_id", "postId", "id", "id_str"),
    "text": ("full_text", "fullText", "post_text", "tweet", "content"),
    "language": ("lang",),
    "createdAtMillis": ("created_at_millis", "createdAt", "created_at"),
    "mediaTypes": ("media_types", "mediaType", "media_type"),
    "altText": ("mediaAltText", "alt_text", "media_alt_text"),
    "quotedText": ("quoted_text", "quoted_tweet_text"),
    "author": ("authorName", "author_name", "screenName", "screen_name", "username", "userName", "user_name", "handle"),
}
_BATCH = 50_000


def post_columns(names: list[str], label: str) -> dict[str, str]:
    """Snapshot column -> column of the file. Raises InputError if no column can be the post id or none the text."""
    lowered = {name.lower(): name for name in reversed(names)}
    found = {}
    for column, aliases in ALIASES.items():
        for name in (column, *aliases):
            if name.lower() in lowered:
                found[column] = lowered[name.lower()]
                break
    if "tweetId" not in found or len(found) == 1:
        raise InputError(
            f"The posts file {label} needs a column tweetId and at least one of text, language, createdAtMillis, "
            f"mediaTypes, altText, quotedText, author; it has {', '.join(names)[:300]}."
        )
    return found


_FORMATS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"\x1f\x8b": "gzip under a name that does not end in .gz",
    b"\x28\xb5\x2f\xfd": "zstd under a name that does not end in .zst",
    b"BZh": "bzip2 under a name that does not end in .bz2",
    b"ARROW1": "Feather (Arrow)",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"\x89HDF": "HDF5",
    b"SQLite format 3": "an SQLite database",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"<": "HTML or XML",
}
EXPECTED_POSTS = "Expected Parquet, JSON lines, a JSON array of objects, or CSV or TSV with a header, in UTF-8, plain or as .gz, .zst or .bz2"
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def post_batches(path: Path, label: str) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    """Raw rows of a posts file: a table with the file's own columns, the line of each row, and unreadable lines.

    What the file is, its first bytes say, whatever its name. A line is a physical line for JSON lines and TSV, a record
    number (from 1, the header is not counted) otherwise.
    """
    try:
        with _stream(path) as raw:
            head = raw.read(1 << 16)
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        known = next((what for magic, what in _FORMATS.items() if head.startswith(magic)), None)
        if known or not start:
            raise InputError(f"The posts file {label} is {known or 'empty'}. {EXPECTED_POSTS}.")
        if head.startswith(b"PAR1"):
            at = 1
            for batch in pq.ParquetFile(path).iter_batches(_BATCH):
                table = pa.Table.from_batches([batch])
                yield table, np.arange(at, at + table.num_rows), []
                at += table.num_rows
        elif start.startswith(b"["):
            yield from _json_array(path, label)
        elif start.startswith(b"{") or path.name.lower().split(".", 1)[-1].startswith(("jsonl", "ndjson")):
            yield from _json_lines(path)
        elif b"\0" in head:
            raise InputError(f"The posts file {label} is binary and of no format known here. {EXPECTED_POSTS}.")
        else:
            yield from _delimited(path, label, head)
    except (pa.ArrowException, OSError, EOFError) as error:
        reason = str(error).splitlines()[0]
        if "invalid UTF8" in reason:
            reason = f"it is no UTF-8 text ({reason}), perhaps Latin-1 or Windows-1252; convert it with: iconv -f WINDOWS-1252 -t UTF-8"
        raise InputError(f"The posts file {label} can't be read: {reason}. {EXPECTED_POSTS}.") from error


def _stream(path: Path) -> Any:
    return pa.input_stream(str(path), compression=_COMPRESSIONS.get(path.suffix.lower()))


def _json_array(path: Path, label: str) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    """An array of objects, or of what JSON lines would hold; read whole, as JSON must be."""
    with _stream(path) as raw:
        try:
            entries = json.loads(raw.read().decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"The posts file {label} starts as a JSON array and can't be read to its end ({error}); it is probably cut "
                f"short. {EXPECTED_POSTS}."
            ) from error
    for start in range(0, len(entries), _BATCH):
        part = list(enumerate(entries[start : start + _BATCH], start + 1))
        rows = [{str(key): _as_text(value) for key, value in row.items()} for _, row in part if isinstance(row, dict)]
        bad = [(number, str(row)[:200]) for number, row in part if not isinstance(row, dict)]
        yield _text_table(rows), np.array([number for number, row in part if isinstance(row, dict)]), bad


def _json_lines(path: Path) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    import io

    with _stream(path) as raw:
        rows: list[dict] = []
        lines: list[int] = []
        bad: list[tuple[int, str]] = []
        for number, line in enumerate(io.BufferedReader(raw), start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                bad.append((number, ""))
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                rows.append({str(key): _as_text(entry) for key, entry in value.items()})
                lines.append(number)
            else:
                bad.append((number, line[:200].decode("utf-8", "backslashreplace")))
            if len(rows) + len(bad) >= _BATCH:
                yield _text_table(rows), np.array(lines), bad
                rows, lines, bad = [], [], []
        if rows or bad:
            yield _text_table(rows), np.array(lines), bad


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ",".join(value)
    return json.dumps(value, ensure_ascii=False)


def _text_table(rows: list[dict]) -> pa.Table:
    names = sorted({name for row in rows for name in row})
    columns = {
        name: [
            text.encode("utf-8", "replace").decode() if (text := row.get(name)) is not None else None for row in rows
        ]
        for name in names
    }
    return pa.table({name: pa.array(values, type=pa.string()) for name, values in columns.items()})


def _delimited(path: Path, label: str, head: bytes) -> Iterator[tuple[pa.Table, np.ndarray, list[tuple[int, str]]]]:
    bad: list[tuple[int, str]] = []
    header = head.split(b"\n")[0].decode("utf-8-sig", "replace").rstrip("\r")
    # German and French spreadsheets write semicolons; the one that separates the header into most names is it.
    delimiter = max("\t,;|", key=header.count)
    names = [name.strip().strip('"') for name in header.split(delimiter)]
    post_columns(names, label)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"The header of {label} names {', '.join(map(repr, repeated))} more than once, so that it is not clear which one to read. Give one of "
            "them another name."
        )

    def keep_count(row: Any) -> str:
        bad.append((row.number or 0, (row.text or "")[:200]))
        return "skip"

    with _stream(path) as raw:
        # Every column as text: ids must never pass through a float.
        parse = pyarrow.csv.ParseOptions(
            delimiter=delimiter,
            quote_char=False if delimiter == "\t" else '"',
            newlines_in_values=delimiter != "\t",
            invalid_row_handler=keep_count,
        )
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        )
        reader = pyarrow.csv.open_csv(
            raw,
            read_options=pyarrow.csv.ReadOptions(block_size=8 << 20, use_threads=False),
            parse_options=parse,
            convert_options=convert,
        )
        at = 2
        for batch in reader:
            table = pa.Table.from_batches([batch])
            yield table, np.arange(at, at + table.num_rows), bad
            at += table.num_rows + len(bad)
            bad.clear()


def read_posts(table: pa.Table, columns: dict[str, str]) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Rows of a posts file in the snapshot's schema: (table of the good rows, their rows, rows without a valid id).

    Ids may be integers or digits; a float is refused because it has lost digits. Times may be milliseconds or ISO 8601
    and are taken from the id where missing (snowflakes only). Empty texts are null.
    """
    schema = SCHEMAS["posts"]
    raw = table.column(columns["tweetId"])
    shown = raw.slice(0, 200).to_pylist()
    if pa.types.is_floating(raw.type) or (shown and all(re.match(r"-?\d+\.\d+[eE]\+", str(value)) for value in shown)):
        raise InputError(
            f"The column {columns['tweetId']} of the posts file holds floating-point numbers, such as {shown[0]!r}; 64-bit post "
            "ids lose their last digits that way. Write it as an integer or as text."
        )
    frame = pl.DataFrame({"id": pl.Series(raw).cast(pl.String).str.strip_chars()})
    ids = frame.select(pl.col("id").filter(pl.lit(True)).str.to_integer(dtype=pl.Int64, strict=False)).to_series()
    valid = (ids > 0).fill_null(False).to_numpy()
    out: dict[str, pa.Array] = {
        "tweetId": pa.array(ids.to_numpy()[valid].astype(np.int64)) if valid.any() else pa.array([], pa.int64())
    }
    keep = pa.array(valid)
    for field in schema:
        if field.name == "tweetId":
            continue
        if field.name not in columns:
            out[field.name] = pa.nulls(int(valid.sum()), field.type)
            continue
        column = table.column(columns[field.name]).filter(keep)
        if field.name == "createdAtMillis":
            out[field.name] = _times(column)
        else:
            out[field.name] = _texts(column)
    posts = pl.from_arrow(pa.table(out, schema=schema))
    assert isinstance(posts, pl.DataFrame)
    of_id = (pl.col("tweetId") // 2**22) + 1_288_834_974_657
    # Ids below 2^40 or so are older than snowflakes (4 November 2010) and hold no time.
    posts = posts.with_columns(
        pl.coalesce("createdAtMillis", pl.when(pl.col("tweetId") >= 10**15).then(of_id)).alias("createdAtMillis")
    )
    return posts.to_arrow().cast(schema), np.flatnonzero(valid), np.flatnonzero(~valid)


def _times(column: pa.ChunkedArray) -> pa.Array:
    series = pl.Series(column)
    if series.dtype.is_temporal():
        millis = series.cast(pl.Datetime("ms")).dt.epoch("ms")
    else:
        text = series.cast(pl.String)
        number = text.str.replace(r"\.\d*$", "").str.to_integer(dtype=pl.Int64, strict=False)
        when = text.str.to_datetime("%+", strict=False, time_unit="ms", time_zone="UTC").dt.epoch("ms")
        plain = text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="ms").dt.epoch("ms")
        millis = pl.select(pl.coalesce(number, when, plain)).to_series()
    plausible = millis.is_between(MIN_MILLIS, MAX_MILLIS)
    millis = pl.select(pl.when(plausible).then(millis)).to_series()
    return millis.cast(pl.Int64).to_arrow()


def _texts(column: pa.ChunkedArray) -> pa.Array:
    series = pl.Series(column)
    if isinstance(series.dtype, pl.List):
        series = series.cast(pl.List(pl.String)).list.join(",")
    series = series.cast(pl.String)
    return pl.select(pl.when(series.str.len_bytes() > 0).then(series)).to_series().to_arrow().cast(pa.string())
