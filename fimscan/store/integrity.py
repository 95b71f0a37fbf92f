"""Check every row of the database against ledger and journal. Each problem is one sentence."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from itertools import chain
from operator import itemgetter

from sqlalchemy import select

from fimscan.model import Scan, ScanStatus
from fimscan.report.display import show, time_text
from fimscan.store import files, journal, outbox, row_digests, schema
from fimscan.store import scans as scan_store
from fimscan.store.ledger import StateDigest, replay
from fimscan.store.registry import SHOWN, Shown, Subject, WithScan
from fimscan.store.replay import Replay
from fimscan.store.row_digests import Item
from fimscan.store.session import Session

_COLUMNS = schema.file_version.c.keys()
_OF_VERSION = itemgetter(*map(_COLUMNS.index, ("path", "first_scan", "end_scan", "dropped", "retired")))
# The exceptions that reading a row can raise if another program wrote it.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


def storage(session: Session) -> Iterator[str]:
    """Check what SQLite itself can: pages, indexes against their tables, references between tables.

    Other databases have no such check in SQL.
    """
    run = session.connection.exec_driver_sql
    if session.connection.dialect.name != "sqlite":
        return
    for (problem,) in run("PRAGMA integrity_check"):
        if problem != "ok":
            yield f"SQLite: {show(str(problem).encode())}"
    counts: Counter[tuple[str, str]] = Counter()
    for table, _, parent, _ in run("PRAGMA foreign_key_check"):
        counts[str(table), str(parent)] += 1
    for (table, parent), count in sorted(counts.items()):
        yield f"{count:,} rows of {show(table.encode())} refer to rows of {show(parent.encode())} that do not exist"


def space(session: Session) -> tuple[int, int | None]:
    """(size of the database, how much of that is free for new rows), in bytes; the latter only of SQLite."""
    run = session.connection.exec_driver_sql
    if session.connection.dialect.name != "sqlite":
        return int(run("SELECT pg_database_size(current_database())").scalar_one()), None
    size, pages, free = (
        int(run(f"PRAGMA {name}").scalar_one()) for name in ("page_size", "page_count", "freelist_count")
    )
    return size * pages, size * free


def replayed(session: Session) -> tuple[Replay, list[str]]:
    """Replay both chains; return them and their problems. Raises one of ``UNREADABLE`` if they cannot be read."""
    scans = scan_store.all_scans(session)
    both = Replay(scans, journal.entries(session), journal.open_entry(session))
    return both, [*replay(scans), *both.problems]


def configurations(session: Session, scans: Sequence[Scan]) -> Iterator[str]:
    """Check that every scan's configuration exists and matches its digest."""
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
    """Check that every stored file version matches its digest and belongs to existing scans."""
    scan = schema.scan.c
    real = set(session.scalars(select(scan.id).where(scan.status != ScanStatus.INTERRUPTED.value)))
    for row in files.rows_in_order(session):
        path, first_scan, end_scan, dropped, retired = _OF_VERSION(row)
        try:
            holds = files.holds(row) or files.as_digested(files.version_of(row)) is not None
        except UNREADABLE:
            holds = False
        if not holds:
            yield f"{_shown(path)} as of scan {first_scan} was altered: stored digest does not match the row"
        if end_scan is None and (dropped or retired):
            yield f"{_shown(path)} as of scan {first_scan} was altered: it has not ended, but says why it did"
        if first_scan not in real or (end_scan is not None and end_scan not in real):
            yield f"{_shown(path)} as of scan {first_scan} belongs to a scan that does not exist"


def complete_state(session: Session, scan: Scan) -> Iterator[str]:
    """Check that the complete state at a finished scan matches its ledger entry."""
    total = StateDigest()
    for some in files.state_digests_at(session, scan.id):
        total.add(some)
    if total.hexdigest() != scan.state_digest:
        yield f"the files as of scan {scan.id} do not match its ledger entry: some were altered, added or removed"


def covered_rows(session: Session, newest: dict[tuple[Subject, int], bytes]) -> Iterator[str]:
    """Check that the tables have exactly the rows that the journal covers, unaltered; noted rows are not included.

    What evidence shows of a row is reported only if the row itself is not. ``newest`` is used up: it can have a million
    digests.
    """
    missing = newest
    reported: set[tuple[Subject, int]] = set()
    for item in chain.from_iterable(row_digests.of_all(session)):
        known = missing.pop((item.subject, item.id), None)
        if known == item.digest or _of_row(item.subject, item.id) in reported:
            continue
        if item.subject in SHOWN:
            reported.add((item.subject, item.id))
        if known is None:
            yield f"{_label(session, item)} is not in the journal: another program added it"
        else:
            yield f"{_label(session, item)} was altered"
    for subject, number in missing:
        if _of_row(subject, number) not in missing:
            yield f"{_named(subject, number)} is missing"


def _of_row(subject: Subject, number: int) -> tuple[Subject, int] | None:
    """The row that an item says what evidence shows of; ``None`` for other items."""
    return (Subject(subject.rows.of), number) if isinstance(subject.rows, Shown) else None


def single_rows(session: Session, written: Set[Item]) -> Iterator[str]:
    """As :func:`covered_rows`, for noted rows."""
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
            yield f"{_label(session, item)} is not in the journal: another program added it"
    for subject, number in sorted(gone - {(item.subject, item.id) for item in others}):
        yield f"{_named(subject, number)} is missing, or was altered before fimscan replaced it"


def messages(session: Session) -> Iterator[str]:
    """Check the content of the messages that wait in the outbox. Their rows have only its digest."""
    for number in outbox.altered(session):
        yield f"the content of {_named(Subject.OUTBOX, number)} was altered"


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
    return show(path if isinstance(path, bytes) else str(path).encode())
