from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jury.judge.context import PostContext, read_contexts
from jury.judge.judge import Bench, PostTexts, judge
from jury.records import JudgedText, RatedTexts, Ratings, Sibling
from jury.settings import JudgeCandidatesSettings, SelectWinnersSettings
from jury.tables import SCHEMAS
from nouns.errors import InputError
from tests.calling import judge_candidates, select_winners
from tests.jury.world import MISLEADING, PlantedRater, World, a_jury, planted

POSTS = {
    101: {
        "notes": {11: (0.1, 0.0), 12: (0.05, 0.2)},
        "candidates": {"a1": (0.3, 0.0), "a2": (0.2, 0.0), "a3": (0.4, 0.0)},
        "failed": ["a3"],
    },
    102: {"notes": {21: (0.3, 0.0)}, "candidates": {"b1": (0.1, 0.0)}},
    103: {"notes": {31: (0.1, 0.0)}},
    104: {"notes": {41: (0.0, 0.0)}, "eligible": False},
}
JUDGE_INPUTS = ("snapshot", "parameters", "jury", "clusters", "candidates", "checks")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("world"), POSTS)
    counts = judge_candidates(
        made.root / "verdicts",
        JudgeCandidatesSettings(n_jurors=80),
        **made.inputs(*JUDGE_INPUTS),
        posts=[101, 102, 103],
        model=PlantedRater(),
    )
    made.judged = counts
    return made


def test_every_candidate_has_a_row_and_the_counts_add_up(world):
    verdicts = pl.read_parquet(world.root / "verdicts" / "verdicts.parquet")
    assert verdicts["candidate_id"].to_list() == ["a1", "a2", "a3", "b1"]
    assert world.judged["in"] == 4 == world.judged["out"] + sum(world.judged["rejected"].values())
    assert world.judged["rejected"] == {"failed_checks": 1}


def test_a_candidate_that_failed_a_check_is_unjudged_and_has_no_numbers(world):
    row = pl.read_parquet(world.root / "verdicts" / "verdicts.parquet").filter(candidate_id="a3").row(0, named=True)
    assert row["unjudged_reason"] == "failed_checks"
    assert row["score"] is row["factor"] is row["curve"] is None


def test_verdicts_find_the_planted_order_and_their_interval_holds_the_score(world):
    rows = pl.read_parquet(world.root / "verdicts" / "verdicts.parquet").filter(pl.col("score").is_not_null())
    score = dict(rows.select("candidate_id", "score").iter_rows())
    assert score["a1"] > score["a2"] > score["b1"]
    assert score["a1"] == pytest.approx(0.3, abs=0.06)
    assert (rows["lower"] < rows["score"]).all()
    assert (rows["score"] < rows["upper"]).all()


def test_the_posts_own_notes_are_judged_by_the_same_jury_with_their_ratings(world):
    existing = pl.read_parquet(world.root / "verdicts" / "existing.parquet")
    assert existing["note_id"].to_list() == [11, 12, 21, 31]
    assert existing["n_ratings"].to_list() == [7, 7, 7, 7]  # the stranger without parameters counts, but says nothing
    # What their ratings give with the jury's raters frozen, whatever the day's fit made of them (0.1, 0.05, 0.3, 0.1); all were rated alike.
    assert len(set(existing["fitted_intercept"].round(6).to_list())) == 1
    assert existing["fitted_intercept"].abs().max() < 0.05
    verdicts = pl.read_parquet(world.root / "verdicts" / "verdicts.parquet").drop_nulls("score")
    assert existing["sd_within"][0] < verdicts["sd_within"][0]


def test_tables_have_their_schemas_even_when_empty(world, tmp_path):
    judge_candidates(
        tmp_path, JudgeCandidatesSettings(n_jurors=10), **world.inputs(*JUDGE_INPUTS), posts=[], model=PlantedRater()
    )
    for name in ("verdicts", "existing"):
        import pyarrow.parquet as pq

        assert pq.read_schema(tmp_path / f"{name}.parquet").equals(SCHEMAS[name])
        assert pq.read_schema(world.root / "verdicts" / f"{name}.parquet").equals(SCHEMAS[name])


def test_shards_give_the_rows_of_the_whole(world, tmp_path):
    parts = []
    for post in (101, 102, 103):
        out = tmp_path / str(post)
        out.mkdir()
        judge_candidates(
            out, JudgeCandidatesSettings(n_jurors=80), **world.inputs(*JUDGE_INPUTS), posts=[post], model=PlantedRater()
        )
        parts.append(pl.read_parquet(out / "verdicts.parquet"))
    assert pl.concat(parts).equals(pl.read_parquet(world.root / "verdicts" / "verdicts.parquet"))


def test_a_context_holds_siblings_with_ratings_of_known_raters_in_order_of_time(world):
    contexts = read_contexts(world.root / "snapshot", world.root / "parameters", world.root / "clusters", [101])
    context = contexts[101]
    assert [s.note_id for s in context.siblings] == [11, 12]
    assert context.text == "Post text 101"
    ratings = context.siblings[0].ratings
    assert len(ratings) == 6
    assert (np.diff(ratings.created_at) > 0).all()
    assert "stranger" not in ratings.rater_id
    note = context.judged_note(11)
    assert [s.note_id for s in note.siblings] == [12]
    assert len(note.own_ratings) == 6


def test_ratings_that_are_not_finite_make_an_unjudged_text_not_a_zero():
    class Broken:
        def rate(self, texts):
            good = PlantedRater().seat(a_jury(20)).rate(texts)
            p = good.probabilities.copy()
            p[:, 1] = math.nan
            return RatedTexts(p, good.sd, good.sd_within, good.reasons, good.tags)

    jury = a_jury(20)
    texts = tuple(JudgedText(n, planted(n, 0.2), MISLEADING, 1) for n in "abc")
    ((_, rows),) = judge(Bench(Broken(), jury, 10.0), [PostTexts(1, texts)])
    assert [row["unjudged_reason"] is None for row in rows] == [True, False, True]
    assert rows[2]["candidate_id"] == "c"


def test_selecting_gives_every_post_of_the_shard_its_line(world, tmp_path):
    counts = select_winners(
        tmp_path,
        SelectWinnersSettings(minimum_score=0.0),
        **world.inputs(*JUDGE_INPUTS, "verdicts", "revisions"),
        posts=[101, 102, 103, 104],
        judge_settings=JudgeCandidatesSettings(n_jurors=80, n_appeal=80),
        model=PlantedRater(),
    )
    lines = [json.loads(line) for line in (tmp_path / "selections.jsonl").read_text().splitlines()]
    assert [(line["post_id"], line["outcome"], line["reason_code"]) for line in lines] == [
        ("101", "winner", None),
        ("102", "abstained", "not_better_than_existing"),
        ("103", "abstained", "no_candidates"),
    ]
    assert lines[0]["candidate_id"] == "a1"
    assert lines[0]["appeal_score"] == pytest.approx(0.3, abs=0.06)
    assert lines[0]["best_existing_note_id"] == "11"
    assert counts == {"in": 3, "out": 1, "rejected": {"no_candidates": 1, "not_better_than_existing": 1}}
    losers = pl.read_parquet(tmp_path / "losers.parquet")
    assert losers.select("candidate_id", "decided_by").rows() == [
        ("a2", "lower_score"), ("a3", "failed_check"), ("b1", "not_better_than_existing"),
    ]  # fmt: skip


def test_a_model_is_asked_how_sure_it_is_of_the_best_candidate_against_the_best_note(world, tmp_path):
    class Unsure(PlantedRater):
        asked: list = []  # noqa: RUF012

        def difference_sd(self, text, other):
            self.asked.append((text.id, [s.note_id for s in text.siblings], other.id, len(other.own_ratings)))
            return 10.0

    select_winners(
        tmp_path,
        SelectWinnersSettings(minimum_score=0.0),
        **world.inputs(*JUDGE_INPUTS, "verdicts", "revisions"),
        posts=[101],
        judge_settings=JudgeCandidatesSettings(n_jurors=80, n_appeal=80),
        model=Unsure(),
    )
    assert Unsure.asked == [("a1", [11, 12], "11", 6)]
    line = json.loads((tmp_path / "selections.jsonl").read_text())
    assert line["reason_code"] == "not_better_than_existing"


def test_a_missing_input_is_one_paragraph_that_says_which(world, tmp_path):
    inputs = world.inputs(*JUDGE_INPUTS) | {"jury": tmp_path}
    with pytest.raises(InputError, match="train-jury"):
        judge_candidates(tmp_path, JudgeCandidatesSettings(), **inputs, model=PlantedRater())


def test_a_candidate_that_says_what_a_note_of_the_post_says_is_judged_as_that_note():
    ratings = Ratings(("r",), np.zeros(1), np.zeros(1), np.zeros(1), np.array([5]))
    own = Sibling(1, "The tower isn't open. https://example.org/a", MISLEADING, 0.4, 0.0, ratings)
    other = Sibling(2, "Another matter.", MISLEADING)
    lent = Sibling(3, "The tower is closed.", MISLEADING, 0.3, 0.0, ratings, borrowed=True)
    context = PostContext(7, None, "en", (own, other, lent), frozenset({1, 2}), {1: 1, 2: 0, 3: 1})
    copied = context.judged_candidate("c", "The tower  isn’t open. https://example.org/a ", MISLEADING, "en", (1, 2))
    assert copied == replace(context.judged_note(1), id="c")
    assert len(copied.own_ratings) == 1
    for text, stance in ((lent.text, MISLEADING), (own.text, "NOT_MISLEADING"), ("The tower isn't open.", MISLEADING)):
        fresh = context.judged_candidate("c", text, stance, "en", (1,))
        assert fresh.siblings == (own, other, lent)
        assert len(fresh.own_ratings) == 0
