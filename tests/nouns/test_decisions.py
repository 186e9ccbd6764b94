"""One rule of what may be published, tried on the decisions of people who change their minds."""

from __future__ import annotations

import dataclasses

import pytest

from nouns.decisions import COLUMNS, Decision, HeldText, effective, last_word, publishable, read_rows, text_sha256

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


def outcome(*history: Decision, texts=TEXTS, deleted=()) -> str | list[str]:
    """The published texts, or the code of why not."""
    published, withheld = publishable(history, texts, deleted)
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
