"""Hosts that wait to be let in."""

import sqlalchemy as sa
from alembic import op

from suture.fleet.table import UtcMoment

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "applicant",
        sa.Column("id", sa.String(length=39), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("machine", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("asked", UtcMoment(), nullable=False),
        sa.Column("last_asked", UtcMoment(), nullable=False),
        sa.Column("declined", UtcMoment(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_applicant_last_asked"), "applicant", ["last_asked"], unique=False)
