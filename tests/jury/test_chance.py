"""The chance of reaching Helpful follows X's rule, rises with the score, and is fitted to what happened."""

from __future__ import annotations

import numpy as np
import pytest

from jury.judge.chance import AS_IS, fit_chance, helpful_chance


def test_a_score_at_the_line_has_even_chances_and_a_partisan_one_hardly_any():
    sd = np.array([0.1])
    assert helpful_chance(np.array([0.40]), sd, np.zeros(1))[0] == pytest.approx(0.5, abs=0.01)
    assert helpful_chance(np.array([0.60]), sd, np.zeros(1))[0] > 0.95
    assert helpful_chance(np.array([0.60]), sd, np.array([0.9]))[0] < 0.05


def test_it_rises_with_the_score_and_stays_a_probability():
    chance = helpful_chance(np.linspace(-3, 3, 200), np.full(200, 0.15), np.zeros(200))
    assert (np.diff(chance) >= 0).all()
    assert ((chance > 0) & (chance < 1)).all()
    assert np.isnan(helpful_chance(np.array([np.nan]), np.array([0.1]), np.zeros(1)))[0]


def test_a_simulated_world_gets_its_own_odds_back():
    rng = np.random.default_rng(1)
    score, factor = rng.normal(0.2, 0.2, 20_000), rng.normal(0, 0.2, 20_000)
    later = score + rng.normal(0, 0.15, 20_000)
    helpful = ((later >= 0.40) & (np.abs(factor + rng.normal(0, 0.2, 20_000)) < 0.5)).astype(float)
    chance = helpful_chance(score, np.full(20_000, 0.15), factor)
    assert chance.mean() == pytest.approx(helpful.mean(), abs=0.01)
    shift, slope = fit_chance(chance, helpful, np.ones(20_000))
    assert (shift, slope) == (pytest.approx(0, abs=0.1), pytest.approx(1, abs=0.1))


def test_odds_that_are_too_high_are_brought_down_and_nothing_to_learn_from_changes_nothing():
    rng = np.random.default_rng(2)
    chance = np.full(500, 0.5)
    fitted = fit_chance(chance, (rng.random(500) < 0.1).astype(float), np.ones(500))
    assert helpful_chance(np.array([0.40]), np.array([0.1]), np.zeros(1), fitted)[0] == pytest.approx(0.1, abs=0.04)
    assert fit_chance(chance, np.zeros(500), np.ones(500)) == AS_IS
    assert fit_chance(np.array([np.nan]), np.ones(1), np.ones(1)) == AS_IS
