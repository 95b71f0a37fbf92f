"""Store notices, damaged lines, read positions and extents of audit logs, and observations of audit.

Rows and read position are written in one transaction, so each record is read exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import Row, func, select, update

from fimscan.attribution.coverage import SLACK_NS, Extent
from fimscan.audit import LogCursor
from fimscan.model import AuditNotice, AuditObservation, DamagedLine, EventId, NoticeKind
from fimscan.store import codec, journal, schema
from fimscan.store.inserting import add_new
from fimscan.store.queries import STREAMED
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from fimscan.store.session import Session

_LOOKED_BACK = 20
MOST_DAMAGED = 20_000  # damaged lines that are kept for a host
_FURTHER = -1  # the offset of the row that counts the others


def add_notices(session: Session, notices: Iterable[AuditNotice]) -> None:
    """Store notices: records of the log about audit itself."""
    rows = [
        {
            "time_ns": notice.event.time_ns,
            "serial": notice.event.serial,
            "node": notice.event.node,
            "kind": notice.kind.value,
            "key": notice.key,
            "actor": None if notice.actor is None else codec.dump_actors([notice.actor]),
        }
        for notice in notices
    ]
    add_new(session, Subject.NOTICE, rows)


def notices(session: Session, start_ns: int, end_ns: int) -> list[AuditNotice]:
    """The notices of a stretch of time."""
    table = schema.notice
    query = select(table).where(table.c.host_id == session.host_id, table.c.time_ns.between(start_ns, end_ns))
    return [_notice(row) for row in session.execute(query)]


def notices_of(session: Session, kinds: Iterable[NoticeKind], start_ns: int, end_ns: int) -> Iterator[AuditNotice]:
    """The notices of some kinds in a stretch of time, oldest first, streamed."""
    table = schema.notice
    mine = (table.c.host_id == session.host_id) & table.c.kind.in_([kind.value for kind in kinds])
    query = select(table).where(mine, table.c.time_ns >= start_ns, table.c.time_ns < end_ns)
    for row in session.execute(query.order_by(table.c.time_ns, table.c.serial), execution_options=STREAMED):
        yield _notice(row)


def user_mounts(session: Session, before_ns: int) -> list[AuditNotice]:
    """The mounts by users before a time and since the last boot in the log: they may still be mounted."""
    table = schema.notice
    mine = (table.c.host_id == session.host_id) & (table.c.time_ns < before_ns)
    boot = select(func.max(table.c.time_ns)).where(mine, table.c.kind == NoticeKind.BOOT.value)
    since_ns = session.scalar(boot) or 0
    query = select(table).where(mine, table.c.time_ns >= since_ns, table.c.kind == NoticeKind.USER_MOUNT.value)
    return [_notice(row) for row in session.execute(query)]


def _notice(row: Row[Any]) -> AuditNotice:
    return AuditNotice(
        event=EventId(row.time_ns, row.serial, row.node),
        kind=NoticeKind(row.kind),
        key=row.key,
        actor=None if row.actor is None else codec.load_actors(row.actor)[0],
    )


def add_damaged(session: Session, lines: Sequence[DamagedLine]) -> None:
    """Store lines that could not be parsed, each once; beyond a quota, and where it has many, only their number."""
    if not lines:
        return
    room = MOST_DAMAGED - (session.scalar(_of_damaged(session, func.count())) or 0)
    kept = [line for line in lines if line.count == 1][: max(room, 0)]
    rows = [
        {
            "source": line.source,
            "offset": line.offset,
            # Rotation renames logs, so a line is identified by its text and its offset in the file.
            "line_digest": hashlib.sha256(line.line).digest(),
            "line": line.line,
            "problem": line.problem,
        }
        for line in kept
    ]
    add_new(session, Subject.DAMAGED_LINE, rows)
    if further := sum(line.count for line in lines) - len(kept):
        _count_further(session, further)


def _count_further(session: Session, count: int) -> None:
    """Add to the row that counts lines beyond the quota."""
    table = schema.damaged_line
    journal.lock(session)
    known = session.execute(_of_damaged(session, table).where(table.c.offset == _FURTHER)).first()
    if known is not None:
        count += int(known.line)
        session.execute(table.delete().where(table.c.id == known.id))
        journal.note(session, [of_row(Subject.DAMAGED_LINE, known._asdict())])
    row = {
        "source": b"",
        "offset": _FURTHER,
        "line_digest": b"",
        "line": b"%d" % count,
        "problem": f"further damaged lines, of which only the number is kept: {count}",
    }
    add_new(session, Subject.DAMAGED_LINE, [row])


def damaged_count(session: Session) -> int:
    """How many lines could not be parsed so far."""
    table = schema.damaged_line
    further = session.scalar(_of_damaged(session, table.c.line).where(table.c.offset == _FURTHER))
    rows = session.scalar(_of_damaged(session, func.count())) or 0
    return rows + (int(further) - 1 if further is not None else 0)


def _of_damaged(session: Session, *columns: Any) -> Any:
    table = schema.damaged_line
    return select(*columns).select_from(table).where(table.c.host_id == session.host_id)


def cursor(session: Session, path: bytes) -> LogCursor | None:
    """The read position of a log."""
    table = schema.audit_cursor
    row = session.execute(select(table).where(table.c.host_id == session.host_id, table.c.path == path)).first()
    if row is None:
        return None
    return LogCursor(path=row.path, dev=row.dev, inode=row.inode, offset=row.offset, fingerprint=row.fingerprint)


def set_cursor(session: Session, position: LogCursor) -> None:
    """Store the read position of a log."""
    values = {
        "dev": position.dev,
        "inode": position.inode,
        "offset": position.offset,
        "fingerprint": position.fingerprint,
    }
    if not _update_cursor(session, position.path, values):
        row = {"path": position.path, "late_ns": None, **values}
        session.execute(schema.audit_cursor.insert().values(host_id=session.host_id, **row))
        journal.note(session, [of_row(Subject.CURSOR, row)])


def note_late(session: Session, path: bytes, time_ns: int | None) -> None:
    """Store (or with ``None`` clear) since when a log brought late records for changes that were already answered."""
    _update_cursor(session, path, {"late_ns": time_ns})


def _update_cursor(session: Session, path: bytes, values: Mapping[str, Any]) -> bool:
    """Update the row of a log's read position; return whether there is one."""
    table = schema.audit_cursor
    mine = (table.c.host_id == session.host_id) & (table.c.path == path)
    journal.lock(session)
    row = session.execute(select(table).where(mine)).first()
    if row is None:
        return False
    session.execute(update(table).where(mine).values(**values))
    known = row._asdict()
    journal.note(session, [of_row(Subject.CURSOR, known), of_row(Subject.CURSOR, {**known, **values})])
    return True


def late_since(session: Session, path: bytes) -> int | None:
    """The time that :func:`note_late` stored."""
    table = schema.audit_cursor
    return session.scalar(select(table.c.late_ns).where(table.c.host_id == session.host_id, table.c.path == path))


def extend(session: Session, path: bytes, stretch: Extent, *, continued: bool) -> None:
    """Store an extent, over which a log was read without a gap; ``continued`` makes the last extent longer."""
    table = schema.audit_extent
    mine = (table.c.host_id == session.host_id) & (table.c.path == path)
    journal.lock(session)
    last = session.execute(select(table).where(mine).order_by(table.c.id.desc()).limit(1)).first()
    if continued and last is not None:
        if last.end_ns < stretch.end_ns:
            session.execute(update(table).where(table.c.id == last.id).values(end_ns=stretch.end_ns))
            known = last._asdict()
            longer = {**known, "end_ns": stretch.end_ns}
            journal.note(session, [of_row(Subject.EXTENT, known), of_row(Subject.EXTENT, longer)])
        return
    row = {"path": path, "start_ns": stretch.start_ns, "end_ns": stretch.end_ns}
    inserted = session.execute(table.insert().values(host_id=session.host_id, **row)).inserted_primary_key
    assert inserted is not None, "an insert of one row gives its key"
    journal.note(session, [of_row(Subject.EXTENT, {"id": inserted[0], **row})])


def shorten(session: Session, path: bytes, end_ns: int, now_ns: int) -> None:
    """End the last extent of a log at a time, if it ends after the present: the clock was set back since.

    Otherwise, it would cover what is not read yet. Another process may have read more than until ``end_ns``.
    """
    table = schema.audit_extent
    mine = (table.c.host_id == session.host_id) & (table.c.path == path)
    journal.lock(session)
    last = session.execute(select(table).where(mine).order_by(table.c.id.desc()).limit(1)).first()
    if last is not None and last.end_ns > now_ns:
        values = {"start_ns": min(last.start_ns, end_ns), "end_ns": end_ns}
        session.execute(update(table).where(table.c.id == last.id).values(**values))
        known = last._asdict()
        journal.note(session, [of_row(Subject.EXTENT, known), of_row(Subject.EXTENT, {**known, **values})])


def extents(session: Session, path: bytes, *, since_ns: int = 0) -> list[Extent]:
    """The extents of a log: the stretches of time over which it was read without a gap, those from a time on."""
    table = schema.audit_extent
    query = select(table.c.start_ns, table.c.end_ns).where(table.c.host_id == session.host_id, table.c.path == path)
    rows = session.execute(query.where(table.c.end_ns > since_ns))
    return [Extent(start_ns=max(start, since_ns), end_ns=end) for start, end in rows]


def add_observation(session: Session, observation: AuditObservation) -> None:
    """Store an observation of the kernel's audit system; of a run of equal ones, only the first and the last stay."""
    table = schema.observation
    detail = codec.dump_observation(observation)
    # Where the clock was set back, some are from times that have not come yet.
    mine = (table.c.host_id == session.host_id) & (table.c.time_ns <= observation.time_ns)
    journal.lock(session)
    recent = session.execute(select(table).where(mine).order_by(table.c.time_ns.desc()).limit(2)).all()
    seen = [codec.load_observation(*row[1:]) for row in recent]
    is_run = len(seen) == 2 and all(_is_unchanged(one, observation) for one in seen)
    if is_run and not any(
        _is_between(seen[1], one, observation) for one in observations_after(session, seen[0].time_ns)
    ):
        between = (table.c.host_id == session.host_id) & (table.c.time_ns == recent[0].time_ns)
        session.execute(table.delete().where(between))
        journal.note(session, [of_row(Subject.OBSERVATION, recent[0]._asdict())])
    add_new(session, Subject.OBSERVATION, [{"time_ns": observation.time_ns, "detail": detail}])


def last_answer(session: Session, until_ns: int) -> AuditObservation | None:
    """The newest of the last 20 observations up to a time that did not fail."""
    table = schema.observation
    mine = (table.c.host_id == session.host_id) & (table.c.time_ns <= until_ns)
    query = select(table.c.time_ns, table.c.detail).where(mine)
    rows = session.execute(query.order_by(table.c.time_ns.desc()).limit(_LOOKED_BACK))
    answers = (codec.load_observation(time_ns, detail) for time_ns, detail in rows)
    return next((answer for answer in answers if answer.error is None), None)


def _is_unchanged(earlier: AuditObservation, now: AuditObservation) -> bool:
    """Whether two observations differ only in their times, and both clocks advanced by the same amount."""
    apart = 0
    if earlier.boottime_ns is not None and now.boottime_ns is not None:
        apart = (now.time_ns - earlier.time_ns) - (now.boottime_ns - earlier.boottime_ns)
    same_time = replace(earlier, time_ns=now.time_ns, boottime_ns=now.boottime_ns)
    return same_time == now and abs(apart) <= SLACK_NS and (earlier.boottime_ns is None) == (now.boottime_ns is None)


def _is_between(earlier: AuditObservation, seen: AuditObservation, later: AuditObservation) -> bool:
    """Whether an observation was made between two others by the time since boot: the clock was ahead meanwhile."""
    if earlier.boottime_ns is None or seen.boottime_ns is None or later.boottime_ns is None:
        return False
    return seen.boot_id == later.boot_id and earlier.boottime_ns < seen.boottime_ns < later.boottime_ns


def observations_after(session: Session, time_ns: int) -> list[AuditObservation]:
    """The observations of times that have not come yet, as of a time: the clock was set back since."""
    table = schema.observation
    query = select(table.c.time_ns, table.c.detail).where(table.c.host_id == session.host_id, table.c.time_ns > time_ns)
    return [codec.load_observation(*row) for row in session.execute(query)]


def observations(session: Session, start_ns: int, end_ns: int) -> list[AuditObservation]:
    """The observations of a stretch of time, with the last one before it and the first one after it."""
    table = schema.observation
    mine = table.c.host_id == session.host_id
    before = session.scalar(select(func.max(table.c.time_ns)).where(mine, table.c.time_ns <= start_ns))
    after = session.scalar(select(func.min(table.c.time_ns)).where(mine, table.c.time_ns >= end_ns))
    bounds = (start_ns if before is None else before, end_ns if after is None else after)
    query = select(table.c.time_ns, table.c.detail).where(mine, table.c.time_ns.between(*bounds))
    return [codec.load_observation(time_ns, detail) for time_ns, detail in session.execute(query)]
