"""What evidence shows of changes and failures has digests of its own; looks at the clock; what messages are about.

:func:`fimscan.store.journal.adopt_shown` takes in the existing rows, in the same transaction.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("outbox", sa.Column("changes", sa.Text()))
    op.create_table(
        "clock_look",
        sa.Column("scan_id", _ID, nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_clock_look_scan_id")),
        sa.PrimaryKeyConstraint("scan_id", name=op.f("pk_clock_look")),
    )
