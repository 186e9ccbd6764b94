"""The generated days of `benchmarks.days` are what they say: X's files, planted, the same every time, and a second day that only adds."""

from __future__ import annotations

import polars as pl

from benchmarks.days import MORE_RATINGS, X
from ingest.settings import IngestSettings
from nouns.snapshot import read_table
from tests.calling import ingest


def test_two_generated_days_are_read_without_a_reject_and_the_second_only_adds(tmp_path):
    scale = 0.0004
    first = X(scale).write(tmp_path / "x", 1)
    assert X(scale).write(tmp_path / "again", 1) == first
    for path in (tmp_path / "x").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    snapshots = []
    for day in (1, 2):
        more = X(scale).write(tmp_path / "x", day)
        (tmp_path / f"s{day}").mkdir()
        counts = ingest(tmp_path / f"s{day}", IngestSettings(), source=tmp_path / "x")
        assert set(counts["rejected"]) <= {"duplicate"}, "a rater may come back to a note on the second day"
        snapshots.append(tmp_path / f"s{day}")
    assert 0.5 * MORE_RATINGS * scale < more["ratings"] < 2 * MORE_RATINGS * scale
    before, after = (read_table(s, "notes", ["noteId", "summary"]).collect() for s in snapshots)
    assert before.join(after, on=["noteId", "summary"], how="anti").is_empty()
    assert after.height == before.height + more["notes"]
    assert before["summary"].n_unique() > 0.6 * before.height
    means = (
        read_table(snapshots[0], "ratings", ["noteId", "helpfulness"])
        .group_by("noteId")
        .agg(pl.col("helpfulness").mean())
    )
    planted = pl.concat(pl.DataFrame({k: n[k] for k in ("noteId", "quality")}) for n, _ in X(scale).blocks(1) if n)
    assert planted.join(means.collect(), on="noteId").select(pl.corr("quality", "helpfulness")).item() > 0.5
