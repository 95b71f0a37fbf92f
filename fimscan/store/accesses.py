"""Store accesses: an indexed row for each, and the audit records themselves in compressed blocks.

The records are the evidence, so they are kept, and everything else about an access is parsed from them again. A block
is the texts (:class:`fimscan.model.AuditEvent`) of up to 256 events, separated by empty lines and compressed with zlib.
It is smaller and faster to write than the fields of the accesses.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import select

from fimscan.audit import accesses as accesses_of
from fimscan.model import AuditEvent, AuditRecord, EventId, FileAccess
from fimscan.store import files, journal, row_digests
from fimscan.store.inserting import insert_of_new
from fimscan.store.queries import plain, plain_rows
from fimscan.store.schema import access as table
from fimscan.store.schema import audit_block, signed, unsigned
from fimscan.store.session import Session

UserName = Callable[[int], str | None]
Identity = tuple[int | None, int | None]

_MANY = 5000
_EVENTS_IN_BLOCK = 256
_LEVEL = 1  # a third of the time of zlib's default, for a tenth more space
_BLOCKS_KEPT = 64


def add(session: Session, found: Iterable[tuple[AuditEvent, Sequence[FileAccess]]]) -> None:
    """Store events with the accesses that were parsed from them; stored events stay as they are."""
    found = [(event, parsed) for event, parsed in found if parsed]
    if not found:
        return
    journal.lock(session)  # before the check for stored events: the journal covers all rows of a block
    known = _known(session, [event.id for event, _ in found])
    fresh: dict[EventId, tuple[AuditEvent, Sequence[FileAccess]]] = {}
    for one in found:
        if one[0].id not in known:
            # A second event with the same key is the same lines again, or a late rest of the first one.
            fresh.setdefault(one[0].id, one)
    rows: list[_Row] = []
    written: list[row_digests.Item] = []
    kept = iter(fresh.values())
    while some := list(islice(kept, _EVENTS_IN_BLOCK)):
        data = zlib.compress(b"\n\n".join([event.text for event, _ in some]), _LEVEL)
        times = first_ns, stored_ns = _times(event for event, _ in some)
        new = audit_block.insert().values(host_id=session.host_id, data=data, first_ns=first_ns, stored_ns=stored_ns)
        inserted = session.execute(new).inserted_primary_key
        assert inserted is not None, "an insert of one row gives its key"
        block_id = inserted[0]
        mine = [
            _row(access, session.host_id, block_id, position)
            for position, (_, parsed) in enumerate(some)
            for access in parsed
        ]
        mine.sort(key=_KEY)
        written.append(row_digests.of_audit_block(block_id, data, mine, times))
        rows += mine
    _insert(session, rows)
    journal.record(session, journal.Cause.AUDIT, written)


def _times(events: Iterable[AuditEvent]) -> tuple[int | None, int | None]:
    """Return the columns ``first_ns`` and ``stored_ns`` of a new block."""
    return min(event.id.time_ns for event in events), time.time_ns()


def _known(session: Session, events: Iterable[EventId]) -> set[EventId]:
    """Find the events that are stored already."""
    known: set[EventId] = set()
    times = sorted({event.time_ns for event in events})
    # In chunks: with a single query, one very late event would fetch everything since its time.
    for some in files.chunks(times):
        query = select(table.c.time_ns, table.c.serial, table.c.node).where(
            table.c.host_id == session.host_id, table.c.time_ns.between(some[0], some[-1])
        )
        known.update(EventId(*row) for row in session.execute(query))
    return known


_Row = tuple[Any, ...]
_KEY = itemgetter(1, 2, 3, 4)  # time, serial, node, item


def _row(access: FileAccess, host_id: int, block_id: int, position: int) -> _Row:
    """Make a row, in the order of the table's columns."""
    event, action, name, _actor, dev, inode, _mode, _success, old, replaced, _argument, item, _at_end = access
    parent_dev, parent_inode = name.parent or _NOWHERE
    old_parent_dev, old_parent_inode = (old and old.parent) or _NOWHERE
    replaced_dev, replaced_inode = replaced or _NOWHERE
    return (
        host_id,
        *event,
        item,
        str(action),  # not the enum member, which takes SQLite's driver longer
        dev,
        signed(inode),
        parent_dev,
        signed(parent_inode),
        name.path or name.text,
        old_parent_dev,
        signed(old_parent_inode),
        old and (old.path or old.text),
        replaced_dev,
        signed(replaced_inode),
        block_id,
        position,
    )


_NOWHERE = (None, None)  # no identity. Device numbers never use the upper half of 64 bits, inode numbers do


def _insert(session: Session, rows: Sequence[_Row]) -> None:
    """Insert the rows that are not stored yet: late records form an event with the same key.

    Most rows that fimscan ever writes are these, so on SQLite they go straight to the driver.
    """
    if not rows:
        return
    if session.connection.dialect.name == "sqlite":
        statement = insert_of_new(session, table).compile(dialect=session.connection.dialect)
        session.connection.exec_driver_sql(str(statement), list(rows))
    else:
        names = [column.name for column in table.columns]
        values = [dict(zip(names, row, strict=True)) for row in rows]
        session.execute(insert_of_new(session, table), values)


# --------------------------------------------------------------------------------------------------------------------
# Finding accesses


class Reference(NamedTuple):
    """The row of an access: the columns to select it by, and the place of its records.

    ``name`` and ``old_name`` are paths if these are sure, else the text of the record. ``parent`` and ``old_parent``
    are the identities of their directories.
    """

    event: EventId
    item: int
    action: str
    identity: Identity
    parent: Identity
    name: bytes | None
    old_parent: Identity
    old_name: bytes | None
    replaced: Identity
    block_id: int
    position: int


def references(session: Session, start_ns: int, end_ns: int, *, backwards: bool = False) -> Iterator[Reference]:
    """Yield the accesses of a stretch of time, both ends included, in order of time or ``backwards``, streamed."""
    order = (table.c.time_ns, table.c.serial, table.c.node, table.c.item)
    query = (
        select(*map(plain, table.columns[1:]))
        .where(table.c.host_id == session.host_id, table.c.time_ns >= start_ns, table.c.time_ns <= end_ns)
        .order_by(*(column.desc() if backwards else column for column in order))
    )
    new = tuple.__new__
    for row in chain.from_iterable(plain_rows(session, query, _MANY)):
        # fmt: off
        (time_ns, serial, node, item, action, dev, inode, p_dev, p_inode, name, o_dev, o_inode, old_name,
         r_dev, r_inode, block_id, position) = row
        # fmt: on
        # All fields in order, through the tuple's constructor: those of the classes take twice as long.
        yield new(
            Reference,
            (
                new(EventId, (time_ns, serial, node)),
                item,
                action,
                (dev, inode) if inode is None or inode >= 0 else (dev, unsigned(inode)),
                (p_dev, p_inode) if p_inode is None or p_inode >= 0 else (p_dev, unsigned(p_inode)),
                name,
                (o_dev, o_inode) if o_inode is None or o_inode >= 0 else (o_dev, unsigned(o_inode)),
                old_name,
                (r_dev, r_inode) if r_inode is None or r_inode >= 0 else (r_dev, unsigned(r_inode)),
                block_id,
                position,
            ),
        )


class LateBlock(NamedTuple):
    """When a block of records was stored, and the time of its earliest event."""

    stored_ns: int
    first_ns: int


def late_blocks(session: Session, after_ns: int, before_ns: int) -> dict[int, LateBlock]:
    """The blocks, by number, that were stored after a time and have events from before another one."""
    block = audit_block.c
    query = select(block.id, block.stored_ns, block.first_ns).where(
        block.host_id == session.host_id, block.stored_ns > after_ns, block.first_ns < before_ns
    )
    return {number: LateBlock(stored_ns, first_ns) for number, stored_ns, first_ns in session.execute(query)}


def load(session: Session, wanted: Iterable[Reference], *, user_name: UserName | None = None) -> Iterator[FileAccess]:
    """Yield the accesses in the order of their references, parsed from their records again.

    ``user_name`` resolves users whose names the records do not have.
    """
    blocks = _Blocks(session)
    for reference in wanted:
        event, item, *_, block_id, position = reference
        for access in accesses_of(AuditEvent(event, blocks.text(block_id, position)), user_name):
            if access.item == item:
                yield access


def records(session: Session, event: EventId) -> tuple[AuditRecord, ...]:
    """The records of a stored event; empty if it is not stored."""
    return RecordReader(session).records(event)


class RecordReader:
    """Reads the records of events, with a cache of blocks. Use it within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._blocks = _Blocks(session)
        self._places: dict[EventId, tuple[int, int] | None] = {}

    def locate(self, events: Iterable[EventId]) -> None:
        """Look up where events are stored, all at once: one query for each takes ten times as long."""
        wanted = dict.fromkeys(events)
        self._places.update(wanted)
        columns = (table.c.time_ns, table.c.serial, table.c.node, table.c.block_id, table.c.position)
        for times in files.chunks(sorted({event.time_ns for event in wanted})):
            query = select(*columns).where(table.c.host_id == self._session.host_id, table.c.time_ns.in_(times))
            for time_ns, serial, node, block_id, position in self._session.execute(query):
                event = EventId(time_ns, serial, node)
                if event in wanted:
                    self._places[event] = block_id, position

    def records(self, event: EventId) -> tuple[AuditRecord, ...]:
        """The records of a stored event; empty if it is not stored."""
        if event not in self._places:
            self.locate([event])
        place = self._places[event]
        return () if place is None else AuditEvent(event, self._blocks.text(*place)).records


class _Blocks:
    """Read event texts from blocks, with a cache of blocks: accesses of one time are in one block."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: dict[int, list[bytes]] = {}

    def text(self, block_id: int, position: int) -> bytes:
        texts = self._kept.get(block_id)
        if texts is None:
            query = select(audit_block.c.data).where(audit_block.c.id == block_id)
            texts = zlib.decompress(self._session.execute(query).scalar_one()).split(b"\n\n")
            if len(self._kept) >= _BLOCKS_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[block_id] = texts
        return texts[position]
