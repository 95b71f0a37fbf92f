"""Store when each block of audit records was read, and the time of its earliest event."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("audit_block", sa.Column("first_ns", sa.BigInteger()))
    op.add_column("audit_block", sa.Column("stored_ns", sa.BigInteger()))
    op.create_index("ix_audit_block_stored", "audit_block", ["host_id", "stored_ns"])
