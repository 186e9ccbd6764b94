"""A server that refuses calls: the run fails in the server's own words, or goes on and says how many."""

from __future__ import annotations

import html
import json
import re
import shutil
import zlib

import pytest

from nouns.errors import GateFailed
from nouns.post import Completion
from pipeline.cli.app import main, sample_directory
from pipeline.tasks import run_stage
from synthesis.generation.refusals import Refusals
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer, Do

WORDS = "Unsupported value: this model does not chat on Fridays"
REFUSED = Do(400, body=json.dumps({"error": {"message": WORDS}}))


@pytest.fixture
def run(sample_run, tmp_path, capsys, monkeypatch):
    """`supernotes run` on the sample with a server; gives the exit code, what stood on the terminal, and the JSON."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sample_run[0], tmp_path / "w")
    sample = sample_directory()

    def go(server, *flags):
        capsys.readouterr()
        values = [
            *FAST, "draft_candidates.backend=openai", f"draft_candidates.base_url={server.base_url}", "draft_candidates.model=tiny",
            "draft_candidates.attempts=1", "revise_candidates.rounds=0", "check_candidates.judge=off", *flags,
        ]  # fmt: skip
        sets = [word for value in values for word in ("--set", value)]
        arguments = ["--input", str(sample), "--posts", str(sample / "posts.jsonl"), "--workspace", str(tmp_path / "w")]
        code = 0
        try:
            main(["run", *arguments, "--json", *sets])
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return code, told.err, json.loads(told.out)

    return go


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (REFUSED, WORDS),
        (Do(body=json.dumps({"object": "error", "message": "maximum context length is 96 tokens", "code": 400})), "maximum context length is 96 tokens"),
        (Do(404, body=json.dumps({"error": {"message": "The model `tiny` does not exist."}})), "The model `tiny` does not exist."),
        (Do(content=lambda body, i: None), "content was empty, finish_reason 'stop'"),
        (Do(500, body="<html><title>Internal trouble</title></html>"), "Internal trouble"),
    ],
    ids=["400", "200 with an error", "404", "no content", "page"],
)  # fmt: skip
def test_a_run_whose_calls_are_all_refused_fails_in_the_servers_words(run, answer, words):
    with ChaosServer(lambda body, number: answer) as server:
        code, told, summary = run(server)
    assert code == 1
    assert words in told
    assert "gave no text" in told
    assert summary["status"] == "failed"
    assert words in summary["error"]
    assert summary["stages"]["draft_candidates"]["state"] == "failed"


def test_a_few_refused_calls_stop_nothing_and_are_told(run, tmp_path, caplog):
    """The same prompts are refused however they are asked: what is left out of a request does not help them."""

    def plan(body, number):
        prompt = "".join(message["content"] for message in body["messages"])
        return REFUSED if zlib.crc32(prompt.encode()) % 5 == 0 else Do()

    with ChaosServer(plan) as server:
        code, told, summary = run(server)
    assert (code, summary["status"]) == (0, "done")
    (notice,) = [entry for entry in summary["notices"] if WORDS in entry["text"]]
    assert (notice["level"], notice["stage"]) == ("warned", "draft_candidates")
    assert f"warned: {notice['text']}" in told
    lost, asked = (int(n) for n in re.match(r"(\d+) of (\d+) calls", notice["text"]).groups())
    assert 0 < lost < asked / 2
    (report,) = (tmp_path / "w" / "runs").glob(f"{summary['run_id']}/report.html")
    assert WORDS in html.unescape(report.read_text())
    with caplog.at_level("WARNING"):
        run_stage({"workspace": str(tmp_path / "w"), "run_id": summary["run_id"]}, "draft_candidates")
    assert WORDS in caplog.text


def test_a_server_that_refuses_every_revision_fails_that_stage_in_its_words(run):
    def plan(body, number):
        return REFUSED if "improved" in body["messages"][-1]["content"] else Do(content=a_note)

    with ChaosServer(plan) as server:
        code, told, summary = run(server, "revise_candidates.rounds=1")
    assert code == 1
    assert WORDS in told
    assert WORDS in summary["error"]
    assert summary["stages"]["revise_candidates"]["state"] == "failed"


def a_note(body, i):
    """The first note in the prompt, as a model that merges nothing would reply."""
    prompt = body["messages"][-1]["content"]
    return json.dumps({"note": re.search(r"\[begin note 1 .*\n((?:\| .*\n)+)", prompt)[1].replace("| ", "").strip()})


def test_who_wants_the_extractive_drafts_alone_gets_them(run):
    with ChaosServer(lambda body, number: REFUSED) as server:
        code, _, summary = run(server, "draft_candidates.max_refused=1")
    assert (code, summary["status"]) == (0, "done")
    assert summary["stages"]["draft_candidates"]["out"] > 0


def test_what_counts_as_refused():
    def call(failure, *texts):
        return Completion("r", texts, "m", failure)

    refusals = Refusals()
    for completion in (
        call(None, "a note"),
        call("missing_choices: 1 of 2 texts", "a note"),
        call("connection: ReadError"),
        call("not_recorded"),
    ):
        refusals.add(completion)
    assert (refusals.calls, refusals.refused, refusals.sentence()) == (2, 0, "")
    refusals.add(call("bad_request: no"))
    refusals.gate(0.5, "draft_candidates")
    for _ in range(2):
        refusals.add(call("bad_request: no"))
    with pytest.raises(GateFailed, match=r"3 of 5 calls .* gave no text: 3 x bad_request: no"):
        refusals.gate(0.5, "draft_candidates")
    refusals.add(call("circuit_open: left alone"))  # the server is away: it is waited for instead
    refusals.gate(0.5, "draft_candidates")
