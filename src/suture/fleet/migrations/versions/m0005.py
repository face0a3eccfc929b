"""What Debian's tracker says of a hole, and that CISA has taken an entry back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hole", sa.Column("kev_removed", sa.Date(), nullable=True))
    op.add_column("hole", sa.Column("debian", sa.JSON(), nullable=True))
