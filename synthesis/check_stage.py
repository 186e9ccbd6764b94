"""The stage `check_candidates`: every candidate of a shard against the note spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from synthesis.check_settings import CheckCandidatesSettings
from synthesis.checks.duplicates import near_duplicates
from synthesis.checks.judge import Finalist, judge_finalists
from synthesis.checks.run import Tools, check_text, check_text_json, passed
from synthesis.checks.spec import note_spec
from synthesis.checks.support import load_nli
from synthesis.errors import InputError
from synthesis.records import CheckResult, Completion, Note, Post, TextGenerator
from synthesis.settings import DraftCandidatesSettings

__all__ = ["CHECKS_SCHEMA", "CheckedCandidate", "check_candidates", "check_post", "check_text_json"]

CHECKS_SCHEMA = pa.schema(
    [
        ("candidate_id", pa.string()),
        ("post_id", pa.int64()),
        ("check", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("principle", pa.string()),
    ]
)


@dataclass(frozen=True)
class CheckedCandidate:
    """What one candidate of a post needs for its checks."""

    candidate_id: str
    text: str
    notes: tuple[Note, ...]  # what it was written from


def check_candidates(
    out: Path,
    settings: CheckCandidatesSettings,
    *,
    snapshot: Path,
    clusters: Path,
    candidates: Path,
    posts: Sequence[int] | None = None,
    draft_settings: DraftCandidatesSettings | None = None,
    recorded: Path | None = None,
    journal: Path | None = None,
    generator: TextGenerator | None = None,
    progress: Callable[..., None] = lambda *a, **k: None,
) -> dict[str, Any]:
    """Write checks.parquet: per candidate one row for each check passed and one for each failure.

    Counted in candidates: in = candidates of these posts, out = those that passed everything, rejected by the first check that
    did not pass. Where `settings.judge` is on, the writing model that `draft_settings` name (or `generator`) answers the spec's
    questions about the finalists; its calls go to calls.jsonl.zst.
    """
    if settings.judge and generator is None:
        generator = _open_judge(draft_settings, recorded, journal, Path(out) / "calls.jsonl.zst")
    tools = Tools(nli=load_nli(settings.nli_model) if settings.nli_model else None)
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

    results: list[tuple[int, CheckResult]] = []
    calls: list[Completion] = []
    codes: Counter[str] = Counter()
    for done, post_id in enumerate(post_ids):
        progress("candidates checked", done, len(post_ids))
        mine = rows.filter(pl.col("post_id") == post_id)
        drafted = [
            CheckedCandidate(
                row["candidate_id"], row["text"] or "", tuple(notes[i] for i in row["source_note_ids"] if i in notes)
            )
            for row in mine.iter_rows(named=True)
        ]
        language = languages.get(post_id) or next((row for row in mine["language"] if row), None)
        checked, made = check_post(
            post_id,
            drafted,
            settings,
            post_text=post_texts.get(post_id),
            language=language,
            tools=tools,
            generator=generator,
            draft_settings=draft_settings,
        )
        calls += made
        for candidate in drafted:
            outcomes = checked[candidate.candidate_id]
            results += [(post_id, result) for result in outcomes]
            stopped = next((result.check for result in outcomes if result.outcome != "passed"), None)
            if stopped is not None:
                codes[stopped] += 1
    _write(Path(out) / "checks.parquet", results)
    return {
        "in": rows.height,
        "out": rows.height - sum(codes.values()),
        "rejected": dict(sorted(codes.items())),
        "note_spec": note_spec().version,
        "model_calls": len(calls),
    }


def check_post(
    post_id: int,
    candidates: Sequence[CheckedCandidate],
    settings: CheckCandidatesSettings,
    *,
    post_text: str | None = None,
    language: str | None = None,
    tools: Tools | None = None,
    generator: TextGenerator | None = None,
    draft_settings: DraftCandidatesSettings | None = None,
) -> tuple[dict[str, list[CheckResult]], list[Completion]]:
    """Results by candidate id for all candidates of one post, and the model calls made for them.

    Each text is checked alone; then near-copies among those that passed are collapsed, so that a failing text never takes a
    good one with it; then the best few (by the sum of their rubric scores, then id) are put to the judging model, if there is one.
    """
    found: dict[str, list[CheckResult]] = {}
    for c in candidates:
        found[c.candidate_id] = check_text(
            c.text,
            tuple(note.text for note in c.notes),
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
    calls: list[Completion] = []
    if settings.judge and generator is not None:
        finalists = sorted(
            (c for c in good if passed(found[c.candidate_id])),
            key=lambda c: (-_rubric_sum(found[c.candidate_id]), c.candidate_id),
        )
        asked = [
            Finalist(c.candidate_id, c.text, Post(post_id, post_text, language), c.notes, language or "en")
            for c in finalists[: settings.judge_finalists]
        ]
        answers, calls = judge_finalists(asked, generator, settings=draft_settings)
        for answer in answers:
            found[answer.candidate_id].append(answer)
    return found, calls


def _rubric_sum(results: Iterable[CheckResult]) -> float:
    return sum(float(r.reason.split()[-1]) for r in results if r.check == "rubric" and r.outcome == "passed")


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


def _open_judge(
    settings: DraftCandidatesSettings | None, recorded: Path | None, journal: Path | None, calls: Path
) -> TextGenerator:
    backend = settings.backend if settings else "none"
    if settings is None or backend == "extractive":
        raise InputError(
            f"settings.check_candidates.judge = true needs a writing model that can answer questions; the back end is {backend!r}. "
            "Set settings.draft_candidates.backend to a language model, or judge = false."
        )
    from synthesis.generation import open_generator

    return open_generator(settings, recorded=recorded, journal=journal, calls=calls)


def _write(path: Path, results: list[tuple[int, CheckResult]]) -> None:
    columns: dict[str, list] = {name: [] for name in CHECKS_SCHEMA.names}
    for post_id, result in results:
        columns["post_id"].append(post_id)
        for name, value in asdict(result).items():
            columns[name].append(value)
    pq.write_table(pa.table(columns, schema=CHECKS_SCHEMA), path, compression="zstd", row_group_size=100_000)
