"""Stage `learn_outcomes`: how judged notes and published supernotes were really received, from a later snapshot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from feedback.pairs import versions
from feedback.pairs.pairs import similarity
from feedback.settings import LearnOutcomesSettings
from jury.tables import read_jsonl, write_jsonl, write_rows
from nouns.notices import notice
from nouns.run import Run
from nouns.snapshot import looks_lost, read_table
from nouns.stage import Counts, Tools
from nouns.tables import arrow

OUTCOMES, OUTCOME_PAIRS = arrow("outcomes"), arrow("outcome_pairs")

HELPFUL = "CURRENTLY_RATED_HELPFUL"


def learn_outcomes(
    run: Run,
    settings: LearnOutcomesSettings,
    out: Path,
    tools: Tools,
) -> Counts:
    """Write outcomes.parquet, pairs.parquet, withdrawals.jsonl and report.json.

    `snapshot` and `parameters` are the *later* ones, the rest is of the run that judged. Counted in judged texts (existing notes and
    winners): out = those with enough later ratings, rejected: not_published, deleted, too_few_ratings. Where so many judged notes
    are gone that the later snapshot looks incomplete, they count as `lost`, no winner is withdrawn for them, and a notice warns.
    """
    snapshot, parameters = run.other().path("ingest"), run.other().path("fit_raters")
    existing = run.table("judge_candidates", "existing").filter(pl.col("unjudged_reason").is_null())
    lines = read_jsonl(run.path("select_winners") / "selections.jsonl")
    winners = {int(line["post_id"]): line for line in lines if line["outcome"] == "winner"}
    posts = sorted(set(existing["post_id"].to_list()) | set(winners))
    notes = _later_notes(snapshot, parameters, posts)
    codes: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    by_id = {row["noteId"]: row for row in notes.iter_rows(named=True)}
    alive = _alive(snapshot)
    judged = existing["note_id"].unique().to_numpy()
    lost = looks_lost(judged, judged[~np.isin(judged, list(alive))])
    for row in existing.sort("post_id", "note_id").iter_rows(named=True):
        later = by_id.get(row["note_id"])
        new = None if later is None else (later["n_ratings"] or 0) - (row["n_ratings"] or 0)
        if later is None:
            codes["lost" if lost else "deleted"] += 1
        elif later["intercept"] is None or (new or 0) < settings.minimum_ratings:
            codes["too_few_ratings"] += 1
        else:
            rows.append(_outcome(f"note-{row['note_id']}", "existing", later, row, row["n_ratings"] or 0))
    of_post: dict[int, list[dict[str, Any]]] = {}
    for later in notes.iter_rows(named=True):
        of_post.setdefault(later["tweetId"], []).append(later)
    for post, line in sorted(winners.items()):
        found = [
            note
            for note in of_post.get(post, ())
            if similarity(note["summary"], line["text"]) >= settings.match_similarity
        ]
        if not found:
            codes["not_published"] += 1
            continue
        best = max(found, key=lambda note: (similarity(note["summary"], line["text"]), -note["noteId"]))
        if best["intercept"] is None or (best["n_ratings"] or 0) < settings.minimum_ratings:
            codes["too_few_ratings"] += 1
            continue
        rows.append(_outcome(line["candidate_id"], "winner", best, line | {"post_id": post}, 0))
    pairs = outcome_pairs(rows, by_id, settings)
    drafted = run.with_posts(posts).candidates().select("candidate_id", "source_note_ids")
    sources = {name: list(notes or ()) for name, notes in drafted.iter_rows()}
    if lost:  # nothing is withdrawn for a source that is only missing
        alive |= {note for notes_of in sources.values() for note in notes_of}
    gone = withdrawals(winners, sources, alive, of_post)
    write_rows(out / "outcomes.parquet", OUTCOMES, rows)
    write_rows(out / "pairs.parquet", OUTCOME_PAIRS, pairs)
    write_jsonl(out / "withdrawals.jsonl", gone)
    series = versions.series_of(snapshot, run.path("ingest") if run.has("ingest") else None, posts)
    report = drift(rows, pairs, settings) | {
        "versions": versions.report(series),
        "withdrawals": dict(sorted(Counter(line["reason_code"] for line in gone).items())),
    }
    (out / "report.json").write_text(
        json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8"
    )
    tools.progress("outcomes read", len(rows), len(rows))
    return {
        "in": existing.height + len(winners),
        "out": len(rows),
        "rejected": dict(sorted(codes.items())),
        "pairs": len(pairs),
        "withdrawals": len(gone),
        "notices": [
            notice(
                "warned",
                "learn_outcomes",
                f"{lost}. The later snapshot looks incomplete: what is gone from it counts as lost, not as deleted. Fetch that "
                "day again, and see `supernotes diff`",
            )
        ]
        if lost
        else [],
    }


def _outcome(text_id: str, kind: str, later: dict[str, Any], judged: dict[str, Any], before: int) -> dict[str, Any]:
    predicted = judged.get("score_bridging_intercept", judged.get("score"))
    lower, upper = judged["lower"], judged["upper"]
    covered = None if lower is None or upper is None else bool(lower <= later["intercept"] <= upper)
    return {
        "text_id": text_id,
        "post_id": judged["post_id"],
        "kind": kind,
        "note_id": later["noteId"],
        "predicted": predicted,
        "lower": lower,
        "upper": upper,
        "real": later["intercept"],
        "n_ratings": later["n_ratings"],
        "n_ratings_before": before,
        "covered": covered,
        "status": later["currentStatus"],
    }


def outcome_pairs(
    rows: Sequence[dict[str, Any]], notes: dict[int, dict[str, Any]], settings: LearnOutcomesSettings
) -> list[dict[str, Any]]:
    """Pairs of texts on one post whose real intercepts differ by at least `minimum_gap`, and whether the jury had foreseen it."""
    made = []
    by_post: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_post.setdefault(row["post_id"], []).append(row)
    for post in sorted(by_post):
        ranked = sorted(by_post[post], key=lambda row: (-row["real"], row["text_id"]))
        for i, better in enumerate(ranked):
            for worse in ranked[i + 1 :]:
                gap = better["real"] - worse["real"]
                texts = [notes[row["note_id"]]["summary"] for row in (better, worse)]
                if gap < settings.minimum_gap or texts[0].strip() == texts[1].strip():
                    continue
                foreseen = better["predicted"] - worse["predicted"]
                made.append(
                    {
                        "pair_id": f"{post}-{better['text_id']}-{worse['text_id']}",
                        "post_id": post,
                        "chosen_id": better["text_id"],
                        "rejected_id": worse["text_id"],
                        "chosen": texts[0],
                        "rejected": texts[1],
                        "real_chosen": better["real"],
                        "real_rejected": worse["real"],
                        "real_gap": gap,
                        "predicted_gap": foreseen,
                        "jury_agreed": None if foreseen == 0 else foreseen > 0,
                        "label_source": "outcome",
                    }
                )
    return made


def withdrawals(
    winners: dict[int, dict[str, Any]],
    sources: dict[str, list[int]],
    alive: set[int],
    of_post: dict[int, list[dict[str, Any]]],
) -> list[dict[str, Any]]:
    """Winners that should no longer be shown or trained on: a source was deleted, or another note of the post became Helpful."""
    said = []
    for post, line in sorted(winners.items()):
        missing = [note for note in sources.get(line["candidate_id"], ()) if note not in alive]
        helpful = [
            note["noteId"]
            for note in of_post.get(post, ())
            if note["currentStatus"] == HELPFUL and similarity(note["summary"], line["text"]) < 0.9
        ]
        if missing:
            code, reason = (
                "source_note_deleted",
                f"Its source note {missing[0]} is gone from X's files, as deleted notes are.",
            )
        elif helpful:
            code, reason = "note_became_helpful", f"Note {helpful[0]} of the post is rated Helpful now."
        else:
            continue
        said.append({"post_id": str(post), "candidate_id": line["candidate_id"], "reason_code": code, "reason": reason})
    return said


def drift(
    rows: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]], settings: LearnOutcomesSettings
) -> dict[str, Any]:
    """How far the jury was off: mean error, its spread, coverage of the 90 % intervals, order foreseen, winners that became Helpful."""
    error = np.array([row["predicted"] - row["real"] for row in rows])
    covered = [row["covered"] for row in rows if row["covered"] is not None]
    agreed = [pair["jury_agreed"] for pair in pairs if pair["jury_agreed"] is not None]
    won = [row for row in rows if row["kind"] == "winner"]
    bias = None if not len(error) else round(float(error.mean()), 6)
    half = None if len(error) < 2 else 1.96 * float(error.std(ddof=1)) / len(error) ** 0.5
    return {
        "texts": len(rows),
        "mean_error": bias,
        "mean_error_half_width": None if half is None else round(half, 6),
        "rmse": None if not len(error) else round(float(np.sqrt((error**2).mean())), 6),
        "coverage_90": None if not covered else round(float(np.mean(covered)), 6),
        "pairs": len(pairs),
        "order_foreseen": None if not agreed else round(float(np.mean(agreed)), 6),
        "winners_published": len(won),
        "winners_helpful": sum(row["real"] >= settings.helpful_bar for row in won),
        # Drift is said only where the mean error is surely larger than the alarm: a few notes prove nothing.
        "drift": bool(bias is not None and half is not None and abs(bias) - half > settings.drift_alarm),
    }


def _later_notes(snapshot: Path, parameters: Path, posts: Sequence[int]) -> pl.DataFrame:
    """The posts' notes in the later snapshot with text, status, intercept and number of ratings."""
    notes = read_table(snapshot, "notes", ["noteId", "tweetId", "summary"]).filter(pl.col("tweetId").is_in(list(posts)))
    status = read_table(snapshot, "note_status_history", ["noteId", "currentStatus"])
    counts = (
        read_table(snapshot, "ratings", ["noteId"]).group_by("noteId").agg(pl.len().cast(pl.Int64).alias("n_ratings"))
    )
    fitted = pl.scan_parquet(Path(parameters) / "notes.parquet").select("noteId", pl.col("intercept").cast(pl.Float64))
    frame = (
        notes.join(status, on="noteId", how="left")
        .join(fitted, on="noteId", how="left")
        .join(counts, on="noteId", how="left")
    )
    return frame.unique("noteId", keep="first").sort("tweetId", "noteId").collect()


def _alive(snapshot: Path) -> set[int]:
    return set(read_table(snapshot, "notes", ["noteId"]).collect()["noteId"].to_list())
