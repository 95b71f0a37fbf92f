"""Dispositions: acceptances are those that are approved; others are violations, or take one back."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("acceptance", sa.Column("act", sa.BigInteger()))
    op.add_column("acceptance", sa.Column("status", sa.String(length=16)))
    op.add_column("acceptance", sa.Column("category", sa.String(length=16)))
    op.add_column("acceptance", sa.Column("own", sa.Boolean()))
    op.add_column("acceptance", sa.Column("undoes", sa.BigInteger()))
    op.add_column("acceptance", sa.Column("plan_id", sa.BigInteger()))
