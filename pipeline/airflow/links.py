"""A link from every task to its run's page in the analysts' app, and one to its report."""

from __future__ import annotations

import os
import re
from typing import Any

from airflow.sdk import BaseOperatorLink

PREFIX = "/supernotes"
_RUN = re.compile(r"(?:^|/)runs/([0-9a-f]{12})(?:/|$)")


class RunLink(BaseOperatorLink):
    """The page of the run that a task worked on: every stage's counts, the scores, where every post went.

    Made in the task's own process when it ends, whatever became of it. The run is the one that the DAG run's task `find_run` or
    `describe_run` returned; before those there is no link.
    """

    name = "Supernotes run"
    page = ""

    @property
    def xcom_key(self) -> str:
        return f"_link_supernotes{self.page.replace('/', '_')}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        from airflow.sdk.execution_time.xcom import XCom

        base = os.environ.get("SUPERNOTES_INSPECTOR_URL", PREFIX).rstrip("/")
        before = {operator.task_id, *operator.get_flat_relative_ids(upstream=True)}
        for first in sorted({"find_run", "describe_run"} & before):
            found = XCom.get_one(key="return_value", dag_id=ti_key.dag_id, task_id=first, run_id=ti_key.run_id)
            if run := run_in(found):
                return f"{base}/runs/{run}{self.page}"
        return ""


class ReportLink(RunLink):
    """The report that the task `report` writes at the end of `synthesize_supernotes`; served inside Airflow."""

    name = "Report"
    page = "/report.html"


def run_in(returned: Any) -> str | None:
    """The run's id in what one of our tasks returned: a path `.../runs/ID/...`, or {"run_id": ID}; else None."""
    if isinstance(returned, dict):
        returned = f"runs/{returned.get('run_id', '')}/"
    found = _RUN.search(returned) if isinstance(returned, str) else None
    return found[1] if found else None


def linked(dag: Any) -> Any:
    """Give every task of a DAG its links."""
    for task in dag.tasks:
        if task.task_type != "TriggerDagRunOperator" and not task.is_mapped:
            task.operator_extra_links = (RunLink(), ReportLink())
    return dag
