"""Store the second witness: events of fanotify, and extents over which none was missed."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "witness_event",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("handle", sa.LargeBinary(), nullable=False),
        sa.Column("mask", sa.Integer(), nullable=False),
        sa.Column("since_ns", sa.BigInteger(), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("started_ns", sa.BigInteger()),
        sa.Column("ancestors", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_witness_event_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_witness_event")),
    )
    op.create_index("ix_witness_event_file", "witness_event", ["host_id", "dev", "inode", "until_ns"])
    op.create_table(
        "witness_extent",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("holes", sa.Text(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_witness_extent_host_id")),
        sa.PrimaryKeyConstraint("host_id", "dev", "start_ns", name=op.f("pk_witness_extent")),
    )
