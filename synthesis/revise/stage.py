"""Stage `revise_candidates`: the writer hears the jury's predicted objections, writes again, and is judged again."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow.parquet as pq

from jury.judge.context import PostContext, read_contexts
from jury.judge.judge import Bench, PostTexts, judge, unjudged_row
from jury.judge.stage import open_bench, seat_juries, stopped_by_checks
from jury.records import Unjudged
from jury.select.select import rank_of_verdict, refused_by_gates
from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from jury.tables import SCHEMAS, write_jsonl, write_rows
from nouns.run import Run, read_rows
from nouns.stage import Counts, Tools, add_counts
from synthesis.revise.revise import (
    Ask,
    Written,
    choose_finalists,
    feedback_in_words,
    improvement,
    objections,
    training_records,
)
from synthesis.settings import CheckCandidatesSettings, DraftCandidatesSettings, ReviseCandidatesSettings


class WritingRoom(Protocol):
    """What this stage needs from the writing room. `spent`: calls and tokens so far, for the counts."""

    @property
    def spent(self) -> Mapping[str, int]: ...

    @property
    def notices(self) -> list[dict[str, str]]:
        """What the user has to know, with its level."""

    @property
    def marks(self) -> dict[str, Any]:
        """What a judging model's answers were worth in its exam; empty where none was examined."""

    def refused(self) -> dict[str, Any]:
        """How many calls for revisions gave no text, as counts; empty where all did."""

    def revise(self, asks: Sequence[Ask]) -> Written: ...

    def check(self, candidates: Path, out: Path, posts: Sequence[int]) -> None:
        """Write checks.parquet into `out` for the candidates.parquet in `candidates`."""

    def finalists(self) -> int:
        """Candidates of a post that a language model examines in the end; 0 where none is asked."""

    def examine(self, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Put rows of candidates to the model; its answers as rows of the checks table, check 'judge'."""


def revise_candidates(
    run: Run,
    settings: ReviseCandidatesSettings,
    out: Path,
    tools: Tools,
    *,
    draft_candidates: DraftCandidatesSettings | None = None,
    check_candidates: CheckCandidatesSettings | None = None,
    judge_candidates: JudgeCandidatesSettings | None = None,
    select_winners: SelectWinnersSettings | None = None,
) -> Counts:
    """Write candidates, prompts, checks, verdicts, lineage and failures (Parquet), training_records.jsonl and the calls.

    All revisions are in candidates.parquet; which of them are real improvements says lineage.parquet (`kept`). Then, where a language
    model writes, it answers the note spec's questions about the best candidates of each post, drafts and revisions alike: rows of
    checks.parquet named 'judge', also for drafts. Counted in revisions asked for: out = kept, rejected = the rest by reason.
    `tools.writer` and `tools.rater_model` stand in for the writing room and the jury (tests).
    """
    snapshot, parameters, jury = run.path("ingest"), run.path("fit_raters"), run.path("train_jury")
    clusters, candidates = run.path("cluster_notes"), run.path("draft_candidates")
    checks, verdicts, posts = run.path("check_candidates"), run.path("judge_candidates"), run.posts
    how = judge_candidates or JudgeCandidatesSettings()
    treated = read_rows(clusters, "posts", posts).filter(pl.col("eligible"))["post_id"].sort().to_list()
    contexts = read_contexts(snapshot, parameters, clusters, treated, jury)
    main, _ = seat_juries(how, jury, parameters, tools.seed)
    bench = open_bench(main, how, jury, parameters, tools.vectors, tools.rater_model) if settings.rounds else None
    writing = tools.writer
    if writing is None:
        from synthesis.revise.asks import open_writing_room

        writing = open_writing_room(
            out,
            run.with_posts(treated),
            draft_candidates or DraftCandidatesSettings(),
            check_candidates or CheckCandidatesSettings(),
            tools,
        )
    pool = _judged_pool(treated, candidates, verdicts)
    made = _Made()
    asked: Counter[int] = Counter()
    done: set[str] = set()
    for round_ in range(1, settings.rounds + 1):
        asks, before = _asks(pool, settings, round_, tools.seed, done)
        if not asks or bench is None:
            break
        tools.progress(f"round {round_}: {len(asks)} revisions", round_ - 1, settings.rounds)
        of_round: Counter[int] = Counter()
        for ask in asks:
            of_round[ask.parent["post_id"]] += ask.n
        asked.update(of_round)
        written = writing.revise(asks)
        new = _new_texts(written.candidates, pool)
        made.prompts += written.prompts
        made.failures += written.failures
        came = Counter(row["post_id"] for row in written.candidates)
        stayed = Counter(row["post_id"] for row in new)
        for post in of_round:
            lost = {"not_written": of_round[post] - came[post], "same_text": came[post] - stayed[post]}
            made.codes[post].update(lost)
        found = _check(writing, new, candidates, checks, out / f"round-{round_}", treated)
        judged = _judge(bench, contexts, new, found, how.batch)
        _enter(
            made,
            pool,
            new,
            judged,
            found,
            before,
            {ask.parent["candidate_id"]: ask.feedback for ask in asks},
            settings,
            round_,
        )
    examined = _examine(writing, pool, select_winners or SelectWinnersSettings(), made)
    _write(out, made, candidates, checks)
    total: Counts = {"in": 0, "out": 0, "rejected": {}, "training_records": 0, "examined": 0}
    kept, recorded = (
        Counter(r["post_id"] for r in made.lineage if r["kept"]),
        Counter(int(r["post_id"]) for r in made.records),
    )
    for post in treated:
        mine = {"in": asked[post], "out": kept[post], "rejected": dict(+made.codes[post])}
        mine |= {"training_records": recorded[post], "examined": examined[post]}
        add_counts(total, mine)
        tools.enter(post, mine)
    told = {"judge": writing.marks} if writing.marks else {}
    notices = {"notices": writing.notices} if writing.notices else {}
    counts = total | {"rejected": dict(sorted(total["rejected"].items()))}
    return counts | told | notices | writing.refused() | dict(sorted(writing.spent.items()))


def keys(
    run: Run,
    settings: ReviseCandidatesSettings,
    tools: Tools,
    *,
    draft_candidates: DraftCandidatesSettings | None = None,
    **also: Any,
) -> dict[int, list[Any]]:
    """Per post what its revisions rest on, besides the jury: what its drafts and its verdicts rest on, the drafts, and the calls they cost."""
    from synthesis.draft.stage import drafts_rest_on, read_items

    snapshot, parameters, clusters = run.path("ingest"), run.path("fit_raters"), run.path("cluster_notes")
    candidates, how = run.path("draft_candidates"), draft_candidates or DraftCandidatesSettings()
    treated = read_rows(clusters, "posts", run.posts).filter(pl.col("eligible"))["post_id"].sort().to_list()
    contexts = read_contexts(snapshot, parameters, clusters, treated, run.path("train_jury"))
    pool = _judged_pool(treated, candidates, run.path("judge_candidates"))
    items = {item.post.post_id: item for item in read_items(run, treated)}
    checked = read_rows(run.path("check_candidates"), "checks", run.posts).partition_by("post_id", as_dict=True)
    prompts = dict(read_rows(candidates, "prompts", run.posts).group_by("post_id").len().iter_rows())
    return {
        post: [
            contexts[post].rests_on() if post in contexts else None,
            drafts_rest_on(items[post], how, tools.seed) if post in items else None,
            [repr(pair) for pair in pool[post]],
            [repr(row) for row in checked[(post,)].rows()] if (post,) in checked else [],
            prompts.get(post, 0),
        ]
        for post in treated
    }


_Pool = dict[int, list[tuple[dict[str, Any], dict[str, Any]]]]


class _Made:
    """What the rounds have made so far."""

    def __init__(self) -> None:
        self.candidates: list[dict[str, Any]] = []
        self.prompts: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.checks: list[pl.DataFrame] = []
        self.verdicts: list[dict[str, Any]] = []
        self.lineage: list[dict[str, Any]] = []
        self.records: list[dict[str, Any]] = []
        self.codes: defaultdict[int, Counter[str]] = defaultdict(Counter)  # by post


def _judged_pool(posts: Sequence[int], candidates: Path, verdicts: Path) -> _Pool:
    """Judged candidates with their verdicts, by post."""
    rows = {row["candidate_id"]: row for row in read_rows(verdicts, "verdicts", posts).iter_rows(named=True)}
    pool: _Pool = {post: [] for post in posts}
    for row in read_rows(candidates, "candidates", posts).sort("candidate_id").iter_rows(named=True):
        verdict = rows.get(row["candidate_id"])
        if verdict is not None and verdict["unjudged_reason"] is None:
            pool[row["post_id"]].append((row, verdict))
    return pool


def _asks(
    pool: _Pool, settings: ReviseCandidatesSettings, round_: int, seed: int, done: set[str]
) -> tuple[list[Ask], dict[str, dict[str, Any]]]:
    """What to ask the writer in this round, and the parents' verdicts; a text is revised once."""
    asks: list[Ask] = []
    before: dict[str, dict[str, Any]] = {}
    for post in sorted(pool):
        for row, verdict in choose_finalists(pool[post], settings.finalists):
            name = row["candidate_id"]
            words = feedback_in_words(objections(verdict, settings), verdict)
            if name in done or not words:
                continue
            done.add(name)
            asks.append(Ask(row, words, round_, seed, settings.n))
            before[name] = dict(verdict)
    return asks, before


def _new_texts(rows: list[dict[str, Any]], pool: _Pool) -> list[dict[str, Any]]:
    """Revisions whose text the post does not have yet."""
    seen = {(post, row["text"].strip()) for post, pairs in pool.items() for row, _ in pairs}
    new = []
    for row in sorted(rows, key=lambda row: (row["post_id"], row["candidate_id"])):
        key = (row["post_id"], row["text"].strip())
        if key not in seen:
            seen.add(key)
            new.append(row)
    return new


def _check(
    writing: WritingRoom, new: list[dict[str, Any]], candidates: Path, checks: Path, scratch: Path, posts: Sequence[int]
) -> pl.DataFrame:
    scratch.mkdir()
    write_rows(scratch / "candidates.parquet", pq.read_schema(candidates / "candidates.parquet"), new)
    writing.check(scratch, scratch, posts)
    found = pl.read_parquet(scratch / "checks.parquet")
    shutil.rmtree(scratch)
    return found


def _judge(
    bench: Bench, contexts: dict[int, PostContext], new: list[dict[str, Any]], checks: pl.DataFrame, batch: int
) -> dict[str, dict[str, Any]]:
    """Verdict rows of the revisions by id. Schulze's score ranks texts among each other and is left out: null."""
    stopped = stopped_by_checks(
        pl.DataFrame({"candidate_id": [row["candidate_id"] for row in new]}, schema={"candidate_id": pl.String}), checks
    )
    by_post: dict[int, list[dict[str, Any]]] = {}
    for row in new:
        if row["candidate_id"] not in stopped:
            by_post.setdefault(row["post_id"], []).append(row)

    def waiting() -> Iterator[PostTexts]:
        for post in sorted(by_post):
            texts = [
                contexts[post].judged_candidate(
                    row["candidate_id"],
                    row["text"],
                    row["classification"],
                    row["language"],
                    row["source_note_ids"] or (),
                )
                for row in by_post[post]
            ]
            yield PostTexts(post, tuple(texts))

    judged = {
        row["candidate_id"]: row | {"score_schulze": None} for _, rows in judge(bench, waiting(), batch) for row in rows
    }
    for row in new:
        why = stopped.get(row["candidate_id"])
        if why is not None:
            judged[row["candidate_id"]] = unjudged_row(Unjudged(row["candidate_id"], why), row["post_id"])
    return judged


def _enter(
    made: _Made,
    pool: _Pool,
    new: list[dict[str, Any]],
    judged: dict[str, dict[str, Any]],
    checks: pl.DataFrame,
    before: dict[str, dict[str, Any]],
    feedback: dict[str, str],
    settings: ReviseCandidatesSettings,
    round_: int,
) -> None:
    """Enter a round's revisions into what was made, and the real improvements among them into the pool."""
    texts = {row["candidate_id"]: row for pairs in pool.values() for row, _ in pairs}
    made.checks.append(checks)
    for row in new:
        name, parent = row["candidate_id"], row["parent_id"]
        verdict = judged[name]
        kept, why = improvement(before[parent], verdict, settings)
        if kept:
            pool[row["post_id"]].append((row, verdict))
        else:
            made.codes[row["post_id"]][why] += 1
        made.candidates.append(row)
        made.verdicts.append(verdict)
        made.lineage.append(
            {
                "candidate_id": name,
                "parent_id": parent,
                "post_id": row["post_id"],
                "round": round_,
                "request_id": row["request_id"],
                "score_before": before[parent]["score_bridging_intercept"],
                "score_after": verdict.get("score_bridging_intercept"),
                "kept": kept,
                "reason": why,
                "feedback": feedback[parent],
            }
        )
        made.records += training_records(
            row["request_id"], texts[parent], before[parent], feedback[parent], row, verdict, kept
        )


def _examine(writing: WritingRoom, pool: _Pool, rules: SelectWinnersSettings, made: _Made) -> Counter[int]:
    """Put the best candidates of each post that could win to the model, all posts in one batch; how many were put, by post."""
    n = writing.finalists()
    best: list[Mapping[str, Any]] = []
    for post in sorted(pool) if n else ():
        able = [pair for pair in pool[post] if not refused_by_gates(pair[1], rules)]
        able.sort(key=lambda pair: (-rank_of_verdict(pair[1], rules), len(pair[0]["text"]), pair[0]["candidate_id"]))
        best += [row for row, _ in able[:n]]
    rows = writing.examine(best) if best else []
    if rows:
        made.checks.append(pl.DataFrame(rows, infer_schema_length=None))
    return Counter(row["post_id"] for row in best)


def _write(out: Path, made: _Made, candidates: Path, checks: Path) -> None:
    """All tables in the order of posts and ids, with the schemas of the stages whose tables they are."""

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["post_id"], row["candidate_id"]))

    write_rows(out / "candidates.parquet", pq.read_schema(candidates / "candidates.parquet"), ordered(made.candidates))
    write_rows(out / "verdicts.parquet", SCHEMAS["verdicts"], ordered(made.verdicts))
    write_rows(out / "lineage.parquet", SCHEMAS["lineage"], ordered(made.lineage))
    for name in ("prompts", "failures"):
        rows = sorted(getattr(made, name), key=lambda row: (row["post_id"], row["request_id"]))
        write_rows(out / f"{name}.parquet", pq.read_schema(candidates / f"{name}.parquet"), rows)
    found = [row for frame in made.checks for row in frame.iter_rows(named=True)]
    found.sort(key=lambda row: (row["post_id"], row["candidate_id"]))  # stable: a candidate's checks keep their order
    write_rows(out / "checks.parquet", pq.read_schema(checks / "checks.parquet"), found)
    write_jsonl(out / "training_records.jsonl", sorted(made.records, key=lambda record: int(record["post_id"])))
