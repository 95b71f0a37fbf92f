"""Checkpoints: entries in the ledger that seal what was pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scan", sa.Column("checkpoint", sa.Text()))
    is_one = sa.text("checkpoint IS NOT NULL")
    op.create_index("ix_scan_checkpoint", "scan", ["host_id", "id"], sqlite_where=is_one, postgresql_where=is_one)
