"""A local Airflow home on SQLite: the environment Airflow needs before it is imported, and a migrated database."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

SQLITE = {"timeout": 60}
"""Seconds that a writer waits for another: SQLite's own 5 end in an answer 500 where five processes are busy."""


def dags_folder() -> Path:
    """The folder of this project's DAG files: of the checkout, else inside the installed package."""
    checkout = Path(__file__).resolve().parents[2] / "dags"
    return checkout if (checkout / "refresh_jury.py").is_file() else Path(__file__).resolve().with_name("dags")


def prepare(home: Path, environment: MutableMapping[str, str] | None = None) -> MutableMapping[str, str]:
    """Point Airflow to `home` and to our DAGs. Call it before anything imports airflow; what is set already stays."""
    home.mkdir(parents=True, exist_ok=True)
    target = os.environ if environment is None else environment
    if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in target:
        patience = f"{__name__}.SQLITE"
        target.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS", patience)
        target.setdefault("AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC", patience)
    return _set(
        target,
        {
            "AIRFLOW_HOME": str(home.resolve()),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder()),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home.resolve() / "logs"),
        },
    )


def prepare_in_process(home: Path) -> None:
    """`prepare` for DAG runs inside this process (`dag.test()`), which are told less and retry nothing."""
    prepare(home)
    _set(
        os.environ,
        {
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            # `dag.test()` of Airflow 3.3.2 fails on a DAG with a deadline, and it would wait out a retry's delay.
            "SUPERNOTES_DEADLINE_HOURS": "0",
            "SUPERNOTES_RETRIES": "0",
        },
    )


def _set(target: MutableMapping[str, str], values: dict[str, str]) -> MutableMapping[str, str]:
    for name, value in values.items():
        target.setdefault(name, value)
    return target


def migrate() -> None:
    """Bring the database of the prepared home up to date, for DAG runs inside this process; quick when it is."""
    from airflow.utils.db import check_migrations, initdb

    _build_fewer_api_versions()

    try:
        check_migrations(1)
    except Exception:
        initdb()


def _build_fewer_api_versions() -> None:
    """Make the first task of `dag.test()` start in 4 s of processor time instead of 12.

    `dag.test()` of Airflow 3.3.2 builds its task API inside the process in all nine versions that a remote worker of some
    older Airflow may speak, and then speaks the newest one to itself. Here the changes from the newest to the oldest
    are taken as one step, so two versions are built; the newest is what it was. Where Airflow or Cadwyn look otherwise
    than known here, nothing is changed: it is only slower.
    """
    try:
        from airflow.api_fastapi.execution_api import versions
        from cadwyn import HeadVersion, Version, VersionBundle

        whole = versions.bundle
        newest, *between, oldest = whole.versions
        changes = [change for version in whole.versions for change in version.changes]
    except (ImportError, AttributeError, ValueError):
        return
    if not between or oldest.changes:
        return
    for change in changes:
        change._bound_version_bundle = None  # a change belongs to one bundle only
    try:
        versions.bundle = VersionBundle(HeadVersion(), Version(newest.value, *changes), Version(oldest.value))
    except Exception:
        for change in changes:
            change._bound_version_bundle = whole
