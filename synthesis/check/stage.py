"""The stage `check_candidates`: every candidate of a shard against the note spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from nouns.post import CheckResult, Note
from nouns.run import Run, read_rows
from nouns.snapshot import read_table
from nouns.stage import Counts, Tools
from nouns.tables import arrow
from synthesis.check.check import Tools as CheckTools
from synthesis.check.check import check_text, check_text_json, passed
from synthesis.check.duplicates import near_duplicates
from synthesis.check.support import load_nli
from synthesis.settings import CheckCandidatesSettings
from synthesis.spec import note_spec

__all__ = ["CHECKS_SCHEMA", "CheckedCandidate", "check_candidates", "check_post", "check_text_json"]

CHECKS_SCHEMA = arrow("checks")


@dataclass(frozen=True)
class CheckedCandidate:
    """What one candidate of a post needs for its checks."""

    candidate_id: str
    text: str
    notes: tuple[Note, ...]  # what it was written from


def check_candidates(
    run: Run,
    settings: CheckCandidatesSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write checks.parquet: per candidate one row for each check passed and one for each failure.

    Counted in candidates: in = candidates of these posts, out = those that passed everything, rejected by the first check that
    did not pass. No model is called here: what only a model can judge is asked after the jury's verdict and the revisions, about the
    finalists alone (`synthesis/judge/judge.py`).
    """
    snapshot, clusters = run.path("ingest"), run.path("cluster_notes")
    candidates, posts = run.path("draft_candidates"), run.posts
    checking = CheckTools(nli=load_nli(settings.nli_model) if settings.nli_model else None)
    table = pl.scan_parquet(Path(candidates) / "candidates.parquet")
    if posts is not None:
        table = table.filter(pl.col("post_id").is_in([int(post) for post in posts]))
    rows = (
        table.select("candidate_id", "post_id", "text", "language", "source_note_ids")
        .sort("post_id", "candidate_id")
        .collect()
    )
    notes = _notes(Path(snapshot), {int(i) for ids in rows["source_note_ids"] for i in ids})
    post_ids = rows["post_id"].unique(maintain_order=True).to_list()
    post_texts = _post_texts(Path(snapshot), post_ids)
    languages = _languages(Path(clusters), post_ids)
    own_notes = _own_notes(Path(snapshot), post_ids)

    results: list[tuple[int, CheckResult]] = []
    codes: Counter[str] = Counter()
    for done, post_id in enumerate(post_ids):
        tools.progress("candidates checked", done, len(post_ids))
        mine = rows.filter(pl.col("post_id") == post_id)
        drafted = [
            CheckedCandidate(
                row["candidate_id"], row["text"] or "", tuple(notes[i] for i in row["source_note_ids"] if i in notes)
            )
            for row in mine.iter_rows(named=True)
        ]
        language = languages.get(post_id) or next((row for row in mine["language"] if row), None)
        checked = check_post(
            post_id,
            drafted,
            settings,
            post_text=post_texts.get(post_id),
            language=language,
            tools=checking,
            own_notes=[text for text, _ in own_notes.get(post_id, ())],
            received=[text for text, found_helpful in own_notes.get(post_id, ()) if found_helpful],
        )
        for candidate in drafted:
            outcomes = checked[candidate.candidate_id]
            results += [(post_id, result) for result in outcomes]
            stopped = next((result.check for result in outcomes if result.outcome != "passed"), None)
            if stopped is not None:
                codes[stopped] += 1
            rejected = {stopped: 1} if stopped is not None else {}
            tools.enter(post_id, {"in": 1, "out": 1 - len(rejected), "rejected": rejected})
    _write(Path(out) / "checks.parquet", results)
    return {
        "in": rows.height,
        "out": rows.height - sum(codes.values()),
        "rejected": dict(sorted(codes.items())),
        "note_spec": note_spec().version,
    }


def keys(run: Run, settings: CheckCandidatesSettings, tools: Tools) -> dict[int, list[Any]]:
    """Per post what its checks rest on: the candidates, the notes they rest on, the post's text, language and own notes."""
    table = read_rows(run.path("draft_candidates"), "candidates", run.posts).sort("post_id", "candidate_id")
    rows = table.select("candidate_id", "post_id", "text", "language", "source_note_ids")
    notes = _notes(run.path("ingest"), {int(i) for ids in rows["source_note_ids"] for i in ids})
    posts = list(run.posts) if run.posts is not None else rows["post_id"].unique().to_list()
    texts, languages = _post_texts(run.path("ingest"), posts), _languages(run.path("cluster_notes"), posts)
    own = _own_notes(run.path("ingest"), posts)
    found: dict[int, list[Any]] = {
        post: [texts.get(post), languages.get(post), [list(entry) for entry in own.get(post, [])]] for post in posts
    }
    for name, post, text, language, sources in rows.iter_rows():
        told = [[i, notes[i].text, notes[i].post_id] for i in sources if i in notes]
        found[post].append([name, text, language, list(sources), told])
    return found


def check_post(
    post_id: int,
    candidates: Sequence[CheckedCandidate],
    settings: CheckCandidatesSettings,
    *,
    post_text: str | None = None,
    language: str | None = None,
    tools: CheckTools | None = None,
    own_notes: Sequence[str] = (),
    received: Sequence[str] = (),
) -> dict[str, list[CheckResult]]:
    """Results by candidate id for all candidates of one post.

    Each text is checked alone; then near-copies among those that passed are collapsed, so that a failing text never takes a
    good one with it.
    """
    found: dict[str, list[CheckResult]] = {}
    for c in candidates:
        found[c.candidate_id] = check_text(
            c.text,
            tuple(note.text for note in c.notes),
            lent=tuple(note.post_id != post_id for note in c.notes),
            own_notes=own_notes,
            received=received,
            post_text=post_text,
            language=language,
            settings=settings,
            candidate_id=c.candidate_id,
            tools=tools,
        )
    good = [c for c in candidates if passed(found[c.candidate_id])]
    try:
        copies = near_duplicates([c.text for c in good], [c.candidate_id for c in good], settings.duplicate_similarity)
        for c in good:
            kept = copies.get(c.candidate_id)
            reason = f"Says nearly the same as candidate {kept}." if kept else ""
            found[c.candidate_id].append(
                CheckResult(
                    c.candidate_id,
                    "duplicates",
                    "failed" if kept else "passed",
                    reason,
                    principle="duplicates.collapse",
                )
            )
    except Exception as error:
        for c in good:
            found[c.candidate_id].append(
                CheckResult(
                    c.candidate_id,
                    "duplicates",
                    "unreadable",
                    f"{type(error).__name__}: {str(error)[:200]}",
                    principle="duplicates.collapse",
                )
            )
    return found


def _notes(snapshot: Path, note_ids: set[int]) -> dict[int, Note]:
    table = (
        pl.scan_parquet(snapshot / "notes.parquet")
        .filter(pl.col("noteId").is_in(sorted(note_ids)))
        .select("noteId", "tweetId", "summary", "classification")
        .collect()
    )
    return {
        int(note): Note(int(note), int(post), text or "", kind or "") for note, post, text, kind in table.iter_rows()
    }


RECEIVED, MIN_RATINGS = 0.6, 5
"""Mean rating (0 to 1) and number of ratings from which on a note counts as one that raters found helpful."""


def _own_notes(snapshot: Path, post_ids: list[int]) -> dict[int, list[tuple[str, bool]]]:
    """The texts of a post's own notes, whatever they say of it, and whether raters found them helpful."""
    everything = pl.scan_parquet(snapshot / "notes.parquet").select("tweetId", "noteId", "summary")
    notes = everything.filter(pl.col("tweetId").is_in(post_ids)).drop_nulls().sort("tweetId", "noteId").collect()
    ids = notes["noteId"].sort()
    found: dict[int, list[tuple[str, bool]]] = {}
    if not len(ids):
        return found
    # The range lets Parquet skip row groups by their statistics; the table is sorted by noteId.
    mine = pl.col("noteId").is_between(ids[0], ids[-1]) & pl.col("noteId").is_in(ids.implode())
    ratings = read_table(snapshot, "ratings", ["noteId", "helpfulness"]).filter(mine).drop_nulls()
    received = ratings.group_by("noteId").agg(pl.col("helpfulness").mean(), pl.len()).collect()
    helpful = {int(note) for note, mean, n in received.iter_rows() if n >= MIN_RATINGS and mean >= RECEIVED}
    for post, note, text in notes.iter_rows():
        found.setdefault(post, []).append((text, note in helpful))
    return found


def _post_texts(snapshot: Path, post_ids: list[int]) -> dict[int, str]:
    path = snapshot / "posts.parquet"
    if not path.exists():
        return {}
    table = pl.scan_parquet(path).filter(pl.col("tweetId").is_in(post_ids)).select("tweetId", "text").collect()
    return {int(post): text for post, text in table.iter_rows() if text}


def _languages(clusters: Path, post_ids: list[int]) -> dict[int, str]:
    table = (
        pl.scan_parquet(clusters / "posts.parquet")
        .filter(pl.col("post_id").is_in(post_ids))
        .select("post_id", "language")
        .collect()
    )
    return {int(post): language for post, language in table.iter_rows() if language}


def _write(path: Path, results: list[tuple[int, CheckResult]]) -> None:
    columns: dict[str, list] = {name: [] for name in CHECKS_SCHEMA.names}
    for post_id, result in results:
        columns["post_id"].append(post_id)
        for name, value in asdict(result).items():
            columns[name].append(value)
    pq.write_table(pa.table(columns, schema=CHECKS_SCHEMA), path, compression="zstd", row_group_size=100_000)
