"""Every page, and the analyst's work as plain forms: no script runs here, so this is also the app without JavaScript."""

from __future__ import annotations

import json
import re

import pytest

from inspector.decide import decisions
from inspector.pages.texts import swapped
from nouns.decisions import effective, text_sha256
from tests.inspector.conftest import hidden
from tests.inspector.worlds import write_world


def test_every_page_of_a_run_answers(desk):
    ana = desk.browser("ana", role="admin")
    for post_id in (
        desk.world.winner_post,
        desk.world.abstained_post,
        desk.world.revised_post,
        desk.world.hostile_post,
        desk.world.posts[10],
    ):
        assert ana.get(desk.path(post_id)).status_code == 200
    run = desk.world.run_id
    for path in (
        "/runs", desk.path(), desk.path(tail="/posts"), desk.path(tail="/misses"), desk.path(tail="/publication"), "/juries",
        f"/juries/jury-{run[:8]}", "/reports/agreement", f"/reports/agreement?run={run}", "/history", "/account", "/users",
        "/runs/compare", f"/runs/compare?a={run}&b={run}", desk.path(desk.world.winner_post, "/blind"),
        desk.path(desk.world.winner_post, "/compare"), desk.path(desk.world.winner_post, "/edit"), "/api/openapi.json", "/healthz",
    ):  # fmt: skip
        answer = ana.get(path)
        assert answer.status_code == 200, path
        assert len(answer.content) < 200_000, path


def test_the_post_page_shows_winner_numbers_pictures_notes_and_why(desk):
    page = desk.browser("ana").get(desk.path(desk.world.revised_post)).text
    assert "BREAKING: the city has banned sourdough" in page
    assert "by &lt;b&gt;poster" in page, "the author's name, and no markup of theirs"
    assert 'class="generated"' in page
    assert "0.52" in page
    assert "How many raters would find it helpful, from one side to the other" in page
    assert "with the regions of X&#39;s statuses" in page
    assert "Won: score 0.52" in page
    assert "Its score of" in page
    assert "finds the post right" in page


def test_generated_text_is_marked_wherever_it_stands(desk):
    ana = desk.browser("ana")
    winner = desk.site.index(desk.world.run_id).post(desk.world.winner_post)["winner_text"][:60]
    for path in (
        desk.path(tail="/posts"),
        desk.path(desk.world.winner_post),
        desk.path(desk.world.winner_post, "/blind"),
    ):
        page = re.sub(r"<[^>]*>", " ", ana.get(path).text)
        before = page[: page.replace("&#39;", "'").find(winner)]
        assert before.rstrip()[-400:].count("generated") >= 1, path


def test_the_candidate_page_shows_lineage_prompt_and_sources(desk):
    page = desk.browser("ana").get(desk.path(desk.world.revised_post, "/candidates/rev0000000000001")).text
    assert "Lineage" in page
    assert "<del>" in page
    assert "<ins>" in page
    assert "say who made the rule" in page
    draft = desk.site.index(desk.world.run_id).candidates(
        desk.site.index(desk.world.run_id).post(desk.world.winner_post)
    )[0]
    page = desk.browser("ana").get(desk.path(desk.world.winner_post, f"/candidates/{draft['candidate_id']}")).text
    assert "You merge proposed notes into one" in page
    assert "of the words" in page


def test_accepting_stores_the_exact_text_and_leads_to_the_next_unseen_post(desk):
    ana = desk.browser("ana")
    answer = ana.decide(desk.path(desk.world.winner_post), "accept")
    assert answer.status_code == 303
    assert str(desk.world.winner_post) not in answer.headers["location"].partition("?")[0]
    row = decisions.history(desk.site.engine)[0]
    assert (row.kind, row.analyst, row.created_at) == ("accept", "ana", desk.clock.now)
    assert row.text_sha256 == text_sha256(row.text)
    page = ana.get(answer.headers["location"]).text
    assert "Stored:" in page
    assert "Undo" in page


def test_undo_from_the_next_page_takes_the_decision_back(desk):
    ana = desk.browser("ana")
    page = ana.get(ana.decide(desk.path(desk.world.winner_post), "accept").headers["location"]).text
    at = page.index('class="flash"')
    path = re.search(r'action="(/decisions/\w+/undo)"', page[at:]).group(1)
    answer = ana.post(path, data=hidden(page[at:]))
    assert answer.status_code == 303
    assert f"/posts/{desk.world.winner_post}" in answer.headers["location"]
    assert effective(decisions.history(desk.site.engine)) == []


def test_rejecting_without_a_reason_says_what_is_missing_and_stores_nothing(desk):
    answer = desk.browser("ana").decide(desk.path(desk.world.winner_post), "reject")
    assert answer.status_code == 422
    assert "at least one reason" in answer.text
    assert decisions.history(desk.site.engine) == []


def test_rejecting_keeps_reasons_and_comment(desk):
    desk.browser("ana").decide(
        desk.path(desk.world.winner_post),
        "reject",
        reasons=["notHelpfulIncorrect", "notHelpfulOther"],
        comment="Wrong night.",
    )
    row = decisions.history(desk.site.engine)[0]
    assert (row.reasons, row.comment) == (("notHelpfulIncorrect", "notHelpfulOther"), "Wrong night.")


def test_a_post_without_candidates_can_be_not_needed_or_flagged_but_not_accepted(desk):
    ana = desk.browser("ana")
    page = ana.get(desk.path(desk.world.posts[10])).text
    assert 'value="accept"' not in page
    assert ana.decide(desk.path(desk.world.posts[10]), "accept").status_code == 422
    assert ana.decide(desk.path(desk.world.posts[10]), "flag").status_code == 303
    assert ana.decide(desk.path(desk.world.posts[10]), "not_needed").status_code == 303


def test_two_analysts_on_one_post_the_second_is_told_and_may_decide_again(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    path = desk.path(desk.world.winner_post)
    stale = bo.get(path).text
    assert ana.decide(path, "accept").status_code == 303
    refused = bo.decide(path, "not_needed", page=stale)
    assert refused.status_code == 409
    assert "ana decided on this post (accepted)" in refused.text
    assert bo.decide(path, "not_needed").status_code == 303
    assert [row.analyst for row in decisions.history(desk.site.engine)] == ["ana", "bo"]


def test_sending_the_same_form_again_after_going_back_stores_nothing_new(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    page = ana.get(path).text
    assert ana.decide(path, "accept", page=page).status_code == 303
    assert ana.decide(path, "accept", page=page).status_code == 303
    assert len(decisions.history(desk.site.engine)) == 1


def test_a_decision_on_a_text_that_has_changed_since_is_refused(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    page = ana.get(path).text.replace('name="text_sha256" value="', 'name="text_sha256" value="0000')
    answer = ana.decide(path, "accept", page=re.sub(r'(name="text_sha256" value="0000\w{60})\w*', r"\1", page))
    assert answer.status_code == 409
    assert "text has changed" in answer.text


def test_an_edit_is_checked_scored_kept_as_draft_and_stored(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    fields = hidden(ana.get(path + "/edit").text.split('id="main"')[1])
    checked = ana.post(path + "/edit", data={**fields, "action": "check", "text": "A calm LIE."}).text
    assert "stands in no source note" in checked
    assert "<mark" in checked
    assert "0.11" in checked
    assert "This is your draft" in ana.get(path + "/edit").text
    stored = ana.post(path + "/decisions", data={**fields, "kind": "edit", "text": "A calm text. https://a.example"})
    assert stored.status_code == 303
    row = decisions.history(desk.site.engine)[0]
    assert row.text == "A calm text. https://a.example"
    assert row.assessment["passed"]
    assert "This is your draft" not in ana.get(path + "/edit").text


def test_without_a_jury_an_edit_is_stored_and_says_that_it_was_not_checked(desk, monkeypatch):
    def missing(*_args):
        raise ImportError("no machine")

    monkeypatch.setattr(desk.site, "_assess", missing)
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    fields = hidden(ana.get(path + "/edit").text.split('id="main"')[1])
    assert "not installed here" in ana.post(path + "/edit", data={**fields, "action": "check", "text": "x"}).text
    answer = ana.post(path + "/decisions", data={**fields, "kind": "edit", "text": "A calm text."})
    assert "not checked" in ana.get(answer.headers["location"]).text


def test_a_blind_vote_hides_scores_and_shows_them_afterwards(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    page = ana.get(path + "/blind").text
    rows = desk.site.index(desk.world.run_id).candidates(
        desk.site.index(desk.world.run_id).post(desk.world.winner_post)
    )[:2]
    body = page[page.index('id="main"') : page.index("</main>")]
    assert f"{rows[0]['score']:.2f}" not in body
    assert "qwen3" not in body
    form = body[body.index('class="pair"') :]
    answer = ana.post(path + "/decisions", data={**hidden(form), "preferred": rows[1]["candidate_id"]})
    assert answer.status_code == 303
    row = decisions.history(desk.site.engine)[0]
    assert (row.kind, row.blind, row.candidate_id, row.other_id) == (
        "prefer",
        True,
        rows[1]["candidate_id"],
        rows[0]["candidate_id"],
    )
    after = ana.get(answer.headers["location"]).text
    assert "the jury scores A" in after


def test_left_and_right_are_drawn_fairly_and_stay_after_a_reload():
    sides = [swapped("ana", "r", f"a{i}", f"b{i}") for i in range(400)]
    assert sides == [swapped("ana", "r", f"a{i}", f"b{i}") for i in range(400)]
    assert 150 < sum(sides) < 250  # five standard deviations around 200
    assert all(swapped("ana", "r", f"a{i}", f"b{i}") != swapped("ana", "r", f"b{i}", f"a{i}") for i in range(400))


def test_skipping_moves_on_and_the_post_counts_as_seen(desk):
    ana = desk.browser("ana")
    first = ana.get(desk.path(tail="/next")).headers["location"]
    answer = ana.decide(first, "skip")
    assert answer.headers["location"] != first
    assert ana.get(desk.path(tail="/next")).headers["location"].partition("?")[0] != first.partition("?")[0]
    assert decisions.history(desk.site.engine) == []


def test_the_queue_goes_on_through_its_filter_until_nothing_is_left(desk):
    ana = desk.browser("ana")
    seen = []
    at = ana.get(desk.path(tail="/next?story=bread")).headers["location"]
    while "/posts/" in at.partition("?")[0]:
        seen.append(at.partition("?")[0])
        at = ana.decide(at, "not_needed").headers["location"]
    assert len(seen) == len(set(seen)) == 8
    assert "all_seen=1" in at


def test_publication_holds_accepted_and_edited_texts_with_provenance_and_withholds_flagged_ones(desk):
    ana = desk.browser("ana")
    first, second, third = desk.world.winner_post, desk.world.revised_post, desk.world.posts[2]
    for post_id in (first, second, third):
        ana.decide(desk.path(post_id), "accept")
    ana.decide(desk.path(third), "flag")
    rows = [json.loads(line) for line in ana.get(desk.path(tail="/publication.jsonl")).text.splitlines()]
    assert [row["post_id"] for row in rows] == [str(first), str(second)]
    assert rows[1]["provenance"]["candidate_id"] == "rev0000000000001"
    assert all(row["generated"] and row["sources"] and row["decision"]["analyst"] == "ana" for row in rows)
    assert "Flagged by ana" in ana.get(desk.path(tail="/publication")).text


def test_reports_follow_the_decisions(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    for post_id, bo_kind in (
        (desk.world.posts[0], "accept"),
        (desk.world.posts[1], "not_needed"),
        (desk.world.posts[2], "accept"),
    ):
        ana.decide(desk.path(post_id), "accept")
        bo.decide(desk.path(post_id), bo_kind)
    page = ana.get("/reports/agreement").text
    assert "67 %" in page
    assert "3 posts, 6 opinions" in page
    misses = ana.get(desk.path(tail="/misses")).text
    assert "note not needed" in misses


def test_two_runs_compare_over_the_posts_they_share(desk):
    write_world(desk.world.workspace, run_id="bbbbccccdddd", quality=0.05)
    page = desk.browser("ana").get(f"/runs/compare?a={desk.world.run_id}&b=bbbbccccdddd").text
    assert "Over the 40 posts both have" in page
    assert "draft_candidates.temperature" in page


def test_times_are_machine_readable_and_ids_are_never_numbers(desk):
    page = desk.browser("ana").get(desk.path(desk.world.winner_post)).text
    assert re.search(r'<time datetime="2024-04-\d\dT[\d:]+Z">', page)
    assert "e+18" not in page


def test_the_app_lives_under_a_prefix_of_another_application(desk):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    outer = FastAPI()
    outer.mount("/supernotes", desk.app)
    desk.browser("ana")
    client = TestClient(outer, follow_redirects=False)
    page = client.get("/supernotes/runs")
    assert page.headers["location"] == "/supernotes/login?next=%2Fruns"
    page = client.get(page.headers["location"])
    assert 'href="/supernotes/static/app.css' in page.text
    from tests.inspector.conftest import PASSWORD

    answer = client.post("/supernotes/login", data={**hidden(page.text), "name": "ana", "password": PASSWORD})
    assert answer.headers["location"] == "/supernotes/runs"
    assert "path=/supernotes" in answer.headers["set-cookie"].lower()
    page = client.get("/supernotes" + desk.path(desk.world.winner_post))
    assert page.status_code == 200
    assert not re.findall(r'(?:href|action|src)="/(?!supernotes/)', page.text)


@pytest.mark.parametrize(
    "filters",
    ["?q=sourdough", "?decided=unseen&sort=width", "?min_score=abc&sort=evil", "?after=0.1~5", "?before=zzz", "?q=%00"],
)
def test_the_queue_answers_any_address(desk, filters):
    assert desk.browser("ana").get(desk.path(tail="/posts" + filters)).status_code == 200


def test_an_empty_workspace_says_what_to_do(tmp_path):
    from fastapi.testclient import TestClient

    from inspector.app import create_app
    from inspector.settings import InspectorSettings

    client = TestClient(create_app(InspectorSettings(workspace=str(tmp_path), single_user="ana")))
    assert "supernotes demo" in client.get("/").text


def test_a_candidate_can_be_preferred_to_a_note_of_people_blind_and_the_other_way_round(desk):
    ana = desk.browser("ana")
    post = desk.world.winner_post
    index = desk.site.index(desk.world.run_id)
    row = index.post(post)
    note = next(n for n in index.notes(row) if n["note_id"] == row["best_note_id"])
    winner, rival = row["winner_id"], f"note-{note['note_id']}"
    path = desk.path(post)
    assert f"a={winner}&amp;b={rival}" in ana.get(path).text

    blind = ana.get(f"{path}/blind?a={winner}&b={rival}").text
    assert "written by people: shown after the vote" in blind
    assert "best existing" not in blind
    assert str(row["score"])[:4] not in blind
    form = blind[blind.index('class="pair"') - 200 :]
    for chosen, other in ((rival, winner), (winner, rival)):
        fields = hidden(ana.get(f"{path}/blind?a={winner}&b={rival}").text[blind.index('class="pair"') - 200 :])
        answer = ana.post(path + "/decisions", data={**fields, "preferred": chosen})
        assert answer.status_code == 303
        stored = decisions.history(desk.site.engine)[-1]
        assert (stored.kind, stored.candidate_id, stored.other_id, stored.blind) == ("prefer", chosen, other, True)
        texts = {rival: note["text"], winner: row["winner_text"]}
        assert stored.text_sha256 == text_sha256(texts[chosen])
        assert stored.other_sha256 == text_sha256(texts[other])
        shown = ana.get(answer.headers["location"]).text
        assert "You preferred <b>A</b>" in shown
        assert "written by people" in shown
    assert form
    assert ana.get("/reports/agreement").text.count("50 %") == 4  # one vote each way: jury agreed with one of the two

    assert ana.get(f"{path}/blind?a={winner}&b=note-1").status_code == 404
    fields = hidden(blind[blind.index('class="pair"') - 200 :])
    accepted = ana.post(
        path + "/decisions", data={**fields, "kind": "accept", "candidate_id": rival, "client_key": "k" * 32}
    )
    assert accepted.status_code == 404  # a note of people is nothing to publish once more


def test_a_run_compared_with_itself_says_so_and_lists_no_changed_post(desk):
    run = desk.world.run_id
    page = desk.browser("ana").get(f"/runs/compare?a={run}&b={run}").text
    assert "A and B are the same run." in page
    assert "None: every post has the same outcome" in page
    assert page.count("<tr><td>B</td>") == page.count("<tr><td>A</td>") > 0


def test_comparing_two_candidates_names_others_by_their_rank_and_not_by_their_id(desk):
    index = desk.site.index(desk.world.run_id)
    post = index.post(desk.world.winner_post)
    ids = [found for found, _, _ in index.places(post)]
    page = desk.browser("ana").get(desk.path(post["post_id"], f"/compare?a={ids[2]}")).text
    why = " ".join(re.findall(r'<p class="why[^>]*>(.*?)</p>', page))
    assert why
    assert not any(found in why for found in ids)
