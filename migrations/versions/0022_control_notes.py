"""Store what people did about failures of controls."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "control_note",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("failure_id", _ID, nullable=False),
        sa.Column("noted_ns", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("remediation", sa.Text(), nullable=False),
        sa.Column("root_cause", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["failure_id"], ["control_failure.id"], name=op.f("fk_control_note_failure_id")),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_control_note_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control_note")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_control_note_failure_id", "control_note", ["failure_id"])
