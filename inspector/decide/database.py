"""Tables of the decision store and how to open it: SQLite (WAL) as the embedded default, PostgreSQL by URL.

`open_database` brings any store up to date. All writes go through `writing`, a short transaction that takes the write lock first, so that numbers of decisions (`seq`) appear in the order
in which they are committed. A reader that has seen number n will never later find a new number below n.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Connection, Engine

from nouns.errors import InputError

metadata = MetaData()

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER PRIMARY KEY columns itself

users = Table(
    "users",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("password_hash", Text),  # argon2id; null for users of a proxy or of single-user mode
    Column("role", String(10), nullable=False),  # viewer | analyst | admin
    Column("active", Boolean, nullable=False, default=True),
    Column("origin", String(10), nullable=False, default="password"),  # password | proxy | local
    Column("created_at", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_sha256", String(64), primary_key=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("user_id", BigId, ForeignKey("users.id"), nullable=False, index=True),
    Column("label", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

login_failures = Table(
    "login_failures",
    metadata,
    Column("id", BigId, primary_key=True),
    Column("name", String(80), nullable=False),
    Column("address", String(80), nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
)

meta = Table("meta", metadata, Column("key", String(40), primary_key=True), Column("value", Text, nullable=False))

counters = Table(
    "counters", metadata, Column("name", String(40), primary_key=True), Column("value", BigInteger, nullable=False)
)

decisions = Table(
    "decisions",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("decision_id", String(32), nullable=False, unique=True),
    Column("client_key", String(64), nullable=False, unique=True),  # one per form: sending it twice stores it once
    Column("run_id", String(80), nullable=False),
    Column("post_id", BigInteger, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("candidate_id", String(80)),
    Column("other_id", String(80)),
    Column("text", Text),
    Column("text_sha256", String(64)),
    Column("other_sha256", String(64)),
    Column("reasons", Text, nullable=False, default="[]"),  # JSON list
    Column("comment", Text, nullable=False, default=""),
    Column("blind", Boolean, nullable=False, default=False),
    Column("based_on", BigInteger, nullable=False, default=0),  # newest seq of this post the analyst had seen
    Column("undoes", String(32)),
    Column("assessment", Text),  # JSON of the live checks and jury, for edits
    Column("analyst", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("decisions_of_post", "run_id", "post_id", "seq"),
    Index("decisions_by_post", "post_id", "seq"),
    Index("decisions_of_run", "run_id", "seq"),
    Index("decisions_of_analyst", "analyst", "seq"),
)

drafts = Table(
    "drafts",
    metadata,
    Column("analyst", String(80), primary_key=True),
    Column("run_id", String(80), primary_key=True),
    Column("post_id", BigInteger, primary_key=True, autoincrement=False),
    Column("candidate_id", String(80), nullable=False),
    Column("text", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

skips = Table(
    "skips",
    metadata,
    Column("analyst", String(80), primary_key=True),
    Column("run_id", String(80), primary_key=True),
    Column("post_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
)


assignments = Table(
    "assignments",
    metadata,
    Column("run_id", String(80), primary_key=True),
    Column("post_id", BigInteger, primary_key=True, autoincrement=False),
    Column("analyst", String(80), primary_key=True),
    Column("by", String(80), nullable=False),
    Column("at", BigInteger, nullable=False),
)

views = Table(
    "views",
    metadata,
    Column("owner", String(80), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("query", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)

run_names = Table(
    "run_names",
    metadata,
    Column("run_id", String(80), primary_key=True),
    Column("name", String(120), nullable=False),
)


def _configure_sqlite(connection, _record) -> None:
    """WAL lets readers read while one writes; a writer waits up to twenty seconds instead of failing."""
    connection.isolation_level = None  # SQLAlchemy's begin event below says BEGIN, not the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=20000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a decision that was confirmed survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def make_engine(url: str) -> Engine:
    """An engine for the store. Raises `InputError` for an unknown or unreachable address; a password is never shown."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "postgresql" and parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() == "sqlite":
            if parsed.database and parsed.database != ":memory:":
                file = Path(parsed.database)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch(mode=0o600)  # people's decisions and hashes of passwords: nobody else's business
            engine = sa.create_engine(parsed, connect_args={"check_same_thread": False}, pool_size=16, max_overflow=32)
            sa.event.listen(engine, "connect", _configure_sqlite)
            # A deferred BEGIN for readers; `writing` starts its own immediate transaction.
            sa.event.listen(engine, "begin", _begin_sqlite)
        elif parsed.get_backend_name() == "postgresql":
            engine = sa.create_engine(parsed, pool_pre_ping=True, pool_size=8, max_overflow=16)
        else:
            raise InputError(
                f"The database {parsed.render_as_string(hide_password=True)!r} is of a kind the inspector does not use. "
                "Give a sqlite:/// or postgresql:// URL."
            )
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        raise InputError(
            "The inspector's database URL cannot be used "
            f"({type(error).__name__}). Give sqlite:///path/to/file or postgresql://user@host/name (install supernotes[postgres])."
        ) from error
    return engine


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One short write transaction. SQLite takes its write lock at the start, so no upgrade can fail halfway."""
    with engine.connect().execution_options(immediate=True) as connection, connection.begin():
        yield connection


def next_number(connection: Connection, name: str) -> int:
    """The next value of a counter. The row stays locked until commit: later numbers are committed later (PostgreSQL too)."""
    statement = counters.update().where(counters.c.name == name).values(value=counters.c.value + 1)
    return int(connection.execute(statement.returning(counters.c.value)).scalar_one())


def store_id(engine: Engine) -> str:
    """A random name of this very store, made once: by it an index knows whose decisions it has seen."""
    query = sa.select(meta.c.value).where(meta.c.key == "store_id")
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found is not None:
        return found
    with writing(engine) as connection:
        found = connection.execute(query).scalar()
        if found is None:
            found = secrets.token_hex(8)
            connection.execute(meta.insert().values(key="store_id", value=found))
        return found


_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS decisions_no_{verb.lower()} BEFORE {verb} ON decisions "
        "BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION decisions_append_only() RETURNS trigger AS $$ "
        "BEGIN RAISE EXCEPTION 'decisions are append-only'; END $$ LANGUAGE plpgsql",
        "CREATE OR REPLACE TRIGGER decisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions "
        "FOR EACH STATEMENT EXECUTE FUNCTION decisions_append_only()",
    ],
}
"""History can be added to, never changed: the database itself refuses."""

_migrating = threading.Lock()


def migrate(url: str) -> None:
    """Give a store the tables, indexes and triggers it lacks; safe to call from several processes at once.

    The schema has only ever grown, by whole tables and indexes. A column more would be added here to stores without it.
    """
    engine = make_engine(url)
    try:
        with _migrating, writing(engine) as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(727274601)"))
            metadata.create_all(connection)
            for table in metadata.tables.values():
                for index in table.indexes:
                    index.create(connection, checkfirst=True)
            if connection.execute(sa.select(counters.c.value)).first() is None:
                connection.execute(counters.insert().values(name="decisions", value=0))
            for statement in _APPEND_ONLY[engine.dialect.name]:
                connection.exec_driver_sql(statement)
    except sa.exc.OperationalError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise InputError(
            f"The inspector's database {shown!r} cannot be opened: {str(error.orig).strip().splitlines()[0]}. "
            "Start the server or give another --database URL."
        ) from error
    finally:
        engine.dispose()


@functools.lru_cache(maxsize=32)
def open_database(url: str) -> Engine:
    """The store at `url`, up to date. One engine per URL and process."""
    migrate(url)
    return make_engine(url)
