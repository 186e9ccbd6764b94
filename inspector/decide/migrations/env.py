"""Alembic's entry: runs on the connection that `inspector.decide.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from inspector.decide.database import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
