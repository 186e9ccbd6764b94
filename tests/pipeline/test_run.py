"""The whole job on the bundled sample: everything accounted for, nothing repeated, nothing lost by a kill."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from nouns.errors import InputError, StageFailed
from nouns.stages import RUN_STAGES
from pipeline import open_run
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run, run_summary
from pipeline.settings import load_settings
from pipeline.show.frames import Run
from storage.manifest import sealed
from storage.store import MANIFEST, UNCOMPARED, Store, list_files
from tests.pipeline.fast import FAST, flags
from texts.note import canonical_url, find_urls, note_length

SAMPLE = sample_directory()
PLANTED = json.loads((SAMPLE / "planted.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(sample_run) -> Run:
    workspace, run_id = sample_run
    return open_run(workspace / "runs" / run_id)


def test_every_post_is_a_winner_or_an_abstention_with_its_reason(run):
    selections = run.selections()
    assert len(selections) == run.notes()["tweetId"].nunique()
    assert selections["post_id"].is_unique
    assert set(selections["outcome"]) == {"winner", "abstained"}
    abstained = selections[selections["outcome"] == "abstained"]
    assert abstained["reason_code"].notna().all()
    assert (abstained["reason"].str.len() > 10).all()
    assert selections[selections["outcome"] == "winner"]["text"].str.len().gt(0).all()


def test_the_counts_of_every_stage_reconcile(sample_run, run):
    for stage in RUN_STAGES:
        counts = run.manifest(stage)["counts"]
        assert counts["in"] == counts["out"] + sum(counts["rejected"].values()), (stage, counts)
    workspace, run_id = sample_run
    summary = run_summary(Store(workspace), run_id, [])
    assert summary["posts"] == summary["winners"] + sum(summary["abstentions"].values()) == len(run.selections())


def test_winners_hold_to_the_form_of_a_note_and_link_only_to_their_sources(run):
    notes = run.notes().set_index("noteId")["summary"]
    candidates = run.candidates().set_index("candidate_id")
    winners = run.selections().query("outcome == 'winner'")
    assert len(winners) >= 10
    for row in winners.itertuples():
        assert note_length(row.text) <= 280
        sources = {
            canonical_url(url.text)
            for note in candidates.loc[row.candidate_id, "source_note_ids"]
            for url in find_urls(notes[note])
        }
        assert {canonical_url(url.text) for url in find_urls(row.text)} <= sources


def test_the_hard_cases_of_the_sample_end_as_they_should(run):
    selections = run.selections().set_index("post_id")
    cases = PLANTED["cases"]
    for post in cases["shows_helpful_note"]:
        assert selections.loc[int(post), "reason_code"] == "already_helpful"
    for post in cases["note_not_needed"]:
        assert selections.loc[int(post), "reason_code"] == "note_not_needed"
    for post in cases["not_misleading_only"]:
        assert selections.loc[int(post), "reason_code"] == "only_not_misleading"
    for post in set(cases["single"]) - set(cases["single_in_story"]):
        assert selections.loc[int(post), "reason_code"] == "too_few_notes"


def test_an_instruction_in_a_note_is_not_obeyed(run):
    injected = {int(note) for note in PLANTED["cases"]["note_injection"]}
    text = " ".join(run.notes().set_index("noteId").loc[sorted(injected), "summary"]).lower()
    assert "ignore" in text
    assert not run.candidates()["text"].str.lower().str.contains("ignore (?:all|the|any|previous)", regex=True).any()


def test_the_jury_prefers_notes_of_planted_quality(run):
    """Existing notes before the jury, their own ratings known: rank correlation with what was planted."""
    planted = {int(note): value["intercept"] for note, value in PLANTED["notes"].items()}
    existing = run.existing()
    truth = existing["note_id"].map(planted).astype(float)
    assert existing["score"].astype(float).corr(truth, method="spearman") > 0.6


def test_a_second_run_recomputes_nothing(sample_run):
    workspace, run_id = sample_run
    plan = Plan(Store(workspace), run_id)
    assert {stage: plan.run(stage).state for stage in RUN_STAGES} == dict.fromkeys(RUN_STAGES, "skipped")


def test_another_run_shares_what_its_settings_did_not_change(sample_run, tmp_path):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    store = Store(copy)
    request = RunRequest(str(SAMPLE), posts=str(SAMPLE / "posts.jsonl"))
    other = create_run(store, request, load_settings(environment={}, flags=[*FAST, "select_winners.minimum_score=0.9"]))
    assert other != run_id
    plan = Plan(store, other)
    states = {stage: plan.run(stage).state for stage in RUN_STAGES}
    assert [stage for stage in RUN_STAGES if states[stage] == "ran"] == [
        "revise_candidates", "select_winners", "build_pairs", "export",
    ]  # fmt: skip
    assert open_run(copy / "runs" / other).selections().query("outcome == 'winner'").empty


def contents(workspace: Path) -> dict[str, bytes]:
    """Every finished file but timings, recorded calls and the run's own description."""
    kept = {}
    for folder in ("snapshots", "models", "runs", "exports"):
        for path in list_files(workspace / folder) if (workspace / folder).is_dir() else []:
            name = path.relative_to(workspace).as_posix()
            if path.name in UNCOMPARED or "/.journal/" in name or path.name in ("run.json", "report.html"):
                continue
            kept[name] = path.read_bytes()
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("stage", RUN_STAGES)
def test_killed_in_the_middle_and_run_again_ends_with_the_same_bytes(stage, sample_run, tmp_path):
    """The workspace as it was before `stage`; SIGKILL while the stage works; the same command again."""
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    for later in RUN_STAGES[RUN_STAGES.index(stage) :]:
        pointer = copy / "runs" / run_id / later / "pointer.json"
        if pointer.exists():
            shutil.rmtree(copy / json.loads(pointer.read_text())["path"])
        shutil.rmtree(copy / "runs" / run_id / later)
    command = [
        sys.executable,
        "-c",
        f"from pipeline.plan import run_stage; run_stage({str(copy)!r}, {run_id!r}, {stage!r})",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not any(copy.glob(".scratch/*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    plan = Plan(Store(copy), run_id)
    for later in RUN_STAGES[RUN_STAGES.index(stage) :]:
        plan.run(later)
    assert contents(copy) == contents(workspace)
    assert not any((copy / ".scratch").iterdir()), "the killed stage's scratch is cleared"


def test_a_shard_run_ahead_is_found_and_only_gathered(sample_run, tmp_path):
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    for stage in (
        "check_candidates",
        "judge_candidates",
        "revise_candidates",
        "select_winners",
        "build_pairs",
        "export",
    ):
        shutil.rmtree(copy / "runs" / run_id / stage)
    plan = Plan(Store(copy), run_id)
    shards = plan.shards()
    assert len(shards) > 1
    assert sum(len(shard) for shard in shards) == plan.store.manifest(f"runs/{plan.run_id}/cluster_notes").counts["out"]
    for index in reversed(range(len(shards))):
        assert plan.run_shard("check_candidates", index).state == "ran"
    assert plan.run_shard("check_candidates", 0).state == "skipped"
    timings = sorted((copy / "runs" / run_id / ".shards" / "check_candidates").glob("*/timing.json"))
    for timing in timings:
        timing.write_text(sealed(json.loads(timing.read_text()) | {"seconds": 1000.0}))
    plan.run("check_candidates")
    took = json.loads((copy / "runs" / run_id / "check_candidates" / "timing.json").read_text())["seconds"]
    assert 1000 * len(shards) <= took < 1000 * len(shards) + 60, "the work of other tasks is the stage's work, too"
    name = f"runs/{run_id}/check_candidates/checks.parquet"
    assert (copy / name).read_bytes() == (workspace / name).read_bytes()


def test_the_size_of_a_shard_changes_no_decision(sample_run, tmp_path):
    workspace, run_id = sample_run
    store = Store(tmp_path)
    for folder in ("snapshots", "models", ".cache"):
        if (workspace / folder).exists():
            shutil.copytree(workspace / folder, tmp_path / folder)
    request = RunRequest(str(SAMPLE), posts=str(SAMPLE / "posts.jsonl"))
    whole = create_run(store, request, load_settings(environment={}, flags=[*FAST, "run.posts_per_shard=1000"]))
    assert whole == run_id, "the shard size is no part of what a run is asked to do"
    plan = Plan(store, whole)
    for stage in RUN_STAGES:
        plan.run(stage)
    ours, theirs = open_run(tmp_path / "runs" / run_id), open_run(workspace / "runs" / run_id)
    for table in ("candidates", "checks"):
        assert getattr(ours, table)().to_json() == getattr(theirs, table)().to_json(), table
    # Texts are rated in batches, and the last bits of a matrix product depend on the batch's size.
    assert (ours.verdicts()["score"] - theirs.verdicts()["score"]).abs().max() < 1e-4
    decided = ["post_id", "outcome", "reason_code", "candidate_id"]
    assert ours.selections()[decided].equals(theirs.selections()[decided])


def test_parts_of_a_run_need_what_comes_before_them(tmp_path):
    store = Store(tmp_path)
    run_id = create_run(store, RunRequest(str(SAMPLE)), load_settings(environment={}, flags=FAST))
    with pytest.raises(InputError, match="supernotes ingest --run"):
        Plan(store, run_id).run("cluster_notes")


def test_without_ratings_a_jury_or_raters_are_required(tmp_path):
    source = tmp_path / "input"
    source.mkdir()
    shutil.copy(SAMPLE / "notes-00000.tsv", source)
    store = Store(tmp_path / "workspace")
    plan = Plan(store, create_run(store, RunRequest(str(source)), load_settings(environment={}, flags=FAST)))
    plan.run("ingest")
    with pytest.raises(InputError, match="--raters"):
        plan.run("fit_raters")


def test_a_trained_jury_serves_a_run_without_ratings(sample_run, tmp_path):
    workspace, run_id = sample_run
    source = tmp_path / "input"
    source.mkdir()
    shutil.copy(SAMPLE / "notes-00000.tsv", source)
    jury = Plan(Store(workspace), run_id).where("train_jury")
    store = Store(tmp_path / "workspace")
    request = RunRequest(str(source), jury=str(workspace / jury))
    plan = Plan(store, create_run(store, request, load_settings(environment={}, flags=FAST)))
    for stage in RUN_STAGES:
        plan.run(stage)
    selections = open_run(store.home / "runs" / plan.run_id).selections()
    assert (
        len(selections)
        == pl.read_csv(source / "notes-00000.tsv", separator="\t", quote_char=None)["tweetId"].n_unique()
    )
    assert (selections["outcome"] == "winner").any()


def supernotes(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        input=stdin,
        timeout=300,
        check=False,
    )


def test_json_is_the_only_thing_on_standard_output(sample_run):
    workspace, run_id = sample_run
    arguments = [
        "run",
        "--input",
        str(SAMPLE),
        "--posts",
        str(SAMPLE / "posts.jsonl"),
        "--workspace",
        str(workspace),
        "--json",
        *flags(),
    ]
    done = supernotes(*arguments)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["run_id"] == run_id
    assert summary["status"] == "done"
    assert set(summary["stages"]) == set(RUN_STAGES)
    assert {stage["state"] for stage in summary["stages"].values()} == {"skipped"}
    for stage in summary["stages"].values():
        assert (workspace / stage["path"] / MANIFEST).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "--input", "/nowhere/at/all"], "does not exist"),
        (["run", "--input", str(SAMPLE), "--set", "judge_candidates.n_jurers=3"], "did you mean 'n_jurors'"),
        (["run", "--input", str(SAMPLE), "--as-of", "yesterday"], "is no time"),
        (["run", "--input", str(SAMPLE), "--jury", "none"], "There is no jury"),
        (["show", "0123456789ab"], "There is no run"),
        (["rate-text", "--jury", "none"], "There is no jury"),
        (["frobnicate"], "No such command"),
    ],
)
def test_bad_usage_is_one_paragraph_and_exit_code_two(arguments, says, tmp_path):
    wants_workspace = arguments[0] in ("run", "show", "rate-text")
    done = supernotes(*arguments, *(["--workspace", str(tmp_path)] if wants_workspace else []))
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_workspace_one_may_not_write_is_one_paragraph(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    done = supernotes("run", "--input", str(SAMPLE), "--workspace", str(file / "w"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_a_disk_that_takes_no_more_stops_the_stage_with_one_paragraph_and_leaves_nothing_half_written(
    sample_run, tmp_path
):
    """A bound on the size of a file stands in for the full disk: writing fails the same way, in the middle of a file."""
    workspace, run_id = sample_run
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    for later in RUN_STAGES[RUN_STAGES.index("judge_candidates") :]:
        shutil.rmtree(copy / "runs" / run_id / later)
    plan = Plan(Store(copy), run_id)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StageFailed, match=r"judge_candidates stopped: .*Nothing of the stage was kept"):
            plan.run("judge_candidates")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (copy / "runs" / run_id / "judge_candidates").exists()
    assert not any((copy / ".scratch").iterdir())
    for later in RUN_STAGES[RUN_STAGES.index("judge_candidates") :]:
        plan.run(later)
    assert contents(copy) == contents(workspace)


def test_check_text_answers_every_line_and_names_a_bad_one():
    text = "The Mill Lane bridge was closed for repairs on 4 March and opened again on 9 March. https://a.example/x"
    line = json.dumps({"id": "1", "text": text, "sources": [text]})
    done = supernotes("check-text", stdin=line + "\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"] is True
    bad = supernotes("check-text", stdin=line + "\n{not json}\n")
    assert bad.returncode == 2
    assert "line 2" in bad.stderr


def test_a_dry_run_prints_the_exact_requests(sample_run):
    workspace, run_id = sample_run
    done = supernotes("draft-candidates", "--run", run_id, "--workspace", str(workspace), "--dry-run")
    assert done.returncode == 0, done.stderr
    requests = [json.loads(line) for line in done.stdout.splitlines()]
    sent = {
        row.request_id.removesuffix("-x")
        for row in open_run(workspace / "runs" / run_id).candidates().itertuples()
        if row.round == 0
    }
    assert sent <= {request["request_id"] for request in requests}
    assert all(request["messages"][0]["role"] == "system" for request in requests)


def test_show_prints_untrusted_text_without_obeying_it(sample_run):
    workspace, run_id = sample_run
    done = supernotes("show", run_id, "--workspace", str(workspace), "--limit", "5")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    post = str(open_run(workspace / "runs" / run_id).selections().query("outcome == 'winner'")["post_id"].iloc[0])
    one = supernotes("show", run_id, post, "--workspace", str(workspace), "--json")
    assert json.loads(one.stdout)["selection"]["post_id"] == post


def test_ids_in_frames_are_whole_numbers(run):
    for frame in (run.selections(), run.candidates(), run.notes(), run.posts()):
        for name in ("post_id", "noteId", "tweetId", "best_existing_note_id"):
            if name in frame:
                assert str(frame[name].dtype).lower() == "int64", (name, frame[name].dtype)
