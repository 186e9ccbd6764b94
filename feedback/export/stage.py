"""Stage `export`: what a run learned, as a dataset folder for training tools, and the publication file."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.export import card
from feedback.export.copies import copies_in_train, text_id
from feedback.export.folder import ConfigWriter, is_test, write_checksums
from feedback.export.layouts import (
    FROM_LABELS,
    FROM_PAIRS,
    FROM_TIES,
    SCHEMAS,
    WITH_PROMPT,
    assistant,
    schema_of,
    to_arrow,
)
from feedback.export.lengths import Lengths, enough, write_lengths
from feedback.export.metadata import croissant, write_folder_cards
from feedback.export.redaction import PostText, beside_notes, notes_in, spoken
from feedback.export.responses import responses
from feedback.pairs.stage import decisions_that_count, read_history, read_rules
from feedback.pairs.versions import Version, contradictory, feedback_on, gain_of_intercept, prompt_for, series_of
from feedback.settings import ExportSettings
from jury.settings import JudgeCandidatesSettings
from jury.tables import read_jsonl, write_jsonl
from nouns.decisions import Decision, HeldText, Published, Rules, Withheld, publishable
from nouns.errors import InputError
from nouns.run import Run, read_rows
from nouns.snapshot import read_table
from nouns.stage import Counts, Tools
from synthesis.draft.prompts import ReplyForm, as_reply, reply_form
from synthesis.revise.revise import OBJECTIONS
from synthesis.settings import DraftCandidatesSettings
from texts.note import find_urls

ROWS_AT_ONCE = 10_000
POSTS_AT_ONCE = 500

_TEXTS = ("chosen", "rejected", "text", "text_a", "text_b", "completions", "response", "improved", "draft", "answer")
"""Columns with words a writer may have taken from the post."""


def export(
    run: Run,
    settings: ExportSettings,
    out: Path,
    tools: Tools,
    *,
    draft_candidates: DraftCandidatesSettings | None = None,
    judge_candidates: JudgeCandidatesSettings | None = None,
) -> Counts:
    """Write the configs named in `settings.formats`, card, dictionary, YAML files, provenance, publication, checksums.

    Counted in preference pairs: in = rows of pairs.parquet, out = exported ones, rejected = left out by reason (a source
    note was deleted, the post's text could not be taken out of the prompt). Rows are streamed; memory does not grow with them.
    """
    unknown = sorted(set(settings.formats) - set(SCHEMAS))
    if unknown:
        raise InputError(f"export.formats names {unknown[0]!r}, which is no layout; choose from {', '.join(SCHEMAS)}.")
    formats = [name for name in SCHEMAS if name in settings.formats or (name == "h4" and settings.h4)]
    if not formats:
        raise InputError(f"export.formats is empty; choose from {', '.join(SCHEMAS)}.")
    job = _Job(out, settings, run)
    job.form = reply_form(draft_candidates or DraftCandidatesSettings())
    pairs, progress = run.path("build_pairs"), tools.progress
    history = read_history(run.given.get("decisions"))
    rules = read_rules(run.given.get("decisions"))
    decided = decisions_that_count(history, rules, job.run_id)
    withheld = _publication(job, history, rules)
    job.find_copies(pairs)
    job.read_outcomes(run)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(
                ConfigWriter(out, name, schema_of(name, settings.reward_margin), settings.rows_per_file, settings.jsonl)
            )
            for name in formats
        }
        seen, written = _from_rows(job, pairs / "pairs.parquet", FROM_PAIRS, writers, progress)
        _from_rows(job, pairs / "labels.parquet", FROM_LABELS, writers, progress)
        if (pairs / "ties.parquet").is_file():  # older runs kept none
            _from_rows(job, pairs / "ties.parquet", FROM_TIES, writers, progress)
        if "responses" in writers:
            for frame in responses(run, settings, judge_candidates or JudgeCandidatesSettings(), tools, job.posts):
                ready, _ = job.complete(frame, prompts=False)
                job.enter(writers, "responses", ready)
        _from_posts(job, writers, decided, progress)
        rows = {name: writer.rows for name, writer in writers.items()}
    links = [[entry.text[span.start : span.end] for span in find_urls(entry.text)] for entry in job.published]
    lines = [entry.to_json(found, run_id=job.run_id) for entry, found in zip(job.published, links, strict=True)]
    write_jsonl(out / "publication.jsonl", lines)
    write_jsonl(out / "withheld.jsonl", [entry.to_json() for entry in withheld])
    _beside(job, rows, pairs)
    return {
        "in": seen,
        "out": written,
        "rejected": dict(sorted((+job.left_out_pairs).items())),
        "rows": rows,
        "published": len(job.published),
        "withheld": dict(sorted(Counter(entry.reason_code for entry in withheld).items())),
    }


class _Job:
    """What every part of an export needs to know, read once: splits, deleted notes, post texts."""

    def __init__(self, out: Path, settings: ExportSettings, run: Run) -> None:
        self.out, self.settings, self.run, self.snapshot = out, settings, run, run.path("ingest")
        self.jury, clusters = run.path("train_jury"), run.path("cluster_notes")
        self.run_id, self.jury_id = str(run.given.get("run_id", run.run_id)), self.jury.name
        self.form: ReplyForm = "text"
        self.published: list[Published] = []
        self.copies = pl.Series([], dtype=pl.UInt64)
        self.real = pl.DataFrame(schema={"text_id": pl.String, "real": pl.Float64})
        self.left_out_pairs: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.kto_kinds: Counter[bool] = Counter()  # of the training rows
        self.flips = 0.0, 0  # sum and number of the training rows' p_flip
        self.redacted: set[str] = set()
        local = settings.base_model if Path(settings.base_model).is_dir() else ""
        self.lengths = Lengths(settings.tokenizer or local)
        posts = read_rows(clusters, "posts", None).select("post_id", "story_id", "eligible").sort("post_id")
        keys = [story or str(post) for post, story in posts.select("post_id", "story_id").iter_rows()]
        self.keys = posts.select("post_id").with_columns(
            split_key=pl.Series(keys, dtype=pl.String),
            test=pl.Series([is_test(key, settings.test_share) for key in keys], dtype=pl.Boolean),
        )
        self.posts: list[int] = posts.filter(pl.col("eligible"))["post_id"].to_list()
        self.deleted_texts, self.deleted_requests = self._deleted(clusters)
        self.steps: dict[
            int, list[tuple[Version, Version]]
        ] = {}  # of collaborative notes, from one version to the next
        if "hindsight" in settings.formats:
            for versions in series_of(self.snapshot, posts=self.posts, fit=run.directories.get("fit_raters")):
                self.steps.setdefault(versions[0].post_id, []).extend(pairwise(versions))
        self.selected = {
            int(line["post_id"]): line for line in read_jsonl(run.path("select_winners") / "selections.jsonl")
        }

    def find_copies(self, pairs: Path) -> None:
        """Which texts of test posts are nearly word for word in train posts too: their rows are left out of test."""
        places = [(pairs / "pairs.parquet", ("chosen", "rejected")), (pairs / "labels.parquet", ("text",))]
        places += [(path, ("text",)) for path in self.candidate_files()]
        known = [(path, columns) for path, columns in places if path.is_file()]
        self.copies = copies_in_train(known, self.keys.select("post_id", "test"))

    def read_outcomes(self, run: Run) -> None:
        """What texts were really worth, where `learn_outcomes` has seen them in a later snapshot."""
        if run.has("learn_outcomes"):
            seen = pl.read_parquet(run.path("learn_outcomes") / "outcomes.parquet").select("text_id", "real")
            self.real = seen.unique("text_id", keep="first", maintain_order=True)

    def with_outcomes(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The rows of pairs with the intercepts their texts really got, null where nobody knows."""
        for which in ("chosen", "rejected") if "chosen_id" in frame.columns and self.real.height else ():
            seen = self.real.rename({"text_id": f"{which}_id", "real": f"real_{which}"})
            frame = frame.join(seen, on=f"{which}_id", how="left", maintain_order="left")
        return frame

    def _deleted(self, clusters: Path) -> tuple[pl.Series, pl.Series]:
        """Text ids and prompts that rest on a note the snapshot no longer holds."""
        alive = read_table(self.snapshot, "notes", ["noteId"]).rename({"noteId": "note_id"})
        gone = (
            pl.scan_parquet(Path(clusters) / "clusters.parquet")
            .select("note_id")
            .unique()
            .join(alive, on="note_id", how="anti")
            .collect()["note_id"]
        )
        ids = [pl.Series([f"note-{note}" for note in gone.to_list()], dtype=pl.String)]
        requests = []
        for path in self.candidate_files():
            found = (
                pl.scan_parquet(path)
                .filter(pl.col("source_note_ids").list.eval(pl.element().is_in(gone.implode())).list.any())
                .select("candidate_id", "request_id")
                .collect()
            )
            ids.append(found["candidate_id"])
            requests.append(found["request_id"])
        return pl.concat(ids), pl.concat(requests).unique()

    def candidate_files(self) -> list[Path]:
        """The tables of the drafts and, where there are any, of the revisions."""
        there = [self.run.path(s) for s in ("draft_candidates", "revise_candidates") if self.run.has(s)]
        return [path for directory in there if (path := directory / "candidates.parquet").is_file()]

    def complete(self, frame: pl.DataFrame, prompts: bool) -> tuple[pl.DataFrame, Counter[str]]:
        """Rows ready for a layout: deleted notes' rows gone, texts fit to leave, ids as strings, split known."""
        why: Counter[str] = Counter()
        n = frame.height
        gone = [
            pl.col(name).is_in(self.deleted_texts.implode())
            for name in (
                "chosen_id",
                "rejected_id",
                "candidate_id",
                "text_id",
                "response_id",
                "improved_id",
                "draft_id",
            )
            if name in frame.columns
        ]
        if "request_id" in frame.columns:
            gone.append(pl.col("request_id").is_in(self.deleted_requests.implode()))
        if len(self.deleted_texts) and gone:
            frame = frame.filter(~pl.any_horizontal(test.fill_null(False) for test in gone))
        why["source_note_deleted"] = n - frame.height
        frame = self._without_copies(frame.join(self.keys, on="post_id", how="left", maintain_order="left"), why)
        if prompts:
            frame = self._replies(self._redact(frame, why))
        frame = frame.with_columns(
            pl.col("test").fill_null(False),
            pl.col("split_key").fill_null(pl.col("post_id").cast(pl.String)),
            pl.col("post_id").cast(pl.String),
            run_id=pl.lit(self.run_id),
            jury_id=pl.lit(self.jury_id),
        )
        return frame, why

    def _without_copies(self, frame: pl.DataFrame, why: Counter[str]) -> pl.DataFrame:
        columns = [name for name in _TEXTS if name in frame.columns]
        if not columns or not len(self.copies):
            return frame
        found = []
        for name in columns:
            each = frame.select(pl.col(name).list.explode() if frame.schema[name] == pl.List(pl.String) else name)
            known = each.filter(text_id(name).is_in(self.copies.implode()))[name].unique()
            held = pl.element().is_in(known.implode())
            found.append(pl.col(name).list.eval(held).list.any() if frame.schema[name] == pl.List(pl.String) else pl.col(name).is_in(known.implode()))  # fmt: skip
        kept = frame.filter(
            ~(pl.col("test").fill_null(False) & pl.any_horizontal(test.fill_null(False) for test in found))
        )
        why["near_copy_in_train"] += frame.height - kept.height
        return kept

    def _redact(self, frame: pl.DataFrame, why: Counter[str]) -> pl.DataFrame:
        """Prompts without the text of their post; rows go only if some of it would leave all the same, in prompt or note."""
        plain = frame.with_columns(prompt_redacted=pl.lit(False))
        if self.settings.include_post_text or not frame.height:
            return plain
        texts = self._post_texts(frame["post_id"].unique())
        if not texts:
            return plain
        from texts.note import clean_text

        posts = {post: PostText(text, clean_text) for post, text in texts.items()}
        prompts: dict[str, tuple[Any, bool, bool, str]] = {}  # cleaned, changed, still in it, what its notes say
        unique = frame.select("request_id", "post_id", "prompt").unique("request_id", keep="first", maintain_order=True)
        for request, post, messages in unique.iter_rows():
            if post in posts:
                cleaned, changed = posts[post].take_out(messages)
                notes = spoken(" ".join(notes_in(cleaned)))
                prompts[request] = cleaned, changed, posts[post].leaves_with(beside_notes(cleaned), notes), notes
            else:
                prompts[request] = messages, False, False, ""
        made = pl.DataFrame(
            [(request, *entry[:3]) for request, entry in prompts.items()],
            schema={"request_id": pl.String, "prompt": frame.schema["prompt"], "prompt_redacted": pl.Boolean, "leak": pl.Boolean},
            orient="row",
        )  # fmt: skip
        self.redacted |= set(made.filter("prompt_redacted")["request_id"].to_list())
        frame = frame.drop("prompt").join(made, on="request_id", how="left", maintain_order="left")
        stays = frame.filter(~pl.col("leak")).drop("leak")
        why["post_text_in_prompt"] += frame.height - stays.height
        # What raters suggested may quote the post as well; it is no answer, so it is not among `_TEXTS`.
        columns = [name for name in (*_TEXTS, "feedback") if name in stays.columns]
        ids = [f"{name}_id" for name in columns if f"{name}_id" in stays.columns]
        seen: dict[tuple[int, str], bool] = {}

        def leaves(post: int, request: str, said: Any) -> bool:
            if isinstance(said, list):
                return any(leaves(post, request, text) for text in said)
            if not said or post not in posts:
                return False
            if (post, said) not in seen:
                seen[post, said] = posts[post].leaves_with(said, prompts[request][3])
            return seen[post, said]

        keep = []
        for row in stays.select("post_id", "request_id", *columns, *ids).iter_rows(named=True):
            # A person's note is public as it is, whatever it quotes.
            own = [row[name] for name in columns if not (row.get(f"{name}_id") or "").startswith("note-")]
            keep.append(not leaves(row["post_id"], row["request_id"], own))
        kept = stays.filter(pl.Series(keep, dtype=pl.Boolean))
        why["post_text_in_note"] += stays.height - kept.height
        return kept

    def _replies(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Every answer to the prompt in the form the prompt asks for."""

        def replied(said: Any) -> Any:
            if said is None:
                return None
            return [replied(text) for text in said] if isinstance(said, list) else as_reply(said, self.form)

        columns = [name for name in _TEXTS if name in frame.columns] if self.form == "json" else []
        made = [
            pl.Series(name, [replied(v) for v in frame[name].to_list()], dtype=frame.schema[name]) for name in columns
        ]
        return frame.with_columns(*made, reply_form=pl.lit(self.form))

    def _post_texts(self, posts: pl.Series) -> dict[int, str]:
        found = (
            read_table(self.snapshot, "posts", ["tweetId", "text"])
            .filter(pl.col("tweetId").is_in(posts.implode()) & pl.col("text").is_not_null())
            .collect()
        )
        return {post: text for post, text in found.iter_rows() if text.strip()}

    def enter(self, writers: Mapping[str, ConfigWriter], config: str, frame: pl.DataFrame) -> None:
        """Write finished rows of one config into its splits."""
        if config not in writers:
            return
        train = frame.filter(~pl.col("test"))
        if config == "kto":
            self.kto_kinds.update(train["label"].to_list())
        elif config == "dpo":
            self.flips = self.flips[0] + float(train["p_flip"].sum() or 0.0), self.flips[1] + train["p_flip"].count()
        self.lengths.add(config, frame.select([n for n in writers[config].schema.names if n in frame.columns]))
        for split, wanted in (("train", False), ("test", True)):
            part = frame.filter(pl.col("test") == wanted)
            if part.height:
                writers[config].write(split, to_arrow(part, writers[config].schema))


def _from_rows(
    job: _Job, path: Path, layouts: Mapping[str, Any], writers: Mapping[str, ConfigWriter], progress: Any
) -> tuple[int, int]:
    """Stream a table through the layouts made from it; rows read and rows written."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the directory that `supernotes build-pairs` wrote.")
    wanted = [name for name in layouts if name in writers]
    file = pq.ParquetFile(path)
    seen = written = 0
    scale = _gap_scale(path) if job.settings.reward_margin and "reward" in wanted else 1.0
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
        frame = job.with_outcomes(pl.DataFrame(batch))
        seen += frame.height
        frame, why = job.complete(frame, prompts=True)
        (job.left_out_pairs if "pair_id" in frame.columns else job.left_out).update(why)
        written += frame.height
        for name in wanted:
            shaped = layouts[name](frame)
            if name == "reward" and job.settings.reward_margin:
                shaped = shaped.with_columns(margin=(pl.col("score_gap") / scale).fill_null(0.0))
            job.enter(writers, name, shaped)
        progress(f"exporting {path.stem}", seen, file.metadata.num_rows)
    return seen, written


def _gap_scale(path: Path) -> float:
    """Standard deviation of the gaps: a margin of one is one of them."""
    found = pl.scan_parquet(path).select(pl.col("score_gap").std()).collect().item()
    return float(found) if found else 1.0


def _from_posts(
    job: _Job, writers: Mapping[str, ConfigWriter], decided: Mapping[int, list[dict[str, Any]]], progress: Any
) -> None:
    """The configs that are made from candidates, verdicts, revisions and decisions, a few hundred posts at a time."""
    made: dict[str, Any] = {
        "grpo": _grpo, "scored": _scored, "candidates": _candidates, "jury": _jury, "hindsight": _hindsight,
        "stable_alignment": _stable_alignment, "sft": _sft,
    }  # fmt: skip
    records: dict[int, list[dict[str, Any]]] = {}
    revisions = job.run.directories.get("revise_candidates")
    if revisions and (revisions / "training_records.jsonl").is_file() and "stable_alignment" in writers:
        for record in read_jsonl(revisions / "training_records.jsonl"):
            records.setdefault(int(record["post_id"]), []).append(record)
    for start in range(0, len(job.posts), POSTS_AT_ONCE):
        chunk = _Chunk(job, job.posts[start : start + POSTS_AT_ONCE], decided, records)
        for name, make in made.items():
            if name in writers:
                frame = make(chunk)
                if frame.height:
                    ready, why = job.complete(frame, prompts=name in (*WITH_PROMPT, "candidates"))
                    job.left_out.update(why)
                    job.enter(
                        writers, name, ready.with_columns(completion=assistant("answer")) if name == "sft" else ready
                    )
        progress("exporting candidates", start, len(job.posts))


class _Chunk:
    """The tables of some posts, drafts and revisions together."""

    def __init__(
        self,
        job: _Job,
        posts: Sequence[int],
        decided: Mapping[int, list[dict[str, Any]]],
        records: Mapping[int, list[dict[str, Any]]],
    ) -> None:
        self.job, self.posts = job, posts
        self.decisions = {post: decided[post] for post in posts if post in decided}
        self.records = [record for post in posts for record in records.get(post, ())]
        run = job.run.with_posts(posts)
        self.candidates = run.candidates()
        self.verdicts = run.verdicts().sort("post_id", "candidate_id")
        self.existing = run.table("judge_candidates", "existing").sort("post_id", "note_id")
        self.failed = (
            run.checks()
            .filter(pl.col("outcome") != "passed")
            .group_by("candidate_id")
            .agg(pl.col("check").unique().sort().alias("failed_checks"))
        )
        self.losers = run.table("select_winners", "losers")
        self.prompts = run.prompts().unique("request_id", keep="first", maintain_order=True)

    def full(self) -> pl.DataFrame:
        """Candidates with verdict, failed checks and what decided against them."""
        winners = [line["candidate_id"] for post, line in self.job.selected.items() if line["outcome"] == "winner"]
        abstained = [post for post, line in self.job.selected.items() if line["outcome"] != "winner"]
        return (
            self.candidates.join(self.verdicts.drop("post_id"), on="candidate_id", how="left", maintain_order="left")
            .join(self.failed, on="candidate_id", how="left", maintain_order="left")
            .join(
                self.losers.select("candidate_id", "decided_by", decided_why="reason"),
                on="candidate_id",
                how="left",
                maintain_order="left",
            )
            .with_columns(
                pl.col("failed_checks").fill_null(pl.lit([], dtype=pl.List(pl.String))),
                outcome=pl.when(pl.col("candidate_id").is_in(winners))
                .then(pl.lit("winner"))
                .when(pl.col("post_id").is_in(abstained))
                .then(pl.lit("abstained"))
                .otherwise(pl.lit("loser")),
                model_id=pl.col("writer"),
                source_note_ids=pl.col("source_note_ids").cast(pl.List(pl.String)),
            )
        )

    def with_prompt(self, frame: pl.DataFrame) -> pl.DataFrame:
        if not frame.height:
            return frame
        columns = self.prompts.select("request_id", "prompt_version", "prompt_sha256", prompt="messages")
        kept = frame.drop([name for name in ("prompt_version", "prompt_sha256", "prompt") if name in frame.columns])
        return kept.join(columns, on="request_id", how="inner", maintain_order="left")


def _grpo(chunk: _Chunk) -> pl.DataFrame:
    """One row for each drafting prompt with what the reward function is told."""
    drafts = chunk.full().filter(pl.col("round") == 0)
    known = drafts.group_by("request_id", maintain_order=True).agg(
        pl.col("post_id", "cluster_id", "classification", "language").first(),
        # An extractive writer names the notes it took sentences from; the prompt showed all of them.
        pl.col("source_note_ids").explode().drop_nulls().unique().sort(),
    )
    return chunk.with_prompt(known)


def _scored(chunk: _Chunk) -> pl.DataFrame:
    gates = ["failed_check", "factor_gate", "net_helpful_gate"]
    drafts = chunk.full().filter(pl.col("round") == 0).with_columns(
        rank=pl.col("score").rank("min", descending=True).over("request_id").cast(pl.Int64),
        passed=(pl.col("failed_checks").list.len() == 0) & ~pl.col("decided_by").is_in(gates).fill_null(False),
    )  # fmt: skip
    grouped = drafts.group_by("request_id", maintain_order=True).agg(
        pl.col("post_id").first(),
        pl.col("cluster_id").first(),
        pl.col("language").first(),
        completions="text",
        scores="score",
        ranks="rank",
        gate_pass="passed",
        candidate_ids="candidate_id",
    )
    return chunk.with_prompt(grouped)


def _candidates(chunk: _Chunk) -> pl.DataFrame:
    return chunk.with_prompt(chunk.full()).with_columns(
        note="text", score_lower="lower", score_upper="upper", note_factor="factor"
    )


def _jury(chunk: _Chunk) -> pl.DataFrame:
    judged = chunk.verdicts.filter(pl.col("unjudged_reason").is_null())
    parents = chunk.candidates.select("candidate_id", "round")
    drafts = judged.join(parents, on="candidate_id", how="left", maintain_order="left").with_columns(
        text_id="candidate_id",
        kind=pl.when(pl.col("round") > 0).then(pl.lit("revision")).otherwise(pl.lit("candidate")),
    )
    notes = chunk.existing.filter(pl.col("unjudged_reason").is_null()).with_columns(
        text_id=pl.format("note-{}", "note_id"), kind=pl.lit("existing")
    )
    columns = [name for name in judged.columns if name != "candidate_id"] + ["text_id", "kind"]
    both = pl.concat([drafts.select(columns), notes.select(columns)])
    return both.sort("post_id", "text_id").with_columns(score_lower="lower", score_upper="upper", note_factor="factor")


_ABOUT = ("post_id", "request_id", "cluster_id", "language")


def _hindsight(chunk: _Chunk) -> pl.DataFrame:
    """Feedback on a text and, where there is one, the better text: from the simulated jury, from analysts, and what raters suggested
    for a version of a collaborative note, under the prompt that shows the note.
    """
    known = {row["candidate_id"]: row for row in chunk.candidates.iter_rows(named=True)}
    rows: list[dict[str, Any]] = []

    def add(
        at: Mapping[str, Any], source: str, feedback: str, text: Any, better: Any, scores: Any = (None, None)
    ) -> None:
        """`text` and `better` are (id, wording); without a better text there is no score of it either."""
        said = {"feedback_source": source, "feedback": feedback, "response_id": text[0], "response": text[1]}
        improved = (
            {"improved_id": better[0], "improved": better[1]} if better else {"improved_id": None, "improved": None}
        )
        measured = {"score_before": scores[0], "score_after": scores[1] if better else None}
        rows.append({name: at[name] for name in _ABOUT} | said | improved | measured)

    lineage = read_rows(chunk.job.run.directories.get("revise_candidates"), "lineage", chunk.posts, optional=True)
    for line in sorted(lineage.iter_rows(named=True), key=lambda line: (line["post_id"], line["candidate_id"])):
        parent, child = known[line["parent_id"]], known[line["candidate_id"]]
        better = (line["candidate_id"], child["text"]) if line["kept"] else None
        text = line["parent_id"], parent["text"]
        add(parent, "jury", line["feedback"], text, better, (line["score_before"], line["score_after"]))
    for decision in (decision for decisions in chunk.decisions.values() for decision in decisions):
        said = _analyst_feedback(decision)
        at = known.get(decision["candidate_id"] or "")
        if at is None or not said:
            continue
        edited = decision["text"] if decision["kind"] == "edit" else None
        name = f"{at['candidate_id']}-edited-{hashlib.sha256((edited or '').encode()).hexdigest()[:8]}"
        add(at, "analyst", said, (at["candidate_id"], at["text"]), (name, edited) if edited is not None else None)
    drafts = [row for row in known.values() if row["parent_id"] is None]
    for before, after in (step for post in chunk.posts for step in chunk.job.steps.get(post, ())):
        asked = {r["request_id"]: r for r in drafts if r["post_id"] == before.post_id}
        prompt = prompt_for(before.stance, ((name, r["classification"]) for name, r in asked.items()))
        said = feedback_on(before, after)
        if prompt is None or not said:
            continue
        if contradictory(before, after):
            chunk.job.left_out["receptions_disagree"] += 1
            continue
        scores = before.intercept, after.intercept
        better = (f"note-{after.note_id}", after.text) if (gain_of_intercept(before, after) or 0.0) > 0 else None
        add(asked[prompt], "raters", said, (f"note-{before.note_id}", before.text), better, scores)
    return chunk.with_prompt(_frame("hindsight", rows))


def _frame(config: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a config as a frame with its types; without rows one without columns."""
    numbers = {field.name for field in SCHEMAS[config] if field.type == pa.float64()}
    types = {name: pl.Float64 if name in numbers else pl.String for name in (rows[0] if rows else ())}
    return pl.DataFrame(rows, schema=types | {"post_id": pl.Int64} if rows else None)


def _analyst_feedback(decision: Mapping[str, Any]) -> str:
    """An analyst's reasons as a sentence; an edit without reasons still says that it was edited."""
    reasons = [OBJECTIONS[reason] for reason in decision.get("reasons") or () if reason in OBJECTIONS]
    if decision["kind"] == "reject" and reasons:
        return f"An analyst rejected this note: some readers {' and '.join(reasons)}."
    if decision["kind"] == "edit":
        return "An analyst edited this note" + (f": some readers {' and '.join(reasons)}." if reasons else ".")
    return ""


def _stable_alignment(chunk: _Chunk) -> pl.DataFrame:
    """The records of revise_candidates under the prompt of the draft they begin from."""
    known = {row["candidate_id"]: row for row in chunk.candidates.iter_rows(named=True)}
    same = ("kind", "draft", "feedback", "rating", "rating_before", "rating_after", "draft_id")
    rows = [
        {name: known[record["draft_id"]][name] for name in _ABOUT}
        | {name: record.get(name) for name in same}
        | {"response": record.get("text", record.get("revision")), "response_id": record.get("candidate_id")}
        for record in chunk.records
    ]
    return chunk.with_prompt(_frame("stable_alignment", rows))


def _sft(chunk: _Chunk) -> pl.DataFrame:
    """What may be published and answers a prompt: notes that an analyst accepted, or the analyst's own wording of them."""
    known = {row["candidate_id"]: row for row in chunk.candidates.iter_rows(named=True)}
    rows = []
    for entry in chunk.job.published:
        candidate = known.get(entry.held.candidate_id) if entry.held else None
        if candidate is not None:
            about = {name: candidate[name] for name in (*_ABOUT, "candidate_id")}
            decision = {"decision_id": entry.decision.decision_id, "decision_kind": entry.decision.kind}
            rows.append(about | {"answer": entry.text} | decision)
    return chunk.with_prompt(_frame("sft", rows))


def _publication(job: _Job, history: Sequence[Decision], rules: Rules) -> list[Withheld]:
    """Settle what of the run may be published (`job.published`); what was accepted but is withheld comes back."""
    posts = sorted({row.post_id for row in history} & set(job.keys["post_id"].to_list()))
    if not posts:
        return []
    run = job.run.with_posts(posts)
    scores = run.verdicts().select("candidate_id", "score", "lower", "upper")
    failed = run.checks().filter(pl.col("outcome") != "passed").select("candidate_id", "check", "outcome", "reason")
    failed = failed.unique("candidate_id", keep="first", maintain_order=True)
    full = (
        run.candidates()
        .join(scores, on="candidate_id", how="left", maintain_order="left")
        .join(failed, on="candidate_id", how="left", maintain_order="left")
    )
    texts: dict[int, list[HeldText]] = {post: [] for post in posts}
    for row in full.iter_rows(named=True):
        said = {name: row[name] for name in ("parent_id", "writer", "prompt_version", "score", "lower", "upper")}
        texts[row["post_id"]].append(
            HeldText(
                row["candidate_id"],
                row["text"] or "",
                row["classification"],
                row["language"],
                tuple(row["source_note_ids"] or ()),
                f"{row['check'].replace('_', ' ')}: {row['reason']}" if row["check"] else "",
                said | {"seed": str(row["seed"]) if row["seed"] is not None else None},
            )
        )
    notes = {note for held in texts.values() for text in held for note in text.source_note_ids}
    alive = read_table(job.snapshot, "notes", ["noteId"]).filter(pl.col("noteId").is_in(sorted(notes))).collect()
    deleted = notes - set(alive["noteId"].to_list())
    job.published, withheld = publishable(
        history, texts, deleted, run_id=job.run_id, reviews=rules.reviews, carry=rules.carry
    )
    return withheld


def _beside(job: _Job, rows: dict[str, dict[str, int]], pairs: Path) -> None:
    """Card, dictionary, schemas, YAML files, provenance, checksums."""
    settings = job.settings
    report_path = Path(pairs) / "report.json"
    report = json.loads(report_path.read_text(encoding="utf-8")) if report_path.is_file() else {}
    told = [pl.scan_parquet(path).select("writer", "language", "prompt_version") for path in job.candidate_files()]
    frame = pl.concat(told).unique().collect()
    writers, languages, versions = (frame[name].drop_nulls().unique().sort().to_list() for name in frame.columns)
    if settings.include_post_text:
        note = "the bytes as sent; where posts have texts, those are in them."
    elif job.redacted:
        note = (
            f"the post's text was replaced by a placeholder in {len(job.redacted)} prompts (`prompt_redacted`); `prompt_sha256` is of the "
            "bytes as sent. Export with `include_post_text` to train on exactly what was sent."
        )
    else:
        note = "the bytes as sent (no post text was in them)."
    lengths = job.lengths.report()
    facts = {
        "run_id": job.run_id,
        "jury_id": job.jury_id,
        "writers": writers,
        "prompt_versions": versions,
        "split_by": "story (posts on the same claim), or post where there is none",
        "prompt_note": note,
        "lengths": lengths,
        "reply_form": job.form,
        "jury": _jury_facts(job.jury),
        "pairs": report,
        "left_out": dict(sorted((job.left_out_pairs + job.left_out).items())),
    }
    schemas = {name: schema_of(name, settings.reward_margin) for name in rows}
    languages = [code for code in languages if code] or ["und"]
    licence = card.LICENCE.format(
        post_text="in the prompts, as was asked for" if settings.include_post_text else "left out"
    )
    written = {name: splits for name, splits in rows.items() if any(splits.values())}
    (job.out / "README.md").write_text(card.card(facts, rows, settings, languages, schemas), encoding="utf-8")
    (job.out / "LICENSE.md").write_text(f"# Terms of this data\n\n{licence}\n", encoding="utf-8")
    (job.out / "data_dictionary.md").write_text(card.data_dictionary(schemas), encoding="utf-8")
    (job.out / "schema.json").write_text(card.schema_json(schemas), encoding="utf-8")
    about = "Candidate Community Notes and how a simulated jury received them, as preference data."
    (job.out / "croissant.json").write_text(croissant(job.out, written, schemas, about, job.run_id), encoding="utf-8")
    write_folder_cards(job.out, written, schemas)
    write_lengths(job.out, lengths)
    for method in ("dpo", "kto", "reward", "grpo"):
        kinds = job.kto_kinds[True], job.kto_kinds[False]
        if not rows.get(method, {}).get("train") or (method == "kto" and not all(kinds)):
            continue  # nothing to train on: no file that would fail
        smoothing = min(job.flips[0] / job.flips[1], 0.49) if job.flips[1] else 0.0
        longest = enough(lengths, method, settings.max_length)
        text = card.trl_yaml(method, settings, smoothing, longest, card.kto_weights(*kinds))
        (job.out / f"trl_{method}.yaml").write_text(text, encoding="utf-8")
    provenance = {name: value for name, value in facts.items() if name not in ("jury", "pairs")} | {
        "rows": rows,
        "pairs_report": report,
        "jury_report": facts["jury"],
        "settings": {name: getattr(settings, name) for name in settings.__dataclass_fields__},
        "licence": licence,
        "packages": {name: _version(name) for name in ("polars", "pyarrow", "numpy")}
        | {"python": platform.python_version()},
    }
    text = json.dumps(provenance, indent=1, sort_keys=True, default=str, ensure_ascii=False)
    (job.out / "provenance.json").write_text(text + "\n", encoding="utf-8")
    write_checksums(job.out, ("manifest.json", "timing.json"))


def _jury_facts(jury: Path) -> dict[str, Any]:
    """The jury's own evaluation, as far as its report has numbers."""
    path = Path(jury) / "report.json"
    if not path.is_file():
        return {}
    report = json.loads(path.read_text(encoding="utf-8"))
    measured = report.get("evaluation") or report
    said = ("metrics", "p_flip", "foils", "n_ratings", "n_notes", "n_posts")
    return {key: measured[key] for key in said if key in measured}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
