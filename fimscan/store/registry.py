"""The tables that the journal covers: which rows of each, by which columns, and what messages call them.

A new table has its columns in :mod:`fimscan.store.schema`, an entry here, and a module that reads and writes it.
Digests (:mod:`fimscan.store.row_digests`), the journal, its replay and the checks of :mod:`fimscan.store.integrity`
follow from the entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import Table

from fimscan.store import schema


@dataclass(frozen=True)
class Rows:
    """Rows of a table. Items of the journal say which by ``code``; it is stored, and never changes.

    ``label`` is what messages call the row with the number ``{}``, and ``number`` is the column of that number. Columns
    are listed by name: a column that is added later must not change the digests of stored rows.
    """

    code: int
    label: str
    table: Table
    number: str


@dataclass(frozen=True)
class WithScan(Rows):
    """Rows that are written once, with the scan ``number``: one digest for all, in the order of the first column."""

    columns: tuple[str, ...]


@dataclass(frozen=True)
class Numbered(Rows):
    """Rows with a digest each, of which the newest counts."""

    columns: tuple[str, ...]


@dataclass(frozen=True)
class AuditBlocks(Rows):
    """As :class:`Numbered`; the digest of a block also covers the accesses in it."""


@dataclass(frozen=True)
class Noted(Rows):
    """Rows that are noted when they are written, and noted again when they are taken out.

    ``key`` is unique within a host; the number need not be. ``later`` are columns that older databases got: they are
    digested where they are not null, so that the digests of old rows stay. Only rows where the column ``only_if`` is
    true are covered.
    """

    key: tuple[str, ...]
    others: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    only_if: str | None = None


class Subject(IntEnum):
    """What an item of the journal is the digest of."""

    rows: Rows

    def __new__(cls, rows: Rows | int) -> Subject:
        """A member is defined by its rows. A look-up by code finds a member, and does not come here."""
        assert isinstance(rows, Rows)
        subject = int.__new__(cls, rows.code)
        subject._value_ = rows.code
        subject.rows = rows
        return subject

    # What the scan's own ledger entry leaves out.
    SCAN = WithScan(
        1, "what scan {} says of its problems and read times", schema.scan, "id", ("problems", "read_clock")
    )
    # With what a state digest leaves out.
    BEGUN = WithScan(
        2,
        "a file version that began with scan {}, or the time of its reading,",
        schema.file_version,
        "first_scan",
        ("id", "state_digest", "adopted", "followed", "read_start_ns", "read_end_ns"),
    )
    ENDED = WithScan(
        3,
        "a file version that ended with scan {}",
        schema.file_version,
        "end_scan",
        ("id", "dropped", "retired"),
    )
    UNREADABLE = WithScan(4, "what scan {} could not read", schema.unreadable, "scan_id", ("path", "reason", "detail"))
    HOLDERS = WithScan(
        5, "who held files open when scan {} began", schema.holder, "scan_id", ("id", "dev", "inode", "actor")
    )
    OPENED = WithScan(
        6,
        "what was opened and not modified before scan {}",
        schema.unmodified_open,
        "scan_id",
        ("path", "actors"),
    )
    CHANGE = Numbered(
        7,
        "change {}",
        schema.change,
        "id",
        (
            *("id", "scan_id", "kind", "path", "moved_from", "before_version", "after_version", "changed"),
            *("after_ns", "before_ns", "verdict", "attribution", "holders", "breach"),
        ),
    )
    ACCEPTANCE = Numbered(
        8,
        "acceptance {}",
        schema.acceptance,
        "id",
        ("id", "path", "scan_id", "version_id", "accepted_ns", "user", "ticket", "reason"),
    )
    AUDIT_BLOCK = AuditBlocks(
        9, "the audit records of block {}, or the accesses that they are found by,", schema.audit_block, "id"
    )
    NOTICE = Noted(
        10,
        "what the audit log said of audit itself at {}",
        schema.notice,
        "time_ns",
        key=("time_ns", "serial", "node", "kind"),
        others=("key",),
        later=("actor",),
    )
    DAMAGED_LINE = Noted(
        11,
        "the line at byte {} of an audit log that could not be understood",
        schema.damaged_line,
        "offset",
        key=("offset", "line_digest"),
        others=("source", "line", "problem"),
    )
    PROCESS = Noted(12, "what is known of process {}", schema.process, "pid", key=("pid", "time_ns"), others=("actor",))
    OBSERVATION = Noted(
        13,
        "what the kernel said of audit at {}",
        schema.observation,
        "time_ns",
        key=("time_ns",),
        others=("detail",),
    )
    EXTENT = Noted(
        14,
        "stretch {} over which an audit log was read",
        schema.audit_extent,
        "id",
        key=("id",),
        others=("path", "start_ns", "end_ns"),
    )
    CURSOR = Noted(
        15,
        "how far an audit log was read, up to byte {},",
        schema.audit_cursor,
        "offset",
        key=("path",),
        others=("dev", "inode", "offset", "fingerprint", "late_ns"),
    )
    RECHECK = Noted(
        16,
        "the look at a single file at {}",
        schema.recheck,
        "read_start_ns",
        key=("path",),
        others=("read_start_ns", "holders"),
    )
    REPORTED = Noted(17, "that scan {} was reported", schema.scan, "id", key=("id",), only_if="reported")
    WITNESS_EVENT = Noted(
        18,
        "what fanotify told of a file at {}",
        schema.witness_event,
        "until_ns",
        key=("id",),
        others=(
            *("dev", "inode", "handle", "mask", "since_ns", "until_ns"),
            *("name", "actor", "started_ns", "ancestors"),
        ),
    )
    WITNESS_EXTENT = Noted(
        19,
        "the stretch of time from {} over which fanotify was read",
        schema.witness_extent,
        "start_ns",
        key=("dev", "start_ns"),
        others=("end_ns", "holes", "ended"),
    )
    DEVICES = Noted(
        20, "which file systems scan {} met", schema.devices, "scan_id", key=("scan_id",), others=("detail",)
    )
    PROCESS_FACT = Noted(
        21,
        "the login, crash or program of a process at {}",
        schema.process_fact,
        "time_ns",
        key=("kind", "number", "time_ns", "serial"),
        others=("detail",),
    )
