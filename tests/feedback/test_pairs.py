from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from feedback.pairs.pairs import (
    SURFACE,
    Bars,
    PostMaterial,
    Text,
    absolute_label,
    balanced,
    bars_of_run,
    drop_telltale,
    evidence,
    likeness,
    pairs_of_post,
    similarity,
    surface_features,
    surface_test,
    why_chosen,
)
from feedback.pairs.stage import PAIRS
from feedback.pairs.stage import _failures as failures_of
from feedback.settings import BuildPairsSettings
from nouns.errors import InputError
from tests.calling import build_pairs

LOOSE = BuildPairsSettings(matching=False)
_WORDS = [
    "harbour",
    "village",
    "council",
    "record",
    "budget",
    "survey",
    "bridge",
    "school",
    "doctor",
    "report",
    "minister",
    "study",
    "figure",
    "river",
    "museum",
]


def words(seed: int, n: int = 12) -> str:
    rng = np.random.default_rng(seed)
    return " ".join(rng.choice(_WORDS, n)) + "."


def text(name: str, score: float | None = 0.2, request: str = "q1", sd: float = 0.01, **more) -> Text:
    known = (
        {}
        if score is None
        else {
            "score": score,
            "lower": score - 0.02,
            "upper": score + 0.02,
            "factor": 0.0,
            "sd_within": sd,
            "helpful": (0.5, 0.5, 0.5),
        }
    )
    more = {
        "text": words(int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)),
        "status": "judged" if score is not None else "unknown",
        "language": "en",
    } | more
    return Text(name, 1, request_id=request, cluster_id="c", writer="w", **(known | more))


def kept(texts, settings=LOOSE, **material):
    made = pairs_of_post(PostMaterial(1, tuple(texts), **material), settings)
    return [(pair.rule, pair.chosen.text_id, pair.rejected.text_id) for pair in made.pairs], made.refused


def test_the_winner_is_preferred_to_every_loser_of_its_prompt():
    found, _ = kept([text("a", 0.3), text("b", 0.2), text("c", 0.1), text("d", 0.0, request="q2")], winner_id="a")
    assert found[:2] == [("winner_vs_loser", "a", "c"), ("winner_vs_loser", "a", "b")]
    assert all("d" not in pair for pair in found)


def test_a_tie_is_no_pair_and_too_close_is_none_either():
    found, refused = kept([text("a", 0.2), text("b", 0.2), text("c", 0.195)])
    assert found == []
    assert refused == {"tie": 1, "too_close": 2}


def test_an_uncertain_order_is_no_pair():
    found, refused = kept([text("a", 0.25, sd=0.5), text("b", 0.2, sd=0.5)])
    assert found == []
    assert refused == {"uncertain": 1}


def test_texts_that_differ_in_case_and_blanks_only_are_equal():
    found, refused = kept([text("a", 0.3, text="The  Bridge stands."), text("b", 0.1, text="the bridge stands. ")])
    assert found == []
    assert refused == {"equal_texts": 1}


def test_near_duplicates_are_refused():
    base = words(1, 30)
    found, refused = kept([text("a", 0.3, text=base + " Now."), text("b", 0.1, text=base)])
    assert found == []
    assert refused == {"too_alike": 1}


def test_texts_that_differ_by_some_words_or_by_their_links_alone_are_refused():
    base = words(1, 30)
    other = base.replace(base.split()[3], "harbourmaster", 1)
    assert likeness(base, other) > 0.85
    assert kept([text("a", 0.3, text=base), text("b", 0.1, text=other)])[1] == {"too_alike": 1}
    one, two = f"{base} https://a.example.org/x", f"{base} https://b.example.net/quite/another/one"
    assert kept([text("a", 0.3, text=one), text("b", 0.1, text=two)])[1] == {"too_alike": 1}


def test_pairs_never_cross_prompts():
    found, _ = kept([text("a", 0.4, request="q1"), text("b", 0.1, request="q2")], winner_id="a")
    assert found == []


def test_the_best_is_preferred_to_what_failed_a_gate():
    failed = text("x", None, status="failed", gate="links", failed_checks=("links: None stands in a source.",))
    found, _ = kept([text("a", 0.3), text("b", 0.2), failed])
    assert ("best_vs_gate_fail", "a", "x") in found
    assert ("best_vs_gate_fail", "b", "x") not in found


def test_what_failed_a_gate_keeps_the_limits_of_every_other_pair():
    gated = {"status": "failed", "gate": "factor_gate"}
    assert kept([text("a", 0.3), text("x", 0.35, **gated)])[1] == {"jury_prefers_the_other": 1}
    assert kept([text("a", 0.3), text("x", 0.295, **gated)])[1] == {"too_close": 1}
    assert kept([text("a", 0.3, sd=0.5), text("x", 0.2, sd=0.5, **gated)])[1] == {"uncertain": 1}
    assert kept([text("a", 0.3), text("x", 0.1, **gated)])[0] == [("best_vs_gate_fail", "a", "x")]


def test_a_copy_and_a_check_that_could_not_tell_are_no_bad_texts():
    rows = [
        ("a", "duplicates", "failed"),
        ("b", "support", "unreadable"),
        ("c", "links", "failed"),
        ("d", "style", "passed"),
    ]
    frame = pl.DataFrame(
        [{"candidate_id": c, "check": check, "outcome": outcome, "reason": "Why."} for c, check, outcome in rows]
    )
    assert failures_of(frame) == {"a": ([], True), "b": ([], True), "c": ([("links", "Why.")], False)}


def test_a_post_has_one_order_of_its_texts_copies_counted_as_one():
    base = words(1, 30)
    copy = {"text": base + " Now.", "status": "failed", "gate": "style", "failed_checks": ("style: !",)}
    texts = [text("a", 0.4, text=base), text("b", 0.3), text("a2", None, **copy)]
    found, refused = kept(texts, winner_id="a")
    assert ("winner_vs_loser", "a", "b") in found
    # b would be better than the copy of a, under another prompt, too
    texts = [text("a", 0.4, text=base), text("b", 0.3), text("c", 0.3, request="q2", text=texts[1].text), text("a2", None, request="q2", **copy)]  # fmt: skip
    found, refused = kept(texts, winner_id="a")
    assert ("winner_vs_loser", "a", "b") in found
    assert not any("a2" in pair for pair in found)
    assert refused["contradicts_another_pair"] == 1


def test_where_analysts_contradict_each_other_there_is_neither_order_but_a_tie():
    texts = (text("a", 0.3), text("b", 0.1))
    votes = tuple(
        {"kind": "prefer", "candidate_id": x, "other_id": y, "text": None} for x, y in (("a", "b"), ("b", "a"))
    )
    made = pairs_of_post(PostMaterial(1, texts, decisions=votes), LOOSE)
    assert made.pairs == []
    assert [why for _, why in made.ties] == ["analysts_disagree"]


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_said_of_a_post_its_pairs_never_run_in_a_circle(seed):
    rng = np.random.default_rng(seed)
    names = [f"t{i}" for i in range(6)]
    texts = tuple(text(name, float(rng.normal(0.2, 0.2))) for name in names)
    votes = tuple(
        {"kind": "prefer", "candidate_id": str(x), "other_id": str(y), "text": None}
        for x, y in (rng.choice(names, 2, replace=False) for _ in range(6))
    )
    pairs = pairs_of_post(PostMaterial(1, texts, decisions=votes), LOOSE).pairs
    below = {name: {p.rejected.text_id for p in pairs if p.chosen.text_id == name} for name in names}
    for name in names:  # a walk of any length downwards never comes back
        reached = set(below[name])
        for _ in names:
            reached |= {lower for upper in reached for lower in below[upper]}
        assert name not in reached


def test_too_close_and_too_uncertain_orders_are_kept_as_ties_and_unfit_texts_are_not():
    near = [text("a", 0.21), text("b", 0.205), text("c", 0.9, sd=2.0)]
    made = pairs_of_post(
        PostMaterial(1, (*near, text("d", 0.2, text=near[0].text + " x"))), replace(LOOSE, max_ties_per_post=9)
    )
    assert made.pairs == []
    ties = {(p.chosen.text_id, p.rejected.text_id): why for p, why in made.ties}
    assert ties["a", "b"] == "gap_too_small"
    assert ties["c", "a"] == "order_uncertain"
    assert ("a", "d") not in ties
    few = pairs_of_post(PostMaterial(1, tuple(near)), BuildPairsSettings(matching=False, max_ties_per_post=1))
    assert len(few.ties) == 1


def test_a_note_of_people_is_a_target_only_of_the_prompts_stance_and_if_it_passes_the_checks():
    mine, theirs = {"stance": "MISINFORMED"}, {"request": "", "kind": "existing"}
    draft = text("a", 0.1, **mine)
    assert kept([draft, text("note-7", 0.3, **theirs, stance="NOT")])[1] == {"other_stance": 1}
    assert kept([draft, text("note-7", 0.0, **theirs, stance="NOT")])[0] == [("candidate_vs_existing", "a", "note-7")]
    good = text("note-7", 0.3, **theirs, **mine)
    assert kept([draft, good], fit=lambda note: False)[1] == {"chosen_note_fails_checks": 1}
    assert kept([draft, good])[0] == [("candidate_vs_existing", "note-7", "a")]


def test_an_edit_that_fails_the_checks_and_a_flagged_text_are_nobodys_target():
    edit = {"kind": "edit", "candidate_id": "a", "other_id": None, "text": "Only idiots believe it."}
    failed = edit | {"assessment": {"passed": False}}
    assert pairs_of_post(PostMaterial(1, (text("a", 0.3),), decisions=(failed,)), LOOSE).pairs == []
    flag = {"kind": "flag", "candidate_id": "a", "other_id": None, "text": None}
    assert pairs_of_post(PostMaterial(1, (text("a", 0.3),), decisions=(edit, flag)), LOOSE).pairs == []


def test_a_pair_says_why_in_words():
    gated = text("x", None, status="failed", gate="links", failed_checks=("links: The link occurs in no source.",))
    (pair,) = pairs_of_post(PostMaterial(1, (text("a", 0.3), gated)), LOOSE).pairs
    assert pair.label_source == "check"
    assert why_chosen(pair).endswith("The other failed a check: links: The link occurs in no source..")
    (pair,) = pairs_of_post(PostMaterial(1, (text("a", 0.3), text("b", 0.1))), LOOSE).pairs
    assert "score is 0.200 higher (95 % +0.1" in why_chosen(pair)


def test_kto_is_balanced_by_leaving_out_of_the_commoner_kind_people_first():
    rows = [
        {"candidate_id": f"c{i}", "label": i < 3, "label_source": "analyst" if i == 7 else "jury"} for i in range(40)
    ]
    kept_rows, out = balanced(rows, 4.0)
    assert sum(row["label"] for row in kept_rows) == 3
    assert sum(not row["label"] for row in kept_rows) == 12
    assert out == 25
    assert "c7" in {row["candidate_id"] for row in kept_rows}
    assert balanced(rows[3:], 4.0)[1] == 0


def test_a_better_revision_is_preferred_to_its_first_draft_under_the_drafts_prompt():
    texts = [
        text("a", 0.1),
        text("a2", 0.3, request="revise-1", kind="revision"),
        text("a3", 0.5, request="revise-2", kind="revision"),
    ]
    pairs = pairs_of_post(PostMaterial(1, tuple(texts), parents={"a2": "a", "a3": "a2"}), LOOSE).pairs
    assert {(p.chosen.text_id, p.rejected.text_id, p.request_id) for p in pairs} == {
        ("a2", "a", "q1"),
        ("a3", "a", "q1"),
    }


def test_an_existing_note_can_be_preferred_to_a_candidate():
    texts = [text("a", 0.1), text("note-7", 0.3, request="", kind="existing")]
    pairs = pairs_of_post(PostMaterial(1, tuple(texts)), LOOSE).pairs
    assert [(p.rule, p.chosen.text_id, p.request_id) for p in pairs] == [("candidate_vs_existing", "note-7", "q1")]


def test_matching_refuses_texts_of_other_length_or_other_number_of_links():
    short, long = words(1, 8), words(2, 24)
    assert kept([text("a", 0.3, text=long), text("b", 0.1, text=short)], BuildPairsSettings())[1] == {
        "length_differs": 1
    }
    linked = words(3, 10) + " https://a.example.org/x"
    assert kept([text("a", 0.3, text=linked), text("b", 0.1, text=words(4, 10))], BuildPairsSettings())[1] == {
        "links_differ": 1
    }


def test_no_text_is_used_too_often_and_no_post_gives_too_many():
    texts = [text(f"t{i:02d}", 0.6 - 0.04 * i) for i in range(14)]
    found, refused = kept(texts, BuildPairsSettings(matching=False, max_pairs_per_post=10, max_uses_of_text=3))
    assert len(found) == 10
    for position in (1, 2):
        counts = [sum(pair[position] == t.text_id for pair in found) for t in texts]
        assert max(counts) <= 3
    assert refused["enough_pairs"] > 0


def test_one_sided_pairs_are_limited():
    texts = [text(f"t{i}", 0.5 - 0.05 * i, helpful=(0.9 if i % 2 else 0.1, 0.5, 0.5)) for i in range(6)]
    some = BuildPairsSettings(matching=False, max_one_sided_share=0.125)
    made = pairs_of_post(PostMaterial(1, tuple(texts)), some)
    pairs, refused = made.pairs, made.refused
    against = [p for p in pairs if any(b - a > 0.05 for a, b in zip(p.chosen.helpful, p.rejected.helpful, strict=True))]
    assert len(against) <= 2
    assert refused["too_many_one_sided"] > 0


def test_an_analysts_preference_stands_even_against_the_jury_and_says_whose_it_is():
    texts = [text("a", 0.3), text("b", 0.1)]
    against = {"kind": "prefer", "candidate_id": "b", "other_id": "a", "text": None}
    pairs = pairs_of_post(PostMaterial(1, tuple(texts), decisions=(against,)), LOOSE).pairs
    assert [(p.chosen.text_id, p.label_source, round(p.gap, 9)) for p in pairs] == [("b", "analyst", -0.2)]
    agreed = {"kind": "prefer", "candidate_id": "a", "other_id": "b", "text": None}
    pairs = pairs_of_post(PostMaterial(1, tuple(texts), decisions=(agreed,)), LOOSE).pairs
    assert pairs[0].label_source == "both"
    assert pairs[0].gap == pytest.approx(0.2)


@pytest.mark.parametrize(("chosen", "other"), [("a", "note-7"), ("note-7", "a")])
def test_a_vote_between_a_candidate_and_a_note_of_people_is_a_pair_under_the_candidates_prompt(chosen, other):
    """As the inspector stores it: the note goes by `note-<id>`, and no prompt asked for it."""
    texts = (text("a", 0.3), text("note-7", 0.1, request="", kind="existing"))
    vote = {"kind": "prefer", "candidate_id": chosen, "other_id": other, "text": None}
    pairs = pairs_of_post(PostMaterial(1, texts, decisions=(vote,)), LOOSE).pairs
    said = [p for p in pairs if p.rule == "analyst_choice"]
    assert [(p.chosen.text_id, p.rejected.text_id, p.request_id) for p in said] == [(chosen, other, "q1")]


def test_an_edited_text_is_preferred_to_its_original():
    edit = {"kind": "edit", "candidate_id": "a", "other_id": None, "text": "A wholly new wording of the note."}
    pairs = pairs_of_post(PostMaterial(1, (text("a", 0.3),), decisions=(edit,)), LOOSE).pairs
    assert [(p.rule, p.chosen.text, p.rejected.text_id) for p in pairs] == [("analyst_choice", edit["text"], "a")]


def test_the_evidence_is_that_of_a_normal_difference():
    gap, low, high, flip = evidence(text("a", 0.3, sd=0.03), text("b", 0.2, sd=0.04))
    assert gap == pytest.approx(0.1)
    assert high - gap == pytest.approx(gap - low) == pytest.approx(1.96 * 0.05, rel=1e-3)
    assert flip == pytest.approx(0.02275, abs=1e-4)  # the standard normal tail beyond 2


def test_similarity_is_one_for_equal_and_zero_for_disjoint_texts():
    assert similarity("the old bridge", "The old bridge!") == 1.0
    assert similarity("the old bridge", "a new school") == 0.0


def pairs_with_a_cue(n: int, share: float, seed: int = 0) -> tuple[np.ndarray, list[int]]:
    """Feature differences in which the chosen text is longer in `share` of the pairs, and nothing else tells."""
    rng = np.random.default_rng(seed)
    d = rng.normal(0, 1, (n, len(SURFACE)))
    d[:, 0] = np.where(rng.random(n) < share, 1, -1) * rng.uniform(5, 40, n)
    return d, (np.arange(n) // 4).tolist()


def test_the_surface_test_is_at_chance_without_a_cue_and_finds_one_that_is_there():
    assert surface_test(*pairs_with_a_cue(800, 0.5)).accuracy == pytest.approx(0.5, abs=0.05)
    assert surface_test(*pairs_with_a_cue(800, 0.9)).accuracy == pytest.approx(0.9, abs=0.04)


def test_dropping_telltale_pairs_brings_the_classifier_to_the_target():
    difference, posts = pairs_with_a_cue(800, 0.7)
    keep, before, after = drop_telltale(difference, posts)
    assert before.accuracy > 0.62
    assert after.accuracy <= 0.56
    assert keep.sum() >= 400
    assert surface_test(difference[keep], np.array(posts)[keep]).accuracy == after.accuracy


def test_a_handful_of_pairs_is_not_tested_and_nothing_is_dropped():
    keep, before, after = drop_telltale(*pairs_with_a_cue(20, 1.0))
    assert keep.all()
    assert before.accuracy is after.accuracy is None


def test_surface_features_have_their_names():
    found = dict(zip(SURFACE, surface_features('Two words, (2) "quoted": yes! https://a.example.org/b'), strict=True))
    assert found["links"] == 1
    assert found["ends_with_link"] == 1
    assert found["commas"] == 1
    assert found["quotes"] == 2


def test_absolute_labels_leave_the_grey_zone_out():
    bars = Bars(0.4, 0.0, False)
    assert absolute_label(text("a", 0.5), bars) == (True, "lower_bound_reaches_bar", "jury")
    assert absolute_label(text("a", 0.5), Bars(0.4, 0.0, True)) == (True, "among_best_of_run", "jury")
    assert absolute_label(text("a", 0.2), bars) is None
    assert absolute_label(text("a", -0.1), bars) == (False, "among_worst_of_run", "jury")
    assert absolute_label(text("a", None, status="failed", gate="links"), bars) == (False, "failed_links", "jury")
    accept = [{"kind": "accept", "candidate_id": "a"}]
    assert absolute_label(text("a", 0.2), bars, accept) == (True, "accepted", "analyst")
    assert absolute_label(text("a", 0.5), bars, accept) == (True, "accepted", "both")


def test_the_bar_is_xs_where_texts_reach_it_and_the_runs_own_where_none_does():
    low = np.linspace(-0.2, 0.2, 101)
    assert bars_of_run(low, low + 0.1, BuildPairsSettings()).relative
    assert bars_of_run(low, low + 0.1, BuildPairsSettings()).desirable == pytest.approx(np.quantile(low, 0.8))
    assert bars_of_run(low + 0.3, low + 0.4, BuildPairsSettings()).desirable == 0.4


BUILD = ("snapshot", "clusters", "candidates", "checks", "verdicts", "revisions", "selections")


def test_the_stage_writes_pairs_with_prompts_and_a_report(run, tmp_path):
    counts = build_pairs(tmp_path, BuildPairsSettings(), **run.inputs(*BUILD))
    pairs = pl.read_parquet(tmp_path / "pairs.parquet")
    assert pairs.columns == PAIRS.names
    assert counts["out"] == pairs.height > 0
    assert counts["in"] == counts["out"] + sum(counts["rejected"].values())
    assert {"best_vs_gate_fail", "revised_vs_draft", "matched"} <= set(pairs["pair_rule"])
    assert (pairs["chosen"] != pairs["rejected"]).all()
    assert (pairs["score_gap"].drop_nulls() > 0).all()
    assert pairs["pair_id"].is_unique().all()
    first = pairs.row(0, named=True)
    assert first["prompt"] == [
        {"role": "system", "content": "Write."},
        {"role": "user", "content": f"Post {first['post_id']}."},
    ]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["pairs"] == pairs.height
    assert report["surface_classifier"]["target"] == 0.57
    labels = pl.read_parquet(tmp_path / "labels.parquet")
    assert set(labels.filter(pl.col("reason") == "failed_length")["label"]) == {False}
    assert all(a <= b for a, b in pairwise(pairs["post_id"].to_list()))


def test_the_same_inputs_give_the_same_bytes(run, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        build_pairs(tmp_path / name, BuildPairsSettings(), **run.inputs(*BUILD))
    for file in ("pairs.parquet", "labels.parquet", "report.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_decisions_flow_into_the_pairs_unless_the_text_has_changed(run, tmp_path):
    candidates = pl.read_parquet(run.root / "candidates" / "candidates.parquet")
    seen = candidates.filter(candidate_id="p0c2")["text"][0]
    row = {
        "decision_id": "d1",
        "run_id": "r",
        "post_id": 1000,
        "kind": "prefer",
        "candidate_id": "p0c2",
        "other_id": "p0c0",
        "text": None,
        "text_sha256": hashlib.sha256(seen.encode()).hexdigest(),
        "reasons": [],
        "analyst": "ann",
        "created_at": 1,
    }
    stale = row | {"decision_id": "d2", "candidate_id": "p0c1", "text_sha256": "0" * 64}
    file = tmp_path / "decisions.parquet"
    pl.DataFrame([row, stale], schema_overrides={"text": pl.String, "reasons": pl.List(pl.String)}).write_parquet(file)
    (tmp_path / "out").mkdir()
    build_pairs(tmp_path / "out", BuildPairsSettings(), **run.inputs(*BUILD), decisions=file)
    chosen = pl.read_parquet(tmp_path / "out" / "pairs.parquet").filter(pair_rule="analyst_choice")
    assert chosen.select("chosen_id", "rejected_id", "label_source").rows() == [("p0c2", "p0c0", "analyst")]


def test_an_unknown_rule_names_the_known_ones(run, tmp_path):
    with pytest.raises(InputError, match="winner_vs_loser"):
        build_pairs(tmp_path, BuildPairsSettings(rules=("winner_vs_looser",)), **run.inputs(*BUILD))
