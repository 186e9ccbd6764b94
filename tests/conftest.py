from __future__ import annotations

from pathlib import Path

import pytest

from nouns.stages import RUN_STAGES
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST


@pytest.fixture(scope="session")
def sample_run(tmp_path_factory) -> tuple[Path, str]:
    """A workspace with one finished run on the bundled sample, and the run's id. Read only."""
    workspace = tmp_path_factory.mktemp("workspace")
    store = Store(workspace)
    sample = sample_directory()
    request = RunRequest(str(sample), posts=str(sample / "posts.jsonl"))
    run_id = create_run(store, request, load_settings(environment={}, flags=FAST))
    plan = Plan(store, run_id)
    for stage in RUN_STAGES:
        plan.run(stage)
    return workspace, run_id
