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
seconds, for years, and most of it means nothing any more at the next time. So these rows, and the others of
:data:`fimscan.store.row_digests.ROWS`, are noted in *the open entry*, which is written anew each time: what one note
adds and a later one takes out is in it no more. A scan's entry takes in what is left. Until then no head covers it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import Connection, select

from fimscan.model import Scan, ScanStatus
from fimscan.store import row_digests, schema
from fimscan.store.ledger import GENESIS, entry
from fimscan.store.queries import STREAMED
from fimscan.store.row_digests import Item, Subject
from fimscan.store.schema import journal as table
from fimscan.store.schema import journal_open as open_table

_ITEM = struct.Struct(">Bq32s")
_MOST_OPEN = 100  # items, after which the open entry is closed without a scan: it is written in full each time
_MOST_ADOPTED = 100_000  # items in one entry
_NOTED = "fimscan_noted"  # what a connection knows its transaction's notes by


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


def lock(connection: Connection, host_id: int) -> None:
    """Until the transaction ends, nobody else adds an entry. SQLite has one writer at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(schema.host.c.id).where(schema.host.c.id == host_id).with_for_update())


def record(connection: Connection, host_id: int, cause: Cause, items: Iterable[Item]) -> None:
    """Add an entry for rows that were written in this transaction; none for no rows. A scan's closes the open one."""
    packed = b"".join([_ITEM.pack(*item) for item in items])
    if cause is Cause.SCAN:
        packed = b"".join(_left(connection, host_id, _carried_on(connection, host_id))) + packed
        connection.execute(open_table.delete().where(open_table.c.host_id == host_id))
    if packed:
        _add(connection, host_id, cause, packed)


def note(connection: Connection, host_id: int, items: Iterable[Item]) -> None:
    """Put rows of ``covered.ROWS`` that were written or taken out in this transaction into the open entry.

    Whoever first reads what it is going to alter takes the :func:`lock` before that.
    """
    noted = connection.info[_NOTED].setdefault(host_id, set())
    for item in items:
        noted ^= {_ITEM.pack(*item)}


@contextmanager
def noting(connection: Connection) -> Iterator[None]:
    """Around a transaction: what is noted in it is written at its end, once."""
    info = connection.info  # a connection that was lost has none
    info[_NOTED] = {}
    try:
        yield
        for host_id in [host_id for host_id, noted in info[_NOTED].items() if noted]:
            _write_open(connection, host_id)
    finally:
        del info[_NOTED]


def _write_open(connection: Connection, host_id: int) -> None:
    lock(connection, host_id)
    known = _carried_on(connection, host_id)
    left = _left(connection, host_id, known)
    mine = open_table.c.host_id == host_id
    if len(left) > _MOST_OPEN:
        connection.execute(open_table.delete().where(mine))
        _add(connection, host_id, Cause.AUDIT, b"".join(left))
        return
    # Since a scan closes it, it follows the last scan.
    name, scan_entry = (known.host, known.scan_entry) if known is not None else _standing(connection, host_id)
    values = _sealed(host_id, name, Cause.OPEN, b"".join(left), scan_entry, scan_entry)
    del values["cause"], values["previous"]
    if connection.execute(open_table.update().where(mine).values(**values)).rowcount == 0:
        connection.execute(open_table.insert().values(**values))


def _carried_on(connection: Connection, host_id: int) -> Entry | None:
    """The open entry, where there is one that nobody altered."""
    known = open_entry(connection, host_id)
    return known if known is not None and known.holds else None


def _left(connection: Connection, host_id: int, known: Entry | None) -> list[bytes]:
    """The items of an open entry, with what was noted in this transaction."""
    packed = known.items if known is not None else b""
    items = {packed[at : at + _ITEM.size] for at in range(0, len(packed), _ITEM.size)}
    return sorted(items ^ connection.info[_NOTED].pop(host_id, set()))


def _add(connection: Connection, host_id: int, cause: Cause, packed: bytes) -> None:
    lock(connection, host_id)
    name, scan_entry = _standing(connection, host_id)
    previous = head(connection, host_id) or GENESIS
    connection.execute(table.insert().values(**_sealed(host_id, name, cause, packed, scan_entry, previous)))


def _standing(connection: Connection, host_id: int) -> tuple[str, str]:
    """The host's name, and the entry of its last finished scan."""
    scan, host = schema.scan.c, schema.host.c
    finished = select(scan.entry).where(scan.host_id == host_id, scan.status == ScanStatus.FINISHED.value)
    last = finished.order_by(scan.id.desc()).limit(1).scalar_subquery()
    name, scan_entry = connection.execute(select(host.name, last).where(host.id == host_id)).one()
    return name, scan_entry or GENESIS


def _sealed(host_id: int, name: str, cause: Cause, packed: bytes, scan_entry: str, previous: str) -> dict[str, Any]:
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
        "host_id": host_id,
        "made_ns": made.made_ns,
        "cause": made.cause,
        "items": made.items,
        "scan_entry": made.scan_entry,
        "previous": made.previous,
        "entry": entry(made.previous, made.summary, hashlib.sha256(packed).hexdigest()),
    }


def head(connection: Connection, host_id: int) -> str | None:
    """The newest entry."""
    return connection.scalar(
        select(table.c.entry).where(table.c.host_id == host_id).order_by(table.c.id.desc()).limit(1)
    )


def entries(connection: Connection, host_id: int) -> Iterator[Entry]:
    """All of them, oldest first, streamed."""
    query = select(table, schema.host.c.name.label("host")).join(schema.host).where(table.c.host_id == host_id)
    for row in connection.execute(query.order_by(table.c.id), execution_options=STREAMED):
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


def open_entry(connection: Connection, host_id: int) -> Entry | None:
    """The one that is not closed yet. It follows the last finished scan, whatever came into the journal since."""
    query = select(open_table, schema.host.c.name.label("host")).join(schema.host)
    row = connection.execute(query.where(open_table.c.host_id == host_id)).first()
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


def common_head(connection: Connection, host_id: int, scans: Sequence[Scan]) -> str | None:
    """The head of both chains: the entry, of a scan or of the journal, that covers everything; ``None`` before any."""
    newest = head(connection, host_id)
    finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
    if finished and (newest is None or finished[-1].journal == newest):
        return finished[-1].entry
    return newest


def adopt(connection: Connection) -> None:
    """Begin the journals of a database that had none with what is there, as it is."""
    for host_id in connection.scalars(select(schema.host.c.id)).all():
        for items in (
            row_digests.of_finished_scans(connection, host_id),
            row_digests.of_changes(connection, host_id),
            row_digests.of_acceptances(connection, host_id),
            row_digests.of_audit_blocks(connection, host_id),
        ):
            record(connection, host_id, Cause.UPGRADE, items)


def adopt_rows(connection: Connection) -> None:
    """The same for ``covered.ROWS``, which came later. Done twice, it would take out all that was there before."""
    for host_id in connection.scalars(select(schema.host.c.id)).all():
        rows = row_digests.of_rows(connection, host_id)
        while some := list(islice(rows, _MOST_ADOPTED)):
            record(connection, host_id, Cause.UPGRADE, some)
