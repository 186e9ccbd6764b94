"""A post's settled parts are kept: whoever reads must still get their own page, and the same one as if nothing were kept."""

from __future__ import annotations

import re
import sqlite3
import threading

import pytest

from inspector.fragments import BASE, AnyFilters, Fragments, Parts, cut
from inspector.pages.posts import prepare_pages, render_parts
from inspector.reading import Filters


def settled(page: str) -> str:
    """A page without what is drawn anew for every form."""
    return re.sub(r'name="(csrf|client_key|based_on)" value="[^"]*"|<meta name="csrf"[^>]*>', "", page)


@pytest.mark.parametrize("query", ["", "?outcome=winner&q=%22%3E%3Cb%3E&sort=score", "?from=10"])
def test_a_page_from_memory_and_one_from_disk_equal_the_first_rendering(desk, query):
    ana = desk.browser("ana")
    index = desk.site.index(desk.world.run_id)
    path = desk.path(desk.world.revised_post) + query
    first = settled(ana.get(path).text)
    assert settled(ana.get(path).text) == first
    index.fragments = Fragments(index.path)
    assert settled(ana.get(path).text) == first


def test_links_in_kept_parts_carry_the_readers_own_filters(desk):
    ana, path = desk.browser("ana"), desk.path(desk.world.revised_post)
    ana.get(path + "?sort=score&q=secret-of-ana")
    page = desk.browser("ben").get(path + "?q=a%26b").text
    assert "secret-of-ana" not in page
    links = re.findall(r'href="([^"]*/candidates/[^"]*)"', page)
    assert links
    assert all(link.endswith("?q=a%26b") for link in links)
    assert "?q=a%26b&amp;candidate=" in page


def test_decisions_appear_on_a_kept_page_at_once(desk):
    ana, path = desk.browser("ana"), desk.path(desk.world.winner_post)
    assert "Decisions on this post" not in ana.get(path).text
    ana.decide(path, "flag")
    assert "Decisions on this post" in desk.browser("ben").get(path).text


def test_pages_are_read_and_a_decision_waits_its_turn_while_another_program_writes(desk):
    ana, path = desk.browser("ana"), desk.path(desk.world.winner_post)
    ana.get(path)
    other = sqlite3.connect(desk.site.engine.url.database, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.6, other.execute, ("ROLLBACK",))
    done.start()
    assert ana.get(path).status_code == 200
    ana.decide(path, "flag")
    done.join()
    assert "Decisions on this post" in ana.get(path).text


def test_stand_ins_are_filled_and_escaped_and_no_text_can_hold_one():
    html = f'<a href="{BASE}/x?{AnyFilters().query(a="ü&b")}">t</a><a href="?{AnyFilters().query()}">u</a>'
    parts = Parts("c", "s", cut(html), cut(""), cut("no stand-in"))
    again = Parts.unpack(parts.pack())
    assert again == parts
    shown = again.fill(Filters(q='"><script>').query(), "/app")
    assert (
        shown["reading"]
        == '<a href="/app/x?q=%22%3E%3Cscript%3E&amp;a=%C3%BC%26b">t</a><a href="?q=%22%3E%3Cscript%3E">u</a>'
    )
    assert again.fill("", "")["reading"] == '<a href="/x?a=%C3%BC%26b">t</a><a href="?">u</a>'
    assert BASE not in "".join(parts.reading)


def test_a_broken_or_unwritable_file_of_pages_costs_time_only(desk):
    index = desk.site.index(desk.world.run_id)
    index.fragments = Fragments(index.path)
    for suffix in ("", "-wal", "-shm"):
        (index.path / f"pages.sqlite{suffix}").unlink(missing_ok=True)
    (index.path / "pages.sqlite").write_bytes(b"not a database at all, " * 500)
    ana = desk.browser("ana")
    assert ana.get(desk.path(desk.world.winner_post)).status_code == 200
    index.fragments = Fragments(index.path / "nowhere")
    assert ana.get(desk.path(desk.world.winner_post)).status_code == 200


def test_pages_can_be_prepared_for_a_whole_run_once(desk):
    index = desk.site.index(desk.world.run_id)
    index.fragments = Fragments(index.path)
    heard = []
    assert prepare_pages(desk.site.workspace, index, lambda *said: heard.append(said)) == len(index.post_ids())
    assert heard[-1][1:] == (len(index.post_ids()),) * 2
    assert prepare_pages(desk.site.workspace, index, lambda *said: None) == 0
    post = index.post(desk.world.revised_post)
    kept = index.fragments.get(post["post_id"], "", 0, lambda: pytest.fail("it was not kept"))
    fresh = render_parts(desk.site.workspace, index, post, "", 0)
    assert kept == fresh


def test_keeping_stays_within_its_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("inspector.fragments.MEMORY", 1_000)
    kept = Fragments(tmp_path)
    for post_id in range(50):
        kept.get(post_id, "x", 0, lambda: Parts(None, None, ["a" * 300], [], []))
    assert kept._size <= 1_000
    assert len(kept._kept) == 3
