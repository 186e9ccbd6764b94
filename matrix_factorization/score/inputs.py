"""A snapshot's tables as the arrays the scoring flow works on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from matrix_factorization.kernels import building
from matrix_factorization.kernels.threads import Workers
from matrix_factorization.model.ratings import RatingTable, pack_values, table_of_columns
from matrix_factorization.score.flow import NoteFacts, RatingEvents
from matrix_factorization.score.statuses import HELPFUL, STATUSES
from nouns import snapshot as tables
from nouns.errors import InputError


def rating_events(snapshot: Path) -> RatingEvents:
    """All ratings of a snapshot, by note and time."""
    dense = tables.dense_ratings(snapshot)
    return RatingEvents(
        dense.note_ids, pl.Series("raterParticipantId", dense.rater_ids), dense.note_index, dense.rater_index, dense.value, dense.created_at
    )  # fmt: skip


def table_of_snapshot(snapshot: Path, threads: int | None = None) -> RatingTable:
    """The rating table of a snapshot without the times of `rating_events`: at most 20 bytes of memory a rating on the way, 8 at the end.

    Row groups are read side by side (`threads=None`: one for each processor allowed). Raises `InputError` if the ratings are missing or not sorted by note.
    """
    path = snapshot / "ratings.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes ingest` wrote.")
    with Workers(threads) as workers, ThreadPoolExecutor(workers.threads) as pool:
        raters = pool.submit(tables.rater_indices, snapshot, pq.read_metadata(path).num_rows)
        note_ids, packed = _notes_of_ratings(path, pool)
        rater_ids, rater_index = raters.result()
        columns = [rater_index.view(np.uint32), packed]
        del rater_index, packed, raters  # `table_of_columns` frees them on the way
        return table_of_columns(columns, True, note_ids, pl.Series("raterParticipantId", rater_ids), False, workers)


def _notes_of_ratings(path: Path, pool: ThreadPoolExecutor) -> tuple[np.ndarray, np.ndarray]:
    """(distinct note ids, `note_index << 2 | code` of every rating) of a ratings table sorted by note."""
    layout = pq.read_metadata(path)
    ends = np.cumsum([0] + [layout.row_group(k).num_rows for k in range(layout.num_row_groups)])
    packed = np.empty(layout.num_rows, np.uint32)
    unsorted = f"{path} is not sorted by noteId; write it with `nouns.snapshot.write`."

    def read(group: int) -> np.ndarray:
        rows = pq.ParquetFile(path).read_row_group(group, columns=["noteId", "helpfulness"], use_threads=False)
        part = packed[ends[group] : ends[group + 1]]
        ids = building.number_runs(rows.column("noteId").to_numpy(), part)
        if len(ids) == 0 and len(part):
            raise InputError(unsorted)
        with Workers(1) as alone:
            pack_values(part, rows.column("helpfulness").to_numpy(), part, alone)
        return ids

    pieces: list[np.ndarray] = []
    count, last = 0, -1
    for group, ids in enumerate(pool.map(read, range(layout.num_row_groups))):
        if len(ids) == 0:
            continue
        if ids[0] < last:
            raise InputError(unsorted)
        goes_on = int(ids[0] == last)  # a note that began in the group before keeps its number
        packed[ends[group] : ends[group + 1]] += np.uint32((count - goes_on) << 2)
        pieces.append(ids[goes_on:])
        count, last = count + len(ids) - goes_on, ids[-1]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64), packed


def no_ratings() -> RatingEvents:
    empty = np.zeros(0, np.int64)
    return RatingEvents(
        empty, pl.Series("raterParticipantId", [], dtype=pl.String), empty, empty, np.zeros(0, np.float32), empty
    )


def note_facts(snapshot: Path, events: RatingEvents) -> NoteFacts:
    """Stance, age, first status and author of each note of the events, from `notes` and `note_status_history`.

    The author and creation time stand in both tables; a deleted note is only in the history.
    """
    wanted = pl.DataFrame({"noteId": events.note_ids}, schema={"noteId": pl.Int64})
    notes = tables.read_table(
        snapshot, "notes", ["noteId", "tweetId", "classification", "noteAuthorParticipantId", "createdAtMillis"]
    ).collect()
    history = tables.read_table(
        snapshot,
        "note_status_history",
        [
            "noteId",
            "noteAuthorParticipantId",
            "createdAtMillis",
            "currentStatus",
            "lockedStatus",
            "timestampMillisOfFirstNonNMRStatus",
        ],
    ).collect()
    joined = wanted.join(notes.unique("noteId", keep="first"), on="noteId", how="left", maintain_order="left").join(
        history.unique("noteId", keep="first"), on="noteId", how="left", maintain_order="left", suffix="_history"
    )
    authors = joined.select(
        pl.coalesce("noteAuthorParticipantId", "noteAuthorParticipantId_history").alias("raterParticipantId")
    )
    raters = pl.DataFrame({"raterParticipantId": events.rater_ids, "index": np.arange(len(events.rater_ids))})
    author = authors.join(raters, on="raterParticipantId", how="left", maintain_order="left")["index"].fill_null(-1)
    # X writes -1 for "never had a status".
    status_at = joined["timestampMillisOfFirstNonNMRStatus"]
    return NoteFacts(
        misleading=(joined["classification"].fill_null("") != tables.NOT_MISLEADING).to_numpy(),
        created_at=_float(joined.select(pl.coalesce("createdAtMillis", "createdAtMillis_history")).to_series()),
        status_at=_float(joined.select(pl.when(status_at > 0).then(status_at)).to_series()),
        author=author.to_numpy().astype(np.int64),
        was_helpful=(joined["currentStatus"].fill_null("") == HELPFUL).to_numpy(),
        locked=np.select([joined["lockedStatus"].fill_null("") == name for name in STATUSES], range(len(STATUSES)), -1),
        post=joined.select(pl.coalesce("tweetId", -pl.col("noteId"))).to_series().to_numpy(),
    )


def _float(series: pl.Series) -> np.ndarray:
    return series.cast(pl.Float64).fill_null(float("nan")).to_numpy()
