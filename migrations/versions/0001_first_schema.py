"""Create the first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "configuration",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_configuration")),
    )
    op.create_table(
        "host",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_host")),
        sa.UniqueConstraint("name", name=op.f("uq_host_name")),
    )
    op.create_table(
        "access",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("item", sa.SmallInteger(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=True),
        sa.Column("inode", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.LargeBinary(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_access_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access")),
        sa.UniqueConstraint(
            "host_id", "time_ns", "serial", "node", "item", name=op.f("uq_access_host_id_time_ns_serial_node_item")
        ),
    )
    op.create_table(
        "audit_cursor",
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("late_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_audit_cursor_host_id")),
        sa.PrimaryKeyConstraint("host_id", "path", name=op.f("pk_audit_cursor")),
    )
    op.create_table(
        "audit_extent",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_audit_extent_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_extent")),
    )
    op.create_table(
        "damaged_line",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("line_digest", sa.LargeBinary(), nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_damaged_line_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_damaged_line")),
        sa.UniqueConstraint(
            "host_id", "offset", "line_digest", name=op.f("uq_damaged_line_host_id_offset_line_digest")
        ),
    )
    op.create_table(
        "notice",
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("serial", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_notice_host_id")),
        sa.PrimaryKeyConstraint("host_id", "time_ns", "serial", "node", "kind", name=op.f("pk_notice")),
    )
    op.create_table(
        "observation",
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_observation_host_id")),
        sa.PrimaryKeyConstraint("host_id", "time_ns", name=op.f("pk_observation")),
    )
    op.create_table(
        "scan",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("started_ns", sa.BigInteger(), nullable=False),
        sa.Column("finished_ns", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.Text(), nullable=False),
        sa.Column("config_digest", sa.String(length=64), nullable=False),
        sa.Column("state_digest", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("entry", sa.String(length=64), nullable=False),
        sa.Column("problems", sa.Text(), nullable=False),
        sa.Column("reported", sa.Boolean(), nullable=False),
        sa.Column("read_clock", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["config_digest"], ["configuration.digest"], name=op.f("fk_scan_config_digest")),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_scan_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scan")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "file_version",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("first_scan", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("end_scan", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("adopted", sa.Boolean(), nullable=False),
        sa.Column("dropped", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("nlink", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.SmallInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("gid", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_s", sa.BigInteger(), nullable=False),
        sa.Column("mtime_nsec", sa.Integer(), nullable=False),
        sa.Column("ctime_s", sa.BigInteger(), nullable=False),
        sa.Column("ctime_nsec", sa.Integer(), nullable=False),
        sa.Column("xxh3_128", sa.LargeBinary(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("sha512", sa.LargeBinary(), nullable=True),
        sa.Column("blake3", sa.LargeBinary(), nullable=True),
        sa.Column("link_target", sa.LargeBinary(), nullable=True),
        sa.Column("xattr_digest", sa.LargeBinary(), nullable=True),
        sa.Column("read_start_ns", sa.BigInteger(), nullable=False),
        sa.Column("read_end_ns", sa.BigInteger(), nullable=False),
        sa.Column("state_digest", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["end_scan"], ["scan.id"], name=op.f("fk_file_version_end_scan")),
        sa.ForeignKeyConstraint(["first_scan"], ["scan.id"], name=op.f("fk_file_version_first_scan")),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_file_version_host_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_file_version")),
        sa.UniqueConstraint("host_id", "path", "first_scan", name=op.f("uq_file_version_host_id_path_first_scan")),
    )
    with op.batch_alter_table("file_version", schema=None) as batch_op:
        batch_op.create_index("ix_file_version_dev_inode", ["dev", "inode"], unique=False)
        batch_op.create_index("ix_file_version_end_scan", ["end_scan"], unique=False)
        batch_op.create_index("ix_file_version_first_scan", ["first_scan"], unique=False)
        batch_op.create_index(
            "ix_file_version_open",
            ["host_id", "path"],
            unique=False,
            sqlite_where=sa.text("end_scan IS NULL"),
            postgresql_where=sa.text("end_scan IS NULL"),
        )

    op.create_table(
        "holder",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("scan_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("dev", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_holder_scan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holder")),
    )
    with op.batch_alter_table("holder", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_holder_scan_id"), ["scan_id"], unique=False)

    op.create_table(
        "unmodified_open",
        sa.Column("scan_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("actors", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_unmodified_open_scan_id")),
        sa.PrimaryKeyConstraint("scan_id", "path", name=op.f("pk_unmodified_open")),
    )
    op.create_table(
        "unreadable",
        sa.Column("scan_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_unreadable_scan_id")),
        sa.PrimaryKeyConstraint("scan_id", "path", name=op.f("pk_unreadable")),
    )
    op.create_table(
        "acceptance",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=True),
        sa.Column("scan_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("accepted_ns", sa.BigInteger(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_acceptance_host_id")),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_acceptance_scan_id")),
        sa.ForeignKeyConstraint(["version_id"], ["file_version.id"], name=op.f("fk_acceptance_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acceptance")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("acceptance", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_acceptance_path"), ["path"], unique=False)

    op.create_table(
        "change",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("scan_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("host_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("path", sa.LargeBinary(), nullable=False),
        sa.Column("moved_from", sa.LargeBinary(), nullable=True),
        sa.Column("before_version", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("after_version", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("changed", sa.Text(), nullable=False),
        sa.Column("after_ns", sa.BigInteger(), nullable=False),
        sa.Column("before_ns", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("attribution", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["after_version"], ["file_version.id"], name=op.f("fk_change_after_version")),
        sa.ForeignKeyConstraint(["before_version"], ["file_version.id"], name=op.f("fk_change_before_version")),
        sa.ForeignKeyConstraint(["host_id"], ["host.id"], name=op.f("fk_change_host_id")),
        sa.ForeignKeyConstraint(["scan_id"], ["scan.id"], name=op.f("fk_change_scan_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_change_before_ns"), ["before_ns"], unique=False)
        batch_op.create_index(batch_op.f("ix_change_moved_from"), ["moved_from"], unique=False)
        batch_op.create_index(batch_op.f("ix_change_path"), ["path"], unique=False)
        batch_op.create_index(batch_op.f("ix_change_scan_id"), ["scan_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("change", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_change_scan_id"))
        batch_op.drop_index(batch_op.f("ix_change_path"))
        batch_op.drop_index(batch_op.f("ix_change_moved_from"))
        batch_op.drop_index(batch_op.f("ix_change_before_ns"))

    op.drop_table("change")
    with op.batch_alter_table("acceptance", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_acceptance_path"))

    op.drop_table("acceptance")
    op.drop_table("unreadable")
    op.drop_table("unmodified_open")
    with op.batch_alter_table("holder", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_holder_scan_id"))

    op.drop_table("holder")
    with op.batch_alter_table("file_version", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_file_version_open",
            sqlite_where=sa.text("end_scan IS NULL"),
            postgresql_where=sa.text("end_scan IS NULL"),
        )
        batch_op.drop_index("ix_file_version_first_scan")
        batch_op.drop_index("ix_file_version_end_scan")
        batch_op.drop_index("ix_file_version_dev_inode")

    op.drop_table("file_version")
    op.drop_table("scan")
    op.drop_table("observation")
    op.drop_table("notice")
    op.drop_table("damaged_line")
    op.drop_table("audit_extent")
    op.drop_table("audit_cursor")
    op.drop_table("access")
    op.drop_table("host")
    op.drop_table("configuration")
