"""Who is behind an io_uring operation, where its own record does not say.

A worker thread of the kernel's carries out most operations that change files, and its event has a URINGOP record alone:
pid, ppid and uids, but neither login, nor program (audit_log_uring in kernel/auditsc.c; seen on 6.18). What other
events of the same pid say is only taken where the one before and the one after agree: a process may execute another
program, and a pid may be given to another process, between any two events.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence

from fimscan.audit.records import fields
from fimscan.model import AuditEvent, AuditRecord, EventId

PROCESS = "FIMSCAN_PROCESS"
"""The type of the record that is added: fields of SYSCALL records, and in ``from=`` the events that they are from."""
_NEAR_NS = 60_000_000_000
_SAID = (b"auid", b"tty", b"ses", b"comm", b"exe")

# As the kernel, and fimscan's own reading of laurel's logs, order the fields.
_IDS = {kind: re.compile(rb"\n%b [^\n]*? ppid=(\d+) pid=(\d+) " % kind.encode()) for kind in ("URINGOP", "SYSCALL")}

_Process = tuple[str, bytes, bytes]  # node, ppid, pid
_Witness = tuple[EventId, Mapping[bytes, bytes]]


def is_lone(event: AuditEvent) -> bool:
    """Whether the event is an io_uring operation and no system call, too (that one tells who made it)."""
    if b"\nURINGOP " not in event.text:  # as in most
        return False
    return not {record.type for record in event.records} & {"SYSCALL", PROCESS}


def with_processes(events: Sequence[AuditEvent]) -> tuple[AuditEvent, ...]:
    """The same events, those of lone operations with a record of what the events around them say of their process."""
    lone = {event.id: process for event in events if is_lone(event) and (process := _process("URINGOP", event))}
    if not lone:
        return tuple(events)
    wanted = set(lone.values())
    found: dict[_Process, list[_Witness]] = {}
    for event in events:
        process = _process("SYSCALL", event)
        if process is not None and process in wanted:
            call = next(record for record in event.records if record.type == "SYSCALL")
            found.setdefault(process, []).append((event.id, fields(call.body[call.body.find(b" ppid=") :])))
    for witnesses in found.values():
        witnesses.sort(key=lambda witness: witness[0])
    return tuple(
        [
            _completed(event, process, found.get(process, ()))
            if (process := lone.get(event.id)) and is_lone(event)
            else event
            for event in events
        ]
    )


def _process(kind: str, event: AuditEvent) -> _Process | None:
    match = _IDS[kind].search(event.text)
    return (event.id.node, match[1], match[2]) if match else None


def _completed(event: AuditEvent, process: _Process, witnesses: Sequence[_Witness]) -> AuditEvent:
    place = bisect(witnesses, event.id, key=lambda witness: witness[0])
    near = [
        witness for witness in witnesses[max(place - 1, 0) : place + 1] if _distance(witness[0], event.id) <= _NEAR_NS
    ]
    if not 0 < place < len(witnesses) or len(near) < 2:
        return event
    (before, first), (after, second) = near
    said = [(name, value) for name in _SAID if (value := first.get(name)) is not None and second.get(name) == value]
    body = b"from=%b,%b pid=%b" % (str(before).encode(), str(after).encode(), process[2])
    body += b"".join(b" %b=%b" % pair for pair in said) + b" key=(null)"  # as in a record that is whole
    if (user := first.get(b"AUID")) is not None and second.get(b"AUID") == user:
        body += b"\x1dAUID=" + user
    records = (*event.records, AuditRecord(event.id, PROCESS, body))
    return AuditEvent.of(event.id, records, complete=event.complete)


def _distance(one: EventId, other: EventId) -> int:
    return abs(one.time_ns - other.time_ns)
