"""A real language model at work: SmolLM2, served as docs/running.md says, on the first twelve posts of the sample.

From the notes to the selection with the commands a person types; the server is killed in the middle once, and an adapter of the
rank that our tuning makes is loaded. Skips aloud where vLLM or the weights are not there: `make test-writer` builds both,
`make test-gpu` does the same with the official vLLM on a GPU.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from nouns.post import Message
from pipeline.cli.app import sample_directory
from storage.store import Store
from synthesis.generation.base import failure_code
from synthesis.generation.openai_server import OpenAIServer, load_lora_adapter
from synthesis.generation.recorded import read_calls
from tests.pipeline.fast import FAST
from tests.vllm_server import PYTHON, ROOT, RealServer
from tests.weights import FOLDER

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not PYTHON.exists(), reason=f"no vLLM here: {PYTHON.parents[1].name} is not built (make test-writer)"),
    pytest.mark.skipif(not (FOLDER / "model.safetensors").exists(), reason="no weights here: make smollm"),
]  # fmt: skip
POSTS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RealServer(tmp_path_factory.mktemp("vllm") / "server.log") as running:
        yield running


@pytest.fixture(scope="module")
def twelve(sample_run, tmp_path_factory) -> Path:
    """X's files of the sample's first twelve posts that get a supernote, without ratings."""
    workspace, run_id = sample_run
    posts = pl.read_parquet(Path(workspace) / "runs" / run_id / "cluster_notes" / "posts.parquet")
    wanted = {str(post) for post in posts.filter(pl.col("eligible"))["post_id"].sort().head(POSTS)}
    out = tmp_path_factory.mktemp("twelve")
    notes: set[str] = set()
    for name, column in (("notes-00000.tsv", "tweetId"), ("noteStatusHistory-00000.tsv", "noteId")):
        lines = (sample_directory() / name).read_text(encoding="utf-8").splitlines()
        header = lines[0].split("\t")
        rows = [line.split("\t") for line in lines[1:]]
        if column == "tweetId":
            rows = [row for row in rows if row[header.index("tweetId")] in wanted]
            notes = {row[header.index("noteId")] for row in rows}
        else:
            rows = [row for row in rows if row[header.index("noteId")] in notes]
        (out / name).write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n", encoding="utf-8")
    with gzip.open(sample_directory() / "ratings-00000.tsv.gz", "rt", encoding="utf-8") as source:
        reader = csv.reader(source, delimiter="\t")
        header = next(reader)
        kept = [row for row in reader if row[header.index("noteId")] in notes]
    (out / "ratings-00000.tsv").write_text(
        "\n".join("\t".join(row) for row in [header, *kept]) + "\n", encoding="utf-8"
    )
    return out


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    """An adapter of SmolLM2 with the rank that `tune_writer` makes by default, its weights random and strong."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from feedback.settings import TuneWriterSettings

    directory = tmp_path_factory.mktemp("models") / "writer-real" / "adapter"
    torch.manual_seed(1)
    rank = TuneWriterSettings().lora_r
    shape = LoraConfig(r=rank, lora_alpha=rank, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")  # fmt: skip
    get_peft_model(AutoModelForCausalLM.from_pretrained(FOLDER), shape).save_pretrained(directory)
    return directory


def supernotes(*arguments: str, wait: bool = True):
    """The command line in a process of its own, with nothing of ours in its environment but the path of the code."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments],
        env=kept | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    if not wait:
        return process
    out, told = process.communicate(timeout=1200)
    return process.returncode, out, told


@pytest.fixture(scope="module")
def arguments(sample_run, twelve, server, tmp_path_factory) -> tuple[Path, list[str]]:
    workspace, run_id = Path(sample_run[0]), sample_run[1]
    mine = tmp_path_factory.mktemp("real") / "w"
    jury = next((workspace / "models").glob("jury-*"))
    settings = [
        *FAST, "draft_candidates.backend=openai", f"draft_candidates.base_url={server.base_url}", "draft_candidates.model=smollm2",
        "draft_candidates.subsets=2", "draft_candidates.samples=2", "draft_candidates.max_tokens=160", "draft_candidates.concurrency=4",
        "draft_candidates.circuit_failures=4", "draft_candidates.circuit_seconds=1",
    ]  # fmt: skip
    return mine, [
        "run", "--input", str(twelve), "--posts", str(sample_directory() / "posts.jsonl"), "--workspace", str(mine),
        "--raters", str(workspace / "runs" / run_id / "fit_raters"), "--jury", str(jury), "--json",
        *(word for value in settings for word in ("--set", value)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(arguments, server):
    """The summary of the run; its server was killed while it drafted and came back, and the same command was typed again."""
    workspace, words = arguments
    first = supernotes(*words, wait=False)
    end = time.monotonic() + 400
    while first.poll() is None and time.monotonic() < end and answered(workspace) < 3:
        time.sleep(0.2)
    server.kill()
    told = first.communicate(timeout=600)[1]
    paid = answered(workspace)
    server.start()
    code, out, more = supernotes(*words)
    assert code == 0, more[-2000:]
    return {"first": (first.returncode, told), "paid": paid, "summary": json.loads(out), "told": more}


def answered(workspace: Path) -> int:
    """Finished calls that the workspace has kept."""
    database = workspace / "calls" / "calls.sqlite"
    if not database.exists():
        return 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute("select count(*) from calls").fetchone()[0]


def calls(workspace: Path, run_id: str, stage: str) -> list[dict]:
    return list(read_calls(workspace / "runs" / run_id / stage / "calls.jsonl.zst"))


def test_a_killed_server_is_said_to_be_gone_and_what_was_answered_is_kept(arguments, done):
    code, told = done["first"]
    assert code == 1, told[-2000:]
    assert "the model server at" in told
    assert done["paid"] >= 3
    drafted = calls(arguments[0], done["summary"]["run_id"], "draft_candidates")
    assert len(drafted) == len({call["request_id"] for call in drafted})


def test_every_post_has_its_line_and_every_text_asked_for_is_accounted(arguments, done):
    summary = done["summary"]
    assert summary["status"] == "done"
    assert summary["posts"] == POSTS == summary["winners"] + sum(summary["abstentions"].values())
    drafts = summary["stages"]["draft_candidates"]
    assert drafts["in"] == drafts["out"] + sum(drafts["rejected"].values())
    assert drafts["rejected"].get("no_answer", 0) == 0


def test_the_model_wrote_and_what_it_wrote_are_notes_in_form(arguments, done):
    folder = arguments[0] / "runs" / done["summary"]["run_id"] / "draft_candidates"
    texts = pl.read_parquet(folder / "candidates.parquet").filter(pl.col("writer") == "smollm2")["text"].to_list()
    assert len(texts) > POSTS
    assert not [text for text in texts if re.search(r"<the text of the note>|\[begin |\[end |^\{|^```", text)]
    said = calls(arguments[0], done["summary"]["run_id"], "draft_candidates")
    assert {failure_code(call["failure"]) for call in said} <= {None, "missing_choices"}
    reasons = Counter(why for call in said for why in call["finish_reasons"])
    assert set(reasons) <= {"stop", "length"}
    assert reasons["stop"] > reasons["length"]
    # Blanks and line breaks outside the strings would double what a reply costs.
    replies = [text for call in said for text in call["texts"] if text.startswith("{")]
    assert replies
    assert all(text.startswith(('{"note"', '{ "note"')) for text in replies)


def test_whatever_the_model_said_only_checked_and_judged_texts_win(arguments, done):
    run = arguments[0] / "runs" / done["summary"]["run_id"]
    lines = [json.loads(line) for line in (run / "select_winners" / "selections.jsonl").read_text().splitlines()]
    winners = {line["candidate_id"] for line in lines if line["outcome"] == "winner"}
    folders = [run / "check_candidates", run / "revise_candidates"]
    checks = pl.concat([pl.read_parquet(folder / "checks.parquet").select("candidate_id", "check", "outcome") for folder in folders])  # fmt: skip
    failed = set(checks.filter((pl.col("outcome") == "failed") & (pl.col("check") != "judge"))["candidate_id"])
    assert not winners & failed
    assert all(line["reason"] for line in lines if line["outcome"] != "winner")


def test_a_stage_is_not_asked_again_and_the_record_repeats_the_run(arguments, done):
    workspace, words = arguments
    run = workspace / "runs" / done["summary"]["run_id"]
    record = workspace.parent / "record"
    record.mkdir()
    for stage in ("draft_candidates", "revise_candidates"):
        source = run / stage / "calls.jsonl.zst"
        if source.exists():
            (record / f"calls-{stage}.jsonl.zst").write_bytes(source.read_bytes())
    again = [word if word != str(workspace) else f"{workspace}-again" for word in words]
    code, out, told = supernotes(*again, "--recorded", str(record))
    assert code == 0, told[-2000:]
    repeated = json.loads(out)
    assert repeated["abstentions"] == done["summary"]["abstentions"]
    tables = [root / "draft_candidates" / "candidates.parquet" for root in (run, Path(f"{workspace}-again") / "runs" / repeated["run_id"])]  # fmt: skip
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_an_adapter_of_our_rank_is_loaded_and_writes_otherwise(arguments, done, server, adapter):
    from pipeline.plan import Plan
    from tests.synthesis.test_generation_vllm import request

    settings = Plan(Store(arguments[0]), done["summary"]["run_id"]).settings.draft_candidates
    asked = request(n=2, max_tokens=20)
    plain = OpenAIServer(settings).generate([asked])[0]
    load_lora_adapter(server.base_url, "writer-real", str(adapter))
    tuned = OpenAIServer(replace(settings, model="writer-real")).generate([asked])[0]
    assert (plain.failure, tuned.failure) == (None, None)
    assert tuned.texts != plain.texts
    assert (
        OpenAIServer(settings).generate([asked])[0].texts == plain.texts
    )  # the seeds hold, the model below is untouched


def test_many_prompts_with_seeds_at_once_do_not_end_the_server(arguments, done, server):
    from synthesis.settings import DraftCandidatesSettings
    from tests.synthesis.test_generation_vllm import request

    settings = DraftCandidatesSettings(backend="openai", base_url=server.base_url, model="smollm2", concurrency=16)
    long = "A town says something about its river, and four people answer. " * 40
    asked = [request(i, n=4, max_tokens=8) for i in range(16)]
    asked = [replace(r, messages=(*r.messages[:-1], Message("user", f"{i} {long}"))) for i, r in enumerate(asked)]  # fmt: skip
    completions = OpenAIServer(settings).generate(asked)
    assert [(c.failure, len(c.texts)) for c in completions] == [(None, 4)] * 16


def test_the_same_model_writes_in_this_process_too(done):
    """The transformers back end in bfloat16, where the processor has it."""
    from synthesis.generation.local_transformers import LocalTransformers
    from synthesis.settings import DraftCandidatesSettings
    from tests.synthesis.test_generation_vllm import request

    writer = LocalTransformers(DraftCandidatesSettings(backend="transformers", model=str(FOLDER)))
    first, second = writer.generate([request(n=2, max_tokens=12)])[0], writer.generate([request(n=2, max_tokens=12)])[0]
    assert first.failure is None
    assert first.texts == second.texts
    assert len(set(first.texts)) == 2
