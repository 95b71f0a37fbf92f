"""Missed runs of the schedule. Rows are only added."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select

from fimscan.model import MissedCause, MissedRuns
from fimscan.store import journal, row_digests, schema
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_table = schema.missed_run


def add(session: Session, missed: MissedRuns) -> None:
    """Store missed runs."""
    session.execute(
        _table.insert().values(
            host_id=session.host_id,
            job=missed.job,
            cause=missed.cause.value,
            first_ns=missed.first_ns,
            last_ns=missed.last_ns,
            runs=missed.count,
            noted_ns=missed.noted_ns,
        )
    )
    number: int = session.scalar(select(func.max(_table.c.id)).where(_table.c.host_id == session.host_id))
    made = row_digests.of_numbered(session, Subject.MISSED_RUN, _table.c.id == number)
    journal.record(session, journal.Cause.MISSED, made)


def accounted_ns(session: Session, job: str) -> int | None:
    """The last of the stored missed runs of a job: those up to then are stored."""
    query = select(func.max(_table.c.last_ns)).where(_table.c.host_id == session.host_id, _table.c.job == job)
    found: int | None = session.scalar(query)
    return found


def totals(session: Session) -> dict[str, int]:
    """How many runs were missed, by job."""
    query = select(_table.c.job, func.sum(_table.c.runs)).where(_table.c.host_id == session.host_id)
    return {job: int(count) for job, count in session.execute(query.group_by(_table.c.job))}


def latest(session: Session, count: int) -> tuple[MissedRuns, ...]:
    """The newest missed runs, oldest first."""
    query = select(_table).where(_table.c.host_id == session.host_id).order_by(_table.c.id.desc()).limit(count)
    return tuple(reversed([_missed(row) for row in session.execute(query)]))


def between(session: Session, start_ns: int, end_ns: int) -> tuple[MissedRuns, ...]:
    """The missed runs that were noted in a stretch of time, oldest first."""
    query = select(_table).where(_table.c.host_id == session.host_id, _table.c.noted_ns.between(start_ns, end_ns))
    return tuple([_missed(row) for row in session.execute(query.order_by(_table.c.id))])


def _missed(row: Row[Any]) -> MissedRuns:
    return MissedRuns(
        job=row.job,
        cause=MissedCause(row.cause),
        first_ns=row.first_ns,
        last_ns=row.last_ns,
        count=row.runs,
        noted_ns=row.noted_ns,
    )
