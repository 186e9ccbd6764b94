"""A workspace on an S3-compatible object store: a real server on loopback, real HTTP, real kills."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nouns.errors import InputError
from nouns.stages import RUN_STAGES
from pipeline import tasks
from pipeline.console import sample_directory
from pipeline.plan import Plan, run_summary
from storage.store import MANIFEST, Store
from tests.dags.test_parts import x_files  # noqa: F401
from tests.pipeline.fast import flags

pytestmark = pytest.mark.slow

SAMPLE = sample_directory()
ROOT = "s3://team/supernotes"

KILLED_WHILE_UPLOADING = """
import os, signal, sys
from storage.store import Store
real = Store._upload
def upload(self, scratch, rel):
    if rel.endswith("cluster_notes"):
        put = self.fs.put_file
        def put_and_die(*a, **k):
            put(*a, **k)
            os.kill(os.getpid(), signal.SIGKILL)
        self.fs.put_file = put_and_die
    real(self, scratch, rel)
Store._upload = upload
from pipeline.cli.app import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def object_store(tmp_path_factory) -> Iterator[dict[str, str]]:
    """An S3 server with the bucket `team`; the environment in which a process finds it."""
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    import boto3
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": "tester",
        "AWS_DEFAULT_REGION": "us-east-1",
        # Copies of remote directories and scratch of this test only.
        "TMPDIR": str(tmp_path_factory.mktemp("machine")),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("tempfile.tempdir", environment["TMPDIR"])
        s3fs.S3FileSystem.clear_instance_cache()
        boto3.client("s3").create_bucket(Bucket="team")
        yield dict(os.environ)
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def run_there(environment: dict[str, str], *, before: str | None = None) -> subprocess.CompletedProcess[str]:
    """`supernotes run` on the sample with the workspace on the object store, in a process of its own."""
    arguments = ["run", "--input", str(SAMPLE), "--posts", str(SAMPLE / "posts.jsonl"), "--workspace", ROOT, "--json"]
    program = before or "import sys; from pipeline.cli.app import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments, *flags()],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def finished_directories(store: Store) -> dict[str, dict]:
    """Every manifest on the object store by its directory, after checking that all it names is there, byte for byte."""
    found = {}
    for path in store.fs.find(store._base):
        if not path.endswith("/" + MANIFEST):
            continue
        rel = path.removeprefix(store._base + "/").removesuffix("/" + MANIFEST)
        manifest = json.loads(store.fs.cat_file(path))
        found[rel] = manifest
        if store.read_text(f"{rel}/pointer.json"):
            continue
        for name, entry in manifest["outputs"].items():
            data = store.fs.cat_file(f"{store._base}/{rel}/{name}")
            assert hashlib.sha256(data).hexdigest() == entry["sha256"], (rel, name)
    return found


def test_a_run_killed_while_it_uploads_goes_on_and_ends_with_the_bytes_of_a_local_run(object_store, sample_run):
    local, run_id = sample_run
    killed = run_there(object_store, before=KILLED_WHILE_UPLOADING)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    store = Store(ROOT)
    store.fs.invalidate_cache()
    half = list(store.fs.find(f"{store._base}/runs/{run_id}/cluster_notes"))
    assert len(half) == 1  # one file had arrived
    done = finished_directories(store)
    assert f"runs/{run_id}/cluster_notes" not in done
    assert f"runs/{run_id}/fit_raters" in done
    assert store.manifest(f"runs/{run_id}/cluster_notes") is None

    again = run_there(object_store)
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert summary["run_id"] == run_id
    states = {stage: entry["state"] for stage, entry in summary["stages"].items()}
    assert {stage for stage in RUN_STAGES if states[stage] == "skipped"} == {"ingest", "fit_raters", "train_jury"}
    store.fs.invalidate_cache()
    done = finished_directories(store)
    for stage in RUN_STAGES:
        ours = json.loads((local / "runs" / run_id / stage / MANIFEST).read_text())
        assert done[f"runs/{run_id}/{stage}"]["outputs"] == ours["outputs"], stage


def test_a_second_machine_finds_everything_done(object_store, sample_run, tmp_path):
    """Another worker has none of the first one's copies: it reads the manifests and repeats nothing."""
    _, run_id = sample_run
    plan = Plan(Store(ROOT, cache=tmp_path), run_id)
    results = [plan.run(stage) for stage in RUN_STAGES]
    assert {result.state for result in results} == {"skipped"}
    summary = run_summary(plan.store, run_id, results)
    assert summary["posts"] == summary["winners"] + sum(summary["abstentions"].values()) > 0


def test_the_tasks_of_a_dag_work_on_it(object_store, sample_run):
    _, run_id = sample_run
    work = tasks.run_to_continue({"workspace": ROOT, "run": ""}, {})
    assert work == {"workspace": ROOT, "run_id": run_id}
    assert len(tasks.shard_indices(work)) > 1
    assert tasks.run_stage(work, "select_winners") == f"runs/{run_id}/select_winners"
    assert tasks.is_there(f"{ROOT}/runs/{run_id}/select_winners/{MANIFEST}")
    assert not tasks.is_there(f"{ROOT}/runs/{run_id}/nothing")
    assert tasks.report(work) == f"{ROOT}/runs/{run_id}/report.html"
    assert run_id in (Store(ROOT).read_text(f"runs/{run_id}/report.html") or "")


def test_a_day_is_fetched_into_the_object_store_and_leaves_no_copy(object_store, x_files):  # noqa: F811
    settings = [f"fetch_snapshot.url={x_files}", "fetch_snapshot.date_format=%Y-%m-%d", "fetch_snapshot.attempts=1"]
    told = tasks.fetch_snapshot({"workspace": ROOT, "set": settings}, "2026-11-18")
    assert told["input"] == f"{ROOT}/downloads/2026-11-18"
    store = Store(ROOT)
    assert "fetch.json" in store.list("downloads/2026-11-18")
    assert not (store.home / "downloads" / "2026-11-18").exists()
    assert tasks.is_there(told["input"])


def test_a_table_given_by_url_is_read_by_its_content(object_store):
    from pipeline.plan import _outside

    store = Store(ROOT)
    store.write_text("given/posts.jsonl", "one")
    first = _outside(f"{ROOT}/given/posts.jsonl")
    assert first.path.read_text() == "one"
    store.write_text("given/posts.jsonl", "two")
    assert _outside(f"{ROOT}/given/posts.jsonl").digest != first.digest
    with pytest.raises(InputError, match=r"given/none.jsonl' cannot be read"):
        _outside(f"{ROOT}/given/none.jsonl")
