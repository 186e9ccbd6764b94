"""The bundled sample is what its command makes, in X's format, harmless, and its planted truth can be found again."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from pipeline.sample import make

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
URL = re.compile(r"https?://([^\s/\"]+)")
BARE_DOMAIN = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:com|org|net|info|io|example|es|de|br|co|gov|edu|uk)\b", re.IGNORECASE)


def rows(name: str) -> list[dict[str, str]]:
    content = (SAMPLE / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def rebuilt() -> dict[str, bytes]:
    return make.files(make.make_sample(7))


@pytest.fixture(scope="module")
def truth() -> dict:
    return json.loads((SAMPLE / "planted.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def notes() -> list[dict[str, str]]:
    return rows("notes-00000.tsv")


@pytest.fixture(scope="module")
def ratings() -> list[dict[str, str]]:
    return rows("ratings-00000.tsv.gz")


@pytest.fixture(scope="module")
def posts() -> list[dict]:
    return [json.loads(line) for line in (SAMPLE / "posts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_command_makes_the_files_that_are_in_the_repository(rebuilt):
    assert set(rebuilt) == {path.name for path in SAMPLE.iterdir()}
    for name, content in rebuilt.items():
        kept = (SAMPLE / name).read_bytes()
        assert make.checksum(name, kept) == make.checksum(name, content), (
            f"{name}: run python -m pipeline.sample.make --out data/sample"
        )


def test_two_runs_make_the_same_bytes_and_another_seed_makes_others(rebuilt):
    assert make.files(make.make_sample(7)) == rebuilt
    assert make.files(make.make_sample(8))["ratings-00000.tsv.gz"] != rebuilt["ratings-00000.tsv.gz"]


def test_the_readme_states_rows_bytes_and_checksums_as_they_are():
    readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    for path in SAMPLE.iterdir():
        assert make.describe(path.name, path.read_bytes()) in readme, path.name


def test_the_sample_is_small():
    sizes = [path.stat().st_size for path in SAMPLE.iterdir()]
    assert max(sizes) < 1_000_000
    assert sum(sizes) < 900_000


def test_links_lead_only_to_reserved_domains(notes, posts):
    texts = [note["summary"] for note in notes] + [json.dumps(post, ensure_ascii=False) for post in posts]
    texts += [" ".join(row.values()) for row in rows("noteRequests-00000.tsv")]
    reserved = re.compile(r"(?:.*\.)?example(?:\.(?:org|com|net))?", re.IGNORECASE)
    for text in texts:
        for host in [*URL.findall(text), *BARE_DOMAIN.findall(text)]:
            assert reserved.fullmatch(host), f"{host} in {text[:80]}"
        for match in BARE_DOMAIN.finditer(text):
            assert reserved.fullmatch(match.group()), f"{match.group()} in {text[:80]}"
    assert sum("http" in text for text in texts) > 120


def test_headers_are_those_x_published_in_2026(notes, ratings):
    assert tuple(notes[0]) == make.NOTE_COLUMNS
    assert tuple(ratings[0]) == make.RATING_COLUMNS
    assert {"suggestion", "suggestionId", "ratingSourceBucketed", "notHelpfulNoteNotNeeded"} <= set(ratings[0])
    assert {"isMediaNote", "isCollaborativeNote"} <= set(notes[0])


def test_ids_are_snowflakes_that_hold_their_time(notes, posts):
    ids = [(int(note["noteId"]), int(note["createdAtMillis"])) for note in notes]
    ids += [(int(post["tweetId"]), post["createdAtMillis"]) for post in posts]
    assert len({identifier for identifier, _ in ids}) == len(ids)
    for identifier, created in ids:
        assert (identifier >> 22) + make.SNOWFLAKE_EPOCH == created
        assert identifier < 2**63


def test_rows_refer_to_rows_that_exist_and_come_after_them(notes, ratings, posts):
    post_time = {post["tweetId"]: post["createdAtMillis"] for post in posts}
    note_of = {note["noteId"]: note for note in notes}
    enrolled = {row["participantId"] for row in rows("userEnrollment-00000.tsv")}
    for note in notes:
        assert int(note["createdAtMillis"]) > post_time[note["tweetId"]]
        assert note["noteAuthorParticipantId"] in enrolled
    for rating in ratings:
        note = note_of[rating["noteId"]]
        assert rating["ratedOnTweetId"] == note["tweetId"]
        assert rating["raterParticipantId"] in enrolled - {note["noteAuthorParticipantId"]}
        assert int(note["createdAtMillis"]) < int(rating["createdAtMillis"]) < make.SNAPSHOT
    assert {row["tweetId"] for row in rows("noteRequests-00000.tsv")} <= set(post_time)
    pairs = Counter((rating["noteId"], rating["raterParticipantId"]) for rating in ratings)
    assert max(pairs.values()) == 1


def test_every_rating_has_a_level_and_tags_that_fit_it(ratings):
    for rating in ratings:
        praise = any(rating[tag] == "1" for tag in make.HELPFUL_TAGS)
        blame = any(rating[tag] == "1" for tag in make.NOT_HELPFUL_TAGS)
        level = rating["helpfulnessLevel"]
        assert (level, praise, blame) in {("HELPFUL", True, False), ("NOT_HELPFUL", False, True)} or (
            level == "SOMEWHAT_HELPFUL" and (praise or blame)
        )


def test_the_status_history_agrees_with_notes_and_ratings(notes, ratings):
    history = {row["noteId"]: row for row in rows("noteStatusHistory-00000.tsv")}
    times = defaultdict(list)
    for rating in ratings:
        times[rating["noteId"]].append(int(rating["createdAtMillis"]))
    deleted = set(history) - {note["noteId"] for note in notes}
    assert len(deleted) == 2
    for note in notes:
        row = history[note["noteId"]]
        assert row["createdAtMillis"] == note["createdAtMillis"]
        assert row["noteAuthorParticipantId"] == note["noteAuthorParticipantId"]
        assert row["lockedStatus"] == row["currentStatus"]
        if row["currentStatus"] == make.NEEDS_MORE:
            assert row["firstNonNMRStatus"] == ""
        else:
            first = int(row["timestampMillisOfFirstNonNMRStatus"])
            assert sum(time < first for time in times[note["noteId"]]) >= 5
            assert first < make.SNAPSHOT
    assert Counter(row["currentStatus"] for row in history.values()).keys() == {
        make.HELPFUL,
        make.NOT_HELPFUL,
        make.NEEDS_MORE,
    }


def test_the_hard_cases_are_there(truth, notes, posts):
    of_post = defaultdict(list)
    for note in notes:
        of_post[note["tweetId"]].append(note)
    by_id = {note["noteId"]: note for note in notes}
    cases = truth["cases"]
    for post in [*cases["single"], *cases["single_in_story"]]:
        assert len(of_post[post]) == 1
    assert cases["single_in_story"][0] in {post for story in truth["stories"].values() for post in story}
    assert sum(len(story) >= 3 for story in truth["stories"].values()) >= 2
    for post in cases["disagree"]:
        assert len({note["classification"] for note in of_post[post]}) == 2
    for post in cases["exact_duplicate"]:
        texts = [note["summary"] for note in of_post[post]]
        assert len(set(texts)) < len(texts)
    for post in cases["not_misleading_only"]:
        assert {note["classification"] for note in of_post[post]} == {"NOT_MISLEADING"}
    for post in cases["two_languages"]:
        assert len({truth["notes"][note["noteId"]]["language"] for note in of_post[post]}) == 2
    assert "ignore all previous instructions" in by_id[cases["note_injection"][0]]["summary"]
    assert 5 <= len(cases["shows_helpful_note"]) <= 10
    assert len(cases["numeric_trap"]) >= 3
    assert {post["language"] for post in posts} == {"en", "es", "de", "pt"}
    several = sum(2 <= len(of_post[post["tweetId"]]) <= 6 for post in posts)
    assert several > 0.8 * len(posts)
    text = " ".join(note["summary"] for note in notes)
    assert "&quot;" in text
    assert "😂" in text
    assert "#factcheck" in text


def test_most_ratings_pass_the_filters_of_x(ratings):
    kept = ratings
    for _ in range(20):
        per_rater = Counter(rating["raterParticipantId"] for rating in kept)
        per_note = Counter(rating["noteId"] for rating in kept)
        kept = [r for r in kept if per_rater[r["raterParticipantId"]] >= 10 and per_note[r["noteId"]] >= 5]
    assert len(kept) > 0.85 * len(ratings)
    assert len({r["noteId"] for r in kept}) > 0.95 * len(per_note)


def one_factor_fit(value: np.ndarray, sweeps: int = 15, ridge: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Plain alternating least squares of `value` (raters, notes; NaN = not rated): (n, 2) intercepts and factors of both.

    Every row has the same small ridge; it starts from the leading singular vector of the centred matrix. Slow and simple on
    purpose: it shares nothing with the room's solver.
    """
    seen = ~np.isnan(value)
    centred = value - np.nanmean(value)
    left, _, _ = np.linalg.svd(np.where(seen, centred - np.nanmean(centred, axis=0), 0.0), full_matrices=False)
    raters = np.column_stack([np.zeros(len(value)), left[:, 0] / left[:, 0].std()])
    notes = np.zeros((value.shape[1], 2))

    def solve(rows: np.ndarray, known: np.ndarray) -> np.ndarray:
        out = np.zeros((len(rows), 2))
        for at, row in enumerate(rows):
            there = ~np.isnan(row)
            design = np.column_stack([np.ones(there.sum()), known[there, 1]])
            out[at] = np.linalg.solve(design.T @ design + ridge * np.eye(2), design.T @ (row - known[:, 0])[there])
        return out

    for _ in range(sweeps):
        notes = solve(centred.T, raters)
        raters = solve(centred, notes)
        scale = raters[:, 1].std()
        raters[:, 1] /= scale
        notes[:, 1] *= scale
    return raters, notes


def test_the_planted_sides_and_qualities_can_be_found_in_the_ratings(ratings, truth):
    level = {"NOT_HELPFUL": 0.0, "SOMEWHAT_HELPFUL": 0.5, "HELPFUL": 1.0}
    rated = Counter(rating["raterParticipantId"] for rating in ratings)
    rater_ids = sorted(rater for rater, count in rated.items() if count >= 10)
    note_ids = sorted(truth["notes"])
    rater_row, note_row = ({name: row for row, name in enumerate(ids)} for ids in (rater_ids, note_ids))
    value = np.full((len(rater_ids), len(note_ids)), np.nan)
    for rating in ratings:
        if rating["raterParticipantId"] in rater_row:
            at = rater_row[rating["raterParticipantId"]], note_row[rating["noteId"]]
            value[at] = level[rating["helpfulnessLevel"]]
    raters, notes = one_factor_fit(value)
    planted_raters = np.array([[truth["raters"][r][name] for name in ("intercept", "factor")] for r in rater_ids])
    planted_notes = np.array([[truth["notes"][n][name] for name in ("intercept", "factor")] for n in note_ids])
    sign = np.sign(planted_raters[:, 1] @ raters[:, 1])  # the factor's sign is arbitrary

    # About 25 ratings a rater and 33 a note leave a sampling error, and within a hump the order of factors is mostly noise:
    # bars below the measured 0.84, 0.91, 0.83, 0.82 (and 95 % of the sides), above anything that chance or a wrong sign gives.
    assert spearmanr(sign * raters[:, 1], planted_raters[:, 1])[0] > 0.78
    assert spearmanr(sign * notes[:, 1], planted_notes[:, 1])[0] > 0.85
    assert spearmanr(notes[:, 0], planted_notes[:, 0])[0] > 0.77
    assert spearmanr(raters[:, 0], planted_raters[:, 0])[0] > 0.75
    side = np.array([truth["raters"][r]["side"] for r in rater_ids])
    assert np.mean(np.sign(sign * raters[:, 1])[side != 0] == side[side != 0]) > 0.9


def test_an_unknown_key_in_the_texts_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "__file__", str(tmp_path / "make.py"))
    (tmp_path / "a.toml").write_text(
        '[[post]]\nkey = "x"\nat = "2026-03-01 10:00"\ntext = "t"\nlnag = "en"\nnote = []\n'
    )
    with pytest.raises(ValueError, match=r"a\.toml, post 'x': unknown keys \['lnag'\]"):
        make.read_entries()
