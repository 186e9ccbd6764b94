"""Input that `ingest` can't use: one paragraph that says what was found, where, what was expected and what to do."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.settings import IngestSettings
from nouns.errors import InputError
from nouns.snapshot import SCHEMAS, read_table
from tests.calling import ingest
from tests.ingest.test_ingest import (
    MISLEADING,
    NOTE_HEADER,
    NOTES,
    RATING_HEADER,
    T0,
    TWEETS,
    folder,
    note_rows,
    physical_lines,
    rating_rows,
    run,
    texts,
    tsv,
)


def refused(tmp_path: Path, source: Path, **options) -> str:
    """The message, after checking what every refusal promises: one paragraph, and nothing half-written left behind."""
    out = tmp_path / "snapshot"
    out.mkdir()
    with pytest.raises(InputError) as caught:
        ingest(out, options.pop("settings", IngestSettings()), source=source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 60
    assert not (out / ".scratch").exists()
    return message


def test_an_empty_folder(tmp_path):
    (tmp_path / "in").mkdir()
    message = refused(tmp_path, tmp_path / "in")
    assert "holds no files" in message
    assert "notes-00000.tsv" in message


def test_a_folder_that_does_not_exist(tmp_path):
    assert "does not exist" in refused(tmp_path, tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path):
    path = tmp_path / "notes-00000.tsv"
    path.write_text(tsv(NOTE_HEADER, *note_rows()))
    assert "is a file, not a folder" in refused(tmp_path, path)


def test_a_folder_without_notes_says_what_it_holds(tmp_path):
    source = folder(tmp_path / "in", notes__00000="")
    assert not (source / "notes-00000.tsv").exists()
    assert "it holds ratings-00000.tsv" in refused(tmp_path, source)


@pytest.mark.parametrize("form", ["gz", "zst", "zip"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_compressed_file_that_is_cut_short(tmp_path, form, keep):
    source = folder(tmp_path / "in")
    path = source / "ratings-00000.tsv"
    data = tsv(RATING_HEADER, *rating_rows(3000)).encode()
    path.unlink()
    target = source / (f"ratings-00000.tsv.{form}" if form != "zip" else "ratings-00000.zip")
    if form == "gz":
        whole = gzip.compress(data)
    elif form == "zst":
        whole = zstandard.ZstdCompressor().compress(data)
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ratings-00000.tsv", data)
        whole = target.read_bytes()
    target.write_bytes(whole[: int(len(whole) * keep)])
    message = refused(tmp_path, source)
    assert target.name in message
    assert "ownload it again" in message


@pytest.mark.parametrize("form", ["gz", "zip"])
def test_a_compressed_file_with_a_wrong_bit(tmp_path, form):
    source = folder(tmp_path / "in")
    (source / "ratings-00000.tsv").unlink()
    data = tsv(RATING_HEADER, *rating_rows(3000)).encode()
    target = source / (f"ratings-00000.tsv.{form}" if form != "zip" else "ratings-00000.zip")
    if form == "gz":
        target.write_bytes(gzip.compress(data))
    else:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ratings-00000.tsv", data)
    raw = bytearray(target.read_bytes())
    raw[len(raw) // 2] ^= 4
    target.write_bytes(bytes(raw))
    assert "damaged" in refused(tmp_path, source)


def test_a_name_that_promises_another_compression(tmp_path):
    source = folder(tmp_path / "in")
    path = source / "ratings-00000.tsv"
    text = path.read_bytes()
    path.unlink()
    (source / "ratings-00000.tsv.gz").write_bytes(text)
    assert "no gzip file, whatever its name says" in refused(tmp_path, source)


@pytest.mark.parametrize("packer", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_compressed_data_under_a_plain_name(tmp_path, packer):
    source = folder(tmp_path / "in")
    path = source / "ratings-00000.tsv"
    path.write_bytes(packer(path.read_bytes()))
    assert "compressed data but its name does not say so" in refused(tmp_path, source)


@pytest.mark.parametrize("table", ["notes", "ratings"])
def test_a_file_of_zero_bytes(tmp_path, table):
    source = folder(tmp_path / "in")
    (source / f"{table}-00000.tsv").write_bytes(b"")
    assert f"{table}-00000.tsv is empty" in refused(tmp_path, source)


@pytest.mark.parametrize("table", ["notes", "ratings"])
def test_a_file_with_a_header_only(tmp_path, table):
    source = folder(tmp_path / "in")
    path = source / f"{table}-00000.tsv"
    path.write_text(path.read_text().split("\n")[0] + "\n")
    assert "header but no data lines" in refused(tmp_path, source)


def test_one_empty_shard_among_full_ones_is_only_noticed(tmp_path):
    source = folder(tmp_path / "in", ratings__00001=tsv(RATING_HEADER))
    _, counts = run(tmp_path, source)
    assert "ratings-00001.tsv has a header but no data lines" in texts(counts)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"noteId,tweetId,summary\n1,2,x\n", "separated by commas"),
        ("noteId\ttweetId\tsummary\n".encode("utf-16"), "UTF-16"),
        (b"\x00\x01\x02\x03" * 500, "NUL bytes"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(1, 256)) * 40, "not UTF-8"),
        (b"<html><body>404 Not Found</body></html>\n", "HTML or XML"),
        (b"PK\x03\x04 something\n", "compressed data"),
        ("noteId\ttweetId\tüsummary\n".encode("latin-1"), "not UTF-8"),
        (b"noteId\ttweetId\tsummary\tnoteId\n", "more than once"),
        (b"noteId\ttweetId\tsummary\r1\t2\tx\r", "carriage returns only"),
        (b"x" * 10_000_000, "lost its line breaks"),
        (b"1704067200000000001\t12345678901\ttext\n", "has no header"),
    ],
)
def test_a_notes_file_that_is_something_else(tmp_path, content, expected):
    source = folder(tmp_path / "in", ratings__00000="")
    (source / "notes-00000.tsv").write_bytes(content)
    message = refused(tmp_path, source)
    assert expected in message
    assert "notes-00000.tsv" in message


def test_a_missing_required_column_names_its_neighbour(tmp_path):
    text = tsv("note_Id tweetId summary", (NOTES[0], TWEETS[0], "x"))
    message = refused(tmp_path, folder(tmp_path / "in", notes__00000=text))
    assert "lacks the column noteId" in message
    assert "'note_Id' resembles noteId" in message


def test_ratings_without_any_kind_of_rating(tmp_path):
    text = tsv("noteId raterParticipantId createdAtMillis", (NOTES[0], "A", T0))
    assert "helpfulnessLevel (or helpful and notHelpful)" in refused(
        tmp_path, folder(tmp_path / "in", ratings__00000=text)
    )


@pytest.mark.parametrize("where", [1, 30])
def test_a_line_of_ten_megabytes(tmp_path, where):
    lines = tsv(NOTE_HEADER, *note_rows() * 10).split("\n")
    lines[where] = lines[where].replace("Text", "T" * 10_000_000)
    message = refused(tmp_path, folder(tmp_path / "in", notes__00000="\n".join(lines)))
    assert f"Line {where + 1} of notes-00000.tsv" in message
    assert "ingest.max_line_bytes" in message


@pytest.mark.parametrize("block_bytes", [1 << 16, 1 << 20, 1 << 25])
def test_a_long_line_passes_where_the_limit_allows_it(tmp_path, block_bytes):
    lines = tsv(NOTE_HEADER, *note_rows()).split("\n")
    lines[3] = lines[3].replace("Text", "T" * 3_000_000)
    options = IngestSettings(block_bytes=block_bytes)
    out, counts = run(tmp_path, folder(tmp_path / "in", notes__00000="\n".join(lines)), settings=options)
    assert counts["tables"]["notes"]["out"] == 6
    assert read_table(out, "notes").collect()["summary"].str.len_bytes().max() > 3_000_000


def swap(table: list[tuple], a: int, b: int) -> list[tuple]:
    return [tuple(row[b] if k == a else row[a] if k == b else cell for k, cell in enumerate(row)) for row in table]


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4), (4, 5), (0, 4)])
def test_swapped_columns_of_ratings(tmp_path, a, b):
    table = [(*row[:1], f"R{row[1]}", *row[2:]) for row in rating_rows()]
    text = tsv(RATING_HEADER, *swap(table, a, b))
    message = refused(tmp_path, folder(tmp_path / "in", ratings__00000=text))
    assert "100%" not in message
    assert "ratings-00000.tsv line 2 with" in message
    assert "swapped" in message


@pytest.mark.parametrize(("a", "b"), [(2, 3), (3, 4), (4, 5), (0, 1), (4, 6)])
def test_swapped_columns_of_notes(tmp_path, a, b):
    text = tsv(NOTE_HEADER, *swap(note_rows(), a, b))
    assert "swapped" in refused(tmp_path, folder(tmp_path / "in", notes__00000=text))


def test_note_and_post_ids_swapped_in_the_notes_are_found_by_the_times_in_the_ids(tmp_path):
    text = tsv(NOTE_HEADER, *swap(note_rows(), 0, 3))
    message = refused(tmp_path, folder(tmp_path / "in", notes__00000=text, ratings__00000=""))
    assert "noteId" in message
    assert "tweetId" in message
    assert "swapped" in message


def test_ratings_of_another_download(tmp_path):
    table = [(row[0] + 1, *row[1:]) for row in rating_rows(120)]
    message = refused(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *table)))
    assert "None of the 120 ratings" in message


def test_ids_out_of_range_everywhere(tmp_path):
    table = [(2**64 + row[0], *row[1:]) for row in rating_rows()]
    message = refused(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *table)))
    assert "bad_id in noteId: 60 lines" in message


def test_times_in_seconds_instead_of_milliseconds(tmp_path):
    table = [(*row[:2], row[2] // 1000, *row[3:]) for row in rating_rows()]
    message = refused(tmp_path, folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *table)))
    assert "bad_timestamp in createdAtMillis" in message


def test_the_share_of_bad_rows_decides_and_can_be_set(tmp_path):
    table = [(("x" if k < 15 else row[0]), *row[1:]) for k, row in enumerate(rating_rows())]
    source = folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *table))
    assert "15 of 60" in refused(tmp_path, source)
    _, counts = run(tmp_path, source, "b", settings=IngestSettings(max_rejected_share=0.25))
    assert counts["tables"]["ratings"]["rejected"] == {"bad_id": 15}


def test_a_shard_in_two_forms_would_count_twice(tmp_path):
    source = folder(tmp_path / "in")
    text = (source / "ratings-00000.tsv").read_bytes()
    (source / "ratings-00000.tsv.gz").write_bytes(gzip.compress(text))
    assert "is there twice" in refused(tmp_path, source)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("posts.parquet", b"not parquet"),
        ("posts.csv", b"a,b\n1,2\n"),
        ("posts.jsonl", b'{"text": "no id"}\n'),
        ("posts.jsonl.gz", b"not gzip"),
    ],
)
def test_a_posts_file_that_is_none(tmp_path, name, content):
    source = folder(tmp_path / "in")
    (source / name).write_bytes(content)
    message = refused(tmp_path, source)
    assert name in message


def test_a_posts_file_that_is_missing(tmp_path):
    assert "does not exist" in refused(tmp_path, folder(tmp_path / "in"), posts=tmp_path / "posts.parquet")


def test_two_posts_files(tmp_path):
    source = folder(tmp_path / "in")
    for name in ("posts.csv", "posts.jsonl"):
        (source / name).write_text("")
    assert "more than one posts file" in refused(tmp_path, source)


# -- random damage -----------------------------------------------------------------------------------------------------

DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["replace", "insert", "delete", "copy line", "cut"]),
        st.integers(0, 10**6),
        st.binary(min_size=1, max_size=6)
        | st.sampled_from([b"\n", b"\t", b"\r\n", b"\0", b'"', b"\xff", b"\t\t", b"-"]),
    ),
    max_size=12,
)


def damaged(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    start = data.index(b"\n") + 1  # the header stays: a damaged header is refused, which other tests show
    for kind, place, what in changes:
        at = start + place % max(1, len(data) - start)
        if kind == "replace":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(what) :]
        elif kind == "copy line":
            end = data.find(b"\n", at) + 1 or len(data)
            data = data[:end] + data[start:end][-80:] + data[end:]
        else:
            data = data[: max(start, len(data) - place % 50)]
    return data


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(notes=DAMAGE, ratings=DAMAGE, block_rows=st.integers(1, 5))
def test_whatever_the_damage_accepted_and_rejected_lines_are_all_lines(tmp_path_factory, notes, ratings, block_rows):
    tmp_path = tmp_path_factory.mktemp("damage")
    source = folder(tmp_path / "in")
    files = {}
    for table, changes in (("notes", notes), ("ratings", ratings)):
        path = source / f"{table}-00000.tsv"
        path.write_bytes(damaged(path.read_bytes(), changes))
        files[table] = path
    options = IngestSettings(max_rejected_share=1.0, run_rows=block_rows * 10)
    if not all(physical_lines(path) for path in files.values()):
        assert "no data lines" in refused(tmp_path, source, settings=options)
        return
    out, counts = run(tmp_path, source, settings=options)
    for table, path in files.items():
        entry = counts["tables"][table]
        assert entry["in"] == physical_lines(path)
        assert entry["out"] + sum(entry["rejected"].values()) == entry["in"]
        written = read_table(out, table).collect()
        assert written.height == entry["out"]
        described = read_table(out, "rejects").collect()
        described = described.filter(described["table"] == table)
        assert described.height == sum(entry["rejected"].values())
        assert described["line"].is_unique().all()
        assert described.is_empty() or 2 <= described["line"].min() <= described["line"].max() <= entry["in"] + 1
    assert read_table(out, "ratings").collect()["helpfulness"].is_in([0.0, 0.5, 1.0]).all()
    assert read_table(out, "notes").collect()["classification"].is_in([MISLEADING, "NOT_MISLEADING"]).all()


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.lists(
            st.text(st.characters(blacklist_characters="\t\n", blacklist_categories=("Cs",)), max_size=12)
            | st.integers(-5, 2**63 + 5).map(str),
            min_size=1,
            max_size=9,
        ).map("\t".join),
        min_size=1,
        max_size=30,
    )
)
def test_random_lines_are_split_and_judged_as_a_slow_reader_would(tmp_path_factory, lines):
    """The compiled reader against ten lines of Python: which lines are good, and what is in them."""
    tmp_path = tmp_path_factory.mktemp("random")
    good = [f"{NOTES[0]}\t{TWEETS[0]}\tfine"]
    text = "noteId\ttweetId\tsummary\n" + "\n".join(good + lines) + "\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes-00000.tsv").write_bytes(text.encode())
    out, counts = run(tmp_path, tmp_path / "in", settings=IngestSettings(max_rejected_share=1.0))
    expected: dict[int, str] = {}
    n_good = 0
    for line in good + lines:
        cells = line.removesuffix("\r").split("\t")
        if len(cells) != 3 or "\0" in line:
            continue
        note, tweet, summary = cells
        digits = set("0123456789")
        if all(text and (set(text) <= digits and len(text) <= 19 and 0 < int(text) < 2**63) for text in (note, tweet)):
            n_good += 1
            expected.setdefault(int(note), summary)
    rejected = counts["tables"]["notes"]["rejected"]
    assert counts["tables"]["notes"]["out"] + rejected.get("duplicate", 0) == n_good
    written = dict(read_table(out, "notes", ["noteId", "summary"]).collect().iter_rows())
    assert written.keys() == expected.keys()


def test_every_table_is_written_by_its_schema_only(tmp_path):
    out, _ = run(tmp_path, folder(tmp_path / "in"))
    for name, schema in SCHEMAS.items():
        assert pa.schema(schema).names == read_table(out, name).collect_schema().names()
