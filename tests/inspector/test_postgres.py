"""The decision store on a real PostgreSQL: the same promises as on SQLite."""

from __future__ import annotations

import concurrent.futures

import pytest
import sqlalchemy as sa

from inspector.app import create_app
from inspector.decide import database, decisions
from inspector.decide.decisions import NewDecision
from inspector.read.reading import Filters
from inspector.settings import InspectorSettings
from nouns.errors import Conflict
from tests.inspector.conftest import NOON, Clock, Desk, assess_by_length
from tests.servers_postgres import postgres_server, postgres_url  # noqa: F401

pytestmark = pytest.mark.server


def new(post: int, analyst: str, key: str, based_on: int | None = None) -> NewDecision:
    return NewDecision("r", post, "not_needed", analyst, key, based_on=based_on)


def test_migrations_lead_to_the_tables_the_code_uses(postgres_url):  # noqa: F811
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(database.migrate, [postgres_url] * 3))
    engine = database.open_database(postgres_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), database.metadata) == []
    engine.dispose()


@pytest.mark.parametrize("verb", ["UPDATE decisions SET kind = 'x'", "DELETE FROM decisions", "TRUNCATE decisions"])
def test_the_database_itself_refuses_to_change_history(postgres_url, verb):  # noqa: F811
    engine = database.open_database(postgres_url)
    decisions.record(engine, new(1, "ana", "key-00000001"), NOON)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), database.writing(engine) as connection:
        connection.execute(sa.text(verb))
    assert len(decisions.history(engine)) == 1
    engine.dispose()


def test_concurrent_writers_lose_nothing_and_a_reader_never_sees_a_gap_fill_up(postgres_url):  # noqa: F811
    engine = database.open_database(postgres_url)
    seen: list[set[int]] = []

    def write(i: int) -> int:
        return decisions.record(engine, new(i % 9, f"a{i % 5}", f"key-{i:08d}"), NOON)[0].seq

    def read(_: int) -> None:
        seen.append({row.seq for row in decisions.history(engine)})

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        writes = [pool.submit(write, i) for i in range(200)]
        reads = [pool.submit(read, i) for i in range(60)]
        numbers = sorted(future.result() for future in writes)
        for future in reads:
            future.result()
    assert numbers == list(range(1, 201))
    assert all(numbers == set(range(1, len(numbers) + 1)) for numbers in seen)
    engine.dispose()


def test_of_two_analysts_with_the_same_page_exactly_one_is_stored(postgres_url):  # noqa: F811
    engine = database.open_database(postgres_url)

    def write(name: str) -> bool:
        try:
            decisions.record(engine, new(1, name, f"key-{name}-0000", based_on=0), NOON)
        except Conflict:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(write, [f"a{i}" for i in range(6)])) == 1
    engine.dispose()


def test_the_whole_app_works_on_postgresql(world, postgres_url):  # noqa: F811
    clock = Clock()
    app = create_app(
        InspectorSettings(workspace=str(world.workspace), database_url=postgres_url, assess=assess_by_length), now=clock
    )
    desk = Desk(world, app.state.site, app, clock)
    ana = desk.browser("ana")
    answer = ana.decide(desk.path(world.winner_post), "accept")
    assert "Stored:" in ana.get(answer.headers["location"]).text
    assert [row["post_id"] for row in desk.site.index(world.run_id).page(Filters(decided="accept")).rows] == [
        world.winner_post
    ]
    for path in (
        "/history",
        "/reports/agreement",
        desk.path(tail="/misses"),
        desk.path(tail="/publication"),
        "/account",
    ):
        assert ana.get(path).status_code == 200
    desk.site.engine.dispose()
