"""Find the process of an io_uring operation whose own record does not name it.

A kernel worker thread carries out most io_uring operations that change files. Its event has only a URINGOP record: pid,
ppid and uids, but neither login nor program (audit_log_uring in kernel/auditsc.c; seen on 6.18). The rest is taken from
other events of the same pid, but only where the event before and the event after agree. Between any two events, a
process may execute another program, or its pid may be given to another process.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence

from fimscan.audit.records import fields
from fimscan.model import AuditEvent, AuditRecord, EventId

PROCESS = "FIMSCAN_PROCESS"
"""The type of the added record: fields of SYSCALL records, and in ``from=`` the events that they come from."""
_PROCESS_LINE = b"\n%b " % PROCESS.encode()
_NEAR_NS = 60_000_000_000
_COPIED_FIELDS = (b"auid", b"tty", b"ses", b"comm", b"exe")

# The order of fields in the kernel's records, and in those that fimscan converts from laurel's logs.
_IDS = re.compile(rb" ppid=(\d+) pid=(\d+) ")

_Process = tuple[str, bytes, bytes]  # node, ppid, pid
_Neighbour = tuple[EventId, Mapping[bytes, bytes]]


def is_lone(event: AuditEvent) -> bool:
    """Whether the event is an io_uring operation without a system call, which would name the process."""
    text = event.text
    return b"\nURINGOP " in text and b"\nSYSCALL " not in text and _PROCESS_LINE not in text


def with_processes(events: Sequence[AuditEvent]) -> tuple[AuditEvent, ...]:
    """The same events.

    Those of lone io_uring operations get a record with what the events around them say of the process.
    """
    lone = {event.id: process for event in events if is_lone(event) and (process := _process(b"\nURINGOP ", event))}
    if not lone:
        return tuple(events)
    wanted = set(lone.values())
    found: dict[_Process, list[_Neighbour]] = {}
    for event in events:
        process = _process(b"\nSYSCALL ", event)
        if process is not None and process in wanted:
            call = next(record for record in event.records if record.type == "SYSCALL")
            found.setdefault(process, []).append((event.id, fields(call.body[call.body.find(b" ppid=") :])))
    for neighbours in found.values():
        neighbours.sort(key=lambda neighbour: neighbour[0])
    return tuple(
        [
            _completed(event, process, found.get(process, ()))
            if (process := lone.get(event.id)) and is_lone(event)
            else event
            for event in events
        ]
    )


def _process(beginning: bytes, event: AuditEvent) -> _Process | None:
    """The process that the event's record with this beginning names."""
    text = event.text
    start = text.find(beginning)
    if start < 0:
        return None
    end = text.find(b"\n", start + 1)
    match = _IDS.search(text, start + len(beginning), len(text) if end < 0 else end)
    return (event.id.node, match[1], match[2]) if match else None


def _completed(event: AuditEvent, process: _Process, neighbours: Sequence[_Neighbour]) -> AuditEvent:
    place = bisect(neighbours, event.id, key=lambda neighbour: neighbour[0])
    near = [
        neighbour
        for neighbour in neighbours[max(place - 1, 0) : place + 1]
        if _distance(neighbour[0], event.id) <= _NEAR_NS
    ]
    if not 0 < place < len(neighbours) or len(near) < 2:
        return event
    (before, first), (after, second) = near
    agreed = [
        (name, value) for name in _COPIED_FIELDS if (value := first.get(name)) is not None and second.get(name) == value
    ]
    body = b"from=%b,%b pid=%b" % (str(before).encode(), str(after).encode(), process[2])
    body += b"".join(b" %b=%b" % pair for pair in agreed) + b" key=(null)"  # as at the end of a whole record
    if (user := first.get(b"AUID")) is not None and second.get(b"AUID") == user:
        body += b"\x1dAUID=" + user
    records = (*event.records, AuditRecord(event.id, PROCESS, body))
    return AuditEvent.of(event.id, records, complete=event.complete)


def _distance(one: EventId, other: EventId) -> int:
    return abs(one.time_ns - other.time_ns)
