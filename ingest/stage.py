"""The `ingest` stage: X's public files in, a snapshot of typed and sorted tables out, every line accounted for."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingest.as_of import enrollment_as_of, statuses_as_of
from ingest.columns import KEPT_WORDS, SPECS, Column, Matching, match_columns
from ingest.doubts import FLOAT_ID, SWALLOWED, look_swapped, missing_shards, quoted, rounding_of
from ingest.files import (
    EXPECTED_NAMES,
    Block,
    LeftAlone,
    Reading,
    Shard,
    blocks,
    find_shards,
    hash_file,
    not_as_fetched,
    refuse_long_line,
)
from ingest.parse import (
    FLAG,
    MISSING,
    OPTIONAL_PARTICIPANT,
    PARTICIPANT,
    TEXT,
    UNKNOWN,
    WORD,
    Layout,
    Lines,
    parse,
)
from ingest.posts import post_batches, post_columns, read_posts
from ingest.ratings import (
    RATINGS_IN_MEMORY,
    RECORD,
    RaterNumbers,
    RatingRuns,
    rating_table,
    sort_ratings,
)
from ingest.rejects import HARMLESS, Rejects, escape, sorted_batches
from ingest.settings import IngestSettings
from nouns import snapshot
from nouns.errors import InputError
from nouns.notices import notice
from nouns.run import Run
from nouns.stage import Counts, Tools
from nouns.x import MISLEADING_FLAGS, NOT_MISLEADING_FLAGS, RATING_TAGS

Progress = Callable[..., None]
_SNOWFLAKE_EPOCH = 1_288_834_974_657  # ms; an id holds its time: (id >> 22) + this
_MIN_RATINGS_TO_COMPARE = 100
_MUCH_LACKING = 0.15  # share of ratings of unknown notes; X's files have a few in a hundred, of deleted notes


@dataclass
class _Run:
    """What one call of `ingest` carries along."""

    out: Path
    scratch: Path
    settings: IngestSettings
    as_of: int | None
    progress: Progress
    rejects: Rejects
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    columns: list[dict[str, Any]] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)
    # words that are not known, by table and column: each with its number, as far as looked at
    words: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    # accepted and written rows by file label
    written: Counter[str] = field(default_factory=Counter)
    matched: int = 0  # ratings of notes whose text is at hand

    def tell(self, text: str) -> None:
        self.notices.append(notice("told", "ingest", text))

    def describe(
        self,
        table: str,
        label: str,
        about: dict[str, Any],
        kept: Iterable[str],
        renamed: dict[str, str],
        absent: Iterable[str],
        unknown: Sequence[str],
        unused: Iterable[str] = (),
    ) -> None:
        """Report a file that was read to its end: its size and hash, and what became of its columns."""
        self.files.append({"file": label, "table": table} | about)
        left = {"known_and_left_out": list(unused), "unknown_and_left_out": list(unknown)}
        columns = {"kept": list(kept), "renamed": renamed, "absent": list(absent)}
        self.columns.append({"file": label, "table": table} | columns | left)
        if unknown:
            self.tell(
                f"{label}: {len(unknown)} unknown column{'s' if len(unknown) > 1 else ''} left out: "
                f"{', '.join(unknown[:12])}{' ...' if len(unknown) > 12 else ''}"
            )

    def doubt(self, kind: str, text: str) -> None:
        """Say what makes the snapshot doubtful, at the level that the settings give this kind; stop at "refused"."""
        level = getattr(self.settings, kind)
        self.notices.append(notice(level, "ingest", text))
        if level == "refused":
            raise InputError(f"{text}. To go on all the same: --set ingest.{kind}=warned")


def ingest(
    run: Run,
    settings: IngestSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Read X's public files in `source` into the tables of a snapshot in the empty directory `out`.

    The unit of `in`, `out` and `rejected` is a data line of a file (a record, for posts): each was written to a table or
    rejected with one reason. Lines are counted by their line breaks, apart from the parser, and the stage fails with
    RuntimeError if for any file written + rejected differs from that count. `posts`: a file with post texts; without it
    `posts.parquet`, `.jsonl`, `.csv` or `.tsv` in the folder is used, or none. `as_of` (milliseconds): only rows created
    before it, with the statuses of that time. Raises InputError for input that can't be used; what it says is meant for
    the user. The counts also hold `tables`, `files` (bytes, XXH3-128 of the file as stored), and `notices`.
    """
    source = run.given["source"]
    posts, as_of = run.given.get("posts"), run.given.get("as_of")
    out = Path(out)
    source = Path(source)
    shards, found_posts, left = find_shards(source)
    if "notes" not in shards:
        there = sorted(
            {shard.label for group in shards.values() for shard in group} | {f"{x.label} ({x.why})" for x in left}
        )
        listing = ", ".join(there[:12]) + (f" and {len(there) - 12} more" if len(there) > 12 else "")
        raise InputError(
            f"No notes file in {source}: "
            + (f"it holds {listing}. " if there else "it holds no files. ")
            + f"Expected {EXPECTED_NAMES}. Give the folder into which X's files were downloaded."
        )
    post_file = _choose_posts(posts, found_posts, source)
    scratch = out / ".scratch"
    scratch.mkdir()
    work = _Run(out, scratch, settings, as_of, tools.progress, Rejects(scratch))
    try:
        _doubt_files(work, source, shards, left)
        for name in ("notes", "note_status_history", "user_enrollment", "note_requests"):
            _ingest_table(work, name, shards.get(name, []))
        _ingest_posts(work, post_file, source)
        _ingest_ratings(work, shards.get("ratings", []))
        _reconcile(work)
        _doubt_dates(work)
        _doubt_kept_words(work)
        work.rejects.write(out, settings.sort_memory_mb)
        _tell_rejects(work)
        counts = _counts(work)
        _write_json(out / "schema_report.json", {"files": work.columns, "notices": work.notices})
    except InputError as error:
        error.notices = work.notices
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno,
                f"the disk of {out} is full. ingest needs about 60 bytes for each rating and the size of the text tables "
                "while it sorts, and a third of that in the end. Free some space or choose another workspace; nothing "
                "was kept",
            ) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tools.progress("ingest: done", counts["in"], counts["in"])
    return counts


def _choose_posts(posts: Path | None, found: list[Path], source: Path) -> Path | None:
    if posts is not None:
        if not Path(posts).is_file():
            raise InputError(f"The posts file {posts} does not exist; give a Parquet, JSON lines, CSV or TSV file.")
        return Path(posts)
    if len(found) > 1:
        names = ", ".join(path.relative_to(source).as_posix() for path in found)
        raise InputError(f"{source} holds more than one posts file: {names}. Keep one, or name it with --posts.")
    return found[0] if found else None


def _doubt_files(run: _Run, source: Path, shards: dict[str, list[Shard]], left: list[LeftAlone]) -> None:
    """What the names of the files tell: which were left alone, which are missing, which have an unusual form."""
    for found in sorted(left, key=lambda entry: not entry.doubt):
        text = f"{found.label} was left alone: {found.why}"
        run.doubt(found.doubt, text) if found.doubt else run.tell(text)
    for table, group in sorted(shards.items()):
        missing = missing_shards((shard.member or shard.path.name).split("/")[-1].split(".")[0] for shard in group)
        if missing:
            run.doubt(
                "shard_gap",
                f"{', '.join(missing[:6])}{' ...' if len(missing) > 6 else ''} of {table} {'are' if len(missing) > 1 else 'is'} "
                f"missing: there are {', '.join(shard.label for shard in group[:6])}{' ...' if len(group) > 6 else ''}. X numbers "
                "a table's files without gaps; download what is missing",
            )
        for shard in group:
            if shard.compression in ("parquet", "bz2", "xz"):
                run.tell(f"{shard.label} was read as {table}, though X publishes no {shard.compression}")
    for name, what in not_as_fetched(source):
        run.doubt("shard_gap", f"fetch.json lists {name}, which {what}; fetch the day again")


# -- reading -----------------------------------------------------------------------------------------------------------


def _parsed(run: _Run, name: str, shard: Shard) -> Iterator[tuple[Reading, Matching, Block, Lines]]:
    """The blocks of a shard in order, each parsed on one of the threads; the shard is reported at its end."""
    spec = SPECS[name]
    reading = Reading(shard)

    def task(block: Block, layout: Layout) -> Lines:
        lines = parse(block.data, block.n_lines, layout)
        row, length = lines.longest_line()
        start = bytes(block.data[lines.line_start[row] :][:80])
        refuse_long_line(shard, length, block.first_line + row, start, run.settings.max_line_bytes)
        return lines

    matching: Matching | None = None
    threads = run.settings.threads or os.cpu_count() or 1
    waiting: deque[tuple[Block, Future[Lines]]] = deque()
    done = 0
    with ThreadPoolExecutor(threads, thread_name_prefix="ingest") as pool:
        for block in blocks(reading, run.settings.block_bytes, run.settings.max_line_bytes):
            if matching is None:
                matching = match_columns(spec, reading.header, shard.label)
            waiting.append((block, pool.submit(task, block, matching.layout)))
            while len(waiting) > threads:
                ready, future = waiting.popleft()
                yield reading, matching, ready, future.result()
                done += ready.n_lines
                run.progress(f"ingest: {shard.label}", done, None)
        for ready, future in waiting:
            assert matching is not None
            yield reading, matching, ready, future.result()
    if matching is None:
        matching = match_columns(spec, reading.header, shard.label)
    about = {"file_bytes": reading.file_bytes, "text_bytes": reading.bytes, "xxh3_128": reading.digest}
    run.describe(
        name,
        shard.label,
        about | {"in": reading.data_lines},
        matching.kept,
        matching.renamed,
        matching.absent,
        matching.unknown,
        matching.unused,
    )
    if reading.data_lines == 0:
        run.doubt("empty_table", f"{shard.label} has a header but no data lines")
    elif reading.no_last_break:
        last = run.rejects.last_line.get(shard.label) == reading.data_lines + 1
        text = f"{shard.label}: the last line ({reading.data_lines + 1:,}) has no line break at its end"
        if last:
            run.doubt("cut_line", f"{text} and can't be read: the file was probably cut short, download it again")
        else:
            run.tell(f"{text}; if its last cell looks cut, download the file again")


def _known_words(run: _Run, name: str, lines: Lines, rows: np.ndarray) -> None:
    """Note which words of the good lines are not known; of each column a few hundred cells a block are looked at."""
    for column in SPECS[name].columns:
        if column.kind != WORD or column.name not in lines.layout.names:
            continue
        strange = rows[lines.words[lines.layout.slot(column.name)][rows] == UNKNOWN]
        if len(strange):
            found = run.words.setdefault((name, column.name), Counter())
            place = lines.layout.names.index(column.name)
            cells = [escape(lines.cell(row, place)) for row in strange[:500].tolist()]
            found.update(cells)
            found[""] += len(strange) - len(cells)


def _report_words(run: _Run, name: str, n_in: int) -> None:
    """Say which words were new. Stop where a column holds so many that are no words that columns must be swapped."""
    vocabularies = {column.name: column.vocabulary for column in SPECS[name].columns if column.kind == WORD}
    for (table, column), found in sorted(run.words.items()):
        if table != name:
            continue
        n = found.total()
        words = [word for word, _ in found.most_common() if word]
        shown = ", ".join(repr(word[:60]) for word in words[:5]) + (" ..." if len(words) > 5 else "")
        others = {key: value for key, value in vocabularies.items() if value != vocabularies[column]}
        if n > run.settings.max_rejected_share * n_in and look_swapped(words, others):
            plain = [word.strip("\"' ") for word in words]
            known = set(vocabularies[column])
            if all(word.upper() in known or not word for word in plain):
                cause = f"They are X's words {'in quotation marks' if known & set(plain) or not any(plain) else 'in other letters'}: use the file as published."
            else:
                cause = "They do not look like new words either: compare the header with the first rows (columns may be swapped or shifted)."
            raise InputError(
                f"{n:,} of {n_in:,} cells of {column} in {name} are none of X's words: {shown}; expected "
                f"{', '.join(vocabularies[column])}. {cause}"
            )
        lost = "; where no older box is ticked either, the row holds no rating" if column == "helpfulnessLevel" else ""
        rows = f"{n:,} row{'s' * (n > 1)}"
        run.doubt(
            "unknown_words",
            f"{name}: {column} holds words that are not known here in {rows}: {shown}. They were read as empty{lost}",
        )


def _column(lines: Lines, rows: np.ndarray, column: Column, nullable: bool) -> pa.Array:
    """One column of the good lines as an Arrow array; empty optional cells are null."""
    kind = column.kind
    layout = lines.layout
    if kind == FLAG:
        ones = lines.flag(column.name)[rows]
        return pa.array(ones, mask=~lines.has_flag(column.name)[rows]) if nullable else pa.array(ones)
    if kind == WORD:
        codes = lines.words[layout.slot(column.name)][rows]
        return pc.take(pa.array(column.vocabulary, type=pa.string()), pa.array(codes, mask=codes < 0))
    if kind in (TEXT, PARTICIPANT, OPTIONAL_PARTICIPANT):
        texts = lines.texts(column.name, rows)
        if not nullable:
            return texts
        return pc.if_else(pc.equal(pc.binary_length(texts), 0), pa.scalar(None, pa.string()), texts)
    values = lines.integers[layout.slot(column.name)][rows]
    return pa.array(values, mask=values == MISSING)


def _time_of_id(ids: np.ndarray) -> np.ndarray:
    return (ids >> 22) + _SNOWFLAKE_EPOCH


# -- the tables of text ------------------------------------------------------------------------------------------------


def _ingest_table(run: _Run, name: str, shards: list[Shard]) -> None:
    """Notes, status history, enrolment or requests: read, complete, sort outside memory, drop duplicates, write."""
    schema = snapshot.SCHEMAS[name]
    scratch_schema = schema.append(pa.field("_file", pa.int32())).append(pa.field("_line", pa.int64()))
    path = run.scratch / f"{name}.parquet"
    assumed: Counter[str] = Counter()
    n_in = 0
    with pq.ParquetWriter(path, scratch_schema, compression="zstd", compression_level=1) as sink:
        for number, shard in enumerate(shards):
            for _, matching, block, lines in _parsed(run, name, shard):
                rows = run.rejects.add_problems(name, shard.label, block.first_line, lines, matching)
                _known_words(run, name, lines, rows)
                table = _table(run, name, shard, block, lines, matching, rows, assumed, number, scratch_schema)
                if table.num_rows:
                    sink.write_table(table)
            n_in += run.files[-1]["in"]
    _refuse_unreadable(run, name, n_in, shards)
    _report_words(run, name, n_in)
    _report_assumed(run, name, assumed)
    n_out = snapshot.write_batches(run.out / f"{name}.parquet", schema, _unique_rows(run, name, path, shards))
    path.unlink()
    if name == "notes":
        _doubt_texts(run, "notes", "summary")
        _refuse_swapped_ids(run)
    for key in {"notes": ("noteId", "tweetId"), "user_enrollment": ()}.get(name, snapshot.SORT_KEYS[name][:1]):
        _doubt_ids(run, name, key)
    run.tables[name] = {"in": n_in, "out": n_out, "rejected": dict(sorted(run.rejects.by_table.get(name, {}).items()))}


def _table(
    run: _Run,
    name: str,
    shard: Shard,
    block: Block,
    lines: Lines,
    matching: Matching,
    rows: np.ndarray,
    assumed: Counter[str],
    number: int,
    scratch_schema: pa.Schema,
) -> pa.Table:
    """The good rows of a block in the snapshot's schema, with their file and line; rows after `as_of` are rejected."""
    schema = snapshot.SCHEMAS[name]
    available = {column.name: column for column in SPECS[name].columns if column.name in matching.kept}
    columns: dict[str, pa.Array] = {
        field.name: _column(lines, rows, available[field.name], field.nullable)
        for field in schema
        if field.name in available
    }
    if name in ("notes", "note_status_history"):
        created = columns.get("createdAtMillis", pa.nulls(len(rows), pa.int64()))
        if created.null_count:
            assumed["createdAtMillis"] += created.null_count
            ids = columns["noteId"].to_numpy()
            created = pc.if_else(pc.is_null(created), pa.array(_time_of_id(ids)), created)
        columns["createdAtMillis"] = created
    if name == "notes":
        stance = columns.get("classification", pa.nulls(len(rows), pa.string()))
        if stance.null_count:
            assumed["classification"] += stance.null_count
            columns["classification"] = pc.fill_null(stance, _stance_of_flags(lines, rows, matching))
    if name == "note_requests" and "sourceLinks" in columns:
        columns["sourceLinks"] = _json_list(columns["sourceLinks"])
    columns["_file"] = pa.array(np.full(len(rows), number, dtype=np.int32))
    columns["_line"] = pa.array(rows + block.first_line)
    table = snapshot.conform_to(name, columns, scratch_schema)
    if run.as_of is None:
        return table
    return _drop_later(run, name, shard.label, table)


def _stance_of_flags(lines: Lines, rows: np.ndarray, matching: Matching) -> pa.Array:
    """Misleading, unless the reasons ticked are only ones for "not misleading"."""
    yes = np.zeros(len(rows), dtype=bool)
    no = np.zeros(len(rows), dtype=bool)
    for flag in MISLEADING_FLAGS:
        if flag in matching.kept:
            yes |= lines.flag(flag)[rows]
    for flag in NOT_MISLEADING_FLAGS:
        if flag in matching.kept:
            no |= lines.flag(flag)[rows]
    return pc.if_else(pa.array(no & ~yes), snapshot.NOT_MISLEADING, snapshot.MISLEADING)


def _json_list(links: pa.Array) -> pa.Array:
    """Links as a JSON array. X documents one, and publishes links separated by commas."""
    series = pl.Series(links)
    escaped = series.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
    listed = pl.lit('["') + escaped.str.replace_all(",", '", "', literal=True) + pl.lit('"]')
    made = pl.select(pl.when(series.str.starts_with("[")).then(series).otherwise(listed)).to_series()
    return made.to_arrow().cast(pa.string())


def _doubt_ids(run: _Run, name: str, key: str) -> None:
    ids = snapshot.read_table(run.out, name, [key]).select(pl.col(key).unique()).collect()[key].to_numpy()
    if rounding := rounding_of(ids):
        run.doubt(
            "rounded_ids",
            f"{name}: nearly all of the {len(ids):,} values of {key} {rounding}; the first is {ids.min()}. Rows of the other "
            "tables are not found by such ids. Use the file as published, or read ids as text",
        )


def _doubt_texts(run: _Run, name: str, column: str) -> None:
    table = pq.ParquetFile(run.out / f"{name}.parquet")
    n = sum(quoted(batch.column(0).drop_null()) for batch in table.iter_batches(100_000, columns=[column]))
    if n:
        run.doubt(
            "quoted_texts",
            f"{name}: {n:,} texts in {column} stand in quotation marks with those inside doubled, as CSV has it, and keep "
            "them. X's files quote nothing: use the file as published, or write it without quoting",
        )


def _refuse_swapped_ids(run: _Run) -> None:
    """Note ids hold the time at which the note was written; where the post ids do instead, they are swapped."""
    frame = snapshot.read_table(run.out, "notes", ["noteId", "tweetId", "createdAtMillis"])
    minute = 60_000

    def near(column: str) -> pl.Expr:
        return ((pl.col(column) // 2**22 + _SNOWFLAKE_EPOCH - pl.col("createdAtMillis")).abs() < minute).sum()

    n, by_note, by_tweet = frame.select(pl.len(), near("noteId"), near("tweetId").alias("t")).collect().row(0)
    if n and by_tweet > n / 2 and by_note < n / 2:
        raise InputError(
            f"In the notes, the times in tweetId agree with createdAtMillis in {by_tweet:,} of {n:,} rows, those in noteId "
            f"in {by_note:,}: noteId and tweetId are swapped. Swap their names in the header."
        )


def _report_assumed(run: _Run, name: str, assumed: Counter[str]) -> None:
    how = {
        "createdAtMillis": "taken from the time in the note id",
        "classification": "taken from the reasons ticked, and as misleading where none tell",
        "version": "set to 2 with a helpfulnessLevel, else 1",
    }
    for column, n in sorted(assumed.items()):
        if n:
            run.tell(f"{name}: {column} was empty or absent in {n:,} rows, {how[column]}")


def _drop_later(run: _Run, name: str, label: str, table: pa.Table) -> pa.Table:
    """Without the rows created at or after `as_of`, the rest as it was then."""
    as_of = run.as_of
    assert as_of is not None
    if name in ("notes", "note_status_history"):
        later = pc.greater_equal(table.column("createdAtMillis"), as_of)
    elif name == "note_requests":
        times = [column.name for column in SPECS[name].columns if column.name.endswith("Timestamp")]
        first = pc.min_element_wise(*(table.column(column) for column in times))
        later = pc.fill_null(pc.greater_equal(first, as_of), False)
    else:
        later = pc.is_null(table.column("participantId"))
    if pc.any(later).as_py():
        dropped = table.filter(later)
        column = "createdAtMillis" if name != "note_requests" else times[0]
        values = pc.fill_null(dropped.column(column).cast(pa.string()), "").combine_chunks()
        run.rejects.add(name, label, dropped.column("_line").to_numpy(), column, "after_as_of", values)
        table = table.filter(pc.invert(later))
    if name == "note_requests":
        for column in times:
            values = table.column(column)
            known = pc.if_else(pc.less(values, as_of), values, pa.scalar(None, pa.int64()))
            table = table.set_column(table.column_names.index(column), table.schema.field(column), known)
    elif name in ("note_status_history", "user_enrollment"):
        frame = pl.from_arrow(table)
        assert isinstance(frame, pl.DataFrame)
        change = statuses_as_of if name == "note_status_history" else enrollment_as_of
        frame, n_unknown = change(frame, as_of)
        if n_unknown:
            what = "statuses" if name == "note_status_history" else "enrolment states"
            run.tell(f"{label}: {n_unknown:,} {what} at the chosen time are not published and left empty")
        table = frame.to_arrow().cast(table.schema)
    return table


# Of rows with the same key the first in this order stays: the latest, then by content.
_LATEST = {
    "notes": '"createdAtMillis" DESC',
    "note_status_history": '"timestampMillisOfCurrentStatus" DESC NULLS LAST',
    "user_enrollment": '"timestampOfLastStateChange" DESC NULLS LAST',
    "note_requests": '"noteRequestFeedEligibleTimestamp" DESC NULLS LAST',
    "posts": 'strlen("text") DESC NULLS LAST',
}


def _unique_rows(run: _Run, name: str, path: Path, shards: list[Shard]) -> Iterator[pa.Table]:
    """The rows of a scratch file sorted by their key, later copies of a key rejected as duplicates."""
    schema = snapshot.SCHEMAS[name]
    key = snapshot.SORT_KEYS[name][0]
    content = ", ".join(f'"{field.name}" DESC NULLS LAST' for field in schema if field.name != key)
    order = f'"{key}", {_LATEST[name]}, {content}, _file, _line'
    previous: Any = None
    before: pa.Table | None = None  # the row in front of a batch
    conflicts = 0
    labels = [shard.label for shard in shards]
    for table in sorted_batches(path, order, run.scratch, run.settings.sort_memory_mb):
        if not table.num_rows:
            continue
        keys = pl.Series(table.column(key))
        repeated = (keys == keys.shift(1)).fill_null(False).to_numpy().copy()
        repeated[0] = previous is not None and keys[0] == previous
        previous = keys[-1]
        if repeated.any():
            conflicts += _n_conflicts(table.select(schema.names), before, np.flatnonzero(repeated))
            dropped = table.filter(pa.array(repeated))
            files = dropped.column("_file").to_numpy()
            for number in np.unique(files).tolist():
                part = dropped.filter(pa.array(files == number))
                values = part.column(key).cast(pa.string()).combine_chunks()
                run.rejects.add(name, labels[number], part.column("_line").to_numpy(), key, "duplicate", values)
        before = table.select(schema.names).slice(table.num_rows - 1)
        if repeated.any():
            table = table.filter(pa.array(~repeated))
        for number, n in zip(*np.unique(table.column("_file").to_numpy(), return_counts=True), strict=True):
            run.written[labels[int(number)]] += int(n)
        yield table.select(schema.names).cast(schema)
    if conflicts:
        run.doubt(
            "conflicting_rows",
            f"{name}: {conflicts:,} line{'s have' if conflicts > 1 else ' has'} the {key} of another line and other contents; the latest stays, of equally late "
            "ones the greatest. Two downloads may be mixed in one folder",
        )


def _n_conflicts(table: pa.Table, before: pa.Table | None, repeated: np.ndarray) -> int:
    """How many of the given rows differ from the row in front of them, which has the same key."""
    offset = 0 if before is None else 1
    frame = pl.DataFrame(pl.from_arrow(table if before is None else pa.concat_tables([before, table])))
    one, two = frame[repeated + offset], frame[repeated + offset - 1]
    differ = pl.concat(
        [(one[name].ne_missing(two[name])).rename(name).to_frame() for name in frame.columns], how="horizontal"
    )
    return int(differ.select(pl.any_horizontal(pl.all()).sum()).item())


# -- posts -------------------------------------------------------------------------------------------------------------


def _ingest_posts(run: _Run, path: Path | None, source: Path) -> None:
    schema = snapshot.SCHEMAS["posts"]
    if path is None:
        snapshot.write_batches(run.out / "posts.parquet", schema, [])
        run.tables["posts"] = {"in": 0, "out": 0, "rejected": {}}
        return
    inside = path.resolve().is_relative_to(source.resolve())
    label = path.resolve().relative_to(source.resolve()).as_posix() if inside else path.name
    scratch_schema = schema.append(pa.field("_file", pa.int32())).append(pa.field("_line", pa.int64()))
    scratch = run.scratch / "posts.parquet"
    n_in = 0
    names: list[str] = []
    columns: dict[str, str] = {}
    with pq.ParquetWriter(scratch, scratch_schema, compression="zstd", compression_level=1) as sink:
        for table, lines, bad in post_batches(path, label):
            n_in += table.num_rows + len(bad)
            if bad:
                values = [escape(text.encode()) for _, text in bad]
                run.rejects.add("posts", label, np.array([line for line, _ in bad]), None, "unreadable_record", values)
            if not table.num_rows:
                continue
            if table.column_names != names:
                names = table.column_names
                columns = post_columns(names, label)
            good, rows, wrong = read_posts(table, columns)
            if len(wrong):
                column = columns["tweetId"]
                values = [escape(str(table.column(column)[row]).encode()) for row in wrong.tolist()]
                run.rejects.add("posts", label, lines[wrong], column, "bad_id", values)
            good = good.append_column("_file", pa.array(np.zeros(len(rows), dtype=np.int32)))
            good = good.append_column("_line", pa.array(lines[rows].astype(np.int64)))
            if run.as_of is not None:
                later = pc.fill_null(pc.greater_equal(good.column("createdAtMillis"), run.as_of), False)
                dropped = good.filter(later)
                values = dropped.column("createdAtMillis").cast(pa.string()).combine_chunks()
                run.rejects.add(
                    "posts", label, dropped.column("_line").to_numpy(), "createdAtMillis", "after_as_of", values
                )
                good = good.filter(pc.invert(later))
            sink.write_table(good.cast(scratch_schema))
    digest, size = hash_file(path)
    about = {"file_bytes": size, "text_bytes": size, "xxh3_128": digest, "in": n_in}
    renamed = {old: new for new, old in columns.items() if old != new}
    absent = [name for name in schema.names if name not in columns]
    unknown = [name for name in names if name not in columns.values()]
    run.describe("posts", label, about, columns, renamed, absent, unknown)
    if n_in == 0:
        run.doubt("empty_table", f"The posts file {label} has no rows, so no post has a text")
    shard = Shard("posts", path, "", label)
    _refuse_unreadable(run, "posts", n_in, [shard])
    n_out = snapshot.write_batches(run.out / "posts.parquet", schema, _unique_rows(run, "posts", scratch, [shard]))
    scratch.unlink()
    rejected = dict(sorted(run.rejects.by_table.get("posts", {}).items()))
    run.tables["posts"] = {"in": n_in, "out": n_out, "rejected": rejected}
    if not n_out:
        return
    _doubt_ids(run, "posts", "tweetId")
    _doubt_texts(run, "posts", "text")
    swallowed = (
        snapshot.read_table(run.out, "posts", ["text"]).filter(pl.col("text").str.contains(SWALLOWED)).select(pl.len())
    )
    if n := swallowed.collect().item():
        run.doubt(
            "quoted_texts",
            f"{n:,} text{'s' if n > 1 else ''} in {label} hold{'' if n > 1 else 's'} whole further lines, each with an id of its own: a quotation mark "
            "is opened there and not closed. The posts of those lines are lost; write the file with quotes doubled, or as JSON lines",
        )
    of_notes = snapshot.read_table(run.out, "posts", ["tweetId"]).join(
        snapshot.read_table(run.out, "notes", ["tweetId"]), on="tweetId", how="semi"
    )
    matching = run.tables["posts"]["of_known_notes"] = of_notes.select(pl.len()).collect().item()
    text = f"{matching:,} of the {n_out:,} posts in {label} belong to a note of this snapshot"
    texts = snapshot.read_table(run.out, "posts", ["text"]).select(pl.col("text").count()).collect().item()
    if not texts:
        run.doubt(
            "empty_table", f"None of the {n_out:,} posts in {label} has a text: no note will be read beside its post"
        )
    elif texts < n_out:
        run.tell(f"{n_out - texts:,} of the {n_out:,} posts in {label} have no text")
    if not matching:
        run.doubt("unmatched_posts", f"{text}: no note will be read beside its post. Compare the ids of both files")
    elif matching * 10 < n_out:
        run.tell(text)


# -- ratings -----------------------------------------------------------------------------------------------------------


def _ingest_ratings(run: _Run, shards: list[Shard]) -> None:
    """Ratings: too many for memory as text, so they pass through records of numbers (see ingest_ratings)."""
    if not shards:
        run.tell(
            "There is no ratings file: nothing can be fitted on this snapshot, only parameters or a jury taken over"
        )
    raters = RaterNumbers()
    runs = RatingRuns(run.scratch, run.settings.run_rows)
    suggestions = [snapshot.SCHEMAS["suggestions"].empty_table()]
    sources: list[str] = ["DEFAULT", "POPULATION_SAMPLED"]
    assumed: Counter[str] = Counter()
    n_in = 0
    for number, shard in enumerate(shards):
        for _, matching, block, lines in _parsed(run, "ratings", shard):
            rows = run.rejects.add_problems("ratings", shard.label, block.first_line, lines, matching)
            _known_words(run, "ratings", lines, rows)
            records = _records(run, shard.label, number, block, lines, matching, rows, raters, sources, assumed)
            runs.add(records)
            if "suggestion" in matching.kept:
                suggestions.append(_suggestions(lines, records, block.first_line))
        n_in += run.files[-1]["in"]
    _refuse_unreadable(run, "ratings", n_in, shards)
    _report_words(run, "ratings", n_in)
    _report_assumed(run, "ratings", assumed)
    n_out = snapshot.write_batches(
        run.out / "ratings.parquet",
        RATINGS_IN_MEMORY,
        _one_ahead(_rating_tables(run, runs, raters, sources, [shard.label for shard in shards])),
    )
    rejected = dict(sorted(run.rejects.by_table.get("ratings", {}).items()))
    # A few hundred thousand among hundreds of millions of ratings: they fit into memory.
    said = pl.DataFrame(pl.concat(map(pl.DataFrame, suggestions)).unique())
    if len(said):  # what came with a rating that its rater gave anew goes with it
        key = ["noteId", "raterParticipantId", "createdAtMillis"]
        kept = snapshot.read_table(run.out, "ratings", key).filter(
            pl.col("noteId").is_in(said["noteId"].unique().implode())
        )
        said = said.join(
            kept.with_columns(pl.col("raterParticipantId").cast(pl.String)).collect(engine="streaming"),
            on=key,
            how="semi",
        )
    n_suggestions = snapshot.write(run.out, "suggestions", said)
    run.tables["ratings"] = {"in": n_in, "out": n_out, "rejected": rejected}
    if n_suggestions:
        run.tables["ratings"]["suggestions"] = n_suggestions


def _records(
    run: _Run,
    label: str,
    number: int,
    block: Block,
    lines: Lines,
    matching: Matching,
    rows: np.ndarray,
    raters: RaterNumbers,
    sources: list[str],
    assumed: Counter[str],
) -> np.ndarray:
    """The good ratings of a block as records; those without a rating, and those after `as_of`, are rejected."""
    layout = lines.layout
    kept = set(matching.kept)
    # 2 helpful, 1 somewhat, 0 not helpful, -1 none
    value = np.full(lines.n_lines, -1, dtype=np.int8)
    if "helpful" in kept or "notHelpful" in kept:
        helpful = lines.flag("helpful") if "helpful" in kept else np.zeros(lines.n_lines, dtype=bool)
        not_helpful = lines.flag("notHelpful") if "notHelpful" in kept else np.zeros(lines.n_lines, dtype=bool)
        value[helpful & ~not_helpful] = 2
        value[not_helpful & ~helpful] = 0
    level = np.full(lines.n_lines, -1, dtype=np.int8)
    if "helpfulnessLevel" in kept:
        level = lines.words[layout.slot("helpfulnessLevel")]
        value = np.where(level >= 0, 2 - level, value).astype(np.int8)
    note_id = lines.integers[layout.slot("noteId")]
    if "createdAtMillis" in kept:
        created = lines.integers[layout.slot("createdAtMillis")]
    else:
        created = _time_of_id(note_id)
        assumed["createdAtMillis"] += len(rows)
    if run.as_of is not None:
        later = rows[created[rows] >= run.as_of]
        values = pa.array(created[later]).cast(pa.string())
        run.rejects.add("ratings", label, later + block.first_line, "createdAtMillis", "after_as_of", values)
        rows = rows[created[rows] < run.as_of]
    rated = value[rows] >= 0
    if not rated.all():
        none = rows[~rated]
        new = level[none] == UNKNOWN
        words = pa.repeat("", len(none) - int(new.sum()))
        run.rejects.add("ratings", label, none[~new] + block.first_line, None, "no_rating", words)
        if new.any():
            place = layout.names.index("helpfulnessLevel")
            values = [escape(lines.cell(row, place)) for row in none[new].tolist()]
            column = matching.names[place]
            run.rejects.add("ratings", label, none[new] + block.first_line, column, "unknown_helpfulness_level", values)
        rows = rows[rated]
    if "version" in kept:
        version = lines.integers[layout.slot("version")]
        version = np.where(version == MISSING, np.where(level >= 0, 2, 1), version)
        small = (version[rows] >= 0) & (version[rows] <= 127)
        if not small.all():
            wrong = rows[~small]
            column = matching.names[layout.names.index("version")]
            values = pa.array(version[wrong]).cast(pa.string())
            run.rejects.add("ratings", label, wrong + block.first_line, column, "bad_number", values)
            rows = rows[small]
    else:
        version = np.where(level >= 0, 2, 1)
        assumed["version"] += len(rows)
    # Nearly always every line is good: then columns are used as they are, without a copy.
    pick: Any = slice(None) if len(rows) == lines.n_lines else rows
    records = np.zeros(len(rows), dtype=RECORD)
    records["note_id"] = note_id[pick]
    records["created_at"] = created[pick]
    records["rated_on"] = lines.integers[layout.slot("ratedOnTweetId")][pick] if "ratedOnTweetId" in kept else MISSING
    records["line"] = rows + block.first_line
    slot = layout.slot("raterParticipantId")
    records["rater"] = raters.number(
        lines.data, lines.span_start[slot][pick], lines.span_end[slot][pick], lines.hashes("raterParticipantId")[pick]
    )
    records["tags"] = lines.ones[pick] & np.uint64((1 << len(RATING_TAGS)) - 1)
    records["file"] = number
    records["value"] = value[pick]
    records["version"] = version[pick]
    records["source"] = _source_codes(lines, rows, sources) if "ratingSourceBucketed" in kept else -1
    return records


def _suggestions(lines: Lines, records: np.ndarray, first_line: int) -> pa.Table:
    """The suggestions that came with the good ratings of a block, as rows of the snapshot's `suggestions`."""
    slot = {
        name: lines.layout.slot(name)
        for name in ("suggestion", "suggestionId", "raterParticipantId")
        if name in lines.layout.names
    }
    rows = records["line"].astype(np.int64) - first_line
    given = lines.span_end[slot["suggestion"]][rows] > lines.span_start[slot["suggestion"]][rows]

    def cells(name: str) -> list[str]:
        if name not in slot:
            return [""] * int(given.sum())
        start, end = (spans[slot[name]][rows[given]].tolist() for spans in (lines.span_start, lines.span_end))
        return [bytes(lines.data[a:b]).decode("utf-8", "replace") for a, b in zip(start, end, strict=True)]

    ids = [
        int(cell) if len(cell) <= 19 and cell.isascii() and cell.isdigit() and 0 < int(cell) < 2**63 else None
        for cell in cells("suggestionId")
    ]
    found = records[given]
    columns = {
        "noteId": pa.array(np.ascontiguousarray(found["note_id"])),
        "createdAtMillis": pa.array(np.ascontiguousarray(found["created_at"])),
        "raterParticipantId": pa.array(cells("raterParticipantId"), pa.string()),
        "suggestionId": pa.array(ids, pa.int64()),
        "suggestion": pa.array(cells("suggestion"), pa.string()),
        "helpfulness": pa.array(found["value"].astype(np.float32) / 2),
    }
    return snapshot.conform("suggestions", pa.table(columns))


def _source_codes(lines: Lines, rows: np.ndarray, sources: list[str]) -> np.ndarray:
    """Where the rating came from, as an index into `sources`, to which new names are added; -1 where empty."""
    texts = lines.texts("ratingSourceBucketed", rows).dictionary_encode()
    codes = []
    for name in texts.dictionary.to_pylist():
        if name and name not in sources:
            if len(sources) >= 100:
                raise InputError(
                    f"ratingSourceBucketed has more than 100 different values, the latest {name[:60]!r}; expected "
                    "DEFAULT or POPULATION_SAMPLED. The columns are probably shifted or swapped."
                )
            sources.append(name)
        codes.append(sources.index(name) if name else -1)
    table = np.array(codes or [-1], dtype=np.int8)
    return table[texts.indices.to_numpy(zero_copy_only=False)]


def _rating_tables(
    run: _Run, runs: RatingRuns, raters: RaterNumbers, sources: list[str], labels: list[str]
) -> Iterator[pa.Table]:
    # Numbers by first appearance depend on the order of the files; ranks among the sorted ids don't.
    ids = pl.Series(raters.ids())
    order = ids.arg_sort().to_numpy()
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    sorted_ids = ids.gather(order).to_arrow().cast(pa.large_string())
    source_order = np.argsort(np.array(sources))
    source_rank = np.empty(len(sources) + 1, dtype=np.int8)
    source_rank[source_order] = np.arange(len(sources))
    source_rank[-1] = -1
    source_names = pa.array([sources[k] for k in source_order], type=pa.string())
    ids_table = pa.table([sorted_ids.cast(pa.string())], schema=snapshot.RATER_IDS_SCHEMA)
    snapshot.write_batches(run.out / snapshot.RATER_IDS_FILE, snapshot.RATER_IDS_SCHEMA, [ids_table])
    known_notes = snapshot.read_table(run.out, "notes", ["noteId"]).collect()["noteId"].to_numpy()
    done = 0
    waiting: list[np.ndarray] = []
    n_waiting = 0
    index_sink = snapshot.writer(run.out / snapshot.RATER_INDEX_FILE, snapshot.RATER_INDEX_SCHEMA)

    def finished(records: np.ndarray) -> pa.Table:
        numbers = pa.array(np.ascontiguousarray(records["rater"]))
        index_sink.write_table(pa.table([numbers], schema=snapshot.RATER_INDEX_SCHEMA), row_group_size=size)
        return rating_table(records, sorted_ids, source_names)

    # Whole row groups, so that each has one dictionary of raters and the bytes don't depend on the buckets.
    size = snapshot.ROW_GROUP_ROWS
    for bucket in runs.buckets():
        bucket["rater"] = rank[bucket["rater"]]
        bucket["source"] = source_rank[bucket["source"]]
        kept, dropped, note_ids = sort_ratings(bucket)
        run.matched += _n_matching(kept, note_ids, known_notes)
        for number in np.unique(dropped["file"]).tolist():
            part = dropped[dropped["file"] == number]
            values = pc.binary_join_element_wise(
                pa.array(np.ascontiguousarray(part["note_id"])).cast(pa.string()),
                sorted_ids.take(pa.array(np.ascontiguousarray(part["rater"]))).cast(pa.string()),
                " ",
            )
            run.rejects.add(
                "ratings", labels[number], part["line"].astype(np.int64), "raterParticipantId", "duplicate", values
            )
        for number, n in enumerate(np.bincount(kept["file"], minlength=len(labels)).tolist()):
            run.written[labels[number]] += n
        done += len(bucket)
        run.progress("ingest: sorting ratings", done, runs.n)
        waiting.append(kept)
        n_waiting += len(kept)
        if n_waiting >= size:
            joined = np.concatenate(waiting)
            full = len(joined) // size * size
            for start in range(0, full, size):
                yield finished(joined[start : start + size])
            waiting, n_waiting = [joined[full:]], len(joined) - full
    if n_waiting:
        yield finished(np.concatenate(waiting))
    index_sink.close()


def _n_matching(ratings: np.ndarray, note_ids: np.ndarray, known: np.ndarray) -> int:
    """The number of ratings (sorted by note) whose note is among the known ones (sorted)."""
    if not len(known):
        return 0
    place = np.minimum(np.searchsorted(known, note_ids), len(known) - 1)
    bounds = np.searchsorted(ratings["note_id"], note_ids, side="left")
    counts = np.diff(bounds, append=len(ratings))
    return int(counts[known[place] == note_ids].sum())


def _one_ahead(items: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same items, the next one already being made on another thread while one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="ingest-sort") as pool:
        future = pool.submit(next, items, None)
        while (item := future.result()) is not None:
            future = pool.submit(next, items, None)
            yield item


# -- the end -----------------------------------------------------------------------------------------------------------


def _refuse_unreadable(run: _Run, name: str, n_in: int, shards: list[Shard]) -> None:
    """Stop when a required table has no lines, or when too many lines of a table could not be read."""
    if not shards:
        return
    labels = ", ".join(shard.label for shard in shards[:3]) + (" ..." if len(shards) > 3 else "")
    if n_in == 0 and name in ("notes", "ratings"):
        raise InputError(
            f"{labels} has a header but no data lines, so there are no {name}. Download the file again"
            + ("." if name == "notes" else ", or remove it to go on without ratings.")
        )
    bad = run.rejects.unreadable(name)
    limit = run.settings.max_rejected_share
    if n_in == 0 or bad <= limit * n_in:
        return
    reasons, hint = [], "compare the header with the first rows (columns may be swapped, shifted or in another unit)."
    for (table, reason, column), (n, file, line, value) in sorted(
        run.rejects.examples.items(), key=lambda item: (-item[1][0], item[0])
    ):
        if table == name and reason not in HARMLESS:
            if reason == "bad_id" and FLOAT_ID.fullmatch(value):
                hint = "these ids went through floating-point numbers, which cut their last digits; write them as integers or text from the start."
            where = f" in {column}" if column else ""
            reasons.append(f"{reason}{where}: {n:,} lines, the first {file} line {line} with {value[:60]!r}")
    raise InputError(
        f"{bad:,} of {n_in:,} data lines of {name} ({labels}) can't be read, more than ingest.max_rejected_share = "
        f"{limit:.0%} allows. {'; '.join(reasons[:4])}. Expected 64-bit ids, times in milliseconds, X's words for "
        f"ratings, classifications and statuses, and as many cells as the header has columns: {hint}"
    )


def _reconcile(run: _Run) -> None:
    """Written + rejected = line breaks counted, for every file; and ratings must be about these notes."""
    wrong = []
    for entry in run.files:
        label = entry["file"]
        entry["out"] = run.written[label]
        entry["rejected"] = dict(sorted(run.rejects.by_file.get(label, {}).items()))
        if entry["out"] + sum(entry["rejected"].values()) != entry["in"]:
            wrong.append(f"{label}: {entry['in']} lines, {entry['out']} written, {entry['rejected']} rejected")
    if wrong:
        raise RuntimeError(
            "The counts of ingest do not add up, which is a bug in it; nothing was kept. " + "; ".join(wrong)
        )
    ratings = run.tables["ratings"]["out"]
    if ratings:
        _doubt_ids(run, "ratings", "noteId")
    if ratings >= _MIN_RATINGS_TO_COMPARE:
        if run.matched == 0:
            raise InputError(
                f"None of the {ratings:,} ratings is about one of the {run.tables['notes']['out']:,} notes. Either the "
                "files belong to different downloads, or noteId and tweetId are swapped in one of them."
            )
        run.tables["ratings"]["of_known_notes"] = run.matched
        lacking = 1 - run.matched / ratings
        text = f"{ratings - run.matched:,} of {ratings:,} ratings ({lacking:.0%}) are about notes that no notes file here has"
        if lacking > _MUCH_LACKING:
            run.doubt("lacking_notes", f"{text}: more than deleted notes explain, a notes file is probably missing")
        elif lacking > 0.01:
            run.tell(f"{text}: deleted since, as a rule")


def _doubt_kept_words(run: _Run) -> None:
    """Words that X's code does not know in columns that keep what they hold."""
    for name, columns in KEPT_WORDS.items():
        for column, known in columns.items():
            words = snapshot.read_table(run.out, name, [column]).filter(
                pl.col(column).is_not_null() & ~pl.col(column).cast(pl.String).is_in(["", *known])
            )
            found = words.group_by(pl.col(column).cast(pl.String)).len().sort("len", column, descending=[True, False]).collect(engine="streaming")  # fmt: skip
            if found.height:
                shown = ", ".join(repr(word[:60]) for word in found[column].head(5)) + (
                    " ..." if found.height > 5 else ""
                )
                run.doubt(
                    "unknown_words",
                    f"{name}: {column} holds words that are not known here in {found['len'].sum():,} rows: {shown}. They were kept as they "
                    "stand, and count as none of the known ones",
                )


def _doubt_dates(run: _Run) -> None:
    """Rows that are dated after everything plausible."""
    for name in ("notes", "ratings"):
        times = snapshot.read_table(run.out, name, ["createdAtMillis"])
        newest = snapshot.newest_time(times)
        late = times.filter(pl.col("createdAtMillis") > (newest or 0)).select(pl.len(), last=pl.max("createdAtMillis"))
        n, last = late.collect(engine="streaming").row(0)
        if n:
            until, then = (datetime.fromtimestamp(t / 1000, UTC).date() for t in (newest or 0, last))
            run.doubt(
                "future_dates",
                f"{name}: {n:,} row{'s are' if n > 1 else ' is'} dated long after all others, up to {then}; the others end on {until}. "
                "No age and no window goes by them; compare their createdAtMillis with the file",
            )


def _tell_rejects(run: _Run) -> None:
    """Every reason for which lines were left out, with its number and the first of them."""
    for (table, reason, column), (n, file, line, value) in sorted(run.rejects.examples.items()):
        where = f" in {column}" if column else ""
        shown = f" with '{value[:60]}'" if value and reason not in HARMLESS else ""  # escaped already
        lines = f"{n:,} line{'s' if n > 1 else ''}"
        run.tell(f"{table}: {lines} left out, {reason}{where}; the first is {file} line {line:,}{shown}")


def _counts(run: _Run) -> dict[str, Any]:
    rejected: Counter[str] = Counter()
    for table in run.tables.values():
        rejected.update(table["rejected"])
    return {
        "in": sum(table["in"] for table in run.tables.values()),
        "out": sum(table["out"] for table in run.tables.values()),
        "rejected": dict(sorted(rejected.items())),
        "tables": run.tables,
        "files": sorted(run.files, key=lambda entry: entry["file"]),
        "notices": run.notices,
        "as_of": run.as_of,
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
