"""Records that were cut behind their header: what a whole record of each type ends with.

auditd cuts lines at 8970 bytes, syslog at 1024 or 8192; audisp-syslog 4.1.4 splits messages (audit-userspace issue
529); a full disk cuts the last line. A cut record is used as far as it goes, and counted as damaged. What cannot be
seen: a cut between two bytes of a hexadecimal value that a record ends with (PROCTITLE, EXECVE).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from fimscan.audit.parsed_call import said_by
from fimscan.audit.paths import parse_item
from fimscan.audit.records import text_value
from fimscan.model import AuditEvent, AuditRecord

CUT = "the record was cut"

_KEY = re.compile(rb' key=(?:"[^"]*"|[^"\s\x1d]+)')
# auditd translates in the order of the fields; of names, those of AUID and UID are used.
_ALL_TRANSLATED = re.compile(rb'FSGID="?[^"]+"?\s*\Z|[ \x1d]UID="[^"]+"(?:\s|\Z)')
_OLD_CALL = re.compile(rb' exe=(?:"[^"]*"|(?:[0-9A-F]{2})+)(?: subj=\S+)?\s*\Z')  # before 2.6.18, which had no key
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
    """Whether a record of this type does not end as a whole one does; false for types that say nothing of files."""
    if kind == "PATH":
        item = parse_item(body)
        return item is None or (not item.kind and not _OLD_PATH.match(body))
    if kind in _CALLS:
        end = body.rfind(b" key=")
        return _is_cut_behind(body[end:]) if end >= 0 else b" ppid=" in body or not _OLD_CALL.search(body)
    return kind in _CHECKS and _is_cut(kind, body)


@lru_cache(maxsize=4096)
def _is_cut(kind: str, body: bytes) -> bool:
    return _CHECKS[kind](body)


_CALLS = frozenset({"SYSCALL", "URINGOP"})


def cut_record(event: AuditEvent, *, with_kinds: bool) -> AuditRecord | None:
    """The record of an event that looks whole, but for what the others say; ``None`` in most.

    A PATH record that was cut in front of its nametype looks like one of an old kernel, unless the others in the log
    are ``with_kinds``. A record that was cut where auditd's translations begin looks like one that has none.
    """
    records = event.records
    paths = [record for record in records if record.type == "PATH"]
    items = [parse_item(record.body) for record in paths]
    bare = [record for record, item in zip(paths, items, strict=True) if item is not None and not item.kind]
    if bare:
        if with_kinds or len(bare) < len(paths) or any(b"UID=" in record.body for record in records):
            return bare[0]
        said = said_by(event)
        if said is not None and said.success and said.call not in ("symlink", "symlinkat"):
            nowhere = [record for record, item in zip(paths, items, strict=True) if item and item.identity is None]
            if nowhere:
                return nowhere[0]
    calls = [record for record in records if record.type in ("SYSCALL", "URINGOP")]
    if calls and is_half_translated(calls[0].body, [record.body for record in paths]):
        return calls[0]
    return None


def is_half_translated(call: bytes, paths: Sequence[bytes]) -> bool:
    """Whether auditd translated the PATH records of an event, and the translation of its call was cut off."""
    return b"UID=" not in call and any(b"OUID=" in path for path in paths)


@lru_cache(maxsize=4096)
def _is_cut_behind(end: bytes) -> bool:
    """Whether a call's key, or the translations behind it, are not whole: they are the same in many calls."""
    key = _KEY.match(end)
    return key is None or (end.find(b"=", key.end()) >= 0 and not _ALL_TRANSLATED.search(end))


def _cwd(body: bytes) -> bool:
    match = _CWD.match(body)
    # The kernel writes hexadecimal only where it must: for a space, a quote or a byte outside of ASCII.
    return match is None or (
        match["hex"] is not None and _BARE_TEXT.fullmatch(text_value(match["hex"]) or b"") is not None
    )


_CHECKS: Mapping[str, Callable[[bytes], bool]] = {
    "CWD": _cwd,
    "PROCTITLE": lambda body: _TITLE.match(body) is None,
    "EXECVE": lambda body: _WORDS.match(body) is None,
    "OPENAT2": lambda body: _OPEN_HOW.search(body) is None,
    "CONFIG_CHANGE": lambda body: b"op=" in body and _RESULT.search(body) is None,
}
