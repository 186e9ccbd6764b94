"""Decisions are looked up by post, whichever run they were made in; assignments and saved views of the queue."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("decisions_by_post", "decisions", ["post_id", "seq"])
    op.create_table(
        "assignments",
        sa.Column("run_id", sa.String(80), primary_key=True),
        sa.Column("post_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("analyst", sa.String(80), primary_key=True),
        sa.Column("by", sa.String(80), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "views",
        sa.Column("owner", sa.String(80), primary_key=True),
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "run_names",
        sa.Column("run_id", sa.String(80), primary_key=True),
        sa.Column("name", sa.String(120), nullable=False),
    )


def downgrade() -> None:
    op.drop_index("decisions_by_post", "decisions")
    for table in ("assignments", "views", "run_names"):
        op.drop_table(table)
