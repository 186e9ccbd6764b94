"""Gathered shards are what one big shard would have been."""

from __future__ import annotations

import polars as pl
import pytest
import zstandard

from nouns.errors import StageFailed
from pipeline.gather import gather


def shard(directory, ids, text):
    directory.mkdir()
    pl.DataFrame({"post_id": ids}, schema={"post_id": pl.Int64}).write_parquet(directory / "rows.parquet")
    (directory / "lines.jsonl").write_text("".join(f"{text}{i}\n" for i in ids))
    (directory / "calls.jsonl.zst").write_bytes(zstandard.compress("".join(f"{i}\n" for i in ids).encode()))
    (directory / "manifest.json").write_text("{}")
    return directory


def test_rows_lines_and_frames_come_in_the_order_of_the_shards(tmp_path):
    parts = [shard(tmp_path / "a", [1, 2], "x"), shard(tmp_path / "b", [], "x"), shard(tmp_path / "c", [3], "x")]
    out = tmp_path / "out"
    out.mkdir()
    counts = gather(
        parts,
        [
            {"in": 2, "out": 1, "rejected": {"bad": 1}, "writer": "w"},
            {"in": 0, "out": 0, "rejected": {}},
            {"in": 1, "out": 1, "rejected": {"bad": 2}},
        ],
        out,
    )
    assert pl.read_parquet(out / "rows.parquet")["post_id"].to_list() == [1, 2, 3]
    assert (out / "lines.jsonl").read_text() == "x1\nx2\nx3\n"
    with zstandard.open(out / "calls.jsonl.zst", "rt") as stream:
        assert stream.read().split() == ["1", "2", "3"]
    assert counts == {"in": 3, "out": 2, "rejected": {"bad": 3}, "writer": "w"}
    assert not (out / "manifest.json").exists()


def test_shards_of_different_columns_are_refused(tmp_path):
    first = shard(tmp_path / "a", [1], "x")
    second = shard(tmp_path / "b", [2], "x")
    pl.DataFrame({"post_id": ["2"]}).write_parquet(second / "rows.parquet")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(StageFailed, match="different columns"):
        gather([first, second], [{}, {}], out)


def test_what_all_shards_share_is_kept_once_and_no_mean_is_ever_added_up(tmp_path):
    parts = [shard(tmp_path / "a", [1], "x"), shard(tmp_path / "b", [2], "x")]
    out = tmp_path / "out"
    out.mkdir()
    jury = {"n_jurors": 1000, "mean_factor": -0.07}
    assert gather(parts, [{"in": 1, "shared": {"jury": jury}}] * 2, out) == {"in": 2, "shared": {"jury": jury}}
    with pytest.raises(StageFailed, match="disagree on 'shared'"):
        gather(parts, [{"shared": {"jury": jury}}, {"shared": {"jury": {"n_jurors": 999}}}], out)
    with pytest.raises(StageFailed, match="only whole numbers"):
        gather(parts, [{"mean_score": 0.5}] * 2, out)
