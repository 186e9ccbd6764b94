"""Airflow reads its environment when it is imported: it is set here, before any test of this folder imports it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from pipeline.airflow import home as airflow_home

_HOME = Path(tempfile.mkdtemp(prefix="supernotes-airflow-"))
airflow_home.prepare_in_process(_HOME)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(scope="session")
def dagbag():
    """The DAGs of this project, with a migrated database on SQLite."""
    airflow_home.migrate()
    from airflow.dag_processing.dagbag import DagBag

    yield DagBag(str(airflow_home.dags_folder()))
    shutil.rmtree(_HOME, ignore_errors=True)
