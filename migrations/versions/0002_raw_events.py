"""Store the audit records themselves, compressed, instead of fields parsed from them; store holders of files.

Stored accesses have no records, so they are deleted, together with the read positions: the logs are read again from
their beginning. Existing answers stay as they are.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.drop_table("access")
    for table in ("audit_cursor", "audit_extent"):
        op.execute(sa.text(f"DELETE FROM {table}"))  # noqa: S608  # the two names above
    op.create_table(
        "audit_block",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_audit_block_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_block")),
    )
    op.create_table(
        "access",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item", sa.SmallInteger(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=True),
        sa.Column("inode", sa.BigInteger(), nullable=True),
        sa.Column("parent_dev", sa.BigInteger(), nullable=True),
        sa.Column("parent_inode", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.LargeBinary(), nullable=True),
        sa.Column("old_parent_dev", sa.BigInteger(), nullable=True),
        sa.Column("old_parent_inode", sa.BigInteger(), nullable=True),
        sa.Column("old_name", sa.LargeBinary(), nullable=True),
        sa.Column("replaced_dev", sa.BigInteger(), nullable=True),
        sa.Column("replaced_inode", sa.BigInteger(), nullable=True),
        sa.Column("block_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_access_host_id")),
        sa.ForeignKeyConstraint(["block_id"], ["audit_block.id"], name=op.f("fk_access_block_id")),
        sa.PrimaryKeyConstraint("host_id", "time_ns", "serial", "node", "item", name=op.f("pk_access")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "recheck",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("read_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("holders", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_recheck_host_id")),
        sa.PrimaryKeyConstraint("host_id", "path", name=op.f("pk_recheck")),
    )
    op.add_column("change", sa.Column("holders", sa.Text()))
    op.create_table(
        "process",
        sa.Column("host_id", _ID, nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_process_host_id")),
        sa.PrimaryKeyConstraint("host_id", "pid", "time_ns", name=op.f("pk_process")),
        sqlite_with_rowid=False,
    )
