from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from jury.judge.judge import verdict_rows
from jury.records import JudgedText
from jury.select.select import (
    REASON_CODES,
    SELECTION_KEYS,
    Contender,
    Standing,
    choose,
    excluded_selections,
    hear_appeal,
    selection_line,
)
from jury.settings import SelectWinnersSettings
from tests.jury.world import MISLEADING, PlantedRater, a_bench, a_jury, planted

RULES = SelectWinnersSettings(minimum_score=0.0)
JURY = a_jury(300)


def verdict(name: str, q: float, f: float = 0.0, sd: float = 0.01) -> dict:
    text = JudgedText(name, planted(name, q, f), MISLEADING, 1)
    bench = a_bench(JURY, sd)
    return verdict_rows(bench, PlantedRater(sd).seat(JURY).rate([text]), [text])[0]


def candidate(name: str, q: float, f: float = 0.0, sd: float = 0.01, **more) -> Contender:
    return Contender(name, planted(name, q, f), MISLEADING, verdict=verdict(name, q, f, sd), **more)


def note(note_id: int, q: float, f: float = 0.0, stance: str = MISLEADING) -> Standing:
    return Standing(note_id, stance, verdict(str(note_id), q, f))


def test_the_best_judged_candidate_wins_and_every_other_is_told_why_not():
    choice = choose(1, [candidate("A", 0.2), candidate("B", 0.3), candidate("C", 0.1)], [note(9, 0.05)], RULES)
    assert choice.winner is not None
    assert choice.winner.candidate_id == "B"
    assert {row["candidate_id"]: row["decided_by"] for row in choice.losers} == {"A": "lower_score", "C": "lower_score"}
    assert all(row["compared_with"] == "B" and row["value"] < row["threshold"] for row in choice.losers)


def test_no_candidate_is_an_abstention_of_its_own():
    assert choose(1, [], [note(9, 0.1)], RULES).reason_code == "no_candidates"


def test_when_nothing_passed_the_checks_the_commonest_failure_is_named():
    failed = [
        Contender(n, "t", MISLEADING, failed_checks=checks)
        for n, checks in (("A", ("length",)), ("B", ("length", "links")))
    ]
    choice = choose(1, failed, [], RULES)
    assert choice.reason_code == "nothing_passed_checks"
    assert "'length' (2 of 2)" in choice.reason


def test_of_checks_that_failed_equally_often_the_first_by_name_is_named_in_every_process():
    """Sets of words are ordered by a hash that differs between processes; the reason is part of the output's bytes."""
    checks = ("style", "neutrality", "links", "form", "length")
    failed = [Contender(n, "t", MISLEADING, failed_checks=checks) for n in ("A", "B")]
    assert "'form' (2 of 2)" in choose(1, failed, [], RULES).reason


def test_a_failed_check_keeps_even_the_best_text_from_winning():
    best = candidate("A", 0.5, failed_checks=("links",))
    choice = choose(1, [best, candidate("B", 0.2)], [], RULES)
    assert choice.winner is not None
    assert choice.winner.candidate_id == "B"


def test_a_divisive_candidate_is_stopped_by_xs_gates_however_high_its_score():
    choice = choose(1, [candidate("A", 0.35, 0.8), candidate("B", 0.15)], [], RULES)
    assert choice.winner is not None
    assert choice.winner.candidate_id == "B"
    assert choice.losers[0]["decided_by"] in ("factor_gate", "net_helpful_gate")


def test_a_jury_that_never_met_a_language_lets_nothing_in_it_win():
    texts = [
        candidate("A", 0.5, language="fa"),
        candidate("B", 0.3, language="fa-IR"),
        candidate("C", 0.1, language="es"),
    ]
    choice = choose(1, texts, [], RULES, {"en": 900, "es": 30, "fa": 3})
    assert choice.winner is not None
    assert choice.winner.candidate_id == "C"
    assert {row["decided_by"] for row in choice.losers} == {"language_not_in_training"}
    alone = choose(1, texts[:2], [], RULES, {"en": 900, "fa": 3})
    assert alone.reason_code == "language_not_in_training"
    assert "3 notes in the language 'fa'" in alone.reason
    for trusting in (
        choose(1, texts, [], RULES),
        choose(1, texts, [], replace(RULES, minimum_language_notes=0), {"en": 1}),
    ):
        assert trusting.winner is not None
        assert trusting.winner.candidate_id == "A"


def test_only_divisive_candidates_make_an_abstention():
    choice = choose(1, [candidate("A", 0.35, 0.8)], [], RULES)
    assert choice.reason_code == "one_sided"
    assert "both sides" in choice.reason


def test_below_the_bar_nothing_wins():
    choice = choose(1, [candidate("A", 0.3)], [], SelectWinnersSettings(minimum_score=0.4))
    assert choice.reason_code == "below_bar"


def test_the_bar_decides_last_and_puts_a_text_above_it_first():
    """What is not better than the notes there are says so; of two fit texts the one above the bar wins, though a surer one ranks higher."""
    bar = SelectWinnersSettings(minimum_score=0.28, caution=1.0)
    assert choose(1, [candidate("A", 0.2)], [note(9, 0.25)], bar).reason_code == "not_better_than_existing"
    said = choose(1, [candidate("A", 0.2, sd=0.01)], [note(9, 0.1)], bar)
    assert (said.reason_code, "would be better" in said.reason) == ("below_bar", True)
    winner = choose(1, [candidate("A", 0.27, sd=0.01), candidate("B", 0.31, sd=0.09)], [], bar).winner
    assert winner is not None
    assert winner.candidate_id == "B"


def test_a_better_note_of_the_other_stance_means_the_sources_contradict():
    choice = choose(1, [candidate("A", 0.2)], [note(9, 0.3, stance="NOT_MISLEADING")], RULES)
    assert choice.reason_code == "contradicting_sources"
    assert "note 9" in choice.reason


def test_a_difference_within_the_error_does_not_beat_the_existing_note():
    standing = [note(9, 0.25)]
    assert choose(1, [candidate("A", 0.29, sd=0.15)], standing, RULES).reason_code == "not_better_than_existing"
    assert choose(1, [candidate("A", 0.29, sd=0.01)], standing, RULES).winner is not None


def test_ties_go_to_the_shorter_text_and_are_called_ties():
    a, b = candidate("A", 0.3), candidate("B", 0.3)
    longer = Contender("A", a.text + " and more", MISLEADING, verdict=a.verdict)
    choice = choose(1, [longer, b], [], RULES)
    assert choice.winner is not None
    assert choice.winner.candidate_id == "B"
    assert choice.losers[0]["decided_by"] == "tie"


def test_caution_prefers_the_surer_of_two_nearly_equal_candidates():
    pair = [candidate("A", 0.31, sd=0.2), candidate("B", 0.30, sd=0.01)]
    cautious = choose(1, pair, [], SelectWinnersSettings(minimum_score=0.0, caution=1.0))
    bold = choose(1, pair, [], SelectWinnersSettings(minimum_score=0.0, caution=0.0))
    assert cautious.winner is not None
    assert bold.winner is not None
    assert (cautious.winner.candidate_id, bold.winner.candidate_id) == ("B", "A")


def test_a_revision_that_was_no_improvement_cannot_win():
    choice = choose(1, [candidate("A", 0.2), candidate("R", 0.3, parent_id="A", kept=False)], [], RULES)
    assert choice.winner is not None
    assert choice.winner.candidate_id == "A"
    assert choice.losers[0]["decided_by"] == "no_real_improvement"


def test_the_order_of_the_candidates_changes_nothing():
    some = [candidate("A", 0.2), candidate("B", 0.3), candidate("C", 0.3, 0.9), candidate("D", -0.2)]
    assert choose(1, some, [note(9, 0.1)], RULES) == choose(1, some[::-1], [note(9, 0.1)], RULES)


def test_the_second_jury_can_overturn_and_says_so():
    choice = choose(1, [candidate("A", 0.3)], [note(9, 0.1)], RULES)
    confirmed, score = hear_appeal(choice, verdict("A", 0.28), verdict("9", 0.1), RULES)
    assert confirmed.winner is not None
    assert score == pytest.approx(0.28, abs=0.05)
    overturned, score = hear_appeal(choice, verdict("A", 0.05), verdict("9", 0.1), RULES)
    assert overturned.winner is None
    assert overturned.reason_code == "lost_appeal"
    assert [row["decided_by"] for row in overturned.losers] == ["lost_appeal"]
    line = selection_line(overturned, score)
    assert line["candidate_id"] is None
    assert line["appeal_score"] is not None


def test_a_selection_line_has_the_published_keys_and_string_ids():
    line = selection_line(
        choose(1855555555555555555, [candidate("A", 0.3)], [note(1844444444444444444, 0.1)], RULES), None
    )
    assert tuple(line) == SELECTION_KEYS
    assert line["post_id"] == "1855555555555555555"
    assert line["best_existing_note_id"] == "1844444444444444444"
    assert line["outcome"] == "winner"
    assert line["reason_code"] is None


def test_excluded_posts_become_abstentions_with_their_own_reason():
    posts = pl.DataFrame(
        {"post_id": [5, 3], "reason_code": ["too_few_notes", None], "reason": ["One note only.", None]}
    )
    lines = excluded_selections(posts)
    assert [line["post_id"] for line in lines] == ["3", "5"]
    assert lines[1]["reason_code"] == "too_few_notes"
    assert tuple(lines[0]) == SELECTION_KEYS


def test_finalists_the_judging_model_gave_no_answer_about_are_not_told_as_failed():
    found = choose(1, [candidate("A", 0.3, unread=True), candidate("B", 0.2, examined=False)], [], RULES)
    assert (found.winner, found.reason_code) == (None, "judge_unreadable")
    assert "gave no answer" in found.reason
    assert {row["candidate_id"]: row["decided_by"] for row in found.losers} == {
        "A": "judge_unreadable",
        "B": "not_examined",
    }


def test_every_reason_code_is_reached_by_these_tests():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [code for code in REASON_CODES if f'"{code}"' not in source and code != "unjudged"] == []


def test_a_small_gain_wins_where_the_jury_is_sure_of_the_difference_and_not_where_it_is_not():
    """Two texts on the same source err alike: their difference may be surer than either of them."""
    asked = []

    def sure(first, standing):
        asked.append((first.candidate_id, standing.note_id))
        return 0.005

    texts, notes = [candidate("A", 0.20, sd=0.1)], [note(9, 0.15)]
    assert choose(1, texts, notes, RULES).reason_code == "not_better_than_existing"
    assert choose(1, texts, notes, RULES, difference_sd=sure).winner is not None
    assert asked == [("A", 9)]
    assert choose(1, texts, notes, RULES, difference_sd=lambda *_: 0.5).reason_code == "not_better_than_existing"
    assert choose(1, texts, notes, RULES, difference_sd=lambda *_: None).reason_code == "not_better_than_existing"


def test_a_near_copy_that_is_surely_better_by_a_hair_is_no_winner():
    texts, notes = [candidate("A", 0.21, sd=0.1)], [note(9, 0.20)]
    choice = choose(1, texts, notes, RULES, difference_sd=lambda *_: 0.0001)
    assert choice.reason_code == "not_better_than_existing"
    assert "less than the 0.02" in choice.reason
    lost = choice.losers[0]
    assert 0 < lost["value"] < lost["threshold"] == RULES.minimum_gain
    assert choose(1, texts, notes, replace(RULES, minimum_gain=0.0), difference_sd=lambda *_: 0.0001).winner is not None


def test_what_bars_leave_counts_winners_shares_of_posts_heard_and_their_mean_chance():
    from jury.select.select import what_bars_leave

    def line(score, chance=None, code=None):
        return {
            "outcome": "abstained" if code else "winner",
            "score": score,
            "helpful_chance": chance,
            "reason_code": code,
        }

    lines = [line(0.5, 0.8), line(0.4, 0.6), line(0.22), line(None, code="one_sided"), line(None, code="no_text")]
    assert what_bars_leave(lines) == [
        {"bar": 0.20, "winners": 3, "share": 0.75, "chance": pytest.approx(0.7)},  # nobody falls under 0.20; 'no_text' was never heard
        {"bar": 0.40, "winners": 2, "share": 0.5, "chance": pytest.approx(0.7)},
        {"bar": 0.45, "winners": 1, "share": 0.25, "chance": 0.8},
    ]  # fmt: skip
    assert what_bars_leave([line(None, code="one_sided")]) == []
