from __future__ import annotations

import sys
from pathlib import Path

import absl.logging
import pytest

from nouns.stages import RUN_STAGES
from pipeline.console import sample_directory
from pipeline.plan import Plan, RunRequest, create_run
from pipeline.settings import load_settings
from storage.store import Store
from tests.pipeline.fast import FAST

# Imported by mlcroissant, it closes the standard error it met at its import as soon as logging is set up anew (uvicorn does so). In a
# test that would be the file in which pytest captures, and every later test would fail.
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)


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
