"""The scoring flow: filters, who counts, statuses and their rules, outputs for everybody, adoption."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from benchmarks.worlds import make_world
from matrix_factorization.model.objective import NoteParameters, Parameters, RaterParameters, predictions
from matrix_factorization.model.ratings import from_indices
from matrix_factorization.score.correlated import correlated_raters
from matrix_factorization.score.diagnostics import effective_numbers, held_out_error, identification, orient_components
from matrix_factorization.score.flow import NoteFacts, RatingEvents, most_active_raters, peel, score
from matrix_factorization.score.gaussian import gaussian_scores
from matrix_factorization.score.helpfulness import rater_helpfulness, survivors_on_evidence, valid_ratings
from matrix_factorization.score.outputs import frames
from matrix_factorization.score.stage import fold_in
from matrix_factorization.score.statuses import (
    HELPFUL,
    NEEDS_MORE,
    NOT_HELPFUL,
    NoteEvidence,
    StatusSettings,
    final_statuses,
    provisional_statuses,
)
from matrix_factorization.score.weighting import quality_weights
from matrix_factorization.settings import FitRatersSettings
from matrix_factorization.solve.exact import ExactSolver
from nouns import snapshot as tables
from nouns.errors import InputError
from tests.calling import fit_raters

HOUR = 3_600_000
QUICK = FitRatersSettings(random_starts=1, held_out_splits=1, plots=False)


# ---- a snapshot of an invented world -----------------------------------------------------------------------------


def write_snapshot(path, n: int = 12_000, seed: int = 0):
    """Files of a snapshot with `n` ratings of a three-community world; returns the world."""
    world = make_world(n, "mix", seed)
    note_ids = np.arange(int(world.note_index.max()) + 1) * 1000 + 1_600_000_000_000_000_000
    created = 1_700_000_000_000
    rows = len(world.value)
    # The first ratings of a note come hours after it, later ones days after.
    rank = np.arange(rows) - np.searchsorted(world.note_index, world.note_index)
    ratings = pl.DataFrame(
        {
            "noteId": note_ids[world.note_index],
            "raterParticipantId": [f"R{k:05}" for k in world.rater_index],
            "createdAtMillis": created + rank * HOUR,
            "helpfulness": world.value,
            "version": np.full(rows, 2, np.int8),
        }
    )
    tables.write(path, "ratings", ratings)
    notes = pl.DataFrame(
        {
            "noteId": note_ids,
            "tweetId": note_ids // 7,
            "noteAuthorParticipantId": [f"R{k % len(world.rater_factor):05}" for k in range(len(note_ids))],
            "createdAtMillis": np.full(len(note_ids), created),
            "classification": [
                tables.NOT_MISLEADING if k % 11 == 0 else tables.MISLEADING for k in range(len(note_ids))
            ],
            "summary": ["invented"] * len(note_ids),
        }
    )
    tables.write(path, "notes", notes)
    for name in ("note_status_history", "user_enrollment", "note_requests", "posts", "rejects"):
        tables.write(path, name, tables.SCHEMAS[name].empty_table())
    return world


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshot")
    world = write_snapshot(path)
    return path, world


@pytest.fixture(scope="module")
def fitted(snapshot, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    counts = fit_raters(out, replace(QUICK, plots=True), snapshot=snapshot[0])
    return out, counts


def test_every_rater_and_every_rated_note_has_parameters(snapshot, fitted):
    world, out = snapshot[1], fitted[0]
    raters, notes = pl.read_parquet(out / "raters.parquet"), pl.read_parquet(out / "notes.parquet")
    assert raters.height == len(np.unique(world.rater_index))
    assert notes.height == len(np.unique(world.note_index))
    for frame in (raters, notes):
        assert frame["intercept"].is_finite().all()
        assert frame["factor1"].is_finite().all()
    assert raters["raterParticipantId"].is_sorted()
    assert notes["noteId"].is_sorted()
    assert set(raters["source"]) <= {"fitted", "folded_in", "prior"}
    assert (notes["lower"] < notes["intercept"]).all()
    assert (notes["pseudo_lower"] <= notes["pseudo_upper"]).all()


def test_counts_reconcile(snapshot, fitted):
    counts = fitted[1]
    assert counts["in"] == len(snapshot[1].value)
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())


def test_fit_json_says_what_was_found_and_how(fitted):
    fit = json.loads((fitted[0] / "fit.json").read_text())
    expected = {
        "loss",
        "iterations",
        "n_ratings",
        "n_raters",
        "n_notes",
        "global_intercept",
        "ratings_per_note",
        "diagnostics",
        "losses",
    }
    assert expected <= set(fit)
    assert fit["losses"][-1] == pytest.approx(fit["loss"])
    assert fit["diagnostics"]["held_out"]["model"] < fit["diagnostics"]["held_out"]["no_factor"]


def test_pictures_are_drawn(fitted):
    for name in ("notes.png", "raters.png", "loss.png"):
        assert (fitted[0] / name).read_bytes().startswith(b"\x89PNG")


def test_the_same_snapshot_gives_the_same_bytes(snapshot, fitted, tmp_path):
    fit_raters(tmp_path, replace(QUICK, plots=True), snapshot=snapshot[0])
    for name in ("raters.parquet", "notes.parquet", "fit.json", "notes.png"):
        assert (tmp_path / name).read_bytes() == (fitted[0] / name).read_bytes(), name


def test_the_planted_sides_and_scores_come_out(snapshot, fitted):
    world = snapshot[1]
    raters = pl.read_parquet(fitted[0] / "raters.parquet").filter(pl.col("n_ratings") >= 20)
    truth = world.rater_factor[[int(x[1:]) for x in raters["raterParticipantId"]]]
    assert abs(np.corrcoef(raters["factor1"], truth)[0, 1]) > 0.9
    notes = pl.read_parquet(fitted[0] / "notes.parquet").filter(pl.col("n_ratings") >= 20)
    index = (notes["noteId"].to_numpy() - 1_600_000_000_000_000_000) // 1000
    assert np.corrcoef(notes["intercept"], world.note_intercept[index])[0, 1] > 0.7


def test_refusals_name_what_is_missing(tmp_path):
    with pytest.raises(InputError, match="neither was given"):
        fit_raters(tmp_path, QUICK)
    write_snapshot(tmp_path)
    tables.write(tmp_path, "ratings", tables.SCHEMAS["ratings"].empty_table())
    with pytest.raises(InputError, match="holds no ratings"):
        fit_raters(tmp_path, QUICK, snapshot=tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        replace(QUICK, helpfulness_filter="x"),
        replace(QUICK, helpfulness_filter="off"),
        replace(QUICK, rater_weights="quality"),
        replace(QUICK, score="gaussian"),
        replace(QUICK, min_ratings_per_rater=20),
        replace(QUICK, interval=0.5),
    ],
    ids=lambda s: ",".join(f"{k}={v}" for k, v in vars(s).items() if v != getattr(QUICK, k)),
)
def test_every_choice_changes_the_result_and_keeps_the_columns(snapshot, fitted, tmp_path, settings):
    fit_raters(tmp_path, settings, snapshot=snapshot[0])
    before, after = (pl.read_parquet(path / "notes.parquet") for path in (fitted[0], tmp_path))
    assert before.schema == after.schema
    assert not before.equals(after)


@pytest.mark.parametrize("setting", ["helpfulness_filter", "rater_weights", "score"])
def test_an_unknown_choice_is_refused(snapshot, tmp_path, setting):
    with pytest.raises(InputError, match="choose"):
        fit_raters(tmp_path, replace(QUICK, **{setting: "magic"}), snapshot=snapshot[0])


# ---- adoption ----------------------------------------------------------------------------------------------------


def test_adopting_ones_own_fit_changes_nothing(snapshot, fitted, tmp_path):
    counts = fit_raters(tmp_path, QUICK, snapshot=snapshot[0], adopt=fitted[0])
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    for name in ("raters.parquet", "notes.parquet"):
        one, other = pl.read_parquet(fitted[0] / name), pl.read_parquet(tmp_path / name)
        assert one.schema == other.schema
        np.testing.assert_allclose(one["intercept"], other["intercept"])
        np.testing.assert_allclose(one["factor1"], other["factor1"])


@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
@pytest.mark.parametrize(
    ("rater_file", "note_file", "prefix"),
    [("helpfulness_scores-00000", "scored_notes-00000", "core"), ("helpfulnessScores", "scoredNotes", "")],
)
def test_x_scorer_files_are_adopted_in_either_spelling(tmp_path, suffix, rater_file, note_file, prefix):
    def named(side: str, what: str) -> str:
        return f"{prefix}{side}{what}" if prefix else f"{side.lower()}{what}"

    raters = pl.DataFrame(
        {
            "raterParticipantId": ["B", "A", "C"],
            named("Rater", "Intercept"): [0.1, 0.2, None],
            named("Rater", "Factor1"): [-0.5, 0.5, None],
        }
    )
    notes = pl.DataFrame(
        {
            "noteId": [2, 1], named("Note", "Intercept"): [0.45, None], named("Note", "Factor1"): [0.1, None],
            "ratingStatus": [HELPFUL, NEEDS_MORE],
        }
    )  # fmt: skip
    for frame, name in ((raters, rater_file), (notes, note_file)):
        if suffix == "tsv":
            frame.write_csv(tmp_path / f"{name}.tsv", separator="\t")
        else:
            frame.write_parquet(tmp_path / f"{name}.parquet")
    out = tmp_path / "out"
    out.mkdir()
    fit_raters(out, QUICK, adopt=tmp_path)
    assert pl.read_parquet(out / "raters.parquet")["raterParticipantId"].to_list() == ["A", "B"]
    found = pl.read_parquet(out / "notes.parquet").row(0, named=True)
    assert (found["noteId"], found["intercept"], found["status"], found["source"]) == (2, 0.45, HELPFUL, "adopted")
    counts = json.loads((out / "fit.json").read_text())["adopted"]
    assert counts["rater_rows_without_parameters"] == 1
    assert counts["note_rows_without_parameters"] == 1


def test_parameters_on_every_rating_row_are_adopted_once_per_rater(tmp_path):
    pl.DataFrame(
        {
            "noteId": [1, 2, 2],
            "raterParticipantId": ["A", "A", "B"],
            "coreRaterIntercept": [0.1, 0.1, 0.3],
            "coreRaterFactor1": [0.5, 0.5, -0.4],
        }
    ).write_csv(tmp_path / "ratings-00000.tsv", separator="\t")
    out = tmp_path / "out"
    out.mkdir()
    fit_raters(out, QUICK, adopt=tmp_path)
    assert pl.read_parquet(out / "raters.parquet").select("raterParticipantId", "intercept", "factor1").rows() == [
        ("A", 0.1, 0.5),
        ("B", 0.3, -0.4),
    ]


def test_a_directory_without_parameters_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "notes-00000.tsv").write_text("noteId\n1\n")
    with pytest.raises(InputError, match="holds no rater parameters"):
        fit_raters(tmp_path, QUICK, adopt=tmp_path)


def test_new_notes_fold_in_on_the_scale_of_the_fit(snapshot, fitted, tmp_path):
    counts = fold_in(tmp_path, QUICK, raters=fitted[0], ratings=snapshot[0])
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    fit, folded = pl.read_parquet(fitted[0] / "notes.parquet"), pl.read_parquet(tmp_path / "notes.parquet")
    both = fit.filter(pl.col("source") == "fitted").join(folded, on="noteId", suffix="_folded")
    assert set(folded["source"]) == {"folded_in"}
    # Not equal: here the raters outside the fit, folded in themselves, count too.
    assert np.corrcoef(both["intercept"], both["intercept_folded"])[0, 1] > 0.9
    assert abs(both["intercept"].std() / both["intercept_folded"].std() - 1) < 0.2


# ---- pieces ------------------------------------------------------------------------------------------------------


def test_notes_then_raters_then_notes_with_too_few_ratings_are_left_out_once_each():
    rng = np.random.default_rng(0)
    note, rater = np.divmod(np.unique(rng.integers(0, 60 * 40, 500)), 40)
    table = from_indices(note, rater, np.ones(len(note)), np.arange(60), pl.Series(np.arange(40)))
    notes, raters = peel(table, 5, 10)
    kept = np.ones(len(note), bool)  # the slow twin
    for who, least in ((note, 5), (rater, 10), (note, 5)):
        kept &= np.bincount(who[kept], minlength=60)[who] >= least
    assert 0 < kept.sum() < len(note)
    np.testing.assert_array_equal(np.flatnonzero(notes), np.unique(note[kept]))
    np.testing.assert_array_equal(np.flatnonzero(raters), np.unique(rater[kept]))


def test_ratings_are_valid_before_the_status_and_within_48_hours():
    new = 1_700_000_000_000
    created = new + np.array([1, 2, 3, 49]) * HOUR
    assert valid_ratings(np.zeros(4, int), created, np.array([float(new)]), np.array([new + 3.0 * HOUR])).tolist() == [
        True,
        True,
        False,
        False,
    ]
    never = valid_ratings(np.zeros(4, int), created, np.array([float(new)]), np.array([np.nan]))
    assert never.tolist() == [True, True, True, False]


def test_of_old_notes_the_first_five_ratings_are_valid():
    old = 1_620_000_000_000
    found = valid_ratings(np.zeros(7, int), old + np.arange(7) * HOUR, np.array([float(old)]), np.array([old + 1.0]))
    assert found.tolist() == [True] * 5 + [False] * 2


def test_helpfulness_counts_agreement_with_outcomes_and_the_fate_of_own_notes():
    h = rater_helpfulness(
        note_index=np.array([0, 0, 0, 1, 1, 2]),
        rater_index=np.array([0, 1, 2, 0, 1, 0]),
        value=np.array([1.0, 0.0, 0.5, 0.0, 0.0, 1.0]),
        valid=np.array([True] * 5 + [False]),
        note_status=np.array([1, -1, 1]),
        note_intercept=np.array([0.5, -0.3, np.nan]),
        note_author=np.array([3, 0, 1]),
        n_raters=4,
        min_agree_ratio=0.66,
        min_crh_vs_crnh=0.0,
        min_mean_note_score=0.05,
    )
    assert h.n_valid.tolist() == [2, 2, 0, 0]
    assert h.agree_ratio[:2].tolist() == [1.0, 0.5]
    assert h.crh_crnh_difference[[0, 3]].tolist() == [-5.0, 1.0]
    assert h.above_threshold.tolist() == [
        False,
        False,
        False,
        False,
    ]  # own bad note; half right; no evidence; no evidence
    assert survivors_on_evidence(h, 0.66, 2).tolist() == [False, False, True, True]


def evidence(**changes) -> NoteEvidence:
    """One excellent note: far above every threshold on both sides."""
    one = {
        "intercept": [0.6], "factor": [0.1], "upper": [0.8], "counts": [[[1, 1, 18], [1, 1, 18]]], "n_ratings": [40], "misleading": [True],
        "was_helpful": [False], "without_most_active": [np.nan], "without_correlated": [np.nan], "tag_outlier": [False],
    }  # fmt: skip
    one |= {k: [v] for k, v in changes.items()}
    return NoteEvidence(**{k: np.asarray(v) for k, v in one.items()})


@pytest.mark.parametrize(
    ("changes", "status", "last_rule"),
    [
        ({}, HELPFUL, "GeneralCRH"),
        ({"intercept": 0.399}, NEEDS_MORE, "InitialNMR"),
        ({"intercept": 0.391, "was_helpful": True}, HELPFUL, "GeneralCRHInertia"),
        ({"intercept": 0.389, "was_helpful": True}, NEEDS_MORE, "InitialNMR"),
        ({"misleading": False}, NEEDS_MORE, "InitialNMR"),
        ({"n_ratings": 4}, NEEDS_MORE, "InitialNMR"),
        ({"factor": 0.5}, NEEDS_MORE, "FilterLargeFactor"),
        ({"factor": -0.49}, HELPFUL, "GeneralCRH"),
        ({"counts": [[1, 1, 18], [0, 0, 3]]}, NEEDS_MORE, "MinMinorityRaters"),
        ({"counts": [[0, 0, 9], [0, 0, 90]]}, HELPFUL, "GeneralCRH"),
        ({"counts": [[0, 0, 9], [100, 0, 200]]}, NEEDS_MORE, "RaterBalance"),
        ({"counts": [[0, 0, 10], [100, 0, 200]]}, HELPFUL, "GeneralCRH"),
        ({"without_most_active": 0.36}, NEEDS_MORE, "NoHighVolIntercept"),
        ({"without_correlated": 0.36}, NEEDS_MORE, "NoCorrelatedIntercept"),
        ({"without_most_active": 0.37}, HELPFUL, "GeneralCRH"),
        ({"tag_outlier": True, "intercept": 0.45}, NEEDS_MORE, "TagFilter"),
        ({"tag_outlier": True, "intercept": 0.60}, NEEDS_MORE, "TagFilter"),
        ({"captured": False}, NEEDS_MORE, "OutsidePopulation"),
        ({"captured": False, "locked": 1}, HELPFUL, "Locked"),
        ({"locked": 0}, NEEDS_MORE, "Locked"),
        ({"locked": 2, "intercept": 0.45}, NOT_HELPFUL, "Locked"),
        ({"intercept": -0.14, "factor": 0.1}, NOT_HELPFUL, "GeneralCRNH"),
        ({"intercept": -0.12, "factor": 0.1}, NEEDS_MORE, "InitialNMR"),
        ({"intercept": 0.0, "upper": -0.05}, NOT_HELPFUL, "UcbCRNH"),
        ({"intercept": 0.0, "counts": [[8, 0, 2], [3, 0, 1]]}, NOT_HELPFUL, "RatioCRNH"),
        ({"intercept": 0.0, "counts": [[8, 0, 2], [1, 0, 1]]}, NEEDS_MORE, "InitialNMR"),
        ({"intercept": -0.16, "factor": 0.9, "misleading": False}, NOT_HELPFUL, "NmCRNH"),
        ({"intercept": np.nan, "factor": np.nan, "upper": np.nan}, NEEDS_MORE, "InitialNMR"),
    ],
)  # fmt: skip
def test_each_rule_acts_at_its_threshold_and_is_named(changes, status, last_rule):
    found = final_statuses(evidence(**changes), StatusSettings())
    assert found.names == [status]
    assert found.rules[0][0] == "InitialNMR"
    assert found.rules[0][-1] == last_rule


@pytest.mark.parametrize(
    ("changes", "status", "last_rule"),
    [
        ({"tag_outlier": True, "intercept": 0.49}, NEEDS_MORE, "TagFilter"),
        ({"tag_outlier": True, "intercept": 0.50}, HELPFUL, "CRHSuperThreshold"),
        ({"tag_outlier": True, "intercept": 0.495, "was_helpful": True}, HELPFUL, "ElevatedCRHInertia"),
        ({"factor": 0.9, "counts": [[1, 1, 18], [0, 0, 3]], "without_correlated": 0.1}, HELPFUL, "GeneralCRH"),
        ({"intercept": 0.0, "upper": -0.05}, NEEDS_MORE, "InitialNMR"),
    ],
)
def test_the_rules_of_december_2022_know_a_super_threshold_and_no_balance(changes, status, last_rule):
    of_then = FitRatersSettings(scoring_rules="2022-12")
    found = final_statuses(evidence(**changes), of_then.thresholds, of_then.acting_rules)
    assert (found.names, found.rules[0][-1]) == ([status], last_rule)


def test_a_threshold_that_was_set_comes_before_the_months():
    settings = FitRatersSettings(status=StatusSettings(helpful_intercept=0.45), scoring_rules="2022-12")
    assert (settings.thresholds.helpful_intercept, settings.thresholds.largest_factor) == (0.45, 0.5)


def test_the_provisional_round_knows_only_the_first_rules():
    crowded = evidence(counts=[[1, 1, 18], [0, 0, 0]], factor=0.8)
    assert provisional_statuses(crowded, StatusSettings()).names == [HELPFUL]
    assert final_statuses(crowded, StatusSettings()).names == [NEEDS_MORE]


def test_unconnected_parts_are_told_and_each_is_turned_to_its_larger_group():
    rng = np.random.default_rng(1)
    parts = []
    for k, n in enumerate((30, 12)):
        note, rater = np.divmod(np.arange(20 * n), n)
        side = np.where(np.arange(n) < n * 0.6, -1.0, 1.0)
        value = np.clip(np.round(2 * (0.5 + 0.5 * side[rater] * rng.choice([-1, 1], 20)[note])) / 2, 0, 1)
        parts.append((note + 20 * k, rater + 30 * k, value))
    note, rater, value = (np.concatenate(x) for x in zip(*parts, strict=True))
    table = from_indices(note, rater, value, np.arange(40), pl.Series(np.arange(42)))
    fit = ExactSolver().fit(table).parameters
    for sign in (1.0, -1.0):
        factor = np.where(np.arange(42) < 30, 1.0, sign) * fit.raters.factor
        notes = np.where(np.arange(40) < 20, 1.0, sign) * fit.notes.factor
        given = Parameters(
            RaterParameters(fit.raters.intercept, factor),
            NoteParameters(fit.notes.intercept, notes),
            fit.global_intercept,
        )
        turned, components = orient_components(table, given)
        assert [(c.n_raters, c.n_notes, c.n_ratings) for c in components] == [(30, 20, 600), (12, 20, 240)]
        for part in (slice(0, 30), slice(30, 42)):
            assert np.sum(turned.raters.factor[part] < 0) > np.sum(turned.raters.factor[part] > 0)
        np.testing.assert_allclose(predictions(table, turned), predictions(table, given))


def events_of(note, rater, value, n_notes, n_raters) -> tuple[RatingEvents, NoteFacts]:
    at = np.full(len(note), 1_700_000_000_000) + np.arange(len(note))
    events = RatingEvents(
        np.arange(n_notes), pl.Series([f"{k:04}" for k in range(n_raters)], dtype=pl.String), np.asarray(note, np.int64),
        np.asarray(rater, np.int64), np.asarray(value, np.float32), at,
    )  # fmt: skip
    facts = NoteFacts(
        np.ones(n_notes, bool), np.full(n_notes, 1.7e12), np.full(n_notes, np.nan), np.full(n_notes, -1), np.zeros(n_notes, bool),
        np.arange(n_notes),
    )  # fmt: skip
    return events, facts


@pytest.mark.parametrize(
    ("note", "rater", "value", "n_notes", "n_raters", "warning"),
    [
        ([0], [0], [1.0], 1, 1, "without these filters"),
        ([0, 1, 2], [0, 0, 0], [1.0, 0.0, 0.5], 3, 1, "without these filters"),
        ([0, 0, 0], [0, 1, 2], [1.0, 0.0, 0.5], 1, 3, "without these filters"),
        (np.repeat(np.arange(12), 12), np.tile(np.arange(12), 12), np.ones(144), 12, 12, "All ratings are equal"),
    ],
    ids=["one rating", "one rater", "one note", "all helpful"],
)
def test_degenerate_input_is_scored_with_a_warning(note, rater, value, n_notes, n_raters, warning):
    events, facts = events_of(note, rater, value, n_notes, n_raters)
    scoring = score(events, facts, QUICK)
    raters, notes = frames(scoring)
    assert notes["intercept"].is_finite().all()
    assert raters["factor1"].is_finite().all()
    assert any(warning in text for text in scoring.warnings)


def test_generous_raters_outside_the_fit_do_not_make_a_note_look_better():
    """Occasional raters rate 0.3 higher than the regular ones; notes only they rated come out where regular raters would put them."""
    rng = np.random.default_rng(5)
    n_notes, regulars = 240, 60
    truth = rng.normal(0.0, 0.25, n_notes)
    side = np.where(np.arange(regulars) < 35, -0.5, 0.5)
    slant = rng.choice([-0.6, 0.6], n_notes)
    note, rater, value = [], [], []
    for k in range(n_notes):
        late = (
            k >= 200
        )  # two regular and six occasional raters; the others are rated by twenty regular ones and two occasional ones
        chosen = rng.choice(regulars, 2 if late else 20, replace=False)
        strangers = regulars + 6 * k + np.arange(6 if late else 2)
        for u in [*chosen, *strangers]:
            mean = 0.3 + truth[k] + (side[u] * slant[k] if u < regulars else 0.3)
            (
                note.append(k),
                rater.append(u),
                value.append(np.clip(np.round(2 * (mean + rng.normal(0, 0.2))) / 2, 0, 1)),
            )
    events, facts = events_of(note, rater, value, n_notes, regulars + 6 * n_notes)
    scoring = score(events, facts, replace(QUICK, helpfulness_filter="off"))
    unfitted, notes = scoring.completed.unfitted, frames(scoring)[1]
    assert 0.1 < unfitted.mean_intercept < 0.4
    assert 0.2 < unfitted.weight <= 1
    assert notes["source"].to_list()[200:] == ["folded_in"] * 40
    level = np.mean(notes["intercept"].to_numpy()[:200] - truth[:200])
    late = notes["intercept"].to_numpy()[200:] - truth[200:] - level
    assert abs(late.mean()) < 0.06


def test_a_world_with_one_side_only_has_no_identified_factor():
    rng = np.random.default_rng(0)
    note, rater = np.divmod(np.arange(40 * 60), 60)
    value = (rng.random(len(note)) < np.linspace(0.1, 0.9, 40)[note]).astype(float)
    table = from_indices(note, rater, value, np.arange(40), pl.Series(np.arange(60)))
    solver = ExactSolver(tolerance=1e-7)
    held_out = held_out_error(table, solver, 3, 0.2, rng)
    found = identification(table, solver.fit(table).parameters, held_out)
    assert held_out.mean > held_out.no_factor
    assert found["warnings"]


def test_effective_numbers_see_through_one_busy_rater():
    note = np.concatenate([np.arange(90), np.arange(10)])
    rater = np.concatenate([np.zeros(90, int), np.arange(1, 11)])
    table = from_indices(note, rater, np.ones(100), np.arange(90), pl.Series(np.arange(11)))
    assert effective_numbers(table)["raters"] == pytest.approx(100**2 / (90**2 + 10))
    assert effective_numbers(table)["ratings"] == 100


def test_raters_who_follow_note_quality_weigh_more():
    rng = np.random.default_rng(0)
    note, rater = np.divmod(np.arange(200 * 40), 40)
    quality = rng.normal(0, 0.3, 200)
    follows = np.arange(40) < 20
    value = np.where(follows[rater], 0.5 + quality[note] * 1.5, rng.random(len(note)))
    table = from_indices(note, rater, np.clip(np.round(value * 2) / 2, 0, 1), np.arange(200), pl.Series(np.arange(40)))
    weights = quality_weights(table, ExactSolver().fit(table).parameters)
    assert weights[follows].mean() > weights[~follows].mean()
    assert weights[~follows].min() < weights[follows].min()
    assert np.average(weights, weights=table.rater_degree()) == pytest.approx(1.0)


def test_the_gaussian_score_wants_help_from_all_along_the_line():
    factor = np.linspace(-0.9, 0.9, 60)
    votes = np.stack([np.ones(60), factor > 0, np.zeros(60), np.tile([1.0, 0.0], 30)]).astype(float)
    note, rater = np.divmod(np.arange(240), 60)
    table = from_indices(note, rater, votes.ravel(), np.arange(4), pl.Series(np.arange(60)))
    all_sides, one_side, nobody, half = gaussian_scores(table, factor).score
    assert all_sides > 0.51 > half > one_side > nobody
    assert nobody >= 0.05
    assert all_sides <= 0.8
    assert gaussian_scores(table, factor).lean[1] > 0.3


def test_a_pair_that_always_rates_together_is_noticed():
    rng = np.random.default_rng(0)
    post = np.repeat(np.arange(60), 12)
    rater = np.concatenate([rng.choice(np.arange(2, 200), 12, replace=False) for _ in range(60)])
    at = rng.integers(0, 10**9, len(post))
    twins = np.arange(0, 60, 2)
    post = np.concatenate([post, twins, twins])
    rater = np.concatenate([rater, np.zeros(30, int), np.ones(30, int)])
    at = np.concatenate([at, twins * HOUR, twins * HOUR + 60_000])
    flagged = correlated_raters(post, rater, at, 200)
    assert np.flatnonzero(flagged).tolist() == [0, 1]


def test_only_the_most_active_of_many_raters_are_left_out_of_the_baseline():
    rater = np.concatenate([np.arange(2000), np.zeros(500, int)])
    events, _ = events_of(np.zeros(2500, int), rater, np.ones(2500), 1, 2000)
    assert np.flatnonzero(most_active_raters(events)).tolist() == [0]
    few, _ = events_of(np.zeros(3, int), [0, 0, 1], np.ones(3), 1, 2)
    assert not most_active_raters(few).any()
