"""Whether the database is what fimscan wrote: every row against the two chains. Each problem is one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set

from sqlalchemy import select

from fimscan.model import Scan, ScanStatus
from fimscan.report.display import time_text
from fimscan.store import files, journal, row_digests, schema
from fimscan.store import scans as scan_store
from fimscan.store.ledger import StateDigest, replay
from fimscan.store.queries import STREAMED
from fimscan.store.replay import Replay
from fimscan.store.row_digests import Item, Subject
from fimscan.store.session import Session

_version = schema.file_version
# What reading a row can lead to that somebody else wrote.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_SUBJECTS = {
    Subject.SCAN: "what scan {} says of its problems and read times",
    Subject.BEGUN: "a file version that began with scan {}, or the time of its reading,",
    Subject.ENDED: "a file version that ended with scan {}",
    Subject.UNREADABLE: "what scan {} could not read",
    Subject.HOLDERS: "who held files open when scan {} began",
    Subject.OPENED: "what was opened and not modified before scan {}",
    Subject.CHANGE: "change {}",
    Subject.ACCEPTANCE: "acceptance {}",
    Subject.AUDIT_BLOCK: "the audit records of block {}, or the accesses that they are found by,",
    Subject.NOTICE: "what the audit log said of audit itself at {}",
    Subject.DAMAGED_LINE: "the line at byte {} of an audit log that could not be understood",
    Subject.PROCESS: "what is known of process {}",
    Subject.OBSERVATION: "what the kernel said of audit at {}",
    Subject.EXTENT: "stretch {} over which an audit log was read",
    Subject.CURSOR: "how far an audit log was read, up to byte {},",
    Subject.RECHECK: "the look at a single file at {}",
    Subject.REPORTED: "that scan {} was reported",
    Subject.WITNESS_EVENT: "what fanotify told of a file at {}",
    Subject.WITNESS_EXTENT: "the stretch of time from {} over which fanotify was read",
    Subject.DEVICES: "which file systems scan {} met",
    Subject.PROCESS_FACT: "the login, crash or program of a process at {}",
}
_PATHS = {
    Subject.CHANGE: (schema.change.c.path, schema.change.c.id),
    Subject.ACCEPTANCE: (schema.acceptance.c.path, schema.acceptance.c.id),
    Subject.EXTENT: (schema.audit_extent.c.path, schema.audit_extent.c.id),
    Subject.CURSOR: (schema.audit_cursor.c.path, schema.audit_cursor.c.offset),
    Subject.RECHECK: (schema.recheck.c.path, schema.recheck.c.read_start_ns),
}


def replayed(session: Session) -> tuple[Replay, list[str]]:
    """Both chains, and what is wrong with them; raises what ``UNREADABLE`` has when they can't even be read."""
    scans = scan_store.all_scans(session)
    both = Replay(scans, journal.entries(session), journal.open_entry(session))
    return both, [*replay(scans), *both.problems]


def configurations(session: Session, scans: Sequence[Scan]) -> Iterator[str]:
    """Every scan's configuration is there, and is the one that its digest says."""
    table = schema.configuration
    known = {}
    for digest, text in session.execute(select(table.c.digest, table.c.text)):
        known[digest] = hashlib.sha256(str(text).encode()).hexdigest() == digest
    for digest in {scan.config_digest: None for scan in scans}:
        first = next(scan.id for scan in scans if scan.config_digest == digest)
        if digest not in known:
            yield f"the configuration of scan {first} is missing"
        elif not known[digest]:
            yield f"the configuration of scan {first} (and of all later ones with the same digest) was altered"


def own_digests(session: Session) -> Iterator[str]:
    """Every stored version of a file has the digest of what it says, and belongs to scans that there are."""
    scan = schema.scan.c
    real = set(session.scalars(select(scan.id).where(scan.status != ScanStatus.INTERRUPTED.value)))
    query = select(_version).where(_version.c.host_id == session.host_id).order_by(_version.c.id)
    for row in session.execute(query, execution_options=STREAMED):
        try:
            holds = files.as_digested(files.version_of(row)) is not None
        except UNREADABLE:
            holds = False
        if not holds:
            yield f"{_shown(row.path)} as of scan {row.first_scan} was altered: it has not the digest of what it says"
        if row.first_scan not in real or (row.end_scan is not None and row.end_scan not in real):
            yield f"{_shown(row.path)} as of scan {row.first_scan} belongs to a scan that is not there"


def complete_state(session: Session, scan: Scan) -> Iterator[str]:
    """The complete state at a finished scan is the one that its ledger entry says."""
    total = StateDigest()
    for some in files.state_digests_at(session, scan.id):
        total.add(some)
    if total.hexdigest() != scan.state_digest:
        yield f"the files as of scan {scan.id} are not those that it recorded: some were altered, added or taken out"


def covered_rows(session: Session, newest: dict[tuple[Subject, int], bytes]) -> Iterator[str]:
    """Every row that the journal covers is there, as it was written, and there is no other."""
    missing = dict(newest)
    for items in (
        row_digests.of_finished_scans(session),
        row_digests.of_changes(session),
        row_digests.of_acceptances(session),
        row_digests.of_audit_blocks(session),
    ):
        for item in items:
            known = missing.pop((item.subject, item.id), None)
            if known is None:
                yield f"{_label(session, item)} is not in the journal: it was added behind fimscan's back"
            elif known != item.digest:
                yield f"{_label(session, item)} was altered"
    for subject, number in missing:
        yield f"{_named(subject, number)} is missing"


def single_rows(session: Session, written: Set[Item]) -> Iterator[str]:
    """As :func:`covered_rows`, of the tables in ``covered.ROWS``."""
    missing = set(written)
    others = []
    for item in row_digests.of_rows(session):
        if item in missing:
            missing.remove(item)
        else:
            others.append(item)
    gone = {(item.subject, item.id) for item in missing}
    for item in others:
        if (item.subject, item.id) in gone:
            yield f"{_label(session, item)} was altered"
        else:
            yield f"{_label(session, item)} is not in the journal: it was added behind fimscan's back"
    for subject, number in sorted(gone - {(item.subject, item.id) for item in others}):
        yield f"{_named(subject, number)} is missing, or was altered before fimscan wrote it anew"


def _label(session: Session, item: Item) -> str:
    label = _named(item.subject, item.id)
    if item.subject not in _PATHS:
        return label
    column, number = _PATHS[item.subject]
    path = session.scalar(select(column).where(number == item.id))
    return f"{label} ({'everything' if path is None else _shown(path)})"


def _named(subject: Subject, number: int) -> str:
    is_time = subject in row_digests.ROWS and row_digests.ROWS[subject].number.endswith("_ns")
    return _SUBJECTS[subject].format(time_text(number) if is_time else number)


def _shown(path: object) -> str:
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)
