"""Store the file systems of each scan with their device numbers, which a boot or a remount can change."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "devices",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("scan_id", _ID, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_devices_host_id")),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_devices_scan_id")),
        sa.PrimaryKeyConstraint("host_id", "scan_id", name=op.f("pk_devices")),
    )
