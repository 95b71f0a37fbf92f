"""What the log says about the audit system itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fimscan.audit.records import fields, text_value
from fimscan.model import AuditEvent, AuditNotice, AuditRecord, NoticeKind

# Kernels before 3.16 wrote op="add rule", newer ones op=add_rule (audit_receive_msg in kernel/audit*.c).
_RULE = re.compile(rb'\bop="?(add|remove)[ _]rule\b')
_INITIALIZED = re.compile(rb"(?:state=)?initialized\b")
_ENABLED = re.compile(rb"\baudit_enabled=(\d)")


def notice(event: AuditEvent) -> AuditNotice | None:
    """The event as a notice, where coverage depends on it; ``None`` for all others. Failed attempts are none."""
    if not _TOLD.search(event.text):  # as in most
        return None
    for record in event.records:
        reader = _READERS.get(record.type)
        if reader is not None and (found := reader(record)) is not None:
            kind, key = found
            return AuditNotice(event=event.id, kind=kind, key=key)
    return None


_Found = tuple[NoticeKind, str | None]


def _daemon_start(record: AuditRecord) -> _Found | None:
    return None if fields(record.body).get(b"res") == b"failed" else (NoticeKind.DAEMON_START, None)


def _config_change(record: AuditRecord) -> _Found | None:
    values = fields(record.body)
    if values.get(b"res") == b"0":
        return None
    if rule := _RULE.search(record.body):
        key = text_value(values.get(b"key"))
        kind = NoticeKind.RULE_ADDED if rule[1] == b"add" else NoticeKind.RULE_REMOVED
        return kind, None if key is None else key.replace(b"\x01", b",").decode("utf-8", "backslashreplace")
    if enabled := _ENABLED.search(record.body):
        return NoticeKind.DISABLED if enabled[1] == b"0" else NoticeKind.ENABLED, None
    return None


def _kernel(record: AuditRecord) -> _Found | None:
    """Kernels before 4.2 wrote the word alone, newer ones ``state=initialized`` (audit_init in kernel/audit.c)."""
    return (NoticeKind.BOOT, None) if _INITIALIZED.match(record.body) else None


_READERS: Mapping[str, Callable[[AuditRecord], _Found | None]] = {
    "DAEMON_START": _daemon_start,
    "DAEMON_END": lambda _: (NoticeKind.DAEMON_END, None),
    "DAEMON_ABORT": lambda _: (NoticeKind.DAEMON_END, None),
    "DAEMON_RESUME": lambda _: (NoticeKind.RESUMED, None),
    "CONFIG_CHANGE": _config_change,
    "SYSTEM_BOOT": lambda _: (NoticeKind.BOOT, None),
    "KERNEL": _kernel,
}
_TOLD = re.compile(rb"\n(?:" + "|".join(_READERS).encode() + rb") ")
