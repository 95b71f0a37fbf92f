"""Log lines -> :class:`AuditRecord`, and the fields inside of one record.

The format is that of ``audit_log_format()`` and ``audit_log_untrustedstring()`` (kernel/audit.c) with what auditd puts
around it (``node=``, and the ENRICHED part behind a 0x1D byte). A field is only parsed when somebody asks for it.
"""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache

from fimscan.audit.hosts import relayed_host
from fimscan.audit.relays import PREFIX
from fimscan.model import AuditRecord, EventId

# include/uapi/linux/audit.h: the types that a log without auditd, or with an older one, shows as numbers.
_TYPE_NAMES = {
    1006: "LOGIN", 1127: "SYSTEM_BOOT", 1128: "SYSTEM_SHUTDOWN", 1200: "DAEMON_START", 1201: "DAEMON_END",
    1202: "DAEMON_ABORT", 1203: "DAEMON_CONFIG", 1205: "DAEMON_ROTATE", 1206: "DAEMON_RESUME", 1300: "SYSCALL",
    1302: "PATH", 1305: "CONFIG_CHANGE", 1306: "SOCKADDR", 1307: "CWD", 1309: "EXECVE", 1320: "EOE",
    1323: "MMAP", 1326: "SECCOMP", 1327: "PROCTITLE", 1336: "URINGOP", 1337: "OPENAT2", 1701: "ANOM_ABEND",
    2000: "KERNEL",
}  # fmt: skip

# Types that the kernel alone writes, in which text of users is encoded: user space can put any text into its own.
OF_KERNEL = frozenset({
    "SYSCALL", "PATH", "CWD", "PROCTITLE", "EXECVE", "OPENAT2", "URINGOP", "SOCKADDR", "SOCKETCALL", "MMAP", "FD_PAIR",
    "BPRM_FCAPS", "CAPSET", "OBJ_PID", "IPC", "EOE", "NETFILTER_CFG", "KERN_MODULE", "FANOTIFY", "BPF",
})  # fmt: skip

NODE = rb"node=(\S{1,255})"
STAMP = rb"\d{1,11}\.\d{3}:\d{1,10}"
HEADER = rb"(?:" + NODE + rb" )?type=([\w\[\]]{1,64}) (?:msg=)?audit\((" + STAMP + rb")\):? ?"
"""Groups: node, type, ``SEC.MS:SERIAL``. (auditd's own records had no colon before 2.0.)"""

USUAL_LINES = re.compile(rb"(?m)^" + HEADER + rb"([^\n]*)(?:\n|\Z)")
"""The records in a block of lines; their groups are those of :data:`HEADER`, and the body."""


@cache
def _relayed_lines() -> re.Pattern[bytes]:
    """The same, also of what was relayed, at about half the speed. Made when it is needed: that takes a while."""
    return re.compile(rb"(?m)^" + PREFIX + HEADER + rb"([^\n]*)(?:\n|\Z)")


@cache
def _line() -> re.Pattern[bytes]:
    return re.compile(PREFIX + HEADER + rb"([^\n]*)")


_INNER = re.compile(
    rb"[\s,;|]*(?:#012|\\n)?[\s,;|]*((?:node=\S{1,255} )?type=[\w\[\]]{1,64} (?:msg=)?audit\((" + STAMP + rb")\))"
)


def lines_pattern(block: bytes) -> re.Pattern[bytes]:
    """The pattern that finds the records in a block, by its first line."""
    return _relayed_lines() if not USUAL_LINES.match(block) and _line().match(block) else USUAL_LINES


def inner_records(record: AuditRecord) -> tuple[bytes, list[bytes], bool]:
    """(the body of a line's first record, those of its event that follow in the same line, is there anything else).

    Wazuh, syslog-ng and others join the records of an event. The same time and number again in a body is another
    record: nobody could foresee them and put them into a name. Any other header there can be that, or the next line,
    which follows at once where a line was cut.
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
    """One line, with or without its newline, as a record; ``None`` when it is not an audit record. Never raises.

    ``host`` is the other host that it comes from, if that is known; what the line says of its host counts more.
    """
    match = _line().match(line)
    return None if match is None else matched_record(match, host)


def matched_record(match: re.Match[bytes], host: bytes | None = None) -> AuditRecord:
    """What a pattern of :func:`lines_pattern` matched, as a record."""
    node, kind, stamp, body = match.groups()
    if node is None:
        prefix = match.string[match.start() : match.start(2) - len(b"type=")]
        node = relayed_host(prefix) or host if prefix else host
    return AuditRecord(event_id(stamp, node), type_name(kind), body.rstrip(b"\r\n"))


def line_of(record: AuditRecord) -> bytes:
    """The inverse of :func:`parse_line`: the line as auditd writes it, without a newline."""
    event = record.id
    node = f"node={event.node} " if event.node else ""
    stamp = f"{event.time_ns // 10**9}.{event.time_ns // 10**6 % 1000:03d}:{event.serial}"
    return f"{node}type={record.type} msg=audit({stamp}): ".encode("latin-1") + record.body


def event_id_once(stamp: bytes, node: bytes | None) -> EventId:
    """``SEC.MS:SERIAL`` (as :data:`HEADER` matches it) as the identity of an event that is not asked for again."""
    time, _, serial = stamp.partition(b":")
    time_ns = int(time[:-4] + time[-3:]) * 1_000_000
    return EventId(time_ns, int(serial), "" if node is None else node.decode("latin-1"))


event_id = lru_cache(maxsize=1024)(event_id_once)
"""The same, remembered: the records of an event come one after the other."""


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


def bare(raw: bytes | None) -> bytes:
    """A field's value without quotes, which some programs put around all of them; empty where it is absent."""
    return raw[1:-1] if raw and len(raw) > 1 and raw[0] == raw[-1] == 0x22 else raw or b""


def int_value(raw: bytes | None, base: int = 10) -> int | None:
    """A number field's value, ``None`` where it is absent or damaged."""
    if not raw or len(raw) > 26:  # no field of 64 bits is longer, whatever its base
        return None
    if raw[0] == 0x22:
        raw = bare(raw)
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
    major, colon, minor = bare(raw).partition(b":")
    numbers = int_value(major, 16), int_value(minor, 16)
    if not colon or numbers[0] is None or numbers[1] is None:
        return None
    if not (0 <= numbers[0] < 1 << 12 and 0 <= numbers[1] < 1 << 20):  # MINORBITS 20, linux/kdev_t.h
        return None
    return os.makedev(numbers[0], numbers[1])
