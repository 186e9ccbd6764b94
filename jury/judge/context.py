"""What the jury is told beside a text: the post, its other notes, what is known of them, their ratings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from jury.judge.draw import Raters
from jury.model.features import said
from jury.records import JudgedText, Ratings, Sibling
from matrix_factorization.reading import (
    known_raters,
    notes_as_read,
    read_ratings,
    read_scale,
    scan_parameters,
    with_reading,
)
from nouns.errors import InputError
from nouns.run import read_rows
from nouns.snapshot import read_table


@dataclass(frozen=True)
class PostContext:
    """A post with all notes that stand beside a candidate for it.

    `own` are the ids of the post's own notes; the rest are borrowed from its story. `n_ratings` counts all ratings of a
    note in the snapshot, also those of raters without parameters, which `Sibling.ratings` leaves out.
    """

    post_id: int
    text: str | None
    language: str | None
    siblings: tuple[Sibling, ...]
    own: frozenset[int]
    n_ratings: dict[int, int]

    def judged_candidate(
        self,
        candidate_id: str,
        text: str,
        classification: str,
        language: str | None,
        source_note_ids: Sequence[int] = (),
    ) -> JudgedText:
        """A candidate as the jury sees it: all notes of the post are its siblings.

        A candidate that says what a note of the post says *is* that note, with the ratings it has: told of them as if they were another's, the jury
        once put copies ahead of what they were copied from.
        """
        for sibling in self.siblings:
            if (
                sibling.note_id in self.own
                and sibling.classification == classification
                and said(sibling.text) == said(text)
            ):
                # Without its sources, too: the very same question gets the very same answer.
                return replace(self.judged_note(sibling.note_id), id=candidate_id)
        return JudgedText(
            candidate_id,
            text,
            classification,
            self.post_id,
            self.text,
            language or self.language,
            self.siblings,
            tuple(source_note_ids),
        )

    def rests_on(self) -> list[Any]:
        """All of it as a value to be digested: what is said here changes exactly when the jury is told something else."""
        told: list[Any] = [self.text, self.language, sorted(self.own), sorted(self.n_ratings.items())]
        for sibling in self.siblings:
            numbers = hashlib.sha256("\n".join(sibling.ratings.rater_id).encode())
            for column in (
                sibling.ratings.intercept,
                sibling.ratings.factor,
                sibling.ratings.value,
                sibling.ratings.created_at,
            ):
                numbers.update(np.ascontiguousarray(column).tobytes())
            told.append([sibling.note_id, sibling.text, sibling.classification, sibling.intercept, sibling.factor])
            told.append([sibling.borrowed, numbers.hexdigest()])
        return told

    def judged_note(self, note_id: int) -> JudgedText:
        """An existing note as the jury sees it: its own ratings are known, its siblings are the other notes."""
        (this,) = [sibling for sibling in self.siblings if sibling.note_id == note_id]
        others = tuple(sibling for sibling in self.siblings if sibling.note_id != note_id)
        known = JudgedText(str(note_id), this.text, this.classification, self.post_id, self.text, self.language, others)
        return replace(known, own_ratings=this.ratings, published=True)


def read_contexts(
    snapshot: Path, parameters: Path, clusters: Path, posts: Sequence[int] | None, jury: Path | None = None
) -> dict[int, PostContext]:
    """The context of every post of one shard, by post id in ascending order.

    With a `jury` ratings are read with the parameters its own raters had when it was trained, and a note's parameters follow from its
    ratings by them: a day's new fit moves nothing. Raters the jury does not know are read with the run's `parameters`, brought to the
    jury's scale. Without one everything is the run's. Only the shard's notes and their ratings are read, so memory is bounded by the
    shard. A note of clusters.parquet that the snapshot no longer holds is left out.
    """
    members = read_rows(clusters, "clusters", posts).select("post_id", "note_id", "borrowed")
    members = members.unique(["post_id", "note_id"], keep="first").sort("post_id", "note_id")
    ids = members["note_id"].unique().sort()
    notes = _notes(snapshot, parameters, ids)
    rated = read_ratings(snapshot, known_raters(parameters, jury), ids)
    counts, ratings = dict(rated.group_by("noteId").len().iter_rows()), _by_note(rated)
    if jury is not None:
        notes = with_reading(notes, notes_as_read(rated, *read_scale(jury, parameters)), parameters)
    siblings = {
        note_id: Sibling(note_id, text, classification, intercept, factor, ratings.get(note_id, Ratings()))
        for note_id, text, classification, intercept, factor in notes.iter_rows()
    }
    about = _posts(snapshot, clusters, posts)
    contexts = {}
    for (post_id,), group in members.partition_by("post_id", as_dict=True, maintain_order=True).items():
        found = [
            (note, borrowed) for note, borrowed in group.select("note_id", "borrowed").iter_rows() if note in siblings
        ]
        text, language = about.get(post_id, (None, None))
        contexts[post_id] = PostContext(
            post_id,
            text,
            language,
            tuple(replace(siblings[note], borrowed=True) if borrowed else siblings[note] for note, borrowed in found),
            frozenset(note for note, borrowed in found if not borrowed),
            {note: counts.get(note, 0) for note, _ in found},
        )
    return contexts


def _notes(snapshot: Path, parameters: Path, ids: pl.Series) -> pl.DataFrame:
    notes = read_table(snapshot, "notes", ["noteId", "summary", "classification"])
    fitted = scan_parameters(parameters, "notes").select(
        "noteId", pl.col("intercept").cast(pl.Float64), pl.col("factor1").cast(pl.Float64)
    )
    frame = notes.filter(pl.col("noteId").is_in(ids.implode()))
    frame = frame.join(fitted.filter(pl.col("noteId").is_in(ids.implode())), on="noteId", how="left")
    return frame.select("noteId", "summary", "classification", "intercept", "factor1").sort("noteId").collect()


def _by_note(frame: pl.DataFrame) -> dict[int, Ratings]:
    """Ratings of each note by raters with parameters, in order of time."""
    frame = frame.drop_nulls(["intercept", "factor1"])
    note = frame["noteId"].to_numpy()
    starts = np.flatnonzero(np.diff(note, prepend=note[:1] - 1)) if len(note) else np.zeros(0, dtype=np.int64)
    ends = np.append(starts[1:], len(note)) if len(note) else starts
    rater = frame["raterParticipantId"].to_list()
    intercept, factor = frame["intercept"].to_numpy(), frame["factor1"].to_numpy()
    value, created = frame["helpfulness"].cast(pl.Float64).to_numpy(), frame["createdAtMillis"].to_numpy()
    return {
        int(note[a]): Ratings(tuple(rater[a:b]), intercept[a:b], factor[a:b], value[a:b], created[a:b])
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    }


def _posts(snapshot: Path, clusters: Path, posts: Sequence[int] | None) -> dict[int, tuple[str | None, str | None]]:
    """Text and language of each post; the language is the one `cluster_notes` settled on."""
    frame = read_rows(clusters, "posts", posts).select("post_id", "language")
    texts = read_table(snapshot, "posts", ["tweetId", "text"])
    ids = frame["post_id"]
    frame = frame.join(
        texts.filter(pl.col("tweetId").is_in(ids.implode())).collect(),
        left_on="post_id",
        right_on="tweetId",
        how="left",
    )
    return {post: (text, language) for post, text, language in frame.select("post_id", "text", "language").iter_rows()}


def read_spoken(jury: Path) -> dict[str, int] | None:
    """Notes the jury learnt from, by language; None where the jury does not tell."""
    path = Path(jury) / "jury.json"
    if not path.is_file():
        return None
    found: dict[str, int] | None = json.loads(path.read_text(encoding="utf-8")).get("languages")
    return found


def read_raters(jury: Path) -> Raters:
    """The raters a jury may be drawn from: `raters.parquet` of a trained jury, sorted by id."""
    path = Path(jury) / "raters.parquet"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes train-jury` wrote.")
    frame = pl.read_parquet(path)
    needed = {"raterParticipantId", "intercept", "factor1"}
    if missing := sorted(needed - set(frame.columns)):
        raise InputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(frame.columns)}.")
    frame = frame.drop_nulls(sorted(needed)).sort("raterParticipantId")
    n_ratings = frame["n_ratings"].fill_null(1) if "n_ratings" in frame.columns else pl.Series([1] * frame.height)
    pool = tuple(frame["pool"].fill_null("").to_list()) if "pool" in frame.columns else ()
    return Raters(
        tuple(frame["raterParticipantId"].to_list()),
        frame["intercept"].cast(pl.Float64).to_numpy(),
        frame["factor1"].cast(pl.Float64).to_numpy(),
        n_ratings.cast(pl.Int64).to_numpy(),
        pool,
    )
