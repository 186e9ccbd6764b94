"""`make airflow`: a local Airflow with these DAGs, on SQLite in `.airflow`, or on PostgreSQL by AIRFLOW__DATABASE__SQL_ALCHEMY_CONN."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Replace this process by `airflow standalone` with our DAGs folder, sample input and workspace as defaults."""
    from pipeline.airflow import home as airflow_home
    from pipeline.console import sample_directory, say

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", default="workspace")
    parser.add_argument("--airflow-home", default=".airflow")
    parser.add_argument("--port", default="8080")
    arguments = parser.parse_args()
    environment = dict(os.environ)
    base = f"http://127.0.0.1:{arguments.port}"
    environment |= {
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": arguments.port,
        "AIRFLOW__API__BASE_URL": base,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{base}/execution/",
        "AIRFLOW__CORE__PARALLELISM": environment.get("AIRFLOW__CORE__PARALLELISM", "4"),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "SUPERNOTES_WORKSPACE": environment.get("SUPERNOTES_WORKSPACE", str(Path(arguments.workspace).resolve())),
        "SUPERNOTES_INPUT": environment.get("SUPERNOTES_INPUT", str(sample_directory())),
    }
    airflow_home.prepare(Path(arguments.airflow_home), environment)
    airflow = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
    say(f"Airflow: {base}  (user and password are printed below; stop with Ctrl-C)")
    os.execve(airflow, [airflow, "standalone"], environment)


if __name__ == "__main__":
    main()
