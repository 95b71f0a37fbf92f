"""Store which processes ran a changed program, library or unit when a scan found the change."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "in_effect",
        sa.Column("scan_id", _ID, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_in_effect_scan_id")),
        sa.PrimaryKeyConstraint("scan_id", "path", name=op.f("pk_in_effect")),
    )
