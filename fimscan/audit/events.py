"""Records, as they arrive interleaved -> whole events.

An event is finished when its PROCTITLE (or EOE) and all the PATH records that its SYSCALL announces (``items=``) are
there. One that lacks something is given up when the record clock has moved on by ``timeout_ns``. That clock is the time
in the records, never the wall clock, so that reading a log again gives the same events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fimscan.model import AuditEvent, AuditRecord, EventId

TIMEOUT_NS = 5_000_000_000
MAX_OPEN = 20_000
_CLOCK_STEP_NS = 60_000_000_000  # records come seconds late, never minutes: then the clock was set back

# Sent by user space as one record each (linux/audit.h: 1100-1299 and 2100-2999), so there is nothing to wait for.
# A crash, too, is recorded outside of any system call (audit_core_dumps in kernel/auditsc.c).
_SINGLE = ("DAEMON_", "USER_", "CRED_", "SERVICE_", "SYSTEM_", "ANOM_ABEND")
_CALLS = frozenset({"SYSCALL", "URINGOP"})
_ENDS = frozenset({"PROCTITLE", "EOE"})
_COMPANIONS = _ENDS | {"PATH", "CWD", "OPENAT2", "EXECVE", "SOCKADDR", "MMAP"}  # which never come without a call
_ITEMS = re.compile(rb" items=(\d{1,6})")


class _Open:
    """An event that is still being collected."""

    __slots__ = ("deadline", "id", "items", "last", "paths", "position", "records")

    def __init__(self, event: EventId, position: int, deadline: int) -> None:
        self.id = event
        self.records: list[AuditRecord] = []
        self.items: int | None = None  # how many PATH records there will be; None before the SYSCALL record
        self.paths = 0
        self.last = False  # PROCTITLE or EOE was seen
        self.position = position
        self.deadline = deadline

    def is_whole(self) -> bool:
        """Whether the PATH records are as many as they seem to be: a line that came twice is one record."""
        items = {record.body.partition(b" ")[0] for record in self.records if record.type == "PATH"}
        self.paths = len(items)
        return self.items is not None and self.paths >= self.items

    def is_complete(self) -> bool:
        """Whether nothing is missing that it announced, or needs."""
        if self.items is None:
            return not any(record.type in _COMPANIONS for record in self.records)
        return self.is_whole()

    def event(self) -> AuditEvent:
        """What came, although its end was perhaps not seen. Complete, where what was announced is all there."""
        return AuditEvent.of(self.id, self.records, complete=self.is_complete())


class Assembler:
    """Groups records by node, time and serial.

    A record that comes after its event was finished makes an event of its own, incomplete, which says too little for
    anybody to be named by it.

    Args:
        timeout_ns: how far the record clock may move past an unfinished event.
        max_open: how many events may be open at once; the oldest is given up when there are more.
    """

    def __init__(self, *, timeout_ns: int = TIMEOUT_NS, max_open: int = MAX_OPEN) -> None:
        self._timeout_ns = timeout_ns
        self._max_open = max_open
        self._open: dict[EventId, _Open] = {}
        self._clock = 0
        self._current: _Open | None = None  # where the last record went: the next one mostly goes there too

    @property
    def oldest_open(self) -> int | None:
        """The position of the first record of the longest open event; reading from there on again loses nothing."""
        return next(iter(self._open.values())).position if self._open else None

    def add(self, record: AuditRecord, position: int = 0) -> tuple[AuditEvent, ...]:
        """Take one record, which stands at ``position`` (any ascending number); return what is finished by it."""
        kind = record.type
        group = self._current
        if group is None or group.id is not record.id:
            group = self._open.get(record.id)
            if group is None:
                if kind == "EOE":
                    return ()
                return self._start(record, position)
            self._current = group
        group.records.append(record)
        if kind == "PATH":
            group.paths += 1
        elif kind in _ENDS:
            group.last = True
        elif kind in _CALLS:
            items = _ITEMS.search(record.body)
            group.items = int(items[1]) if items else 0
        if group.last and group.items is not None and group.paths >= group.items and group.is_whole():
            del self._open[group.id]
            self._current = None
            return (AuditEvent.of(group.id, group.records),)
        return ()

    def pass_to(self, now_ns: int) -> tuple[AuditEvent, ...]:
        """Move the record clock; return what has waited for too long."""
        if now_ns < self._clock - _CLOCK_STEP_NS:
            self._clock = now_ns
            for group in self._open.values():
                group.deadline = now_ns + self._timeout_ns
        elif now_ns > self._clock:
            self._clock = now_ns
            if self._open:
                return tuple(self._expired())
        return ()

    def is_open(self, event: EventId) -> bool:
        """Whether some of an event's records came, and others may still."""
        return event in self._open

    def flush(self) -> tuple[AuditEvent, ...]:
        """Give up waiting: every event that is still open, oldest first."""
        groups = list(self._open.values())
        self._open.clear()
        self._current = None
        return tuple(group.event() for group in groups)

    def _start(self, record: AuditRecord, position: int) -> tuple[AuditEvent, ...]:
        expired = self.pass_to(record.id.time_ns)
        if record.type.startswith(_SINGLE):
            return (*expired, AuditEvent.of(record.id, (record,)))
        if len(self._open) >= self._max_open:
            oldest = self._open.pop(next(iter(self._open)))
            expired += (AuditEvent.of(oldest.id, oldest.records, complete=False),)
        self._current = self._open[record.id] = _Open(record.id, position, self._clock + self._timeout_ns)
        return expired + self.add(record, position)

    def _expired(self) -> Iterator[AuditEvent]:
        while self._open:
            key, group = next(iter(self._open.items()))
            if group.deadline > self._clock:
                break
            del self._open[key]
            if group is self._current:
                self._current = None
            yield group.event()
