"""Nothing in silence: small inputs with one thing wrong each; every one is told, warned of or refused, by name."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ingest.diff import compare
from ingest.doubts import missing_shards, quoted, rounding_of
from ingest.settings import IngestSettings
from nouns.errors import InputError
from nouns.snapshot import looks_lost
from tests.ingest.test_ingest import NOTE_HEADER, NOTES, RATING_HEADER, folder, note_rows, rating_rows, rows, run, tsv

RATINGS = tsv(RATING_HEADER, *rating_rows())
NOTE_TEXT = tsv(NOTE_HEADER, *note_rows())
HISTORY_HEADER = "noteId createdAtMillis currentStatus lockedStatus"
STATUS = "NEEDS_MORE_RATINGS"
IDS = [1_990_000_000_000_000_000 + 7_919_003 * 2**20 * k + 977 * k + 13 for k in range(12)]


def notices(tmp_path: Path, source: Path, **options) -> list[tuple[str, str]]:
    """(level, text) of all that was said, whether the stage went on or stopped."""
    try:
        _, counts = run(tmp_path, source, **options)
        said = counts["notices"]
    except InputError as error:
        said = [*error.notices, {"level": "refused", "text": str(error)}]
    return [(entry["level"], entry["text"]) for entry in said]


def assert_said(said: list[tuple[str, str]], level: str, *words: str) -> None:
    assert any(found == level and all(word in text for word in words) for found, text in said), said


FORMS = (
    "ratings-00000.csv", "ratings-00000.csv.gz", "ratings-00000.tar.gz", "ratings-00000.tgz", "ratings-00000.tar",
    "ratings-00000.7z", "ratings-00000.rar", "ratings-00000.xlsx", "ratings-00000.xls", "ratings-00000.json",
    "ratings-00000.jsonl", "ratings-00000.feather", "ratings-00000.arrow", "ratings-00000.txt", "ratings-00000",
    "ratings-00000.tsv.lz4", "ratings-00000.avro", "ratings (1).tsv", "ratings copy.tsv", "ratings-00000.csv.bz2",
    "ratings-00000.pkl", "noteRatings/part-0000.tsv", "noteRatings/part-0000.csv", "ratings-00000.tsv.br",
    "noteStatusHistory-00000.csv", "userEnrollment-00000.xlsx", "batSignals-00000.json", "notes-00001.csv",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_table_in_a_form_that_is_not_read_is_named_with_the_reason(tmp_path, name):
    source = folder(tmp_path / "in", ratings__00000="")
    path = source / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(RATINGS)
    assert_said(notices(tmp_path, source), "warned", name, "left alone")


UNFINISHED = (
    "ratings-00001.tsv.part", "ratings-00001.tsv.crdownload", "ratings-00001.zip.part", "ratings-00001.tsv.partial",
    "ratings-00001.tsv.download", "ratings-00001.tsv.aria2", "ratings-00001.tsv.tmp", "ratings-00001.tsv.filepart",
    "ratings-00001.tsv.opdownload", ".ratings-00001.tsv.Xa81Bc", ".ratings-00001.zip.k2Lq9Z", "notes-00001.tsv.!ut",
)  # fmt: skip


@pytest.mark.parametrize("name", UNFINISHED)
def test_an_unfinished_download_stops_the_stage_until_the_user_says_to_go_on(tmp_path, name):
    source = folder(tmp_path / "in")
    (source / name).write_text(RATINGS[:100])
    assert_said(notices(tmp_path, source), "refused", name, "not finished")
    (tmp_path / "snapshot").rename(tmp_path / "first")
    said = notices(tmp_path, source, settings=IngestSettings(unfinished_download="warned"))
    assert_said(said, "warned", name, "not finished")


def test_what_is_left_of_a_download_that_ended_well_is_only_told(tmp_path):
    source = folder(tmp_path / "in")
    (source / "ratings-00000.tsv.crdownload").write_text("x")
    assert_said(notices(tmp_path, source), "told", "left-over")


@pytest.mark.parametrize("form", ["bz2", "xz", "parquet"])
def test_other_forms_that_hold_the_same_rows_give_the_same_bytes(tmp_path, form):
    plain, _ = run(tmp_path, folder(tmp_path / "plain"), "one")
    source = folder(tmp_path / "in", ratings__00000="")
    if form == "parquet":
        frame = pl.read_csv(
            tmp_path / "plain" / "ratings-00000.tsv",
            separator="\t",
            quote_char=None,
            schema_overrides={"raterParticipantId": pl.String},
        )
        frame.with_columns(pl.col("helpfulClear").cast(pl.Boolean)).write_parquet(source / "ratings-00000.parquet")
    else:
        pack = bz2.compress if form == "bz2" else lzma.compress
        (source / f"ratings-00000.tsv.{form}").write_bytes(pack(RATINGS.encode()))
    out, counts = run(tmp_path, source, "two")
    assert (out / "ratings.parquet").read_bytes() == (plain / "ratings.parquet").read_bytes()
    assert any(form in notice["text"] for notice in counts["notices"])


@pytest.mark.parametrize("form", ["bz2", "xz", "parquet"])
@pytest.mark.parametrize("keep", [0.4, 0.9])
def test_other_forms_that_are_cut_short_are_refused(tmp_path, form, keep):
    source = folder(tmp_path / "in", ratings__00000="")
    text = tsv(RATING_HEADER, *rating_rows(3000))
    if form == "parquet":
        (tmp_path / "r.tsv").write_text(text)
        pl.read_csv(tmp_path / "r.tsv", separator="\t", quote_char=None).write_parquet(tmp_path / "whole")
        whole = (tmp_path / "whole").read_bytes()
    else:
        whole = (bz2.compress if form == "bz2" else lzma.compress)(text.encode())
    name = "ratings-00000.parquet" if form == "parquet" else f"ratings-00000.tsv.{form}"
    (source / name).write_bytes(whole[: int(len(whole) * keep)])
    assert_said(notices(tmp_path, source), "refused", name, "cut short")


def test_a_parquet_file_whose_ids_are_floating_point_numbers_is_refused(tmp_path):
    source = folder(tmp_path / "in", ratings__00000="")
    frame = pl.DataFrame(
        {"noteId": [float(n) for n in NOTES], "raterParticipantId": ["A"] * 6, "helpfulnessLevel": ["HELPFUL"] * 6}
    )
    frame.write_parquet(source / "ratings-00000.parquet")
    assert_said(notices(tmp_path, source), "refused", "ratings-00000.parquet", "floating-point")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([0, 2], "ratings-00001"),
        ([1], "ratings-00000"),
        ([0, 1, 5], "ratings-00002, ratings-00003, ratings-00004"),
        ([3], "ratings-00000, ratings-00001, ratings-00002"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_gap_in_the_numbers_of_shards_is_refused_and_named(tmp_path, there, missing, packed):
    source = folder(tmp_path / "in", ratings__00000="")
    for number in there:
        path = source / f"ratings-{number:05d}.tsv{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(RATINGS.encode()) if packed else RATINGS.encode())
    assert_said(notices(tmp_path, source), "refused", missing, "missing")


def test_names_without_x_s_numbers_make_no_gap():
    assert missing_shards(["ratings-00000", "ratings-00001"]) == []
    assert missing_shards(["ratings_2024"]) == missing_shards(["notes-20260101"]) == missing_shards(["notes"]) == []
    assert missing_shards(["ratings-01", "ratings-02", "ratings-04"]) == ["ratings-03"]
    assert missing_shards(["a-00001", "b-00000"]) == ["a-00000"]


@pytest.mark.parametrize("size", [None, 10])
def test_files_that_the_download_s_own_list_has_and_the_folder_lacks_are_refused(tmp_path, size):
    source = folder(tmp_path / "in")
    name = "ratings-00001.zip" if size is None else "ratings-00000.tsv"
    (source / "fetch.json").write_text(json.dumps({"files": [{"file": name, "bytes": 10}]}))
    assert_said(notices(tmp_path, source), "refused", "fetch.json", name)


@pytest.mark.parametrize("cut", [3, 20, 60])
@pytest.mark.parametrize("table", ["notes", "ratings"])
def test_a_file_that_ends_in_mid_line_is_warned_of(tmp_path, cut, table):
    text = {"notes": NOTE_TEXT, "ratings": RATINGS}[table][:-cut]
    said = notices(tmp_path, folder(tmp_path / "in", **{f"{table}__00000": text}))
    level = "warned" if text.rsplit("\n", 1)[1].count("\t") < text.split("\n", 1)[0].count("\t") else "told"
    assert_said(said, level, f"{table}-00000.tsv", "no line break")


@pytest.mark.parametrize("column", ["currentStatus", "lockedStatus"])
def test_an_unknown_status_costs_its_cell_and_not_its_row(tmp_path, column):
    known = {"currentStatus": STATUS, "lockedStatus": STATUS}
    lines = [(note, 1_700_000_000_000, *(known | {column: "NEW_WORD"}).values()) for note in NOTES]
    source = folder(tmp_path / "in", noteStatusHistory__00000=tsv(HISTORY_HEADER, *lines))
    out, counts = run(tmp_path, source)
    got = rows(out, "note_status_history")
    assert len(got) == len(NOTES)  # all of them new words, and still no reason to think of swapped columns
    assert {row[column] for row in got} == {None}
    assert_said([(n["level"], n["text"]) for n in counts["notices"]], "warned", column, "'NEW_WORD'", "6 rows")


def test_an_unknown_classification_is_treated_as_an_empty_one(tmp_path):
    lines = [(*row[:4], "ADDS_CONTEXT" if k % 2 else "", *row[5:]) for k, row in enumerate(note_rows())]
    source = folder(tmp_path / "in", notes__00000=tsv(NOTE_HEADER, *lines))
    assert len({row["classification"] for row in rows(run(tmp_path, source)[0], "notes")}) == 1


@pytest.mark.parametrize("share", [1, 3])
def test_new_words_for_helpfulness_are_named_and_their_rows_hold_no_rating(tmp_path, share):
    lines = [(*row[:4], "VERY_HELPFUL" if k % share == 0 else row[4], *row[5:]) for k, row in enumerate(rating_rows())]
    source = folder(tmp_path / "in", ratings__00000=tsv(RATING_HEADER, *lines))
    said = notices(tmp_path, source)
    assert_said(said, "warned", "helpfulnessLevel", "'VERY_HELPFUL'")
    assert_said(said, "told", "unknown_helpfulness_level")


@pytest.mark.parametrize("word", ["NOT_MISLEADING", "2", "true", "a text about something"])
def test_cells_that_look_like_another_column_s_still_stop_the_stage(tmp_path, word):
    lines = [(note, 1_700_000_000_000, word, STATUS) for note in NOTES]
    source = folder(tmp_path / "in", noteStatusHistory__00000=tsv(HISTORY_HEADER, *lines))
    expected = "warned" if word == "NOT_MISLEADING" else "refused"  # it is spelt like a status
    assert_said(notices(tmp_path, source), expected, "currentStatus", word)


def spreadsheet(n: int) -> int:
    return round(n, -4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda n: int(float(n)),
        spreadsheet,
        lambda n: int(f"{float(n):.17g}".replace("e+18", "").replace(".", "").ljust(19, "0")),
    ],
)
@pytest.mark.parametrize("column", ["noteId", "tweetId"])
def test_ids_that_lost_their_last_digits_are_refused(tmp_path, damage, column):
    lines = [
        (damage(n) if column == "noteId" else n, f"A{k}", 1_760_000_000_000, damage(n + 99) if column == "tweetId" else n + 99, "", 0, "t", 0)
        for k, n in enumerate(IDS)
    ]  # fmt: skip
    source = folder(tmp_path / "in", notes__00000=tsv(NOTE_HEADER, *lines), ratings__00000="")
    assert_said(notices(tmp_path, source), "refused", column, "rounded_ids")


def test_true_ids_and_ids_made_from_times_are_not_called_rounded():
    assert rounding_of(np.array(IDS)) is None
    assert rounding_of(np.arange(1000) << 22) is None
    assert rounding_of(np.arange(400, 100_000, 100)) is None


@pytest.mark.parametrize("style", ["necessary", "always"])
def test_texts_that_carry_csv_quotes_are_warned_of(tmp_path, style):
    texts = [f'He said "{k}" and left' if k % 2 else f"Plain {k}" for k in range(6)]
    wrapped = ['"' + t.replace('"', '""') + '"' if style == "always" or '"' in t else t for t in texts]
    lines = [(*row[:6], text, row[7]) for row, text in zip(note_rows(), wrapped, strict=True)]
    said = notices(tmp_path, folder(tmp_path / "in", notes__00000=tsv(NOTE_HEADER, *lines)))
    assert_said(said, "warned", "quotation marks")


def test_true_quotation_marks_are_no_csv_quotes():
    import pyarrow as pa

    assert quoted(pa.array(['"A quote," he said, "is this"', 'say "x"', '"Whole sentence quoted."', "none"])) == 0


def test_a_header_in_quotes_says_so(tmp_path):
    source = folder(tmp_path / "in", notes__00000=NOTE_TEXT.replace("noteId\t", '"noteId"\t', 1))
    assert_said(notices(tmp_path, source), "refused", "noteId")
    head, _, rest = NOTE_TEXT.partition("\n")
    every = "\t".join(f'"{name}"' for name in head.split("\t")) + "\n" + rest
    again = folder(tmp_path / "again", notes__00000=every)
    (tmp_path / "snapshot").rename(tmp_path / "first")
    assert_said(notices(tmp_path, again), "refused", "quotes around its cells")


POST_IDS = [row[3] for row in note_rows()]


@pytest.mark.parametrize(
    ("name", "content", "level", "word"),
    [
        ("p.csv", b"tweetId,text\n", "warned", "no rows"),
        ("p.csv", b"", "refused", "is empty"),
        ("p.jsonl", b'{"tweetId": "1", "text": "a"}\n', "warned", "0 of the 1 posts"),
        ("p.json", b"[]", "warned", "no rows"),
        ("p.jsonl", f'{{"tweetId": "{POST_IDS[0]}", "text": ""}}\n'.encode(), "warned", "None of the 1 posts"),
        ("p.json", b'[{"tweetId": "5"', "refused", "cut short"),
        ("p.xlsx", b"PK\x03\x04....", "refused", "Excel"),
        ("p.csv", "tweetId,text\n5,x\n".encode("utf-16"), "refused", "UTF-16"),
        ("p.csv", "tweetId,text\n5,café\n".encode("latin-1"), "refused", "iconv"),
        ("p.csv", b"tweetId,text\n2.0295E+18,x\n", "refused", "floating-point"),
        ("p.jsonl", b'{"tweetId": 2.0295e+18, "text": "x"}\n', "refused", "floating-point"),
        ("p.db", b"SQLite format 3\x00", "refused", "SQLite"),
        ("p.feather", b"ARROW1..", "refused", "Feather"),
        ("p.html", b"<!doctype html>", "refused", "HTML"),
        ("p.csv", b"name,words\n1,2\n", "refused", "needs a column tweetId"),
        ("p.bin", b"ab\x00\x01", "refused", "binary"),
        ("p.csv", b"\x1f\x8b\x08", "refused", "gzip"),
    ],
)
def test_a_posts_table_that_helps_nobody_is_named_for_what_it_is(tmp_path, name, content, level, word):
    (tmp_path / name).write_bytes(content)
    assert_said(notices(tmp_path, folder(tmp_path / "in"), posts=tmp_path / name), level, word)


@pytest.mark.parametrize("form", ["array", "semicolon", "bom", "snake", "tab", "pipe", "array.gz"])
def test_posts_tables_of_other_programs_are_read(tmp_path, form):
    first, second = POST_IDS[:2]
    entries = [{"tweetId": str(first), "text": "Hi; there"}, {"tweetId": str(second), "text": "Two"}]
    text = {
        "array": json.dumps(entries, indent=1),
        "array.gz": json.dumps(entries),
        "semicolon": f'tweetId;text\n{first};"Hi; there"\n{second};Two\n',
        "bom": f"\ufefftweetId,text\n{first},Hi; there\n{second},Two\n",
        "snake": "".join(json.dumps({"tweet_id": e["tweetId"], "full_text": e["text"], "screen_name": "ada"}) + "\n" for e in entries),
        "tab": f"tweetId\ttext\n{first}\tHi; there\n{second}\tTwo\n",
        "pipe": f"tweetId|text\n{first}|Hi; there\n{second}|Two\n",
    }[form].encode()  # fmt: skip
    path = tmp_path / ("posts.json.gz" if form.endswith("gz") else "posts.json" if form == "array" else "posts.txt")
    path.write_bytes(gzip.compress(text) if form.endswith("gz") else text)
    out, _ = run(tmp_path, folder(tmp_path / "in"), posts=path)
    assert {row["text"] for row in rows(out, "posts")} == {"Hi; there", "Two"}
    assert {row["author"] for row in rows(out, "posts")} == ({"ada"} if form == "snake" else {None})


def test_lines_with_the_same_key_and_other_contents_are_warned_of(tmp_path):
    other = NOTE_TEXT.replace("Text 3", "Other 3")
    said = notices(tmp_path, folder(tmp_path / "in", notes__00001=other))
    assert_said(said, "warned", "notes: 1 line has the noteId", "other contents")
    assert_said(said, "told", "6 lines left out, duplicate")


@pytest.mark.parametrize("table", ["notes", "ratings"])
@pytest.mark.parametrize("n", [30, 400])
def test_a_row_that_is_dated_in_the_future_is_warned_of(tmp_path, table, n):
    header, lines = (NOTE_HEADER, note_rows()) if table == "notes" else (RATING_HEADER, rating_rows(n))
    place = header.split().index("createdAtMillis")
    lines = [list(row) for row in (lines if table == "ratings" else [*lines, *lines])]
    if table == "notes":
        for k, row in enumerate(lines):
            row[0] = row[0] + 7 * k
    lines[1][place] = 2_500_000_000_000
    source = folder(tmp_path / "in", **{f"{table}__00000": tsv(header, *lines)})
    said = notices(tmp_path, source)
    assert_said(said, "warned", f"{table}: 1 row is dated", "2049-03-22")
    (tmp_path / "snapshot").rename(tmp_path / "first")
    strict = IngestSettings(future_dates="refused")
    assert "refused" not in dict(notices(tmp_path, folder(tmp_path / "again"), settings=strict))
    (tmp_path / "snapshot").rename(tmp_path / "second")
    assert_said(notices(tmp_path, source, settings=strict), "refused", "2049-03-22", "future_dates")


def test_ratings_of_notes_that_are_not_there_are_warned_of(tmp_path):
    source = folder(
        tmp_path / "in",
        notes__00000=tsv(NOTE_HEADER, *note_rows()[:4]),
        ratings__00000=tsv(RATING_HEADER, *rating_rows(120)),
    )
    assert_said(notices(tmp_path, source), "warned", "40 of 120 ratings", "probably missing")


@pytest.mark.parametrize("name", ["README", "planted.json", "a/b/c/notes-00000.tsv"])
def test_any_other_file_is_told(tmp_path, name):
    source = folder(tmp_path / "in")
    (source / name).parent.mkdir(parents=True, exist_ok=True)
    (source / name).write_text("x")
    assert any(name in text for _, text in notices(tmp_path, source))


def test_a_link_that_leads_nowhere_is_warned_of(tmp_path):
    source = folder(tmp_path / "in", ratings__00000="")
    (source / "ratings-00000.tsv").symlink_to(tmp_path / "gone.tsv")
    assert_said(notices(tmp_path, source), "warned", "ratings-00000.tsv", "link")


# -- two snapshots -------------------------------------------------------------------------------------------------------


def test_what_looks_lost_is_told_from_what_may_be_deleted():
    before = np.arange(1000)
    assert looks_lost(before, before[::100]) is None  # ten, scattered
    assert looks_lost(before, before[:4]) is None
    assert "gone at once" in str(looks_lost(before, before[::10]))
    assert "no other lies between" in str(looks_lost(before, before[300:330]))


def test_the_difference_of_two_snapshots_by_table(tmp_path):
    one, _ = run(tmp_path, folder(tmp_path / "one"), "a")
    fewer = tsv(
        NOTE_HEADER,
        *[(*row[:6], f"{row[6]} again" * (k == 1) or row[6], row[7]) for k, row in enumerate(note_rows()[:5])],
    )
    two, _ = run(tmp_path, folder(tmp_path / "two", notes__00000=fewer), "b")
    found = compare(one, two)
    assert found["tables"]["notes"] == {"before": 6, "after": 5, "appeared": 0, "vanished": 1, "changed": 1}
    assert found["tables"]["ratings"] == {"before": 60, "after": 60, "appeared": 0, "vanished": 0, "changed": 0}
    assert compare(one, one)["causes"] == []


def test_a_table_that_is_gone_is_named_as_a_cause(tmp_path):
    one, _ = run(tmp_path, folder(tmp_path / "one"), "a")
    two, _ = run(tmp_path, folder(tmp_path / "two", ratings__00000=""), "b")
    assert any(cause.startswith("ratings: the second has none") for cause in compare(one, two)["causes"])


HEAD, *LINES = RATINGS.splitlines()


def each_cell(place: int, change) -> str:
    """The ratings with one cell of every line changed."""
    made = [line.split("\t") for line in LINES]
    return "\n".join([HEAD, *("\t".join(change(c) if k == place else c for k, c in enumerate(row)) for row in made)]) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (RATINGS.replace("\t", ";"), "separated by semicolons"),
        (RATINGS.replace("\t", "|"), "separated by vertical bars"),
        ("<!DOCTYPE html><html><body>403 Forbidden</body></html>", "HTML or XML"),
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "HTML or XML"),
        ('{"error": "rate limited"}', "JSON"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "Git LFS"),
        (each_cell(4, lambda word: f'"{word}"'), "X's words in quotation marks"),
        (each_cell(4, str.lower), "X's words in other letters"),
        (each_cell(0, lambda number: f"{number}.0"), "floating-point numbers"),
        (each_cell(0, lambda number: f"{float(number):.4E}"), "floating-point numbers"),
        (each_cell(2, lambda time: str(int(time) // 1000)), "in another unit"),
        (RATINGS.replace("\n", "\r"), "carriage returns"),
        (RATINGS.encode("utf-16"), "UTF-16"),
        (gzip.compress(RATINGS.encode()), "compressed data"),
        (b"\0" * 512, "NUL bytes"),
    ],
)
def test_ratings_that_are_something_else_are_refused_for_what_they_are(tmp_path, content, words):
    source = folder(tmp_path / "in", ratings__00000="")
    (source / "ratings-00000.tsv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_said(notices(tmp_path, source), "refused", words)


@pytest.mark.parametrize("ending", ["gz", "zst", "bz2", "xz"])
def test_a_plain_text_that_is_named_like_a_compressed_one_is_told_from_a_damaged_file(tmp_path, ending):
    source = folder(tmp_path / "in", ratings__00000="")
    (source / f"ratings-00000.tsv.{ending}").write_text(RATINGS)
    assert_said(notices(tmp_path, source), "refused", "whatever its name says", "rename it")


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("userEnrollment", "enrollmentState"),
        ("userEnrollment", "modelingPopulation"),
        ("noteStatusHistory", "currentCoreStatus"),
        ("noteStatusHistory", "currentMultiGroupStatus"),
        ("ratings", "ratingSourceBucketed"),
    ],
)
def test_an_unknown_word_in_a_column_that_keeps_its_words_is_warned_of(tmp_path, table, column):
    if table == "ratings":
        content = "\n".join([f"{HEAD}\t{column}", *(f"{line}\tMOON" for line in LINES)]) + "\n"
    elif table == "userEnrollment":
        content = tsv(f"participantId {column}", ("A", "MOON"), ("B", ""))
    else:
        content = tsv(f"{HISTORY_HEADER} {column}", *[(note, 1_700_000_000_000, STATUS, "", "MOON") for note in NOTES])
    source = folder(tmp_path / "in", **{f"{table}__00000": content})
    assert_said(notices(tmp_path, source), "warned", column, "'MOON'")


def test_a_posts_table_with_a_quotation_mark_that_is_not_closed_is_warned_of(tmp_path):
    (tmp_path / "p.csv").write_text("tweetId,text\n" + "".join(f'{post},"open {post}\n' for post in POST_IDS))
    assert_said(notices(tmp_path, folder(tmp_path / "in"), posts=tmp_path / "p.csv"), "warned", "not closed")


def test_a_posts_table_that_names_a_column_twice_is_refused(tmp_path):
    (tmp_path / "p.csv").write_text("tweetId,text,text\n" + "".join(f"{post},a,b\n" for post in POST_IDS))
    assert_said(
        notices(tmp_path, folder(tmp_path / "in"), posts=tmp_path / "p.csv"), "refused", "'text' more than once"
    )


def test_a_folder_without_ratings_says_so(tmp_path):
    assert_said(notices(tmp_path, folder(tmp_path / "in", ratings__00000="")), "told", "There is no ratings file")
