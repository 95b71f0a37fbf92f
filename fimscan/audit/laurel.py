"""Parse laurel's log, in which one line is a JSON object with all records of an event, into :class:`AuditEvent`.

The format is that of laurel-about(7), and of what laurel 0.5.1 and 0.8.2 write. An object has an ``ID``, perhaps a
``NODE``, and a member for each record type. The member is one object of fields (SYSCALL, CWD, EXECVE, PROCTITLE,
records of user space) or a list of objects (PATH, all others). Lists of arguments are ``ARGV``, strings are
percent-encoded, numbers are decimal, ``"0x..."`` or ``"0o..."``. Fields are converted back to the kernel's format, so
that all later code reads one format only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from fimscan.audit.arches import machines
from fimscan.audit.events import Assembler
from fimscan.audit.records import event_id
from fimscan.audit.relays import relayed_by
from fimscan.model import AuditEvent, AuditRecord, EventId

# laurel can be configured to put "@cee: " before each line; then syslog may have added its own prefix.
_START = rb"(?:" + relayed_by(rb"laurel") + rb")?(?:@cee: ?)?(?=\{)"
_STAMP = re.compile(r"\d{1,11}\.\d{3}:\d{1,10}", re.ASCII)
_TYPE = re.compile(r"[A-Z0-9_]{1,64}(?:\[\d{1,10}\])?", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
_UNKNOWN_CALL = re.compile(r"unknown-syscall\((\d{1,10})\)", re.ASCII)  # auditd's name for an unknown call
_BARE = re.compile(rb"[!#-~]+")
_QUOTABLE = re.compile(rb"[^\x00-\x1f\"\x7f]+")

_NO_RECORDS = frozenset({"ID", "NODE", "CONTAINER_INFO", "PARENT_INFO"})
# Fields that the kernel quotes, or writes in hexadecimal.
_TEXTS = frozenset({"comm", "cwd", "exe", "key", "name", "proctitle"})
# The kernel's order, as far as parsers depend on it: the fields about the process begin with ppid=.
_CALL = ("uring_op", "arch", "syscall", "success", "exit", "a0", "a1", "a2", "a3", "items", "ppid", "pid")
_ORDER = {
    "SYSCALL": _CALL,
    "URINGOP": _CALL,
    "PATH": ("item", "name", "inode", "dev", "mode", "ouid", "ogid", "rdev", "obj", "nametype"),
}


class NotLaurelError(ValueError):
    """The line is not an event of laurel's; the message says why."""


@cache
def _start() -> re.Pattern[bytes]:
    return re.compile(_START)


def is_object(line: bytes) -> bool:
    """Whether a line looks like laurel's: a JSON object, perhaps with a prefix."""
    return _start().match(line) is not None


def parse_event(line: bytes) -> AuditEvent:
    """Parse one line.

    Raises:
        NotLaurelError: it is not an event, or it is damaged.
    """
    start = _start().match(line)
    try:
        content = json.loads(line[start.end() if start else 0 :])
    except (ValueError, RecursionError) as error:
        raise NotLaurelError(f"not a JSON object: {type(error).__name__}") from None
    stamp = content.get("ID") if isinstance(content, dict) else None
    if not isinstance(stamp, str) or not _STAMP.fullmatch(stamp):
        raise NotLaurelError("the JSON object has no audit event ID")
    node = content.get("NODE")
    identity = event_id(stamp.encode(), _bytes(node) if isinstance(node, str) and node else None)
    records = tuple(_records(identity, content))
    if not records:
        raise NotLaurelError("the JSON object has no audit records")
    assembler = Assembler()
    events = [event for record in records for event in assembler.add(record)]
    return (*events, *assembler.flush())[0]


def _records(identity: EventId, content: Mapping[str, Any]) -> Iterator[AuditRecord]:
    late = content.get("PROCTITLE")  # it ends an event, so it goes last
    for kind, rows in (*content.items(), ("PROCTITLE", late)):
        if kind in _NO_RECORDS or not _is_type(kind) or (kind == "PROCTITLE" and rows is not late):
            continue
        for row in rows if isinstance(rows, list) else [rows]:
            if isinstance(row, dict) and (fields := _fields(kind, row)):
                yield AuditRecord(identity, kind, _body(kind, fields))


@lru_cache(maxsize=256)
def _is_type(kind: str) -> bool:
    return _TYPE.fullmatch(kind) is not None


def _fields(kind: str, row: Mapping[str, Any]) -> dict[str, bytes]:
    """The fields of a record by name, each as the kernel writes it."""
    fields = {
        name: field
        for name, given in row.items()
        if (given is None or type(given) in (str, int)) and (field := _field(name, given)) is not None
    }
    words = row.get("ARGV")
    if isinstance(words, list):
        fields |= _argv(kind, words)
    elif kind == "EXECVE" and "a0" not in fields:
        return {}  # ARGV_STR does not show where a word ends
    if kind == "SYSCALL" and ("arch" not in fields or "syscall" not in fields):
        fields |= _numbers(row)
    elif kind == "OPENAT2" and isinstance(row.get("oflag"), str):
        fields["oflag"] = b"oflag=" + _octal(_bytes(row["oflag"]))
    return fields


@lru_cache(maxsize=16384, typed=True)  # most values repeat
def _field(name: str, given: str | int | None) -> bytes | None:
    """``NAME=VALUE`` as the kernel writes it; ``None`` where the kernel has no such field or value."""
    if not _FIELD.fullmatch(name):
        return None
    if given is None:
        value = b"(null)"
    elif isinstance(given, int):
        if name in _TEXTS or not -(1 << 64) < given < 1 << 64:
            return None
        value = b"%d" % given
    else:
        value = _bytes(given)
        if name.isupper():  # auditd puts user names in quotes without encoding them
            if not _QUOTABLE.fullmatch(value):
                return None
            value = b'"' + value + b'"'
        elif name in _TEXTS or not _BARE.fullmatch(value):
            value = _encoded(value)
        else:
            value = value.removeprefix(b"0x").removeprefix(b"0o")
    return b"%b=%b" % (name.encode(), value)


def _argv(kind: str, words: list[object]) -> dict[str, bytes]:
    texts: list[bytes] = []
    for word in words:
        if not isinstance(word, str):  # {"skipped_args": ..}: the rest of the command line is not known
            break
        texts.append(_bytes(word))
    if kind == "PROCTITLE":
        return {"proctitle": b"proctitle=" + _encoded(b"\0".join(texts))} if texts else {}
    if kind == "SYSCALL":
        texts = [text.removeprefix(b"0x") if _BARE.fullmatch(text) else b"?" for text in texts[:4]]
    else:
        texts = [_encoded(text) for text in texts]
    return {f"a{number}": b"a%d=%b" % (number, text) for number, text in enumerate(texts)}


def _numbers(row: Mapping[str, Any]) -> dict[str, bytes]:
    """The numbers of architecture and system call; with ``drop-raw``, laurel writes only their names."""
    arch = str(row.get("arch") or _arches().get(row.get("ARCH")) or "").removeprefix("0x")
    found = machines().get(arch.encode("utf-8", "replace"))
    name, number = row.get("SYSCALL"), row.get("syscall")
    if not arch or (name is None and number is None):
        raise NotLaurelError("the system call has neither number nor name")
    if number is None and (unknown := _UNKNOWN_CALL.fullmatch(str(name))):
        number = int(unknown[1])
    elif found is not None and number is None:
        # A call that is not in the tables changes no file, and is ignored.
        number = next((number for number, own in found.calls.items() if own == name), 0xFFFFFFFF)
    given = {"arch": _field("arch", arch), "syscall": _field("syscall", number if isinstance(number, int) else None)}
    return {name: field for name, field in given.items() if field is not None}


@cache
def _arches() -> Mapping[object, str]:
    return {found.name: arch.decode() for arch, found in machines().items()}


def _octal(text: bytes) -> bytes:
    """An octal number as the kernel writes it, with a leading 0.

    laurel takes an even number of digits for a hexadecimal string, and writes the bytes that it decodes to.
    """
    return text if re.fullmatch(rb"0[0-7]*", text) else text.hex().encode()


def _bytes(text: str) -> bytes:
    """Decode a percent-encoded string."""
    raw = text.encode("utf-8", "surrogatepass")
    return _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode()), raw) if b"%" in raw else raw


def _encoded(text: bytes) -> bytes:
    """Encode a string as ``audit_log_untrustedstring()`` does."""
    return b'"' + text + b'"' if _BARE.fullmatch(text) or not text else text.hex().upper().encode()


def _body(kind: str, fields: dict[str, bytes]) -> bytes:
    """Join fields in the kernel's order; the translations follow after 0x1D."""
    first = [fields.pop(name) for name in _ORDER.get(kind, ()) if name in fields]
    more = [field for name, field in fields.items() if not name.isupper()]
    translated = [field for name, field in fields.items() if name.isupper()]
    body = b" ".join(first + more)
    return body + b"\x1d" + b" ".join(translated) if translated else body
