"""Sentences, sources, differences and marks; why-sentences; cells that a spreadsheet cannot misread."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.charts import histogram
from inspector.read.text import differences, domain, links, pieces, prepare_sources, rest_on
from inspector.read.why import name_ranks, signed, why_candidate, why_post
from inspector.report.downloads import csv_rows, safe_cell

TEXT = "The lamp was dark for 40 minutes. A ship stood by, see https://coast.example/log?x=1. No vessel was harmed!"


def test_each_sentence_names_the_source_sentence_that_shares_most_words():
    sources = prepare_sources(
        [(7, "Fish were seen. The lamp was dark for forty minutes."), (8, "No vessel reported harm.")]
    )
    found = rest_on(TEXT, sources)
    assert (found[0].source_note_id, found[0].source_text) == (7, "The lamp was dark for forty minutes.")
    assert found[1].source_note_id is None


def test_a_copied_sentence_rests_wholly_on_its_source():
    found = rest_on(
        "Norwick counts every ballot twice by law.", prepare_sources([(1, "Norwick counts every ballot twice by law.")])
    )
    assert found[0].share == 1.0


@given(st.text(max_size=80), st.lists(st.tuples(st.integers(-5, 90), st.integers(-5, 90), st.just("why")), max_size=4))
def test_pieces_joined_are_the_text_again(text, marks):
    cut = pieces(text, marks, rest_on(text, prepare_sources([(1, text)])))
    assert "".join(piece.text for piece in cut) == text


@given(st.text(alphabet="ab .,\n", max_size=40), st.text(alphabet="ab .,\n", max_size=40))
def test_differences_give_both_texts_back(before, after):
    diff = differences(before, after)
    assert "".join(text for kind, text in diff if kind != "added") == before
    assert "".join(text for kind, text in diff if kind != "removed") == after


def test_a_marked_span_covers_exactly_the_failing_words():
    cut = pieces("It was 2,000 tonnes.", [(7, 12, "no such number")])
    assert [piece.text for piece in cut if piece.mark] == ["2,000"]


def test_only_web_addresses_become_links():
    hrefs = [
        piece.href
        for piece in pieces("javascript:alert(1) data:text/html,x www.a.example/b. http://c.example")
        if piece.href
    ]
    assert hrefs == ["https://www.a.example/b", "http://c.example"]


def test_links_lose_trailing_punctuation_and_repeats():
    assert links("See https://a.example/x, https://a.example/x.") == ["https://a.example/x"]
    assert domain("https://www.a.example/x") == "a.example"


POST = {
    "best_score": 0.3,
    "outcome": "winner",
    "reason": None,
    "reason_code": None,
    "score": 0.5,
    "lower": 0.4,
    "upper": 0.6,
    "appeal": None,
}
ROW = {
    "status": "judged",
    "score": 0.4,
    "lower": 0.3,
    "upper": 0.5,
    "problems": [],
    "unjudged_reason": None,
    "lost_because": None,
}
WINNER = ROW | {"status": "winner", "score": 0.5}


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (WINNER, "Won: score 0.50"),
        (ROW, "0.10 below the winner's 0.50"),
        (ROW | {"score": 0.6}, "another rule than the score decided"),
        (ROW | {"lost_because": "It lost the duel."}, "It lost the duel."),
        (
            ROW | {"problems": [{"check": "length", "outcome": "failed", "reason": "301 characters"}]},
            "Failed a check: length: 301 characters",
        ),
        (ROW | {"problems": [{"check": "nli", "outcome": "unreadable", "reason": ""}]}, "Could not be checked: nli"),
        (ROW | {"score": None, "unjudged_reason": "no jurors"}, "Not judged: no jurors"),
    ],
)
def test_every_candidate_has_one_true_sentence(row, says):
    assert says in why_candidate(row, WINNER, POST)


def test_every_post_has_one_true_sentence():
    assert "best existing note 0.30" in why_post(POST)
    assert why_post(POST | {"outcome": "abstained", "reason": "Too few notes."}) == "Too few notes."
    assert "not finished" in why_post(POST | {"outcome": "open"})


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1", "-1", "@sum", "\t=1", "|calc", " =1", '"=1', "＝1", "1780000000000000000"]
)
def test_a_cell_that_could_calculate_or_lose_digits_is_plain_text(cell):
    assert safe_cell(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["a plain text", "2024-05-03", "12", 3.5, True, None])
def test_other_cells_pass_unchanged(cell):
    assert safe_cell(cell) == ("" if cell is None else cell)


def test_a_csv_row_keeps_commas_quotes_and_line_breaks_in_one_cell():
    import csv
    import io

    text = "".join(csv_rows(["a", "b"], [{"a": 'x, "y"\nz', "b": ["p", "q"]}]))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], ['x, "y"\nz', "p; q"]]


def test_a_sentence_names_candidates_by_rank_and_leaves_other_ids_alone():
    said = "It ranks 0.1 below 0091b07f0e0644baf13e441c, not below the note 2057828629219986248."
    assert name_ranks(said, {"0091b07f0e0644baf13e441c": 1}) == (
        "It ranks 0.1 below rank 1, not below the note 2057828629219986248."
    )


@pytest.mark.parametrize(
    ("value", "shown"), [(0.044, "+0.04"), (-0.126, "−0.13"), (0.004, "±0.00"), (-0.004, "±0.00"), (0.0, "±0.00")]
)
def test_a_difference_has_a_sign_only_where_two_decimals_show_one(value, shown):
    assert signed(value) == shown


def test_no_tick_stands_outside_a_histogram():
    edges = [round(-1 + 0.05 * k, 2) for k in range(41)]
    counts = [5 if 0.4 <= edge < 0.6 else 0 for edge in edges[:-1]]
    drawn = histogram(edges, [("winners", counts)], "Scores")
    ticks = [float(x) for x in re.findall(r'<text x="(-?[0-9.]+)"', drawn)]
    assert ticks
    assert all(14 <= x <= 508 for x in ticks), ticks
