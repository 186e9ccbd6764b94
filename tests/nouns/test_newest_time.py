"""When a snapshot's newest row was created, whatever rows with times set wrongly stand beside it."""

from __future__ import annotations

import polars as pl
import pytest

from nouns.snapshot import newest_time
from pipeline.carry import _continues

DAY = 86_400_000


def table(times: list[int | None]) -> pl.LazyFrame:
    return pl.LazyFrame({"createdAtMillis": times}, schema={"createdAtMillis": pl.Int64})


@pytest.mark.parametrize("future", [[], [400 * DAY], [300 * DAY, 4000 * DAY, 4001 * DAY]])
def test_a_few_rows_dated_in_the_future_do_not_make_a_table_younger(future):
    assert newest_time(table([*(i * DAY // 4 for i in range(400)), None, *future])) == 399 * DAY // 4


def test_what_comes_within_a_week_or_in_numbers_is_the_newest():
    steady = [i * DAY // 4 for i in range(400)]
    assert newest_time(table([*steady, 106 * DAY])) == 106 * DAY
    assert newest_time(table([*steady, *(300 * DAY + i for i in range(20))])) == 300 * DAY + 19
    assert newest_time(table([5, 900 * DAY])) == 900 * DAY, "of two rows neither stands out"
    assert newest_time(table([])) is None
    sparse = [i * 20 * DAY for i in range(12)]
    assert newest_time(table(sparse)) == sparse[-1]
    assert newest_time(table([*sparse, 9000 * DAY])) == sparse[-1]


def test_a_rating_dated_in_the_future_does_not_keep_a_jury_in_office(tmp_path):
    days = {"first": [], "week": [], "month": []}
    for name, more in (("first", 0), ("week", 6), ("month", 30)):
        days[name] = [*(i * DAY // 4 for i in range(4000 + 4 * more)), 9000 * DAY]
        (tmp_path / name).mkdir()
        table(days[name]).collect().write_parquet(tmp_path / name / "ratings.parquet")
        pl.DataFrame({"noteId": [1, 2, 3]}).write_parquet(tmp_path / name / "notes.parquet")
    assert _continues(tmp_path / "first", tmp_path / "week", 7)
    assert not _continues(tmp_path / "first", tmp_path / "month", 7)
    assert not _continues(tmp_path / "week", tmp_path / "first", 7)
