"""Stage `select_winners`: per post a winner or an explained abstention, the winner heard again by a second jury."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from jury.judge.context import PostContext, read_contexts, read_spoken
from jury.judge.judge import Bench, PostTexts, judge
from jury.judge.stage import open_bench, seat_juries
from jury.model import load_jury
from jury.records import RaterModel
from jury.select.baseline import BASELINE, baseline_rows, best_of_both, read_writers
from jury.select.select import Choice, Contender, DifferenceSd, Standing, choose, hear_appeal, selection_line
from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from jury.tables import SCHEMAS, model_answers, write_jsonl, write_rows
from nouns.run import Run, read_rows
from nouns.stage import Counts, Tools

STANCES = {"misleading": "MISINFORMED_OR_POTENTIALLY_MISLEADING", "not_misleading": "NOT_MISLEADING"}


def select_winners(
    run: Run,
    settings: SelectWinnersSettings,
    out: Path,
    tools: Tools,
    *,
    judge_candidates: JudgeCandidatesSettings | None = None,
) -> Counts:
    """Write selections.jsonl (a line for every post treated), losers.parquet (a row for every other candidate) and baseline.parquet
    (a row for every post on which a language model and the extractive writer both drafted; see jury/select/baseline.py).

    Counted in posts: out = winners, rejected = abstentions by reason code. Posts are those of the shard (None: all
    eligible ones), also the ones for which nothing was drafted.
    """
    snapshot, parameters, jury = run.path("ingest"), run.path("fit_raters"), run.path("train_jury")
    clusters, candidates, checks = (run.path(s) for s in ("cluster_notes", "draft_candidates", "check_candidates"))
    verdicts, posts = run.path("judge_candidates"), run.posts
    revisions = run.path("revise_candidates") if run.has("revise_candidates") else None
    how = judge_candidates or JudgeCandidatesSettings()
    treated = read_rows(clusters, "posts", posts).filter(pl.col("eligible"))["post_id"].sort().to_list()
    contexts = read_contexts(snapshot, parameters, clusters, treated, jury)
    contenders = read_contenders(treated, candidates, checks, verdicts, revisions)
    standing = read_standing(treated, clusters, verdicts)
    spoken = read_spoken(jury)
    difference_sd = _difference_sd(contexts, lambda: tools.rater_model or load_jury(jury, "proxy", tools.vectors))
    choices = [
        choose(post, contenders.get(post, []), standing.get(post, []), settings, spoken, difference_sd(post))
        for post in treated
    ]
    writers = read_writers(treated, candidates, revisions)
    pairs = best_of_both(contenders, writers, settings)
    appeal = None
    if pairs or any(choice.winner is not None for choice in choices):
        _, draw = seat_juries(how, jury, parameters, tools.seed)
        if draw is not None:
            appeal = open_bench(draw, how, jury, parameters, tools.vectors, tools.rater_model, how.appeal_model)
    notices = _lost_to_the_model(choices, contenders, standing, writers, settings, spoken)
    heard = _second_opinion(choices, contexts, how, appeal)
    against = baseline_rows(pairs, writers, contexts, appeal, how.batch)
    lines: list[dict[str, Any]] = []
    losers: list[dict[str, Any]] = []
    codes: Counter[str] = Counter()
    for choice in choices:
        of_winner, of_standing = heard.get(choice.post_id, (None, None))
        final, appeal_score = hear_appeal(choice, of_winner, of_standing, settings)
        lines.append(selection_line(final, appeal_score))
        losers += final.losers
        if final.reason_code is not None:
            codes[final.reason_code] += 1
        rejected = {final.reason_code: 1} if final.reason_code is not None else {}
        tools.enter(choice.post_id, {"in": 1, "out": 1 - len(rejected), "rejected": rejected})
    tools.progress("selected", len(lines), len(lines))
    write_jsonl(out / "selections.jsonl", lines)
    write_rows(out / "losers.parquet", SCHEMAS["losers"], losers)
    write_rows(out / "baseline.parquet", SCHEMAS["baseline"], against)
    counts = {"in": len(lines), "out": len(lines) - sum(codes.values()), "rejected": dict(sorted(codes.items()))}
    return counts | ({"notices": notices} if notices else {})


def _lost_to_the_model(
    choices: Sequence[Choice],
    contenders: Mapping[int, Sequence[Contender]],
    standing: Mapping[int, Sequence[Standing]],
    writers: Mapping[str, str],
    settings: SelectWinnersSettings,
    spoken: Mapping[str, int] | None,
) -> list[dict[str, str]]:
    """A sentence where posts stay without a winner for which the extractive writer alone, asked about by no model, had one."""
    lost: Counter[str] = Counter()
    for choice in choices:
        drafted = contenders.get(choice.post_id, [])
        if choice.winner is not None or not any(
            c.unread or not c.examined or "judge" in c.failed_checks for c in drafted
        ):
            continue
        alone = [
            replace(c, failed_checks=tuple(x for x in c.failed_checks if x != "judge"), unread=False, examined=True)
            for c in drafted
            if writers.get(c.candidate_id) == BASELINE
        ]
        if (
            alone
            and choose(choice.post_id, alone, standing.get(choice.post_id, []), settings, spoken).winner is not None
        ):
            lost[str(choice.reason_code)] += 1
    if not lost:
        return []
    why = ", ".join(f"{code} {n}" for code, n in sorted(lost.items()))
    text = (
        f"On {sum(lost.values())} posts the extractive writer's text alone would have been chosen, and the judging model's answers left none "
        f"({why}). What its answers are worth stands in the counts of revise_candidates; check_candidates.judge = 'off' chooses without it."
    )
    return [{"level": "warned", "text": text}]


def keys(
    run: Run,
    settings: SelectWinnersSettings,
    tools: Tools,
    *,
    judge_candidates: JudgeCandidatesSettings | None = None,
) -> dict[int, list[Any]]:
    """Per post what its selection rests on, besides the jury: its notes with their ratings, every contender with its verdict, who wrote it."""
    clusters, candidates, verdicts = (run.path(s) for s in ("cluster_notes", "draft_candidates", "judge_candidates"))
    revisions = run.path("revise_candidates") if run.has("revise_candidates") else None
    treated = read_rows(clusters, "posts", run.posts).filter(pl.col("eligible"))["post_id"].sort().to_list()
    contexts = read_contexts(run.path("ingest"), run.path("fit_raters"), clusters, treated, run.path("train_jury"))
    contenders = read_contenders(treated, candidates, run.path("check_candidates"), verdicts, revisions)
    standing = read_standing(treated, clusters, verdicts)
    writers = read_writers(treated, candidates, revisions)
    return {
        post: [
            contexts[post].rests_on() if post in contexts else None,
            [[repr(entry), writers.get(entry.candidate_id)] for entry in contenders.get(post, [])],
            [repr(entry) for entry in standing.get(post, [])],
        ]
        for post in treated
    }


def read_contenders(
    posts: Sequence[int] | None, candidates: Path, checks: Path, verdicts: Path, revisions: Path | None
) -> dict[int, list[Contender]]:
    """All candidates and revisions by post, with what was found out about them, in the order of their ids."""
    dirs = [(candidates, checks, verdicts)]
    kept: dict[str, bool] = {}
    if revisions is not None and (Path(revisions) / "candidates.parquet").is_file():
        dirs.append((revisions, revisions, revisions))
        kept = dict(read_rows(revisions, "lineage", posts).select("candidate_id", "kept").iter_rows())
    by_post: dict[int, list[Contender]] = {}
    answers = model_answers(revisions, posts)
    asked = {name for name, _, _ in answers.iter_rows()}
    asked_posts = {post for _, post, _ in answers.iter_rows()}
    stopped = {name for name, _, outcome in answers.iter_rows() if outcome == "failed"}
    unread = {name for name, _, outcome in answers.iter_rows() if outcome == "unreadable"} - stopped
    for drafted, checked, judged in dirs:
        rows = {row["candidate_id"]: row for row in read_rows(judged, "verdicts", posts).iter_rows(named=True)}
        failures: dict[str, list[str]] = {}
        found = read_rows(checked, "checks", posts).filter(pl.col("check") != "judge")
        for name, check in found.filter(pl.col("outcome") != "passed").select("candidate_id", "check").iter_rows():
            failures.setdefault(name, []).append(check)
        for row in read_rows(drafted, "candidates", posts).sort("candidate_id").iter_rows(named=True):
            name = row["candidate_id"]
            if name in stopped:
                failures.setdefault(name, []).append("judge")
            by_post.setdefault(row["post_id"], []).append(
                Contender(
                    name,
                    row["text"],
                    row["classification"],
                    tuple(sorted(set(failures.get(name, ())))),
                    rows.get(name),
                    row["parent_id"],
                    kept.get(name, True),
                    row["language"],
                    tuple(row["source_note_ids"] or ()),
                    name in unread,
                    name in asked or row["post_id"] not in asked_posts,
                )
            )
    return by_post


def read_standing(posts: Sequence[int] | None, clusters: Path, verdicts: Path) -> dict[int, list[Standing]]:
    """The existing notes of each post as the jury sees them."""
    stance = {
        (post, note): STANCES[kind]
        for post, note, kind in read_rows(clusters, "clusters", posts)
        .select("post_id", "note_id", "stance")
        .iter_rows()
    }
    by_post: dict[int, list[Standing]] = {}
    for row in read_rows(verdicts, "existing", posts).sort("note_id").iter_rows(named=True):
        by_post.setdefault(row["post_id"], []).append(
            Standing(row["note_id"], stance.get((row["post_id"], row["note_id"]), STANCES["misleading"]), row)
        )
    return by_post


def _difference_sd(
    contexts: Mapping[int, PostContext], load: Callable[[], RaterModel]
) -> Callable[[int], DifferenceSd]:
    """For each post: how sure the main jury's model is of a difference. Loaded when first asked; a model that cannot say gives None."""
    loaded: list[RaterModel] = []

    def of_post(post: int) -> DifferenceSd:
        def ask(first: Contender, standing: Standing) -> float | None:
            if not loaded:
                loaded.append(load())
            says = getattr(loaded[0], "difference_sd", None)
            if says is None:
                return None
            context = contexts[post]
            candidate = context.judged_candidate(
                first.candidate_id, first.text, first.classification, first.language, first.source_note_ids
            )
            return float(says(candidate, context.judged_note(standing.note_id)))

        return ask

    return of_post


def _second_opinion(
    choices: Sequence[Choice],
    contexts: dict[int, PostContext],
    settings: JudgeCandidatesSettings,
    bench: Bench | None,
) -> dict[int, tuple[dict[str, Any], dict[str, Any] | None]]:
    """What the appeal jury says of each winner and of the best existing note beside it, by post."""
    won = [choice for choice in choices if choice.winner is not None]
    if not won or bench is None:
        return {}

    def waiting() -> Iterator[PostTexts]:
        for choice in won:
            context = contexts[choice.post_id]
            assert choice.winner is not None
            winner = choice.winner
            texts = [
                context.judged_candidate(
                    winner.candidate_id, winner.text, winner.classification, winner.language, winner.source_note_ids
                )
            ]
            if choice.best_existing is not None:
                texts.append(context.judged_note(choice.best_existing.note_id))
            yield PostTexts(choice.post_id, tuple(texts))

    return {
        post: (rows[0], rows[1] if len(rows) > 1 else None) for post, rows in judge(bench, waiting(), settings.batch)
    }
