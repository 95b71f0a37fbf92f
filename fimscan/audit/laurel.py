"""One line of laurel's log, a JSON object with all records of an event, -> :class:`AuditEvent`.

The format is that of laurel-about(7), and of what laurel 0.5.1 and 0.8.2 write: an ``ID``, perhaps a ``NODE``, and by
record type one object of fields (SYSCALL, CWD, EXECVE, PROCTITLE, records of user space) or a list of such (PATH, all
others). Lists of arguments are ``ARGV``, strings are percent-encoded, numbers are decimal, ``"0x..."`` or ``"0o..."``.
Fields are written back as the kernel writes them, so that everything behind reads one format only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fimscan.audit.events import Assembler
from fimscan.audit.records import event_id, relayed_by
from fimscan.audit.tables import machines
from fimscan.model import AuditEvent, AuditRecord, EventId

# laurel can be told to put "@cee: " in front of each line; then syslog may have added its part.
_START = re.compile(rb"(?:" + relayed_by(rb"laurel") + rb")?(?:@cee: ?)?(?=\{)")
_STAMP = re.compile(r"\d{1,11}\.\d{3}:\d{1,10}", re.ASCII)
_TYPE = re.compile(r"[A-Z0-9_]{1,64}(?:\[\d{1,10}\])?", re.ASCII)
_FIELD = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PERCENT = re.compile(rb"%([0-9a-fA-F]{2})")
_BARE = re.compile(rb"[!#-~]+")

_TEXTS = frozenset(
    {"comm", "cwd", "exe", "key", "name", "proctitle"}
)  # what the kernel quotes or writes in hexadecimal
# The kernel's order, as far as anything depends on it: what is about the process begins with ppid=.
_FIRST = (
    *("uring_op", "arch", "syscall", "success", "exit", "a0", "a1", "a2", "a3", "items", "ppid", "pid"),
    *("item", "name", "inode", "dev", "mode", "ouid", "ogid", "rdev", "obj", "nametype"),
)
_LATE = ("PROCTITLE",)  # ends an event


class NotLaurelError(ValueError):
    """The line is no event of laurel's; the text says why."""


def is_object(line: bytes) -> bool:
    """Whether a line is laurel's, if anybody's."""
    return _START.match(line) is not None


def parse_event(line: bytes) -> AuditEvent:
    """The event of one line.

    Raises:
        NotLaurelError: it is not one, or it is damaged.
    """
    start = _START.match(line)
    try:
        content = json.loads(line[start.end() if start else 0 :])
    except (ValueError, RecursionError) as error:
        raise NotLaurelError(f"not a JSON object: {type(error).__name__}") from None
    stamp = content.get("ID") if isinstance(content, dict) else None
    if not isinstance(stamp, str) or not _STAMP.fullmatch(stamp):
        raise NotLaurelError("a JSON object without an audit event's ID")
    node = content.get("NODE")
    identity = event_id(stamp.encode(), _bytes(node) if isinstance(node, str) and node else None)
    records = tuple(_records(identity, content))
    if not records:
        raise NotLaurelError("a JSON object without audit records")
    assembler = Assembler()
    events = [event for record in records for event in assembler.add(record)]
    return (*events, *assembler.flush())[0]


def _records(identity: EventId, content: Mapping[str, Any]) -> Iterator[AuditRecord]:
    for kind in sorted(content, key=lambda kind: kind in _LATE):
        rows = content[kind] if isinstance(content[kind], list) else [content[kind]]
        if _TYPE.fullmatch(kind) and kind not in ("ID", "NODE", "CONTAINER_INFO", "PARENT_INFO"):
            for row in rows:
                if isinstance(row, dict) and (values := _values(kind, row)):
                    yield AuditRecord(identity, kind, _body(values))


def _values(kind: str, row: Mapping[str, Any]) -> dict[str, bytes]:
    """The fields of a record, each as the kernel writes it."""
    found = {name: value for name, given in row.items() if _FIELD.fullmatch(name) and (value := _value(name, given))}
    words = row.get("ARGV")
    if isinstance(words, list):
        found |= _argv(kind, words)
    elif kind == "EXECVE" and not any(re.fullmatch(r"a\d+", name) for name in found):
        return {}  # ARGV_STR does not say where a word ends
    if kind == "SYSCALL":
        _restore_numbers(found)
    elif kind == "OPENAT2" and "oflag" in found:
        found["oflag"] = _octal(_bytes(row["oflag"]) if isinstance(row["oflag"], str) else found["oflag"])
    return found


def _value(name: str, given: object) -> bytes | None:
    if isinstance(given, bool | float | list | dict):
        return None
    if given is None:
        return b"(null)"
    if isinstance(given, int):
        return b"%d" % given if name not in _TEXTS and -(1 << 64) < given < 1 << 64 else None
    assert isinstance(given, str), "JSON has no other types"
    text = _bytes(given)
    if name in _TEXTS or (name.isupper() and name not in ("ARCH", "SYSCALL")):
        return _encoded(text)
    return text.removeprefix(b"0x").removeprefix(b"0o") if _BARE.fullmatch(text) else _encoded(text)


def _argv(kind: str, words: list[object]) -> dict[str, bytes]:
    texts: list[bytes] = []
    for word in words:
        if not isinstance(word, str):  # {"skipped_args": ..}: the rest of the command line is not known
            break
        texts.append(_bytes(word))
    if kind == "SYSCALL":
        return {f"a{number}": text.removeprefix(b"0x") for number, text in enumerate(texts) if _BARE.fullmatch(text)}
    if kind == "PROCTITLE" and texts:
        return {"proctitle": _encoded(b"\0".join(texts))}
    return {f"a{number}": _encoded(text) for number, text in enumerate(texts)}


def _restore_numbers(values: dict[str, bytes]) -> None:
    """With ``drop-raw``, laurel leaves out the numbers of what it translated: ARCH and SYSCALL are names, then."""
    if "arch" not in values and (arch := _arches().get(values.get("ARCH", b""))):
        values["arch"] = arch
    if "syscall" not in values and "arch" in values:
        found = machines().get(values["arch"])
        name = values.get("SYSCALL", b"").decode("latin-1")
        numbers = [] if found is None else [number for number, own in found.calls.items() if own == name]
        # A call that is not in our tables changes no file, and is not looked at any further.
        values["syscall"] = b"%d" % numbers[0] if numbers else b"4294967295"
    if "arch" not in values or "syscall" not in values:
        raise NotLaurelError("a system call without its number or name")


@cache
def _arches() -> Mapping[bytes, bytes]:
    return {found.name.encode(): arch for arch, found in machines().items()}


def _octal(text: bytes) -> bytes:
    """An octal number as the kernel writes it, with a leading 0.

    laurel takes an even number of digits for a string in hexadecimal, and gives the bytes of that.
    """
    return text if re.fullmatch(rb"0[0-7]*", text) else text.hex().encode()


def _bytes(text: str) -> bytes:
    """A percent-encoded string, decoded."""
    raw = text.encode("utf-8", "surrogatepass")
    return _PERCENT.sub(lambda match: bytes.fromhex(match[1].decode()), raw) if b"%" in raw else raw


def _encoded(text: bytes) -> bytes:
    """A string as ``audit_log_untrustedstring()`` writes it."""
    return b'"' + text + b'"' if _BARE.fullmatch(text) or not text else text.hex().upper().encode()


def _body(values: Mapping[str, bytes]) -> bytes:
    """Fields in the kernel's order, then, behind 0x1D, the translations."""
    first = [name for name in _FIRST if name in values]
    more = [name for name in values if name not in _FIRST and not name.isupper()]
    translated = [name for name in values if name.isupper()]
    body = b" ".join(b"%b=%b" % (name.encode(), values[name]) for name in (*first, *more))
    late = b" ".join(b"%b=%b" % (name.encode(), values[name]) for name in translated)
    return body + b"\x1d" + late if late else body
