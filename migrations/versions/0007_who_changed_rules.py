"""A notice of a rule that was removed says who removed it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("notice", sa.Column("actor", sa.Text()))
