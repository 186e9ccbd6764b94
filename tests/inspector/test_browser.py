"""The analyst's hour in a real browser: Debian's Chromium through Playwright, against a real server on loopback."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from inspector.app import create_app
from inspector.decide import decisions
from inspector.settings import InspectorSettings
from inspector.site import now_ms
from nouns.decisions import effective
from tests.inspector.conftest import PASSWORD, Desk, assess_by_length
from tests.inspector.worlds import World
from tests.servers_postgres import free_port

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed here (apt-get install chromium)"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Office:
    """A served inspector and the analysts' browser windows."""

    def __init__(self, desk: Desk, base: str, chromium) -> None:
        self.desk, self.base, self.chromium = desk, base, chromium
        self.contexts: list = []
        self.problems: list[str] = []

    def window(self, name: str | None = "ana", role: str = "analyst", **options):
        """A page of a fresh profile, signed in through the form. Whatever the console complains of is kept."""
        from inspector.decide import accounts

        context = self.chromium.new_context(
            **({"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options)
        )
        context.set_default_timeout(20_000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        if name is not None:
            if accounts.find_user(self.desk.site.engine, name) is None:
                accounts.add_user(self.desk.site.engine, name, role, PASSWORD, self.desk.site.now())
            page.goto(self.base + "/login")
            page.get_by_label("Name").fill(name)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(self.base + "/runs")
        return page

    def rows(self) -> list[decisions.Decision]:
        return decisions.history(self.desk.site.engine)


@pytest.fixture
def office(world: World, chromium) -> Iterator[Office]:
    port = free_port()
    app = create_app(InspectorSettings(workspace=str(world.workspace), assess=assess_by_length, port=port))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    found = Office(Desk(world, app.state.site, app, now_ms), f"http://127.0.0.1:{port}", chromium)  # type: ignore[arg-type]
    yield found
    for context in found.contexts:
        context.close()
    server.should_exit = True
    thread.join(timeout=10)


def test_an_analysts_hour_by_keyboard_alone(office):
    page = office.window()
    world = office.desk.world
    page.goto(f"{office.base}/runs/{world.run_id}/posts?sort=oldest")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/posts/{world.posts[0]}?**")

    page.keyboard.press("a")  # accept, and land on the next post
    page.wait_for_url(f"**/posts/{world.posts[1]}?**done=**")
    page.get_by_text("Stored:").wait_for()
    page.keyboard.press("u")  # undo, and be back
    page.wait_for_url(f"**/posts/{world.posts[0]}?**undone=**")
    assert effective(office.rows()) == []

    page.keyboard.press("r")  # reject with the first and the third reason
    page.keyboard.press("1")
    page.keyboard.press("3")
    page.keyboard.press("r")
    page.wait_for_url(f"**/posts/{world.posts[1]}?**")
    assert office.rows()[-1].reasons == ("notHelpfulIncorrect", "notHelpfulMissingKeyPoints")

    page.keyboard.press("f")
    page.get_by_text("flagged").first.wait_for()
    page.keyboard.press("n")
    page.wait_for_url(f"**/posts/{world.posts[2]}?**")
    page.keyboard.press("s")  # skip
    page.wait_for_url(f"**/posts/{world.posts[3]}?**")
    page.keyboard.press("k")
    page.wait_for_url(f"**/posts/{world.posts[2]}?**")

    page.keyboard.press("b")  # blind vote
    page.wait_for_url("**/blind?**")
    page.keyboard.press("ArrowRight")
    page.get_by_text("You preferred").wait_for()
    assert [row.kind for row in office.rows()] == ["accept", "undo", "reject", "flag", "not_needed", "prefer"]
    assert office.rows()[-1].blind
    assert office.problems == []


def test_editing_moves_the_score_keeps_the_draft_and_stores_the_text(office):
    page = office.window()
    world = office.desk.world
    page.goto(f"{office.base}/runs/{world.run_id}/posts/{world.winner_post}")
    page.keyboard.press("e")
    page.wait_for_url("**/edit?**")
    area = page.locator("#text")
    area.fill("A calm LIE. https://a.example")
    page.get_by_text("stands in no source note").wait_for()
    assert page.locator("#new-score b").inner_text() == "0.13"
    area.fill("A calm and much longer text. https://a.example")
    page.get_by_text("claims supported passed").wait_for()
    assert page.locator("#new-score b").inner_text() == "0.15"
    assert page.locator("#count").inner_text() == "46"
    page.goto(f"{office.base}/runs")
    page.goto(f"{office.base}/runs/{world.run_id}/posts/{world.winner_post}/edit")
    assert "much longer" in page.locator("#text").input_value()
    page.get_by_role("button", name="Store this edit").click()
    page.get_by_text("Stored:").wait_for()
    assert office.rows()[-1].text == "A calm and much longer text. https://a.example"
    assert office.problems == []


def test_two_analysts_at_once_and_the_back_button(office):
    ana, bo = office.window("ana"), office.window("bo")
    world = office.desk.world
    address = f"{office.base}/runs/{world.run_id}/posts/{world.winner_post}"
    ana.goto(address)
    bo.goto(address)
    ana.get_by_role("button", name="Accept").click()
    ana.get_by_text("Stored:").wait_for()
    bo.get_by_role("button", name="Not needed").click()
    bo.get_by_role("heading", name="Not stored").wait_for()
    assert "ana decided on this post (accepted)" in bo.locator("main").inner_text()
    bo.get_by_role("link", name="Look at the post as it is now").click()
    bo.get_by_text("by ana").first.wait_for()
    bo.get_by_role("button", name="Not needed").click()
    bo.get_by_text("Stored:").wait_for()
    assert [(row.analyst, row.kind) for row in office.rows()] == [("ana", "accept"), ("bo", "not_needed")]

    ana.go_back()  # the page before is read afresh: it shows what happened since, and storing needs a new press
    ana.get_by_text("by bo").first.wait_for()
    assert [(row.analyst, row.kind) for row in office.rows()] == [("ana", "accept"), ("bo", "not_needed")]
    assert [text for text in office.problems if "409" not in text] == []


def test_everything_works_without_javascript(office):
    page = office.window(java_script_enabled=False)
    world = office.desk.world
    page.goto(f"{office.base}/runs/{world.run_id}/posts")
    page.get_by_label("Outcome").select_option("winner")
    page.get_by_role("searchbox").fill("sourdough")
    page.get_by_role("button", name="Apply").click()
    page.locator(".queue .open").first.click()
    page.locator("summary", has_text="Reject").click()
    page.get_by_label("Misses key points").check()
    page.get_by_role("button", name="Reject with these reasons").click()
    assert "Stored:" in page.locator("main").inner_text()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("link", name="Edit").first.click()
    page.locator("#text").fill("A calm text. https://a.example")
    page.get_by_role("button", name="Check and score").click()
    assert "0.13" in page.locator("#assessment").inner_text()
    page.get_by_role("button", name="Store this edit").click()
    page.get_by_role("button", name="Sign out").click()
    assert page.url.endswith("/login")
    assert [row.kind for row in office.rows()] == ["reject", "undo", "edit"]
    assert re.search(r"\d\d:\d\d UTC", page.content()) is None


def test_source_sentences_show_on_a_tap_and_hostile_texts_do_nothing(office):
    page = office.window()
    world = office.desk.world
    page.goto(f"{office.base}/runs/{world.run_id}/posts/{world.winner_post}")
    page.locator(".chosen .ref").first.click()
    assert "of its words" in page.locator(".source-pop:popover-open").inner_text()
    for tail in ("", "/edit", "/blind", "/compare"):
        page.goto(f"{office.base}/runs/{world.run_id}/posts/{world.hostile_post}{tail}")
        assert "stolen" not in page.title()
    page.goto(f"{office.base}/juries/jury-{world.run_id[:8]}/files/report.html")
    assert page.title() == "Report"
    assert [text for text in office.problems if "sandbox" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_its_window_and_is_sound_to_axe(office, scheme, width):
    from axe_playwright_python.sync_playwright import Axe

    world = office.desk.world
    axe, run = Axe(), f"/runs/{world.run_id}"
    post, abstained = f"{run}/posts/{world.revised_post}", f"{run}/posts/{world.abstained_post}"
    paths = [
        "/runs", run, f"{run}/map", f"{run}/stories", f"{run}/misses", f"{run}/publication", f"/runs/compare?a={world.run_id}&b={world.run_id}",
        f"{run}/posts", f"{run}/posts?all_seen=1", f"{run}/posts?q=nothing-like-this", post, abstained, f"{run}/posts/{world.hostile_post}",
        f"{post}/edit", f"{abstained}/edit?candidate=new", f"{post}/blind", f"{post}/compare", f"{post}/candidates/rev0000000000001?call=1",
        "/juries", f"/juries/jury-{world.run_id[:8]}", "/reports/agreement", "/history", "/account", "/users", "/glossary", "/api/docs", "/nowhere",
    ]  # fmt: skip
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
    found = []

    def look(page, path: str) -> None:
        page.goto(office.base + path)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append((path, "is wider than the window"))
        found.extend(
            (path, entry["id"], entry["nodes"][0]["html"][:200])
            for entry in axe.run(page, options=options).response["violations"]
            if entry["impact"] in ("serious", "critical")
        )

    window = {"color_scheme": scheme, "viewport": {"width": width, "height": 844}}
    page = office.window("root", "admin", **window)
    look(office.window(None, **window), "/login")
    page.goto(f"{office.base}{post}")
    page.get_by_role("button", name="Flag").click()  # a flagged post has a form more
    page.get_by_text("flagged").first.wait_for()
    for path in paths:
        look(page, path)
    assert not found, "\n".join(map(str, found))


def test_twenty_posts_are_decided_by_keyboard_and_everything_to_decide_by_is_on_the_first_screen(office):
    page = office.window(viewport={"width": 1366, "height": 768})
    page.goto(f"{office.base}/runs/{office.desk.world.run_id}/next?sort=oldest")
    for number in range(20):
        before = page.url
        for part in (
            "post",
            "note",
            "verdict",
            "decide",
            *(["doubts"] if page.locator("[data-part=doubts]").count() else []),
        ):
            box = page.locator(f"[data-part={part}]").bounding_box()
            assert 0 <= box["y"] <= 768 - box["height"], (part, box, page.url)
        page.keyboard.press("c")
        page.keyboard.type(f"remark {number}")
        page.keyboard.press("Escape")
        page.keyboard.press("a")  # agrees with the machine, whatever it says
        page.wait_for_url(lambda url, before=before: url != before)
    rows = office.rows()
    assert [row.comment for row in rows] == [f"remark {number}" for number in range(20)]
    assert {row.kind for row in rows} == {"accept", "publish_none"}
