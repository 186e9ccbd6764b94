"""Every post can be settled, decisions outlive runs, and what cannot be stored loses nothing that was typed."""

from __future__ import annotations

import csv
import io
import json
import shutil

import polars as pl

from inspector.decide import decisions
from nouns.decisions import last_word, text_sha256
from tests.inspector.conftest import hidden
from tests.inspector.worlds import _manifest


def rows(desk):
    return decisions.history(desk.site.engine)


def second_run(desk, run_id="b2b2b2b2b2b2", change=None):
    """The same run again under another id; `change` may alter its files."""
    runs = desk.world.workspace / "runs"
    shutil.copytree(runs / desk.world.run_id, runs / run_id)
    if change:
        change(runs / run_id)
    return run_id


def test_an_abstention_is_settled_by_agreeing(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.abstained_post)
    page = ana.get(path).text
    assert "Agree: publish none" in page
    assert 'value="accept" class="primary"' not in page
    ana.decide(path, "publish_none", page, comment="Nothing here helps.")
    assert (rows(desk)[0].kind, rows(desk)[0].comment) == ("publish_none", "Nothing here helps.")
    assert desk.site.index(desk.world.run_id).progress()["publish_none"] == 1
    assert "1</b> of" in ana.get(desk.path(tail="/posts")).text


def test_a_refused_text_is_accepted_only_after_a_question_that_says_why(desk):
    ana = desk.browser("ana")
    post = next(row for row in desk.site.index(desk.world.run_id).selections() if row["outcome"] == "abstained")
    index = desk.site.index(desk.world.run_id)
    post_id = next(
        row["post_id"] for row in index.selections()
        if row["outcome"] == "abstained" and index.candidates(index.post(row["post_id"]), None, 0, 1)
    )  # fmt: skip
    assert post is not None
    path = desk.path(post_id)
    asked = ana.decide(path, "accept", comment="I know better")
    assert asked.status_code == 200
    assert "Accept a text that the machine refused?" in asked.text
    assert rows(desk) == []
    form = asked.text[asked.text.index('class="row"') - 200 :]
    answer = ana.post(f"{path}/decisions", data={**hidden(form), "confirmed": "yes"})
    assert answer.status_code == 303
    stored = rows(desk)[0]
    assert (stored.kind, stored.comment, stored.assessment["confirmed"]) == ("accept", "I know better", True)


def test_the_api_wants_the_same_confirmation(desk):
    ana = desk.browser("ana")
    index = desk.site.index(desk.world.run_id)
    row = next(
        candidate
        for post_id in desk.world.posts
        for candidate in index.candidates(index.post(post_id))
        if candidate["status"] == "failed"
    )
    path = f"/api/v1/runs/{desk.world.run_id}/posts/{row['post_id']}/decisions"
    token = {"x-csrf-token": ana.get("/account").text.split('name="csrf" content="')[1].split('"')[0]}
    body = {"kind": "accept", "candidate_id": row["candidate_id"]}
    refused = ana.post(path, json=body, headers=token)
    assert refused.status_code == 422
    assert "fails the check" in refused.json()["detail"]
    assert ana.post(path, json=body | {"confirmed": True}, headers=token).status_code == 201


def test_a_note_is_written_where_the_machine_wrote_none(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.abstained_post)
    page = ana.get(f"{path}/edit?candidate=new").text
    text = "The dam held. https://water.example/report"
    answer = ana.post(
        f"{path}/decisions", data={**hidden(page[page.index('id="edit-form"') - 200 :]), "kind": "edit", "text": text}
    )
    assert answer.status_code == 303
    assert (rows(desk)[0].candidate_id, rows(desk)[0].text) == (None, text)
    line = json.loads(ana.get(desk.path(tail="/publication.jsonl")).text)
    assert (line["text"], line["generated"]) == (text, False)


def test_an_edit_replaces_the_headline_and_the_machines_text_is_one_click_away(desk):
    ana = desk.browser("ana")
    path = desk.path(desk.world.winner_post)
    page = ana.get(f"{path}/edit").text
    ana.post(
        f"{path}/decisions",
        data={**hidden(page[page.index('id="edit-form"') - 200 :]), "kind": "edit", "text": "A calmer wording of it."},
    )
    shown = ana.get(path).text
    note = shown[shown.index('data-part="note"') : shown.index('data-part="decide"')]
    assert "Edited by ana" in note
    assert note.index("A calmer wording of it.") < note.index("The machine's text")
    assert "<del>" in note
    decide = shown[shown.index('data-part="decide"') :]
    assert "Accept the machine's text instead" in decide
    assert 'value="accept" class="primary"' not in decide


def test_a_decision_counts_in_a_later_run_with_the_same_text_and_says_whose_it_is(desk):
    ana = desk.browser("ana")
    ana.decide(desk.path(desk.world.winner_post), "accept", comment="sound")
    later = second_run(desk)
    page = desk.browser("bo").get(f"/runs/{later}/posts/{desk.world.winner_post}").text
    assert "it stands here because the text is the same" in page
    assert "<b>ana</b>" in page
    assert desk.site.index(later).progress()["accept"] == 1
    published = ana.get(f"/runs/{later}/publication.jsonl").text
    assert json.loads(published)["decision"]["run_id"] == desk.world.run_id


def test_a_decision_on_a_text_that_changed_is_shown_and_does_not_count(desk):
    ana = desk.browser("ana")
    ana.decide(desk.path(desk.world.winner_post), "accept")
    word = last_word(rows(desk))
    gone = "A text that no run holds any more."
    import dataclasses

    changed = dataclasses.replace(word, text=gone, text_sha256=text_sha256(gone))
    from inspector.decide.database import decisions as table
    from inspector.decide.database import next_number, writing

    with writing(desk.site.engine) as connection:
        number = next_number(connection, "decisions")
        values = {**changed.__dict__, "seq": number, "decision_id": "0" * 16, "client_key": "k" * 16, "run_id": "older",
                  "reasons": "[]", "assessment": None}  # fmt: skip
        connection.execute(table.insert().values(**values))
    ana.post(f"/decisions/{word.decision_id}/undo", data=hidden(ana.get("/history").text) | csrf(ana))
    page = ana.get(desk.path(desk.world.winner_post)).text
    assert 'data-part="earlier"' in page
    assert "A text that no run holds any more." in page
    assert desk.site.index(desk.world.run_id).progress().get("accept", 0) == 0


def test_where_the_rule_asks_a_decision_of_another_run_waits_until_somebody_applies_it(desk):
    ana = desk.browser("ana")
    root = desk.browser("root", "admin")
    ana.decide(desk.path(desk.world.winner_post), "accept", comment="sound")
    later = second_run(desk)
    assert ana.post("/users/rules", data=csrf(ana) | {"reviews": "1", "carry": "ask"}).status_code == 403
    assert root.post("/users/rules", data=csrf(root) | {"reviews": "1", "carry": "ask"}).status_code == 303
    path = f"/runs/{later}/posts/{desk.world.winner_post}"
    page = root.get(path).text
    assert desk.site.index(later).progress().get("accept", 0) == 0
    assert root.get(f"/runs/{later}/publication.jsonl").text == ""
    form = page[page.index('data-part="carried"') - 200 :]
    assert f'name="text_sha256" value="{rows(desk)[0].text_sha256}"' in form
    assert "ana accepted the same text" in form
    assert root.post(f"{path}/decisions", data=hidden(form)).status_code == 303
    assert [(row.run_id, row.analyst, row.kind, row.comment) for row in rows(desk)][1:] == [
        (later, "root", "accept", "")
    ]
    assert rows(desk)[1].text_sha256 == rows(desk)[0].text_sha256
    assert desk.site.index(later).progress()["accept"] == 1
    root.post("/users/rules", data=csrf(root) | {"reviews": "1", "carry": "count"})
    assert desk.site.index(later).progress()["accept"] == 1


def other_snapshot(desk, run, change, notices=()):
    """The run now rests on a snapshot whose posts were changed, and whose ingest has something to say."""
    snapshot = desk.world.workspace / json.loads((run / "ingest" / "pointer.json").read_text())["path"]
    moved = snapshot.with_name("later")
    shutil.copytree(snapshot, moved)
    change(pl.read_parquet(snapshot / "posts.parquet")).write_parquet(moved / "posts.parquet")
    _manifest(moved, "ingest", {"in": 1, "out": 1, "rejected": {}, "notices": list(notices)}, 1.0)
    (run / "ingest" / "pointer.json").write_text(json.dumps({"path": "snapshots/later"}))
    shutil.copy(moved / "manifest.json", run / "ingest")


def test_a_post_that_reads_otherwise_by_now_is_named_beside_the_decision(desk):
    ana = desk.browser("ana")
    ana.decide(desk.path(desk.world.winner_post), "accept")
    same = second_run(desk)
    assert "changed since" not in ana.get(f"/runs/{same}/posts/{desk.world.winner_post}").text
    other = second_run(
        desk,
        "c3c3c3c3c3c3",
        lambda run: other_snapshot(desk, run, lambda posts: posts.with_columns(text=pl.lit("New."))),
    )
    page = ana.get(f"/runs/{other}/posts/{desk.world.winner_post}").text
    assert "The post read otherwise then" in page


def test_what_the_stages_had_to_say_stands_on_the_runs_page(desk):
    said = {"level": "warned", "stage": "ingest", "text": "14 lines of <b>notes</b> could not be read"}
    run = second_run(desk, change=lambda run: other_snapshot(desk, run, lambda posts: posts, [said]))
    page = desk.browser("ana").get(f"/runs/{run}").text
    assert "<b>Warning:</b> 14 lines of &lt;b&gt;notes&lt;/b&gt; could not be read" in page


def test_a_jury_whose_order_is_not_proven_says_so_where_the_score_stands(desk):
    ana = desk.browser("ana")
    assert "is not proven" not in ana.get(desk.path(desk.world.winner_post)).text
    jury = next((desk.world.workspace / "models").glob("jury-*"))
    (jury / "jury.json").write_text(json.dumps({"order": {"better": False, "reason": "No better than length."}}))
    page = ana.get(desk.path(desk.world.winner_post)).text
    assert "is not proven" in page[page.index('data-part="verdict"') :]
    assert "No better than length." in ana.get(desk.path()).text


def test_stories_are_shown_with_their_posts(desk):
    ana = desk.browser("ana")
    page = ana.get(desk.path(tail="/stories")).text
    index = desk.site.index(desk.world.run_id)
    for story in index.stories()[0]:
        section = page[page.index(f'id="{story["story_id"]}"') :]
        section = section[: section.index("</section>")]
        assert section.count("<li>") == min(20, story["n"]) == len(story["posts"])
        assert f"/posts/{story['posts'][0]['post_id']}?story={story['story_id']}" in section


def test_the_page_says_where_only_the_largest_stories_are_shown(desk, monkeypatch):
    from inspector.read import reading

    ana = desk.browser("ana")
    assert "are shown." not in ana.get(desk.path(tail="/stories")).text.partition('<section class="card"')[0]
    monkeypatch.setattr(reading, "STORIES", 2)
    page = ana.get(desk.path(tail="/stories")).text
    assert "The largest 2 are shown." in page
    assert page.count('<section class="card"') == 2


def test_a_post_needs_as_many_reviews_as_the_workspace_asks_for(desk):
    root, ana, bo = desk.browser("root", "admin"), desk.browser("ana"), desk.browser("bo")
    root.post("/users/rules", data=csrf(root) | {"reviews": "2", "carry": "count"})
    path = desk.path(desk.world.winner_post)
    ana.decide(path, "accept")
    needs = desk.path(tail="/posts?decided=second")
    assert "<b>1</b> post" in bo.get(needs).text
    assert "No posts fit" in ana.get(needs).text
    assert "1 of 2 reviews" in bo.get(path).text
    assert "1 of 2 people have decided." in root.get(desk.path(tail="/publication")).text
    assert root.get(desk.path(tail="/publication.jsonl")).text == ""
    bo.decide(path, "accept")
    assert len(root.get(desk.path(tail="/publication.jsonl")).text.splitlines()) == 1
    bo.decide(path, "not_needed")
    page = root.get(path).text
    assert "2 of 2 reviews" in page
    assert "they disagree" in page
    assert "<b>1</b> by 2 people" in root.get(desk.path(tail="/posts")).text
    assert root.post("/users/rules", data=csrf(root) | {"reviews": "0", "carry": "count"}).status_code == 422


def test_a_text_that_reviewers_disagree_on_is_withheld(desk):
    root, ana, bo = desk.browser("root", "admin"), desk.browser("ana"), desk.browser("bo")
    root.post("/users/rules", data=csrf(root) | {"reviews": "2", "carry": "count"})
    path = desk.path(desk.world.winner_post)
    ana.decide(path, "reject", reasons=["notHelpfulOther"])
    bo.decide(path, "accept")
    page = root.get(path).text
    assert "2 of 2 reviews" in page
    assert "they disagree" in page
    assert root.get(desk.path(tail="/publication.jsonl")).text == ""
    assert "ana would not publish it" in root.get(desk.path(tail="/publication")).text


def test_a_review_of_another_text_is_no_review_of_this_one(desk):
    root, ana, bo = desk.browser("root", "admin"), desk.browser("ana"), desk.browser("bo")
    root.post("/users/rules", data=csrf(root) | {"reviews": "2", "carry": "count"})
    post = desk.world.winner_post
    ana.decide(desk.path(post), "accept")
    later = second_run(desk, change=lambda run: reworded(run, post))
    path = f"/runs/{later}/posts/{post}"
    bo.decide(path, "accept")
    assert "1 of 2 reviews" in root.get(path).text
    assert root.get(f"/runs/{later}/publication.jsonl").text == ""
    assert "1 of 2 people have decided." in root.get(f"/runs/{later}/publication").text
    ana.decide(path, "accept")
    assert len(root.get(f"/runs/{later}/publication.jsonl").text.splitlines()) == 1


def reworded(run, post):
    """Every text of the post reads otherwise in this run."""
    for stage in ("draft_candidates", "revise_candidates"):
        file = run / stage / "candidates.parquet"
        text = pl.when(pl.col("post_id") == post).then(pl.col("text") + " Anew.").otherwise("text")
        pl.read_parquet(file).with_columns(text.alias("text")).write_parquet(file)


def test_a_second_reviewer_agrees_with_an_edit_rather_than_with_the_machines_text(desk):
    root, ana, bo = desk.browser("root", "admin"), desk.browser("ana"), desk.browser("bo")
    root.post("/users/rules", data=csrf(root) | {"reviews": "2", "carry": "count"})
    path = desk.path(desk.world.winner_post)
    bo.decide(path, "accept")
    ana.decide(path, "edit", text="The dam held. https://a.example")
    assert 'data-part="agree"' not in ana.get(path).text
    page = bo.get(path).text
    assert "1 of 2 reviews" in page
    queue = f"/runs/{desk.world.run_id}/posts?decided=second"
    assert str(desk.world.winner_post) in bo.get(queue).text, "his own word was on another text"
    assert str(desk.world.winner_post) not in ana.get(queue).text
    form = page[page.index('data-part="agree"') - 200 :]
    assert bo.post(f"{path}/decisions", data=hidden(form)).status_code == 303
    assert "2 of 2 reviews" in bo.get(path).text
    agreed, first = rows(desk)[-1], rows(desk)[-2]
    assert (agreed.analyst, agreed.text_sha256, agreed.other_sha256) == ("bo", first.text_sha256, first.other_sha256)


def csrf(browser) -> dict[str, str]:
    return {"csrf": browser.get("/account").text.split('name="csrf" content="')[1].split('"')[0]}


def test_a_rejection_without_a_reason_comes_back_with_the_comment(desk):
    ana = desk.browser("ana")
    answer = ana.decide(desk.path(desk.world.winner_post), "reject", comment="it is wrong")
    assert answer.status_code == 422
    assert "at least one reason" in answer.text
    assert 'value="it is wrong"' in answer.text
    assert 'data-part="decide"' in answer.text


def test_a_conflict_keeps_the_comment(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    path = desk.path(desk.world.winner_post)
    page = ana.get(path).text
    bo.decide(path, "not_needed")
    answer = ana.decide(path, "accept", page, comment="looks right to me")
    assert answer.status_code == 409
    assert "bo decided on this post" in answer.text
    assert 'value="looks right to me"' in answer.text


def test_anybody_resolves_a_flag_and_says_why(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    path = desk.path(desk.world.winner_post)
    ana.decide(path, "accept")
    ana.decide(path, "flag", comment="is the date right?")
    withheld = ana.get(desk.path(tail="/publication")).text
    assert "is the date right?" in withheld
    flag = rows(desk)[-1]
    assert bo.post(f"/decisions/{flag.decision_id}/undo", data=csrf(bo)).status_code == 422
    answer = bo.post(f"/decisions/{flag.decision_id}/undo", data=csrf(bo) | {"comment": "yes, see the log"})
    assert answer.status_code == 303
    assert (rows(desk)[-1].kind, rows(desk)[-1].comment) == ("undo", "yes, see the log")
    assert ana.get(desk.path(tail="/publication.jsonl")).text


def test_several_posts_are_settled_at_once_and_nobodys_decision_is_passed_over(desk):
    ana, bo = desk.browser("ana"), desk.browser("bo")
    page = ana.get(desk.path(tail="/posts?sort=oldest")).text
    posts = [str(post) for post in desk.world.posts[:3]]
    bo.decide(desk.path(desk.world.posts[0]), "accept")
    form = hidden(page[page.index('id="batch"') - 200 :]) | csrf(ana)
    form["newest"] = page.split('name="newest" value="')[1].split('"')[0]
    answer = ana.post(desk.path(tail="/batch"), data=form | {"post": posts, "action": "publish_none"})
    assert answer.status_code == 409
    assert "bo decided" in answer.text
    assert [row.kind for row in rows(desk)] == ["accept", "publish_none", "publish_none"]
    desk.browser("vic", "viewer")
    assert ana.post(desk.path(tail="/batch"), data=form | {"action": "assign_all", "person": "bo"}).status_code == 303
    assigned = bo.get(desk.path(tail="/posts?assigned=bo&sort=oldest")).text
    assert f"<b>{len(desk.world.posts)}</b> posts" in assigned


def test_the_queue_leaves_as_files_and_its_end_is_said(desk):
    ana = desk.browser("ana")
    table = ana.get(desk.path(tail="/posts.csv?outcome=winner")).text
    lines = list(csv.DictReader(io.StringIO(table)))
    listed = [json.loads(line) for line in ana.get(desk.path(tail="/posts.jsonl?outcome=winner")).text.splitlines()]
    assert (
        len(lines)
        == len(listed)
        == len([r for r in desk.site.index(desk.world.run_id).selections() if r["outcome"] == "winner"])
    )
    assert "That was the last one" in ana.get(desk.path(tail="/posts?all_seen=1")).text


def test_views_and_runs_bear_names(desk):
    ana = desk.browser("ana")
    ana.post(desk.path(tail="/views"), data=csrf(ana) | {"queue": "outcome=winner&sort=worth", "name": "near the line"})
    assert ">near the line</a>" in ana.get(desk.path(tail="/posts")).text
    ana.post(desk.path(tail="/name"), data=csrf(ana) | {"name": "Second try"})
    assert ">Second try</a>" in ana.get("/runs").text
    assert "Second try" in ana.get(desk.path(desk.world.winner_post)).text
