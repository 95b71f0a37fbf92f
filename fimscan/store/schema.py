"""The tables of the database, portable between SQLite and PostgreSQL; Alembic's env.py reads them.

Every record belongs to a ``host``. A file's state is one row per *version*, valid for the scans ``first_scan`` <= s <
``end_scan`` and open while ``end_scan`` is null. So a scan of unchanged files adds no rows.
"""

from __future__ import annotations

from functools import cache

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
    create_mock_engine,
    false,
    select,
)
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.types import TypeDecorator

SCHEMA_REVISION = "0022"
#: Tells quickly that a schema in SQLite is this one, see :func:`fimscan.store.defense.foreign_objects`.
SCHEMA_DIGEST = "80b3caa270e6369fd166241dbca33e27a3703b1312af85851cad4f6f8936e82e"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite assigns row numbers only to columns of the exact type INTEGER.
_Id = BigInteger().with_variant(Integer, "sqlite")


def signed(value: int | None) -> int | None:
    """Convert an unsigned 64-bit number to SQL's BIGINT: the upper half becomes negative."""
    return value - (1 << 64) if value is not None and value >= 1 << 63 else value


def unsigned(value: int | None) -> int | None:
    """The inverse of :func:`signed`."""
    return value + (1 << 64) if value is not None and value < 0 else value


class Unsigned64(TypeDecorator[int]):
    """The column type of inode and device numbers, which use all 64 bits; SQL's BIGINT is :func:`signed`."""

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
    # The first name, which both chains digest: it never changes.
    Column("name", Text, nullable=False, unique=True),
    # What it is known by; null if it was recorded by an earlier version, which knew hosts by name only.
    Column("identity", String(64)),
    # Its present name; null if that is ``name``.
    Column("current_name", Text),
)

# Changes of a host's names and id (store.hosts). ``told`` says that a scan has reported it.
host_event = Table(
    "host_event",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("told", Boolean, nullable=False, default=False),
    sqlite_autoincrement=True,
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
    # Whether its findings were reported.
    Column("reported", Boolean, nullable=False, default=False),
    Column("read_clock", LargeBinary, nullable=False, default=b""),
    # The newest journal entry when it was finished; empty for scans older than the journal.
    Column("journal", String(64), nullable=False, default="", server_default=""),
    # Of a checkpoint, which is no scan: what was pruned (model.Checkpoint as JSON).
    Column("checkpoint", Text),
    sqlite_autoincrement=True,  # the number of an interrupted scan is never reused
)

# Looked for at each scan and live look. Rows of scans are large.
Index("ix_scan_checkpoint", scan.c.host_id, scan.c.id, sqlite_where=scan.c.checkpoint.is_not(None))

file_version = Table(
    "file_version",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("first_scan", ForeignKey("scan.id"), nullable=False),
    Column("end_scan", ForeignKey("scan.id")),
    # The first version of a path that a new configuration includes; the file was not created.
    Column("adopted", Boolean, nullable=False, default=False),
    # Ended because the configuration no longer includes the path, not because the file is gone.
    Column("dropped", Boolean, nullable=False, default=False),
    # For append-only logs: the version began (grown, rotated), or ended (rotated away), as the policy expects.
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
    # Seconds and nanoseconds are separate: a user may set a time after 2262, where 64-bit nanoseconds overflow.
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
    # Null if there is a digest: only the digest was recorded.
    Column("xattrs", LargeBinary),
    Column("flags", Integer),
    Column("read_start_ns", BigInteger, nullable=False),
    Column("read_end_ns", BigInteger, nullable=False),
    Column("state_digest", LargeBinary, nullable=False),
    UniqueConstraint("host_id", "path", "first_scan"),
    # The host comes first: otherwise SQLite uses the unique key above and reads every version of the host.
    Index("ix_file_version_began", "host_id", "first_scan"),
    Index("ix_file_version_dev_inode", "dev", "inode"),
)
# Nearly all versions are open, so this index of ended ones is small, and new versions are not inserted into it. This
# index and the next are partial on PostgreSQL, too. Only the migrations declare that: a declaration here would import
# the PostgreSQL dialect for users of SQLite.
Index(
    "ix_file_version_ended",
    file_version.c.host_id,
    file_version.c.end_scan,
    sqlite_where=file_version.c.end_scan.is_not(None),
)
# The present state in order of path, with which every scan is compared. It does not grow with history.
Index(
    "ix_file_version_open",
    file_version.c.host_id,
    file_version.c.path,
    sqlite_where=file_version.c.end_scan.is_(None),
)

# The file systems that a scan found (fimscan.store.devices), if they differ from those of the scan before it.
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
    # The holders of the file when the window began; null if the processes were not inspected.
    Column("holders", Text),
    # What was done to an append-only log.
    Column("breach", String(16)),
    sqlite_autoincrement=True,  # evidence refers to the number of a change, so it is never reused
)

# The audit records of up to 256 events, compressed together: see fimscan.store.accesses for the format. With the time
# of the earliest of the events, and when they were stored; null if stored by an earlier version.
audit_block = Table(
    "audit_block",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("first_ns", BigInteger),
    Column("stored_ns", BigInteger),
    Index("ix_audit_block_stored", "host_id", "stored_ns"),
)

# The columns to find an access by. Everything else is parsed from its records, at ``position`` in their block. A name
# is the path if that is sure, else the text of the record.
access = Table(
    "access",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    # With this key, reading the same log twice adds nothing.
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
    # Since when records came too late for the answers that they concern; null after these answers were revised.
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

# The last live look at a single file between two scans, with its holders: the next window begins there.
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

# The processes that ran a changed program, library or unit when a scan found the change (InEffect as JSON).
in_effect = Table(
    "in_effect",
    metadata,
    Column("scan_id", ForeignKey("scan.id"), primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("detail", Text, nullable=False),
)

# Whether the clock was synchronized when a scan began, and by what (ClockLook as JSON).
clock_look = Table(
    "clock_look",
    metadata,
    Column("scan_id", ForeignKey("scan.id"), primary_key=True),
    Column("detail", Text, nullable=False),
)

# Dispositions, which are only ever added: about everything as of a scan (path null), or about one path's state as of a
# scan. The latest one of a path counts. An approved one (also: status null) is an acceptance.
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
    # All that was decided at once has one number. These columns are null in rows of earlier versions.
    Column("act", BigInteger),
    Column("status", String(16)),
    Column("category", String(16)),
    # Whether the reviewer was among the users of the named processes.
    Column("own", Boolean),
    # The act that this row takes back; its status is then pending.
    Column("undoes", BigInteger),
    # The plan by which it was approved.
    Column("plan_id", BigInteger),
    sqlite_autoincrement=True,
)

# Changes that are expected (store.plans): ``expected`` is JSON with paths, packages, user and exe. ``user`` and ``uid``
# are who opened it.
plan = Table(
    "plan",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("opened_ns", BigInteger, nullable=False),
    Column("until_ns", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("uid", BigInteger),
    Column("ticket", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expected", Text, nullable=False),
    Column("closed_ns", BigInteger),
    Column("closed_by", Text),
    sqlite_autoincrement=True,
)

# Scheduled runs that did not happen: how many of a job, from the first to the last (MissedRuns).
missed_run = Table(
    "missed_run",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("job", String(16), nullable=False),
    Column("cause", String(16), nullable=False),
    Column("first_ns", BigInteger, nullable=False),
    Column("last_ns", BigInteger, nullable=False),
    Column("runs", BigInteger, nullable=False),
    Column("noted_ns", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# Selftests (Selftest). ``steps`` is a JSON list of [step, state, detail, seconds, output].
selftest = Table(
    "selftest",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("started_ns", BigInteger, nullable=False),
    Column("finished_ns", BigInteger, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("path", LargeBinary),
    Column("pid", BigInteger),
    Column("exe", LargeBinary),
    Column("scan", BigInteger),
    Column("steps", Text, nullable=False),
    sqlite_autoincrement=True,
)

# Messages to receivers (fimscan.store.outbox). ``message`` is the id that receivers see. ``body`` is compressed JSON,
# and empty once a message was delivered or given up; ``digest`` is its SHA-256 and stays. ``answer`` is what the
# receiver answered, or why the last attempt failed. ``changes`` are the numbers of the changes that it is about
# ("3-17,20"); null if it is about none, or was made by an earlier version.
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("message", String(36), nullable=False),
    Column("output", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("scan_id", ForeignKey("scan.id")),
    Column("state", String(16), nullable=False),
    Column("urgent", Boolean, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_ns", BigInteger, nullable=False),
    Column("tried_ns", BigInteger),
    Column("done_ns", BigInteger),
    Column("answer", Text, nullable=False),
    Column("changes", Text),
    UniqueConstraint("host_id", "output", "message"),
    Index("ix_outbox_state", "host_id", "state"),
    sqlite_autoincrement=True,
)

# Which program a process ran at a time (an actor as JSON), for actors and their ancestors.
process = Table(
    "process",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("pid", BigInteger, primary_key=True),
    Column("time_ns", BigInteger, primary_key=True),
    Column("actor", Text, nullable=False),
    sqlite_with_rowid=False,
)

# Events of fanotify in monitored directories: which process did what to which file, between two times. ``actor`` is
# JSON, with only the process id if the process had ended.
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

# A stretch of time over which no event of fanotify was missed, on one file system.
witness_extent = Table(
    "witness_extent",
    metadata,
    Column("host_id", ForeignKey("host.id"), primary_key=True),
    Column("dev", Unsigned64, primary_key=True),
    Column("start_ns", BigInteger, primary_key=True),
    Column("end_ns", BigInteger, nullable=False),
    # Ways to write that cause no event, separated by spaces, and why the extent ended.
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

# Controls that failed (store.controls): one row from the failure to its end. ``told`` counts which of the two
# transitions were reported: 0 none, 1 the failure, 2 both.
control_failure = Table(
    "control_failure",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("subject", Text, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("detected_ns", BigInteger, nullable=False),
    Column("cause", Text, nullable=False),
    Column("actor", Text),
    Column("end_ns", BigInteger),
    Column("remedy", Text),
    Column("told", SmallInteger, nullable=False, default=0),
    Index("ix_control_failure_started", "host_id", "start_ns"),
    sqlite_autoincrement=True,
)

# What people did about a failure, or found to be its cause (ControlNote). Rows are only added.
control_note = Table(
    "control_note",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host_id", ForeignKey("host.id"), nullable=False),
    Column("failure_id", ForeignKey("control_failure.id"), nullable=False),
    Column("noted_ns", BigInteger, nullable=False),
    Column("user", Text, nullable=False),
    Column("remediation", Text, nullable=False),
    Column("root_cause", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Index("ix_control_note_failure_id", "failure_id"),
    sqlite_autoincrement=True,
)

# Entries of the journal, which are digests of rows: see fimscan.store.journal for the format.
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

# The open entry of the journal, which is replaced until a scan closes it: see fimscan.store.journal.
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
# Creation of a new database

# Alembic's own table, as Alembic creates it (MigrationContext in alembic/runtime/migration.py); not in our metadata.
_version = Table("alembic_version", MetaData(), Column("version_num", String(32), nullable=False))
_version.append_constraint(PrimaryKeyConstraint(_version.c.version_num, name="alembic_version_pkc"))


@cache
def statements() -> tuple[str, ...]:
    """What makes the tables of an empty database: compiling this takes several times as long as executing it."""
    made: list[str] = []
    engine: MockConnection = create_mock_engine(
        "sqlite://", lambda made_of, *_: made.append(str(made_of.compile(dialect=engine.dialect)))
    )
    metadata.create_all(engine, checkfirst=False)
    _version.create(engine, checkfirst=False)
    return tuple(made)


def create(connection: Connection) -> None:
    """Create all tables in SQLite as the migrations would, without Alembic; existing tables stay as they are."""
    if connection.exec_driver_sql("SELECT 1 FROM sqlite_schema").first() is None:
        for statement in statements():
            connection.exec_driver_sql(statement)
    else:
        metadata.create_all(connection)
        _version.create(connection, checkfirst=True)
    if connection.scalar(select(_version.c.version_num)) is None:
        connection.execute(_version.insert().values(version_num=SCHEMA_REVISION))
