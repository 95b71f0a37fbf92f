"""The tables. Portable between SQLite and PostgreSQL; read by Alembic's env.py.

Every record belongs to a ``host``. A file's state is one row per *version*, valid for the scans ``first_scan`` <= s <
``end_scan`` (open while ``end_scan`` is null), so that a rescan of unchanged files adds no rows.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    select,
)
from sqlalchemy.types import TypeDecorator

SCHEMA_REVISION = "0010"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives rowid numbers only to columns of the exact type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


def signed(value: int | None) -> int | None:
    """An unsigned number of 64 bits as SQL's BIGINT holds it: the upper half is negative."""
    return value - (1 << 64) if value is not None and value >= 1 << 63 else value


def unsigned(value: int | None) -> int | None:
    """The inverse of :func:`signed`."""
    return value + (1 << 64) if value is not None and value < 0 else value


class Unsigned64(TypeDecorator[int]):
    """Inode and device numbers use all 64 bits; SQL's BIGINT is :func:`signed`."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, _dialect: Dialect) -> int | None:
        """Python -> database."""
        return signed(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> int | None:
        """Database -> Python."""
        return unsigned(value)


host = Table(
    "host",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

configuration = Table(
    "configuration",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("text", Text, nullable=False),
)

scan = Table(
    "scan",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("trigger", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("finished_ns", BigInteger),
    Column("counts", Text, nullable=False, default="{}"),
    Column("config_digest", ForeignKey("configuration.digest"), nullable=False),
    Column("state_digest", String(64), nullable=False, default=""),
    Column("previous", String(64), nullable=False, default=""),
    Column("entry", String(64), nullable=False, default=""),
    Column("problems", Text, nullable=False, default="[]"),
    # Whether what it found was written to where somebody reads it.
    Column("reported", Boolean, nullable=False, default=False),
    Column("read_clock", LargeBinary, nullable=False, default=b""),
    # The journal's head when it was finished; empty for scans that were made before there was a journal.
    Column("journal", String(64), nullable=False, default="", server_default=""),
    sqlite_autoincrement=True,  # the number of an interrupted scan is never used again
)

file_version = Table(
    "file_version",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("first_scan", ForeignKey("scan.id"), nullable=False),
    Column("end_scan", ForeignKey("scan.id")),
    # The first version of a path that came into view by a new configuration, not by being created.
    Column("adopted", Boolean, nullable=False, default=False),
    # Ended because the configuration no longer includes the path, not because the file is gone.
    Column("dropped", Boolean, nullable=False, default=False),
    # Of logs that are only appended to: it began as the policy expects (grown, rotated); it ended so (rotated away).
    Column("followed", Boolean, nullable=False, default=False, server_default=false()),
    Column("retired", Boolean, nullable=False, default=False, server_default=false()),
    Column("kind", String(16), nullable=False),
    Column("dev", Unsigned64, nullable=False),
    Column("inode", Unsigned64, nullable=False),
    Column("nlink", BigInteger, nullable=False),
    Column("mode", SmallInteger, nullable=False),
    Column("uid", BigInteger, nullable=False),
    Column("gid", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    # Seconds and nanoseconds apart: anybody may set a file's time past 2262, where 64 bits of nanoseconds end.
    Column("mtime_s", BigInteger, nullable=False),
    Column("mtime_nsec", Integer, nullable=False),
    Column("ctime_s", BigInteger, nullable=False),
    Column("ctime_nsec", Integer, nullable=False),
    Column("xxh3_128", LargeBinary),
    Column("sha256", LargeBinary),
    Column("sha512", LargeBinary),
    Column("blake3", LargeBinary),
    Column("link_target", LargeBinary),
    Column("xattr_digest", LargeBinary),
    # Null with a digest: nothing but that was recorded.
    Column("xattrs", LargeBinary),
    Column("flags", Integer),
    Column("read_start_ns", BigInteger, nullable=False),
    Column("read_end_ns", BigInteger, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    UniqueConstraint("host_id", "path", "first_scan"),
    # Led by the host: without it, SQLite rather takes the key above, and looks at every version that the host ever had.
    Index("ix_file_version_began", "host_id", "first_scan"),
    Index("ix_file_version_dev_inode", "dev", "inode"),
)
# Nearly all versions are open: what ended is a small index, into which no new version has to go. This one and the next
# are partial on PostgreSQL, too: there the migrations alone say so, for to say it here would load that dialect for
# users of SQLite.
Index(
    "ix_file_version_ended",
    file_version.c.host_id,
    file_version.c.end_scan,
    sqlite_where=file_version.c.end_scan.is_not(None),
)
# The present state in order of path, which every scan is compared with; it does not grow with history.
Index(
    "ix_file_version_open",
    file_version.c.host_id,
    file_version.c.path,
    sqlite_where=file_version.c.end_scan.is_(None),
)

# The file systems that a scan met (fimscan.store.devices), where that is not what the scan before it met.
devices = Table(
    "devices",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("scan_id", ForeignKey("scan.id"), primary_key=True),
    Column("detail", Text, nullable=False),
)

unreadable = Table(
    "unreadable",
    metadata,
    Column("scan_id", ForeignKey("scan.id"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("reason", String(16), nullable=False),
    Column("detail", Text, nullable=False),
)

change = Table(
    "change",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("scan_id", ForeignKey("scan.id"), nullable=False, index=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("path", LargeBinary, nullable=False, index=True),
    Column("moved_from", LargeBinary, index=True),
    Column("before_version", ForeignKey("file_version.id")),
    Column("after_version", ForeignKey("file_version.id")),
    Column("changed", Text, nullable=False),
    Column("after_ns", BigInteger, nullable=False),
    Column("before_ns", BigInteger, nullable=False, index=True),
    Column("verdict", String(16), nullable=False),
    Column("attribution", Text, nullable=False),
    # Who held the file open when the window began; null where nobody looked.
    Column("holders", Text),
    # What was done to a log that is only to be appended to.
    Column("breach", String(16)),
    sqlite_autoincrement=True,  # a change's number stands in evidence: never used again
)

# The records of some hundred events, compressed together: see fimscan.store.accesses for the form.
audit_block = Table(
    "audit_block",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("data", LargeBinary, nullable=False),
)

# What an access is found by; all else is read from its records, at ``position`` in their block. A name is the path
# where that is sure, else what the record said.
access = Table(
    "access",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    # The key: the same log read twice adds nothing.
    Column("time_ns", BigInteger, primary_key=True),
    Column("serial", BigInteger, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("item", SmallInteger, primary_key=True),
    Column("action", String(16), nullable=False),
    Column("dev", Unsigned64),
    Column("inode", Unsigned64),
    Column("parent_dev", Unsigned64),
    Column("parent_inode", Unsigned64),
    Column("name", LargeBinary),
    Column("old_parent_dev", Unsigned64),
    Column("old_parent_inode", Unsigned64),
    Column("old_name", LargeBinary),
    Column("replaced_dev", Unsigned64),
    Column("replaced_inode", Unsigned64),
    Column("block_id", ForeignKey("audit_block.id"), nullable=False),
    Column("position", Integer, nullable=False),
    sqlite_with_rowid=False,
)

notice = Table(
    "notice",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("time_ns", BigInteger, primary_key=True),
    Column("serial", BigInteger, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("key", Text),
    Column("actor", Text),
)

damaged_line = Table(
    "damaged_line",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("source", LargeBinary, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("line_digest", LargeBinary, nullable=False),
    Column("line", LargeBinary, nullable=False),
    Column("problem", Text, nullable=False),
    UniqueConstraint("host_id", "offset", "line_digest"),
)

audit_cursor = Table(
    "audit_cursor",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("dev", Unsigned64, nullable=False),
    Column("inode", Unsigned64, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    # Records since then came after the scans whose changes they may explain; null when all were answered anew.
    Column("late_ns", BigInteger),
)

audit_extent = Table(
    "audit_extent",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
)

observation = Table(
    "observation",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("time_ns", BigInteger, primary_key=True),
    Column("detail", Text, nullable=False),
)

holder = Table(
    "holder",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("scan_id", ForeignKey("scan.id"), nullable=False, index=True),
    Column("dev", Unsigned64, nullable=False),
    Column("inode", Unsigned64, nullable=False),
    Column("actor", Text, nullable=False),
)

# When a single file was last read between two scans, and who held it open then: the next window begins there.
recheck = Table(
    "recheck",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("read_start_ns", BigInteger, nullable=False),
    Column("holders", Text, nullable=False),
)

unmodified_open = Table(
    "unmodified_open",
    metadata,
    Column("scan_id", ForeignKey("scan.id"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("actors", Text, nullable=False),
)

# What is accepted: everything as of a scan (path null), or one path's state as of a scan. The latest one counts.
acceptance = Table(
    "acceptance",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("path", LargeBinary, index=True),
    Column("scan_id", ForeignKey("scan.id"), nullable=False),
    Column("version_id", ForeignKey("file_version.id")),
    Column("accepted_ns", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_autoincrement=True,
)

# Which program a process was at a time (an actor as JSON), for those that did something and those that started them.
process = Table(
    "process",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("pid", BigInteger, primary_key=True),
    Column("time_ns", BigInteger, primary_key=True),
    Column("actor", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What fanotify told of the files in monitored directories: who did something to which, between two times. ``actor`` is
# JSON, with the process id alone where the process had ended.
witness_event = Table(
    "witness_event",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("dev", Unsigned64, nullable=False),
    Column("inode", Unsigned64, nullable=False),
    Column("handle", LargeBinary, nullable=False),
    Column("mask", Integer, nullable=False),
    Column("since_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("name", LargeBinary, nullable=False),
    Column("actor", Text, nullable=False),
    Column("started_ns", BigInteger),
    Column("ancestors", Text, nullable=False),
    Index("ix_witness_event_file", "host_id", "dev", "inode", "until_ns"),
)

# The time over which nothing of that was missed, on one file system.
witness_extent = Table(
    "witness_extent",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("dev", Unsigned64, primary_key=True),
    Column("start_ns", BigInteger, primary_key=True),
    Column("end_ns", BigInteger, nullable=False),
    # Ways to write that are not seen, separated by spaces; why it ended.
    Column("holes", Text, nullable=False),
    Column("ended", Text, nullable=False),
)

# A login (number: the session that it began), a crash or a look at /proc (number: the pid): see store.process_facts.
process_fact = Table(
    "process_fact",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("time_ns", BigInteger, primary_key=True),
    Column("serial", BigInteger, primary_key=True),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What was written when, as digests of rows: see fimscan.store.journal for the form.
journal = Table(
    "journal",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("cause", String(16), nullable=False),
    Column("items", LargeBinary, nullable=False),
    Column("scan_entry", String(64), nullable=False),
    Column("previous", String(64), nullable=False),
    Column("entry", String(64), nullable=False),
    sqlite_autoincrement=True,
)

# The entry that is written anew until a scan closes it: see fimscan.store.journal.
journal_open = Table(
    "journal_open",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("made_ns", BigInteger, nullable=False),
    Column("items", LargeBinary, nullable=False),
    Column("scan_entry", String(64), nullable=False),
    Column("entry", String(64), nullable=False),
)

# --------------------------------------------------------------------------------------------------------------------
# A new database

# Alembic's own table, as it makes it (MigrationContext in alembic/runtime/migration.py); it is none of our metadata.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
_version.append_constraint(PrimaryKeyConstraint(_version.c.version_num, name="alembic_version_pkc"))


def create(connection: Connection) -> None:
    """Make all tables in SQLite as the migrations would, without Alembic; what another process made meanwhile stays."""
    metadata.create_all(connection)
    _version.create(connection, checkfirst=True)
    if connection.scalar(select(_version.c.version_num)) is None:
        connection.execute(_version.insert().values(version_num=SCHEMA_REVISION))
