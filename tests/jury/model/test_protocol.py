"""What a judged note may know: only what was there when it was written; and the columns it is read into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.model.encoders import NoEncoder
from jury.model.features import FORM_NAMES, MISLEADING, form_features, read_text
from jury.model.hierarchical import HierarchicalModel
from jury.model.topics import topic_of, topics_of_posts
from jury.records import JudgedText
from jury.train.data import merge
from jury.train.evaluate import EvaluationSet, Hidden, slices
from jury.train.fit import fit_hierarchical
from jury.train.table import FitOptions
from nouns.errors import InputError
from tests.jury.model.planted import make_world


def evaluation(data, moments=None, topic=()) -> EvaluationSet:
    none, nothing = (None,) * len(data), np.full(len(data), np.nan)
    return EvaluationSet(data, none, none, nothing, nothing, sibling_parameters=False, moments=moments, topic=topic)


@pytest.fixture(scope="module")
def few():
    return make_world(n_posts=12, notes_per_post=3, n_raters=60, ratings_per_note=8, seed=9)


def test_siblings_are_known_by_the_ratings_made_before_the_judged_note_was_written(few):
    data = few.data
    written = np.sort(data.created_at)[np.linspace(0, len(data.value) - 1, len(data)).astype(int)]
    hidden = Hidden(evaluation(data, written))
    checked = 0
    for k in range(len(data)):
        for sibling in hidden.target(k).siblings:
            row = int(np.flatnonzero(data.note_id == sibling.note_id)[0])
            times = data.created_at[data.rating_note == row]
            assert sorted(sibling.ratings.created_at.tolist()) == sorted(times[times < written[k]].tolist())
            checked += int((times >= written[k]).any())
    assert checked > 5


def test_a_pair_is_compared_when_the_later_of_the_two_was_written(few):
    data = few.data
    written = np.full(len(data), int(data.created_at.min()) + 1)
    written[1] = int(data.created_at.max()) + 1
    hidden = Hidden(evaluation(data, written))
    third = hidden.target(0, (1,)).siblings
    assert [s.note_id for s in third] == [int(data.note_id[2])]
    assert len(third[0].ratings) == int((data.rating_note == 2).sum())
    assert len(hidden.target(0).siblings[1].ratings) == 0


def test_a_note_of_unknown_time_sees_everything(few):
    data = few.data
    cut, free = Hidden(evaluation(data, np.zeros(len(data), np.int64))), Hidden(evaluation(data))
    for k in (0, 4, 7):
        assert [len(s.ratings) for s in cut.target(k).siblings] == [len(s.ratings) for s in free.target(k).siblings]


def test_times_of_writing_follow_their_notes_through_subsets_and_merging(few):
    data = replace(few.data, written_at=np.arange(len(few.data)) + 7)
    other = replace(make_world(n_posts=3, seed=2).data, note_id=np.arange(12) + 10_000)
    both = merge([data.notes_where(np.arange(len(data)) % 2 == 1), other])
    assert both.written_at.tolist() == [k + 7 for k in range(len(data)) if k % 2 == 1] + [-1] * 12


# ------------------------------------------------------------------------------------------------------- reading texts


def column(text: str, name: str) -> float:
    return float(form_features(text, MISLEADING, None)[FORM_NAMES.index(name)])


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("style_opens_with_verdict", "Misleading: the bridge stands. https://example.org/a", 1.0),
        ("style_opens_with_verdict", "The bridge stands, and that is not misleading.", 0.0),
        ("style_dashes", "The bridge — built in 1900 — stands — still.", 2.0),
        ("style_brackets", "The bridge (old) stands.", 1.0),
        ("style_tracked_links", "Stands. https://example.org/a?utm_source=x https://example.org/b?id=3", 1.0),
        ("style_home_pages", "Stands. https://example.org https://example.org/deep/page", 1.0),
        ("style_status_links", "Stands. https://x.com/somebody/status/12", 1.0),
        ("style_ends_with_link", "Stands. https://example.org/a", 1.0),
        ("style_ends_with_link", "See https://example.org/a which says it stands.", 0.0),
        ("style_sentences", "One. Two! Three?", 3.0),
        ("style_about_notes", "NNN", 1.0),
        ("style_generated", "This picture was made with AI.", 1.0),
        ("style_generated", "He said so.", 0.0),
        ("style_linkless", "No link here.", 1.0),
    ],
)
def test_style_is_what_a_reader_would_count(name, text, value):
    assert column(text, name) == value


def test_every_link_is_the_same_word_and_order_of_words_matters_only_in_pairs():
    one = read_text("The bridge stands. https://example.org/a")
    assert one.words == read_text("The bridge stands. https://elsewhere.net/b/c").words
    assert one.words != read_text("The bridge stands.").words
    assert all(a < b for (a, _), (b, _) in zip(one.letters, one.letters[1:], strict=False))
    assert read_text("").words == read_text("").letters == ()


def test_words_and_letters_find_what_form_cannot_see():
    """Good and bad notes here differ in one word that no form column knows."""
    rng = np.random.default_rng(3)
    world = make_world(n_posts=60, seed=5)
    good = rng.random(len(world.data)) < 0.5
    label = np.where(good, 0.25, 0.0) + rng.normal(0, 0.03, len(good))
    text = [f"The tower number {k} is {'azure' if g else 'ochre'} today." for k, g in enumerate(good)]
    data = replace(world.data, text=text, intercept=label)
    for blocks in (("form",), ("form", "words"), ("form", "letters")):
        model = HierarchicalModel(fit_hierarchical(data, NoEncoder(), FitOptions(blocks=blocks)).weights, NoEncoder())
        fresh = [f"The tower number {900 + k} is {w} today." for k in range(20) for w in ("azure", "ochre")]
        score = model.judge([JudgedText(t, t, MISLEADING) for t in fresh]).mean[:, 0]
        gain = score[0::2] - score[1::2]
        if blocks == ("form",):
            np.testing.assert_allclose(gain, 0.0, atol=1e-9)
        else:
            assert (gain > 0.02).all()


def test_what_held_elsewhere_counts_less_than_what_holds_here():
    here, there = make_world(n_posts=40, seed=1).data, make_world(n_posts=40, seed=2)
    flipped = replace(
        there.data, intercept=0.35 - there.data.intercept, source=["elsewhere"] * len(there.data),
        note_id=there.data.note_id + 10_000, post=there.data.post + 10_000,
    )  # fmt: skip
    together = merge([here, flipped])
    gap = []
    for weight in (1.0, 0.1):
        options = FitOptions(blocks=("form",), elsewhere_weight=weight)
        model = HierarchicalModel(fit_hierarchical(together, NoEncoder(), options).weights, NoEncoder())
        good, bad = (
            make_world(n_posts=1).data.text[0],
            "I think tower stuff is just stupid propaganda, obviously a lie!!!",
        )
        assert good != bad
        good = (
            "According to the official report, the tower was described differently. https://www.reuters.com/article/7"
        )
        judged = model.judge([JudgedText("g", good, MISLEADING), JudgedText("b", bad, MISLEADING)])
        gap.append(judged.mean[0, 0] - judged.mean[1, 0])
    assert gap[1] > gap[0] + 0.03


GOOD_TEXT = "According to the official report, the tower was described differently. https://www.reuters.com/article/7"
BAD_TEXT = "I think tower stuff is just stupid propaganda, obviously a lie!!!"


def scores_only(seed: int):
    """A labelled folder that knows how notes were received, but neither factors nor ratings."""
    there = make_world(n_posts=60, seed=seed).data
    there = there.ratings_where(np.zeros(len(there.value), dtype=bool))
    return replace(
        there, factor=np.full(len(there), np.nan), source=["scores"] * len(there), note_id=there.note_id + 10_000, post=there.post + 10_000
    )  # fmt: skip


def test_a_label_without_a_factor_teaches_what_a_good_note_is_and_nothing_else():
    here = make_world(n_posts=12, seed=1).data
    # Here nothing tells good notes from bad ones: what is known of that comes from the scores.
    here = replace(here, intercept=np.random.default_rng(3).normal(0.1, 0.05, len(here)))
    gap, factors = {}, {}
    for name, data in (("alone", here), ("with scores", merge([here, scores_only(2)]))):
        fitted = fit_hierarchical(data, NoEncoder(), FitOptions(blocks=("form",)))
        model = HierarchicalModel(fitted.weights, NoEncoder())
        judged = model.judge([JudgedText("g", GOOD_TEXT, MISLEADING), JudgedText("b", BAD_TEXT, MISLEADING)])
        gap[name] = judged.mean[0, 0] - judged.mean[1, 0]
        factors[name] = judged.mean[:, 1]
        assert np.isfinite(fitted.folded.warm).all()
        assert np.isfinite(fitted.folded.warm_variance).all()
        assert fitted.weights.response.level == here.global_intercept
    assert abs(gap["alone"]) < 0.1
    assert gap["with scores"] > gap["alone"] + 0.1
    # Factors were given for the same notes in both; only the scaling of the columns differs.
    np.testing.assert_allclose(factors["with scores"], factors["alone"], atol=0.15)


def test_scores_alone_are_no_jury():
    with pytest.raises(InputError, match="both a text and fitted parameters"):
        fit_hierarchical(scores_only(2), NoEncoder(), FitOptions(blocks=("form",)))


def test_differences_within_posts_decide_where_posts_say_the_opposite():
    """Good notes gain within every post, but gather on badly received posts: between posts the same words seem to harm."""
    data = make_world(n_posts=60, seed=5).data
    good = np.array(["According" in t for t in data.text])
    at = np.unique(data.post, return_inverse=True)[1]
    share = np.bincount(at, weights=good) / np.bincount(at)
    noise = np.random.default_rng(0).normal(0, 0.03, len(data))
    data = replace(data, intercept=0.15 * good - 0.6 * (share[at] - 0.5) + noise)
    gap = []
    for emphasis in (1.0, 100.0):
        options = FitOptions(blocks=("form",), within_emphasis=emphasis)
        model = HierarchicalModel(fit_hierarchical(data, NoEncoder(), options).weights, NoEncoder())
        judged = model.judge([JudgedText("g", GOOD_TEXT, MISLEADING), JudgedText("b", BAD_TEXT, MISLEADING)])
        gap.append(judged.mean[0, 0] - judged.mean[1, 0])
    assert gap[1] > gap[0]
    assert gap[1] > 0.05


# -------------------------------------------------------------------------------------------------------------- reports


def test_topics_are_read_from_words_and_a_post_has_one():
    assert topic_of(["The vaccine trial had 300 patients.", "Doctors measured the virus."]) == "health"
    assert topic_of(["Nothing to see."]) == "other"
    assert topics_of_posts([7, 7, 8], ["A vaccine.", "The virus spreads.", "Hm."], [None, None, "x"]) == {
        7: "health",
        8: "other",
    }


def test_a_report_is_sliced_by_given_topics_or_else_by_words(world):
    data = world.data
    given = tuple("tides" for _ in range(len(data)))
    names = [n for n, _ in slices(evaluation(data, topic=given), np.arange(len(data)))]
    assert "topic: tides" in names
    by_words = dict(slices(evaluation(data), np.arange(len(data))))
    vaccine = np.array(["vaccine" in t for t in data.text])
    assert by_words["topic: health"][vaccine].mean() > 0.9
    assert not by_words["topic: health"][~vaccine].any()
