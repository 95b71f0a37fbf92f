"""Whether the database is what fimscan wrote: every row against the two chains. Each problem is one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence, Set
from itertools import chain

from sqlalchemy import select

from fimscan.model import Scan, ScanStatus
from fimscan.report.display import time_text
from fimscan.store import files, journal, row_digests, schema
from fimscan.store import scans as scan_store
from fimscan.store.ledger import StateDigest, replay
from fimscan.store.queries import STREAMED
from fimscan.store.registry import Subject, WithScan
from fimscan.store.replay import Replay
from fimscan.store.row_digests import Item
from fimscan.store.session import Session

_version = schema.file_version
# What reading a row can lead to that somebody else wrote.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


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
            yield f"{_shown(row.path)} as of scan {row.first_scan} was altered: stored digest does not match the row"
        if row.first_scan not in real or (row.end_scan is not None and row.end_scan not in real):
            yield f"{_shown(row.path)} as of scan {row.first_scan} belongs to a scan that is not there"


def complete_state(session: Session, scan: Scan) -> Iterator[str]:
    """The complete state at a finished scan is the one that its ledger entry says."""
    total = StateDigest()
    for some in files.state_digests_at(session, scan.id):
        total.add(some)
    if total.hexdigest() != scan.state_digest:
        yield f"the files as of scan {scan.id} do not match its state digest: files were altered, added or removed"


def covered_rows(session: Session, newest: dict[tuple[Subject, int], bytes]) -> Iterator[str]:
    """Every row that the journal covers is there, as it was written, and there is no other."""
    missing = dict(newest)
    for item in chain.from_iterable(row_digests.of_all(session)):
        known = missing.pop((item.subject, item.id), None)
        if known is None:
            yield f"{_label(session, item)} is not in the journal: it was not added by fimscan"
        elif known != item.digest:
            yield f"{_label(session, item)} was altered"
    for subject, number in missing:
        yield f"{_named(subject, number)} is missing"


def single_rows(session: Session, written: Set[Item]) -> Iterator[str]:
    """As :func:`covered_rows`, of noted rows."""
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
            yield f"{_label(session, item)} is not in the journal: it was not added by fimscan"
    for subject, number in sorted(gone - {(item.subject, item.id) for item in others}):
        yield f"{_named(subject, number)} is missing, or was altered before fimscan updated it"


def _label(session: Session, item: Item) -> str:
    label, rows = _named(item.subject, item.id), item.subject.rows
    if isinstance(rows, WithScan) or "path" not in rows.table.c:
        return label
    path = session.scalar(select(rows.table.c.path).where(rows.table.c[rows.number] == item.id))
    return f"{label} ({'everything' if path is None else _shown(path)})"


def _named(subject: Subject, number: int) -> str:
    rows = subject.rows
    return rows.label.format(time_text(number) if rows.number.endswith("_ns") else number)


def _shown(path: object) -> str:
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)
