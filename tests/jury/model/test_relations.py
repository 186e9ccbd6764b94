"""What the texts of a post's other notes say of a text, and what a rater's earlier ratings on the post say of the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.model.encoders import HashingEncoder, NoEncoder
from jury.model.features import MISLEADING, NOT_MISLEADING
from jury.model.hierarchical import HierarchicalModel
from jury.model.relations import RELATION_NAMES, describe, relate, relate_by_post
from jury.model.store import load_weights, save_weights
from jury.records import JudgedText, Sibling
from jury.train.answers import earlier_ratings, fit_history
from jury.train.evaluate import EvaluationSet, Hidden
from jury.train.fit import fit_hierarchical
from jury.train.table import FitOptions
from tests.jury.model.planted import make_world

TEXTS = [
    "The tower was closed in 1999. https://example.gov/report",
    "Records say the tower was closed in 1999. https://example.gov/archive https://www.reuters.com/a",
    "The tower is open every day!",
    "Nothing is wrong with this post.",
    "The bridge, not the tower, was closed. https://www.reuters.com/b",
]
KINDS = [MISLEADING, MISLEADING, MISLEADING, NOT_MISLEADING, MISLEADING]
HASHING = HashingEncoder()


def described(texts, kinds):
    return describe(texts, kinds, HASHING.encode(texts))


def by_hand(k: int, texts, kinds) -> dict[str, float]:
    """The definition, one note at a time."""
    unit = HASHING.encode(texts).astype(float)
    links = [t.count("https://") for t in texts]
    sites = [{part.split("/")[0].removeprefix("www.") for part in t.split("https://")[1:]} for t in texts]
    mine = [j for j in range(len(texts)) if j != k and kinds[j] == kinds[k]]
    cosines = [float(unit[k] @ unit[j]) for j in mine]
    among = [float(unit[i] @ unit[j]) for i in mine for j in mine if i != j] or cosines
    return {
        "other_stance": float(np.log(1 + sum(kind != kinds[k] for kind in kinds))),
        "agreement": float(np.mean(among)),
        "closeness": float(np.mean(cosines) - np.mean(among)),
        "shared_source": float(np.mean([bool(sites[k] & sites[j]) for j in mine])),
        "more_links": (links[k] - float(np.mean([links[j] for j in mine]))) / 2.0,
    }


@pytest.mark.parametrize(("k", "size"), [(0, 3), (1, 3), (2, 3), (0, 5), (1, 5), (2, 5), (4, 5)])
def test_relations_are_what_their_definition_says(k, size):
    notes = described(TEXTS[:size], KINDS[:size])
    found = dict(zip(RELATION_NAMES, relate(notes, notes)[k], strict=True))
    for name, value in by_hand(k, TEXTS[:size], KINDS[:size]).items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_a_note_is_not_related_to_itself_and_the_order_of_the_others_is_of_no_account():
    one = described(TEXTS[:1], KINDS[:1])
    whole = relate(one, described(TEXTS, KINDS))
    np.testing.assert_allclose(whole, relate(one, described(TEXTS[1:], KINDS[1:])))
    np.testing.assert_allclose(whole, relate(one, described(TEXTS[::-1], KINDS[::-1])))


def test_notes_are_related_to_their_own_post_only():
    post = np.array([7, 3, 7, 3, 7])
    notes = described(TEXTS, KINDS)
    found = relate_by_post(post, notes)
    for p in (3, 7):
        rows = np.flatnonzero(post == p)
        alone = described([TEXTS[r] for r in rows], [KINDS[r] for r in rows])
        np.testing.assert_allclose(found[rows], relate(alone, alone))


def test_without_other_notes_there_is_nothing_to_say():
    one = described(TEXTS[:1], KINDS[:1])
    nothing = relate(one, described([], []))[0]
    assert nothing[0] == 0.0
    assert np.isnan(nothing[1:]).all()


@pytest.fixture(scope="module")
def contradicted():
    """Posts of which half have notes that find nothing to correct; misleading notes there are worth 0.3 less, and nothing else tells them apart."""
    data = make_world(n_posts=60, notes_per_post=4, seed=4).data
    posts = np.unique(data.post)
    plain = np.isin(data.post, posts[::2])
    kinds = [MISLEADING if p else c for p, c in zip(plain, data.classification, strict=True)]
    misleading = np.array([c == MISLEADING for c in kinds])
    data = replace(
        data, classification=kinds, intercept=np.where(~plain & misleading, data.intercept - 0.3, data.intercept)
    )
    options = FitOptions(blocks=("form", "relations"))
    return HierarchicalModel(fit_hierarchical(data, NoEncoder(), options).weights, NoEncoder())


def test_a_note_is_expected_to_do_worse_where_another_finds_nothing_to_correct(contradicted):
    agreeing = (Sibling(1, TEXTS[1], MISLEADING), Sibling(2, TEXTS[4], MISLEADING))
    contrary = (*agreeing, Sibling(3, TEXTS[3], NOT_MISLEADING))
    score = [
        contradicted.judge([JudgedText("a", TEXTS[0], MISLEADING, siblings=s)]).mean[0, 0] for s in (agreeing, contrary)
    ]
    assert score[1] < score[0] - 0.1


def test_relations_say_nothing_of_the_side_a_note_lies_on(contradicted):
    where = contradicted.weights.design.where("relations")
    assert np.abs(contradicted.weights.beta[0, where]).max() > 0.01
    assert np.abs(contradicted.weights.beta[1, where]).max() < 1e-6


def test_no_crowd_of_contrary_notes_counts_for_more_than_the_outermost_post_of_training(contradicted):
    crowds = [tuple(Sibling(k, f"{k} is fine", NOT_MISLEADING) for k in range(n)) for n in (40, 400)]
    weights = contradicted.weights
    score = []
    for crowd in crowds:
        related = contradicted._related([JudgedText("a", TEXTS[0], MISLEADING)], np.zeros((1, 0), np.float32), crowd)
        unit = np.zeros((1, 0), np.float32)
        score.append(
            float(weights.design.columns([TEXTS[0]], [MISLEADING], [None], unit, related)[0] @ weights.beta[0])
        )
    assert score[0] == pytest.approx(score[1])


def test_a_saved_jury_relates_texts_as_before(contradicted, tmp_path):
    save_weights(contradicted.weights, tmp_path)
    again = HierarchicalModel(load_weights(tmp_path), NoEncoder())
    text = JudgedText("a", TEXTS[0], MISLEADING, siblings=(Sibling(3, TEXTS[3], NOT_MISLEADING),))
    np.testing.assert_allclose(again.judge([text]).mean, contradicted.judge([text]).mean)


def test_a_note_written_later_is_not_there_yet():
    data = make_world(n_posts=5, notes_per_post=4, seed=9).data
    written = np.arange(len(data), dtype=np.int64) + 1_000
    nothing = np.full(len(data), np.nan)
    none = (None,) * len(data)
    hidden = Hidden(EvaluationSet(replace(data, written_at=written), none, none, nothing, nothing, moments=written))
    for k in range(len(data)):
        earlier = [int(data.note_id[j]) for j in range(k) if data.post[j] == data.post[k]]
        assert [s.note_id for s in hidden.target(k).siblings] == earlier


# ------------------------------------------------------------------------------------- a rater's earlier ratings on the post


def test_earlier_ratings_are_those_of_the_same_rater_on_other_notes_of_the_post_and_older():
    data = make_world(n_posts=6, notes_per_post=4, n_raters=9, ratings_per_note=5, seed=3).data
    rng = np.random.default_rng(0)
    data = replace(data, created_at=rng.permutation(len(data.value)).astype(np.int64))
    found = dict(zip(*(list(x) for x in earlier_ratings(data)), strict=True))
    post = data.post[data.rating_note]
    for k in range(len(data.value)):
        expected = [
            j
            for j in range(len(data.value))
            if data.rater[j] == data.rater[k] and post[j] == post[k] and data.created_at[j] < data.created_at[k]
            and data.rating_note[j] != data.rating_note[k]
        ]  # fmt: skip
        assert sorted(found.get(k, np.array([])).tolist()) == expected


@pytest.mark.parametrize("lean", [0.0, 0.3])
def test_what_a_rater_carries_from_note_to_note_is_found_where_it_was_planted_and_nowhere_else(lean):
    world = make_world(n_posts=60, notes_per_post=4, n_raters=40, ratings_per_note=24, seed=6)
    data = world.data
    rng = np.random.default_rng(1)
    leans = rng.normal(0, lean, (len(data.rater_ids), len(np.unique(data.post)))) if lean else np.zeros((40, 60))
    place = np.searchsorted(np.unique(data.post), data.post[data.rating_note])
    stance = data.stance()[data.rating_note]
    eta = (
        0.17 + data.rater_intercept + world.latent_intercept[data.rating_note]
        + data.rater_factor * world.latent_factor[data.rating_note] + (1 - 2 * stance) * leans[data.rater, place]
        + rng.logistic(0, 0.1, len(data.value))
    )  # fmt: skip
    data = replace(data, value=np.where(eta > 0.5, 1.0, np.where(eta > 0.4, 0.5, 0.0)))
    fitted = fit_hierarchical(data, NoEncoder(), FitOptions(blocks=("form",)))
    trust = np.ones(len(data))
    history = fit_history(data, fitted.folded, fitted.weights.response, trust)
    alike, contrary = (history.carried([0.5, 0.5], np.zeros(2, int), np.array([s]))[0] for s in (0, 1))
    if lean:
        assert alike > 0.15
        assert contrary < -0.15
    else:
        assert abs(alike) < 0.1
        assert abs(contrary) < 0.1


def test_ratings_of_unknown_time_carry_nothing():
    data = make_world(n_posts=30, seed=2).data
    data = replace(data, created_at=np.full(len(data.value), -1, dtype=np.int64))
    assert len(earlier_ratings(data)[0]) == 0
    history = fit_hierarchical(data, NoEncoder(), FitOptions(blocks=("form",))).weights.history
    assert history.same_stance == 0.0


# ------------------------------------------------------------------------------------------------ merged texts, lent notes


def test_a_merged_text_stands_where_its_sources_stand_however_much_it_resembles_them(contradicted):
    notes = tuple(Sibling(k, TEXTS[k], MISLEADING) for k in (0, 1, 2, 4))
    merged = JudgedText("m", TEXTS[0] + " " + TEXTS[1], MISLEADING, siblings=notes, source_note_ids=(0, 1))
    model = HierarchicalModel(contradicted.weights, HASHING)
    unit = HASHING.encode([merged.text])
    found = dict(zip(RELATION_NAMES, model._related([merged], unit, notes)[0], strict=True))
    kinds = [MISLEADING] * 4
    words = [TEXTS[k] for k in (0, 1, 2, 4)]
    of_sources = [by_hand(k, words, kinds) for k in (0, 1)]
    for name in ("agreement", "closeness", "shared_source"):
        assert found[name] == pytest.approx(np.mean([s[name] for s in of_sources]), abs=1e-6), name
    alone = replace(merged, source_note_ids=())
    assert model._related([alone], unit, notes)[0][2] > found["closeness"]


def test_a_note_lent_by_another_post_is_no_part_of_the_picture(contradicted):
    own = (Sibling(0, TEXTS[1], MISLEADING), Sibling(1, TEXTS[3], NOT_MISLEADING))
    lent = Sibling(2, TEXTS[2], NOT_MISLEADING, borrowed=True)
    text = JudgedText("a", TEXTS[0], MISLEADING)
    unit = np.zeros((1, 0), np.float32)
    with_it, without = (contradicted._related([text], unit, s) for s in ((*own, lent), own))
    np.testing.assert_array_equal(with_it, without)
    assert np.isnan(contradicted._related([lent], unit, (*own, lent))).all()


def test_what_is_remembered_of_one_post_is_not_taken_for_another(contradicted, monkeypatch):
    monkeypatch.setattr("jury.model.hierarchical.REMEMBERED_NUMBERS", 400)  # a hundred posts of one note
    scores = []
    for k in range(600):  # more posts than are remembered, and objects whose place in memory is used again
        siblings = (Sibling(k, TEXTS[k % 5], KINDS[k % 5], 0.1 * (k % 3), 0.0),)
        scores.append(contradicted.judge([JudgedText("a", TEXTS[0], MISLEADING, siblings=siblings)]).mean[0, 0])
    assert len(contradicted._known) <= 101
    again = HierarchicalModel(contradicted.weights, NoEncoder())
    for k in (0, 7, 311, 599):
        siblings = (Sibling(k, TEXTS[k % 5], KINDS[k % 5], 0.1 * (k % 3), 0.0),)
        fresh = again.judge([JudgedText("a", TEXTS[0], MISLEADING, siblings=siblings)]).mean[0, 0]
        assert scores[k] == pytest.approx(fresh)


@pytest.mark.parametrize("copy", [" {}\n", "{}".replace("{}", "{} "), "\u200b{}"])
def test_a_copy_that_differs_in_blanks_alone_is_the_note_itself(contradicted, copy):
    badly_received = Sibling(1, "The tower isn't open. https://example.gov/report", MISLEADING, -0.4, 0.0)
    others = (badly_received, Sibling(2, TEXTS[2], MISLEADING, 0.1, 0.0))
    words = [badly_received.text, copy.format(badly_received.text).replace(" isn't", "  isn’t")]
    same, copied = (
        contradicted.judge([JudgedText("a", text, MISLEADING, siblings=others)]).mean[0, 0] for text in words
    )
    assert copied == pytest.approx(same, abs=0.02)
