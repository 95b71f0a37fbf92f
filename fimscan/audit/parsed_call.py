"""Parse the records of an event into one :class:`ParsedCall`: the system call, its arguments, process, PATH records.

If an event has the text that the kernel usually writes, one regular expression parses it. Any other event is parsed
record by record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fimscan.audit.arches import machine
from fimscan.audit.interpreted import arches, as_written
from fimscan.audit.paths import Item
from fimscan.audit.records import bare, fields, int_value, kernel_part
from fimscan.audit.syscalls import CALLS, URING_OPERATIONS, syscall_name
from fimscan.audit.uring import PROCESS
from fimscan.model import AuditEvent, AuditRecord, EventId

_ARGUMENTS = b"".join([rb"a%d=([0-9a-f]{1,16}+) " % number for number in range(4)])
CALL = rb"arch=([0-9a-f]{1,8}+) syscall=(\d{1,10}+) "
OUTCOME = rb"success=(yes|no) exit=-?\d++ " + _ARGUMENTS
"""The beginning of a SYSCALL record. Groups: architecture, number; success, ``a0`` to ``a3``."""

_SYSCALL = re.compile(CALL)
_LATER_OUTCOME = re.compile(rb" " + OUTCOME)
_USUAL = re.compile(
    rb"complete\nSYSCALL " + CALL + OUTCOME + rb"items=\d{1,6}+( ppid=[^\n]*+)\nCWD ([^\n]*+)"
    rb"\nPATH ([^\n]*+(?:\nPATH [^\n]*+)*)\nPROCTITLE ([^\n]*+)\Z"
)


class ParsedCall(NamedTuple):
    """One parsed call: what the records of an event say.

    ``arguments`` are ``a0`` to ``a3``; ``process`` is the part of the call's record about the process. ``cwd`` and
    ``title`` are the bodies of the CWD and PROCTITLE records; ``paths``, ``words`` and ``open_how`` those of the PATH,
    EXECVE and OPENAT2 records. ``others`` are bodies of other records about the process; only io_uring operations have
    them. ``items`` are the parsed ``paths``, in order and without duplicates, where they have been parsed already.
    ``serial_at_end``: see :class:`~fimscan.model.FileAccess`.
    """

    event: EventId
    arch: bytes
    call: str
    success: bool
    arguments: Sequence[bytes | None]
    process: bytes
    cwd: bytes | None
    paths: Sequence[bytes]
    title: bytes | None
    words: Sequence[bytes] = ()
    open_how: Sequence[bytes] = ()
    others: Sequence[bytes] = ()
    complete: bool = True
    items: Sequence[Item] | None = None
    serial_at_end: bool = True

    def argument(self, position: int | None) -> int | None:
        """The value of ``a0`` to ``a3``; ``None`` where it is not logged."""
        return None if position is None or position >= len(self.arguments) else int_value(self.arguments[position], 16)


def parse_call(event: AuditEvent) -> ParsedCall | None:
    """Parse an event about a call that changes files; ``None`` for every other event."""
    usual = _USUAL.match(event.text)
    if usual is None:
        return _parse_records(event)
    arch, number, success, a0, a1, a2, a3, process, cwd, within, title = usual.groups()
    call = syscall_name(arch, int(number))
    if call is None:
        return None
    paths, arguments = within.split(b"\nPATH "), (a0, a1, a2, a3)
    # All fields in order, through the tuple's constructor: ParsedCall's own takes three times as long.
    return tuple.__new__(
        ParsedCall,
        (event.id, arch, call, success == b"yes", arguments, process, cwd, paths, title, (), (), (), True, None, True),
    )


def parse_execve(event: AuditEvent, call: AuditRecord) -> ParsedCall:
    """Parse an event about an execve, whose SYSCALL record is ``call``."""
    return _of_bodies(event, _by_type(event), ("SYSCALL", call.body), (b"", "execve"))


# --------------------------------------------------------------------------------------------------------------------
# Record by record: any records in any order

_Bodies = Mapping[str, Sequence[bytes]]
_Record = tuple[str, bytes]  # type, body


def _parse_records(event: AuditEvent) -> ParsedCall | None:
    bodies = _by_type(event)
    record = _call_record(bodies)
    call = None if record is None else _known_call(record, bodies)
    if record is None or call is None:
        return None
    if call[0] and _is_interpreted(record[1]):
        bodies = {kind: [as_written(kind, body, call[0]) for body in those] for kind, those in bodies.items()}
        record = record[0], as_written(*record, call[0])
    return _of_bodies(event, bodies, record, call)


def _of_bodies(event: AuditEvent, bodies: _Bodies, record: _Record, call: tuple[bytes, str]) -> ParsedCall:
    kind, body = record
    success, arguments = _outcome(body)
    # In the order of the fields: by their names it takes longer.
    return ParsedCall(
        event.id,
        *call,
        success,
        arguments,
        about_process(body),
        _the_one(bodies.get("CWD", ())),
        bodies.get("PATH", ()),
        _the_one(bodies.get("PROCTITLE", ())),
        bodies.get("EXECVE", ()),
        bodies.get("OPENAT2", ()),
        (*bodies.get("SYSCALL", ()), *bodies.get(PROCESS, ())) if kind == "URINGOP" else (),
        event.complete,
        serial_at_end=_WRITTEN_AT_END.issuperset(bodies),
    )


# The records that the kernel writes when a call ends (audit_log_exit in kernel/auditsc.c). Other records of its event,
# such as an AVC, may have been written earlier.
_WRITTEN_AT_END = frozenset({
    "SYSCALL", "URINGOP", "CWD", "PATH", "PROCTITLE", "EXECVE", "OPENAT2", "SOCKADDR", "SOCKETCALL", "FD_PAIR", "MMAP",
    "OBJ_PID", "BPRM_FCAPS", "IPC", "EOE", PROCESS,
})  # fmt: skip


def _by_type(event: AuditEvent) -> _Bodies:
    """The bodies of an event's records. Made of its text: records of their own would take twice as long."""
    found: dict[str, list[bytes]] = {}
    for line in event.text.split(b"\n")[1:]:
        name, _, body = line.partition(b" ")
        kind = name.decode("latin-1")
        if kind in found:
            found[kind].append(body)
        else:
            found[kind] = [body]
    return found


def _the_one(bodies: Sequence[bytes]) -> bytes | None:
    """The only record of a type. If two differ, records of several events were mixed up, and neither counts."""
    if len(bodies) > 1 and len({kernel_part(body) for body in bodies}) > 1:
        return None
    return bodies[0] if bodies else None


def about_process(body: bytes) -> bytes:
    """The part of a SYSCALL record from ppid= on.

    It mostly repeats from call to call of a process, while the arguments before it differ.
    """
    return body[max(body.find(b" ppid="), 0) :]


def _call_record(bodies: _Bodies) -> _Record | None:
    """The record of the operation: URINGOP before SYSCALL, because io_uring_enter does not name its operations.

    An event has one such record. If several differ, events were mixed up and nothing is certain: ``None``.
    """
    found = None
    for kind in ("SYSCALL", "URINGOP"):
        if kind in bodies:
            body = _the_one(bodies[kind])
            if body is None:
                return None
            found = kind, body
    return found


def _known_call(record: _Record, bodies: _Bodies) -> tuple[bytes, str] | None:
    """(architecture, name) of a call that changes files. Most events end here, before any field is parsed."""
    kind, body = record
    if kind == "SYSCALL":
        match = _SYSCALL.match(body)
        if match is None:
            return _spelled_call(body)
        name = syscall_name(match[1], int(match[2]))
        return (match[1], name) if name else None
    name = URING_OPERATIONS.get(int_value(fields(body).get(b"uring_op")) or 0)
    # An operation that runs within io_uring_enter has a SYSCALL record after its own.
    arch = next((match[1] for other in bodies.get("SYSCALL", ()) if (match := _SYSCALL.match(other))), b"")
    return (arch, name) if name else None


def _spelled_call(body: bytes) -> tuple[bytes, str] | None:
    """(architecture, name) of a call whose numbers are quoted, or replaced by names."""
    values = fields(body.partition(b" ppid=")[0])
    arch, call = bare(values.get(b"arch")), bare(values.get(b"syscall"))
    arch = arches().get(arch, arch)
    found = machine(arch)
    if found is None:
        return None
    number = int_value(call)
    name = call.decode("ascii", "replace") if number is None else syscall_name(arch, number) or ""
    return (arch, name) if name in CALLS and name in found.calls.values() else None


def _is_interpreted(body: bytes) -> bool:
    """Whether a call's record has names in place of numbers; then the other records of its event have them, too."""
    if _SYSCALL.match(body):  # the usual case
        return False
    values = fields(body.partition(b" ppid=")[0])
    arch, call = bare(values.get(b"arch")), bare(values.get(b"syscall"))
    return arch in arches() or (call != b"" and not call.isdigit())


def _outcome(body: bytes) -> tuple[bool, Sequence[bytes | None]]:
    """(whether the call succeeded, its first four arguments)."""
    if usual := _LATER_OUTCOME.search(body):
        success, *arguments = usual.groups()
        return success == b"yes", arguments
    # The fields before ppid= are about the call, those after it about the process.
    values = fields(body.partition(b" ppid=")[0])
    success = bare(values.get(b"success"))
    if not success:  # absent where the process ended within the call; may also be lost
        exit_code = int_value(values.get(b"exit"))
        success = b"no" if exit_code is None or exit_code < 0 else b"yes"
    return success == b"yes", [values.get(key) for key in (b"a0", b"a1", b"a2", b"a3")]
