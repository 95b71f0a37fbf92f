"""Hosts are known by an id, with names that may change; controls that failed are stored."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("host", sa.Column("identity", sa.String(length=64)))
    op.add_column("host", sa.Column("current_name", sa.Text()))
    op.create_table(
        "host_event",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("before", sa.Text(), nullable=False),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_host_event_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host_event")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "control_failure",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("detected_ns", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text()),
        sa.Column("end_ns", sa.BigInteger()),
        sa.Column("remedy", sa.Text()),
        sa.Column("told", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_control_failure_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_failure")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_control_failure_started", "control_failure", ["host_id", "start_ns"])
