"""The decision store: append-only, bound to texts, safe for several analysts at once."""

from __future__ import annotations

import concurrent.futures
import json
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from inspector.decide import database, decisions
from inspector.decide.decisions import NewDecision
from nouns.decisions import COLUMNS, Rules, last_word, read_rows, text_sha256
from nouns.errors import Conflict, InputError, Refused

NOW = 1_790_000_000_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'decisions.sqlite'}"


@pytest.fixture
def engine(url: str) -> Engine:
    return database.open_database(url)


def new(post: int = 1, kind: str = "accept", analyst: str = "ana", key: str = "", **more) -> NewDecision:
    values = {"candidate_id": "c1", "text": "A text.", "text_sha256": text_sha256("A text.")} | more
    key = key or f"{analyst}-{kind}-{post}-{len(json.dumps(more, default=str))}-0"
    return NewDecision(run_id="r", post_id=post, kind=kind, analyst=analyst, client_key=key, **values)


def test_the_newest_effective_decision_has_the_last_word(engine):
    decisions.record(engine, new(kind="reject", reasons=("notHelpfulIncorrect",)), NOW)
    decisions.record(engine, new(kind="accept", analyst="bo"), NOW + 1)
    assert last_word(decisions.history(engine, "r")).kind == "accept"


def test_undo_adds_a_row_and_the_decision_before_it_counts_again(engine):
    decisions.record(engine, new(kind="reject", reasons=("notHelpfulIncorrect",)), NOW)
    second, _ = decisions.record(engine, new(kind="accept"), NOW + 1)
    decisions.undo(engine, second.decision_id, "ana", "undo-key-1", NOW + 2)
    rows = decisions.history(engine, "r")
    assert [row.kind for row in rows] == ["reject", "accept", "undo"]
    assert last_word(rows).kind == "reject"


def test_undoing_twice_changes_nothing(engine):
    row, _ = decisions.record(engine, new(), NOW)
    first = decisions.undo(engine, row.decision_id, "ana", "undo-key-1", NOW)
    again = decisions.undo(engine, row.decision_id, "ana", "undo-key-2", NOW)
    assert first == again
    assert len(decisions.history(engine, "r")) == 2


def test_only_its_analyst_or_an_admin_undoes_a_decision(engine):
    row, _ = decisions.record(engine, new(), NOW)
    with pytest.raises(Refused, match="only ana or an admin"):
        decisions.undo(engine, row.decision_id, "bo", "undo-key-1", NOW)
    assert decisions.undo(engine, row.decision_id, "bo", "undo-key-2", NOW, admin=True).undoes == row.decision_id


def test_the_same_form_sent_twice_is_stored_once(engine):
    first, was_new = decisions.record(engine, new(key="one-form-key"), NOW)
    again, was_new_again = decisions.record(engine, new(key="one-form-key"), NOW + 9)
    assert (first, was_new, was_new_again) == (again, True, False)


def test_a_form_key_cannot_be_reused_for_another_post(engine):
    decisions.record(engine, new(post=1, key="one-form-key"), NOW)
    with pytest.raises(Refused, match="used for something else"):
        decisions.record(engine, new(post=2, key="one-form-key"), NOW)


def test_a_decision_made_in_between_is_a_conflict_that_names_who_and_what(engine):
    decisions.record(engine, new(kind="accept", analyst="bo"), NOW)
    with pytest.raises(Conflict, match=r"bo decided on this post \(accepted\)"):
        decisions.record(engine, new(analyst="ana", based_on=0, kind="not_needed"), NOW + 1)
    assert len(decisions.history(engine, "r")) == 1


def test_a_decision_on_another_post_is_no_conflict(engine):
    decisions.record(engine, new(post=2, analyst="bo"), NOW)
    assert decisions.record(engine, new(post=1, based_on=0), NOW)[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "like"}, "not a kind of decision"),
        ({"kind": "reject"}, "at least one reason"),
        ({"kind": "reject", "reasons": ("ugly",)}, "not one of the reasons"),
        ({"kind": "accept", "candidate_id": None}, "needs a candidate"),
        ({"kind": "prefer"}, "two different candidates"),
        ({"kind": "prefer", "other_id": "c1"}, "two different candidates"),
        ({"kind": "edit", "text": "  "}, "empty"),
        ({"kind": "edit", "text": "x" * 4001}, "4001 characters"),
        ({"kind": "edit", "text": "a\x00b"}, "NUL"),
        ({"key": "short"}, "form's key"),
    ],
)
def test_an_incomplete_decision_is_refused_with_what_to_add(engine, change, says):
    with pytest.raises(Refused, match=says):
        decisions.record(engine, new(**change), NOW)
    assert decisions.history(engine) == []


def test_reasons_are_those_of_x_raters():
    from inspector.words import TAG_WORDS

    assert set(decisions.REASONS) <= {tag for tag in TAG_WORDS if tag.startswith("notHelpful")}


def test_every_reason_a_rater_of_any_year_could_give_has_words():
    from inspector.words import TAG_WORDS
    from nouns.x import RATING_TAGS

    assert set(RATING_TAGS) == set(TAG_WORDS)


@pytest.mark.parametrize("verb", ["UPDATE decisions SET kind = 'accept'", "DELETE FROM decisions"])
def test_the_database_itself_refuses_to_change_history(engine, verb):
    decisions.record(engine, new(), NOW)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.writing(engine) as connection:
        connection.execute(sa.text(verb))


def test_concurrent_writers_lose_nothing_and_numbers_have_no_twins(engine):
    def write(i: int) -> int:
        return decisions.record(engine, new(post=i % 7, analyst=f"a{i % 5}", key=f"key-{i:06d}"), NOW + i)[0].seq

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(write, range(160)))
    assert sorted(numbers) == list(range(1, 161))
    assert len(decisions.history(engine)) == 160


def test_of_two_analysts_with_the_same_page_exactly_one_is_stored(engine):
    def write(name: str) -> bool:
        try:
            decisions.record(engine, new(analyst=name, based_on=0), NOW)
        except Conflict:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(write, [f"a{i}" for i in range(6)])) == 1


def test_drafts_are_kept_per_analyst_and_forgotten_when_decided(engine):
    decisions.save_draft(engine, "ana", "r", 1, "c1", "half a sent", NOW)
    decisions.save_draft(engine, "ana", "r", 1, "c1", "half a sentence", NOW + 1)
    assert decisions.read_draft(engine, "ana", "r", 1)["text"] == "half a sentence"
    assert decisions.read_draft(engine, "bo", "r", 1) is None
    decisions.record(engine, new(kind="edit", text="A sentence."), NOW + 2)
    assert decisions.read_draft(engine, "ana", "r", 1) is None


def test_decisions_leave_as_the_table_that_build_pairs_reads(engine, url, tmp_path):
    big = 1_780_000_000_000_000_123
    decisions.record(engine, new(post=big, kind="reject", reasons=("notHelpfulOther", "notHelpfulIncorrect")), NOW)
    row, _ = decisions.record(
        engine, new(post=big, kind="flag", candidate_id=None, text=None, text_sha256=None), NOW + 1
    )
    decisions.undo(engine, row.decision_id, "ana", "undo-key-1", NOW + 2)
    assert decisions.write_decisions(tmp_path / "decisions.parquet", url) == 3
    frame = pl.read_parquet(tmp_path / "decisions.parquet")
    assert tuple(frame.columns) == COLUMNS
    assert frame["reasons"].to_list()[0] == ["notHelpfulIncorrect", "notHelpfulOther"]
    assert read_rows(frame.iter_rows(named=True)) == decisions.history(engine)


def test_the_table_says_by_which_rules_people_decide(url, engine, tmp_path):
    file = tmp_path / "decisions.parquet"
    decisions.write_decisions(file, url)
    assert Rules.from_metadata(pl.read_parquet_metadata(file)) == Rules(1, "count")
    decisions.set_rules(engine, 2, "ask")
    decisions.write_decisions(file, url)
    assert Rules.from_metadata(pl.read_parquet_metadata(file)) == Rules(2, "ask")


def test_without_decisions_the_table_is_empty_but_typed(url, tmp_path):
    assert decisions.write_decisions(tmp_path / "decisions.parquet", url) == 0
    assert pl.read_parquet(tmp_path / "decisions.parquet").schema["reasons"] == pl.List(pl.String)


def test_migrations_lead_to_the_tables_the_code_uses(engine):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, database.metadata) == []


def test_an_older_store_gets_the_tables_and_indexes_it_lacks_and_keeps_what_it_holds(url):
    engine = database.open_database(url)
    decisions.record(engine, NewDecision("r", 1, "not_needed", "ana", "key-00000001"), NOW)
    with database.writing(engine) as connection:
        for statement in ("DROP TABLE assignments", "DROP TABLE views", "DROP INDEX decisions_by_post"):
            connection.exec_driver_sql(statement)
    database.migrate(url)
    decisions.save_view(engine, "ana", "mine", "sort=worth", NOW)
    assert "decisions_by_post" in {index["name"] for index in sa.inspect(engine).get_indexes("decisions")}
    assert len(decisions.history(engine)) == 1


def test_migrating_twice_and_at_once_is_harmless(tmp_path):
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(database.migrate, [url] * 4))
    assert decisions.newest(database.open_database(url)) == 0


@pytest.mark.parametrize("url", ["mysql://root:geheim@db/x", "nonsense", "postgresql://ana:geheim@127.0.0.1:1/x"])
def test_an_unusable_database_is_named_without_its_password(url):
    with pytest.raises(InputError) as error:
        database.open_database(url)
    assert "geheim" not in str(error.value)
