"""Finding X's public files in a folder, and reading them as blocks of whole lines, whatever their compression.

Nothing here knows what is in a line. A block ends with a line break; the line breaks are counted here, with another
method than the parser's, so that the counts of `ingest` can be checked against the bytes.
"""

from __future__ import annotations

import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from ingest.doubts import finished_name, form_of
from nouns.errors import InputError

# File names as X publishes them, and in snake case. X's folders on the server (`noteRatings/`) may be kept.
_TABLE_STEMS: tuple[tuple[str, str], ...] = (
    ("noteStatusHistory", "note_status_history"),
    ("note_status_history", "note_status_history"),
    ("userEnrollment", "user_enrollment"),
    ("user_enrollment", "user_enrollment"),
    ("noteRequests", "note_requests"),
    ("batSignals", "note_requests"),  # what X's server calls the requests
    ("bat_signals", "note_requests"),
    ("note_requests", "note_requests"),
    ("noteRatings", "ratings"),
    ("note_ratings", "ratings"),
    ("ratings", "ratings"),
    ("notes", "notes"),
    ("posts", "posts"),
)
_TSV_NAME = re.compile(
    r"^(?P<stem>" + "|".join(stem for stem, _ in _TABLE_STEMS) + r")(?:[-_.].*)?$",
    re.IGNORECASE,
)
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zip": "zip", ".bz2": "bz2", ".xz": "xz"}
POST_SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
EXPECTED_NAMES = (
    "notes-00000.tsv (required), ratings-00000.tsv, noteStatusHistory-00000.tsv, userEnrollment-00000.tsv, "
    "noteRequests-00000.tsv, in any number of shards, plain or as .zip, .gz, .zst, .bz2, .xz or .parquet"
)


@dataclass(frozen=True)
class Shard:
    """One text file with a header, possibly compressed, possibly a member of a zip archive."""

    table: str
    path: Path
    compression: str  # '' | 'gzip' | 'zstd' | 'zip' | 'bz2' | 'xz' | 'parquet'
    label: str  # what reports call it: the path below the source folder, for archives with the member behind a colon
    member: str | None = None


@dataclass(frozen=True)
class LeftAlone:
    """A file that is not read, why, and which doubt that is (a field of `IngestSettings`; none: it is nobody's data)."""

    label: str
    why: str
    doubt: str = ""


@dataclass
class Reading:
    """What is known about a shard once it was read to its end; filled in by `blocks`."""

    shard: Shard
    header: tuple[str, ...] = ()
    data_lines: int = 0  # line breaks after the header, a last line without one included
    bytes: int = 0  # decompressed
    file_bytes: int = 0
    digest: str = ""
    no_last_break: bool = False  # the last line does not end with a line break


@dataclass(frozen=True)
class Block:
    data: np.ndarray  # uint8, whole lines, ends with a line break
    first_line: int  # physical line number in the decompressed file; the header is line 1
    n_lines: int


def table_of(name: str) -> str | None:
    """The table a file name belongs to, without its suffixes: 'ratings-00003' -> 'ratings'; None if it is none."""
    match = _TSV_NAME.match(name)
    if match is None:
        return None
    stem = match["stem"].lower()
    return next(table for known, table in _TABLE_STEMS if known.lower() == stem)


def find_shards(source: Path) -> tuple[dict[str, list[Shard]], list[Path], list[LeftAlone]]:
    """The shards below `source` by table (sorted by label), the post files, and every file that is left alone.

    Looks two folders deep, because X's server keeps each table in a folder of its own. Raises InputError for a source
    that is no readable folder, and for a shard that is there in two forms (it would count twice).
    """
    if not source.exists():
        raise InputError(f"The input folder {source} does not exist. Give a folder with X's files: {EXPECTED_NAMES}.")
    if not source.is_dir():
        raise InputError(
            f"The input {source} is a file, not a folder. Give the folder that holds X's files: {EXPECTED_NAMES}."
        )
    shards: dict[str, list[Shard]] = {}
    posts: list[Path] = []
    left: list[LeftAlone] = []
    paths = sorted(path for path in source.rglob("*") if not path.is_dir())
    whole = {path.name.lower() for path in paths}
    for path in paths:
        relative = path.relative_to(source)
        label = relative.as_posix()
        final = finished_name(path.name)
        if final is not None and _starts_a_table(final):
            if final.lower() in whole:
                left.append(LeftAlone(label, f"a left-over of a download; {final} is there whole"))
            else:
                left.append(LeftAlone(label, "a download that is not finished", "unfinished_download"))
            continue
        if any(part.startswith(".") for part in relative.parts) or path.name == "fetch.json":
            continue  # what systems and editors keep for themselves
        if not path.is_file():
            left.append(LeftAlone(label, "a link to a file that is not there", "other_kind"))
            continue
        if len(relative.parts) > 3:
            doubt = "other_kind" if _starts_a_table(path.name) else ""
            left.append(
                LeftAlone(label, "more than two folders deep; move it up, or give its folder as the input", doubt)
            )
            continue
        suffix = path.suffix.lower()
        compression = _COMPRESSIONS.get(suffix, "")
        inner = path.name[: -len(suffix)] if compression else path.name
        table = table_of(inner.split(".")[0])
        if table == "posts" and Path(inner).suffix.lower() in POST_SUFFIXES:
            posts.append(path)
        elif compression == "zip":
            found = _zip_members(path, label)
            left.extend(_left_alone(shard.label) for shard in found if not shard.table)
            for shard in found:
                if shard.table:
                    shards.setdefault(shard.table, []).append(shard)
        elif table not in (None, "posts") and suffix == ".parquet":
            shards.setdefault(str(table), []).append(Shard(str(table), path, "parquet", label))
        elif table in (None, "posts") or not inner.lower().endswith(".tsv"):
            left.append(_left_alone(label))
        else:
            shards.setdefault(str(table), []).append(Shard(str(table), path, compression, label))
    for table, found in shards.items():
        _refuse_twice(table, found)
        found.sort(key=lambda shard: shard.label)
    return shards, posts, left


def not_as_fetched(source: Path) -> list[tuple[str, str]]:
    """Files that the list of a download (fetch.json) has and the folder has not, or not in that size, with which it is."""
    try:
        listed = json.loads((source / "fetch.json").read_text(encoding="utf-8"))["files"]
        sizes = {str(entry["file"]): int(entry["bytes"]) for entry in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    wrong = []
    for name, size in sorted(sizes.items()):
        path = source / Path(name).name
        if not path.is_file():
            wrong.append((name, "is not there"))
        elif path.stat().st_size != size:
            wrong.append((name, f"has {path.stat().st_size:,} bytes instead of {size:,}"))
    return wrong


def _starts_a_table(name: str) -> bool:
    """Whether a file's name begins as one of X's does, whatever follows: 'ratings (1).csv', 'note_ratings.parquet.part'."""
    return any(name.lower().startswith(stem.lower()) for stem, _ in _TABLE_STEMS)


def _left_alone(label: str) -> LeftAlone:
    parts = re.split("[:/]", label)
    if not any(_starts_a_table(part) for part in parts):
        return LeftAlone(label, "not one of X's files by its name")
    if parts[-1].lower().split(".", 1)[-1] in ("tsv", "tsv.gz", "tsv.zst", "tsv.bz2", "tsv.xz", "parquet"):
        return LeftAlone(label, "its name is none of X's; rename it, for instance to ratings-00000.tsv", "other_kind")
    return LeftAlone(label, form_of(parts[-1]), "other_kind")


def _refuse_twice(table: str, shards: list[Shard]) -> None:
    seen: dict[str, Shard] = {}
    for shard in shards:
        name = (shard.member or shard.path.name).split("/")[-1].split(".")[0].lower()
        if name in seen:
            raise InputError(
                f"The shard {name} of {table} is there twice, as {seen[name].label} and {shard.label}; its rows would "
                "count twice. Keep one of them."
            )
        seen[name] = shard


def _zip_members(path: Path, label: str) -> list[Shard]:
    """The members of an archive; those that belong to no table have table ''."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"{label} is not a readable zip archive ({error}); it is probably cut short. Download it again."
        ) from error
    shards = []
    for name in sorted(names):
        base = name.split("/")[-1]
        table = table_of(base.split(".")[0]) if base.lower().endswith(".tsv") else None
        if table == "posts" or name.startswith("__MACOSX"):
            table = None
        shards.append(Shard(table or "", path, "zip", f"{label}:{name}", name))
    return shards


class _ParquetText(io.RawIOBase):
    """A Parquet file of X's rows as the tab-separated text they would be, one batch at a time."""

    def __init__(self, shard: Shard) -> None:
        source = pq.ParquetFile(shard.path)
        for field in source.schema_arrow:
            if pa.types.is_floating(field.type) and field.name.lower().endswith(("noteid", "tweetid")):
                raise InputError(
                    f"{shard.label}: the column {field.name} holds floating-point numbers, in which 64-bit ids lose their "
                    "last digits. Write it as an integer or as text."
                )
        self._batches = source.iter_batches(1 << 16)
        self._waiting = memoryview("\t".join(source.schema_arrow.names).encode() + b"\n")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            batch = next(self._batches, None)
            if batch is None:
                return 0
            columns = pl.DataFrame(pl.from_arrow(batch))
            text = columns.with_columns(
                cs.boolean().cast(pl.Int8), cs.temporal().cast(pl.Datetime("ms")).dt.epoch("ms")
            ).with_columns(pl.all().cast(pl.String).str.replace_all(r"[\t\r\n]", " "))
            self._waiting = memoryview(
                text.write_csv(separator="\t", quote_style="never", include_header=False).encode()
            )
        n = min(len(buffer), len(self._waiting))
        buffer[:n] = self._waiting[:n]
        self._waiting = self._waiting[n:]
        return n


class _Hashing(io.RawIOBase):
    """A file that hashes what is read from it, front to back."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.digest = xxhash.xxh3_128()
        self.n_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n = self._raw.readinto(buffer)  # type: ignore[attr-defined]
        if n:
            self.digest.update(memoryview(buffer)[:n])
            self.n_bytes += n
        return n or 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._raw.read(size)
        self.digest.update(chunk)
        self.n_bytes += len(chunk)
        return chunk


def hash_file(path: Path) -> tuple[str, int]:
    """XXH3-128 of a file as it lies on disk, in hexadecimal, and its size in bytes."""
    with path.open("rb", buffering=0) as raw:
        hashing = _Hashing(raw)
        while hashing.read(1 << 20):
            pass
        return hashing.digest.hexdigest(), hashing.n_bytes


@contextmanager
def _text_of(shard: Shard, raw: _Hashing) -> Iterator[Any]:
    """The shard's text as a stream of bytes, decompressed."""
    if shard.compression == "zip":
        with zipfile.ZipFile(shard.path) as archive, archive.open(shard.member or "") as stream:
            yield stream
    elif shard.compression == "parquet":
        yield _ParquetText(shard)
    elif shard.compression == "xz":
        with lzma.LZMAFile(io.BufferedReader(raw)) as stream:
            yield stream
    elif shard.compression:
        with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), shard.compression) as stream:
            yield stream
    else:
        yield raw


def blocks(reading: Reading, block_bytes: int, max_line_bytes: int) -> Iterator[Block]:
    """The data lines of a shard in blocks of about `block_bytes`; fills in `reading` on the way.

    The header line is read first and checked by `_header`; `reading.header` is set before the first block comes out.
    Raises InputError for a file that is cut short, is no text, or has a line longer than `max_line_bytes`.
    """
    shard = reading.shard
    try:
        with shard.path.open("rb", buffering=0) as raw:
            hashing = _Hashing(raw)
            with _text_of(shard, hashing) as stream:
                yield from _cut(stream, reading, block_bytes, max_line_bytes)
            if shard.compression in ("zip", "parquet"):  # not read front to back
                reading.digest, reading.file_bytes = hash_file(shard.path)
            else:
                reading.digest, reading.file_bytes = hashing.digest.hexdigest(), hashing.n_bytes
    except (
        OSError,
        EOFError,
        lzma.LZMAError,
        pa.ArrowException,
        pl.exceptions.PolarsError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{shard.label} can't be read: {error.strerror} ({shard.path}).") from error
        with shard.path.open("rb") as file:
            start = file.read(24)
        if not start.startswith(_MAGIC.get(shard.compression, b"")):
            raise InputError(
                f"{shard.label} is no {shard.compression} file, whatever its name says: it starts with {start!r}. If it is X's "
                "text, rename it to end in .tsv; otherwise download it again."
            ) from error
        raise InputError(
            f"{shard.label} can't be decompressed as {shard.compression} (after {reading.bytes:,} bytes of text): "
            f"{error}. It is cut short or damaged; compare its size with the server's and download it again."
        ) from error


def _cut(stream: Any, reading: Reading, block_bytes: int, max_line_bytes: int) -> Iterator[Block]:
    rest = np.empty(0, dtype=np.uint8)  # the start of a line whose end has not come yet
    next_line = 1
    last = False
    while not last:
        # Each block has memory of its own, because it is parsed while the next one is read.
        buffer = np.empty(len(rest) + block_bytes + 1, dtype=np.uint8)
        buffer[: len(rest)] = rest
        n_read = _read_into(stream, buffer.data[len(rest) : -1])
        reading.bytes += n_read
        end = len(rest) + n_read
        last = n_read < block_bytes
        if last and end and buffer[end - 1] != 10:
            buffer[end] = 10  # a last line without a line break
            reading.no_last_break = True
            end += 1
        cut = end if last else _after_last_break(buffer, end)
        if cut == 0 and not last:
            rest = buffer[:end]
            refuse_long_line(reading.shard, end, next_line, bytes(rest[:80]), max_line_bytes)
            continue
        rest = buffer[cut:end]
        data = buffer[:cut]
        if next_line == 1 and cut:
            line_end = int(np.argmax(data == 10)) if cut < 4096 else bytes(data).index(b"\n")
            refuse_long_line(reading.shard, line_end, 1, bytes(data[:80]), max_line_bytes)
            reading.header = _header(bytes(data[:line_end]), reading)
            data = data[line_end + 1 :]
            next_line = 2
        if len(data):
            n_lines = _count_breaks(data)
            reading.data_lines += n_lines
            yield Block(data, next_line, n_lines)
            next_line += n_lines
    if next_line == 1:
        raise InputError(
            f"{reading.shard.label} is empty: not even a header line. Expected tab-separated text whose first line "
            "names the columns. Download the file again, or remove it."
        )


def _count_breaks(data: np.ndarray) -> int:
    """The number of line breaks, piece by piece so that the comparison stays in the processor's cache."""
    step = 1 << 17
    return sum(int(np.count_nonzero(data[at : at + step] == 10)) for at in range(0, len(data), step))


def _read_into(stream: Any, room: memoryview) -> int:
    """Fill `room` from the stream, or less only at its end: decompressors return what they have at hand."""
    n = 0
    while n < len(room):
        got = stream.readinto(room[n:])
        if not got:
            break
        n += got
    return n


def _after_last_break(buffer: np.ndarray, end: int) -> int:
    """One past the last line break in buffer[:end], 0 if there is none."""
    size = 1 << 14
    while True:
        start = max(0, end - size)
        found = bytes(buffer[start:end]).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        if start == 0:
            return 0
        size *= 16


def refuse_long_line(shard: Shard, length: int, line: int, start: bytes, limit: int) -> None:
    if length > limit:
        raise InputError(
            f"Line {line} of {shard.label} is at least {length:,} bytes long (it starts with "
            f"{start[:60].decode('utf-8', 'backslashreplace')!r}), more than max_line_bytes = {limit:,}. X's lines stay "
            "far below that: the file has lost its line breaks, or is not text. Restore it, or raise "
            "`ingest.max_line_bytes` if the line is right."
        )


_MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bz2": b"BZh", "xz": b"\xfd7zXZ"}
_SEPARATORS = {",": "commas", ";": "semicolons", "|": "vertical bars"}
_OTHER_TEXTS = {"<": "HTML or XML, such as a server's error page", "{": "JSON, such as a server's error", "version https://git-lfs": "a pointer of Git LFS to the file, not the file"}  # fmt: skip


def _header(line: bytes, reading: Reading) -> tuple[str, ...]:
    label = reading.shard.label
    if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{label} is UTF-16 text; X's files are UTF-8. Convert it, for instance with iconv.")
    if line[:4] == b"PK\x03\x04" or line[:2] == b"\x1f\x8b" or line[:4] == b"\x28\xb5\x2f\xfd":
        raise InputError(
            f"{label} holds compressed data but its name does not say so; rename it to end in .zip, .gz or .zst."
        )
    if b"\0" in line:
        raise InputError(
            f"{label} is not text: its first line has NUL bytes. Expected tab-separated UTF-8 text with a header line."
        )
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The first line of {label} is not UTF-8 ({error.reason} at byte {error.start}); expected tab-separated "
            "UTF-8 text with a header line."
        ) from error
    if "\r" in text:
        raise InputError(
            f"{label} ends its lines with carriage returns only, so that it is one long line; expected line feeds (or "
            "both). Convert it, for instance with: tr '\\r' '\\n'."
        )
    names = tuple(name.strip() for name in text.split("\t"))
    if len(names) > 1 and all(len(name) > 1 and name[0] == name[-1] == '"' for name in names):
        raise InputError(
            f"{label} was written with quotes around its cells: its first line is {text[:60]!r}. X's files have none; use "
            "the file as published, or write it without quoting."
        )
    for start, what in _OTHER_TEXTS.items():
        if text.lstrip().startswith(start):
            raise InputError(f"{label} is {what}: it starts with {text[:60]!r}. Download the file again.")
    separator = max(_SEPARATORS, key=text.count)
    if len(names) == 1 and text.count(separator) >= 2:
        raise InputError(
            f"{label} is separated by {_SEPARATORS[separator]}, not by tabs: its first line is {text[:80]!r}. X's files are "
            "tab-separated without quotes; use them as published."
        )
    if names[0].isdigit() and len(names[0]) > 6:
        raise InputError(
            f"{label} has no header: its first line starts with the number {names[0]}. X's files name their columns "
            "in the first line; use the file as published (only the first shard keeping its header is not enough)."
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"The header of {label} names {', '.join(map(repr, repeated))} more than once, so that it is not clear which one to read. "
            "Use the file as published, or give one of them another name."
        )
    return names
