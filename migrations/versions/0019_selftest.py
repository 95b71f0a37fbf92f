"""Store selftests with the result of each step."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "selftest",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("finished_ns", sa.BigInteger(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("path", sa.LargeBinary()),
        sa.Column("pid", sa.BigInteger()),
        sa.Column("exe", sa.LargeBinary()),
        sa.Column("scan", sa.BigInteger()),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_selftest_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selftest")),
        sqlite_autoincrement=True,
    )
