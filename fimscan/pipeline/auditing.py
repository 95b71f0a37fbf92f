"""Reading the audit log into the store, and asking the kernel how its audit system is."""

from __future__ import annotations

import os
import pwd
import time
from dataclasses import dataclass
from functools import cache

from fimscan import audit, join
from fimscan.errors import InputError
from fimscan.model import AuditObservation
from fimscan.pipeline.joining import attribute_again
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_SETTLE_SECONDS = 5.0
_SETTLE_STEP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Which audit logs to read. ``live`` logs are still being written; others end where they end."""

    logs: tuple[str, ...]
    live: bool = True


def ingest_audit(database: Database, source: AuditSource) -> tuple[str, ...]:
    """Read the audit logs from where they were last left, exactly once; gives the problems, a line each.

    Changes whose window a late record falls into are attributed again.
    """
    problems = []
    for log in source.logs:
        try:
            _ingest_log(database, os.fsencode(log), live=source.live)
        except InputError as error:
            problems.append(str(error))
    return tuple(problems)


def _ingest_log(database: Database, log: bytes, *, live: bool) -> None:
    host_id = database.host_id
    with database.read() as connection:
        cursor = audit_store.cursor(connection, host_id, log)
        last = scan_store.last_finished(connection, host_id)
    reached_ns = time.time_ns()
    first_ns: int | None = None
    continued = cursor is not None
    earliest_late: int | None = None
    for batch in audit.read_log(log, cursor, final=not live, user_name=user_name):
        with database.begin() as connection:
            audit_store.add_accesses(connection, host_id, batch.accesses)
            audit_store.add_notices(connection, host_id, batch.notices)
            audit_store.add_damaged(connection, host_id, batch.damaged)
            audit_store.set_cursor(connection, host_id, batch.cursor)
        continued = continued and not batch.lost_continuity
        first_ns = batch.first_ns if first_ns is None else first_ns
        for access in batch.accesses:
            late = last is not None and access.event.time_ns <= (last.finished_ns or 0)
            if late and (earliest_late is None or access.event.time_ns < earliest_late):
                earliest_late = access.event.time_ns
    start = reached_ns if first_ns is None else min(first_ns, reached_ns)
    with database.begin() as connection:
        stretch = join.Extent(start_ns=start, end_ns=reached_ns)
        audit_store.extend(connection, host_id, log, stretch, continued=continued)
    if earliest_late is not None:
        attribute_again(database, earliest_late)


def observe_audit(database: Database) -> AuditObservation:
    """Ask the kernel how its audit system is, and keep the answer."""
    observation = audit.observe(time.time_ns())
    with database.begin() as connection:
        audit_store.add_observation(connection, database.host_id, observation)
    return observation


def look_at_audit(database: Database, source: AuditSource | None, *, settle: bool = False) -> tuple[str, ...]:
    """Observe, then read. With ``settle``, first wait until what was done so far has reached the log."""
    if source is None:
        return ()
    observation = _settled() if settle and source.live else audit.observe(time.time_ns())
    with database.begin() as connection:
        audit_store.add_observation(connection, database.host_id, observation)
    problems = ingest_audit(database, source)
    return (*((observation.error,) if observation.error else ()), *problems)


def _settled() -> AuditObservation:
    """Wait until the kernel's queue is empty: its records are on their way, and the last change must be among them."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        time.sleep(_SETTLE_STEP)
        observation = audit.observe(time.time_ns())
        if not observation.backlog or time.monotonic() > deadline:
            # An empty queue means that the daemon has the records; it writes them out at once, but not in no time.
            time.sleep(_SETTLE_STEP)
            return observation


@cache
def user_name(uid: int) -> str | None:
    """The name of a user of this host, ``None`` where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
