"""Measures against hand calculations and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from jury.train.measures import auc, auc_measure, calibration_error, log_loss, mean_measure, spearman


def test_auc_counts_pairs_with_ties_as_half():
    # positives 0.9, 0.5; negatives 0.5, 0.1: pairs won 1, 1, tie, 1 -> 3.5 of 4
    assert auc(np.array([1, 1, 0, 0]), np.array([0.9, 0.5, 0.5, 0.1])) == pytest.approx(3.5 / 4)


def test_auc_agrees_with_scikit_learn_weights_included():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    truth, score, weight = rng.integers(0, 2, 300), np.round(rng.random(300), 1), rng.integers(0, 4, 300).astype(float)
    assert auc(truth, score, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight))


def test_auc_of_one_class_is_no_number_and_becomes_none():
    assert np.isnan(auc(np.ones(3), np.arange(3.0)))
    assert auc_measure(np.arange(3), np.ones(3), np.arange(3.0), 10)["value"] is None


def test_log_loss_of_even_odds_is_log_two_and_certainty_is_bounded():
    np.testing.assert_allclose(log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.5])), np.log(2))
    assert np.isfinite(log_loss(np.array([1.0]), np.array([0.0]))).all()


def test_calibration_error_is_the_mean_gap_of_equal_mass_bins():
    chance = np.repeat([0.2, 0.8], 50)
    truth = np.concatenate([np.arange(50) < 15, np.arange(50) < 40]).astype(float)  # 0.3 and 0.8 observed
    assert calibration_error(truth, chance, bins=2) == pytest.approx(0.05)


def test_spearman_sees_order_only():
    x = np.array([1.0, 2.0, 5.0, 9.0])
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -x) == pytest.approx(-1.0)
    assert np.isnan(spearman(x[:2], x[:2]))


def test_intervals_come_from_posts_not_from_cases():
    """A hundred copies of one post's answer are one observation: the interval must not shrink with the copies."""
    few = mean_measure(np.arange(8), np.array([0, 1, 0, 1, 1, 0, 1, 0.0]), 400)
    many = mean_measure(np.repeat(np.arange(8), 100), np.repeat([0, 1, 0, 1, 1, 0, 1, 0.0], 100), 400)
    assert many["value"] == few["value"] == 0.5
    assert many["hi"] - many["lo"] == pytest.approx(few["hi"] - few["lo"])
    assert many["n"] == 800
