"""Checkpoints: entries in the ledger that seal what was pruned."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scan", sa.Column("checkpoint", sa.Text()))
