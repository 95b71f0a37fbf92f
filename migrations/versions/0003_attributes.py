"""Store extended attributes, the flags of chattr, and whether append-only logs changed as expected.

Older rows have only a digest over all extended attributes, and null flags. The next scan records the values and reports
no change because of them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("file_version", sa.Column("xattrs", sa.LargeBinary(), nullable=True))
    op.add_column("file_version", sa.Column("flags", sa.Integer(), nullable=True))
    for name in ("followed", "retired"):
        op.add_column("file_version", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("change", sa.Column("breach", sa.String(length=16), nullable=True))
