"""An event whose lines stand in the log one after the other, as most do -> :class:`AuditEvent`, and what it says.

In one look, where the :class:`~fimscan.audit.events.Assembler` takes one for every line, and with nothing left to wait
for: all that it announces is there, in the kernel's order (audit_log_exit in kernel/auditsc.c).
"""

from __future__ import annotations

import re

from fimscan.audit.records import NODE, STAMP, event_id
from fimscan.audit.said import CALL, OUTCOME, Said
from fimscan.audit.syscalls import syscall_name
from fimscan.model import COMPLETE, AuditEvent

_MOST_PATHS = 6  # a rename has up to five
_TEXTS = tuple(
    COMPLETE + b"\nSYSCALL %b\nCWD %b" + b"\nPATH %b" * paths + b"\nPROCTITLE %b" for paths in range(_MOST_PATHS + 1)
)


def _line(kind: bytes, beginning: bytes = b"") -> bytes:
    """A pattern of a later line, of the same node and event; its group is the body."""
    return rb"\1type=" + kind + rb" msg=audit\(\3\): (" + beginning + rb"[^\n]*)\n"


def _paths() -> bytes:
    """A pattern of PATH lines, numbered from 0."""
    pattern = b""
    for number in reversed(range(_MOST_PATHS)):
        pattern = rb"(?:" + _line(rb"PATH", rb"item=%d " % number) + pattern + rb")?"
    return pattern


_WHOLE = re.compile(
    rb"((?:" + NODE + rb" )?)type=SYSCALL msg=audit\((" + STAMP + rb")\): ("
    + CALL + OUTCOME + rb"items=(\d)( ppid=[^\n]*))\n" + _line(rb"CWD") + _paths() + _line(rb"PROCTITLE")
)  # fmt: skip


def whole_event(block: bytes, position: int) -> tuple[AuditEvent, Said | None, int] | None:
    """The event that begins at ``position``, and where it ends; ``None`` where there is none in one piece.

    Between the two is what :func:`~fimscan.audit.said.said_by` makes of the event.
    """
    match = _WHOLE.match(block, position)
    if match is None:
        return None
    _, node, stamp, record, arch, number, success, a0, a1, a2, a3, items, process, cwd, *paths, title = match.groups()
    announced = int(items)
    if announced > _MOST_PATHS or paths.count(None) != _MOST_PATHS - announced:
        return None
    paths = paths[:announced]
    text = _TEXTS[announced] % (record, cwd, *paths, title)
    if b"\r" in text:
        return None
    event = event_id(stamp, node)
    call = syscall_name(arch, int(number))
    said = None
    if call is not None:
        said = Said(event, arch, call, success == b"yes", (a0, a1, a2, a3), process, cwd, paths, title)
    return AuditEvent(event, text), said, match.end()
