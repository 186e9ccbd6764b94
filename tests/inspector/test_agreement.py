"""Krippendorff's alpha against the published example, and against what agreement means."""

from __future__ import annotations

import numpy as np
import pytest

from inspector.report.agreement import alpha_with_interval, bootstrap_mean, krippendorff_alpha

# K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units.
PUBLISHED = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def published_units() -> list[dict[str, int]]:
    table = [row.split() for row in PUBLISHED]
    return [{f"o{k}": int(row[u]) for k, row in enumerate(table) if row[u] != "."} for u in range(12)]


def test_the_published_example_comes_out_to_three_digits():
    assert krippendorff_alpha(published_units()) == pytest.approx(0.743, abs=0.0005)


def test_full_agreement_is_one_and_systematic_disagreement_is_negative():
    agree = [{"a": v, "b": v} for v in ("yes", "no", "yes", "no")]
    differ = [{"a": v, "b": "no" if v == "yes" else "yes"} for v in ("yes", "no", "yes", "no")]
    assert krippendorff_alpha(agree) == 1.0
    assert krippendorff_alpha(differ) < 0


def test_two_coders_two_units_by_hand():
    # Units (y, y) and (y, n): o[y,y] = 2, o[y,n] = o[n,y] = 1; n_y = 3, n_n = 1, n = 4.
    # D_o = 2/4, D_e = 2*3*1/(4*3) = 1/2, so alpha = 0.
    assert krippendorff_alpha([{"a": "y", "b": "y"}, {"a": "y", "b": "n"}]) == pytest.approx(0.0)


def test_units_with_one_opinion_say_nothing():
    units = published_units()
    assert krippendorff_alpha([*units, {"o0": 5}]) == krippendorff_alpha(units)


def test_order_of_units_and_names_of_coders_do_not_matter():
    units = published_units()
    renamed = [{f"x{name}": value for name, value in unit.items()} for unit in reversed(units)]
    assert krippendorff_alpha(renamed) == pytest.approx(krippendorff_alpha(units), abs=1e-12)


@pytest.mark.parametrize("units", [[], [{"a": 1}], [{"a": 1, "b": 1}, {"a": 1, "b": 1}]])
def test_without_disagreement_to_expect_alpha_is_not_defined(units):
    assert krippendorff_alpha(units) is None


def test_the_interval_holds_the_value_narrows_with_data_and_repeats_with_the_seed():
    units = published_units()
    few = alpha_with_interval(units, np.random.default_rng(1))
    many = alpha_with_interval(units * 20, np.random.default_rng(1))
    assert few.lower < few.value < few.upper
    assert many.upper - many.lower < few.upper - few.lower
    assert few == alpha_with_interval(units, np.random.default_rng(1))
    assert (few.n_units, few.n_values) == (11, 40)


def test_the_bootstrap_of_a_mean_has_the_width_of_the_normal_law():
    values = np.random.default_rng(3).normal(0, 1, 900)
    found = bootstrap_mean(values, np.random.default_rng(4), draws=2000)
    half = (found.upper - found.lower) / 2
    assert half == pytest.approx(
        1.96 * values.std() / 30, rel=0.08
    )  # 2000 draws leave about 3 % of noise on a quantile


def test_no_case_and_one_case_have_no_interval():
    rng = np.random.default_rng(0)
    assert bootstrap_mean([], rng).value is None
    assert (bootstrap_mean([1.0], rng).value, bootstrap_mean([1.0], rng).lower) == (1.0, None)
