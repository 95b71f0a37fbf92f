"""Reading the audit log into the store, and asking the kernel how its audit system is."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from fimscan import audit, join
from fimscan.errors import InputError
from fimscan.model import AuditObservation, EventId, FileAccess, Scan
from fimscan.pipeline.joining import attribute_again
from fimscan.pipeline.users import user_name
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import processes as process_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_SETTLE_SECONDS = 5.0
_SETTLE_STEP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSource:
    """Which audit logs to read, and which ``node=`` names in them are this host's (besides its own)."""

    logs: tuple[str, ...]
    nodes: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The logs as the store knows them."""
        return tuple(os.fsencode(log) for log in self.logs)

    def is_ours(self, event: EventId) -> bool:
        """Whether an event is this host's: collected logs hold those of others, whose inodes mean other files."""
        return event.node in {"", os.uname().nodename, socket.getfqdn(), *self.nodes}


def look_at_audit(database: Database, source: AuditSource | None, *, settle: bool = False) -> tuple[str, ...]:
    """Observe, then read; gives the problems, a line each.

    With ``settle``, first wait until what was done so far has reached the log.
    """
    if source is None:
        return ()
    observation = _settled() if settle else audit.observe(time.time_ns())
    with database.begin() as connection:
        audit_store.add_observation(connection, database.host_id, observation)
    problems = [observation.error] if observation.error else []
    for log in source.paths:
        try:
            problems += _ingest_log(database, source, log, observation.daemon_pid)
        except InputError as error:
            problems.append(str(error))
    return tuple(problems)


def _ingest_log(database: Database, source: AuditSource, log: bytes, daemon_pid: int | None) -> list[str]:
    """Read one log from where it was last left, exactly once.

    What was read, how far, and over which time the log is known are one transaction each batch: a process that is
    killed loses nothing, counts nothing twice, and takes no hole for coverage.
    """
    host_id = database.host_id
    with database.read() as connection:
        cursor = audit_store.cursor(connection, host_id, log)
        last = scan_store.last_finished(connection, host_id)
    known = cursor is not None
    reached_ns = time.time_ns()
    foreign = 0
    for batch in audit.read_log(log, cursor, user_name=user_name):
        accesses = [access for access in batch.accesses if source.is_ours(access.event)]
        foreign += len(batch.accesses) - len(accesses)
        first_ns = min(batch.first_ns or reached_ns, reached_ns)
        last_ns = min(batch.last_ns or first_ns, reached_ns)
        # After a loss, older segments may be read again: what was lost lies somewhere before the newest of this.
        stretch = join.Extent(start_ns=last_ns if batch.lost_continuity else first_ns, end_ns=last_ns)
        with database.begin() as connection:
            access_store.add(connection, host_id, accesses, batch.events)
            processes = [actor for actor in batch.executions if actor.event and source.is_ours(actor.event)]
            process_store.add(connection, host_id, [*processes, *(access.actor for access in accesses)])
            audit_store.add_notices(connection, host_id, [n for n in batch.notices if source.is_ours(n.event)])
            audit_store.add_damaged(connection, host_id, batch.damaged)
            audit_store.set_cursor(connection, host_id, batch.cursor)
            audit_store.extend(connection, host_id, log, stretch, continued=known and not batch.lost_continuity)
            _note_late(connection, host_id, log, accesses, last)
        known = True
    with database.begin() as connection:
        if _is_written_by(daemon_pid, log):
            # All that the daemon wrote until then was read; of another file nobody knows how much is missing.
            stretch = join.Extent(start_ns=reached_ns, end_ns=reached_ns)
            audit_store.extend(connection, host_id, log, stretch, continued=known)
        late_ns = audit_store.late_since(connection, host_id, log)
        if late_ns is not None:
            attribute_again(connection, host_id, late_ns, source.paths)
            audit_store.note_late(connection, host_id, log, None)
    return [f"{os.fsdecode(log)}: {foreign:,} accesses of other hosts were left out (node=)"] if foreign else []


def _note_late(
    connection: Connection, host_id: int, log: bytes, accesses: Sequence[FileAccess], last: Scan | None
) -> None:
    """Remember that changes which were already answered have to be answered anew."""
    if last is None or last.finished_ns is None:
        return
    times = [a.event.time_ns for a in accesses if a.event.time_ns <= last.finished_ns]
    earlier = audit_store.late_since(connection, host_id, log)
    if times:
        audit_store.note_late(connection, host_id, log, min(times) if earlier is None else min(earlier, *times))


def _is_written_by(pid: int | None, log: bytes) -> bool:
    """Whether the audit daemon has this very file open."""
    if not pid:
        return False
    try:
        wanted = os.stat(log)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        with suppress(OSError):
            found = os.stat(f"/proc/{pid}/fd/{name}")
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False


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
