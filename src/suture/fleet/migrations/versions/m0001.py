"""The first schema."""

import sqlalchemy as sa
from alembic import op

import suture.fleet.table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("password", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("created", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("locked_until", suture.fleet.table.UtcMoment(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("expires", suture.fleet.table.UtcMoment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("who", sa.String(length=80), nullable=False),
        sa.Column("what", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_what"), ["what"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_who"), ["who"], unique=False)

    op.create_table(
        "data_source",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("read", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "enrolment_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=255), nullable=False),
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("created", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("expires", suture.fleet.table.UtcMoment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "exemption",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("cve", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("control", sa.Text(), nullable=False),
        sa.Column("created", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("expires", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("approved_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("exemption", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exemption_cve"), ["cve"], unique=False)

    op.create_table(
        "hole",
        sa.Column("cve", sa.String(length=32), nullable=False),
        sa.Column("first_seen", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("disclosed", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("fixed", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("in_kev", sa.Boolean(), nullable=True),
        sa.Column("kev_added", sa.Date(), nullable=True),
        sa.Column("kev_due", sa.Date(), nullable=True),
        sa.Column("exploited", sa.Boolean(), nullable=True),
        sa.Column("automatable", sa.Boolean(), nullable=True),
        sa.Column("impact", sa.String(length=16), nullable=True),
        sa.Column("cvss", sa.Double(), nullable=True),
        sa.Column("severity", sa.String(length=16), nullable=True),
        sa.Column("agency_impact", sa.Integer(), nullable=True),
        sa.Column("epss", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("cve"),
    )
    with op.batch_alter_table("hole", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_hole_in_kev"), ["in_kev"], unique=False)

    op.create_table(
        "host",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("exposed", sa.Boolean(), nullable=True),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("machine", sa.String(length=64), nullable=False),
        sa.Column("boot_id", sa.String(length=64), nullable=False),
        sa.Column("old_boots", sa.JSON(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("kernel", sa.String(length=255), nullable=False),
        sa.Column("enrolled", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("last_seen", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state_time", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("away_since", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("clone_since", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("withdrawn", suture.fleet.table.UtcMoment(), nullable=True),
        sa.Column("open_holes", sa.Integer(), nullable=False),
        sa.Column("problems", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("host", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_host_away_since"), ["away_since"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_group"), ["group"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_last_seen"), ["last_seen"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_machine"), ["machine"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_host_open_holes"), ["open_holes"], unique=False)

    op.create_table(
        "patch",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("offer", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("first_seen", suture.fleet.table.UtcMoment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "setting",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "host_patch",
        sa.Column("host", sa.String(length=32), nullable=False),
        sa.Column("patch", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["patch"],
            ["patch.id"],
        ),
        sa.PrimaryKeyConstraint("host", "patch"),
    )
    with op.batch_alter_table("host_patch", schema=None) as batch_op:
        batch_op.create_index("host_patch_of_patch", ["patch", "state"], unique=False)

    op.create_table(
        "host_state",
        sa.Column("host", sa.String(length=32), nullable=False),
        sa.Column("agent", sa.JSON(), nullable=False),
        sa.Column("scan", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["host"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host"),
    )
    op.create_table(
        "login",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("account", sa.Integer(), nullable=False),
        sa.Column("created", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("used", suture.fleet.table.UtcMoment(), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["account.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "rollout",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("patch", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_since", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("approved", sa.JSON(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("ended", suture.fleet.table.UtcMoment(), nullable=True),
        sa.ForeignKeyConstraint(
            ["patch"],
            ["patch.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("rollout", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_status"), ["status"], unique=False)

    op.create_table(
        "span",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=32), nullable=False),
        sa.Column("cve", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=True),
        sa.Column("seen", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("since", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("until", suture.fleet.table.UtcMoment(), nullable=True),
        sa.ForeignKeyConstraint(
            ["cve"],
            ["hole.cve"],
        ),
        sa.ForeignKeyConstraint(["host"], ["host.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("span", schema=None) as batch_op:
        batch_op.create_index("span_of_hole", ["cve", "until", "state"], unique=False)
        batch_op.create_index("span_of_host", ["host", "until", "cve"], unique=False)

    op.create_table(
        "tally",
        sa.Column("cve", sa.String(length=32), nullable=False),
        sa.Column("group", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("hosts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cve"],
            ["hole.cve"],
        ),
        sa.PrimaryKeyConstraint("cve", "group", "state"),
    )
    op.create_table(
        "rollout_event",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("time", suture.fleet.table.UtcMoment(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("rollout_event", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rollout_event_rollout"), ["rollout"], unique=False)

    op.create_table(
        "rollout_host",
        sa.Column("rollout", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", suture.fleet.table.UtcMoment(), nullable=False),
        sa.ForeignKeyConstraint(["host"], ["host.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["rollout"], ["rollout.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rollout", "host"),
    )
    with op.batch_alter_table("rollout_host", schema=None) as batch_op:
        batch_op.create_index("rollout_host_of_host", ["host", "state"], unique=False)
