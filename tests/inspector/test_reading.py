"""The read model against the run's own tables, read the slow way with polars."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from inspector.decide import decisions
from inspector.decide.database import open_database
from inspector.decide.decisions import NewDecision
from inspector.read import index, reading
from inspector.read.reading import SORTS, Filters, Library, RunIndex
from inspector.read.runs import Workspace
from nouns.errors import Refused
from tests.inspector.worlds import World, write_world

NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def opened(built_world: World, tmp_path_factory: pytest.TempPathFactory) -> RunIndex:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('db') / 'd.sqlite'}")
    return Library(Workspace(str(built_world.workspace)), engine, 10_000).get(built_world.run_id)


def fresh(world: World, tmp_path: Path) -> RunIndex:
    engine = open_database(f"sqlite:///{tmp_path / 'd.sqlite'}")
    return Library(Workspace(str(world.workspace)), engine, 10_000).get(world.run_id)


def selections(world: World) -> list[dict]:
    path = world.workspace / "runs" / world.run_id / "select_winners" / "selections.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def walk(opened: RunIndex, filters: Filters, limit: int = 7, me: str = "") -> list[int]:
    """All posts of a queue, page by page."""
    found, after = [], None
    while True:
        page = opened.page(filters, me, after=after, limit=limit)
        found += [row["post_id"] for row in page.rows]
        if page.after is None:
            return found
        after = page.after


def test_every_post_of_the_run_is_in_the_index_with_its_selection(opened, built_world):
    rows = {row["post_id"]: row for row in opened.selections()}
    lines = selections(built_world)
    assert len(rows) == len(lines) == len(built_world.posts)
    for line in lines:
        row = rows[int(line["post_id"])]
        assert (row["outcome"], row["reason_code"], row["winner_id"]) == (
            line["outcome"],
            line["reason_code"],
            line["candidate_id"],
        )
        assert row["score"] == line["score"]


def test_candidates_are_all_there_with_the_winner_first_and_then_by_score(opened, built_world):
    run = built_world.workspace / "runs" / built_world.run_id
    drafts = pl.read_parquet(run / "draft_candidates" / "candidates.parquet")
    revised = pl.read_parquet(run / "revise_candidates" / "candidates.parquet")
    for post_id in built_world.posts:
        mine = opened.candidates(opened.post(post_id))
        there = pl.concat([drafts, revised]).filter(pl.col("post_id") == post_id)
        assert {row["candidate_id"] for row in mine} == set(there["candidate_id"])
        assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
        judged = [row["score"] for row in mine if row["status"] == "judged"]
        assert judged == sorted(judged, reverse=True)
        assert (
            [row["status"] for row in mine].index("winner") == 0 if any(r["status"] == "winner" for r in mine) else True
        )


def test_a_revision_stands_beside_its_draft_and_names_it(opened, built_world):
    post = opened.post(built_world.revised_post)
    winner = opened.candidates(post)[0]
    assert (winner["status"], winner["round"]) == ("winner", 1)
    assert winner["parent_id"] in {row["candidate_id"] for row in opened.candidates(post)}


def test_a_failing_check_comes_with_its_span(opened, built_world):
    rows = opened.candidates(opened.post(built_world.winner_post))
    problem = next(row for row in rows if row["status"] == "failed")
    entry = problem["problems"][0]
    assert problem["text"][entry["start"] : entry["end"]] in entry["reason"]
    assert len(problem["passed"]) + len(problem["problems"]) == 7


def test_ratings_by_side_are_those_counted_by_hand(opened, built_world):
    snapshot = next((built_world.workspace / "snapshots").iterdir())
    raters = pl.read_parquet(built_world.workspace / "runs" / built_world.run_id / "fit_raters" / "raters.parquet")
    side = {
        r["raterParticipantId"]: 0 if r["factor1"] < -1 / 3 else 2 if r["factor1"] > 1 / 3 else 1
        for r in raters.to_dicts()
    }
    note = opened.notes(opened.post(built_world.winner_post))[0]
    counts = [0] * 9
    for row in pl.read_parquet(snapshot / "ratings.parquet").filter(pl.col("noteId") == note["note_id"]).to_dicts():
        counts[3 * side[row["raterParticipantId"]] + int(2 * row["helpfulness"])] += 1
    assert note["sides"] == counts
    assert sum(counts) == note["n_ratings"]


@pytest.mark.parametrize("sort", SORTS)
def test_paging_forwards_gives_every_post_once_in_order(opened, built_world, sort):
    found = walk(opened, Filters(sort=sort))
    assert sorted(found) == sorted(built_world.posts)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("sort", ["gain", "oldest"])
def test_paging_back_shows_the_page_one_came_from(opened, sort):
    first = opened.page(Filters(sort=sort), limit=6)
    second = opened.page(Filters(sort=sort), after=first.after, limit=6)
    back = opened.page(Filters(sort=sort), before=second.before, limit=6)
    assert [row["post_id"] for row in back.rows] == [row["post_id"] for row in first.rows]
    assert back.before is None
    assert back.after is not None


def test_every_filter_keeps_exactly_the_posts_that_fit(opened, built_world):
    lines = {int(line["post_id"]): line for line in selections(built_world)}
    rows = {row["post_id"]: row for row in opened.selections()}
    cases = {
        Filters(outcome="winner"): {p for p, line in lines.items() if line["outcome"] == "winner"},
        Filters(reason="already_helpful"): {p for p, line in lines.items() if line["reason_code"] == "already_helpful"},
        Filters(min_score=0.35): {p for p, line in lines.items() if (line["score"] or -9) >= 0.35},
        Filters(max_score=0.35): {
            p for p, line in lines.items() if line["score"] is not None and line["score"] <= 0.35
        },
        Filters(story="bread"): {p for i, p in enumerate(built_world.posts) if i % 5 == 1},
        Filters(language="de"): {p for i, p in enumerate(built_world.posts) if i % 5 == 4},
        Filters(decided="none"): set(rows),
        Filters(decided="accept"): set(),
    }
    for filters, expected in cases.items():
        assert set(walk(opened, filters)) == expected, filters
        assert opened.page(filters).total == len(expected)


@pytest.mark.parametrize(
    "words", ["sourdough", "SOURDOUGH fines", "sourd", "bäckerei OR", '"', "*", "NEAR(", "a:b", "'; DROP TABLE posts"]
)
def test_search_finds_words_and_never_chokes_on_syntax(opened, built_world, words):
    found = walk(opened, Filters(q=words))
    if words.lower().startswith("sourd"):
        assert set(found) == {p for i, p in enumerate(built_world.posts) if i % 5 == 1}


def test_search_by_id_finds_the_post_and_the_post_of_a_note(opened, built_world):
    post_id = built_world.winner_post
    note_id = opened.notes(opened.post(post_id))[0]["note_id"]
    assert walk(opened, Filters(q=str(post_id))) == [post_id]
    assert walk(opened, Filters(q=str(note_id))) == [post_id]
    assert walk(opened, Filters(q="99999999999999999999")) == []


@pytest.mark.parametrize("cursor", ["", "x", "1~", "nan~5", "inf~5", "1~99999999999999999999", "~", "1~2~3"])
def test_a_broken_cursor_counts_as_none(opened, cursor):
    assert opened.page(Filters(), after=cursor, limit=3).rows == opened.page(Filters(), limit=3).rows


def test_filters_survive_the_way_through_an_address():
    from urllib.parse import parse_qsl

    filters = Filters(q="a & b", outcome="winner", min_score=-0.25, sort="score", decided="unseen")
    assert Filters.parse(dict(parse_qsl(filters.query()))) == filters
    assert Filters.parse({"sort": "evil", "min_score": "nan", "decided": "?"}) == Filters()


def decide(found: RunIndex, post: int, kind: str, analyst: str = "ana", n: int = 0, **more):
    new = NewDecision("a1b2c3d4e5f6", post, kind, analyst, f"{analyst}-{post}-{kind}-{n}", candidate_id="c", **more)
    return decisions.record(found.engine, new, NOW)[0]


def test_decisions_appear_in_filters_counts_and_unseen_at_once(built_world, tmp_path):
    found = fresh(built_world, tmp_path)
    a, b, c = built_world.posts[:3]
    decide(found, a, "accept")
    decide(found, b, "reject", reasons=("notHelpfulOther",))
    decide(found, c, "flag")
    assert walk(found, Filters(decided="accept")) == [a]
    assert walk(found, Filters(decided="against")) == [b]
    assert walk(found, Filters(decided="flagged")) == [c]
    assert set(walk(found, Filters(decided="unseen"), me="ana")) == set(built_world.posts) - {a, b, c}
    assert set(walk(found, Filters(decided="unseen"), me="bo")) == set(built_world.posts)


def test_an_undone_decision_disappears_again(built_world, tmp_path):
    found = fresh(built_world, tmp_path)
    row = decide(found, built_world.posts[0], "accept")
    found.sync()
    decisions.undo(found.engine, row.decision_id, "ana", "undo-key-1", NOW)
    assert walk(found, Filters(decided="any")) == []
    assert built_world.posts[0] in walk(found, Filters(decided="unseen"), me="ana")


def test_next_unseen_follows_the_queue_and_starts_again_at_its_top(built_world, tmp_path):
    found = fresh(built_world, tmp_path)
    order = walk(found, Filters(sort="oldest"))
    assert found.neighbours(order[3], Filters(sort="oldest"), "ana") == {
        "previous": order[2],
        "next": order[4],
        "unseen": order[4],
        "position": 4,
        "total": len(order),
    }
    decide(found, order[4], "not_needed")
    found.sync()
    assert found.neighbours(order[3], Filters(sort="oldest"), "ana")["unseen"] == order[5]
    assert found.neighbours(order[-1], Filters(sort="oldest"), "ana")["unseen"] == order[0]


def test_an_index_is_built_again_when_a_stage_was_run_again_and_keeps_decisions(world, tmp_path):
    library = Library(Workspace(str(world.workspace)), open_database(f"sqlite:///{tmp_path / 'd.sqlite'}"), 10_000)
    first = library.get(world.run_id)
    decide(first, world.posts[0], "accept")
    write_world(world.workspace, seed=8)
    library.workspace = Workspace(str(world.workspace))
    library._checked.clear()
    second = library.get(world.run_id)
    assert second.path != first.path
    assert walk(second, Filters(decided="accept")) == [world.posts[0]]
    assert not first.path.exists()


def test_a_deleted_index_is_rebuilt_with_the_same_content(world, tmp_path):
    workspace = Workspace(str(world.workspace))
    path = index.build_index(workspace, world.run_id)
    before = {p.name: p.read_bytes() for p in path.iterdir() if p.suffix in (".arrow", ".json")}
    shutil.rmtree(path)
    index.build_index(workspace, world.run_id)
    assert {p.name: p.read_bytes() for p in path.iterdir() if p.suffix in (".arrow", ".json")} == before


def test_chunks_of_any_size_give_the_same_index(world, monkeypatch):
    workspace = Workspace(str(world.workspace))
    path = index.build_index(workspace, world.run_id)
    facts = (path / "facts.json").read_text()
    rows = list(_posts(path))
    shutil.rmtree(path)
    monkeypatch.setattr(index, "POSTS_PER_CHUNK", 7)
    index.build_index(workspace, world.run_id)
    assert (path / "facts.json").read_text() == facts
    assert [row[:22] for row in _posts(path)] == [row[:22] for row in rows]


def _posts(path: Path):
    import sqlite3

    return sqlite3.connect(path / "index.sqlite").execute("SELECT * FROM posts ORDER BY post_id").fetchall()


@pytest.mark.parametrize(
    "missing",
    [
        "select_winners",
        "revise_candidates",
        "judge_candidates",
        "check_candidates",
        "draft_candidates",
        "fit_raters",
        "train_jury",
    ],
)
def test_a_run_that_is_not_finished_shows_what_it_has(world, tmp_path, missing):
    run = world.workspace / "runs" / world.run_id
    stages = [
        "fit_raters",
        "train_jury",
        "draft_candidates",
        "check_candidates",
        "judge_candidates",
        "revise_candidates",
        "select_winners",
    ]
    for stage in stages[stages.index(missing) :]:
        shutil.rmtree(run / stage)
    found = fresh(world, tmp_path)
    assert len(walk(found, Filters())) == len(world.posts)
    post = found.post(world.winner_post)
    assert post["outcome"] == "open"
    assert len(found.notes(post)) == 6
    assert bool(found.candidates(post)) == (missing not in ("fit_raters", "train_jury", "draft_candidates"))


def test_a_run_without_post_texts_works_by_ids(tmp_path):
    found = fresh(write_world(tmp_path / "w", n_posts=8, texts=False), tmp_path)
    assert found.post(found.selections()[0]["post_id"])["post_text"] is None


def test_the_largest_stories_come_with_their_first_posts_and_how_many_there_are(built_world, tmp_path, monkeypatch):
    posts = pl.read_parquet(built_world.workspace / "runs" / built_world.run_id / "cluster_notes" / "posts.parquet")
    slow: dict[str, list[int]] = {}
    for post, story in posts.sort("post_id").select("post_id", "story_id").drop_nulls().iter_rows():
        slow.setdefault(story, []).append(post)
    want = sorted(((s, ids) for s, ids in slow.items() if len(ids) > 1), key=lambda entry: (-len(entry[1]), entry[0]))
    assert len(want) > 2
    for stories, each in ((200, 20), (2, 1)):
        monkeypatch.setattr(reading, "STORIES", stories)
        monkeypatch.setattr(reading, "STORY_POSTS", each)
        found, total = fresh(built_world, tmp_path).stories()
        assert total == len(want)
        said = [(story["story_id"], story["n"], [post["post_id"] for post in story["posts"]]) for story in found]
        assert said == [(story, len(ids), ids[:each]) for story, ids in want[:stories]]


def test_unknown_posts_and_candidates_are_not_found(opened, built_world):
    with pytest.raises(Refused):
        opened.post(5)
    with pytest.raises(Refused):
        opened.post(2**70)
    with pytest.raises(Refused):
        opened.candidate(opened.post(built_world.winner_post), "rev0000000000001")


def test_decisions_of_another_database_are_forgotten_when_the_database_changes(built_world, tmp_path):
    first = fresh(built_world, tmp_path)
    decide(first, built_world.posts[0], "accept")
    assert walk(first, Filters(decided="any")) == [built_world.posts[0]]
    (tmp_path / "other").mkdir()
    second = fresh(built_world, tmp_path / "other")
    assert walk(second, Filters(decided="any")) == []


def test_a_large_run_is_indexed_aside_and_found_when_ready(world, tmp_path):
    shutil.rmtree(world.workspace / "inspector" / "index")
    before = {path.name for path in world.workspace.iterdir()}
    library = Library(Workspace(str(world.workspace)), open_database(f"sqlite:///{tmp_path / 'd.sqlite'}"), threshold=5)
    assert library.get(world.run_id) is None
    assert library._builders[world.run_id].wait(timeout=120) == 0
    opened = library.get(world.run_id)
    assert opened.facts["n_posts"] == len(world.posts)
    # The builder knows no decision store and makes none.
    assert {path.name for path in world.workspace.iterdir()} == before


def test_disagreement_is_the_share_of_aggregators_with_another_favourite(opened, built_world):
    names = opened.facts["aggregators"]
    for post_id in built_world.posts[:6]:
        post = opened.post(post_id)
        rows = [row for row in opened.candidates(post) if row["status"] in ("winner", "judged")]
        if rows:
            other = sum(max(rows, key=lambda row: row["others"][k])["rank"] != 1 for k in range(len(names)))
            assert post["disagreement"] == pytest.approx(other / len(names))


def test_the_funnel_loses_every_post_for_a_reason(opened):
    steps = opened.facts["funnel"]
    assert steps[0]["n"] - sum(n for step in steps for n in step["lost"].values()) == steps[-1]["n"]


@pytest.mark.parametrize("sort", ["gain", "score_low", "newest", "oldest", "ratings"])
def test_any_filter_pages_through_exactly_the_posts_that_fit(world, tmp_path, sort):
    """A slow twin walks all rows in Python."""
    engine = open_database(f"sqlite:///{tmp_path / 'other.sqlite'}")
    opened = Library(Workspace(str(world.workspace)), engine, 10_000).get(world.run_id)
    for number, post in enumerate(world.posts[:6]):
        kind = ("reject", "not_needed", "accept")[number % 3]
        candidate = opened.candidates(opened.post(post), ("candidate_id",), 0, 1)
        chosen = candidate[0]["candidate_id"] if candidate else None
        if chosen is None and kind != "not_needed":
            continue
        decisions.record(
            engine,
            NewDecision(
                world.run_id,
                post,
                kind,
                "ana",
                f"key-{number}-{post}",
                candidate_id=chosen,
                reasons=("notHelpfulOther",) if kind == "reject" else (),
            ),
            NOW,
        )
    rows = {row["post_id"]: opened.post(row["post_id"]) for row in opened.selections()}
    found = {word: set(walk(opened, Filters(q=word))) for word in ("sourdough", "a:b")}
    key = {
        "gain": lambda row: (-(row["gain"] if row["gain"] is not None else -9), -row["post_id"]),
        "score_low": lambda row: (row["score"] if row["score"] is not None else -9, row["post_id"]),
        "newest": lambda row: -row["post_id"],
        "oldest": lambda row: row["post_id"],
        "ratings": lambda row: (-row["n_ratings"], -row["post_id"]),
    }[sort]
    cases = {
        Filters(sort=sort): lambda row: True,
        Filters(sort=sort, outcome="abstained"): lambda row: row["outcome"] == "abstained",
        Filters(sort=sort, decided="any"): lambda row: row["decision"] is not None,
        Filters(sort=sort, decided="reject"): lambda row: row["decision"] == "reject",
        Filters(sort=sort, decided="none", outcome="winner"): lambda row: (
            row["decision"] is None and row["outcome"] == "winner"
        ),
        Filters(sort=sort, decided="against"): lambda row: (
            (row["outcome"], row["decision"])
            in {("winner", "reject"), ("winner", "not_needed"), ("abstained", "accept"), ("abstained", "edit")}
        ),
        Filters(sort=sort, q="sourdough"): lambda row: row["post_id"] in found["sourdough"],
        Filters(sort=sort, q="a:b", outcome="abstained"): lambda row: (
            row["post_id"] in found["a:b"] and row["outcome"] == "abstained"
        ),
    }
    for filters, fits in cases.items():
        expected = [row["post_id"] for row in sorted(filter(fits, rows.values()), key=key)]
        assert walk(opened, filters) == expected, filters
        assert opened.page(filters).total == len(expected)
        for place, post in enumerate(expected[:: max(1, len(expected) // 5)]):
            place = expected.index(post)
            around = opened.neighbours(post, filters, "me")
            assert around["previous"] == (expected[place - 1] if place else None), filters
            assert around["next"] == (expected[place + 1] if place + 1 < len(expected) else None), filters
