"""Tomorrow's snapshot repeats nothing for what did not change, and what comes out is what a day worked from nothing gives."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from nouns.stages import RUN_STAGES
from pipeline.cli.app import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.manifest import UNCOMPARED
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer, Do

SAMPLE = sample_directory()
CARRIED = ("draft_candidates", "check_candidates", "judge_candidates", "revise_candidates", "select_winners")


@dataclass
class Day:
    """What a run on one day's files came to."""

    plan: Plan
    results: dict

    def files(self) -> dict[str, bytes]:
        """Every result of the per-post stages."""
        home = self.plan.store.home / "runs" / self.plan.run_id
        return {
            f"{stage}/{path.name}": path.read_bytes()
            for stage in CARRIED
            for path in sorted((home / stage).iterdir())
            if path.name not in UNCOMPARED or path.name == "ledger.parquet"
        }

    def redone(self, stage: str, before: Day) -> set[int]:
        """Posts whose key is another than the day before."""
        ours, theirs = (
            pl.read_parquet(day.plan.input(stage).path / "ledger.parquet").select("post_id", "key")
            for day in (self, before)
        )
        return set(ours.join(theirs, on=["post_id", "key"], how="anti")["post_id"])


def work(
    workspace: Path, source: Path, *flags: str, jury: str | None = None, until: str = "select_winners", jobs: int = 1
) -> Day:
    store = Store(workspace)
    request = RunRequest(str(source), posts=str(SAMPLE / "posts.jsonl"), jury=jury)
    plan = Plan(store, create_run(store, request, load_settings(environment={}, flags=[*FAST, *flags])))
    plan.jobs = jobs
    results = {}
    for stage in RUN_STAGES[: RUN_STAGES.index(until) + 1]:
        results[stage] = plan.run(stage)
    return Day(plan, results)


@pytest.fixture(scope="module")
def tomorrow(sample_run, tmp_path_factory) -> tuple[Path, int]:
    """The sample with one rating more, by a rater the jury knows, on a note of an eligible post; and that post."""
    workspace, run_id = sample_run
    source = tmp_path_factory.mktemp("tomorrow")
    for path in SAMPLE.iterdir():
        if path.is_file():
            shutil.copy(path, source / path.name)
    run = Plan(Store(workspace), run_id)
    posts = pl.read_parquet(run.input("cluster_notes").path / "posts.parquet").filter("eligible")["post_id"]
    clusters = pl.read_parquet(run.input("cluster_notes").path / "clusters.parquet")
    borrowers = clusters.filter("borrowed")["note_id"].implode()
    own = clusters.filter(
        pl.col("post_id").is_in(posts.implode()) & ~pl.col("borrowed") & ~pl.col("note_id").is_in(borrowers)
    )
    note, post = own.sort("post_id").select("note_id", "post_id").row(0)
    (packed,) = source.glob("ratings-*.tsv.gz")
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()
    ratings = packed.with_suffix("")
    packed.unlink()
    columns = lines[0].split("\t")
    rater = columns.index("raterParticipantId")
    known = pl.read_parquet(run.input("train_jury").path / "raters.parquet")["raterParticipantId"].to_list()
    taken = {line.split("\t")[rater] for line in lines[1:] if line.startswith(f"{note}\t")}
    row = lines[-1].split("\t")
    row[columns.index("noteId")], row[rater] = str(note), next(name for name in known if name not in taken)
    ratings.write_text("\n".join([*lines, "\t".join(row)]) + "\n", encoding="utf-8")
    return source, post


def test_one_rating_more_repeats_only_the_post_it_was_given_to(sample_run, tomorrow, tmp_path):
    source, post = tomorrow
    original, run_id = sample_run
    shutil.copytree(original, tmp_path / "w")
    jury = str(original / Plan(Store(original), run_id).where("train_jury"))
    first = work(tmp_path / "w", SAMPLE, jury=jury)
    second = work(tmp_path / "w", source, jury=jury)
    posts = sum(len(shard) for shard in second.plan.shards())
    for stage in CARRIED:
        # Neither a prompt nor a claim of another post follows from this rating; the post's own texts may (its note is worth another step).
        assert second.redone(stage, first) <= {post}, stage
        assert second.results[stage].carried == posts - len(second.redone(stage, first))
        assert second.results[stage].to_json()["carried"] == second.results[stage].carried
    assert second.redone("judge_candidates", first) == {post}
    before, after = (
        pl.read_parquet(day.plan.input("judge_candidates").path / "verdicts.parquet") for day in (first, second)
    )
    moved = before.join(after, on="candidate_id").filter(pl.col("score") != pl.col("score_right"))
    assert set(moved["post_id"]) == {post}
    fresh = work(tmp_path / "fresh", source, jury=jury)
    ours, theirs = second.files(), fresh.files()
    assert {name for name in ours if ours[name] != theirs.get(name)} == set()
    for stage in CARRIED:
        assert second.results[stage].counts == fresh.results[stage].counts, stage
    assert fresh.results["judge_candidates"].carried == 0


def test_the_jury_of_the_day_before_serves_for_a_week_and_only_what_changed_is_judged(sample_run, tomorrow, tmp_path):
    source, post = tomorrow
    original, run_id = sample_run
    shutil.copytree(original, tmp_path / "w")
    trained = Plan(Store(original), run_id).where("train_jury")
    second = work(tmp_path / "w", source)
    first = Day(Plan(Store(original), run_id), {})
    assert (second.results["train_jury"].state, second.results["train_jury"].path) == ("skipped", trained)
    # The raters are fitted anew, which moves every note a little; drafts and verdicts rest on the jury's raters, so no other post moves.
    for stage in CARRIED:
        assert second.redone(stage, first) <= {post}, stage
    assert second.redone("judge_candidates", first) == {post}
    before, after = (
        pl.read_parquet(d.plan.input("fit_raters").path / "notes.parquet")["intercept"] for d in (first, second)
    )
    assert (before != after).mean() > 0.9
    assert second.results["judge_candidates"].carried > 55
    shutil.copytree(original, tmp_path / "fresh", ignore=lambda folder, names: [n for n in names if n in CARRIED])
    fresh = work(tmp_path / "fresh", source)
    assert fresh.results["judge_candidates"].carried == 0
    ours, theirs = second.files(), fresh.files()
    assert {name for name in ours if ours[name] != theirs.get(name)} == set()


def test_a_second_day_pays_for_no_call_again_even_with_another_jury(tomorrow, tmp_path):
    source, _ = tomorrow
    say = json.dumps({"note": "The bridge was closed on 4 March. https://example.org/a"})
    with ChaosServer(lambda body, number: Do(content=lambda asked, i: say)) as server:
        flags = ("draft_candidates.backend=openai", f"draft_candidates.base_url={server.base_url}",
                 "draft_candidates.model=tiny", "draft_candidates.concurrency=8")  # fmt: skip
        work(tmp_path, SAMPLE, *flags, until="draft_candidates")
        paid = len(server.seen)
        assert paid > 20
        day = work(tmp_path, source, *flags, until="draft_candidates")
        assert len(server.seen) == paid
        work(tmp_path, source, *flags, "draft_candidates.extractive_always=false", until="draft_candidates")
        assert len(server.seen) == paid, "other settings, the same requests"
    assert day.results["draft_candidates"].carried > 0


def test_the_bytes_show_neither_shards_nor_cores(sample_run, tmp_path):
    original, run_id = sample_run
    jury = str(original / Plan(Store(original), run_id).where("train_jury"))
    small = work(tmp_path / "small", SAMPLE, "run.posts_per_shard=7", jury=jury, jobs=2)
    whole = work(tmp_path / "whole", SAMPLE, "run.posts_per_shard=1000", jury=jury)
    ours, theirs = small.files(), whole.files()
    assert {name for name in ours if ours[name] != theirs.get(name)} == set()
