"""The tables that the journal covers: their rows, their digested columns and their labels in messages.

A new table needs columns in :mod:`fimscan.store.schema`, an entry here, and a module that reads and writes it. Digests
(:mod:`fimscan.store.row_digests`), the journal, its replay and the checks of :mod:`fimscan.store.integrity` follow from
the entry.
"""

from __future__ import annotations

from enum import IntEnum, unique

from msgspec import Struct
from sqlalchemy import Table

from fimscan.store import schema


class Rows(Struct, frozen=True, dict=True):
    """Rows of a table that the journal covers.

    Columns are listed by name: a column that is added later must not change the digests of stored rows.

    Attributes:
        code: identifies the table in items of the journal. It is stored, so it never changes.
        label: the name of a row in messages; ``{}`` stands for its number.
        table: the table.
        number: the column that has the row's number.
    """

    code: int
    label: str
    table: Table
    number: str


class WithScan(Rows, frozen=True):
    """Rows written once, with the scan ``number``: one digest for all of a scan, in the order of the first column."""

    columns: tuple[str, ...]


class Numbered(Rows, frozen=True):
    """Rows with one digest each; the newest digest of a row counts.

    ``later`` are columns that were added later. They are digested unless all of them are null, so the digests of
    old rows stay the same.
    """

    columns: tuple[str, ...]
    later: tuple[str, ...] = ()


class Shown(Rows, frozen=True):
    """What evidence shows of :class:`Numbered` rows (``of``, their code): these ``columns``, without command lines.

    So others can check what they are shown, without what they are not shown. Its items are made with those of the row.
    """

    of: int
    columns: tuple[str, ...]


class AuditBlocks(Rows, frozen=True):
    """As :class:`Numbered`; the digest of a block also covers the accesses in it."""


class KeptScans(Numbered, frozen=True):
    """As :class:`Numbered`, only of scans from before the beginning of the ledger (:mod:`fimscan.store.prune`).

    The ledger covers the others.
    """


class Noted(Rows, frozen=True):
    """Rows that are noted when they are written, and noted again when they are removed.

    Attributes:
        key: columns that are unique within a host; the number need not be.
        others: the other digested columns.
        later: columns that were added later. They are digested if not null, so the digests of old rows stay the same.
        only_if: a column; only rows in which it is true are covered.
    """

    key: tuple[str, ...]
    others: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    only_if: str | None = None


@unique
class Subject(IntEnum):
    """The tables that items of the journal are digests of."""

    rows: Rows

    def __new__(cls, rows: Rows | int) -> Subject:
        """Create a member from its rows. A look-up by code finds an existing member and does not call this."""
        assert isinstance(rows, Rows)
        subject = int.__new__(cls, rows.code)
        subject._value_ = rows.code
        subject.rows = rows
        return subject

    # The columns that the scan's own ledger entry does not cover.
    SCAN = WithScan(
        1, "the record of problems and read times of scan {}", schema.scan, "id", ("problems", "read_clock")
    )
    # Includes the columns that a state digest does not cover.
    BEGUN = WithScan(
        2,
        "a file version that began with scan {} (or its read time)",
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
    UNREADABLE = WithScan(
        4, "the list of unreadable files of scan {}", schema.unreadable, "scan_id", ("path", "reason", "detail")
    )
    HOLDERS = WithScan(
        5, "the list of holders at the start of scan {}", schema.holder, "scan_id", ("id", "dev", "inode", "actor")
    )
    OPENED = WithScan(
        6,
        "the list of files opened and not modified before scan {}",
        schema.unmodified_open,
        "scan_id",
        ("path", "actors"),
    )
    IN_EFFECT = WithScan(
        25,
        "the list of processes that ran changed programs at scan {}",
        schema.in_effect,
        "scan_id",
        ("path", "detail"),
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
        later=("act", "status", "category", "own", "undoes", "plan_id"),
    )
    PLAN = Numbered(
        23,
        "plan {}",
        schema.plan,
        "id",
        ("id", "opened_ns", "until_ns", "user", "uid", "ticket", "reason", "expected", "closed_ns", "closed_by"),
    )
    MISSED_RUN = Numbered(
        24,
        "missed runs {}",
        schema.missed_run,
        "id",
        ("id", "job", "cause", "first_ns", "last_ns", "runs", "noted_ns"),
    )
    AUDIT_BLOCK = AuditBlocks(9, "audit record block {} (or an access in it)", schema.audit_block, "id")
    NOTICE = Noted(
        10,
        "the audit notice at {}",
        schema.notice,
        "time_ns",
        key=("time_ns", "serial", "node", "kind"),
        others=("key",),
        later=("actor",),
    )
    DAMAGED_LINE = Noted(
        11,
        "the damaged audit log line at byte {}",
        schema.damaged_line,
        "offset",
        key=("offset", "line_digest"),
        others=("source", "line", "problem"),
    )
    PROCESS = Noted(12, "a record of process {}", schema.process, "pid", key=("pid", "time_ns"), others=("actor",))
    OBSERVATION = Noted(
        13,
        "the observation of audit at {}",
        schema.observation,
        "time_ns",
        key=("time_ns",),
        others=("detail",),
    )
    EXTENT = Noted(
        14,
        "audit log extent {}",
        schema.audit_extent,
        "id",
        key=("id",),
        others=("path", "start_ns", "end_ns"),
    )
    CURSOR = Noted(
        15,
        "the audit log position at byte {}",
        schema.audit_cursor,
        "offset",
        key=("path",),
        others=("dev", "inode", "offset", "fingerprint", "late_ns"),
    )
    RECHECK = Noted(
        16,
        "the live look at {}",
        schema.recheck,
        "read_start_ns",
        key=("path",),
        others=("read_start_ns", "holders"),
    )
    REPORTED = Noted(17, "the report mark of scan {}", schema.scan, "id", key=("id",), only_if="reported")
    WITNESS_EVENT = Noted(
        18,
        "the fanotify event at {}",
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
        "the fanotify extent from {}",
        schema.witness_extent,
        "start_ns",
        key=("dev", "start_ns"),
        others=("end_ns", "holes", "ended"),
    )
    DEVICES = Noted(
        20, "the list of file systems of scan {}", schema.devices, "scan_id", key=("scan_id",), others=("detail",)
    )
    PROCESS_FACT = Noted(
        21,
        "the login, crash or program of a process at {}",
        schema.process_fact,
        "time_ns",
        key=("kind", "number", "time_ns", "serial"),
        others=("detail",),
    )
    HOST_EVENT = Noted(
        26,
        "the change of the host's name or id at {}",
        schema.host_event,
        "time_ns",
        key=("id",),
        others=("time_ns", "kind", "before", "after"),
    )
    # Without ``told``: whether a message was printed is not evidence of the failure.
    CONTROL_FAILURE = Numbered(
        27,
        "control failure {}",
        schema.control_failure,
        "id",
        ("id", "kind", "subject", "start_ns", "detected_ns", "cause", "actor", "end_ns", "remedy"),
    )
    # Not how often delivery was tried: only what was to be sent, and what became of it.
    OUTBOX = Noted(
        28,
        "message {} of the outbox",
        schema.outbox,
        "id",
        key=("id",),
        others=("message", "output", "kind", "scan_id", "state", "made_ns", "digest"),
        later=("done_ns", "changes"),
    )
    SELFTEST = Numbered(
        29,
        "selftest {}",
        schema.selftest,
        "id",
        ("id", "started_ns", "finished_ns", "passed", "path", "pid", "exe", "scan", "steps"),
    )
    KEPT_SCAN = KeptScans(
        30,
        "scan {}, which was kept when earlier ones were pruned,",
        schema.scan,
        "id",
        (
            *("id", "trigger", "status", "started_ns", "finished_ns", "counts", "config_digest"),
            *("state_digest", "journal", "previous", "entry", "checkpoint"),
        ),
    )
    CLOCK = WithScan(31, "the look at the clock at scan {}", schema.clock_look, "scan_id", ("scan_id", "detail"))
    ANSWER = Shown(
        32,
        "what evidence shows of change {}",
        schema.change,
        "id",
        of=7,
        columns=(
            *("id", "scan_id", "kind", "path", "moved_from", "changed", "after_ns", "before_ns"),
            *("verdict", "attribution", "breach"),
        ),
    )
    CAUSE = Shown(
        33,
        "what evidence shows of control failure {}",
        schema.control_failure,
        "id",
        of=27,
        columns=("id", "kind", "subject", "start_ns", "detected_ns", "cause", "actor", "end_ns", "remedy"),
    )
    CONTROL_NOTE = Numbered(
        34,
        "note {} on a control failure",
        schema.control_note,
        "id",
        ("id", "failure_id", "noted_ns", "user", "remediation", "root_cause", "ticket"),
    )


SHOWN = {Subject(rows.of): subject for subject in Subject if isinstance(rows := subject.rows, Shown)}
"""Subjects of rows -> the subjects of what evidence shows of them."""
