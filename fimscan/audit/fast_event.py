"""Parse an event whose lines are contiguous in the log, as most are, with one regular expression.

The :class:`~fimscan.audit.events.Assembler` matches every line by itself; this module matches the whole event. It
accepts only events that need no more records: all that they announce is there, in the kernel's order (audit_log_exit in
kernel/auditsc.c). Every other event, with an additional or a missing record, is left to the assembler.
"""

from __future__ import annotations

import re
from functools import lru_cache

from fimscan.audit.damage import is_cut
from fimscan.audit.parsed_call import CALL, OUTCOME, Said
from fimscan.audit.paths import Item, parse_item
from fimscan.audit.records import NODE, STAMP, event_id_once
from fimscan.audit.syscalls import syscall_name
from fimscan.model import COMPLETE, AuditEvent

_MOST_PATHS = 6  # a rename has up to five
_NO_OTHERS = (), (), (), True  # EXECVE, OPENAT2 and other records: none; complete
_TEXTS = tuple(
    COMPLETE + b"\nSYSCALL %b\nCWD %b" + b"\nPATH %b" * paths + b"\nPROCTITLE %b" for paths in range(_MOST_PATHS + 1)
)


def _line(kind: bytes, content: bytes) -> bytes:
    """A pattern of a later line of the same node and event; its group is the body, which matches ``content``."""
    return rb"\1type=" + kind + rb" msg=audit\(\3\): (" + content + rb")\n"


def _paths() -> bytes:
    """A pattern of PATH lines, numbered from 0."""
    pattern = b""
    for number in reversed(range(_MOST_PATHS)):
        pattern = rb"(?:" + _line(rb"PATH", rb"item=%d [^\n]*" % number) + pattern + rb")?"
    return pattern


_WHOLE = re.compile(
    rb"((?:" + NODE + rb" )?)type=SYSCALL msg=audit\((" + STAMP + rb")\): ("
    + CALL + OUTCOME + rb"items=(\d)( ppid=[^\n]*))\n"
    + _line(rb"CWD", rb"cwd=\"[^\n]*\"") + _paths() + _line(rb"PROCTITLE", rb"[^\n]*")
)  # fmt: skip


def whole_event(block: bytes, position: int) -> tuple[AuditEvent, Said | None, int] | None:
    """Parse the event at ``position``; return it, its parsed call and where it ends; ``None`` if it is not contiguous.

    The parsed call equals the result of :func:`~fimscan.audit.parsed_call.said_by`, ``None`` for a call that changes no
    file.
    """
    match = _WHOLE.match(block, position)
    if match is None:
        return None
    _, node, stamp, record, arch, number, success, a0, a1, a2, a3, items, process, cwd, *paths, title = match.groups()
    announced = int(items)
    if announced > _MOST_PATHS or paths.count(None) != _MOST_PATHS - announced:
        return None
    paths = paths[:announced]
    parsed: list[Item] = []
    for path in paths:
        item = parse_item(path)
        # The nametype, the last field that is needed, is there, and no other record follows in the line.
        if item is None or not item.kind or (b"(" in path and b"audit(" in path):
            return None
        parsed.append(item)
    translated = _is_whole_process(process)
    if b"(" in cwd or not _is_whole_title(title):
        return None
    if not translated and (translated is not None or (paths and b"OUID=" in paths[-1])):
        return None
    text = _TEXTS[announced] % (record, cwd, *paths, title)
    if b"\r" in text:
        return None
    event = event_id_once(stamp, node)
    call = syscall_name(arch, int(number))
    said = None
    if call is not None:
        if call == "openat2":  # its OPENAT2 record is missing so far
            return None
        success = success == b"yes"
        # Positional arguments, because keyword arguments are slower.
        said = Said(event, arch, call, success, (a0, a1, a2, a3), process, cwd, paths, title, *_NO_OTHERS, parsed)
    return AuditEvent(event, text), said, match.end()


@lru_cache(maxsize=2048)
def _is_whole_process(process: bytes) -> bool | None:
    """Whether the end of a SYSCALL record is not truncated; ``None`` if it is whole but lacks auditd's translation.

    Cached, because it is the same in every call that a process makes.
    """
    if is_cut("SYSCALL", process) or b"audit(" in process:
        return False
    return True if b"UID=" in process else None


@lru_cache(maxsize=2048)
def _is_whole_title(title: bytes) -> bool:
    """Whether a PROCTITLE record is not truncated."""
    return not is_cut("PROCTITLE", title) and b"audit(" not in title
