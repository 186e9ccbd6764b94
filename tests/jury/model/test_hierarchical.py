"""Laws the rater model must obey whatever it was trained on, and planted truth it must find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jury.judge.draw import Raters
from jury.model.encoders import HashingEncoder, NoEncoder
from jury.model.features import FORM_NAMES, MISLEADING, NOT_MISLEADING
from jury.model.gaussian import Kernel, batch_posts, condition, leave_one_out, predict
from jury.model.hierarchical import HierarchicalModel
from jury.model.store import load_model, save_weights
from jury.records import JudgedText, Jury, Ratings, Sibling
from jury.train.answers import without_own_post
from jury.train.evaluate import EvaluationSet, evaluate_models, standard_jury
from jury.train.fit import fit_hierarchical
from tests.jury.model.conftest import OPTIONS
from tests.jury.model.planted import make_world

GOOD = "According to the official report, the tower was closed in 1999. https://www.reuters.com/article/7 https://example.gov/7"
BAD = "I think tower stuff is just stupid propaganda, obviously a lie!!!"


def ratings(values, factor=0.2, ids=None) -> Ratings:
    n = len(values)
    return Ratings(
        tuple(ids or ("",) * n), np.zeros(n), np.full(n, factor), np.array(values, dtype=float), np.full(n, -1)
    )


def a_jury(n: int = 60, seed: int = 3) -> Jury:
    rng = np.random.default_rng(seed)
    return Jury(tuple(f"j{k}" for k in range(n)), rng.normal(0, 0.1, n), rng.uniform(-0.8, 0.8, n), 0.17, "test", seed)


def test_probabilities_are_probabilities(model):
    rated = model.seat(a_jury()).rate([JudgedText("a", GOOD, MISLEADING), JudgedText("b", BAD, NOT_MISLEADING)])
    assert rated.probabilities.shape == (60, 2, 3)
    assert (rated.probabilities >= 0).all()
    np.testing.assert_allclose(rated.probabilities.sum(axis=2), 1.0, atol=1e-5)
    assert rated.reasons.shape == (2, 3, len(rated.tags))
    assert ((rated.reasons >= 0) & (rated.reasons <= 1)).all()


def test_the_text_that_was_planted_as_good_is_preferred_and_for_its_sources(model):
    rated = model.seat(a_jury()).rate([JudgedText("a", GOOD, MISLEADING), JudgedText("b", BAD, MISLEADING)])
    assert rated.expected()[:, 0].mean() > rated.expected()[:, 1].mean() + 0.1
    sources = rated.tags.index("helpfulGoodSources")
    assert rated.reasons[0, 1, sources] > 2 * rated.reasons[1, 1, sources]


def test_more_helpful_own_ratings_never_lower_the_score(model):
    scores = []
    for n in range(12):
        text = JudgedText("a", BAD, MISLEADING, own_ratings=ratings([1.0] * n))
        scores.append(model.judge([text]).mean[0, 0])
    assert (np.diff(scores) >= -1e-9).all()
    assert scores[-1] > scores[0] + 0.02


def test_own_ratings_make_the_model_surer(model):
    doubt = [
        model.judge([JudgedText("a", BAD, MISLEADING, own_ratings=ratings([1.0, 0.0] * n))]).cov[0, 0, 0]
        for n in (0, 1, 4, 16)
    ]
    assert (np.diff(doubt) < 0).all()


def test_permuting_the_jurors_permutes_the_answers_and_nothing_else(model):
    jury = a_jury()
    order = np.random.default_rng(0).permutation(len(jury))
    turned = Jury(tuple(jury.rater_ids[k] for k in order), jury.intercept[order], jury.factor[order], 0.17, "test", 3)
    texts = [JudgedText("a", GOOD, MISLEADING), JudgedText("b", BAD, MISLEADING)]
    one, two = model.seat(jury).rate(texts), model.seat(turned).rate(texts)
    np.testing.assert_allclose(one.probabilities[order], two.probabilities, atol=1e-6)
    np.testing.assert_allclose(one.reasons, two.reasons, atol=1e-5)
    np.testing.assert_array_equal(one.sd, two.sd)


def test_a_text_is_judged_alike_alone_and_in_company(model):
    siblings = (Sibling(1, GOOD, MISLEADING, 0.4, 0.1),)
    texts = [JudgedText(str(k), t, MISLEADING, siblings=siblings) for k, t in enumerate((GOOD, BAD))]
    together = model.judge(texts)
    for k, text in enumerate(texts):
        alone = model.judge([text])
        np.testing.assert_allclose(alone.mean[0], together.mean[k], atol=1e-9)
        np.testing.assert_allclose(alone.cov[0], together.cov[k], atol=1e-9)


def test_without_siblings_the_model_says_how_much_less_sure_it_is(model):
    siblings = tuple(Sibling(k, GOOD + str(k), MISLEADING, 0.3, 0.5) for k in range(3))
    cold, warm = (
        model.judge([JudgedText("a", BAD, MISLEADING)]),
        model.judge([JudgedText("a", BAD, MISLEADING, siblings=siblings)]),
    )
    assert cold.sd[0] > warm.sd[0]
    assert cold.cov[0, 1, 1] > warm.cov[0, 1, 1]
    assert warm.mean[0, 1] > cold.mean[0, 1] + 0.2  # same stance: the factor follows the siblings
    other = model.judge([JudgedText("a", BAD, NOT_MISLEADING, siblings=siblings)])
    assert other.mean[0, 1] < cold.mean[0, 1]  # the opposite stance mirrors it


def test_siblings_of_which_nothing_is_known_change_nothing(model):
    siblings = (Sibling(1, GOOD, MISLEADING), Sibling(2, BAD, NOT_MISLEADING))
    with_them, without = (
        model.judge([JudgedText("a", BAD, MISLEADING, siblings=siblings)]),
        model.judge([JudgedText("a", BAD, MISLEADING)]),
    )
    np.testing.assert_allclose(with_them.mean, without.mean, atol=1e-9)
    np.testing.assert_allclose(with_them.cov, without.cov, atol=1e-9)


def test_what_differs_within_a_post_is_less_than_everything(model):
    judged = model.judge([JudgedText("a", GOOD, MISLEADING)])
    assert 0 < judged.sd_within[0] < judged.sd[0]


def test_turning_the_sign_of_every_factor_turns_every_answer(world, fitted, model):
    data = world.data
    mirrored = replace(data, factor=-data.factor, rater_factor=-data.rater_factor)
    other = HierarchicalModel(fit_hierarchical(mirrored, NoEncoder(), OPTIONS).weights, NoEncoder())
    jury = a_jury()
    turned = Jury(jury.rater_ids, jury.intercept, -jury.factor, 0.17, "mirrored", 3)
    siblings = (Sibling(1, GOOD, MISLEADING, 0.3, 0.4),)
    reflected = (Sibling(1, GOOD, MISLEADING, 0.3, -0.4),)
    one = model.seat(jury).rate([JudgedText("a", BAD, MISLEADING, siblings=siblings)])
    two = other.seat(turned).rate([JudgedText("a", BAD, MISLEADING, siblings=reflected)])
    np.testing.assert_allclose(one.probabilities, two.probabilities, atol=5e-3)


def test_no_text_and_no_juror_are_no_accident(model):
    assert model.seat(a_jury()).rate([]).probabilities.shape == (60, 0, 3)
    nobody = Jury((), np.zeros(0), np.zeros(0), 0.17, "empty", 0)
    assert model.seat(nobody).rate([JudgedText("a", GOOD, MISLEADING)]).probabilities.shape == (0, 1, 3)


@pytest.mark.parametrize("text", ["", "!" * 5000, "https://x.com " * 300, "\u202e\x00 مرحبا 你好", "a" * 20000])
def test_hostile_texts_get_finite_answers(model, text):
    rated = model.seat(a_jury(5)).rate([JudgedText("a", text, "unheard of", language="xx")])
    assert np.isfinite(rated.probabilities).all()
    assert np.isfinite(rated.sd).all()


def test_a_juror_who_disliked_the_siblings_expects_less(model):
    jury = a_jury(10)
    sour = ratings([0.0, 0.0], factor=0.0, ids=("j0", "j1"))
    siblings = tuple(Sibling(k, GOOD + str(k), MISLEADING, 0.4, 0.0, sour) for k in range(3))
    h = replace(model.weights.history, same_stance=0.05, other_stance=-0.02, rating=0.08)
    knowing = HierarchicalModel(replace(model.weights, history=h), NoEncoder())
    rated = knowing.seat(jury).rate([JudgedText("a", GOOD, MISLEADING, siblings=siblings)])
    strangers = Jury(("",) * 10, jury.intercept, jury.factor, 0.17, "strangers", 0)
    blank = knowing.seat(strangers).rate([JudgedText("a", GOOD, MISLEADING, siblings=siblings)])
    assert (rated.expected()[:2, 0] < blank.expected()[:2, 0] - 0.05).all()
    np.testing.assert_array_equal(rated.probabilities[2:], blank.probabilities[2:])


def test_a_later_own_rating_is_not_used_to_predict_an_earlier_one(model):
    early = Ratings(("r",), np.zeros(1), np.zeros(1), np.zeros(1), np.array([100]))
    text = JudgedText("a", GOOD, MISLEADING, siblings=(Sibling(1, GOOD, MISLEADING, 0.4, 0.0, early),))
    h = replace(model.weights.history, same_stance=0.05)
    knowing = HierarchicalModel(replace(model.weights, history=h), NoEncoder())
    before, after = (
        knowing.history_shift(text, ("r",), np.zeros(1), np.zeros(1), np.array([t]))[0] for t in (50.0, 200.0)
    )
    assert before == 0.0
    assert after < -0.01


def test_a_saved_model_answers_as_before_and_equal_models_give_equal_bytes(model, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_weights(model.weights, tmp_path / name)
    for file in ("model.npz", "model.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    again = load_model(tmp_path / "one")
    text = [JudgedText("a", GOOD, MISLEADING)]
    np.testing.assert_allclose(again.judge(text).mean, model.judge(text).mean)
    np.testing.assert_allclose(again.judge(text).cov, model.judge(text).cov, rtol=1e-4)


# --------------------------------------------------------------------------------------------------------- planted truth


def test_the_planted_world_is_found_in_posts_never_seen(fitted):
    fresh = make_world(n_posts=60, seed=11)
    data = fresh.data
    hidden = replace(data, intercept=np.full(len(data), np.nan), factor=np.full(len(data), np.nan))
    none = (None,) * len(data)
    evaluation = EvaluationSet(
        hidden, none, none, fresh.latent_intercept, fresh.latent_factor, sibling_parameters=False
    )
    model = HierarchicalModel(fitted.weights, NoEncoder())
    pool = Raters(data.rater_ids, np.zeros(120), np.linspace(-0.8, 0.8, 120), np.ones(120, dtype=np.int64))
    result, predictions = evaluate_models(evaluation, model, {}, standard_jury(pool, 0.17), bootstrap=50)
    metrics = {k: v["value"] for k, v in result["metrics"].items()}
    assert metrics["pair_same_stance"] > 0.85  # half of the pairs differ in the planted text, by six times the noise
    assert metrics["intercept_spearman"] > 0.75
    assert metrics["factor_spearman"] > 0.85
    assert 0.80 <= metrics["coverage_90"] <= 0.99
    assert metrics["ece"] < 0.06
    np.testing.assert_allclose(np.corrcoef(predictions.intercept, fresh.latent_intercept)[0, 1] > 0.8, True)


def test_the_words_that_were_planted_carry_the_weight(fitted):
    beta = fitted.weights.beta[0][1 : 1 + len(FORM_NAMES)]
    assert beta[FORM_NAMES.index("cites_wire")] > 0
    assert beta[FORM_NAMES.index("says_accuse")] < 0


def test_leaving_a_post_out_of_a_rater_is_fitting_them_without_it(world):
    """Twin: the ridge system of one rater solved from scratch without one post."""
    data = world.data
    again = without_own_post(data)
    row = 777
    u, post = data.rater[row], data.post[data.rating_note[row]]
    others = [k for k in np.flatnonzero(data.rater == u) if data.post[data.rating_note[k]] != post]
    i, f = data.intercept[data.rating_note[others]], data.factor[data.rating_note[others]]
    y = data.value[others] - data.global_intercept - i
    x = np.stack([np.ones(len(others)), f], axis=1)
    per_rater = len(data.value) / len(np.unique(data.rater))
    solved = np.linalg.solve(x.T @ x + np.diag([0.15, 0.03]) * per_rater, x.T @ y)
    np.testing.assert_allclose([again.rater_intercept[row], again.rater_factor[row]], solved, atol=1e-9)


# ------------------------------------------------------------------------------------------------------ Gaussian algebra

KERNEL = Kernel(0.03, 0.05, -0.6, 0.02, 0.3, 0.01)


def test_conditioning_on_siblings_equals_the_textbook_formula():
    rng = np.random.default_rng(5)
    unit = rng.normal(size=(4, 6))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    stance = np.array([0, 0, 1, 1])
    cosine = unit @ unit.T
    noise = np.array([0.02, 0.03, 0.05])
    y, mean = rng.normal(size=3), rng.normal(size=4)
    full = KERNEL.between(stance, stance, cosine) + KERNEL.note * np.eye(4)
    seen, target = [0, 1, 2], 3
    gain = full[target, seen] @ np.linalg.inv(full[np.ix_(seen, seen)] + np.diag(noise))
    expected = mean[target] + gain @ (y - mean[seen])
    variance = full[target, target] - gain @ full[seen, target]

    information = np.zeros((3, 2, 2))
    information[:, 0, 0] = 1 / noise
    score = np.stack([y / noise, np.zeros(3)], axis=1)
    means = np.stack([mean, np.zeros(4)], axis=1)
    posterior = condition((KERNEL, KERNEL), stance[seen], cosine[np.ix_(seen, seen)], means[seen], information, score)
    moved, cov, common = predict(
        (KERNEL, KERNEL), posterior, stance[[target]], cosine[[target]][:, seen], np.zeros((1, 3)), means[[target]]
    )
    np.testing.assert_allclose(moved[0, 0], expected)
    np.testing.assert_allclose(cov[0, 0, 0], variance)
    np.testing.assert_allclose(moved[0, 1], 0.0, atol=1e-12)
    assert 0 <= common[0] < variance


def test_leave_one_out_equals_refitting_without_the_note():
    rng = np.random.default_rng(6)
    unit = rng.normal(size=(3, 5)).astype(np.float32)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    stance, noise, residual = np.array([0, 0, 1]), np.array([0.02, 0.01, 0.03]), rng.normal(size=3)
    batches = batch_posts(np.array([7, 7, 7]), stance, unit)
    mean, variance = leave_one_out(batches, KERNEL, noise, residual)
    cov = KERNEL.between(stance, stance, (unit @ unit.T).astype(float)) + KERNEL.note * np.eye(3)
    for k in range(3):
        rest = [j for j in range(3) if j != k]
        gain = cov[k, rest] @ np.linalg.inv(cov[np.ix_(rest, rest)] + np.diag(noise[rest]))
        np.testing.assert_allclose(mean[k], gain @ residual[rest], atol=1e-6)
        np.testing.assert_allclose(variance[k], cov[k, k] - gain @ cov[rest, k], atol=1e-6)


def test_the_hashing_encoder_gives_unit_vectors_and_knows_similar_texts():
    vectors = HashingEncoder().encode(
        ["the bridge is closed today", "the bridge was closed today", "vaccines and tax law", ""]
    )
    np.testing.assert_allclose(np.linalg.norm(vectors[:3], axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert not vectors[3].any()


def test_a_difference_is_surer_than_the_two_doubts_suggest_and_nothing_for_equal_texts(model):
    note = Sibling(7, "The bridge is open, says the city. https://example.org/7", MISLEADING, 0.2, 0.0)
    first = JudgedText(
        "a", "The bridge is open, says the city council. https://example.org/8", MISLEADING, siblings=(note,)
    )
    own = JudgedText("7", note.text, MISLEADING)
    judged = model.judge([first, replace(own, siblings=())])
    apart = model.difference_sd(first, own)
    assert 0 < apart < np.hypot(*judged.sd_within)
    assert model.difference_sd(replace(first, text=note.text), own) == pytest.approx(0.0, abs=1e-9)


def test_trees_are_grown_where_there_are_notes_enough_and_are_stored_with_the_model(world, tmp_path):
    few = fit_hierarchical(world.data, NoEncoder(), replace(OPTIONS, blocks=("form", "trees"))).weights
    assert "trees" not in few.design.blocks
    grown = fit_hierarchical(
        world.data, NoEncoder(), replace(OPTIONS, blocks=("form", "trees"), trees=8, trees_from=100)
    ).weights
    assert len(grown.design.forest.root) == 8
    save_weights(grown, tmp_path, "trees")
    texts = [JudgedText("a", GOOD, MISLEADING), JudgedText("b", BAD, MISLEADING)]
    before = HierarchicalModel(grown, NoEncoder()).judge(texts).mean
    np.testing.assert_array_equal(load_model(tmp_path, "trees", encoder=NoEncoder()).judge(texts).mean, before)
    assert before[0, 0] > before[1, 0] + 0.1
