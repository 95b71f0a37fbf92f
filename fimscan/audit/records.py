"""Log lines -> :class:`AuditRecord`, and the fields inside of one record.

The format is that of ``audit_log_format()`` and ``audit_log_untrustedstring()`` (kernel/audit.c) with what auditd puts
around it (``node=``, and the ENRICHED part behind a 0x1D byte). A field is only parsed when somebody asks for it.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache

from fimscan.model import AuditRecord, EventId

# include/uapi/linux/audit.h: the types that a log without auditd, or with an older one, shows as numbers.
_TYPE_NAMES = {
    1006: "LOGIN", 1127: "SYSTEM_BOOT", 1128: "SYSTEM_SHUTDOWN", 1200: "DAEMON_START", 1201: "DAEMON_END",
    1202: "DAEMON_ABORT", 1203: "DAEMON_CONFIG", 1205: "DAEMON_ROTATE", 1206: "DAEMON_RESUME", 1300: "SYSCALL",
    1302: "PATH", 1305: "CONFIG_CHANGE", 1306: "SOCKADDR", 1307: "CWD", 1309: "EXECVE", 1320: "EOE",
    1323: "MMAP", 1326: "SECCOMP", 1327: "PROCTITLE", 1336: "URINGOP", 1337: "OPENAT2", 1701: "ANOM_ABEND",
    2000: "KERNEL",
}  # fmt: skip

NODE = rb"node=(\S{1,255})"
STAMP = rb"\d{1,11}\.\d{3}:\d{1,10}"
HEADER = rb"(?:" + NODE + rb" )?type=([\w\[\]]{1,64}) (?:msg=)?audit\((" + STAMP + rb")\): ?"
"""Groups: node, type, ``SEC.MS:SERIAL``."""

# Two ways in which syslog writes who said something: "program[pid]: ", and that of RFC 5424.
_SAID = rb"(?:(?:\[\d{1,10}\])?: | (?:-|\d{1,10}) (?:-|[\w.-]{1,32}) - )"


def relayed_by(programs: bytes) -> bytes:
    """A pattern of what syslog, or a journal written out, puts in front of a line of one of these programs."""
    return rb"(?:<\d{1,3}>)?(?:[^\"'=\n ]{1,60} {1,2}){0,12}?(?:" + programs + rb")" + _SAID


# In front of the header: nothing, or what syslog, journald and dmesg put there. The program's name has to be one that
# relays audit records, so that a user's "logger type=SYSCALL ..." is no evidence against anybody.
_RELAYS = rb"kernel|(?:tag_)?audit(?:d|_log)?|audisp[\w-]*"
_PREFIX = rb"(?:" + relayed_by(_RELAYS) + rb"|<\d{1,3}>)?(?:\[ *\d+\.\d+\] )?(?:audit: )?"
_LINE = re.compile(_PREFIX + HEADER + rb"([^\n]*)")

USUAL_LINES = re.compile(rb"(?m)^" + HEADER + rb"([^\n]*)(?:\n|\Z)")
RELAYED_LINES = re.compile(rb"(?m)^" + _PREFIX + HEADER + rb"([^\n]*)(?:\n|\Z)")
"""The records in a block of lines; their groups are those of :data:`HEADER`, and the body. The latter finds the usual
ones, too, at about half the speed."""

# Blank, what ausearch prints between events, and what other programs say in a log that has records by way of syslog or
# the kernel's ring buffer. (A line that was cut still has "type=" or "audit(", if it ever had.)
_NO_RECORD = re.compile(
    rb"\s*\Z|----\s*\Z|time->|"
    rb"(?:(?:<\d{1,3}>)?(?:1 )?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.+Z-]{8,24}) \S"
    rb"|\[ *\d{1,9}\.\d{6}\] )(?!.*(?:type=|audit\())"
)


def lines_pattern(block: bytes) -> re.Pattern[bytes]:
    """The pattern that finds the records in a block, by its first line."""
    return RELAYED_LINES if not USUAL_LINES.match(block) and _LINE.match(block) else USUAL_LINES


def is_no_record(line: bytes) -> bool:
    """Whether a line is not meant to be a record, so that it is not damaged either."""
    return _NO_RECORD.match(line) is not None


def parse_line(line: bytes) -> AuditRecord | None:
    """One line, with or without its newline, as a record; ``None`` when it is not an audit record. Never raises."""
    match = _LINE.match(line)
    if match is None:
        return None
    node, kind, stamp, body = match.groups()
    return AuditRecord(event_id(stamp, node), type_name(kind), body.rstrip(b"\r\n"))


def line_of(record: AuditRecord) -> bytes:
    """The inverse of :func:`parse_line`: the line as auditd writes it, without a newline."""
    event = record.id
    node = f"node={event.node} " if event.node else ""
    stamp = f"{event.time_ns // 10**9}.{event.time_ns // 10**6 % 1000:03d}:{event.serial}"
    return f"{node}type={record.type} msg=audit({stamp}): ".encode("latin-1") + record.body


@lru_cache(maxsize=1024)
def event_id(stamp: bytes, node: bytes | None) -> EventId:
    """``SEC.MS:SERIAL`` (as :data:`HEADER` matches it) as an event's identity."""
    time, _, serial = stamp.partition(b":")
    return EventId(
        int(time.replace(b".", b"")) * 1_000_000, int(serial), "" if node is None else node.decode("latin-1")
    )


@lru_cache(maxsize=1024)
def type_name(raw: bytes) -> str:
    """A record type as text, with a name in place of a known number (``1300``, ``UNKNOWN[1337]``)."""
    text = raw.decode("latin-1")
    digits = text.removeprefix("UNKNOWN[").removesuffix("]")
    return _TYPE_NAMES.get(int(digits), text) if digits.isascii() and digits.isdigit() else text


_FIELD = re.compile(rb'([A-Za-z0-9_-]+)=("[^"\x1d]*"?|[^ \x1d]*)')
# Where the 0x1D was dropped, an unquoted value and the first translated name run together: "res=1AUID=".
_GLUED = re.compile(rb"(ARCH|SYSCALL|SADDR|(?:[AEFISO]|FS|OA)?[UG]ID|ID)=")
_ODD_HEX = re.compile(rb"(?:[0-9A-F]{2})*[0-9A-F]")


def fields(body: bytes) -> dict[bytes, bytes]:
    """A record's fields as they stand in it, quotes and hexadecimal untouched; the first of two equal names counts.

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
    """What the kernel wrote of a record: without the translations of an ENRICHED log."""
    return body.partition(b"\x1d")[0]


_HEX = re.compile(rb"(?:[0-9A-F]{2})+")


def text_value(raw: bytes | None) -> bytes | None:
    """A string field's value. ``None`` for the literals that mean none, and for text that was cut short.

    The kernel writes a string in quotes, or, when it has a quote, a space or a byte outside of 0x21..0x7e, as
    upper-case hexadecimal without quotes.
    """
    if not raw:
        return None
    if raw[0] == 0x22:
        return raw[1:-1] if len(raw) > 1 and raw[-1] == 0x22 else None
    return bytes.fromhex(raw.decode("ascii")) if _HEX.fullmatch(raw) else None


def int_value(raw: bytes | None, base: int = 10) -> int | None:
    """A number field's value, ``None`` where it is absent or damaged."""
    if not raw or len(raw) > 24:  # no field of 64 bits is longer, whatever its base
        return None
    try:
        return int(raw, base)
    except ValueError:
        return None


def id_value(raw: bytes | None) -> int | None:
    """A user, session or audit-user id; ``None`` when unset: the kernel writes (unsigned) -1."""
    value = int_value(raw)
    return None if value in (-1, 0xFFFFFFFF) else value


@lru_cache(maxsize=1024)
def device_value(raw: bytes | None) -> int | None:
    """``dev=fe:00`` as :manpage:`stat(2)` gives it (``st_dev``)."""
    if not raw:
        return None
    major, colon, minor = raw.partition(b":")
    numbers = int_value(major, 16), int_value(minor, 16)
    if not colon or numbers[0] is None or numbers[1] is None:
        return None
    if not (0 <= numbers[0] < 1 << 12 and 0 <= numbers[1] < 1 << 20):  # MINORBITS 20, linux/kdev_t.h
        return None
    return os.makedev(numbers[0], numbers[1])
