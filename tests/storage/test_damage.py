"""What is damaged or missing is noticed, named, set aside and never trusted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from nouns.errors import Damaged
from nouns.stages import RUN_STAGES
from pipeline import open_run, tasks
from pipeline.plan import Plan
from storage.manifest import Manifest, sealed, unsealed
from storage.store import Store
from storage.verify import verify
from tests.storage.damage import injure, mend
from tests.storage.test_store import publish


def test_a_flipped_byte_is_noticed_set_aside_and_made_again(tmp_path):
    store = Store(tmp_path)
    publish(store, "r", "content")
    (tmp_path / "r" / "table.txt").write_text("cOntent")
    assert store.problems("r") == ["table.txt is damaged: its content has changed"]
    with pytest.raises(Damaged, match=r"table\.txt is damaged.*set aside"):
        store.require_whole("r")
    assert store.finished("r") is None
    assert (tmp_path / "damaged" / "r" / "table.txt").read_text() == "cOntent"
    publish(store, "r", "content")
    assert store.finished("r") is not None
    (tmp_path / "r" / "table.txt").unlink()
    assert store.finished("r") is None, "damaged a second time"
    assert sorted(path.name for path in (tmp_path / "damaged").iterdir()) == ["r", "r~1"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: (d / "table.txt").unlink(), "table.txt is missing"),
        (lambda d: (d / "table.txt").write_text("longer than it was"), "18 bytes instead of 1"),
        (lambda d: (d / "manifest.json").write_text(""), "manifest.json is damaged: it is empty"),
        (lambda d: (d / "manifest.json").write_text("{"), "manifest.json is damaged: it is no JSON"),
        (lambda d: (d / "manifest.json").write_text("[]"), "manifest.json is damaged: it holds no JSON object"),
        (lambda d: (d / "manifest.json").write_text('{"stage": "s"}'), "manifest.json is damaged: it is no manifest"),
        (lambda d: (d / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda d: (d / "timing.json").unlink(), "timing.json is missing"),
        (lambda d: (d / "timing.json").write_text("{}x"), "timing.json is damaged"),
    ],
)  # fmt: skip
def test_every_kind_of_damage_is_named(spoil, says, tmp_path):
    store = Store(tmp_path)
    publish(store, "models/r")
    spoil(tmp_path / "models" / "r")
    assert says in "; ".join(store.problems("models/r"))
    assert says in "; ".join(verify(store).damaged["models/r"])


def test_a_changed_word_in_a_manifest_does_not_fit_its_digest(tmp_path):
    made = publish(Store(tmp_path), "r")
    with pytest.raises(Damaged, match="does not fit its own digest"):
        Manifest.from_json(made.to_json().replace('"seed": 1', '"seed": 2'))


def test_a_seal_holds_and_unsealed_objects_of_older_versions_are_read():
    assert unsealed(sealed({"a": 1}), "x") == {"a": 1}
    assert unsealed('{"a": 1}', "x") == {"a": 1}


def test_a_directory_of_an_older_version_is_read_and_its_sizes_are_compared(tmp_path):
    store = Store(tmp_path)
    made = publish(store, "r")
    outputs = {name: {key: entry[key] for key in ("bytes", "sha256")} for name, entry in made.outputs.items()}
    (tmp_path / "r" / "manifest.json").write_text(json.dumps(made.__dict__ | {"outputs": outputs}))
    (tmp_path / "r" / "timing.json").write_text('{"seconds": 1.0}')
    assert store.finished("r") is not None
    assert store.finished("r").digest == made.digest
    (tmp_path / "r" / "table.txt").write_text("no longer one byte")
    assert store.finished("r") is None


def test_a_damaged_copy_of_a_remote_directory_is_fetched_again(tmp_path):
    store = Store("memory://bucket/damage-test", cache=tmp_path)
    publish(store, "r", "remote")
    (store.local("r") / "table.txt").write_text("rEmote")
    assert (store.local("r") / "table.txt").read_text() == "remote"
    with store.fs.open(f"{store._base}/r/table.txt", "wb") as file:
        file.write(b"half")
    assert store.problems("r") == ["table.txt is damaged: 4 bytes instead of 6"]
    store.remove("r")


@pytest.fixture(scope="module")
def copy(sample_run, tmp_path_factory):
    target = tmp_path_factory.mktemp("damaged") / "workspace"
    shutil.copytree(sample_run[0], target)
    return target


def test_damage_anywhere_in_a_workspace_is_noticed(sample_run, copy):
    original, _ = sample_run
    assert verify(Store(copy)).damaged == {}
    for seed in range(25):  # `python -m tests.storage.damage` does five hundred
        path, how = injure(copy, seed)
        assert verify(Store(copy)).damaged, (seed, path, how)
        mend(copy, original, path)
    assert verify(Store(copy)).damaged == {}


def test_a_damaged_stage_is_not_shown_as_if_it_were_whole(sample_run, copy):
    _, run_id = sample_run
    table = copy / "runs" / run_id / "judge_candidates" / "verdicts.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:-100])
    with pytest.raises(Damaged, match=r"verdicts\.parquet is damaged"):
        open_run(copy / "runs" / run_id).verdicts()
    said = subprocess.run(
        [sys.executable, "-m", "pipeline", "verify", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 1
    assert "judge_candidates: verdicts.parquet is damaged" in said.stdout
    table.write_bytes(whole)
    said = subprocess.run(
        [sys.executable, "-m", "pipeline", "verify", str(copy), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert said.returncode == 0, said.stdout
    assert json.loads(said.stdout)["sound"] is True


def test_the_same_command_mends_what_is_damaged_and_repeats_nothing_else(sample_run, copy):
    original, run_id = sample_run
    plan = Plan(Store(copy), run_id)
    table = copy / "runs" / run_id / "check_candidates" / "checks.parquet"
    table.write_bytes(table.read_bytes()[:-1])
    snapshot = copy / plan.where("ingest") / "notes.parquet"
    snapshot.unlink()
    (copy / "runs" / run_id / "train_jury" / "pointer.json").write_text("{")
    (copy / "runs" / run_id / "select_winners" / "manifest.json").write_text("")
    with pytest.raises(Damaged, match=r"notes\.parquet is missing"):
        plan.run("cluster_notes")
    with pytest.raises(Damaged, match="damaged/"):
        plan.input("check_candidates")
    states = {stage: plan.run(stage).state for stage in RUN_STAGES}
    assert [stage for stage in RUN_STAGES if states[stage] == "ran"] == ["ingest", "check_candidates", "select_winners"]
    assert verify(Store(copy)).damaged == {}
    for stage in RUN_STAGES:
        there = Plan(Store(original), run_id).where(stage)
        ours, theirs = Store(copy).manifest(there), Store(original).manifest(there)
        assert ours == theirs, stage
    assert len(list((copy / "damaged").iterdir())) == 3


def test_a_published_export_that_nothing_names_any_more_is_noticed(tmp_path):
    store = Store(tmp_path)
    publish(store, "exports/a", "content")
    assert verify(store).damaged == {}, "made, and never published"
    tasks.publish_export({"workspace": str(tmp_path), "run_id": "r"}, "exports/a")
    assert verify(store).damaged == {}
    (tmp_path / "exports" / "current.json").unlink()
    assert "is missing" in verify(store).damaged["exports/current.json"][0]
    tasks.publish_export({"workspace": str(tmp_path), "run_id": "r"}, "exports/a")
    told = (tmp_path / "exports" / "current.json").read_text()
    (tmp_path / "exports" / "current.json").write_text(told.replace("exports/a", "exports/b"))
    assert "does not fit its own digest" in verify(store).damaged["exports/current.json"][0]
