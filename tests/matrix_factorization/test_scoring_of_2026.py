"""X as it is in 2026: populations, its scorers' output, and how our statuses agree with those it published."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from matrix_factorization.model.ratings import from_indices
from matrix_factorization.reading import read_fit
from matrix_factorization.score.agreement import agreement_with_published
from matrix_factorization.score.flow import gaussian_rules
from matrix_factorization.score.gaussian import factor_points, gaussian_scores
from matrix_factorization.score.population import population_of
from matrix_factorization.score.statuses import (
    HELPFUL,
    NEEDS_MORE,
    NOT_HELPFUL,
    NoteEvidence,
    Statuses,
    final_statuses,
)
from matrix_factorization.settings import FitRatersSettings, StatusSettings
from nouns import snapshot as tables
from tests.calling import fit_raters
from tests.matrix_factorization.test_flow import write_snapshot

QUICK = FitRatersSettings(random_starts=0, held_out_splits=0, plots=False)


# ---- populations -------------------------------------------------------------------------------------------------


def enrol(snapshot, rows) -> None:
    tables.write(
        snapshot,
        "user_enrollment",
        pl.DataFrame(
            rows,
            schema={"participantId": pl.String, "modelingPopulation": pl.String, "modelingGroup": pl.Int64},
            orient="row",
        ),
    )


def fit(out, settings, snapshot):
    out.mkdir()
    counts = fit_raters(out, settings, snapshot=snapshot)
    return counts, pl.read_parquet(out / "notes.parquet"), json.loads((out / "fit.json").read_text())


@pytest.mark.parametrize(
    ("population", "group", "core", "expansion"),
    [
        ("CORE", 13, True, True),
        ("EXPANSION", 4, False, True),
        ("EXPANSION_PLUS", 17, False, False),
        ("CORE", 4, False, True),  # the group decides, as in X's code
        ("EXPANSION", 13, True, True),
        ("EXPANSION", None, False, True),
        (None, 0, False, True),
        (None, None, True, True),
        ("CORE", 99, False, False),
    ],
)
def test_the_group_says_who_is_fitted_and_without_one_the_population(tmp_path, population, group, core, expansion):
    enrol(tmp_path, [("A", population, group), ("B", "CORE", 1)])
    raters = pl.Series(["A", "B", "not enrolled"])
    for name, belongs in (("core", core), ("expansion", expansion), ("all", True)):
        found = population_of(tmp_path, raters, name)
        members = np.ones(3, bool) if found.members is None else found.members
        assert members.tolist() == [belongs, True, True]
        assert found.facts["raters_outside"] == int(not belongs)


def test_parameters_of_core_notes_are_those_of_a_fit_without_the_other_raters(tmp_path):
    mixed, alone = tmp_path / "mixed", tmp_path / "alone"
    for path in (mixed, alone):
        path.mkdir()
        write_snapshot(path, 8_000, 3)
    ratings = pl.read_parquet(mixed / "ratings.parquet")
    people = ratings["raterParticipantId"].unique().sort()
    outsiders = people.gather_every(3)
    enrol(mixed, [(rater, "EXPANSION", 4) for rater in outsiders])
    tables.write(alone, "ratings", ratings.filter(~pl.col("raterParticipantId").is_in(outsiders.to_list())))
    counts, notes, said = fit(tmp_path / "a", QUICK, mixed)
    _, expected, _ = fit(tmp_path / "b", QUICK, alone)
    both = expected.filter(source="fitted").join(notes, on="noteId", suffix="_mixed")
    np.testing.assert_allclose(both["intercept_mixed"], both["intercept"], atol=1e-9)
    np.testing.assert_allclose(both["factor1_mixed"], both["factor1"], atol=1e-9)
    assert both.height > 100
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert counts["rejected"]["rater_outside_population"] == ratings.height - int(expected["n_ratings"].sum())
    raters = pl.read_parquet(tmp_path / "a" / "raters.parquet")
    assert set(raters.filter(pl.col("raterParticipantId").is_in(outsiders.to_list()))["source"]) == {"folded_in"}
    assert said["population"]["raters_outside"] == len(outsiders)
    assert any("outside the population" in entry["text"] for entry in counts["notices"])
    # Half of the raters may be enrolled elsewhere and nothing changes, if that is asked for.
    everybody, _, _ = fit(tmp_path / "c", replace(QUICK, population="all"), mixed)
    assert everybody["rejected"].get("rater_outside_population", 0) == 0
    fit(tmp_path / "d", QUICK, mixed)
    assert (tmp_path / "a" / "notes.parquet").read_bytes() == (tmp_path / "d" / "notes.parquet").read_bytes()


def test_a_note_rated_mostly_from_outside_has_parameters_and_no_status(tmp_path):
    write_snapshot(tmp_path, 8_000, 3)
    people = pl.read_parquet(tmp_path / "ratings.parquet")["raterParticipantId"].unique().sort()
    enrol(tmp_path, [(rater, "EXPANSION", 4) for k, rater in enumerate(people) if k % 5])
    _, notes, said = fit(tmp_path / "out", QUICK, tmp_path)
    left = notes.filter(pl.col("active_rules").list.contains("OutsidePopulation"))
    assert left.height == said["population"]["notes_without_status_for_want_of_its_ratings"] > 0
    assert set(left["status"]) == {NEEDS_MORE}
    assert notes["intercept"].is_finite().all()


def test_where_nobody_belongs_to_the_population_everybody_is_fitted_and_it_is_said(tmp_path):
    write_snapshot(tmp_path, 4_000, 1)
    people = pl.read_parquet(tmp_path / "ratings.parquet")["raterParticipantId"].unique()
    enrol(tmp_path, [(rater, "EXPANSION", 4) for rater in people])
    counts, _, _ = fit(tmp_path / "out", QUICK, tmp_path)
    assert counts["out"] > 0
    assert any("population" in warning for warning in counts["warnings"])


# ---- X's scorer output -------------------------------------------------------------------------------------------


def scorer_output(path) -> None:
    raters = pl.DataFrame(
        {
            "raterParticipantId": ["A", "B", "C", "D"],
            "coreRaterIntercept": [0.1, None, None, None], "coreRaterFactor1": [0.5, None, None, None],
            "coreWithTopicsRaterIntercept": [0.9, 0.2, None, None], "coreWithTopicsRaterFactor1": [0.9, -0.5, None, None],
            "expansionRaterIntercept": [0.8, 0.8, 0.3, None], "expansionRaterFactor1": [0.8, 0.8, 0.4, None],
        }
    )  # fmt: skip
    notes = pl.DataFrame(
        {
            "noteId": [1, 2, 3, 4],
            "coreNoteIntercept": [0.45, None, 0.5, None], "coreNoteFactor1": [0.1, None, 0.0, None],
            "coreWithTopicsNoteIntercept": [0.9, 0.3, 0.9, None], "coreWithTopicsNoteFactor1": [0.9, 0.2, 0.9, None],
            "groupNoteIntercept": [0.9, 0.9, 0.9, 0.41], "groupNoteFactor1": [0.9, 0.9, 0.9, -0.1],
            "coreRatingStatus": ["FIRM_REJECT", '""', "FIRM_REJECT", None],
            "groupRatingStatus": [None, None, None, HELPFUL],
            "finalRatingStatus": [HELPFUL, NOT_HELPFUL, None, None],
            "decidedBy": ["GaussianModel (v1.0)", "CoreWithTopicsModel (v1.1)", "CoreModel (v1.1)", "GroupModel06 (v1.1)"],
        }
    )  # fmt: skip
    for frame, name in ((raters, "helpfulness_scores"), (notes, "scored_notes")):
        frame.write_parquet(path / f"{name}.parquet")
        frame.write_csv(path / f"{name}.tsv", separator="\t", quote_style="never")


def test_scorer_output_of_2026_is_adopted_in_xs_order(tmp_path):
    scorer_output(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    counts = fit_raters(out, QUICK, adopt=tmp_path)
    raters, notes = pl.read_parquet(out / "raters.parquet"), pl.read_parquet(out / "notes.parquet")
    assert raters.select("raterParticipantId", "intercept", "scorer").rows() == [
        ("A", 0.1, "core"),
        ("B", 0.2, "coreWithTopics"),
        ("C", 0.3, "expansion"),
    ]
    assert notes.select("noteId", "intercept", "scorer", "status", "decided_by").rows() == [
        (1, 0.45, "core", HELPFUL, "GaussianModel (v1.0)"),
        (2, 0.3, "coreWithTopics", NOT_HELPFUL, "CoreWithTopicsModel (v1.1)"),
        (3, 0.5, "core", NEEDS_MORE, "CoreModel (v1.1)"),
        (4, 0.41, "group", HELPFUL, "GroupModel06 (v1.1)"),
    ]
    adopted = json.loads((out / "fit.json").read_text())["adopted"]
    assert (adopted["rater_rows"], adopted["rater_rows_without_parameters"], adopted["note_rows"]) == (4, 1, 4)
    told = " ".join(entry["text"] for entry in counts["notices"])
    for words in (
        "1 of 4 rater rows",
        "1 from expansion",
        "helpfulness_scores.tsv, scored_notes.tsv",
        "fits of their own",
    ):
        assert words in told
    # Adopted again from our own output, the same comes out.
    again = tmp_path / "again"
    again.mkdir()
    fit_raters(again, QUICK, adopt=out)
    assert (again / "notes.parquet").read_bytes() == (out / "notes.parquet").read_bytes()
    assert (again / "raters.parquet").read_bytes() == (out / "raters.parquet").read_bytes()


@pytest.mark.parametrize("name", ["fit.json", "jury.json"])
def test_adopted_parameters_keep_the_ratio_and_the_intercept_of_their_own_fit(tmp_path, name):
    scorer_output(tmp_path)
    (tmp_path / name).write_text(json.dumps({"ratings_per_note": 11.5, "global_intercept": 0.21}))
    out = tmp_path / "out"
    out.mkdir()
    fit_raters(out, QUICK, adopt=tmp_path)
    said = json.loads((out / "fit.json").read_text())
    assert (said["ratings_per_note"], said["global_intercept"]) == (11.5, 0.21)
    assert read_fit(out) == (0.21, 11.5)


def test_text_alone_is_read_like_parquet(tmp_path):
    tables_of = []
    for suffix in ("parquet", "tsv"):
        source, out = tmp_path / suffix, tmp_path / f"out-{suffix}"
        source.mkdir()
        out.mkdir()
        scorer_output(source)
        for other in source.glob("*"):
            if other.suffix != f".{suffix}":
                other.unlink()
        fit_raters(out, QUICK, adopt=source)
        tables_of.append((out / "notes.parquet").read_bytes())
    assert tables_of[0] == tables_of[1]


# ---- agreement with what X published -----------------------------------------------------------------------------


def test_each_difference_from_a_published_status_has_one_reason(tmp_path):
    rows = [  # ours, currentStatus, lockedStatus, currentDecidedBy, currentCoreStatus, outside, kind
        (1, HELPFUL, None, "CoreModel (v1.1)", HELPFUL, False, "equal"),
        (1, NEEDS_MORE, NEEDS_MORE, "GaussianModel (v1.0)", HELPFUL, False, "locked"),
        (0, HELPFUL, None, "GroupModel06 (v1.1)", NEEDS_MORE, False, "another_scorer"),
        (0, HELPFUL, None, "ExpansionModel (v1.1)", None, True, "another_scorer"),
        (0, HELPFUL, None, None, None, True, "outside_population"),
        (1, NEEDS_MORE, None, "ScoringDriftGuard (v1.0)", HELPFUL, False, "guard"),
        (2, NEEDS_MORE, None, "CoreWithTopicsModel (v1.1)", None, False, "another_scorer"),
        (2, NEEDS_MORE, None, "CoreModel (v1.1)", NEEDS_MORE, False, "ours_differs"),
        (2, None, None, None, None, False, None),
    ]
    ids = np.arange(len(rows))
    tables.write(
        tmp_path,
        "note_status_history",
        pl.DataFrame(
            {
                "noteId": ids, "createdAtMillis": ids, "currentStatus": [r[1] for r in rows], "lockedStatus": [r[2] for r in rows],
                "currentDecidedBy": [r[3] for r in rows], "currentCoreStatus": [r[4] for r in rows],
            }
        ),
    )  # fmt: skip
    own = np.array([r[0] for r in rows])
    rules = [["OutsidePopulation"] if r[5] else [] for r in rows]
    found = agreement_with_published(tmp_path, ids, Statuses(own, rules, own))
    kinds = [r[6] for r in rows if r[6] not in (None, "equal")]
    assert found["kinds"] == {kind: kinds.count(kind) for kind in kinds}
    assert (found["compared"], found["equal"], found["share_equal"]) == (8, 1, 0.125)
    assert found["core"] == {"compared": 5, "share_equal": 0.8}
    assert sum(found["differences"].values()) == 7


def test_where_nothing_is_published_nothing_is_claimed(tmp_path):
    tables.write(tmp_path, "note_status_history", tables.SCHEMAS["note_status_history"].empty_table())
    found = agreement_with_published(tmp_path, np.arange(2), Statuses(np.zeros(2, int), [[], []], np.zeros(2, int)))
    assert (found["compared"], found["share_equal"], found["core"]["share_equal"]) == (0, None, None)


# ---- the Gaussian score ------------------------------------------------------------------------------------------


def slow_gaussian(notes, points):
    """X's score written plainly: notes as lists of (rater factor, rating), authors' own included."""

    def curve(note):
        f, r = np.array(note).T
        kernel = np.exp(-0.5 * ((f[:, None] - points) / 0.1) ** 2)
        kernel /= kernel.sum(axis=1, keepdims=True)
        against = f[r == 0]
        odd = np.sum(1 / (1 + np.exp(-200 * (np.abs(against - against.mean()) - 0.14)))) if len(against) else 0
        w = np.where(r == 0, 1.75 * min(1 + 3 * odd / len(f), 2), 1)
        value = np.where(r == 0.5, 0.7, r)
        prior = np.clip(np.mean((2 * r - 1) * f) * points / 2 + 0.35, 0.2, 0.35)
        if min((f < 0).sum(), (f > 0).sum()) < 3:
            prior = np.full(len(points), 0.1)
        strength = 0.4 * np.log(max(len(f), 9)) / np.log(9)
        rate = (kernel.T @ (w * value) + prior * strength) / (kernel.T @ w + strength)
        return np.clip(rate, 0.05, 0.8)

    return [np.exp(np.log(curve(note)).mean()) for note in notes]


def test_the_gaussian_score_is_that_of_a_slow_twin():
    rng = np.random.default_rng(4)
    n_notes, n_raters = 60, 80
    factor = np.sort(rng.uniform(-0.9, 0.9, n_raters))
    rated = rng.random((n_notes, n_raters)) < rng.choice([0.08, 0.2, 0.6], n_notes)[:, None]
    note, rater = np.nonzero(rated)
    taste = rng.normal(0, 1.5, n_notes)
    value = np.clip(np.round(1 + 0.7 * taste[note] * factor[rater] + rng.normal(0.3, 0.6, len(note))), 0, 2) / 2
    table = from_indices(note, rater, value, np.arange(n_notes), pl.Series(np.arange(n_raters)))
    points = factor_points(factor)
    lists = [[(factor[u], v) for u, v in zip(rater[note == k], value[note == k], strict=True)] for k in range(n_notes)]
    assert min(len(x) for x in lists) > 0
    np.testing.assert_allclose(gaussian_scores(table, factor).score, slow_gaussian(lists, points), rtol=1e-9)
    # The author counts as one helpful rating, once.
    author = rng.integers(0, n_raters, n_notes)
    with_own = [x if rated[k, author[k]] else [*x, (factor[author[k]], 1.0)] for k, x in enumerate(lists)]
    alone = gaussian_scores(table, factor, author=author).score
    assert any(len(x) > len(y) for x, y in zip(with_own, lists, strict=True))
    np.testing.assert_allclose(alone, slow_gaussian(with_own, points), rtol=1e-9)


def test_with_the_gaussian_score_no_net_count_of_a_side_is_asked_for():
    few = NoteEvidence(
        intercept=np.array([0.6]), factor=np.array([0.1]), upper=np.array([np.nan]), counts=np.array([[[0, 1, 1], [0, 0, 9]]]),
        n_ratings=np.array([11]), misleading=np.array([True]), was_helpful=np.array([False]),
        without_most_active=np.array([np.nan]), without_correlated=np.array([np.nan]), tag_outlier=np.array([False]),
    )  # fmt: skip
    assert final_statuses(few, StatusSettings()).names == ["NEEDS_MORE_RATINGS"]
    assert final_statuses(few, gaussian_rules(StatusSettings())).names == ["CURRENTLY_RATED_HELPFUL"]
