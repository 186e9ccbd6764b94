"""Tables made in pieces equal tables made at once; what is refused is named."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from benchmarks.worlds import make_world
from matrix_factorization.model.ratings import RatingTable, rating_table
from matrix_factorization.score.inputs import table_of_snapshot
from nouns.errors import InputError


def ratings(n: int = 40_000, seed: int = 3) -> pl.DataFrame:
    """Ratings under ids in no particular order, rows shuffled."""
    world = make_world(n, "mix", seed)
    rng = np.random.default_rng(seed)
    note_ids = rng.choice(10**9, int(world.note_index.max()) + 1, replace=False)
    rater_ids = rng.choice(10**9, len(world.rater_factor), replace=False)
    return pl.DataFrame(
        {
            "noteId": note_ids[world.note_index],
            "raterParticipantId": rater_ids[world.rater_index],
            "helpfulness": world.value,
        }
    ).sample(fraction=1.0, shuffle=True, seed=seed)


def assert_same(one: RatingTable, other: RatingTable) -> None:
    for name in ("note_ids", "note_parts", "by_note", "rater_parts", "by_rater"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.rater_ids.equals(other.rater_ids)


@pytest.mark.parametrize("n", [300, 40_000, 300_000])
def test_both_directions_hold_every_rating_sorted_by_row_value_and_column(n):
    frame = ratings(n)
    table = rating_table(frame)
    keys = ["noteId", "helpfulness", "raterParticipantId"]
    note, rater, value = table.triples()
    by_note = pl.DataFrame(
        {"noteId": table.note_ids[note], "helpfulness": value, "raterParticipantId": table.rater_ids.gather(rater)}
    )
    expected = frame.select(keys).cast({"helpfulness": pl.Float64}).sort(keys)
    assert by_note.equals(expected)
    rater = np.repeat(np.arange(table.n_raters), table.rater_degree())
    by_rater = pl.DataFrame(
        {
            "raterParticipantId": table.rater_ids.gather(rater),
            "helpfulness": (table.by_rater & 3) * 0.5,
            "noteId": table.note_ids[table.by_rater >> 2],
        }
    )
    assert by_rater.equals(expected.sort("raterParticipantId", "helpfulness", "noteId").select(by_rater.columns))


def test_a_note_may_go_on_in_the_next_row_group(tmp_path):
    frame = ratings(300).cast({"raterParticipantId": pl.String}).sort("noteId")
    frame.write_parquet(tmp_path / "ratings.parquet", row_group_size=7)
    assert_same(table_of_snapshot(tmp_path), rating_table(frame))
    frame.reverse().write_parquet(tmp_path / "ratings.parquet", row_group_size=7)
    with pytest.raises(InputError, match="not sorted by noteId"):
        table_of_snapshot(tmp_path)
