"""Add the journal's open entry, which covers notices, read positions, ancestry and live looks.

:func:`fimscan.store.journal.adopt_rows` takes in the existing rows, in the same transaction.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "journal_open",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("made_ns", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.Column("scan_entry", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_journal_open_host_id")),
        sa.PrimaryKeyConstraint("host_id", name=op.f("pk_journal_open")),
    )
