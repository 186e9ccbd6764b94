"""One rule of what may be published, tried on the decisions of people who change their minds."""

from __future__ import annotations

import dataclasses

import pytest

from nouns.decisions import (
    COLUMNS,
    Decision,
    HeldText,
    Rules,
    agreed,
    effective,
    last_word,
    publishable,
    read_rows,
    text_sha256,
)

HELD = HeldText("c1", "The dam held. https://a.example", source_note_ids=(11, 12), provenance={"writer": "w"})
TEXTS = {1: [HELD, dataclasses.replace(HELD, candidate_id="c2", text="Another text.")]}


def decided(kind: str, seq: int = 1, **more) -> Decision:
    said = HELD.text if kind == "accept" else more.get("text")
    values = {
        "candidate_id": "c1", "text": said, "text_sha256": text_sha256(said) if said else None, "run_id": "yesterday",
        "analyst": "ana",
    }  # fmt: skip
    return Decision(seq, f"d{seq}", post_id=1, kind=kind, **(values | more))


EDIT = decided("edit", text="You are all fools.", assessment={"passed": False})


def outcome(*history: Decision, texts=TEXTS, deleted=(), **rules) -> str | list[str]:
    """The published texts, or the code of why not."""
    published, withheld = publishable(history, texts, deleted, **rules)
    return withheld[0].reason_code if withheld else [entry.text for entry in published]


def test_an_accepted_text_is_published_whichever_run_it_was_accepted_in():
    assert outcome(decided("accept")) == [HELD.text]


def test_an_accepted_text_that_somebody_flags_is_withheld_until_the_flag_is_resolved():
    flagged = decided("accept"), decided("flag", 2, analyst="bo")
    assert outcome(*flagged) == "flagged"
    assert outcome(*flagged, decided("undo", 3, undoes="d2", comment="Looked it up.")) == [HELD.text]


def test_an_edit_that_fails_or_was_never_checked_is_withheld():
    assert outcome(EDIT) == "edit_fails_checks"
    assert outcome(dataclasses.replace(EDIT, assessment=None)) == "edit_fails_checks"
    assert outcome(dataclasses.replace(EDIT, assessment={"passed": None})) == "edit_fails_checks"
    assert outcome(dataclasses.replace(EDIT, assessment={"passed": True})) == ["You are all fools."]


def test_a_note_written_from_scratch_needs_no_text_of_the_machine_and_is_not_generated():
    own = dataclasses.replace(EDIT, candidate_id=None, assessment={"passed": True})
    (published,), _ = publishable([own], {1: []})
    line = published.to_json([])
    assert (line["generated"], line["edited_by_person"], line["source_note_ids"]) == (False, True, [])


def test_the_sequence_decides_and_not_the_clock():
    first = decided("accept", 1, created_at=200)
    assert outcome(first, decided("not_needed", 2, created_at=100)) == []
    assert last_word([decided("not_needed", 2, created_at=100), first]).kind == "not_needed"


def test_the_text_counts_and_not_the_candidates_name():
    renamed = {1: [dataclasses.replace(HELD, candidate_id="other")]}
    assert outcome(decided("accept"), texts=renamed) == [HELD.text]
    assert outcome(decided("accept"), texts={1: [dataclasses.replace(HELD, text="The dam broke.")]}) == "text_changed"
    assert outcome(decided("accept"), texts={1: []}) == "gone"
    assert outcome(decided("accept"), texts={}) == []


def test_a_text_whose_source_was_deleted_is_withheld():
    assert outcome(decided("accept"), deleted={12}) == "source_deleted"
    assert outcome(dataclasses.replace(EDIT, assessment={"passed": True}), deleted={11}) == "source_deleted"


def test_a_text_that_fails_a_check_since_is_withheld_unless_the_person_knew():
    failing = {1: [dataclasses.replace(HELD, problem="length: 300 characters")]}
    assert outcome(decided("accept"), texts=failing) == "accepted_fails_checks"
    assert outcome(decided("accept", assessment={"passed": False}), texts=failing) == [HELD.text]


def test_a_text_needs_reviews_of_different_people():
    two = decided("accept"), decided("accept", 2, analyst="bo")
    assert outcome(two[0], reviews=2) == "too_few_reviews"
    assert outcome(two[0], decided("accept", 2), reviews=2) == "too_few_reviews"
    assert outcome(*two, reviews=2) == [HELD.text]
    assert outcome(*two, decided("undo", 3, undoes="d1"), reviews=2) == "too_few_reviews"


def test_only_reviews_of_the_very_text_count():
    other = "What the other run said."
    elsewhere = decided("accept", text=other, text_sha256=text_sha256(other), run_id="before")
    here = decided("accept", 2, analyst="bo")
    assert outcome(elsewhere, here, reviews=2) == "too_few_reviews"
    assert outcome(elsewhere, here, decided("accept", 3), reviews=2) == [HELD.text]
    edit = dataclasses.replace(decided("edit", 3, text="Mine.", assessment={"passed": True}), candidate_id=None)
    assert outcome(here, edit, reviews=2) == "too_few_reviews"
    assert outcome(here, edit, dataclasses.replace(edit, seq=4, decision_id="d4", analyst="bo"), reviews=2) == ["Mine."]


@pytest.mark.parametrize("kind", ["reject", "not_needed"])
def test_where_several_reviews_are_asked_for_disagreement_withholds_until_it_is_settled(kind):
    text = {"text": HELD.text, "text_sha256": text_sha256(HELD.text)} if kind == "reject" else {"text": None}
    against, accepted = decided(kind, **text), decided("accept", 2, analyst="bo")
    assert outcome(against, accepted, reviews=2) == "reviewers_disagree"
    assert outcome(against, accepted) == [HELD.text]
    assert outcome(against, accepted, decided("accept", 3), reviews=2) == [HELD.text]


def test_where_the_rule_asks_a_decision_of_another_run_waits_until_it_is_applied():
    then, applied = decided("accept"), decided("accept", 2, run_id="today", analyst="bo")
    assert outcome(then, run_id="today", carry="ask") == "not_applied"
    assert outcome(then, run_id="yesterday", carry="ask") == [HELD.text]
    assert outcome(then, applied, run_id="today", carry="ask") == [HELD.text]
    assert outcome(then, applied, run_id="today", carry="ask", reviews=2) == "too_few_reviews"
    assert outcome(then, applied, run_id="today", reviews=2) == [HELD.text]
    flagged = decided("flag", 3, analyst="cy")
    assert outcome(then, applied, flagged, run_id="today", carry="ask") == "flagged"


def test_from_decisions_is_learnt_only_where_as_many_people_as_asked_say_the_same():
    ann, bo, cy = (decided("accept", seq, analyst=name) for seq, name in enumerate(("ann", "bo", "cy"), 1))
    against = dataclasses.replace(cy, kind="reject")
    flag = decided("flag", 9, analyst="cy")
    assert agreed([ann, bo], 1) == [ann, bo]
    assert agreed([ann, flag], 2) == [flag]
    assert agreed([ann, bo, flag], 2) == [ann, bo, flag]
    assert agreed([ann, bo, against], 2) == []
    assert agreed([ann, dataclasses.replace(bo, analyst="ann")], 2) == []


def test_a_preference_is_learnt_where_others_prefer_the_same_of_the_two_texts():
    first = decided("prefer", 1, text_sha256="a", other_sha256="b")
    second = dataclasses.replace(first, seq=2, decision_id="d2", analyst="bo")
    reverse = dataclasses.replace(second, text_sha256="b", other_sha256="a")
    assert agreed([first, second], 2) == [first, second]
    assert agreed([first, reverse], 2) == agreed([first], 2) == []
    assert agreed([first, reverse], 1) == [first, reverse]  # that they disagree is said where pairs are made


def test_rules_survive_the_way_through_a_files_metadata():
    assert Rules.from_metadata(Rules(3, "ask").to_metadata()) == Rules(3, "ask")
    assert Rules.from_metadata({"ARROW:schema": "..."}) == Rules(1, "count")
    with pytest.raises(ValueError, match="1 to 9 reviews"):
        Rules.from_metadata({"reviews": "0"})


def test_decisions_survive_the_way_through_a_table():
    rows = [EDIT, decided("flag", 2, comment="why?", reasons=("notHelpfulOther",)), decided("undo", 3, undoes="d2")]
    assert list(rows[0].to_row()) == list(COLUMNS)
    assert read_rows([row.to_row() for row in reversed(rows)]) == rows


@pytest.mark.parametrize("seq", [{}, {"seq": None}])
def test_an_older_file_without_sequence_is_read_by_time(seq):
    old = {"post_id": 1, "candidate_id": "c1", "text": HELD.text, "text_sha256": text_sha256(HELD.text)}
    rows = read_rows(
        [
            old | seq | {"decision_id": "b", "kind": "edit", "created_at": 2},
            old | seq | {"decision_id": "a", "kind": "accept", "created_at": 1},
        ]
    )
    assert [row.decision_id for row in effective(rows)] == ["a", "b"]
    assert outcome(*rows) == [HELD.text]
