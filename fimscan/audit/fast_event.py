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
from fimscan.audit.parsed_call import CALL, OUTCOME, ParsedCall
from fimscan.audit.paths import Item, parse_item_once
from fimscan.audit.records import BRACKET, NODE, PARTED_STAMP, parse_line, time_ns_of
from fimscan.audit.syscalls import syscall_name
from fimscan.model import COMPLETE, AuditEvent, EventId

_MOST_PATHS = 6  # a rename has up to five
_TEXT_BEFORE = COMPLETE + b"\nSYSCALL "
_RETURN = ord("\r")


def _line(kind: bytes, content: bytes) -> bytes:
    """A pattern of a later line with the same prefix and event; its group is the body, which matches ``content``."""
    return rb"\1type=" + kind + rb"\3(" + content + rb")\n"


def _paths(kind: bytes) -> bytes:
    """A pattern of PATH lines, numbered from 0."""
    pattern = b""
    for number in reversed(range(_MOST_PATHS)):
        pattern = rb"(?:" + _line(kind, rb"item=%d [^\n]*+" % number) + pattern + rb")?"
    return pattern


def _event(beginning: bytes, call: bytes, cwd: bytes, path: bytes, title: bytes) -> re.Pattern[bytes]:
    """A pattern of whole events: what may precede ``type=``, then the record types as they are written."""
    return re.compile(
        rb"(" + beginning + rb"(?:" + NODE + rb" )?)type=" + call + rb"( (?:msg=)?audit\(" + PARTED_STAMP + rb"\): )("
        + CALL + OUTCOME + rb"items=(\d)( ppid=[^\n]*+))\n"
        + _line(cwd, rb"cwd=\"[^\n]*\"") + _paths(path) + _line(title, rb"[^\n]*+")
    )  # fmt: skip


_WHOLE = _event(rb"", rb"SYSCALL", rb"CWD", rb"PATH", rb"PROCTITLE")


@cache
def _whole_relayed() -> re.Pattern[bytes]:
    """A pattern of whole events whose lines have the same prefix. The prefix itself is not checked."""
    types = (rb"(?:SYSCALL|1300)", rb"(?:CWD|1307)", rb"(?:PATH|1302)", rb"(?:PROCTITLE|1327)")
    return _event(rb"[^\n=]{0,255}?", *types)


def whole_event(
    block: bytes, position: int, *, relayed: bool = False
) -> tuple[AuditEvent, ParsedCall | None, int] | None:
    """Parse the event at ``position``; return it, its parsed call and where it ends; ``None`` if it is not contiguous.

    The parsed call equals the result of :func:`~fimscan.audit.parsed_call.parse_call`: ``None`` for a call that changes
    no file.
    """
    match = (_whole_relayed() if relayed else _WHOLE).match(block, position)
    if match is None:
        return None
    groups = match.groups()
    beginning, node, _, time, serial, record, arch, number, success, _, _, _, _, items, process, cwd = groups[:16]
    arguments, paths, title = groups[9:13], groups[16:-1], groups[-1]
    announced = int(items)
    call = syscall_name(arch, int(number))
    if paths.count(None) != _MOST_PATHS - announced or call == "openat2":
        return None  # more are announced than are here, or its OPENAT2 record is missing so far
    if relayed:
        node = _relayed_node(beginning)
        if node is None or call is None:  # a relay may have put another record on the last line
            return None
    paths = paths[:announced]
    parsed_items = [*map(_whole_item, paths)]
    if None in parsed_items or BRACKET in cwd or not _is_whole_title(title):
        return None
    if not (translated := _is_whole_process(process)) and (translated is not None or (paths and b"OUID=" in paths[-1])):
        return None
    within = b"\nPATH ".join((cwd, *paths))
    text = b"".join((_TEXT_BEFORE, record, b"\nCWD ", within, b"\nPROCTITLE ", title))
    if _RETURN in text:
        return None
    event = EventId(time_ns_of(time), int(serial), "" if node is None else node.decode("latin-1"))
    if call is None:
        return AuditEvent(event, text), None, match.end()
    # All fields in order, through the tuple's constructor, because that of the class takes longer. The event is
    # complete and has no EXECVE, OPENAT2 or other records.
    parsed = tuple.__new__(
        ParsedCall,
        (
            event,
            arch,
            call,
            success == b"yes",
            arguments,
            process,
            cwd,
            paths,
            title,
            (),
            (),
            (),
            True,
            parsed_items,
            True,
        ),
    )
    return AuditEvent(event, text), parsed, match.end()


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


@lru_cache(maxsize=4096)
def _whole_item(body: bytes) -> Item | None:
    """The PATH record, if its last field that is needed, the nametype, is there, and its line has no other record.

    Cached like :func:`~fimscan.audit.paths.parse_item`.
    """
    item = parse_item_once(body)
    return item if item is not None and item.kind and not (BRACKET in body and b"audit(" in body) else None
