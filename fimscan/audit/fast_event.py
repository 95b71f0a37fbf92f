"""Parse an event whose lines are contiguous in the log, as most are, with one regular expression.

The :class:`~fimscan.audit.events.Assembler` matches every line by itself; this module matches the whole event. It
accepts only events that need no more records: all that they announce is there, in the kernel's order (audit_log_exit in
kernel/auditsc.c). Every other event, with an additional or a missing record, is left to the assembler.

A relay puts a prefix in front of each line (a time, a host, its own name). Events whose lines have the same prefix are
parsed here, too.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from fimscan.audit.damage import is_cut
from fimscan.audit.parsed_call import CALL, OUTCOME, Said
from fimscan.audit.paths import Item, parse_item
from fimscan.audit.records import NODE, STAMP, event_id_once, parse_line
from fimscan.audit.syscalls import syscall_name
from fimscan.model import COMPLETE, AuditEvent

_MOST_PATHS = 6  # a rename has up to five
_NO_OTHERS = (), (), (), True  # EXECVE, OPENAT2 and other records: none; complete
_TEXTS = tuple(
    COMPLETE + b"\nSYSCALL %b\nCWD %b" + b"\nPATH %b" * paths + b"\nPROCTITLE %b" for paths in range(_MOST_PATHS + 1)
)


def _line(kind: bytes, content: bytes) -> bytes:
    """A pattern of a later line with the same prefix and event; its group is the body, which matches ``content``."""
    return rb"\1type=" + kind + rb" (?:msg=)?audit\(\3\): (" + content + rb")\n"


def _paths(kind: bytes) -> bytes:
    """A pattern of PATH lines, numbered from 0."""
    pattern = b""
    for number in reversed(range(_MOST_PATHS)):
        pattern = rb"(?:" + _line(kind, rb"item=%d [^\n]*" % number) + pattern + rb")?"
    return pattern


def _event(beginning: bytes, call: bytes, cwd: bytes, path: bytes, title: bytes) -> re.Pattern[bytes]:
    """A pattern of whole events: what may precede ``type=``, then the record types as they are written."""
    return re.compile(
        rb"(" + beginning + rb"(?:" + NODE + rb" )?)type=" + call + rb" (?:msg=)?audit\((" + STAMP + rb")\): ("
        + CALL + OUTCOME + rb"items=(\d)( ppid=[^\n]*))\n"
        + _line(cwd, rb"cwd=\"[^\n]*\"") + _paths(path) + _line(title, rb"[^\n]*")
    )  # fmt: skip


_WHOLE = _event(rb"", rb"SYSCALL", rb"CWD", rb"PATH", rb"PROCTITLE")


@cache
def _whole_relayed() -> re.Pattern[bytes]:
    """A pattern of whole events whose lines have the same prefix. The prefix itself is not checked."""
    types = (rb"(?:SYSCALL|1300)", rb"(?:CWD|1307)", rb"(?:PATH|1302)", rb"(?:PROCTITLE|1327)")
    return _event(rb"[^\n=]{0,255}?", *types)


def whole_event(block: bytes, position: int, *, relayed: bool = False) -> tuple[AuditEvent, Said | None, int] | None:
    """Parse the event at ``position``; return it, its parsed call and where it ends; ``None`` if it is not contiguous.

    The parsed call equals the result of :func:`~fimscan.audit.parsed_call.said_by`, ``None`` for a call that changes no
    file.
    """
    match = (_whole_relayed() if relayed else _WHOLE).match(block, position)
    if match is None:
        return None
    beginning, node, stamp, record, arch, number, success, a0, a1, a2, a3, items, process, *bodies = match.groups()
    cwd, *paths, title = bodies
    announced = int(items)
    call = syscall_name(arch, int(number))
    if announced > _MOST_PATHS or paths.count(None) != _MOST_PATHS - announced or call == "openat2":
        return None  # its OPENAT2 record is missing so far
    if relayed:
        node = _relayed_node(beginning)
        if node is None or call is None:  # a relay may have put another record on the last line
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
    said = None
    if call is not None:
        success = success == b"yes"
        # Positional arguments, because keyword arguments are slower.
        said = Said(event, arch, call, success, (a0, a1, a2, a3), process, cwd, paths, title, *_NO_OTHERS, parsed)
    return AuditEvent(event, text), said, match.end()


@lru_cache(maxsize=1024)
def _relayed_node(beginning: bytes) -> bytes | None:
    """The node that a line with this prefix belongs to; ``None`` if no record has such a prefix."""
    record = parse_line(beginning + b"type=SYSCALL msg=audit(0.000:0): ")
    return None if record is None or record.type != "SYSCALL" else record.id.node.encode("latin-1")


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
