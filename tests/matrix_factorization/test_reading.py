"""What a note's ratings say when raters with frozen parameters read them, against sums written out by hand."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from matrix_factorization.reading import UNKNOWN_STEP, known_raters, notes_as_read, read_ratings, with_reading
from nouns import snapshot

MU, PER_NOTE = 0.2, 7.0


@pytest.fixture
def world(tmp_path):
    """Forty raters, thirty of them the jury's, and ratings of nine notes; the fit's factors have the other sign and stand 0.1 higher."""
    rng = np.random.default_rng(5)
    names = [f"{k:064X}" for k in range(40)]
    intercept, factor = rng.normal(0, 0.2, 40), rng.normal(0, 0.6, 40)
    people = pl.DataFrame({"raterParticipantId": names, "intercept": intercept, "factor1": factor})
    for name in ("fit", "jury", "snapshot"):
        (tmp_path / name).mkdir()
    people.head(30).write_parquet(tmp_path / "jury" / "raters.parquet")
    shifted = people.with_columns(pl.col("intercept") + 0.1, -pl.col("factor1"))
    shifted.write_parquet(tmp_path / "fit" / "raters.parquet")
    (tmp_path / "fit" / "fit.json").write_text(json.dumps({}))
    rows = [
        (note, names[u], 10 * u, float(rng.choice([0, 0.5, 1])))
        for note in range(1, 10)
        for u in rng.choice(40, 12, False)
    ]
    table = pl.DataFrame(rows, schema=["noteId", "raterParticipantId", "createdAtMillis", "helpfulness"], orient="row")
    snapshot.write(tmp_path / "snapshot", "ratings", table.with_columns(version=2))
    return tmp_path, {name: (i, f) for name, i, f in people.iter_rows()}, table


def test_a_note_is_the_ridge_regression_of_its_ratings_and_sides_are_counted_by_sign(world):
    home, people, table = world
    raters = known_raters(home / "fit", home / "jury")
    found = notes_as_read(read_ratings(home / "snapshot", raters, pl.Series(range(1, 10))), MU, PER_NOTE)
    used = {name: (i, f) for name, i, f, _ in raters.collect().iter_rows()}
    for name, (i, f) in people.items():
        step = 1e-9 if int(name, 16) < 30 else UNKNOWN_STEP / 2 + 1e-9
        assert used[name] == pytest.approx((i, f), abs=step), (
            "the jury's own to the last digit, the others on its scale, in steps"
        )
    for note, intercept, factor, negative, positive in found.iter_rows():
        mine = table.filter(pl.col("noteId") == note)
        u = np.array([used[name] for name in mine["raterParticipantId"]])
        x = np.stack([np.ones(len(u)), u[:, 1]], axis=1)
        y = mine["helpfulness"].to_numpy() - MU - u[:, 0]
        expected = np.linalg.solve(x.T @ x + np.diag([0.15, 0.03]) * PER_NOTE, x.T @ y)
        assert (intercept, factor) == pytest.approx(expected, abs=1e-6)
        gain = 2 * (mine["helpfulness"].to_numpy() - 0.5)
        assert (negative, positive) == (gain[u[:, 1] < 0].sum(), gain[u[:, 1] >= 0].sum())


def test_a_note_nobody_known_rated_and_one_whose_numbers_were_adopted(world):
    home, _, _ = world
    notes = pl.DataFrame({"noteId": [1, 77], "intercept": [0.3, 0.4], "factor1": [0.0, 0.1], "text": ["a", "b"]})
    read = notes_as_read(
        read_ratings(home / "snapshot", known_raters(home / "fit", home / "jury"), pl.Series([1, 77])), MU, PER_NOTE
    )
    assert with_reading(notes, read, home / "fit")["intercept"].to_list() == [read["intercept"][0], None]
    assert with_reading(notes, read, home / "fit", keep=True)["intercept"].to_list() == [read["intercept"][0], 0.4]
    (home / "fit" / "fit.json").write_text(json.dumps({"adopted": {"rater_rows": 1}}))
    assert with_reading(notes, read, home / "fit").equals(notes)
    nothing = notes_as_read(read_ratings(home / "snapshot", known_raters(home / "fit"), pl.Series([77])), MU, PER_NOTE)
    assert nothing.height == 0
