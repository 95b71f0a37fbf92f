"""The journal: a hash chain over all rows that findings rest on, linked with the ledger of scans.

Whatever writes such rows adds an entry in the same transaction: when a scan is finished, when late records revise an
answer, when something is accepted, when audit records are read. An entry's ``items`` are the digests of those rows
(:mod:`fimscan.store.row_digests`). The entry itself is computed as the ledger's are
(:func:`fimscan.store.ledger.entry`): SHA-256 over the previous entry, a summary, and SHA-256 of the items.

A journal summary names the entry of the last finished scan, and a scan's summary names the newest journal entry. So the
newest entry of the two chains, *the head*, covers everything in both. A head that is stored elsewhere shows later
whether anything written before it was altered. Without one, somebody with write access can rebuild the whole database.

Read positions of logs, their extents, observations of audit and live looks are written every few seconds, for years,
and most of them are obsolete at the next time. So these rows, and all others that are
:class:`fimscan.store.registry.Noted`, are noted in *the open entry*, which is replaced each time. An item that is added
and later removed cancels out. The entry of the next scan takes over the remaining items; until then no head covers
them.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any

from msgspec import Struct
from sqlalchemy import func, select

from fimscan.model import Scan, ScanStatus
from fimscan.store import row_digests, schema
from fimscan.store.ledger import GENESIS, entry
from fimscan.store.queries import STREAMED
from fimscan.store.registry import Subject
from fimscan.store.row_digests import Item
from fimscan.store.schema import journal as table
from fimscan.store.schema import journal_open as open_table
from fimscan.store.session import Session

_ITEM = struct.Struct(">Bq32s")
_MOST_OPEN = 100  # items, after which the open entry is closed without a scan: it is rewritten in full each time
_MOST_ADOPTED = 100_000  # items in one entry

_SUBJECTS = {int(subject): subject for subject in Subject}  # Subject(code) takes longer, and there are millions

#: The digest of a row that was pruned. Only entries with the cause ``prune`` may have it.
GONE = bytes(32)


class Cause(StrEnum):
    """Why an entry was added."""

    SCAN = "scan"
    LATE_RECORDS = "late-records"
    ACCEPT = "accept"
    PLAN = "plan"
    MISSED = "missed"
    CONTROL = "control"
    SELFTEST = "selftest"
    AUDIT = "audit"
    PRUNE = "prune"  # old rows were removed: see fimscan.store.prune
    OPEN = "open"  # not closed yet
    UPGRADE = "upgrade"  # the rows that were older than the journal, as they were at the upgrade


class Entry(Struct, frozen=True, kw_only=True):
    """One entry; ``scan_entry`` is the ledger entry of the last scan that was finished when it was added."""

    id: int
    host: str
    made_ns: int
    cause: str
    items: bytes
    scan_entry: str
    previous: str
    entry: str

    @property
    def summary(self) -> str:
        """Everything that the chain covers besides the items: one line of ASCII JSON, keys sorted, no spaces."""
        fields = {"cause": self.cause, "host": self.host, "made_ns": self.made_ns, "scan": self.scan_entry}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def holds(self) -> bool:
        """Whether its digest matches its contents."""
        return self.entry == entry(self.previous, self.summary, hashlib.sha256(self.items).hexdigest())

    def codes(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield its items as they are stored: code of the subject, number, digest; without :attr:`rest`."""
        yield from _ITEM.iter_unpack(self.items[: len(self.items) - len(self.rest)])

    @property
    def rest(self) -> bytes:
        """What is left of the items of a damaged entry after the last whole one."""
        return self.items[len(self.items) // _ITEM.size * _ITEM.size :]

    def unpacked(self) -> Iterator[Item]:
        """Yield its items; raises ``ValueError`` or ``struct.error`` if they are malformed."""
        for code, number, digest in _ITEM.iter_unpack(self.items):
            yield Item(_SUBJECTS.get(code) or Subject(code), number, digest)


def lock(session: Session) -> None:
    """Keep others from adding entries until the transaction ends. SQLite has one writer at a time anyway."""
    if session.connection.dialect.name == "postgresql":
        session.execute(select(schema.host.c.id).where(schema.host.c.id == session.host_id).with_for_update())


def record(session: Session, cause: Cause, items: Iterable[Item]) -> None:
    """Add an entry for rows written in this transaction, if there are any. A scan's entry closes the open one."""
    packed = b"".join([_ITEM.pack(*item) for item in items])
    if cause is Cause.SCAN:
        packed = b"".join(_remaining(session, _intact_open_entry(session))) + packed
        session.execute(open_table.delete().where(open_table.c.host_id == session.host_id))
    if packed:
        _add(session, cause, packed)


def note(session: Session, items: Iterable[Item]) -> None:
    """Put noted rows that were written or removed in this transaction into the open entry.

    A caller that reads a row before it alters it must take the :func:`lock` before reading.
    """
    for item in items:
        session.noted ^= {_ITEM.pack(*item)}


def write_notes(session: Session) -> None:
    """Write the open entry with everything noted in this transaction; called once, at its end."""
    if not session.noted:
        return
    lock(session)
    known = _intact_open_entry(session)
    left = _remaining(session, known)
    mine = open_table.c.host_id == session.host_id
    if len(left) > _MOST_OPEN:
        session.execute(open_table.delete().where(mine))
        _add(session, Cause.AUDIT, b"".join(left))
        return
    # Every scan closes the open entry, so its previous entry is that of the last scan.
    name, scan_entry = (known.host, known.scan_entry) if known is not None else _host_and_scan_entry(session)
    values = _values_of_new(session, name, Cause.OPEN, b"".join(left), scan_entry, scan_entry)
    del values["cause"], values["previous"]
    if session.execute(open_table.update().where(mine).values(**values)).rowcount == 0:
        session.execute(open_table.insert().values(**values))


def _intact_open_entry(session: Session) -> Entry | None:
    """The open entry, if it exists and its digest matches."""
    known = open_entry(session)
    return known if known is not None and known.holds else None


def _remaining(session: Session, known: Entry | None) -> list[bytes]:
    """Combine the items of an open entry with those noted in this transaction; pairs cancel out."""
    packed = known.items if known is not None else b""
    items = {packed[at : at + _ITEM.size] for at in range(0, len(packed), _ITEM.size)} ^ session.noted
    session.noted.clear()
    return sorted(items)


def _add(session: Session, cause: Cause, packed: bytes) -> None:
    lock(session)
    name, scan_entry = _host_and_scan_entry(session)
    previous = head(session) or GENESIS
    session.execute(table.insert().values(**_values_of_new(session, name, cause, packed, scan_entry, previous)))


def _host_and_scan_entry(session: Session) -> tuple[str, str]:
    """Return the host's name and the entry of its last finished scan."""
    scan, host = schema.scan.c, schema.host.c
    finished = select(scan.entry).where(scan.host_id == session.host_id, scan.status == ScanStatus.FINISHED.value)
    last = finished.order_by(scan.id.desc()).limit(1).scalar_subquery()
    name, scan_entry = session.execute(select(host.name, last).where(host.id == session.host_id)).one()
    return name, scan_entry or GENESIS


def _values_of_new(
    session: Session, name: str, cause: Cause, packed: bytes, scan_entry: str, previous: str
) -> dict[str, Any]:
    """Make an entry now; return the values of its row."""
    made = Entry(
        id=0,
        host=name,
        made_ns=time.time_ns(),
        cause=cause.value,
        items=packed,
        scan_entry=scan_entry,
        previous=previous,
        entry="",
    )
    return {
        "host_id": session.host_id,
        "made_ns": made.made_ns,
        "cause": made.cause,
        "items": made.items,
        "scan_entry": made.scan_entry,
        "previous": made.previous,
        "entry": entry(made.previous, made.summary, hashlib.sha256(packed).hexdigest()),
    }


def head(session: Session) -> str | None:
    """The newest entry."""
    return session.scalar(
        select(table.c.entry).where(table.c.host_id == session.host_id).order_by(table.c.id.desc()).limit(1)
    )


def newest_ns(session: Session, until_ns: int) -> int:
    """When the newest entry was made, of those up to a time; 0 before the first."""
    newest = [
        session.scalar(
            select(func.max(one.c.made_ns)).where(one.c.host_id == session.host_id, one.c.made_ns <= until_ns)
        )
        for one in (table, open_table)
    ]
    return max(found or 0 for found in newest)


def entries(session: Session) -> Iterator[Entry]:
    """Yield all entries, oldest first, streamed."""
    query = select(table, schema.host.c.name.label("host")).join(schema.host).where(table.c.host_id == session.host_id)
    for row in session.execute(query.order_by(table.c.id), execution_options=STREAMED):
        yield Entry(
            id=row.id,
            host=row.host,
            made_ns=row.made_ns,
            cause=row.cause,
            items=row.items,
            scan_entry=row.scan_entry,
            previous=row.previous,
            entry=row.entry,
        )


def open_entry(session: Session) -> Entry | None:
    """The entry that is not closed yet. Its previous entry is that of the last finished scan, not of the journal."""
    query = select(open_table, schema.host.c.name.label("host")).join(schema.host)
    row = session.execute(query.where(open_table.c.host_id == session.host_id)).first()
    if row is None:
        return None
    return Entry(
        id=0,
        host=row.host,
        made_ns=row.made_ns,
        cause=Cause.OPEN.value,
        items=row.items,
        scan_entry=row.scan_entry,
        previous=row.scan_entry,
        entry=row.entry,
    )


def common_head(session: Session, scans: Sequence[Scan]) -> str | None:
    """The newest entry of both chains, which covers everything; ``None`` before the first one."""
    newest = head(session)
    finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
    if finished and (newest is None or finished[-1].journal == newest):
        return finished[-1].entry
    return newest


def record_pruning(session: Session, items: Iterable[Item]) -> None:
    """Add entries with what pruning leaves of rows whose entries it removes, and with what it removes."""
    rest = iter(items)
    while some := list(islice(rest, _MOST_ADOPTED)):
        record(session, Cause.PRUNE, some)


def forget(session: Session, until: str) -> list[str]:
    """Remove the entries up to and including one, oldest first; return them."""
    mine = table.c.host_id == session.host_id
    last: int | None = session.scalar(select(table.c.id).where(mine, table.c.entry == until))
    if last is None:
        return []
    gone = list(session.scalars(select(table.c.entry).where(mine, table.c.id <= last).order_by(table.c.id)))
    session.execute(table.delete().where(mine, table.c.id <= last))
    return gone


def adopt(session: Session) -> None:
    """Begin the journal of a host in a database that had none: take in the present rows."""
    for items in row_digests.of_all(session):
        record(session, Cause.UPGRADE, items)


def adopt_rows(session: Session) -> None:
    """Take in the present noted rows, which the journal covers since a later version.

    Call it once only: a second call would cancel all these items.
    """
    rows = row_digests.of_rows(session)
    while some := list(islice(rows, _MOST_ADOPTED)):
        record(session, Cause.UPGRADE, some)


def adopt_shown(session: Session) -> None:
    """Take in what evidence shows of the present rows, which the journal covers since a later version."""
    rows = row_digests.of_shown(session)
    while some := list(islice(rows, _MOST_ADOPTED)):
        record(session, Cause.UPGRADE, some)
