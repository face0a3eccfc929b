"""A hole's hosts are read in the order in which they came to it; hosts whose key counts no more are found at once."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("span_of_hole", "span")
    op.create_index("span_of_hole", "span", ["cve", "until", "since", "state"])
    op.create_index(op.f("ix_host_withdrawn"), "host", ["withdrawn"])
