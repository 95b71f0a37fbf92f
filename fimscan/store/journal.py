"""The journal: a hash chain over all rows that findings rest on, entangled with the ledger of scans.

Whatever writes such rows adds an entry in the same transaction: when a scan is finished, when records come late and an
answer is revised, when something is accepted, when audit records are read. An entry's ``items`` are the digests of
those rows (:mod:`fimscan.store.covered`), the newest one of a row counts. The entry itself is made as the ledger's are
(:func:`fimscan.store.ledger.entry`): SHA-256 over the previous entry, a summary, and SHA-256 of the items.

A summary names the entry of the last finished scan, and a scan's summary the journal's head. So whichever of the two
was written last covers all that is in both: that is *the head*. Whoever knows one head, noted elsewhere, can tell
whether anything that was written before it was altered. Without that, whoever may write the database can make all of it
anew.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from fimscan.model import Scan, ScanStatus
from fimscan.store import covered, schema
from fimscan.store.covered import Item, Subject
from fimscan.store.ledger import GENESIS, entry
from fimscan.store.schema import journal as table

_ITEM = struct.Struct(">Bq32s")
_STREAMED = {"stream_results": True, "yield_per": 1000}


class Cause(StrEnum):
    """Why an entry was made."""

    SCAN = "scan"
    LATE_RECORDS = "late-records"
    ACCEPT = "accept"
    AUDIT = "audit"
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
    connection.execute(select(schema.host.c.id).where(schema.host.c.id == host_id).with_for_update())


def record(connection: Connection, host_id: int, cause: Cause, items: Iterable[Item]) -> None:
    """Add an entry for rows that were written in this transaction; none for no rows."""
    packed = b"".join([_ITEM.pack(*item) for item in items])
    if not packed:
        return
    lock(connection, host_id)
    name = connection.execute(select(schema.host.c.name).where(schema.host.c.id == host_id)).scalar_one()
    made = Entry(
        id=0,
        host=name,
        made_ns=time.time_ns(),
        cause=cause.value,
        items=packed,
        scan_entry=_last_scan_entry(connection, host_id),
        previous=head(connection, host_id) or GENESIS,
        entry="",
    )
    connection.execute(
        table.insert().values(
            host_id=host_id,
            made_ns=made.made_ns,
            cause=made.cause,
            items=made.items,
            scan_entry=made.scan_entry,
            previous=made.previous,
            entry=entry(made.previous, made.summary, hashlib.sha256(packed).hexdigest()),
        )
    )


def head(connection: Connection, host_id: int) -> str | None:
    """The newest entry."""
    return connection.scalar(
        select(table.c.entry).where(table.c.host_id == host_id).order_by(table.c.id.desc()).limit(1)
    )


def _last_scan_entry(connection: Connection, host_id: int) -> str:
    scan = schema.scan
    finished = select(scan.c.entry).where(scan.c.host_id == host_id, scan.c.status == ScanStatus.FINISHED.value)
    return connection.scalar(finished.order_by(scan.c.id.desc()).limit(1)) or GENESIS


def entries(connection: Connection, host_id: int) -> Iterator[Entry]:
    """All of them, oldest first, streamed."""
    query = select(table, schema.host.c.name.label("host")).join(schema.host).where(table.c.host_id == host_id)
    for row in connection.execute(query.order_by(table.c.id), execution_options=_STREAMED):
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
            covered.of_finished_scans(connection, host_id),
            covered.of_changes(connection, host_id),
            covered.of_acceptances(connection, host_id),
            covered.of_audit_blocks(connection, host_id),
        ):
            record(connection, host_id, Cause.UPGRADE, items)


# --------------------------------------------------------------------------------------------------------------------
# Replaying it


class Replay:
    """Both chains, replayed: what is wrong with them, and the newest digest of every row that was covered.

    ``positions`` has the place of each entry, of scans and of the journal, by which a head noted elsewhere is found.
    """

    def __init__(self, scans: Sequence[Scan], journal: Iterable[Entry]) -> None:
        self.scans = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
        self.newest: dict[tuple[Subject, int], bytes] = {}
        self.count = 0
        self.problems: list[str] = []
        self._place: dict[str, int] = {}
        bound: list[tuple[int, str]] = []
        last = GENESIS
        for item in journal:
            if item.previous != last:
                self.problems.append(
                    f"journal entry {item.id} does not follow the one before: one is missing, or altered"
                )
            if not item.holds or not self._take(item):
                self.problems.append(f"journal entry {item.id} was altered: it is not the digest of what it says")
            last = item.entry
            self._place[item.entry] = self.count
            bound.append((item.id, item.scan_entry))
            self.count += 1
        self.problems += self._entangled(bound)

    def covers(self, entry_text: str) -> bool:
        """Whether this is an entry of either chain."""
        return entry_text in self._place or any(scan.entry == entry_text for scan in self.scans)

    def _take(self, item: Entry) -> bool:
        try:
            self.newest.update(((one.subject, one.id), one.digest) for one in item.unpacked())
        except (ValueError, struct.error):
            return False
        return True

    def _entangled(self, bound: Sequence[tuple[int, str]]) -> Iterator[str]:
        """Each entry names the scan before it, each scan the entry before it: nothing was cut out of one alone."""
        ends: list[tuple[int, str]] = []  # (how many entries of the journal were there, the scan's entry)
        for scan in self.scans:
            if scan.journal and scan.journal not in self._place:
                yield f"scan {scan.id} names a journal entry that is not there: the journal was cut, or made anew"
                return
            ends.append((self._place[scan.journal] + 1 if scan.journal else 0, scan.entry))
        if ends != sorted(ends, key=lambda end: end[0]):
            yield "scans do not name the journal's entries in their order: one was altered"
            return
        following = iter([*ends, (len(bound) + 1, "")])
        until, upcoming = next(following)
        current = GENESIS
        for place, (number, scan_entry) in enumerate(bound):
            while until <= place and upcoming:
                current = upcoming
                until, upcoming = next(following)
            if scan_entry != current:
                yield f"journal entry {number} does not name the scan before it: a scan is missing, or was altered"
