"""Read journald's own audit records, as exported by ``journalctl -o export`` and ``-o json`` -> :class:`AuditRecord`.

journald reads the kernel's audit messages itself (``_TRANSPORT=audit``, src/journal/journald-audit.c) and splits them.
The time is in ``_SOURCE_REALTIME_TIMESTAMP``, the serial in ``_AUDIT_ID``, and the type in ``_AUDIT_TYPE``. ``MESSAGE``
has the type's name and the rest. Fields that begin with an underscore are journald's own; no program can set them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from fimscan.audit.hosts import other_host
from fimscan.audit.records import event_id, parse_line, type_name
from fimscan.model import AuditRecord

BEGINNING = b"__CURSOR="
"""The beginning of an entry in the export format (systemd.io/JOURNAL_EXPORT_FORMATS)."""

_FIELD = re.compile(rb"([A-Z_][A-Z0-9_]{0,63})=(.*)\Z", re.DOTALL)
_BINARY = re.compile(rb"[A-Z_][A-Z0-9_]{0,63}\Z")
_TYPE = re.compile(rb"(?:[A-Z][A-Z0-9_]*(?:\[\d+\])?|<audit-\d+>) ")
_DAEMON = re.compile(rb"auditd?|audisp[\w-]*")
_LONGEST = 1 << 20  # bytes of an entry; an entry can contain a core dump


class JournalError(ValueError):
    """An audit record lacks what identifies its event."""


class Export:
    """Collects the lines of an entry until a blank line ends it."""

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._binary: bytearray | None = None  # a field's length (8 bytes, little endian) and data

    def add(self, line: bytes) -> AuditRecord | None:
        """Add a line, without its newline; return the record that it completes.

        Raises:
            JournalError: the completed entry is a damaged record.
        """
        if self._binary is not None:
            self._binary += line + b"\n"
            size = 8 + int.from_bytes(self._binary[:8], "little")
            if len(self._binary) > size or len(self._binary) > _LONGEST:
                self._binary = None
        elif field := _FIELD.match(line):
            self._fields.setdefault(field[1], field[2])
        elif _BINARY.match(line):
            self._binary = bytearray()
        elif not line.strip():
            found, self._fields = self._fields, {}
            return _record(found)
        return None

    def finish(self) -> AuditRecord | None:
        """End of input; return the record that it completes.

        Raises:
            JournalError: as :meth:`add`.
        """
        self._binary = None
        return self.add(b"")


def is_entry(line: bytes) -> bool:
    """Whether a JSON object is a journal entry."""
    return b'"__REALTIME_TIMESTAMP"' in line


def parse_entry(line: bytes) -> AuditRecord | None:
    """Parse one line of ``journalctl -o json``; ``None`` where the entry is not an audit record.

    Raises:
        JournalError: it is damaged.
    """
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JournalError(f"not a JSON object: {type(error).__name__}") from None
    if not isinstance(content, dict):
        raise JournalError("not a JSON object")
    return _record({name.encode("utf-8", "replace"): _bytes(value) for name, value in content.items()})


def _bytes(value: object) -> bytes:
    if isinstance(value, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in value):
        return bytes(value)  # text that is not UTF-8
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b""


def _record(fields: Mapping[bytes, bytes]) -> AuditRecord | None:
    message, host = fields.get(b"MESSAGE", b""), other_host(fields.get(b"_HOSTNAME", b""))
    if fields.get(b"_TRANSPORT") != b"audit":
        return parse_line(message, host) if _is_relayed(fields) else None
    time, serial, kind = (
        fields.get(name, b"") for name in (b"_SOURCE_REALTIME_TIMESTAMP", b"_AUDIT_ID", b"_AUDIT_TYPE")
    )
    if not (re.fullmatch(rb"\d{7,17}", time) and re.fullmatch(rb"\d{1,10}", serial) and re.fullmatch(rb"\d{4}", kind)):
        raise JournalError("the audit record lacks its time, serial or type")
    stamp = b"%b.%b:%b" % (time[:-6], time[-6:-3], serial)
    body = message.replace(b"\n", b" ")
    return AuditRecord(event_id(stamp, host), type_name(kind), _TYPE.sub(b"", body, count=1))


def _is_relayed(fields: Mapping[bytes, bytes]) -> bool:
    """Whether the message is a whole record that the kernel printed, or that root's audit daemon relayed."""
    if fields.get(b"_TRANSPORT") == b"kernel":
        return True
    name = fields.get(b"SYSLOG_IDENTIFIER", b"")
    return fields.get(b"_UID") == b"0" and _DAEMON.fullmatch(name) is not None
