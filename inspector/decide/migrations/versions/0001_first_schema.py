"""First schema: users, sessions, tokens, decisions that can only be added to, drafts and skips.

Spelled out rather than derived from the current tables, so that it still makes the same schema after they have changed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("password_hash", sa.Text),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("origin", sa.String(10), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(64), primary_key=True),
        sa.Column("user_id", BigId, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("token_sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("user_id", BigId, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("label", sa.String(80), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "login_failures",
        sa.Column("id", BigId, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("address", sa.String(80), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "meta", sa.Column("key", sa.String(40), primary_key=True), sa.Column("value", sa.Text, nullable=False)
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "decisions", "value": 0}])
    op.create_table(
        "decisions",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("decision_id", sa.String(32), nullable=False, unique=True),
        sa.Column("client_key", sa.String(64), nullable=False, unique=True),
        sa.Column("run_id", sa.String(80), nullable=False),
        sa.Column("post_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("candidate_id", sa.String(80)),
        sa.Column("other_id", sa.String(80)),
        sa.Column("text", sa.Text),
        sa.Column("text_sha256", sa.String(64)),
        sa.Column("other_sha256", sa.String(64)),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("based_on", sa.BigInteger, nullable=False),
        sa.Column("undoes", sa.String(32)),
        sa.Column("assessment", sa.Text),
        sa.Column("analyst", sa.String(80), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("decisions_of_post", "decisions", ["run_id", "post_id", "seq"])
    op.create_index("decisions_of_run", "decisions", ["run_id", "seq"])
    op.create_index("decisions_of_analyst", "decisions", ["analyst", "seq"])
    for name in ("drafts", "skips"):
        more = (
            [
                sa.Column("candidate_id", sa.String(80), nullable=False),
                sa.Column("text", sa.Text, nullable=False),
                sa.Column("updated_at", sa.BigInteger, nullable=False),
            ]
            if name == "drafts"
            else [sa.Column("at", sa.BigInteger, nullable=False)]
        )
        op.create_table(
            name,
            sa.Column("analyst", sa.String(80), primary_key=True),
            sa.Column("run_id", sa.String(80), primary_key=True),
            sa.Column("post_id", sa.BigInteger, primary_key=True, autoincrement=False),
            *more,
        )
    # History can be added to, never changed: the database itself refuses.
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER decisions_no_{verb.lower()} BEFORE {verb} ON decisions "
                "BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END"
            )
    else:
        op.execute(
            "CREATE FUNCTION decisions_append_only() RETURNS trigger AS $$ "
            "BEGIN RAISE EXCEPTION 'decisions are append-only'; END $$ LANGUAGE plpgsql"
        )
        op.execute(
            "CREATE TRIGGER decisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON decisions "
            "FOR EACH STATEMENT EXECUTE FUNCTION decisions_append_only()"
        )


def downgrade() -> None:
    for name in (
        "skips",
        "drafts",
        "decisions",
        "counters",
        "meta",
        "login_failures",
        "api_tokens",
        "sessions",
        "users",
    ):
        op.drop_table(name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION decisions_append_only()")
