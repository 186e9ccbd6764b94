"""`ingest` on whole folders: what comes out, and that every line is accounted for."""

from __future__ import annotations

import gzip
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import zstandard

from ingest.columns import SPECS
from ingest.settings import IngestSettings
from nouns.errors import InputError
from nouns.snapshot import RATER_INDEX_FILE, SCHEMAS, SORT_KEYS, dense_ratings, read_table, write
from nouns.x import RATING_TAGS
from tests.calling import ingest

EPOCH = 1_288_834_974_657
T0 = 1_700_000_000_000


def snowflake(millis: int, salt: int = 0) -> int:
    return ((millis - EPOCH) << 22) + salt


def texts(counts: dict) -> list[str]:
    """What the notices say."""
    return [notice["text"] for notice in counts["notices"]]


def tsv(header: str, *rows: tuple) -> str:
    names = header.split()
    lines = ["\t".join(names)]
    for row in rows:
        assert len(row) == len(names)
        lines.append("\t".join(map(str, row)))
    return "\n".join(lines) + "\n"


NOTE_HEADER = (
    "noteId noteAuthorParticipantId createdAtMillis tweetId classification misleadingOther summary isMediaNote"
)
RATING_HEADER = "noteId raterParticipantId createdAtMillis version helpfulnessLevel helpfulClear notHelpfulIncorrect"
MISLEADING = "MISINFORMED_OR_POTENTIALLY_MISLEADING"
NOTES = [snowflake(T0 + 1000 * k, k) for k in range(6)]
TWEETS = [snowflake(T0 - 10**6 - 1000 * k) for k in range(6)]


def note_rows() -> list[tuple]:
    return [(n, f"AUTHOR{k}", T0 + 1000 * k, TWEETS[k], MISLEADING, 0, f'Text {k} "q', 0) for k, n in enumerate(NOTES)]


def rating_rows(n: int = 60) -> list[tuple]:
    levels = ["HELPFUL", "SOMEWHAT_HELPFUL", "NOT_HELPFUL"]
    return [
        (NOTES[k % 6], f"{k // 6:064X}", T0 + 10_000 + 7 * k, 2, levels[k % 3], k % 2, (k + 1) % 2) for k in range(n)
    ]


def folder(path: Path, **files: str) -> Path:
    """A folder with the files; the default files where they are not given, none for an empty text."""
    defaults = {
        "notes-00000.tsv": tsv(NOTE_HEADER, *note_rows()),
        "ratings-00000.tsv": tsv(RATING_HEADER, *rating_rows()),
    }
    path.mkdir(parents=True, exist_ok=True)
    for name, text in {**defaults, **{key.replace("__", "-") + ".tsv": text for key, text in files.items()}}.items():
        if text:
            (path / name).write_text(text, encoding="utf-8", newline="")
    return path


def run(tmp_path: Path, source: Path, name: str = "snapshot", **options) -> tuple[Path, dict]:
    out = tmp_path / name
    out.mkdir()
    settings = options.pop("settings", IngestSettings(block_bytes=1 << 16))
    return out, ingest(out, settings, source=source, **options)


def rows(out: Path, table: str) -> list[dict]:
    return read_table(out, table).collect().to_dicts()


def physical_lines(path: Path) -> int:
    """The slow twin of the count: lines after the header, of the decompressed text."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    pieces = raw.split(b"\n")
    return len(pieces) - 1 - (pieces[-1] == b"")


def test_a_small_folder_becomes_the_tables_one_expects(tmp_path):
    out, counts = run(tmp_path, folder(tmp_path / "in"))
    assert counts["in"] == counts["out"] == 66
    assert counts["rejected"] == {}
    first = rows(out, "notes")[0]
    assert first["noteId"] == NOTES[0]
    assert first["summary"] == 'Text 0 "q'
    assert first["isMediaNote"] is False
    assert first["trustworthySources"] is None  # the column is absent
    assert first["misleadingSatire"] is False
    ratings = read_table(out, "ratings").collect()
    expected = {
        (n, r): {"HELPFUL": 1.0, "SOMEWHAT_HELPFUL": 0.5, "NOT_HELPFUL": 0.0}[v]
        for n, r, _, _, v, _, _ in rating_rows()
    }
    got = {(n, r): v for n, r, v in ratings.select("noteId", "raterParticipantId", "helpfulness").iter_rows()}
    assert got == expected
    assert ratings["helpfulClear"].sum() == 30
    assert ratings["notHelpfulOther"].sum() == 0


def test_every_table_has_its_schema_and_order_even_when_its_file_is_missing(tmp_path):
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=""))
    for name, schema in SCHEMAS.items():
        table = pq.read_table(out / f"{name}.parquet")
        assert table.schema.names == schema.names
        assert [f.type for f in table.schema] == [f.type for f in schema], name
        assert [f.nullable for f in table.schema] == [f.nullable for f in schema], name
    assert read_table(out, "ratings").collect().height == 0
    assert not (out / ".scratch").exists()


def test_every_column_of_the_snapshot_has_a_source():
    computed = {"ratings": {"helpfulness"}}
    for name, spec in SPECS.items():
        sources = {column.name for column in spec.columns} | computed.get(name, set())
        assert set(SCHEMAS[name].names) <= sources, name


def test_rows_come_out_in_the_order_the_snapshot_promises(tmp_path):
    shuffled = rating_rows()
    random.Random(1).shuffle(shuffled)
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *shuffled)))
    for name, keys in SORT_KEYS.items():
        frame = read_table(out, name).collect()
        assert frame.equals(frame.sort(keys, maintain_order=True)), name


def compress(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gz":
        Path(f"{path}.gz").write_bytes(gzip.compress(data))
    elif how == "zst":
        # Two frames one after the other: a reader that stops after the first loses rows.
        packer = zstandard.ZstdCompressor()
        half = len(data) // 2
        Path(f"{path}.zst").write_bytes(packer.compress(data[:half]) + packer.compress(data[half:]))
    elif how == "zip":
        with zipfile.ZipFile(path.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(path, path.name)
    path.unlink()


@pytest.mark.parametrize("how", ["gz", "zst", "zip"])
def test_compression_changes_no_byte_of_the_tables(tmp_path, how):
    plain, _ = run(tmp_path, folder(tmp_path / "plain"), "a")
    source = folder(tmp_path / how)
    for path in sorted(source.glob("*.tsv")):
        compress(path, how)
    packed, _ = run(tmp_path, source, "b")
    for name in SCHEMAS:
        assert (plain / f"{name}.parquet").read_bytes() == (packed / f"{name}.parquet").read_bytes(), name


@pytest.mark.parametrize("run_rows", [7, 16, 1000])
def test_shards_their_order_and_the_sorting_memory_change_no_byte_of_the_ratings(tmp_path, run_rows):
    whole, _ = run(tmp_path, folder(tmp_path / "whole"), "a")
    shuffled = rating_rows()
    random.Random(2).shuffle(shuffled)
    source = folder(
        tmp_path / "shards",
        ratings__00000=tsv(RATING_HEADER, *shuffled[40:]),
        ratings__00001=tsv(RATING_HEADER, *shuffled[:15]),
        ratings__00002=tsv(RATING_HEADER, *shuffled[15:40]),
    )
    cut, counts = run(tmp_path, source, "b", settings=IngestSettings(run_rows=run_rows, block_bytes=1 << 16))
    assert counts["out"] == 66
    assert (whole / "ratings.parquet").read_bytes() == (cut / "ratings.parquet").read_bytes()


def test_row_groups_do_not_depend_on_how_rows_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr("nouns.snapshot.ROW_GROUP_ROWS", 25)
    a, _ = run(tmp_path, folder(tmp_path / "in"), "a", settings=IngestSettings(run_rows=7))
    b, _ = run(tmp_path, folder(tmp_path / "in"), "b", settings=IngestSettings(run_rows=33))
    assert pq.ParquetFile(a / "ratings.parquet").metadata.num_row_groups == 3
    assert (a / "ratings.parquet").read_bytes() == (b / "ratings.parquet").read_bytes()
    dense = dense_ratings(a)
    assert dense.rater_ids.to_pylist() == sorted({row[1] for row in rating_rows()})


def test_folders_as_on_the_server_and_snake_case_names_are_found(tmp_path):
    source = tmp_path / "in"
    folder(source / "notes", ratings__00000="")
    (source / "noteRatings").mkdir()
    (source / "noteRatings" / "ratings-00000.tsv").write_text(tsv(RATING_HEADER, *rating_rows()))
    (source / "note_status_history-00000.tsv").write_text(tsv("noteId currentStatus", (NOTES[0], "NEEDS_MORE_RATINGS")))
    (source / "user_enrollment.tsv").write_text(tsv("participantId modelingGroup", ("A", 3)))
    (source / "noteRequests-00000.tsv").write_text(tsv("tweetId sourceLinks", (TWEETS[0], '["https://example.org"]')))
    _, counts = run(tmp_path, source)
    assert {name: table["out"] for name, table in counts["tables"].items()} == {
        "notes": 6,
        "ratings": 60,
        "note_status_history": 1,
        "user_enrollment": 1,
        "note_requests": 1,
        "posts": 0,
    }


# -- the columns of every year -----------------------------------------------------------------------------------------


def test_version_1_ratings_use_helpful_and_not_helpful(tmp_path):
    text = tsv(
        "noteId participantId createdAtMillis agree helpful notHelpful notHelpfulArgumentativeOrInflammatory",
        (NOTES[0], "A", T0 + 1, 1, 1, 0, 0),
        (NOTES[0], "B", T0 + 2, 0, 0, 1, 1),
        (NOTES[0], "C", T0 + 3, 0, 0, 0, 0),
        (NOTES[0], "D", T0 + 4, 0, 1, 1, 0),
        (NOTES[0], "E", T0 + 5, 0, "", "", ""),
    )
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    got = {row["raterParticipantId"]: row for row in rows(out, "ratings")}
    assert {key: row["helpfulness"] for key, row in got.items()} == {"A": 1.0, "B": 0.0}
    assert got["B"]["notHelpfulArgumentativeOrBiased"] is True  # renamed in December 2021
    assert got["A"]["version"] == 1
    assert counts["tables"]["ratings"]["rejected"] == {"no_rating": 3}


def test_ratings_without_a_time_get_that_of_their_note_and_a_notice(tmp_path):
    text = tsv("noteId raterParticipantId helpfulnessLevel", (NOTES[2], "A", "HELPFUL"))
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    assert rows(out, "ratings")[0]["createdAtMillis"] == T0 + 2000
    assert any(notice.startswith("ratings: createdAtMillis") for notice in texts(counts))


def test_a_helpfulness_level_beats_the_old_boxes(tmp_path):
    text = tsv(
        "noteId raterParticipantId createdAtMillis helpful notHelpful helpfulnessLevel",
        (NOTES[0], "A", T0 + 1, 1, 0, "NOT_HELPFUL"),
        (NOTES[0], "B", T0 + 2, 0, 1, ""),
    )
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    assert [(row["helpfulness"], row["version"]) for row in rows(out, "ratings")] == [(0.0, 2), (0.0, 1)]


def test_a_bad_suggestion_id_costs_its_cell_and_no_more(tmp_path):
    ids = ["9" * 5000, "9" * 19, "12"]
    text = tsv(
        RATING_HEADER + " suggestion suggestionId",
        *((*row, "say more", number) for row, number in zip(rating_rows(), ids, strict=False)),
    )
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    found = rows(out, "suggestions")
    assert [row["suggestion"] for row in found] == ["say more"] * 3
    assert sorted(row["suggestionId"] or 0 for row in found) == [0, 0, 12]


def test_new_columns_are_read_known_ones_left_out_quietly_and_unknown_ones_with_a_notice(tmp_path):
    text = tsv(
        RATING_HEADER + " ratedOnTweetId ratingSourceBucketed suggestion suggestionId inventedIn2031",
        (*rating_rows()[0], TWEETS[0], "POPULATION_SAMPLED", "say more", 12, "x"),
        (*rating_rows()[1], -1, "", "", "", "y"),
        (*rating_rows()[2], "", "SOMETHING_NEW", "", "", "y"),
    )
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    got = rows(out, "ratings")
    assert [row["ratedOnTweetId"] for row in got] == [TWEETS[0], None, None]
    assert [row["ratingSourceBucketed"] for row in got] == ["POPULATION_SAMPLED", None, "SOMETHING_NEW"]
    assert any("inventedIn2031" in notice for notice in texts(counts))
    assert not any("suggestion" in notice for notice in texts(counts))
    report = {entry["file"]: entry for entry in json.loads((out / "schema_report.json").read_text())["files"]}
    entry = report["ratings-00000.tsv"]
    assert entry["unknown_and_left_out"] == ["inventedIn2031"]
    assert entry["known_and_left_out"] == []
    assert "helpfulOther" in entry["absent"]


def test_columns_may_stand_in_any_order_and_differ_between_shards(tmp_path):
    old = [(row[2], row[0], row[1], 1, 0) for row in rating_rows(6)]
    text = tsv("createdAtMillis noteId raterParticipantId helpful notHelpful", *old)
    source = folder(tmp_path / "in", ratings__00001=text, ratings__00000=tsv(RATING_HEADER, *rating_rows()[6:]))
    out, counts = run(tmp_path, source)
    assert counts["tables"]["ratings"]["out"] == 60
    assert read_table(out, "ratings").filter(pl.col("version") == 1).collect().height == 6


def test_every_tag_goes_into_its_own_column(tmp_path):
    table = [(NOTES[0], f"R{k}", T0 + k, "HELPFUL", *(int(j == k) for j in range(22))) for k in range(22)]
    header = "noteId raterParticipantId createdAtMillis helpfulnessLevel " + " ".join(reversed(RATING_TAGS))
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(header, *table)))
    for k, row in enumerate(rows(out, "ratings")):
        assert [tag for tag in RATING_TAGS if row[tag]] == [RATING_TAGS[21 - k]]


def test_notes_cut_to_the_few_columns_needed_are_completed_and_the_assumptions_reported(tmp_path):
    text = tsv("noteId tweetId summary", (NOTES[1], TWEETS[1], "b"), (NOTES[0], TWEETS[0], "a"))
    out, counts = run(tmp_path, folder(tmp_path / "in", notes__00000="", notes_scored=text, ratings__00000=""))
    got = rows(out, "notes")
    assert [row["createdAtMillis"] for row in got] == [T0, T0 + 1000]
    assert {row["classification"] for row in got} == {MISLEADING}
    assert [row["noteAuthorParticipantId"] for row in got] == [None, None]
    assert any("classification" in notice and "2" in notice for notice in texts(counts))


def test_an_absent_classification_follows_the_reasons_ticked(tmp_path):
    text = tsv(
        "noteId tweetId summary misleadingOther notMisleadingPersonalOpinion",
        (NOTES[0], TWEETS[0], "a", 0, 1),
        (NOTES[1], TWEETS[1], "b", 1, 1),
        (NOTES[2], TWEETS[2], "c", 0, 0),
    )
    out, _ = run(tmp_path, folder(tmp_path / "in", notes__00000=text, ratings__00000=""))
    assert [row["classification"] for row in rows(out, "notes")] == ["NOT_MISLEADING", MISLEADING, MISLEADING]


def test_status_history_of_2022_and_of_today_give_the_same_columns(tmp_path):
    old = tsv(
        "noteId createdAtMillis timestampMillisOfFirstNonNMRStatus currentStatus "
        "timestampMillisOfMostRecentNonNMRStatus mostRecentNonNMRStatus participantId",
        (NOTES[0], 0, -1, "", -1, "", "A"),
    )
    new = tsv(
        "noteId createdAtMillis timestampMillisOfFirstNonNMRStatus currentStatus "
        "timestampMillisOfLatestNonNMRStatus mostRecentNonNMRStatus noteAuthorParticipantId currentModelingGroup",
        (NOTES[1], T0, f"{T0 + 5}.25", "CURRENTLY_RATED_HELPFUL", T0 + 6, "CURRENTLY_RATED_HELPFUL", "B", "2.0"),
    )
    source = folder(tmp_path / "in", noteStatusHistory__00000=old, noteStatusHistory__00001=new)
    out, _ = run(tmp_path, source)
    first, second = rows(out, "note_status_history")
    assert first["currentStatus"] is None
    assert first["createdAtMillis"] == T0  # from the note id, because X wrote 0
    assert first["timestampMillisOfFirstNonNMRStatus"] is None
    assert second["timestampMillisOfFirstNonNMRStatus"] == T0 + 5
    assert second["timestampMillisOfLatestNonNMRStatus"] == T0 + 6
    assert second["currentModelingGroup"] == 2
    assert second["noteAuthorParticipantId"] == "B"


def test_note_requests_are_read_under_the_names_x_publishes_them(tmp_path):
    text = tsv(
        "tweetId noteRequestFeedEligibleAtMillis apiSmallFeedEligibleAtMillis apiXlFeedEligibleAtMillis sourceLinks suggestions",
        (TWEETS[2], -1, T0, T0 + 1, 'https://x.com/i/status/1,https://x.com/"2"\\', '[{"suggestion_id":1}]'),
        (TWEETS[1], T0, T0, T0, "", ""),
        (TWEETS[0], T0, T0, T0, '["https://x.com/i/status/3"]', ""),
    )
    out, _ = run(tmp_path, folder(tmp_path / "in", batSignals__00000=text))
    got = {row["tweetId"]: row for row in rows(out, "note_requests")}
    assert got[TWEETS[2]]["apiSmallFeedEligibleTimestamp"] == T0
    assert got[TWEETS[2]]["noteRequestFeedEligibleTimestamp"] is None
    assert json.loads(got[TWEETS[2]]["sourceLinks"]) == ["https://x.com/i/status/1", 'https://x.com/"2"\\']
    assert got[TWEETS[1]]["sourceLinks"] is None
    assert json.loads(got[TWEETS[0]]["sourceLinks"]) == ["https://x.com/i/status/3"]


# -- what is rejected --------------------------------------------------------------------------------------------------


def reject_reasons(out: Path) -> list[tuple]:
    return [(r["file"], r["line"], r["column"], r["reason"], r["value"]) for r in rows(out, "rejects")]


BAD_CELLS = {
    "bad_id": [
        (0, "x"),
        (0, ""),
        (0, "0"),
        (0, "-5"),
        (0, "9223372036854775808"),
        (0, "1.7e18"),
        (0, "12 "),
        (0, "99999999999999999999999"),
    ],
    "bad_participant_id": [(1, ""), (1, "two words"), (1, "ü"), (1, "x" * 129)],
    "bad_timestamp": [(2, ""), (2, "0"), (2, str(T0 // 1000)), (2, str(T0 * 1000)), (2, "2024-01-01")],
    "bad_number": [(3, "one"), (3, "300"), (3, "-1")],
    "unknown_helpfulness_level": [(4, "helpful"), (4, "HELPFUL "), (4, "VERY_HELPFUL")],
    "bad_flag": [(5, "2"), (5, "yes"), (6, "-1"), (6, "01")],
}


@pytest.mark.parametrize(
    ("reason", "column", "value"),
    [(reason, column, value) for reason, cells in BAD_CELLS.items() for column, value in cells],
)
def test_a_bad_cell_rejects_its_row_with_line_column_and_value(tmp_path, reason, column, value):
    table = rating_rows()
    bad = list(table[10])
    bad[column] = value
    table[10] = tuple(bad)
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *table)))
    assert reject_reasons(out) == [("ratings-00000.tsv", 12, RATING_HEADER.split()[column], reason, value[:200])]
    assert counts["tables"]["ratings"] == {
        "in": 60,
        "out": 59,
        "rejected": {reason: 1},
        "of_known_notes": 59,
    } or counts["tables"]["ratings"] == {"in": 60, "out": 59, "rejected": {reason: 1}}


def test_lines_with_too_few_or_many_cells_blank_lines_and_nul_bytes_are_rejected_one_by_one(tmp_path):
    lines = tsv(RATING_HEADER, *rating_rows()).split("\n")
    lines[5] = lines[5] + "\textra"
    lines[6] = lines[6].rsplit("\t", 1)[0]
    lines[7] = ""
    lines[8] = lines[8][:-1] + "\0"
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000="\n".join(lines)))
    assert [(line, reason) for _, line, _, reason, _ in reject_reasons(out)] == [
        (6, "column_count"),
        (7, "column_count"),
        (8, "empty_line"),
        (9, "nul_byte"),
    ]
    assert counts["tables"]["ratings"]["in"] == 60
    assert "\\x00" in rows(out, "rejects")[3]["value"]


def test_a_raw_line_break_in_a_suggestion_costs_its_row_and_no_other(tmp_path):
    table = [(*row, 'he said "') for row in rating_rows()]
    table[3] = (*table[3][:-1], "first line\nsecond line")
    text = tsv(RATING_HEADER + " suggestion", *table)
    out, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    # The first half is complete up to its last cell and therefore a row; the second is nothing.
    assert counts["tables"]["ratings"]["in"] == 61
    assert [(line, reason) for _, line, _, reason, _ in reject_reasons(out)] == [(6, "column_count")]
    table = [(*row[:2], "text", *row[2:]) for row in rating_rows()]
    table[3] = (*table[3][:2], "first\nsecond", *table[3][3:])
    header = RATING_HEADER.split()
    text = tsv(" ".join([*header[:2], "suggestion", *header[2:]]), *table)
    out, _ = run(tmp_path, folder(tmp_path / "in2", ratings__00000=text), "b")
    assert [(line, reason) for _, line, _, reason, _ in reject_reasons(out)] == [
        (5, "column_count"),
        (6, "column_count"),
    ]


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    plain, _ = run(tmp_path, folder(tmp_path / "a"), "plain")
    source = folder(tmp_path / "b")
    for path in source.glob("*.tsv"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    other, _ = run(tmp_path, source, "other")
    for name in ("notes", "ratings"):
        assert (plain / f"{name}.parquet").read_bytes() == (other / f"{name}.parquet").read_bytes()


def test_a_last_line_without_a_line_break_is_a_line(tmp_path):
    text = tsv(RATING_HEADER, *rating_rows()).rstrip("\n")
    _, counts = run(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    assert counts["tables"]["ratings"]["out"] == 60


def test_text_that_is_not_utf8_is_rejected_and_shown_escaped(tmp_path):
    source = folder(tmp_path / "in")
    path = source / "notes-00000.tsv"
    path.write_bytes(path.read_bytes().replace(b"Text 3", b"Caf\xe9 3"))
    out, _ = run(tmp_path, source)
    assert [(line, column, reason, value) for _, line, column, reason, value in reject_reasons(out)] == [
        (5, "summary", "bad_encoding", 'Caf\\xe9 3 "q')
    ]


@pytest.mark.parametrize(
    ("raw", "good"),
    [
        ("plain é ł 漢字 😀".encode(), True),
        (b"\xc0\x80", False),  # overlong
        (b"\xed\xa0\x80", False),  # a surrogate
        (b"\xf4\x90\x80\x80", False),  # beyond U+10FFFF
        (b"abcdefgh\xf0\x9f\x98", False),  # cut short
        (b"\x80", False),
        ("12345678é".encode(), True),
    ],
)
def test_utf8_is_judged_as_python_judges_it(tmp_path, raw, good):
    source = folder(tmp_path / "in")
    path = source / "notes-00000.tsv"
    path.write_bytes(path.read_bytes().replace(b"Text 3", raw))
    _, counts = run(tmp_path, source)
    assert (counts["tables"]["notes"]["rejected"] == {}) is good


def test_of_duplicate_ratings_the_latest_stays_whatever_the_order(tmp_path):
    twice = [
        (NOTES[0], "A", T0 + 5, 2, "HELPFUL", 0, 0),
        (NOTES[0], "A", T0 + 9, 2, "NOT_HELPFUL", 0, 0),
        (NOTES[0], "A", T0 + 7, 2, "HELPFUL", 1, 0),
        (NOTES[0], "B", T0 + 9, 2, "HELPFUL", 0, 0),
    ]
    for k, order in enumerate([[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]]):
        text = tsv(RATING_HEADER, *[twice[j] for j in order])
        out, counts = run(tmp_path, folder(tmp_path / f"in{k}", ratings__00000=text), f"out{k}")
        kept = [(row["raterParticipantId"], row["createdAtMillis"], row["helpfulness"]) for row in rows(out, "ratings")]
        assert kept == [("A", T0 + 9, 0.0), ("B", T0 + 9, 1.0)]
        assert counts["tables"]["ratings"]["rejected"] == {"duplicate": 2}
        assert {line for _, line, *_ in reject_reasons(out)} == {order.index(0) + 2, order.index(2) + 2}


def test_equally_late_duplicates_are_settled_by_content_not_by_order(tmp_path):
    one = (NOTES[0], "A", T0 + 5, 2, "HELPFUL", 0, 0)
    two = (NOTES[0], "A", T0 + 5, 2, "NOT_HELPFUL", 1, 0)
    a, _ = run(tmp_path, folder(tmp_path / "a", ratings__00000=tsv(RATING_HEADER, one, two)), "out_a")
    b, _ = run(tmp_path, folder(tmp_path / "b", ratings__00000=tsv(RATING_HEADER, two, one)), "out_b")
    assert (a / "ratings.parquet").read_bytes() == (b / "ratings.parquet").read_bytes()


def test_duplicate_notes_keep_the_latest_and_duplicates_never_fail_the_stage(tmp_path):
    old, new = note_rows()[0], (NOTES[0], "AUTHOR0", T0 + 99, TWEETS[0], MISLEADING, 0, "newer", 0)
    text = tsv(NOTE_HEADER, new, *[old] * 9)
    out, counts = run(tmp_path, folder(tmp_path / "in", notes__00000=text, ratings__00000=""))
    assert [row["summary"] for row in rows(out, "notes")] == ["newer"]
    assert counts["tables"]["notes"]["rejected"] == {"duplicate": 9}


# -- as of an earlier time ---------------------------------------------------------------------------------------------


def test_as_of_leaves_out_everything_created_at_or_after_the_time(tmp_path):
    as_of = T0 + 10_000 + 7 * 30
    out, counts = run(tmp_path, folder(tmp_path / "in"), as_of=as_of)
    assert counts["tables"]["ratings"]["rejected"] == {"after_as_of": 30}
    assert read_table(out, "ratings").collect()["createdAtMillis"].max() < as_of
    out, counts = run(tmp_path, folder(tmp_path / "in"), "b", as_of=T0 + 3000)
    assert counts["tables"]["notes"]["rejected"] == {"after_as_of": 3}
    assert counts["tables"]["ratings"]["out"] == 0


HISTORY = (
    "noteId createdAtMillis timestampMillisOfFirstNonNMRStatus firstNonNMRStatus timestampMillisOfCurrentStatus "
    "currentStatus timestampMillisOfLatestNonNMRStatus mostRecentNonNMRStatus timestampMillisOfStatusLock lockedStatus "
    "timestampMillisOfMostRecentStatusChange currentCoreStatus"
)
CRH, CRNH, NMR = "CURRENTLY_RATED_HELPFUL", "CURRENTLY_RATED_NOT_HELPFUL", "NEEDS_MORE_RATINGS"
# helpful at 100, not helpful at 200, needs more ratings again at 300, locked at 400, scored last at 500
LIFE = (NOTES[0], T0, T0 + 100, CRH, T0 + 500, NMR, T0 + 200, CRNH, T0 + 400, NMR, T0 + 300, NMR)


@pytest.mark.parametrize(
    ("at", "status", "first", "latest", "locked", "core"),
    [
        (50, NMR, None, None, None, None),
        (100, NMR, None, None, None, None),  # an event at the time itself has not happened
        (150, CRH, CRH, CRH, None, None),
        (250, CRNH, CRH, CRNH, None, None),
        (350, NMR, CRH, CRNH, None, None),
        (450, NMR, CRH, CRNH, NMR, None),
        (501, NMR, CRH, CRNH, NMR, NMR),
    ],
)
def test_the_status_history_is_turned_back_to_the_chosen_time(tmp_path, at, status, first, latest, locked, core):
    source = folder(tmp_path / "in", ratings__00000="", noteStatusHistory__00000=tsv(HISTORY, LIFE))
    out, _ = run(tmp_path, source, as_of=T0 + at)
    (row,) = rows(out, "note_status_history")
    assert row["currentStatus"] == status
    assert row["firstNonNMRStatus"] == first
    assert row["mostRecentNonNMRStatus"] == latest
    assert row["lockedStatus"] == locked
    assert row["currentCoreStatus"] == core
    times = [value for name, value in row.items() if name.startswith("timestamp") and value is not None]
    assert all(value < T0 + at for value in times)


def test_a_status_without_a_time_is_unknown_at_an_earlier_time_and_counted(tmp_path):
    text = tsv("noteId createdAtMillis currentStatus timestampMillisOfCurrentStatus", (NOTES[0], 0, CRH, -1))
    source = folder(tmp_path / "in", ratings__00000="", noteStatusHistory__00000=text)
    now, _ = run(tmp_path, source, "now")
    then, counts = run(tmp_path, source, "then", as_of=T0 + 10**9)
    assert rows(now, "note_status_history")[0]["currentStatus"] == CRH
    assert rows(then, "note_status_history")[0]["currentStatus"] is None
    assert any("1 statuses" in notice for notice in texts(counts))


def test_enrolment_and_requests_forget_what_came_later(tmp_path):
    source = folder(
        tmp_path / "in",
        userEnrollment__00000=tsv(
            "participantId enrollmentState timestampOfLastStateChange timestampOfLastEarnOut modelingGroup",
            ("A", "earnedIn", T0 + 10, 1, 5),
            ("B", "atRisk", T0 + 900, T0 + 900, 6),
        ),
        noteRequests__00000=tsv(
            "tweetId sourceLinks noteRequestFeedEligibleTimestamp apiSmallFeedEligibleTimestamp",
            (TWEETS[0], "[]", T0 + 10, T0 + 900),
            (TWEETS[1], "[]", -1, T0 + 900),
        ),
    )
    out, counts = run(tmp_path, source, as_of=T0 + 500)
    a, b = rows(out, "user_enrollment")
    assert (a["enrollmentState"], b["enrollmentState"], b["modelingGroup"]) == ("earnedIn", None, 6)
    assert b["timestampOfLastEarnOut"] is None
    (request,) = rows(out, "note_requests")
    assert request["noteRequestFeedEligibleTimestamp"] == T0 + 10
    assert request["apiSmallFeedEligibleTimestamp"] is None
    assert counts["tables"]["note_requests"]["rejected"] == {"after_as_of": 1}


# -- posts -------------------------------------------------------------------------------------------------------------

POSTS = [
    {"tweetId": TWEETS[0], "text": "One, with a comma", "lang": "en", "createdAt": "2023-11-14T22:00:00.000Z"},
    {"tweetId": TWEETS[1], "text": 'Zwei "Worte"', "lang": "de", "createdAt": "2023-11-14T22:00:00+00:00"},
    {"tweetId": TWEETS[2], "text": None, "lang": None, "createdAt": None},
]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "jsonl.gz", "csv", "csv.zst", "tsv"])
def test_posts_may_come_in_any_of_the_forms(tmp_path, form):
    source = folder(tmp_path / "in")
    frame = pl.DataFrame(POSTS)
    suffix, _, packing = form.partition(".")
    path = source / f"posts.{suffix}"
    if suffix == "parquet":
        frame.write_parquet(path)
    elif suffix == "jsonl":
        path.write_text("".join(json.dumps(post) + "\n" for post in POSTS))
    elif suffix == "csv":
        frame.write_csv(path)
    else:
        frame.write_csv(path, separator="\t", quote_style="never")
    if packing:
        compress(path, packing)
    out, counts = run(tmp_path, source)
    got = rows(out, "posts")
    assert [row["tweetId"] for row in got] == sorted(TWEETS[:3])
    by_id = {row["tweetId"]: row for row in got}
    assert by_id[TWEETS[0]]["text"] == "One, with a comma"
    assert by_id[TWEETS[1]]["text"] == 'Zwei "Worte"'
    assert by_id[TWEETS[1]]["language"] == "de"
    assert by_id[TWEETS[0]]["createdAtMillis"] == by_id[TWEETS[1]]["createdAtMillis"] == 1_700_000_000_000 - 800_000
    assert by_id[TWEETS[2]]["text"] is None
    assert by_id[TWEETS[2]]["createdAtMillis"] == T0 - 10**6 - 2000  # from the id
    assert counts["tables"]["posts"] == {"in": 3, "out": 3, "rejected": {}, "of_known_notes": 3}


def test_bad_and_repeated_posts_are_rejected_and_the_longest_text_stays(tmp_path):
    lines = [
        {"id": str(TWEETS[0]), "text": "short"},
        {"id": str(TWEETS[0]), "text": "longer text"},
        {"id": "abc", "text": "?"},
    ]
    text = (
        "".join(json.dumps(line) + "\n" for line in lines) + "{broken\n" + json.dumps({"id": 7, "text": "seven"}) + "\n"
    )
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    settings = IngestSettings(max_rejected_share=0.5)
    out, counts = run(tmp_path, folder(tmp_path / "in"), posts=path, settings=settings)
    assert counts["tables"]["posts"]["rejected"] == {"bad_id": 1, "duplicate": 1, "unreadable_record": 1}
    assert {row["text"] for row in rows(out, "posts")} >= {"longer text"}


def test_post_ids_that_went_through_a_float_are_refused(tmp_path):
    source = folder(tmp_path / "in")
    pl.DataFrame({"tweetId": [1.7e18], "text": ["x"]}).write_parquet(source / "posts.parquet")
    with pytest.raises(InputError, match="floating-point"):
        run(tmp_path, source)


# -- dense ratings -----------------------------------------------------------------------------------------------------


def test_dense_ratings_are_the_table_with_rows_for_ids(tmp_path):
    out, _ = run(tmp_path, folder(tmp_path / "in"))
    dense = dense_ratings(out)
    frame = read_table(out, "ratings").collect()
    assert dense.note_ids[dense.note_index].tolist() == frame["noteId"].to_list()
    assert dense.rater_ids.take(dense.rater_index).to_pylist() == frame["raterParticipantId"].to_list()
    assert dense.value.tolist() == frame["helpfulness"].to_list()
    assert dense.created_at.tolist() == frame["createdAtMillis"].to_list()
    assert dense.note_index.dtype == dense.rater_index.dtype == np.int32


def test_dense_ratings_are_the_same_without_the_files_beside_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr("nouns.snapshot.ROW_GROUP_ROWS", 25)
    out, _ = run(tmp_path, folder(tmp_path / "in"))
    quick = dense_ratings(out)
    (out / RATER_INDEX_FILE).unlink()
    slow = dense_ratings(out)
    assert quick.rater_ids.equals(slow.rater_ids)
    assert quick.rater_index.tolist() == slow.rater_index.tolist()


def test_dense_ratings_of_an_empty_table_are_empty(tmp_path):
    out, _ = run(tmp_path, folder(tmp_path / "in", ratings__00000=""))
    dense = dense_ratings(out)
    assert [len(part) for part in dense] == [0] * 6


def test_dense_ratings_read_what_write_wrote(tmp_path):
    frame = pl.DataFrame(
        {
            "noteId": [5, 3, 5],
            "raterParticipantId": ["b", "b", "a"],
            "createdAtMillis": [3, 2, 1],
            "helpfulness": [1.0, 0.5, 0.0],
            "version": [2, 2, 2],
        }
    )
    write(tmp_path, "ratings", frame)
    dense = dense_ratings(tmp_path)
    assert dense.note_ids.tolist() == [3, 5]
    assert dense.rater_ids.to_pylist() == ["a", "b"]
    assert dense.note_index.tolist() == [0, 1, 1]
    assert dense.rater_index.tolist() == [1, 0, 1]


def test_an_unknown_table_or_column_is_refused_by_name(tmp_path):
    out, _ = run(tmp_path, folder(tmp_path / "in"))
    with pytest.raises(InputError, match="no table 'rating'"):
        read_table(out, "rating")
    with pytest.raises(InputError, match="no column helpful"):
        read_table(out, "ratings", ["helpful"])


def test_a_check_box_more_needs_a_bit_of_its_own():
    for spec in SPECS.values():
        bits = list(spec.flag_bits.values())
        assert len(set(bits)) == len(bits)
    assert [SPECS["ratings"].flag_bits[tag] for tag in RATING_TAGS] == list(range(22))
