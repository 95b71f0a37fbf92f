"""The journal: a hash chain over all rows that findings rest on, entangled with the ledger of scans.

Whatever writes such rows adds an entry in the same transaction: when a scan is finished, when records come late and an
answer is revised, when something is accepted, when audit records are read. An entry's ``items`` are the digests of
those rows (:mod:`fimscan.store.row_digests`), the newest one of a row counts. The entry itself is made as the ledger's
are (:func:`fimscan.store.ledger.entry`): SHA-256 over the previous entry, a summary, and SHA-256 of the items.

A summary names the entry of the last finished scan, and a scan's summary the journal's head. So whichever of the two
was written last covers all that is in both: that is *the head*. Whoever knows one head, noted elsewhere, can tell
whether anything that was written before it was altered. Without that, whoever may write the database can make all of it
anew.

How far logs were read, over which time, what the kernel said of audit and what was looked at is written again every few
seconds, for years, and most of it means nothing any more at the next time. So these rows, and the others that are
:class:`fimscan.store.registry.Noted`, are noted in *the open entry*, which is written anew each time: what one note
adds and a later one takes out is in it no more. A scan's entry takes in what is left. Until then no head covers it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import select

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
_MOST_OPEN = 100  # items, after which the open entry is closed without a scan: it is written in full each time
_MOST_ADOPTED = 100_000  # items in one entry


class Cause(StrEnum):
    """Why an entry was made."""

    SCAN = "scan"
    LATE_RECORDS = "late-records"
    ACCEPT = "accept"
    AUDIT = "audit"
    OPEN = "open"  # not closed yet
    UPGRADE = "upgrade"  # what was there before the journal was, as it was then


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry; ``scan_entry`` is the ledger's head when it was made."""

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
        """What the chain says of it besides its items: one line of ASCII JSON, keys sorted, no spaces."""
        fields = {"cause": self.cause, "host": self.host, "made_ns": self.made_ns, "scan": self.scan_entry}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @property
    def holds(self) -> bool:
        """Whether it is the digest of what it says."""
        return self.entry == entry(self.previous, self.summary, hashlib.sha256(self.items).hexdigest())

    def unpacked(self) -> Iterator[Item]:
        """Its items; raises ``ValueError`` or ``struct.error`` when they are no items."""
        for subject, number, digest in _ITEM.iter_unpack(self.items):
            yield Item(Subject(subject), number, digest)


def lock(session: Session) -> None:
    """Until the transaction ends, nobody else adds an entry. SQLite has one writer at a time anyway."""
    if session.connection.dialect.name == "postgresql":
        session.execute(select(schema.host.c.id).where(schema.host.c.id == session.host_id).with_for_update())


def record(session: Session, cause: Cause, items: Iterable[Item]) -> None:
    """Add an entry for rows that were written in this transaction; none for no rows. A scan's closes the open one."""
    packed = b"".join([_ITEM.pack(*item) for item in items])
    if cause is Cause.SCAN:
        packed = b"".join(_left(session, _carried_on(session))) + packed
        session.execute(open_table.delete().where(open_table.c.host_id == session.host_id))
    if packed:
        _add(session, cause, packed)


def note(session: Session, items: Iterable[Item]) -> None:
    """Put noted rows that were written or taken out in this transaction into the open entry.

    Whoever first reads what it is going to alter takes the :func:`lock` before that.
    """
    for item in items:
        session.noted ^= {_ITEM.pack(*item)}


def write_notes(session: Session) -> None:
    """Write what was noted in this transaction, once, at its end."""
    if not session.noted:
        return
    lock(session)
    known = _carried_on(session)
    left = _left(session, known)
    mine = open_table.c.host_id == session.host_id
    if len(left) > _MOST_OPEN:
        session.execute(open_table.delete().where(mine))
        _add(session, Cause.AUDIT, b"".join(left))
        return
    # Since a scan closes it, it follows the last scan.
    name, scan_entry = (known.host, known.scan_entry) if known is not None else _standing(session)
    values = _sealed(session, name, Cause.OPEN, b"".join(left), scan_entry, scan_entry)
    del values["cause"], values["previous"]
    if session.execute(open_table.update().where(mine).values(**values)).rowcount == 0:
        session.execute(open_table.insert().values(**values))


def _carried_on(session: Session) -> Entry | None:
    """The open entry, where there is one that nobody altered."""
    known = open_entry(session)
    return known if known is not None and known.holds else None


def _left(session: Session, known: Entry | None) -> list[bytes]:
    """The items of an open entry, with what was noted in this transaction."""
    packed = known.items if known is not None else b""
    items = {packed[at : at + _ITEM.size] for at in range(0, len(packed), _ITEM.size)} ^ session.noted
    session.noted.clear()
    return sorted(items)


def _add(session: Session, cause: Cause, packed: bytes) -> None:
    lock(session)
    name, scan_entry = _standing(session)
    previous = head(session) or GENESIS
    session.execute(table.insert().values(**_sealed(session, name, cause, packed, scan_entry, previous)))


def _standing(session: Session) -> tuple[str, str]:
    """The host's name, and the entry of its last finished scan."""
    scan, host = schema.scan.c, schema.host.c
    finished = select(scan.entry).where(scan.host_id == session.host_id, scan.status == ScanStatus.FINISHED.value)
    last = finished.order_by(scan.id.desc()).limit(1).scalar_subquery()
    name, scan_entry = session.execute(select(host.name, last).where(host.id == session.host_id)).one()
    return name, scan_entry or GENESIS


def _sealed(session: Session, name: str, cause: Cause, packed: bytes, scan_entry: str, previous: str) -> dict[str, Any]:
    """An entry that is made now, as the values of its row."""
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


def entries(session: Session) -> Iterator[Entry]:
    """All of them, oldest first, streamed."""
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
    """The one that is not closed yet. It follows the last finished scan, whatever came into the journal since."""
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
    """The head of both chains: the entry, of a scan or of the journal, that covers everything; ``None`` before any."""
    newest = head(session)
    finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
    if finished and (newest is None or finished[-1].journal == newest):
        return finished[-1].entry
    return newest


def adopt(session: Session) -> None:
    """Begin the journal of a host in a database that had none with what is there, as it is."""
    for items in row_digests.of_all(session):
        record(session, Cause.UPGRADE, items)


def adopt_rows(session: Session) -> None:
    """The same for noted rows, which came later. Done twice, it would take out all that was there before."""
    rows = row_digests.of_rows(session)
    while some := list(islice(rows, _MOST_ADOPTED)):
        record(session, Cause.UPGRADE, some)
