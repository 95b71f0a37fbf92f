"""Store what scans found besides changes (unreadable files, holders, opens without a change), and live looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field
from sqlalchemy import ColumnElement, Row, select

from fimscan.model import Actor, Doubt, Holder, Holders, ScanStatus, Unreadable, UnreadableReason
from fimscan.model import UnmodifiedOpen as Opened
from fimscan.store import codec, files, journal, schema
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.session import Session

# Format of the column ``detail``: the message, or "message RS ns RS field,field" if the file was readable before, with
# the time of that and the fields that differ since. RS is U+001E, which no message of fimscan or strerror(3) contains.
_RS = "\x1e"


def add_unreadable(session: Session, scan_id: int, items: Iterable[Unreadable]) -> None:
    """Store the unreadable files of a scan."""
    rows = [
        {"scan_id": scan_id, "path": item.path, "reason": item.reason.value, "detail": _detail(item)} for item in items
    ]
    if rows:
        session.execute(schema.unreadable.insert(), rows)


def unreadable_in(session: Session, scan_id: int) -> tuple[Unreadable, ...]:
    """The unreadable files of a scan, in order of path."""
    table = schema.unreadable
    rows = session.execute(select(table).where(table.c.scan_id == scan_id).order_by(table.c.path))
    return tuple(_unreadable(row) for row in rows)


def _detail(item: Unreadable) -> str:
    if item.since_ns is None:
        return item.detail
    return _RS.join((item.detail, str(item.since_ns), ",".join(item.differs)))


def _unreadable(row: Row[Any]) -> Unreadable:
    detail, *history = row.detail.split(_RS)
    since_ns, differs = (int(history[0]), tuple(filter(None, history[1].split(",")))) if history else (None, ())
    reason = UnreadableReason(row.reason)
    return Unreadable(path=row.path, reason=reason, detail=detail, since_ns=since_ns, differs=differs)


# The table of holders has four kinds of rows; no file has the inode 0:
# (dev, inode, [actor]): a process that holds a file.
# (dev, inode, []): a file that was open for writing when it was read, by the kernel's count.
# (dev, 0, []): a device on which the kernel's count was not available for every file.
# (0, 0, doubts): processes that may hold files although /proc does not show it.
_NOBODY = codec.dump_actors([])


def add_holders(
    session: Session, scan_id: int, holders: Iterable[Holder], doubts: Sequence[Doubt] | None = None
) -> None:
    """Store the processes that held files open for writing when a scan began, and those that may have."""
    rows = [
        {"scan_id": scan_id, "dev": h.dev, "inode": h.inode, "actor": codec.dump_actors([h.actor])} for h in holders
    ]
    if doubts is not None:
        rows.append({"scan_id": scan_id, "dev": 0, "inode": 0, "actor": codec.dump_doubts(doubts)})
    if rows:
        session.execute(schema.holder.insert(), rows)


def add_writable(session: Session, scan_id: int, writable: Iterable[tuple[int, int]]) -> None:
    """Store the files that a scan found open for writing (:class:`fimscan.scan.writers.WriterCheck`)."""
    rows = [{"scan_id": scan_id, "dev": dev, "inode": inode, "actor": _NOBODY} for dev, inode in sorted(writable)]
    if rows:
        session.execute(schema.holder.insert(), rows)


def keep_known_holders(session: Session, scan_id: int) -> None:
    """Delete the holders of files that are not monitored, such as logs and caches."""
    table, version = schema.holder, schema.file_version
    known = select(version.c.id).where(
        version.c.dev == table.c.dev, version.c.inode == table.c.inode, version.c.end_scan.is_(None)
    )
    session.execute(table.delete().where(table.c.scan_id == scan_id, table.c.inode != 0, ~known.exists()))


class HoldersAtScan(Struct, frozen=True, kw_only=True):
    """Which processes could write to which file, as a scan found it.

    Attributes:
        actors: the holders of each file, by (device, inode), when the scan began.
        writable: the files that were open for writing when they were read; (device, 0) if that was not available.
        doubts: processes that may have held files; ``None`` for a scan that recorded neither these nor ``writable``.
    """

    actors: dict[tuple[int, int], list[Actor]] = field(default_factory=dict)
    writable: frozenset[tuple[int, int]] = frozenset()
    doubts: tuple[Doubt, ...] | None = None


def holders_at(session: Session, scan_id: int) -> HoldersAtScan:
    """The holders that a scan found."""
    actors: dict[tuple[int, int], list[Actor]] = {}
    writable: set[tuple[int, int]] = set()
    doubts: tuple[Doubt, ...] | None = None
    for row in session.execute(select(schema.holder).where(schema.holder.c.scan_id == scan_id)):
        if row.inode == row.dev == 0:
            doubts = codec.load_doubts(row.actor)
        elif row.actor == _NOBODY:
            writable.add((row.dev, row.inode))
        else:
            actors.setdefault((row.dev, row.inode), []).extend(codec.load_actors(row.actor))
    return HoldersAtScan(actors=actors, writable=frozenset(writable), doubts=doubts)


class Recheck(Struct, frozen=True, kw_only=True):
    """A live look at a single path after a scan: when reading it began, and which processes could write to it then.

    ``holders`` are those of the file at the path; ``None`` if there was none.
    """

    path: bytes
    read_start_ns: int
    holders: Holders | None = None


def set_rechecks(session: Session, items: Sequence[Recheck]) -> None:
    """Store the latest live look at each of these paths."""
    rows = [
        {"path": item.path, "read_start_ns": item.read_start_ns, "holders": codec.dump_holders(item.holders) or ""}
        for item in items
    ]
    for some in files.chunks(rows):
        _forget(session, schema.recheck.c.path.in_([row["path"] for row in some]))
        session.execute(schema.recheck.insert(), [{"host_id": session.host_id, **row} for row in some])
    journal.note(session, [of_row(Subject.RECHECK, row) for row in rows])


def forget_rechecks(session: Session, before_ns: int) -> None:
    """Delete the live looks before a time, after a scan that began to read then has replaced them."""
    _forget(session, schema.recheck.c.read_start_ns < before_ns)


def _forget(session: Session, which: ColumnElement[bool]) -> None:
    table = schema.recheck
    mine = (table.c.host_id == session.host_id) & which
    journal.lock(session)
    known = session.execute(select(table).where(mine)).all()
    session.execute(table.delete().where(mine))
    journal.note(session, [of_row(Subject.RECHECK, row._asdict()) for row in known])


def rechecks(session: Session, paths: Iterable[bytes] | None = None) -> dict[bytes, Recheck]:
    """The latest live looks at these paths (``None``: at all) since the last complete scan."""
    table = schema.recheck
    mine = select(table).where(table.c.host_id == session.host_id)
    queries = [mine] if paths is None else [mine.where(table.c.path.in_(c)) for c in files.chunks(sorted(set(paths)))]
    return {
        row.path: Recheck(
            path=row.path, read_start_ns=row.read_start_ns, holders=codec.load_holders(row.holders or None)
        )
        for query in queries
        for row in session.execute(query)
    }


def add_unmodified_opens(session: Session, scan_id: int, opened: Iterable[Opened]) -> None:
    """Store the files that were opened for writing and not changed."""
    rows = [{"scan_id": scan_id, "path": o.path, "actors": codec.dump_actors(o.actors)} for o in opened]
    if rows:
        session.execute(schema.unmodified_open.insert(), rows)


def unmodified_opens(session: Session, start: int, end: int) -> tuple[Opened, ...]:
    """The files opened for writing and not changed in ``start`` < scan <= ``end``, one entry per path."""
    table = schema.unmodified_open
    query = (
        select(table.c.path, table.c.actors)
        .join(schema.scan)
        .where(schema.scan.c.host_id == session.host_id, table.c.scan_id > start, table.c.scan_id <= end)
        .where(schema.scan.c.status == ScanStatus.FINISHED.value)
        .order_by(table.c.path, table.c.scan_id)
    )
    merged: dict[bytes, tuple[Actor, ...]] = {}
    for path, actors in session.execute(query):
        merged[path] = merged.get(path, ()) + codec.load_actors(actors)
    return tuple(Opened(path=path, actors=actors) for path, actors in merged.items())
