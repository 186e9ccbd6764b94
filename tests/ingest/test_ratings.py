"""The parts that let ratings pass through bounded memory, each against a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.parse import FLAG, ID, NUMBER, PARTICIPANT, SKIP, TEXT, TIME, Layout, parse
from ingest.ratings import RECORD, RaterNumbers, RatingRuns, sort_ratings


def cells(ids: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = b"".join(ids)
    ends = np.cumsum([len(name) for name in ids]).astype(np.int32)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int32)
    return np.frombuffer(data + bytes(8), dtype=np.uint8), starts, ends


def test_raters_are_numbered_in_order_of_appearance_also_when_the_table_grows():
    rng = np.random.default_rng(1)
    ids = [
        f"{value:0{width}X}".encode()
        for value, width in zip(rng.integers(0, 90_000, 200_000), rng.integers(1, 70, 200_000), strict=True)
    ]
    twin: dict[bytes, int] = {}
    expected = [twin.setdefault(name, len(twin)) for name in ids]
    assert len(twin) > 1 << 16
    raters = RaterNumbers()
    codes = []
    for start in range(0, len(ids), 50_000):
        data, starts, ends = cells(ids[start : start + 50_000])
        hashes = np.array([hash(name) & (2**64 - 1) for name in ids[start : start + 50_000]], dtype=np.uint64)
        codes += raters.number(data, starts, ends, hashes).tolist()
    assert codes == expected
    assert raters.ids().to_pylist() == [name.decode() for name in twin]


def test_equal_hashes_do_no_harm():
    ids = [f"rater {k % 300:04d}".encode() for k in range(900)]
    data, starts, ends = cells(ids)
    raters = RaterNumbers()
    codes = raters.number(data, starts, ends, np.full(900, 2**64 - 1, dtype=np.uint64))
    assert codes.tolist() == [k % 300 for k in range(900)]


def test_the_hash_of_an_id_does_not_depend_on_where_it_stands():
    layout = Layout.build(["a", "b"], [PARTICIPANT, SKIP], [(), ()], {})
    text = b"".join(b"%s\t%s\n" % (b"ABCDEF0123456789"[: 1 + k % 16], b"x" * (k % 9)) for k in range(64))
    lines = parse(np.frombuffer(text, dtype=np.uint8), 64, layout)
    hashes = lines.hashes("a")
    for k in range(16):
        assert len(set(hashes[k::16].tolist())) == 1
    assert len(set(hashes.tolist())) == 16


RECORDS = st.lists(
    st.tuples(
        st.integers(1, 5),  # note
        st.integers(0, 4),  # rater
        st.sampled_from([10, 11, 12, 2**61]),  # time; the last one leaves no room for the note in one integer
        st.integers(0, 2),  # value
    ),
    max_size=40,
)


def records_of(rows: list[tuple]) -> np.ndarray:
    records = np.zeros(len(rows), dtype=RECORD)
    for k, (note, rater, created, value) in enumerate(rows):
        records[k]["note_id"], records[k]["rater"] = note, rater
        records[k]["created_at"], records[k]["value"] = created, value
        records[k]["line"] = k
    return records


def facts(records: np.ndarray) -> list[tuple]:
    return [(int(r["note_id"]), int(r["created_at"]), int(r["rater"]), int(r["value"])) for r in records]


@settings(max_examples=300, deadline=None)
@given(rows=RECORDS)
def test_sorting_keeps_the_latest_of_each_note_and_rater_in_order(rows):
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for note, rater, created, value in rows:
        best[note, rater] = max(best.get((note, rater), (0, 0)), (created, value))
    expected = sorted((note, created, rater, value) for (note, rater), (created, value) in best.items())
    kept, dropped, note_ids = sort_ratings(records_of(rows))
    assert facts(kept) == expected
    assert len(kept) + len(dropped) == len(rows)
    assert sorted([*kept["line"].tolist(), *dropped["line"].tolist()]) == list(range(len(rows)))
    assert note_ids.tolist() == sorted({row[0] for row in rows})


@pytest.mark.parametrize("run_rows", [1, 7, 1500, 10**6])
def test_buckets_hold_every_record_once_and_each_note_in_one_bucket(tmp_path, run_rows):
    rng = np.random.default_rng(run_rows)
    total = 40 if run_rows == 1 else 12_000
    # Half of the ratings are of one note, more than a bucket is meant to hold.
    notes = np.where(rng.random(total) < 0.5, 77, rng.integers(1, 500, total))
    records = np.zeros(total, dtype=RECORD)
    records["note_id"], records["line"] = notes, np.arange(total)
    runs = RatingRuns(tmp_path, run_rows)
    for part in np.array_split(records, 13):
        runs.add(part.copy())
    seen: list[int] = []
    last = 0
    for bucket in runs.buckets():
        assert bucket["note_id"].min() > last
        last = int(bucket["note_id"].max())
        seen += bucket["line"].tolist()
    assert sorted(seen) == list(range(total))


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(
        st.lists(
            st.sampled_from([b"", b"0", b"1", b"2", b"01", b"-1", b"12", b"1.5", b"x", b"a b", b"9223372036854775807",
                             b"9223372036854775808", b"1700000000000", b"1700000000000.25", b"\xc3\xa9", b"\xc3", b"\r",
                             b"A" * 7, b"A" * 8, b"A" * 9, b"A" * 130]),
            min_size=1,
            max_size=7,
        ),
        min_size=1,
        max_size=20,
    )
)  # fmt: skip
def test_the_compiled_parser_finds_what_a_slow_one_finds(lines):
    kinds = [ID, TIME, NUMBER, FLAG, TEXT, PARTICIPANT]
    names = list("abcdef")
    layout = Layout.build(names, kinds, [()] * 6, {"d": 5})
    text = b"".join(b"\t".join(line) + b"\n" for line in lines)
    got = parse(np.frombuffer(text, dtype=np.uint8), len(lines), layout)
    for row, raw in enumerate(text.split(b"\n")[:-1]):
        line = raw.removesuffix(b"\r").split(b"\t")
        reasons = [slow_problem(kind, cell) for kind, cell in zip(kinds, line, strict=False)]
        if len(line) != 6:
            assert got.problem[row] in (1, 2)
            continue
        first = next((k for k, bad in enumerate(reasons) if bad), None)
        assert (got.problem[row] != 0) == (first is not None), line
        if first is None:
            assert got.integers[0, row] == int(line[0])
            assert got.integers[1, row] == int(line[1].split(b".")[0])
            assert got.flag("d")[row] == (line[3] == b"1")
            assert got.has_flag("d")[row] == (line[3] != b"")
            assert got.texts("e", np.array([row])).to_pylist() == [line[4].decode()]
        else:
            assert got.problem_column[row] == first


def slow_problem(kind: int, cell: bytes) -> bool:
    digits = cell.removeprefix(b"-").split(b".")
    number = cell.count(b".") <= 1 and digits[0].isdigit() and (len(digits) == 1 or digits[1].isdigit())
    if kind == ID:
        return not (cell.isdigit() and 0 < int(cell) < 2**63)
    if kind == TIME:
        return not (number and 1_142_899_200_000 <= int(cell.split(b".")[0]) <= 4_102_444_800_000)
    if kind == NUMBER:
        return cell != b"" and not (number and abs(int(cell.split(b".")[0])) < 2**63)
    if kind == FLAG:
        return cell not in (b"", b"0", b"1")
    if kind == TEXT:
        try:
            cell.decode()
        except UnicodeDecodeError:
            return True
        return False
    return not (0 < len(cell) <= 128 and all(33 <= byte <= 126 for byte in cell))
