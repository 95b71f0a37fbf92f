"""Detect truncated records by the fields that each type ends with.

auditd truncates lines at 8970 bytes, syslog at 1024 or 8192; audisp-syslog 4.1.4 splits messages (audit-userspace issue
529); a full disk truncates the last line. A truncated record is used as far as it goes, and counted as damaged. One
case is not detected: a cut between two bytes of a hexadecimal value at the end of a record (PROCTITLE, EXECVE).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from fimscan.audit.parsed_call import parse_call
from fimscan.audit.paths import parse_item
from fimscan.audit.records import text_value
from fimscan.model import AuditEvent, AuditRecord

CUT = "the record is truncated"

_KEY = re.compile(rb' key=(?:"[^"]*"|[^"\s\x1d]+)')
# auditd translates fields in their order; of the names, AUID and UID are used.
_ALL_TRANSLATED = re.compile(rb'FSGID="?[^"]+"?\s*\Z|[ \x1d]UID="[^"]+"(?:\s|\Z)')
_OLD_CALL = re.compile(rb' exe=(?:"[^"]*"|(?:[0-9A-F]{2})+)(?: subj=\S+)?\s*\Z')  # Linux before 2.6.18 wrote no key
_OLD_PATH = re.compile(
    rb"item=\d+ name=(?:\"[^\"]*\"|\(null\)|(?:[0-9A-F]{2})+)(?: flags=\w+)?"
    rb"(?: inode=\d+ dev=\w+:\w+ mode=[0-7]+ ouid=-?\d+ ogid=-?\d+ rdev=[0-9a-f]{2,}:[0-9a-f]{2,})?"
    rb"(?: obj=\S+)?(?:[\x1d ]?O[UG]ID=.*)?\s*\Z"
)
_CWD = re.compile(rb"\s*cwd=(?:\"[^\"]*\"|(?P<hex>(?:[0-9A-F]{2})+)|\(null\)|<\w+>|/[^\"]*)\s*\Z")
_TITLE = re.compile(rb"\s*proctitle=(?:\"[^\"]*\"|(?:[0-9A-F]{2})+|\(null\)|[^\"]*[^0-9A-F\"\s][^\"]*)\s*\Z")
_OPEN_HOW = re.compile(rb"oflag=\"?0[0-7]*\"? mode=\"?0[0-7]*\"? resolve=\S+")
_WORDS = re.compile(rb'(?:argc="?\d+"?)?(?:\s*a\d+(?:_len|\[\d+\])?=(?:"[^"]*"|(?:[0-9A-F]{2})+|\d+|\(null\)))*\s*\Z')
_RESULT = re.compile(rb'\bres="?(?:\d|success|failed)')
_BARE_TEXT = re.compile(rb"[!#-~]+")


def is_cut(kind: str, body: bytes) -> bool:
    """Whether a record lacks the end that its type has; false for types that are not about files."""
    check = _CHECKS.get(kind)
    return check is not None and check(body)


def cut_record(event: AuditEvent, *, with_kinds: bool) -> AuditRecord | None:
    """The record of an event that looks whole but is truncated, judged by the other records; mostly ``None``.

    A PATH record truncated before its nametype looks like one of an old kernel, unless the log's other records are
    ``with_kinds``. A record truncated where auditd's translations begin looks like one without translations.
    """
    records = event.records
    paths = [record for record in records if record.type == "PATH"]
    items = [parse_item(record.body) for record in paths]
    bare = [record for record, item in zip(paths, items, strict=True) if item is not None and not item.kind]
    if bare:
        if with_kinds or len(bare) < len(paths) or any(b"UID=" in record.body for record in records):
            return bare[0]
        parsed = parse_call(event)
        if parsed is not None and parsed.success and parsed.call not in ("symlink", "symlinkat"):
            nowhere = [record for record, item in zip(paths, items, strict=True) if item and item.identity is None]
            if nowhere:
                return nowhere[0]
    calls = [record for record in records if record.type in ("SYSCALL", "URINGOP")]
    if calls and is_half_translated(calls[0].body, [record.body for record in paths]):
        return calls[0]
    return None


def is_half_translated(call: bytes, paths: Sequence[bytes]) -> bool:
    """Whether auditd translated the PATH records of an event, but the translation of its call was truncated."""
    return b"UID=" not in call and any(b"OUID=" in path for path in paths)


@lru_cache(maxsize=4096)
def _is_end_cut(end: bytes) -> bool:
    """Whether a call's key, or the translations after it, are truncated; cached, as they repeat from call to call."""
    key = _KEY.match(end)
    return key is None or (end.find(b"=", key.end()) >= 0 and not _ALL_TRANSLATED.search(end))


def _call(body: bytes) -> bool:
    end = body.rfind(b" key=")
    return _is_end_cut(body[end:]) if end >= 0 else b" ppid=" in body or not _OLD_CALL.search(body)


def _path(body: bytes) -> bool:
    item = parse_item(body)
    return item is None or (not item.kind and not _OLD_PATH.match(body))


@lru_cache(maxsize=1024)
def _cwd(body: bytes) -> bool:
    match = _CWD.match(body)
    # The kernel writes hexadecimal only for a space, a quote or a byte outside ASCII.
    return match is None or (
        match["hex"] is not None and _BARE_TEXT.fullmatch(text_value(match["hex"]) or b"") is not None
    )


@lru_cache(maxsize=2048)
def _title(body: bytes) -> bool:
    return _TITLE.match(body) is None


# By record type; cached where records recur from event to event.
_CHECKS: Mapping[str, Callable[[bytes], bool]] = {
    "SYSCALL": _call,
    "URINGOP": _call,
    "PATH": _path,
    "CWD": _cwd,
    "PROCTITLE": _title,
    "EXECVE": lambda body: _WORDS.match(body) is None,
    "OPENAT2": lambda body: _OPEN_HOW.search(body) is None,
    "CONFIG_CHANGE": lambda body: b"op=" in body and _RESULT.search(body) is None,
}
