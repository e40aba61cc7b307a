"""Alembic's entry: runs the chain on the connection it is handed (``shared.db.migrate``)."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
