"""A model is tried on a few posts before a run is paid, and a run's drafts can be asked for with other settings."""

from __future__ import annotations

import json
import shutil

import pytest

from nouns.errors import InputError
from pipeline.cli.app import main
from pipeline.plan import Plan
from pipeline.settings import changed_by_flags
from pipeline.try_writer import try_writer
from storage.store import Store
from tests.servers import ChaosServer, Do

GOOD = "The photo is from October 2019 and shows another town."


def note(body, i):
    """What a model would reply that gives the beginning of the first note of its prompt; every second draw talks about readers."""
    prompt = body["messages"][-1]["content"]
    first = next(line for line in prompt.split("[begin note 1")[1].split("\n") if line.startswith("| "))
    text = first[2:] if i % 2 == 0 else "Readers of this note know better!!! " + GOOD
    return json.dumps({"note": text}) if "response_format" in body else text


@pytest.fixture
def workspace(sample_run, tmp_path):
    shutil.copytree(sample_run[0], tmp_path / "w")
    return tmp_path / "w", sample_run[1]


def typed(capsys, *words):
    capsys.readouterr()
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, capsys.readouterr()


def flags(server):
    values = [
        "draft_candidates.backend=openai",
        f"draft_candidates.base_url={server.base_url}",
        "draft_candidates.model=tiny",
    ]
    return [word for value in values for word in ("--set", value)]


def test_five_posts_show_both_writers_with_their_checks_and_scores_and_leave_nothing(workspace, capsys):
    home, run_id = workspace
    before = sorted(path.relative_to(home) for path in home.rglob("*") if ".cache" not in path.parts)
    with ChaosServer(lambda body, number: Do(content=note)) as server:
        code, told = typed(capsys, "try-writer", "--posts", 5, "--workspace", home, "--json", *flags(server))
        seen = len(server.seen)
    assert code == 0, told.err
    result = json.loads(told.out)
    assert (result["run_id"], result["writer"], len(result["posts"])) == (run_id, "tiny", 5)
    assert result["calls"] == seen
    assert set(result["writers"]) == {"tiny", "extractive"}
    texts = [text for post in result["posts"] for text in post["texts"]]
    assert len(texts) == sum(entry["drafts"] for entry in result["writers"].values())
    for text in texts:
        assert bool(text["failed"]) == (text["score"] is None)
    shouting = [text for text in texts if "!!!" in text["text"]]
    assert shouting
    assert all(text["failed"] for text in shouting)
    assert sum(entry["best_in"] for entry in result["writers"].values()) <= 5
    assert sorted(path.relative_to(home) for path in home.rglob("*") if ".cache" not in path.parts) == before


def test_the_terminal_shows_texts_reasons_and_what_a_whole_run_would_cost(workspace, capsys):
    with ChaosServer(lambda body, number: Do(content=note)) as server:
        code, told = typed(capsys, "try-writer", "--posts", 2, "--workspace", workspace[0], *flags(server))
    assert code == 0, told.err
    assert told.out.count("== post ") == 2
    assert "extractive" in told.out
    assert "Drafts for all" in told.out


def test_the_extractive_writer_is_not_tried_against_itself(workspace):
    plan = Plan(Store(workspace[0]), workspace[1])
    with pytest.raises(InputError, match="Name a model"):
        try_writer(plan, plan.settings, 3)


def test_a_model_that_answers_nothing_is_told_in_the_servers_words(workspace, capsys):
    with ChaosServer(lambda body, number: Do(400, body='{"error": {"message": "no chat template"}}')) as server:
        code, told = typed(capsys, "try-writer", "--workspace", workspace[0], *flags(server))
    assert code == 1
    assert "no chat template" in told.err


def test_drafts_with_other_settings_are_a_run_of_their_own_that_repeats_nothing(workspace, capsys):
    home, run_id = workspace
    frozen = (home / "runs" / run_id / "draft_candidates" / "candidates.parquet").read_bytes()
    code, told = typed(capsys, "draft-candidates", "--workspace", home, "--run", run_id, "--json", "--set", "draft_candidates.extractive_candidates=2")  # fmt: skip
    assert code == 0, told.err
    made = json.loads(told.out)
    assert made["run_id"] != run_id
    assert made["run_id"] in told.err
    assert (home / "runs" / run_id / "draft_candidates" / "candidates.parquet").read_bytes() == frozen
    code, told = typed(capsys, "draft-candidates", "--workspace", home, "--run", run_id, "--json")
    assert json.loads(told.out)["run_id"] == run_id
    kept = changed_by_flags(Plan(Store(home), run_id).settings, ["draft_candidates.extractive_candidates=2"])
    assert Plan(Store(home), made["run_id"]).settings == kept


def test_a_dry_run_with_settings_shows_those_requests(workspace, capsys):
    home, run_id = workspace
    code, told = typed(capsys, "draft-candidates", "--workspace", home, "--run", run_id, "--dry-run", "--set", "draft_candidates.samples=7")  # fmt: skip
    assert code == 0, told.err
    assert {json.loads(line)["n"] for line in told.out.splitlines()} == {7}
