"""The read model: one small index per run, built from its tables and rebuilt whenever they change.

    <workspace>/inspector/index/<run>-<fingerprint>/
        index.sqlite       one narrow row per post (filters, sorts, counts, the analysts' last word), full-text search
        candidates.arrow   every candidate with its verdict and checks, by post and rank, in small compressed batches
        notes.arrow        every note with status, parameters and ratings by side, by post
        facts.json         what the run's page shows: funnel, histograms, writers, check failures

Why two kinds of file: five million candidate rows are looked up fifty at a time and never filtered across posts. A
memory-mapped Arrow file gives the fifty in a millisecond from one batch and is written about ten times faster than as many
SQL rows; the posts, which are filtered, sorted and counted, stay in SQL. Nothing here is a source of truth: deleting the
directory loses nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from inspector.read.columns import BIN_EDGES, write_columns
from inspector.read.runs import Workspace
from nouns.decisions import text_sha256
from nouns.tables import arrow
from nouns.x import HELPFUL_AT, SIDE_EDGES

VERSION = 5
"""Part of the fingerprint: raise it when the files' content changes, and every index is built again."""

POSTS_PER_CHUNK = 2_000  # posts whose candidates are in memory at once while building
ROWS_PER_BATCH = 100  # about this many rows are decompressed to show one post
BINS = np.round(np.array(BIN_EDGES), 2)

POSTS_SQL = """
CREATE TABLE posts (
    post_id INTEGER PRIMARY KEY,
    outcome TEXT NOT NULL,           -- winner | abstained | open (not selected yet)
    reason_code TEXT, reason TEXT,
    winner_id TEXT, winner_sha256 TEXT,
    score REAL, lower REAL, upper REAL, appeal REAL,
    best_note_id INTEGER, best_score REAL,
    gain REAL,                       -- winner's score less the best existing note's
    width REAL,                      -- of the winner's interval
    worth REAL,                      -- expected value of looking: near the Helpful line, juries apart; 0 to 1
    disagreement REAL,               -- share of the further aggregators that would have chosen another text
    n_notes INTEGER NOT NULL, n_clusters INTEGER NOT NULL, n_ratings INTEGER NOT NULL,
    n_candidates INTEGER NOT NULL, n_passed INTEGER NOT NULL,
    language TEXT, story_id TEXT, created_at INTEGER,
    candidates_batch INTEGER, candidates_start INTEGER, candidates_rows INTEGER,
    notes_batch INTEGER, notes_start INTEGER, notes_rows INTEGER,
    decision TEXT, decided_by TEXT, decided_at INTEGER, decided_seq INTEGER,  -- the analysts' last word
    flagged INTEGER NOT NULL DEFAULT 0, n_analysts INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE texts (post_id INTEGER PRIMARY KEY, post_text TEXT, alt_text TEXT, quoted_text TEXT, media TEXT, author TEXT, winner_text TEXT);
CREATE TABLE note_posts (note_id INTEGER NOT NULL, post_id INTEGER NOT NULL, PRIMARY KEY (note_id, post_id)) WITHOUT ROWID;
CREATE TABLE mine (analyst TEXT NOT NULL, post_id INTEGER NOT NULL, counts INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (analyst, post_id)) WITHOUT ROWID;
CREATE TABLE projected (seq INTEGER NOT NULL, store TEXT NOT NULL);  -- newest decision seen, and of which store
INSERT INTO projected VALUES (0, '');
CREATE VIRTUAL TABLE search USING fts5(post, winner, notes, content='', tokenize='unicode61 remove_diacritics 2');
"""

INDEX_SQL = """
CREATE INDEX posts_decided ON posts (decided_seq) WHERE decided_seq IS NOT NULL;
ANALYZE;
"""


def _columns_of(table: str, *names: str, of: str = "run") -> dict[str, Any]:
    """Columns of a declared table with their types; all of them if none is named."""
    schema = pl.DataFrame(arrow(table, of).empty_table()).schema
    return {name: schema[name] for name in names or schema}


CANDIDATE_SCHEMA = _columns_of("candidates")
_IDS = {"candidate_id": pl.String, "post_id": pl.Int64}
VERDICT_SCHEMA = {
    name: kind
    for name, kind in _columns_of("verdicts").items()
    if name not in _IDS and not name.startswith(("score_", "net_helpful_"))
}
CHECKS_SCHEMA = _columns_of("checks")
CHECK = pl.Struct({name: kind for name, kind in CHECKS_SCHEMA.items() if name not in _IDS})
CANDIDATE_COLUMNS: dict[str, Any] = {
    **CANDIDATE_SCHEMA,
    **VERDICT_SCHEMA,
    "others": pl.List(pl.Float32),  # scores of the further aggregators, in the order of facts.json's "aggregators"
    "problems": pl.List(CHECK),  # checks that did not pass
    "passed": pl.List(pl.String),  # names of checks that passed
    "decided_by": pl.String,  # which gate or comparison decided (losers.parquet)
    "lost_because": pl.String,
    "status": pl.String,  # winner | judged | failed | unjudged
    "rank": pl.Int32,  # 1 is best; winner first, then judged ones by score, then the rest
}
NOTE_COLUMNS: dict[str, Any] = {
    "note_id": pl.Int64,
    "post_id": pl.Int64,
    "text": pl.String,
    "classification": pl.String,
    "created_at": pl.Int64,
    "status": pl.String,
    "cluster_id": pl.String,
    "stance": pl.String,
    "duplicate_of": pl.Int64,
    "borrowed": pl.Boolean,
    "intercept": pl.Float64,  # fitted on its ratings
    "factor1": pl.Float64,
    "note_lower": pl.Float64,
    "note_upper": pl.Float64,
    "n_ratings": pl.Int64,
    "active_rules": pl.List(pl.String),
    "sides": pl.List(
        pl.Int32
    ),  # not, somewhat, helpful on the negative side; the same in the middle; on the positive side
    **{name: dtype for name, dtype in VERDICT_SCHEMA.items() if name not in ("reasons", "aggregator", "n_jurors")},
}

Progress = Callable[[str, int, int], None]


def silent(message: str, done: int, total: int) -> None:
    """Says nothing."""


def index_path(workspace: Workspace, run_id: str) -> Path:
    """Where the index of the run's present state lies, or would lie."""
    tag = hashlib.sha256(f"{VERSION}:{workspace.fingerprint(run_id)}".encode()).hexdigest()[:12]
    return workspace.store.home / "inspector" / "index" / f"{run_id}-{tag}"


def ready(workspace: Workspace, run_id: str) -> Path | None:
    """The finished index of the run's present state, or None."""
    path = index_path(workspace, run_id)
    return path if (path / "facts.json").is_file() else None


def build_index(workspace: Workspace, run_id: str, progress: Progress = silent) -> Path:
    """Build the run's index unless it is there; older ones of the run are removed. One builder at a time per run."""
    target = index_path(workspace, run_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{run_id}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (target / "facts.json").is_file():
            return target
        scratch = Path(tempfile.mkdtemp(prefix=f".{run_id}-", dir=target.parent))
        try:
            _build(workspace, run_id, scratch, progress)
            scratch.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            os.replace(scratch, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        for old in target.parent.glob(f"{run_id}-*"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    return target


# -- reading the run's tables ---------------------------------------------------------------------------------------


def _scan(path: Path | None, name: str, schema: dict[str, Any]) -> pl.LazyFrame:
    """A table with exactly the columns of `schema`; missing columns are null, a missing table is empty."""
    file = path / name if path else None
    if file is None or not file.is_file():
        return pl.LazyFrame(schema=schema)
    frame = pl.scan_parquet(file)
    there = frame.collect_schema().names()
    return frame.select(
        (pl.col(column).cast(dtype) if column in there else pl.lit(None, dtype=dtype)).alias(column)
        for column, dtype in schema.items()
    )


def _columns(path: Path | None, name: str) -> list[str]:
    file = path / name if path else None
    return pl.scan_parquet(file).collect_schema().names() if file is not None and file.is_file() else []


def _further_aggregators(directory: Path | None) -> list[str]:
    """Names of the aggregators that scored besides the one that decided."""
    columns = _columns(directory, "verdicts.parquet")
    names = {name.removeprefix("score_") for name in columns if name.startswith("score_")}
    if directory is not None and "aggregator" in columns:
        deciding = pl.scan_parquet(directory / "verdicts.parquet").select(pl.col("aggregator").first()).collect()
        names -= set(deciding["aggregator"].to_list())
    return sorted(names)


def _post_frame(workspace: Workspace, run_id: str) -> pl.DataFrame:
    """One row per post of the run: every post of `cluster_notes`, with its selection and text where they exist."""
    directory = {stage: workspace.directory(run_id, stage) for stage in ("ingest", "cluster_notes", "select_winners")}
    posts = _scan(directory["cluster_notes"], "posts.parquet", _columns_of("clustered_posts")).collect()
    selection_schema = {
        "post_id": pl.Int64,
        "outcome": pl.String,
        "candidate_id": pl.String,
        "text": pl.String,
        "score": pl.Float64,
        "lower": pl.Float64,
        "upper": pl.Float64,
        "appeal_score": pl.Float64,
        "best_existing_note_id": pl.String,
        "best_existing_score": pl.Float64,
        "reason_code": pl.String,
        "reason": pl.String,
    }
    file = directory["select_winners"] / "selections.jsonl" if directory["select_winners"] else None
    if file is not None and file.is_file() and file.stat().st_size:
        strings = selection_schema | {"post_id": pl.String}
        selections = pl.read_ndjson(file, schema=strings).cast({"post_id": pl.Int64})
    else:
        selections = pl.DataFrame(schema=selection_schema)
    selections = selections.unique("post_id", keep="last", maintain_order=True)
    columns = _columns_of(
        "posts", "tweetId", "text", "altText", "quotedText", "mediaTypes", "author", "createdAtMillis", of="snapshot"
    )
    texts = _scan(directory["ingest"], "posts.parquet", columns).rename({"tweetId": "post_id", "text": "post_text"})
    joined = posts.join(selections, on="post_id", how="full", coalesce=True, suffix="_selected").sort("post_id")
    texts_frame = texts.unique("post_id").collect()
    joined = joined.join(texts_frame, on="post_id", how="left").sort("post_id")
    return joined.with_columns(
        pl.coalesce(
            "outcome", pl.when(pl.col("eligible").not_()).then(pl.lit("abstained")).otherwise(pl.lit("open"))
        ).alias("outcome"),
        pl.coalesce("reason_code_selected", "reason_code").alias("reason_code"),
        pl.coalesce("reason_selected", "reason").alias("reason"),
    )


class _ArrowFile:
    """Rows sorted by post, written in batches that never split a post; remembers where each post's rows are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer: Any = None
        self._sink: Any = None
        self._batch = 0
        self.places: dict[int, tuple[int, int, int]] = {}

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows sorted by post_id; posts of an earlier call must not come again."""
        table = frame.to_arrow().combine_chunks()
        if self._writer is None:
            self._sink = pa.OSFile(str(self.path), "wb")
            # LZ4 takes two thirds more room than zstd and a third of its time to read.
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(self._sink, table.schema, options=options)
        if not len(frame):
            return
        ids = frame["post_id"].to_numpy()
        starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
        ends = np.r_[starts[1:], len(ids)]
        begin = 0
        for number, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            self.places[int(ids[start])] = (self._batch, start - begin, end - start)
            last = number == len(starts) - 1
            if end - begin >= ROWS_PER_BATCH or last:
                for batch in table.slice(begin, end - begin).combine_chunks().to_batches():
                    self._writer.write_batch(batch)
                self._batch += 1
                begin = end

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._sink.close()


def _build(workspace: Workspace, run_id: str, out: Path, progress: Progress) -> None:
    progress("reading posts", 0, 1)
    posts = _post_frame(workspace, run_id)
    ids = posts["post_id"].to_numpy()
    facts: dict[str, Any] = {"run_id": run_id, "n_posts": len(posts)}
    candidates = _ArrowFile(out / "candidates.arrow")
    notes = _ArrowFile(out / "notes.arrow")
    tally = _Tally()
    aggregators = _further_aggregators(workspace.directory(run_id, "judge_candidates"))
    per_post: list[pl.DataFrame] = []
    note_words: dict[int, str] = {}
    database = sqlite3.connect(out / "index.sqlite")
    database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + POSTS_SQL)
    note_reader = _NoteReader(workspace, run_id, posts)
    for start in range(0, max(1, len(ids)), POSTS_PER_CHUNK):
        chunk = posts.slice(start, POSTS_PER_CHUNK)
        progress("indexing posts", start, len(ids))
        rows = _candidate_rows(workspace, run_id, chunk, aggregators)
        candidates.add(rows.select(list(CANDIDATE_COLUMNS)))
        tally.candidates(rows)
        per_post.append(_per_post(rows))
        note_rows = note_reader.rows(chunk)
        notes.add(note_rows)
        tally.notes(note_rows)
        database.executemany(
            "INSERT OR IGNORE INTO note_posts VALUES (?, ?)", note_rows.select("note_id", "post_id").iter_rows()
        )
        words = note_rows.group_by("post_id").agg(pl.col("text").str.join(" "))
        note_words = dict(words.iter_rows())
        _insert_texts(database, chunk, note_words)
    candidates.close()
    notes.close()
    progress("writing the index", len(ids), len(ids))
    _insert_posts(database, posts, pl.concat(per_post), candidates.places, notes.places)
    database.executescript(INDEX_SQL)
    write_columns(database, out / "columns.arrow")
    database.execute("INSERT INTO search(search) VALUES ('optimize')")
    database.commit()
    facts |= tally.facts() | {"aggregators": aggregators, "funnel": _funnel(workspace, run_id, posts, tally)}
    database.close()
    database = sqlite3.connect(out / "index.sqlite")
    database.execute("PRAGMA journal_mode=WAL")
    database.close()
    (out / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True, allow_nan=False), encoding="utf-8")


def _candidate_rows(workspace: Workspace, run_id: str, posts: pl.DataFrame, aggregators: list[str]) -> pl.DataFrame:
    """Candidates of some posts, drafted and revised ones, with verdict, checks, status and rank; sorted by post, rank."""
    directory = {
        stage: workspace.directory(run_id, stage)
        for stage in ("draft_candidates", "check_candidates", "judge_candidates", "revise_candidates", "select_winners")
    }
    low, high = (posts["post_id"].min(), posts["post_id"].max()) if len(posts) else (0, -1)
    here = pl.col("post_id").is_between(low, high)

    def both(first: str, name: str, schema: dict[str, Any]) -> pl.DataFrame:
        frames = [
            _scan(directory[stage], name, schema).filter(here).collect() for stage in (first, "revise_candidates")
        ]
        return pl.concat(frames)

    texts = both("draft_candidates", "candidates.parquet", CANDIDATE_SCHEMA).unique(
        "candidate_id", keep="last", maintain_order=True
    )
    other_columns = {f"score_{name}": pl.Float32 for name in aggregators}
    verdicts = both(
        "judge_candidates",
        "verdicts.parquet",
        {**_IDS, **VERDICT_SCHEMA, **other_columns},
    ).unique("candidate_id", keep="last", maintain_order=True)
    verdicts = verdicts.with_columns(
        (
            pl.concat_list([pl.col(name) for name in other_columns])
            if other_columns
            else pl.lit([], dtype=pl.List(pl.Float32))
        ).alias("others")
    ).drop("post_id", *other_columns)
    checks = both("check_candidates", "checks.parquet", CHECKS_SCHEMA)
    bad = pl.col("outcome") != "passed"
    by_candidate = checks.group_by("candidate_id", maintain_order=True).agg(
        pl.struct("check", "outcome", "reason", "start", "end", "principle").filter(bad).alias("problems"),
        pl.col("check").filter(~bad).alias("passed"),
    )
    lost = _columns_of("losers", "candidate_id", "post_id", "decided_by", "reason")
    losers = _scan(directory["select_winners"], "losers.parquet", lost).filter(here).collect()
    losers = losers.unique("candidate_id", keep="last").select(
        "candidate_id", "decided_by", pl.col("reason").alias("lost_because")
    )
    winners = posts.filter(pl.col("outcome") == "winner").select("candidate_id", pl.lit(True).alias("won"))
    rows = (
        texts.join(verdicts, on="candidate_id", how="left")
        .join(by_candidate, on="candidate_id", how="left")
        .join(losers, on="candidate_id", how="left")
        .join(winners, on="candidate_id", how="left")
    )
    failed = pl.col("problems").list.len().fill_null(0) > 0
    finite = [
        pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)
        for name in ("score", "lower", "upper", "factor")
    ]
    rows = rows.with_columns(*finite).with_columns(
        pl.when(pl.col("won")).then(pl.lit("winner"))
        .when(failed).then(pl.lit("failed"))
        .when(pl.col("score").is_null()).then(pl.lit("unjudged"))
        .otherwise(pl.lit("judged"))
        .alias("status")
    )  # fmt: skip
    order = pl.col("status").replace_strict(
        {"winner": 0, "judged": 1, "unjudged": 2, "failed": 3}, return_dtype=pl.Int8
    )
    rows = rows.with_columns(order.alias("order")).sort(
        ["post_id", "order", "score", "candidate_id"], descending=[False, False, True, False], nulls_last=True
    )
    return rows.with_columns(
        (pl.int_range(pl.len(), dtype=pl.Int32).over("post_id") + 1).alias("rank"),
        pl.col("problems").fill_null([]),
        pl.col("passed").fill_null([]),
        pl.col("others").fill_null([]),
    )


def _per_post(rows: pl.DataFrame) -> pl.DataFrame:
    """Counts per post, and the share of further aggregators whose best text is not the one ranked first."""
    usable = rows.filter(pl.col("status").is_in(["winner", "judged"]) & (pl.col("others").list.len() > 0))
    exploded = usable.select("post_id", "rank", "others").with_columns(
        pl.int_ranges(pl.col("others").list.len()).alias("which")
    ).explode("others", "which")  # fmt: skip
    best = (
        exploded.filter(pl.col("others").is_not_null() & pl.col("others").is_not_nan())
        .sort(["post_id", "which", "others", "rank"], descending=[False, False, True, False])
        .group_by("post_id", "which", maintain_order=True)
        .first()
    )
    split = best.group_by("post_id").agg((pl.col("rank") != 1).mean().alias("disagreement"))
    counts = rows.group_by("post_id").agg(
        pl.len().cast(pl.Int64).alias("n_candidates"),
        (pl.col("status") != "failed").sum().cast(pl.Int64).alias("n_passed"),
    )
    return counts.join(split, on="post_id", how="left")


class _NoteReader:
    """Notes of the run by post: text, status, cluster, fitted parameters, the jury's view, ratings by side.

    Everything but the jury's view is read once, reduced to the run's own notes, and kept: some 400 bytes a note. The
    ratings are streamed once and only nine counts a note remain.
    """

    def __init__(self, workspace: Workspace, run_id: str, posts: pl.DataFrame) -> None:
        directory = {
            stage: workspace.directory(run_id, stage)
            for stage in ("ingest", "fit_raters", "cluster_notes", "judge_candidates")
        }
        self.judged = directory["judge_candidates"]
        clusters = _columns_of("clusters", "post_id", "note_id", "cluster_id", "stance", "duplicate_of", "borrowed")
        members = _scan(directory["cluster_notes"], "clusters.parquet", clusters).collect()
        texts = _columns_of("notes", "noteId", "tweetId", "summary", "classification", "createdAtMillis", of="snapshot")
        of_posts = pl.col("tweetId").is_in(posts["post_id"].implode()) | pl.col("noteId").is_in(
            members["note_id"].implode()
        )
        notes = (
            _scan(directory["ingest"], "notes.parquet", texts)
            .filter(of_posts)
            .rename({"noteId": "note_id", "summary": "text", "createdAtMillis": "created_at"})
            .collect(engine="streaming")
            .unique("note_id", keep="last", maintain_order=True)
        )
        # Notes of the post itself count even where clustering left them out (posts that were never eligible).
        placed = notes.select(pl.col("tweetId").alias("post_id"), "note_id").join(
            posts.select("post_id"), on="post_id", how="semi"
        )
        wanted = pl.concat([members.select("post_id", "note_id"), placed]).unique(maintain_order=True)
        ours = pl.LazyFrame({"note_id": wanted["note_id"].unique()})

        def of_ours(stage: str, name: str, columns: dict[str, Any], renamed: dict[str, str]) -> pl.DataFrame:
            frame = _scan(directory[stage], name, columns).rename({"noteId": "note_id", **renamed})
            return frame.join(ours, on="note_id", how="semi").collect().unique("note_id", keep="last")

        status = {"noteId": pl.Int64, "currentStatus": pl.String}
        fitted = _columns_of("notes", "intercept", "factor1", "lower", "upper", "active_rules")
        fitted["noteId"] = pl.Int64
        self.notes = (
            wanted.join(members, on=["post_id", "note_id"], how="left")
            .join(notes.drop("tweetId"), on="note_id", how="left")
            .join(
                of_ours("ingest", "note_status_history.parquet", status, {"currentStatus": "status"}),
                on="note_id",
                how="left",
            )
            .join(
                of_ours("fit_raters", "notes.parquet", fitted, {"lower": "note_lower", "upper": "note_upper"}),
                on="note_id",
                how="left",
            )
            .join(_count_ratings(directory["ingest"], directory["fit_raters"], ours), on="note_id", how="left")
            .with_columns(pl.col("n_ratings").fill_null(0), pl.col("borrowed").fill_null(False))
            .sort("post_id")
        )

    def rows(self, posts: pl.DataFrame) -> pl.DataFrame:
        """Notes of consecutive posts, by post and then the highest intercept first."""
        low, high = (posts["post_id"].min(), posts["post_id"].max()) if len(posts) else (0, -1)
        view = {"note_id": pl.Int64, "post_id": pl.Int64}
        view |= {name: VERDICT_SCHEMA[name] for name in NOTE_COLUMNS if name in VERDICT_SCHEMA}
        here = pl.col("post_id").is_between(low, high)
        seen = (
            _scan(self.judged, "existing.parquet", view)
            .filter(here)
            .collect()
            .unique(["post_id", "note_id"], keep="last")
        )
        finite = [
            pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name)
            for name in ("score", "lower", "upper", "factor")
        ]
        return (
            self.notes.filter(here)
            .join(seen, on=["post_id", "note_id"], how="left")
            .with_columns(*finite)
            .sort(
                "post_id",
                pl.coalesce("intercept", "score"),
                "note_id",
                descending=[False, True, False],
                nulls_last=True,
            )
            .select(pl.col(name).cast(dtype) for name, dtype in NOTE_COLUMNS.items())
        )


def _count_ratings(snapshot: Path | None, parameters: Path | None, notes: pl.LazyFrame) -> pl.DataFrame:
    """Per note: how many ratings, and nine counts (side by side: not, somewhat, helpful) of raters with a known side."""
    raters = _scan(parameters, "raters.parquet", {"raterParticipantId": pl.String, "factor1": pl.Float64})
    factor = pl.col("factor1")
    low, high = SIDE_EDGES
    side = pl.when(factor < low).then(0).when(factor > high).then(2).otherwise(1).cast(pl.Int8)
    sides = raters.filter(factor.is_not_null()).select("raterParticipantId", side.alias("side"))
    columns = {"noteId": pl.Int64, "raterParticipantId": pl.String, "helpfulness": pl.Float32}
    ratings = (
        _scan(snapshot, "ratings.parquet", columns).rename({"noteId": "note_id"}).join(notes, on="note_id", how="semi")
    )
    level = (pl.col("helpfulness") * 2).round().cast(pl.Int8)
    cells = [
        ((pl.col("side") == s) & (level == value)).sum().cast(pl.Int32).alias(f"c{3 * s + value}")
        for s in range(3)
        for value in range(3)
    ]
    return (
        ratings.join(sides, on="raterParticipantId", how="left")
        .group_by("note_id")
        .agg(pl.len().cast(pl.Int64).alias("n_ratings"), *cells)
        .select("note_id", "n_ratings", pl.concat_list([f"c{k}" for k in range(9)]).alias("sides"))
        .collect(engine="streaming")
    )


# -- writing --------------------------------------------------------------------------------------------------------


def _insert_texts(database: sqlite3.Connection, posts: pl.DataFrame, note_words: dict[int, str]) -> None:
    columns = posts.select("post_id", "post_text", "altText", "quotedText", "mediaTypes", "author", "text")
    database.executemany("INSERT INTO texts VALUES (?, ?, ?, ?, ?, ?, ?)", columns.iter_rows())
    database.executemany(
        "INSERT INTO search (rowid, post, winner, notes) VALUES (?, ?, ?, ?)",
        (
            (post_id, " ".join(filter(None, (text, alt, quoted))), winner or "", note_words.get(post_id, ""))
            for post_id, text, alt, quoted, _, _, winner in columns.iter_rows()
        ),
    )


def _insert_posts(
    database: sqlite3.Connection,
    posts: pl.DataFrame,
    per_post: pl.DataFrame,
    candidates: dict[int, tuple[int, int, int]],
    notes: dict[int, tuple[int, int, int]],
) -> None:
    post, score, width = pl.col("post_id"), pl.col("score"), pl.col("upper") - pl.col("lower")
    won = pl.when(pl.col("outcome") == "winner")
    # What a look is worth: most where the score lies on the line within its interval, and the juries differ.
    near = (-(((score - HELPFUL_AT) / pl.max_horizontal(width / 2, 0.01)) ** 2)).exp()
    apart = ((score - pl.col("appeal_score")).abs() / 0.2).clip(0, 1).fill_null(0)
    hashes = pl.col("text").map_elements(text_sha256, return_dtype=pl.String)
    born = pl.when(post > 2**40).then((post // 2**22) + 1288834974657)  # the time in a snowflake
    counts = [pl.col(name).fill_null(0) for name in ("n_clusters", "n_ratings", "n_candidates", "n_passed")]
    rows = (
        posts.join(per_post, on="post_id", how="left")
        .join(_places("candidates", candidates), on="post_id", how="left")
        .join(_places("notes", notes), on="post_id", how="left")
        .sort("post_id")
        .select(
            "post_id", "outcome", "reason_code", "reason", "score", "lower", "upper", "disagreement", "language", "story_id",
            won.then(pl.col("candidate_id")).alias("winner_id"),
            won.then(hashes).alias("winner_sha256"),
            pl.col("appeal_score").alias("appeal"),
            pl.col("best_existing_note_id").cast(pl.Int64).alias("best_note_id"),
            pl.col("best_existing_score").alias("best_score"),
            (score - pl.col("best_existing_score")).alias("gain"),
            width.alias("width"),
            (0.7 * near + 0.3 * apart).round(4).alias("worth"),
            pl.coalesce(pl.when(pl.col("n_notes") > 0).then("n_notes"), "notes_rows", 0).alias("n_notes"),
            pl.coalesce("createdAtMillis", born).alias("created_at"),
            *counts,
            *(f"{name}_{what}" for name in ("candidates", "notes") for what in ("batch", "start")),
            pl.col("candidates_rows").fill_null(0),
            pl.col("notes_rows").fill_null(0),
        )
    )  # fmt: skip
    marks = ", ".join("?" * len(rows.columns))
    database.executemany(f"INSERT INTO posts ({', '.join(rows.columns)}) VALUES ({marks})", rows.iter_rows())


def _places(name: str, places: dict[int, tuple[int, int, int]]) -> pl.DataFrame:
    """Where each post's rows lie in an Arrow file."""
    schema = dict.fromkeys(("post_id", f"{name}_batch", f"{name}_start", f"{name}_rows"), pl.Int64)
    return pl.DataFrame([(post, *place) for post, place in places.items()], schema=schema, orient="row")


class _Tally:
    """Sums over all chunks for the run's page: small tables a chunk, added up at the end."""

    def __init__(self) -> None:
        self.parts: dict[str, list[pl.DataFrame]] = {}
        self.histograms = {name: np.zeros(len(BINS) - 1, dtype=np.int64) for name in ("candidates", "winners", "notes")}

    def _add(self, name: str, frame: pl.DataFrame) -> None:
        self.parts.setdefault(name, []).append(frame)

    def _total(self, name: str, *by: str) -> pl.DataFrame:
        return pl.concat(self.parts[name]).group_by(by).sum().sort(by)

    def candidates(self, rows: pl.DataFrame) -> None:
        self._add("status", rows.group_by("status").len())
        problems = rows.select(pl.col("problems").explode()).drop_nulls().unnest("problems")
        self._add("problems", problems.group_by("check", "outcome").len("n"))
        passed, judged = pl.col("status") != "failed", pl.col("score").is_not_null()
        by_writer = (pl.col("writer").fill_null("?"), pl.col("prompt_version").fill_null("?"))
        self._add(
            "writers",
            rows.group_by(by_writer).agg(
                pl.len().alias("n"),
                passed.sum().alias("passed"),
                judged.sum().alias("judged"),
                pl.col("score").sum(),
                (pl.col("status") == "winner").sum().alias("won"),
            ),
        )
        posts = {"drafted": pl.lit(True), "passed": passed, "judged": judged}
        self._add(
            "posts", rows.select(pl.col("post_id").filter(fits).n_unique().alias(name) for name, fits in posts.items())
        )
        for name, frame in (("candidates", rows), ("winners", rows.filter(pl.col("status") == "winner"))):
            self.histograms[name] += _histogram(frame["score"])

    def notes(self, rows: pl.DataFrame) -> None:
        self.histograms["notes"] += _histogram(rows.select(pl.coalesce("score", "intercept"))["score"])

    @property
    def posts_with(self) -> dict[str, int]:
        return pl.concat(self.parts["posts"]).sum().row(0, named=True)

    def facts(self) -> dict[str, Any]:
        mean = pl.when(pl.col("judged") > 0).then(pl.col("score") / pl.col("judged")).alias("mean_score")
        writers = self._total("writers", "writer", "prompt_version").with_columns(mean).drop("score", "judged")
        return {
            "candidates": dict(self._total("status", "status").iter_rows()),
            "problems": self._total("problems", "check", "outcome")
            .sort(-pl.col("n").cast(pl.Int64), maintain_order=True)
            .to_dicts(),
            "writers": writers.to_dicts(),
            "histograms": {name: values.tolist() for name, values in self.histograms.items()},
        }


def _histogram(scores: pl.Series) -> np.ndarray:
    values = scores.drop_nulls().to_numpy()
    return np.histogram(np.clip(values[np.isfinite(values)], BINS[0], BINS[-1] - 1e-9), bins=BINS)[0]


def _funnel(workspace: Workspace, run_id: str, posts: pl.DataFrame, tally: _Tally) -> list[dict[str, Any]]:
    """How many posts reach each step; what is lost on the way stands in `lost` by reason code."""
    finished = {stage for stage, state in workspace.stages(run_id).items() if state.manifest is not None}
    eligible = posts.filter(pl.col("eligible").fill_null(True))
    excluded = posts.filter(pl.col("eligible").fill_null(True).not_())
    steps: list[dict[str, Any]] = [{"name": "posts with notes", "n": len(posts), "lost": _by_reason(excluded)}]
    steps.append({"name": "worth a supernote", "n": len(eligible), "lost": {}})
    for stage, name, label in (
        ("draft_candidates", "drafted", "with candidates"),
        ("check_candidates", "passed", "pass the checks"),
        ("judge_candidates", "judged", "judged"),
    ):
        if stage in finished:
            steps.append({"name": label, "n": tally.posts_with[name], "lost": {}})
    if "select_winners" in finished:
        abstained = eligible.filter(pl.col("outcome") == "abstained")
        steps[-1]["lost"] = _by_reason(abstained)
        steps.append({"name": "with a winner", "n": len(posts.filter(pl.col("outcome") == "winner")), "lost": {}})
    return steps


def _by_reason(posts: pl.DataFrame) -> dict[str, int]:
    rows = posts.group_by(pl.col("reason_code").fill_null("unknown")).len().sort("reason_code").iter_rows()
    return dict(rows)


if __name__ == "__main__":
    import sys

    # A large run is indexed by a process of its own: python -m inspector.read.index WORKSPACE RUN
    place = Workspace(sys.argv[1])
    print(build_index(place, place.require(sys.argv[2]), lambda *said: print("index:", *said, file=sys.stderr)))
