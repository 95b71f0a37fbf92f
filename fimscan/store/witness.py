"""Store fanotify's events, and the extents over which it missed none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace
from sqlalchemy import func, insert, select, update

from fimscan.model import WitnessData, WitnessEvent, WitnessExtent, WitnessHole, WitnessMask
from fimscan.store import codec, files, journal
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.schema import witness_event as table
from fimscan.store.schema import witness_extent as extent_table
from fimscan.store.session import Session

Identity = tuple[int, int]


def add(session: Session, events: Iterable[WitnessEvent]) -> None:
    """Store events."""
    rows = [_row(event) for event in events]
    if not rows:
        return
    adding = insert(table).returning(table.c.id, sort_by_parameter_order=True)
    ids = session.scalars(adding, [{"host_id": session.host_id, **row} for row in rows]).all()
    noted = [of_row(Subject.WITNESS_EVENT, {"id": number, **row}) for number, row in zip(ids, rows, strict=True)]
    journal.note(session, noted)


def _row(event: WitnessEvent) -> dict[str, Any]:
    return {
        "dev": event.dev,
        "inode": event.inode,
        "handle": event.handle,
        "mask": int(event.mask),
        "since_ns": event.since_ns,
        "until_ns": event.until_ns,
        "name": event.name,
        "actor": codec.dump_actors([event.actor]),
        "started_ns": event.started_ns,
        "ancestors": " ".join(map(str, event.ancestors)),
    }


def extend(session: Session, extent: WitnessExtent) -> None:
    """Store an extent, or extend the stored one with the same start."""
    columns = extent_table.c
    mine = (columns.host_id == session.host_id) & (columns.dev == extent.dev) & (columns.start_ns == extent.start_ns)
    row = {
        "dev": extent.dev,
        "start_ns": extent.start_ns,
        "end_ns": extent.end_ns,
        "holes": " ".join(extent.holes),
        "ended": extent.ended,
    }
    journal.lock(session)
    known = session.execute(select(extent_table).where(mine)).first()
    if known is None:
        session.execute(insert(extent_table).values(host_id=session.host_id, **row))
        journal.note(session, [of_row(Subject.WITNESS_EXTENT, row)])
    elif (known.end_ns, known.ended) != (extent.end_ns, extent.ended):
        session.execute(update(extent_table).where(mine).values(**row))
        before = of_row(Subject.WITNESS_EXTENT, known._asdict())
        journal.note(session, [before, of_row(Subject.WITNESS_EXTENT, row)])


def load(
    session: Session, identities: Iterable[Identity], start_ns: int, end_ns: int, *, left_ns: int = 0
) -> WitnessData:
    """The events of some files in a stretch of time, and the extents of their file systems.

    Extents begin at ``left_ns`` at the earliest: events from before that were pruned.
    """
    wanted = frozenset(identities)
    devices = {dev for dev, _ in wanted}
    extents = {
        dev: tuple(
            replace(extent, start_ns=max(extent.start_ns, left_ns))
            for extent in _extents(session, dev, start_ns, end_ns)
            if extent.end_ns > left_ns
        )
        for dev in devices
    }
    if not any(extents.values()):
        return WitnessData()
    found: dict[Identity, list[WitnessEvent]] = {}
    for dev in devices:
        inodes = sorted(inode for device, inode in wanted if device == dev)
        for some in files.chunks(inodes):
            query = select(table).where(
                table.c.host_id == session.host_id,
                table.c.dev == dev,
                table.c.inode.in_(some),
                table.c.until_ns >= start_ns,
                table.c.since_ns <= end_ns,
            )
            for row in session.execute(query.order_by(table.c.until_ns, table.c.id)):
                found.setdefault((row.dev, row.inode), []).append(_event(row._asdict()))
    return WitnessData(events={key: tuple(value) for key, value in found.items()}, extents=extents)


def _event(row: Mapping[str, Any]) -> WitnessEvent:
    return WitnessEvent(
        dev=row["dev"],
        inode=row["inode"],
        handle=row["handle"],
        mask=WitnessMask(row["mask"]),
        since_ns=row["since_ns"],
        until_ns=row["until_ns"],
        name=row["name"],
        actor=codec.load_actors(row["actor"])[0],
        started_ns=row["started_ns"],
        ancestors=tuple(map(int, row["ancestors"].split())),
    )


def _extents(session: Session, dev: int, start_ns: int, end_ns: int) -> list[WitnessExtent]:
    columns = extent_table.c
    query = select(extent_table).where(
        columns.host_id == session.host_id, columns.dev == dev, columns.end_ns >= start_ns, columns.start_ns <= end_ns
    )
    return [_extent(row) for row in session.execute(query.order_by(columns.start_ns))]


def latest(session: Session) -> tuple[WitnessExtent, ...]:
    """The newest extent of each file system, latest first."""
    columns = extent_table.c
    newest = (
        select(columns.dev, func.max(columns.start_ns).label("start_ns"))
        .where(columns.host_id == session.host_id)
        .group_by(columns.dev)
        .subquery()
    )
    query = select(extent_table).join(newest, (newest.c.dev == columns.dev) & (newest.c.start_ns == columns.start_ns))
    rows = session.execute(query.where(columns.host_id == session.host_id).order_by(columns.end_ns.desc()))
    return tuple(_extent(row) for row in rows)


def _extent(row: Any) -> WitnessExtent:
    return WitnessExtent(
        dev=row.dev,
        start_ns=row.start_ns,
        end_ns=row.end_ns,
        holes=tuple(WitnessHole(word) for word in row.holes.split()),
        ended=row.ended,
    )
