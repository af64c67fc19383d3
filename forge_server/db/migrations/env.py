"""Runs migrations on what `migrate` hands over: a connection, and the tables as they should be."""

from __future__ import annotations

from alembic import context

_attributes = context.config.attributes
context.configure(
    connection=_attributes["connection"],
    target_metadata=_attributes["target_metadata"],
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
