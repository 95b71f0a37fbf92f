"""Parse log lines into :class:`AuditRecord`, and record bodies into fields.

The format is that of ``audit_log_format()`` and ``audit_log_untrustedstring()`` (kernel/audit.c), with what auditd adds
(``node=``, and the ENRICHED part after a 0x1D byte). A body is parsed only when its fields are needed.
"""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache

from fimscan.audit.hosts import relayed_host
from fimscan.audit.relays import PREFIX
from fimscan.model import AuditRecord, EventId

# include/uapi/linux/audit.h: the types that appear as numbers in a log without auditd, or of an older auditd.
_TYPE_NAMES = {
    1006: "LOGIN", 1127: "SYSTEM_BOOT", 1128: "SYSTEM_SHUTDOWN", 1200: "DAEMON_START", 1201: "DAEMON_END",
    1202: "DAEMON_ABORT", 1203: "DAEMON_CONFIG", 1205: "DAEMON_ROTATE", 1206: "DAEMON_RESUME", 1300: "SYSCALL",
    1302: "PATH", 1305: "CONFIG_CHANGE", 1306: "SOCKADDR", 1307: "CWD", 1309: "EXECVE", 1320: "EOE",
    1323: "MMAP", 1326: "SECCOMP", 1327: "PROCTITLE", 1336: "URINGOP", 1337: "OPENAT2", 1701: "ANOM_ABEND",
    2000: "KERNEL",
}  # fmt: skip

# Types that only the kernel writes, encoding any text of users. User space can put any text into its own records.
OF_KERNEL = frozenset({
    "SYSCALL", "PATH", "CWD", "PROCTITLE", "EXECVE", "OPENAT2", "URINGOP", "SOCKADDR", "SOCKETCALL", "MMAP", "FD_PAIR",
    "BPRM_FCAPS", "CAPSET", "OBJ_PID", "IPC", "EOE", "NETFILTER_CFG", "KERN_MODULE", "FANOTIFY", "BPF",
})  # fmt: skip

# Repetitions are possessive (``*+``) wherever what follows cannot be part of them: without backtracking, they match the
# same faster, and above all fail faster.
NODE = rb"node=(\S{1,255}+)"
STAMP = rb"\d{1,11}+\.\d{3}:\d{1,10}+"
BRACKET = ord("(")
"""A byte of the header of every record. A byte is found in a body much faster as a number than as ``bytes``."""

PARTED_STAMP = rb"(\d{1,11}+\.\d{3}):(\d{1,10}+)"
"""The same as :data:`STAMP`, with two groups: ``SEC.MS`` and the serial."""
HEADER = rb"(?:" + NODE + rb" )?type=([\w\[\]]{1,64}+) (?:msg=)?audit\((" + STAMP + rb")\):? ?"
"""Groups: node, type, ``SEC.MS:SERIAL``. (Before auditd 2.0, its own records had no colon.)"""

USUAL_LINES = re.compile(rb"(?m)^" + HEADER + rb"([^\n]*+)\n?")
"""Matches the records in a block of lines; groups are those of :data:`HEADER`, and the body."""


@cache
def _relayed_lines() -> re.Pattern[bytes]:
    """:data:`USUAL_LINES` for relayed records also, at about half the speed.

    Compiled on first use, which takes a while.
    """
    return re.compile(rb"(?m)^" + PREFIX + HEADER + rb"([^\n]*+)\n?")


@cache
def _line() -> re.Pattern[bytes]:
    return re.compile(PREFIX + HEADER + rb"([^\n]*)")


_INNER = re.compile(
    rb"[\s,;|]*(?:#012|\\n)?[\s,;|]*((?:node=\S{1,255} )?type=[\w\[\]]{1,64} (?:msg=)?audit\((" + STAMP + rb")\))"
)


def lines_pattern(block: bytes) -> re.Pattern[bytes]:
    """The pattern that finds the records in a block, chosen by its first line."""
    return _relayed_lines() if not USUAL_LINES.match(block) and _line().match(block) else USUAL_LINES


def inner_records(record: AuditRecord) -> tuple[bytes, list[bytes], bool]:
    """(body of a line's first record, the event's other records in the line, whether there is anything else).

    Wazuh, syslog-ng and others join the records of an event. The same time and serial again in a body mark another
    record: nobody could foresee them and put them into a name. Any other header in a body can be part of a name, or the
    next line, which follows at once where a line was truncated.
    """
    body = record.body
    found = list(_INNER.finditer(body))
    if not found:
        return body, [], False
    ends = [match.start() for match in found[1:]] + [len(body)]
    own = [event_id(match[2], None)[:2] == record.id[:2] for match in found]
    texts = [body[match.start(1) : end] for match, end in zip(found, ends, strict=True)]
    return body[: found[0].start()], [text for text, is_own in zip(texts, own, strict=True) if is_own], not all(own)


def parse_line(line: bytes, host: bytes | None = None) -> AuditRecord | None:
    """Parse one line, with or without its newline; ``None`` if it is not an audit record. Never raises.

    ``host`` is the other host that the line comes from, if known; a host in the line itself overrides it.
    """
    match = _line().match(line)
    return None if match is None else matched_record(match, host)


def matched_record(match: re.Match[bytes], host: bytes | None = None) -> AuditRecord:
    """The record that a pattern of :func:`lines_pattern` matched."""
    node, kind, stamp, body = match.groups()
    if node is None:
        start, kind_start = match.start(), match.start(2)
        is_relayed = kind_start - start > len(b"type=")
        node = (relayed_host(match.string[start : kind_start - len(b"type=")]) if is_relayed else None) or host
    return AuditRecord(event_id(stamp, node), type_name(kind), body.rstrip(b"\r\n"))


def usual_record(match: re.Match[bytes]) -> AuditRecord:
    """The same for a match of :data:`USUAL_LINES`, which has no prefix; :func:`matched_record` takes longer."""
    node, kind, stamp, body = match.groups()
    # Through the tuple's constructor: the class's own takes twice as long.
    return tuple.__new__(AuditRecord, (event_id(stamp, node), type_name(kind), body.rstrip(b"\r\n")))


def line_of(record: AuditRecord) -> bytes:
    """The inverse of :func:`parse_line`: the line as auditd writes it, without a newline."""
    event = record.id
    node = f"node={event.node} " if event.node else ""
    stamp = f"{event.time_ns // 10**9}.{event.time_ns // 10**6 % 1000:03d}:{event.serial}"
    return f"{node}type={record.type} msg=audit({stamp}): ".encode("latin-1") + record.body


@lru_cache(maxsize=1024)
def event_id(stamp: bytes, node: bytes | None) -> EventId:
    """Parse ``SEC.MS:SERIAL``, as :data:`HEADER` matches it. Cached, because an event's records follow one another."""
    time, _, serial = stamp.partition(b":")
    return EventId(time_ns_of(time), int(serial), "" if node is None else node.decode("latin-1"))


@lru_cache(maxsize=64)
def time_ns_of(time: bytes) -> int:
    """``SEC.MS`` in nanoseconds. Cached, because a busy host has many events in a millisecond."""
    return int(time[:-4] + time[-3:]) * 1_000_000


@lru_cache(maxsize=1024)
def type_name(raw: bytes) -> str:
    """A record type as text; a known number (``1300``, ``UNKNOWN[1337]``) becomes a name."""
    text = raw.decode("latin-1")
    digits = text.removeprefix("UNKNOWN[").removesuffix("]")
    return _TYPE_NAMES.get(int(digits), text) if digits.isascii() and digits.isdigit() else text


_FIELD = re.compile(rb'([A-Za-z0-9_-]+)=("[^"\x1d]*"?|[^ \x1d]*)')
# Where the 0x1D was dropped, an unquoted value and the first translated name run together: "res=1AUID=".
_GLUED = re.compile(rb"(ARCH|SYSCALL|SADDR|(?:[AEFISO]|FS|OA)?[UG]ID|ID)=")
_ODD_HEX = re.compile(rb"(?:[0-9A-F]{2})*[0-9A-F]")


def fields(body: bytes) -> dict[bytes, bytes]:
    """A record's fields, with quotes and hexadecimal left as they are; the first of two equal names counts.

    ENRICHED translations have upper-case names (``AUID``), so they never collide with the kernel's own.
    """
    found = _FIELD.findall(body)
    result = dict(reversed(found))
    for name, value in found:
        if b"=" in value and not value.startswith(b'"') and (glued := _GLUED.search(value)):
            own, late = value[: glued.start()], glued[1]
            if name == b"key" and len(late) > 3 and late[0] in b"AEF" and _ODD_HEX.fullmatch(own):  # "key=6AUID="
                own, late = own + late[:1], late[1:]
            result[name] = own
            result.setdefault(late, value[glued.end() :])
    return result


def kernel_part(body: bytes) -> bytes:
    """The part of a record that the kernel wrote: without the translations of an ENRICHED log."""
    return body.partition(b"\x1d")[0]


_HEX = re.compile(rb"(?:[0-9A-F]{2})+")


def text_value(raw: bytes | None) -> bytes | None:
    """Decode a string field. ``None`` for the literals that mean none, and for truncated text.

    The kernel writes a string in quotes. If it has a quote, a space or a byte outside 0x21..0x7e, the kernel writes
    upper-case hexadecimal without quotes.
    """
    if not raw:
        return None
    if raw[0] == 0x22:
        return raw[1:-1] if len(raw) > 1 and raw[-1] == 0x22 else None
    return bytes.fromhex(raw.decode("ascii")) if _HEX.fullmatch(raw) else None


def bare(raw: bytes | None) -> bytes:
    """A field's value without quotes, which some programs put around all values; empty where it is absent."""
    return raw[1:-1] if raw and len(raw) > 1 and raw[0] == raw[-1] == 0x22 else raw or b""


def int_value(raw: bytes | None, base: int = 10) -> int | None:
    """A number field's value; ``None`` where it is absent or damaged."""
    if not raw or len(raw) > 26:  # no 64-bit number is longer, whatever its base
        return None
    if raw[0] == 0x22:
        raw = bare(raw)
    try:
        return int(raw, base)
    except ValueError:
        return None


def id_value(raw: bytes | None) -> int | None:
    """A uid, login uid or session id; ``None`` when unset: the kernel writes (unsigned) -1."""
    value = int_value(raw)
    return None if value in (-1, 0xFFFFFFFF) else value


@lru_cache(maxsize=1024)
def device_value(raw: bytes | None) -> int | None:
    """``dev=fe:00`` as :manpage:`stat(2)` returns it (``st_dev``)."""
    if not raw:
        return None
    major, colon, minor = bare(raw).partition(b":")
    numbers = int_value(major, 16), int_value(minor, 16)
    if not colon or numbers[0] is None or numbers[1] is None:
        return None
    if not (0 <= numbers[0] < 1 << 12 and 0 <= numbers[1] < 1 << 20):  # MINORBITS 20, linux/kdev_t.h
        return None
    return os.makedev(numbers[0], numbers[1])
