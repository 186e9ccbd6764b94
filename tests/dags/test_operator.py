"""An operator at the browser: `make airflow` in an emptied environment, forms, graph, approval, the inspector inside Airflow.

One Airflow serves all tests of this file, which run in this order, as a person would go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from pipeline.console import sample_directory
from tests.pipeline.fast import FAST
from tests.servers import free_port
from tests.servers_airflow import descendants, end_with_parent

CHROMIUM = shutil.which("chromium")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed"),
]


@dataclass
class Desk:
    """The operator's machine: the terminal with `make airflow`, the browser, and what REST tells."""

    process: subprocess.Popen[str]
    terminal: Path
    workspace: Path
    alerts: Path
    url: str
    page: Any = None
    password: str = ""
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))

    def get(self, path: str, **params: Any) -> Any:
        answer = self.client.get(f"{self.url}/api/v2/{path}", params=params)
        assert answer.is_success, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def runs(self, dag: str) -> list[dict[str, Any]]:
        return self.get(f"dags/{dag}/dagRuns", order_by="run_after")["dag_runs"]

    def until(self, what: str, look: Any, seconds: float = 1200) -> Any:
        """What `look` finds, once it finds something; fails at once where a DAG run has failed."""
        end = time.monotonic() + seconds
        while not (found := look()):
            failed = [run["dag_run_id"] for run in self.runs("~") if run["state"] == "failed"]
            assert not failed, (what, failed, self.terminal.read_text())
            assert time.monotonic() < end, (what, [(r["dag_id"], r["state"]) for r in self.runs("~")])
            time.sleep(1)
        return found


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Iterator[Desk]:
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("operator")
    port, venv = free_port(), Path(sys.executable).parents[1]
    environment = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "UV_", "SSL_"))}
    environment |= {
        f"SUPERNOTES_{k.upper().replace('.', '__')}": v for k, _, v in (flag.partition("=") for flag in FAST)
    }
    environment |= {
        "PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": str(ROOT), "SUPERNOTES_RETRY_SECONDS": "5",
        "SUPERNOTES_NOTIFIERS": "tests.dags.notifier.write_down", "SUPERNOTES_TEST_ALERTS": str(folder / "alerts.jsonl"),
    }  # fmt: skip
    words = [
        f"VENV={venv}",
        f"WORKSPACE={folder / 'workspace'}",
        f"ARGS=--airflow-home {folder / 'airflow'} --port {port}",
    ]
    with (folder / "terminal").open("w") as terminal:
        process = subprocess.Popen(
            ["make", "-o", f"{venv}/.ready", "airflow", *words], cwd=ROOT, env=environment, stdout=terminal,
            stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=end_with_parent,
        )  # fmt: skip
    found = Desk(
        process, folder / "terminal", folder / "workspace", folder / "alerts.jsonl", f"http://127.0.0.1:{port}"
    )
    try:
        end = time.monotonic() + 300
        while not (said := re.search(r"user admin, password (\S+)", found.terminal.read_text())):
            assert process.poll() is None, found.terminal.read_text()
            assert time.monotonic() < end, found.terminal.read_text()
            time.sleep(1)
        found.password = said[1]
        token = found.client.post(f"{found.url}/auth/token", json={"username": "admin", "password": said[1]}).json()
        found.client.headers["Authorization"] = f"Bearer {token['access_token']}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            found.page = browser.new_page(viewport={"width": 1700, "height": 1000})
            found.page.set_default_timeout(90_000)
            yield found
            browser.close()
    finally:
        for one in descendants(process.pid):
            one.kill()


def test_the_terminal_says_user_and_password_once_and_the_dags_are_on(desk):
    assert desk.terminal.read_text().count(desk.password) == 1
    found = desk.until("eight DAGs", lambda: (d := desk.get("dags")["dags"]) and len(d) == 8 and d)
    assert {dag["dag_id"] for dag in found if dag["is_paused"]} == {"fetch_snapshot"}


def test_who_is_not_signed_in_is_led_through_airflows_login_to_the_inspector(desk):
    desk.page.goto(f"{desk.url}/supernotes/")
    assert "/auth/login" in desk.page.url
    desk.page.fill("input[name=username]", "admin")
    desk.page.fill("input[name=password]", desk.password)
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_url("**/supernotes/runs")


def test_every_form_starts_with_its_defaults(desk):
    """The button of each form is enabled as it opens; refresh_jury's is pressed."""
    for dag in sorted(dag["dag_id"] for dag in desk.get("dags")["dags"]):
        if dag != "refresh_jury":
            button = form_of(desk.page, f"{desk.url}/dags/{dag}")
            assert button.is_enabled(), dag
    form_of(desk.page, f"{desk.url}/dags/refresh_jury").click()
    desk.until("the triggered run", lambda: desk.runs("refresh_jury"), 60)


def form_of(page: Any, address: str) -> Any:
    """Open a DAG's trigger form; its button, once it had time to be enabled."""
    page.goto(address)
    page.get_by_role("button", name="Trigger").first.click()
    button = page.get_by_role("dialog").get_by_role("button", name="Trigger")
    button.wait_for()
    page.wait_for_timeout(1500)
    return button


def test_events_during_a_running_dag_are_each_served(desk):
    assert desk.runs("refresh_jury")[0]["state"] in ("queued", "running")
    second = desk.workspace.parent / "second"
    shutil.copytree(sample_directory(), second)
    rows = (second / "notes-00000.tsv").read_text().splitlines(keepends=True)
    (second / "notes-00000.tsv").write_text("".join(rows[:-1]))
    asset = next(a["id"] for a in desk.get("assets")["assets"] if a["name"] == "supernotes_snapshot")
    for source in (sample_directory(), second):
        body = {"asset_id": asset, "extra": {"input": str(source)}}
        assert desk.client.post(f"{desk.url}/api/v2/assets/events", json=body).status_code == 200

    def served() -> bool:
        return [run["state"] for run in desk.runs("refresh_jury")] == ["success"] * 3

    desk.until("three refreshed juries", served)
    kinds = sorted(run["dag_run_id"].split("__")[0] for run in desk.runs("refresh_jury"))
    assert kinds == ["asset_triggered", "event", "manual"]
    described = [json.loads(path.read_text()) for path in desk.workspace.glob("runs/*/run.json")]
    assert {run["request"]["source"] for run in described} == {str(sample_directory()), str(second)}


def test_the_graph_shows_groups_one_after_the_other(desk):
    desk.page.goto(f"{desk.url}/dags/synthesize_supernotes")
    desk.page.get_by_role("button", name="Show Graph").click()
    for name in ("take_events", "find_run", "cluster_notes", "every_post", "build_pairs", "report"):
        desk.page.locator(".react-flow__node", has_text=name).first.wait_for()
    assert desk.page.locator(".react-flow__node").count() == 7
    if out := os.environ.get("SUPERNOTES_TEST_PICTURES"):
        desk.page.screenshot(path=f"{out}/synthesize_supernotes.png")


def test_the_chain_ends_at_an_export_that_waits_and_is_approved_in_the_browser(desk):
    def waiting() -> list[dict[str, Any]]:
        asked = desk.get("dags/~/dagRuns/~/hitlDetails", response_received=False)["hitl_details"]
        return asked if len(asked) == 2 else []

    asked = desk.until("two exports to approve", waiting)
    told = [json.loads(line)["facts"] for line in desk.alerts.read_text().splitlines()]
    assert [fact["kind"] for fact in told] == ["asked"] * 2
    assert not (desk.workspace / "exports" / "current.json").exists()
    run = asked[0]["task_instance"]["dag_run_id"]
    desk.page.goto(next(fact["answer_url"] for fact in told if fact["dag_run"] == run))
    desk.page.get_by_role("button", name="Approve").click()
    desk.until(
        "the approved run", lambda: {r["dag_run_id"]: r["state"] for r in desk.runs("publish_export")}[run] == "success"
    )
    current = json.loads((desk.workspace / "exports" / "current.json").read_text())
    assert (desk.workspace / current["path"] / "manifest.json").is_file()


def test_a_task_leads_to_its_runs_page_and_report(desk):
    run = desk.runs("synthesize_supernotes")[0]["dag_run_id"]
    desk.page.goto(f"{desk.url}/dags/synthesize_supernotes/runs/{run}/tasks/report/details")
    for name in ("Supernotes run", "Report"):
        link = desk.page.get_by_role("link", name=name, exact=True)
        link.wait_for()
        assert desk.page.request.get(f"{desk.url}{link.get_attribute('href')}").ok


def test_the_inspector_stands_inside_airflow(desk):
    desk.page.goto(f"{desk.url}/plugin/supernotes-inspector")
    inside = desk.page.frame_locator("iframe")
    inside.get_by_role("link", name="Next unseen post").first.click()
    inside.locator("[data-part=note]").first.wait_for()


def test_make_airflow_ends_and_says_why_when_a_part_dies(desk):
    family = descendants(desk.process.pid)
    scheduler = next(p for p in family if "scheduler" in " ".join(_words(p)))
    scheduler.kill()
    assert desk.process.wait(60) != 0
    assert "error: scheduler ended with -9; all parts are stopped." in desk.terminal.read_text()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not [p for p in alive if "airflow" in " ".join(_words(p))]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
