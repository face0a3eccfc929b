"""Alembic's entry: it brings the database of `suture.fleet.database.upgrade` up to date."""

from alembic import context

from suture.fleet.table import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
