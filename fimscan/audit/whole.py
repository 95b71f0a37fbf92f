"""An event whose lines stand in the log one after the other, as most do -> :class:`AuditEvent`, and what it says.

In one look, where the :class:`~fimscan.audit.events.Assembler` takes one for every line, and with nothing left to wait
for: all that it announces is there, in the kernel's order (audit_log_exit in kernel/auditsc.c). Anything else in it, or
missing of it, is left to the general way.
"""

from __future__ import annotations

import re

from fimscan.audit.damage import is_half_translated
from fimscan.audit.paths import parse_item
from fimscan.audit.records import NODE, STAMP, event_id
from fimscan.audit.said import CALL, OUTCOME, Said
from fimscan.audit.syscalls import syscall_name
from fimscan.model import COMPLETE, AuditEvent

_MOST_PATHS = 6  # a rename has up to five
_TEXTS = tuple(
    COMPLETE + b"\nSYSCALL %b\nCWD %b" + b"\nPATH %b" * paths + b"\nPROCTITLE %b" for paths in range(_MOST_PATHS + 1)
)


def _line(kind: bytes, content: bytes) -> bytes:
    """A pattern of a later line, of the same node and event, whose body is like that; its group is the body."""
    return rb"\1type=" + kind + rb" msg=audit\(\3\): (" + content + rb")\n"


# How a whole line ends (see ``damage``): one that was cut is left to the general way.
_KEY = rb"(?:\"[^\"\n]*\"|[^\"\s\x1d]+)(?:\x1d[^\n]*FSGID=\"[^\"\n]*\")?"
_TITLE = rb"proctitle=(?:\"[^\"\n]*\"|[0-9A-F]+|\(null\))"


def _paths() -> bytes:
    """A pattern of PATH lines, numbered from 0."""
    pattern = b""
    for number in reversed(range(_MOST_PATHS)):
        pattern = rb"(?:" + _line(rb"PATH", rb"item=%d [^\n]*" % number) + pattern + rb")?"
    return pattern


_WHOLE = re.compile(
    rb"((?:" + NODE + rb" )?)type=SYSCALL msg=audit\((" + STAMP + rb")\): ("
    + CALL + OUTCOME + rb"items=(\d)( ppid=[^\n\x1d]* key=" + _KEY + rb"))\n"
    + _line(rb"CWD", rb"cwd=\"[^\"\n]*\"") + _paths() + _line(rb"PROCTITLE", _TITLE)
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
    if b"\r" in text or b"audit(" in text or (len(title) & 1 and title[-1:] not in b'")'):
        return None
    if not all(map(_is_whole_path, paths)) or is_half_translated(record, paths):
        return None
    event = event_id(stamp, node)
    call = syscall_name(arch, int(number))
    said = None
    if call is not None:
        if call == "openat2":  # whose OPENAT2 record is not there yet
            return None
        said = Said(event, arch, call, success == b"yes", (a0, a1, a2, a3), process, cwd, paths, title)
    return AuditEvent(event, text), said, match.end()


def _is_whole_path(body: bytes) -> bool:
    """Whether a PATH record has its nametype, the last field that counts."""
    item = parse_item(body)
    return item is not None and item.kind != b""
