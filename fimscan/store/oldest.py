"""How old the oldest record of each kind is that ``[retention]`` has an age for."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select

from fimscan.model import RetentionKind
from fimscan.store import schema
from fimscan.store.session import Session

_TIMES = {
    RetentionKind.ACCESSES: schema.access.c.time_ns,
    RetentionKind.FINDINGS: schema.change.c.before_ns,
    RetentionKind.SCANS: schema.scan.c.started_ns,
    RetentionKind.CONTROLS: schema.control_failure.c.start_ns,
    RetentionKind.OUTBOX: schema.outbox.c.made_ns,
}


def oldest(session: Session) -> Mapping[RetentionKind, int]:
    """The time of the oldest record of each kind; without those that have none, and without kept contents."""
    found = {}
    for kind, column in _TIMES.items():
        time_ns = session.scalar(select(func.min(column)).where(column.table.c.host_id == session.host_id))
        if time_ns is not None:
            found[kind] = int(time_ns)
    return found
