"""The stage from tables to a jury directory, its report and its gate, on a small planted world."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jury.model import load_jury
from jury.opened import open_jury
from jury.rate_text import rate_lines
from jury.settings import TrainJurySettings
from jury.train.evaluate import Hidden, evaluate_jury, read_evaluation_set
from jury.train.reasons import values_report
from jury.train.stage import gate
from nouns.errors import InputError
from nouns.snapshot import SCHEMAS
from nouns.x import RATING_TAGS
from tests.calling import train_jury
from tests.jury.model.planted import make_world

SETTINGS = TrainJurySettings(encoder="none", gold_encoder="none", blocks=("form",), bootstrap=20, plots=False)


def write_tables(directory, world):
    """The planted world as a snapshot and a fit."""
    snapshot, fit = directory / "snapshot", directory / "fit"
    snapshot.mkdir()
    fit.mkdir()
    d = world.data
    notes = {
        "noteId": d.note_id,
        "tweetId": d.post,
        "classification": d.classification,
        "summary": d.text,
        "createdAtMillis": np.zeros(len(d), np.int64),
    }
    ratings = {
        "noteId": d.note_id[d.rating_note], "raterParticipantId": [d.rater_ids[u] for u in d.rater], "createdAtMillis": d.created_at,
        "helpfulness": d.value.astype(np.float32),
    } | {t: d.tags[:, k] for k, t in enumerate(RATING_TAGS)}  # fmt: skip
    posts = {
        "tweetId": np.unique(d.post),
        "text": [f"Post {p}" for p in np.unique(d.post)],
        "language": ["en"] * len(np.unique(d.post)),
    }
    for name, columns in (("notes", notes), ("ratings", ratings), ("posts", posts)):
        frame = pl.DataFrame(columns)
        missing = [f for f in SCHEMAS[name] if f.name not in frame.columns]
        frame = frame.with_columns([pl.lit(None).cast(pl.Boolean).alias(f.name) for f in missing])
        frame.write_parquet(snapshot / f"{name}.parquet")
    _, first = np.unique(d.rater, return_index=True)
    used = d.rater[first]
    pl.DataFrame(
        {
            "raterParticipantId": [d.rater_ids[u] for u in used], "intercept": d.rater_intercept[first], "factor1": d.rater_factor[first],
            "n_ratings": np.bincount(d.rater)[used],
        }
    ).write_parquet(fit / "raters.parquet")  # fmt: skip
    pl.DataFrame(
        {"noteId": d.note_id, "intercept": d.intercept, "factor1": d.factor, "n_ratings": d.n_ratings}
    ).write_parquet(fit / "notes.parquet")
    (fit / "fit.json").write_text(json.dumps({"global_intercept": 0.17}))
    return snapshot, fit


@pytest.fixture(scope="module")
def small():
    return make_world(n_posts=60, notes_per_post=3, n_raters=90, ratings_per_note=12, seed=4)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    base = tmp_path_factory.mktemp("jury")
    snapshot, fit = write_tables(base, small)
    out = base / "out"
    out.mkdir()
    counts = train_jury(out, SETTINGS, snapshot=snapshot, parameters=fit)
    return base, out, counts


def test_the_counts_of_the_stage_reconcile(trained, small):
    _, _, counts = trained
    assert counts["in"] == len(small.data.value) == counts["out"] + sum(counts["rejected"].values())
    assert counts["gate"]["passed"]


def test_the_raters_fall_into_two_disjoint_pools(trained):
    raters = open_jury(trained[1]).raters
    assert set(raters.pool) == {"proxy", "gold"}
    assert len(set(raters.rater_ids)) == len(raters.rater_ids)
    proxy = open_jury(trained[1]).pool("proxy")
    assert 0 < len(proxy.rater_ids) < len(raters.rater_ids)


def test_the_three_models_load_and_agree_roughly_on_what_is_good(trained):
    from jury.model.features import MISLEADING
    from jury.records import JudgedText, Jury

    jury = Jury(("a", "b"), np.zeros(2), np.array([-0.4, 0.4]), 0.17, "two", 0)
    texts = [JudgedText("g", "According to the official report it stands. https://www.reuters.com/1 https://example.gov/2", MISLEADING),
             JudgedText("b", "I think this is just stupid propaganda, obviously a lie!!!", MISLEADING)]  # fmt: skip
    for name in ("model", "proxy", "gold"):
        expected = load_jury(trained[1], name).seat(jury).rate(texts).expected().mean(axis=0)
        assert expected[0] > expected[1], name


def test_the_report_shows_the_baselines_beside_the_jury(trained):
    report = json.loads((trained[1] / "report.json").read_text())
    evaluation = report["evaluation"]
    assert set(evaluation["baselines"]) == {
        "base_rate",
        "rater_intercept",
        "rater_intercept_factor",
        "length_and_links",
        "stance",
        "siblings",
    }
    assert evaluation["metrics"]["log_loss"]["value"] < evaluation["baselines"]["rater_intercept"]["log_loss"]["value"]
    assert "newest" in report["protocol"]
    page = (trained[1] / "report.html").read_text()
    assert "rating_auc" in page
    assert "Gate: passed" in page


def test_training_twice_gives_the_same_bytes(trained, small):
    base, out, _ = trained
    again = base / "again"
    again.mkdir()
    train_jury(again, SETTINGS, snapshot=base / "snapshot", parameters=base / "fit")
    for path in sorted(out.iterdir()):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_the_gate_fails_a_jury_worse_than_not_reading_and_only_warns_on_little_data():
    result = {"metrics": {"log_loss": {"value": 0.7}}, "baselines": {"rater_intercept": {"log_loss": {"value": 0.6}}}}
    assert not gate(result, 200, 30)["passed"]
    warned = gate(result, 10, 30)
    assert warned["passed"]
    assert "too few" in warned["reason"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no jury"):
        load_jury(tmp_path)


# ------------------------------------------------------------------------------------------------- evaluate-jury, rate-text


@pytest.fixture(scope="module")
def files(small, tmp_path_factory):
    """The world as X's TSV files, with published parameters on the notes and parameters of raters on the ratings."""
    base = tmp_path_factory.mktemp("tsv")
    d = small.data
    level = {1.0: "HELPFUL", 0.5: "SOMEWHAT_HELPFUL", 0.0: "NOT_HELPFUL"}
    pl.DataFrame(
        {
            "noteId": d.note_id, "tweetId": d.post, "summary": d.text, "classification": d.classification, "coreNoteIntercept": d.intercept,
            "coreNoteFactor1": d.factor, "finalRatingStatus": ["CURRENTLY_RATED_HELPFUL" if i > 0.3 else "NEEDS_MORE_RATINGS" for i in d.intercept],
        }
    ).write_csv(base / "notes.tsv", separator="\t", quote_style="never")  # fmt: skip
    pl.DataFrame(
        {
            "noteId": d.note_id[d.rating_note], "raterParticipantId": [d.rater_ids[u] for u in d.rater], "createdAtMillis": d.created_at,
            "helpfulnessLevel": [level[v] for v in d.value.tolist()], "coreRaterIntercept": d.rater_intercept, "coreRaterFactor1": d.rater_factor,
        }
    ).write_csv(base / "ratings.tsv", separator="\t", quote_style="never")  # fmt: skip
    return base


def test_evaluate_jury_prints_every_metric_of_the_interface(trained, files):
    result = evaluate_jury(trained[1], notes=files / "notes.tsv", ratings=files / "ratings.tsv", bootstrap=10)
    wanted = {
        "rating_auc",
        "log_loss",
        "ece",
        "intercept_spearman",
        "factor_spearman",
        "pair_same_stance",
        "pair_cross_stance",
        "coverage_90",
        "crh_auc",
    }
    assert wanted <= set(result["metrics"])
    for entry in result["metrics"].values():
        assert set(entry) == {"value", "lo", "hi", "n"}
    json.dumps(result, allow_nan=False)
    assert result["n_notes"] == 180
    assert result["metrics"]["crh_auc"]["value"] > 0.7
    # The same notes read as drafts: links that nothing speaks for earn nothing, so the level can only be lower.
    drafts = result["as_candidates"]
    assert set(drafts["metrics"]) == set(result["metrics"])
    assert drafts["level"]["candidates"] <= drafts["level"]["published"] + 1e-9
    assert drafts["level"]["n"] > 0


def test_targets_restrict_what_is_judged_but_not_who_is_a_sibling(trained, files):
    result = evaluate_jury(
        trained[1], notes=files / "notes.tsv", ratings=files / "ratings.tsv", targets=[1, 2, 3, 4], bootstrap=2
    )
    assert result["n_notes"] == 4
    with pytest.raises(InputError, match="none of the 1 target ids"):
        evaluate_jury(trained[1], notes=files / "notes.tsv", targets=[999_999], bootstrap=2)


def test_a_target_never_sees_itself_and_a_pair_never_sees_its_partner(files):
    evaluation = read_evaluation_set(files / "notes.tsv", files / "ratings.tsv")
    hidden = Hidden(evaluation)
    text = hidden.target(0)
    assert 1 not in [s.note_id for s in text.siblings]
    assert len(text.own_ratings) == 0
    assert [s.note_id for s in hidden.target(0, (1,)).siblings] == [3]


def test_as_of_hides_later_ratings_and_published_parameters(files, small):
    moment = int(np.median(small.data.created_at))
    evaluation = read_evaluation_set(files / "notes.tsv", files / "ratings.tsv", as_of=moment)
    for sibling in Hidden(evaluation).target(0).siblings:
        assert sibling.intercept is None
        assert (sibling.ratings.created_at < moment).all()


def test_changing_what_is_hidden_changes_no_prediction(trained, files, tmp_path):
    """The strongest test against leaks: other ratings and labels of the target, same prediction."""
    changed = pl.read_csv(files / "ratings.tsv", separator="\t").with_columns(
        pl.when(pl.col("noteId") == 1)
        .then(pl.lit("NOT_HELPFUL"))
        .otherwise(pl.col("helpfulnessLevel"))
        .alias("helpfulnessLevel")
    )
    changed.write_csv(tmp_path / "ratings.tsv", separator="\t", quote_style="never")
    model = load_jury(trained[1], "model")
    means = []
    for ratings in (files / "ratings.tsv", tmp_path / "ratings.tsv"):
        hidden = Hidden(read_evaluation_set(files / "notes.tsv", ratings))
        means.append(model.judge([hidden.target(0)]).mean)
    np.testing.assert_array_equal(*means)


def test_rate_text_answers_line_by_line_in_order(trained):
    lines = [
        {"id": "a", "note_text": "According to records it stands. https://example.gov/1", "siblings": [{"text": "No.", "classification": "NOT_MISLEADING", "intercept": 0.1, "factor": 0.4}],
         "raters": [{"intercept": 0.0, "factor": -0.5}, {"intercept": 0.2, "factor": 0.5}]},
        {"id": 7, "note_text": "Stupid lie!!!"},
    ]  # fmt: skip
    one, two = rate_lines(trained[1], lines)
    assert [one["id"], two["id"]] == ["a", "7"]
    assert one["lower"] < one["score"] < one["upper"]
    assert set(one["helpful"]) == {"negative", "middle", "positive"}
    assert len(one["probabilities"]) == 2
    np.testing.assert_allclose(np.sum(one["probabilities"], axis=1), 1.0, atol=1e-4)
    assert "probabilities" not in two
    assert one["score"] > two["score"]
    json.dumps([one, two], allow_nan=False)


def test_texts_are_embedded_together_and_each_gets_what_it_gets_alone(trained, monkeypatch):
    import jury.rate_text as rating
    from jury.model.hierarchical import HierarchicalModel

    asked = []
    judge = HierarchicalModel.judge
    monkeypatch.setattr(HierarchicalModel, "judge", lambda self, texts: asked.append(len(texts)) or judge(self, texts))
    monkeypatch.setattr(rating, "AT_ONCE", 4)
    lines = [{"id": str(i), "note_text": f"Record {i} says it stands. https://example.gov/{i}"} for i in range(6)]
    together = list(rate_lines(trained[1], lines))
    assert set(asked) == {4, 2}  # batches, never one by one
    alone = [next(rate_lines(trained[1], [line])) for line in lines]
    for a, b in zip(together, alone, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-5)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"id": "a"}, "note_text"),
        ({"id": "a", "note_text": "x", "published": "yes"}, "published is 'yes'; true or false"),
        ({"id": "a", "note_text": "x", "siblings": [{"classification": "NOT_MISLEADING"}]}, "sibling"),
        ({"id": "a", "note_text": "x", "raters": [{"intercept": 0.1}]}, "factor"),
        (
            {"id": "a", "note_text": "x", "raters": 5},
            "line 1: raters is 5; a list of objects with intercept and factor",
        ),
        (
            {"id": "a", "note_text": "x", "siblings": [{"text": "y", "ratings": 3}]},
            "line 1: a sibling's ratings is 3; a list",
        ),
        (
            {
                "id": "a",
                "note_text": "x",
                "siblings": [{"text": "y", "ratings": [{"intercept": 0, "factor": 0, "value": 0.7}]}],
            },
            "0.7",
        ),
    ],
)
def test_bad_lines_are_named(trained, line, complaint):
    with pytest.raises(InputError, match=complaint):
        list(rate_lines(trained[1], [line]))


# -------------------------------------------------------------------------------------------------------------- values


def test_a_tag_both_sides_tick_alike_is_shared_and_one_sided_tags_divide():
    world = make_world(n_posts=60, seed=8)
    d = world.data
    tags = np.zeros_like(d.tags)
    rng = np.random.default_rng(0)
    clear, biased = RATING_TAGS.index("helpfulClear"), RATING_TAGS.index("notHelpfulArgumentativeOrBiased")
    tags[:, clear] = rng.random(len(d.value)) < 0.5
    tags[:, biased] = (rng.random(len(d.value)) < 0.5) & (d.rater_factor > 0.33)
    rows = {r["tag"]: r for r in values_report(replace(d, tags=tags), bootstrap=100)}
    assert rows["helpfulClear"]["verdict"] == "shared"
    assert rows["notHelpfulArgumentativeOrBiased"]["verdict"] == "dividing"
    assert rows["notHelpfulArgumentativeOrBiased"]["lo"] > 0
