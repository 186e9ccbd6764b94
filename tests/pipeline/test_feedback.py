"""Comparing writers from a workspace: held-out posts alone are drafted, by two writers that really differ; then promotion and back."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest

from feedback.export.folder import is_test
from nouns.errors import InputError
from pipeline import open_run
from pipeline.cli.app import main
from pipeline.console import newest_run
from pipeline.plan import Plan, RunRequest, create_run, current_adapter
from pipeline.promote import adapter_of, compare_adapter, comparison_of, promote_writer, roll_back_writer
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST
from tests.servers import ChaosServer


def put_writer(store, name):
    """An adapter in the workspace; its weights matter to a real model server only."""
    with store.scratch(f"models/{name}") as scratch:
        (scratch / "adapter").mkdir()
        (scratch / "adapter" / "adapter_config.json").write_text("{}")
        store.publish(
            scratch, f"models/{name}", stage="tune_writer", fingerprint=name, code="", settings={}, inputs={}, seed=0,
            counts={}, seconds=0.0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def compared(sample_run, tmp_path_factory):
    """A workspace in which a tuned writer was compared with the model below it, and what the server saw."""
    workspace = tmp_path_factory.mktemp("feedback") / "workspace"
    shutil.copytree(sample_run[0], workspace)
    store = Store(workspace)
    put_writer(store, "writer-a")
    with ChaosServer() as server:
        settings = load_settings(
            environment={},
            flags=[
                *FAST,
                "draft_candidates.backend=openai",
                "draft_candidates.model=tiny",
                f"draft_candidates.base_url={server.base_url}",
                "compare_writers.n_jurors=50",
                "compare_writers.draws=100",
                "export.test_share=0.25",
            ],
        )
        result = compare_adapter(store, sample_run[1], adapter_of(store, "writer-a"), settings)
    return store, sample_run[1], settings, server, result


def test_both_writers_are_asked_about_the_held_out_posts_and_no_others(compared):
    store, run_id, _, server, result = compared
    posts = open_run(store.home / "runs" / run_id).posts()
    keys = posts.loc[posts["eligible"], ["post_id", "story_id"]]
    held_out = {
        post for post, story in keys.itertuples(index=False) if is_test(str(post) if pd.isna(story) else story, 0.25)
    }
    assert 5 < len(held_out) < len(keys) / 2
    for name in ("current_run", "new_run"):
        drafted = open_run(store.home / "runs" / result[name]).prompts()
        assert set(drafted["post_id"]) == held_out
    asked = [seen.body["model"] for seen in server.seen]
    assert asked.count("tiny") == asked.count("writer-a") > 0
    assert server.adapters == {"writer-a": str(store.home / "models/writer-a/adapter")}


def test_the_refusal_is_explained_and_binds(compared):
    store, _, _, _, result = compared
    assert result["decision"] == "refuse"
    assert result["reason"]
    with pytest.raises(InputError, match="not promoted"):
        promote_writer(store, *comparison_of(store, result["new_run"]))
    assert current_adapter(store) == ""


def test_runs_that_compare_writers_are_not_taken_for_the_newest_and_select_nothing(compared):
    store, run_id, _, _, result = compared
    assert newest_run(store) == run_id
    with pytest.raises(InputError, match="held-out posts only"):
        Plan(store, result["new_run"]).run("select_winners")


def test_a_promoted_writer_is_what_current_means_until_it_is_taken_back(compared, capsys):
    store, run_id, settings, _, result = compared
    path = store.home / "runs" / result["new_run"] / "compare_writers" / "comparison.json"
    won = json.loads(path.read_text()) | {"decision": "promote"}
    path.write_text(json.dumps(won))
    with pytest.raises(SystemExit, match="0"):
        main(["promote-writer", result["new_run"], "--workspace", str(store.home), "--json"])
    assert json.loads(capsys.readouterr().out)["current"]["path"] == "models/writer-a"
    request = RunRequest(**Plan(store, run_id).request.__dict__)
    flags = [*FAST, "draft_candidates.adapter=current"]
    drafted = create_run(store, request, load_settings(environment={}, flags=flags))
    assert Plan(store, drafted).settings.draft_candidates.adapter == "models/writer-a/adapter"
    with pytest.raises(InputError, match="current writer already"):
        compare_adapter(store, run_id, "models/writer-a/adapter", settings)
    assert roll_back_writer(store) is None
    later = create_run(store, request, load_settings(environment={}, flags=flags))
    assert Plan(store, later).settings.draft_candidates.adapter == ""
    assert Plan(store, drafted).settings.draft_candidates.adapter == "models/writer-a/adapter"


def test_a_writer_that_is_not_there_is_named_with_those_that_are(compared):
    with pytest.raises(InputError, match="writer-a"):
        adapter_of(compared[0], "writer-b")
