"""What the overview counts of hosts is read from an index alone, not from all that is known of each."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("host_counted", "host", ["withdrawn", "group", "away_since", "clone_since", "open_holes"])
