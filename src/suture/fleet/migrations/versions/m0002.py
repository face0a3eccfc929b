"""What was too small for PostgreSQL, and is nothing to SQLite, which has one kind of number and of text: a check-in's
number is a moment in milliseconds, and a rollout may wait for approval."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("host", "sequence", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
        op.alter_column("rollout", "status", type_=sa.String(32), existing_type=sa.String(16), existing_nullable=False)
