"""Read the text database of OSSEC's syscheck, ``queue/syscheck/...``.

A line is ``+++SUM !TIME PATH``. SUM is ``size:mode:uid:gid:md5:sha1``; early versions of Wazuh add
``:user:group:mtime:inode`` and ``:sha256``. The mode is the decimal one of ``stat(2)``, with the file type. Three marks
in front of it count the alerts. ``-1`` stands for a file that was removed. A line that is no longer valid begins with
``#``. What was not checked is 0, empty, or ``xxx``. The digests of a symbolic link are those of the file that it names.
"""

from __future__ import annotations

import hashlib
import re
import stat

from fimscan.importers.entries import (
    DAY_NS,
    NS,
    Entries,
    Entry,
    Recorded,
    Source,
    absolute,
    earliest_entry,
    hex_digest,
    number,
)
from fimscan.model import KIND_OF_TYPE, Digest, FileKind

_LINE = re.compile(
    rb"[+!?-]{3}(?P<sum>-1|[^ !]+)(?:!\d+:(?P<alerted>\d+))?(?: !(?P<time>\d+))? (?P<path>/.*)", re.DOTALL
)
_FIELDS = ("size", "mode", "uid", "gid", "md5", "sha1")
_MORE = ("user", "group", "mtime", "inode", "sha256")
_REMOVED = b"-1"
_EMPTY = Digest(algorithm="md5", value=hashlib.md5(b"", usedforsecurity=False).digest())


def is_ossec(head: bytes) -> bool:
    """Whether the first line that is no comment is one of syscheck."""
    lines = (line for line in head.split(b"\n") if line and not line.startswith(b"#"))
    match = _LINE.fullmatch(next(lines, b""))
    return match is not None and (match["sum"] == _REMOVED or match["sum"].count(b":") >= len(_FIELDS) - 1)


def read_ossec(source: Source) -> Recorded:
    """Read a database.

    Raises:
        MalformedError: a line is none of syscheck.
    """
    found, removed = Entries(), 0
    for line in source.lines:
        if not line or line.startswith(b"#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise source.lines.wrong("this is not '+++size:mode:uid:gid:md5:sha1 !time path'")
        if match["sum"] == _REMOVED:
            removed += 1
            continue
        with source.lines.checked():
            found.add(_entry(match))
    if not found.by_path:
        raise source.lines.wrong("it lists no file")
    return Recorded(entries=found.by_path, taken_ns=earliest_entry(found.by_path), only_files=True, skipped=removed)


def _entry(match: re.Match[bytes]) -> Entry:
    values = match["sum"].split(b":")
    names = (*_FIELDS, *_MORE)
    if len(values) < len(_FIELDS):
        raise ValueError(f"{len(values)} fields instead of {len(_FIELDS)}")
    fields = dict(zip(names, values, strict=False))
    full_mode = _number(fields["mode"]) or 0
    if full_mode > 0o177777 or (full_mode and stat.S_IFMT(full_mode) not in KIND_OF_TYPE):
        raise ValueError("the mode has no valid file type")
    kind = KIND_OF_TYPE[stat.S_IFMT(full_mode)] if full_mode else FileKind.FILE
    digests = tuple(
        hex_digest(fields[name])
        for name in ("md5", "sha1", "sha256")
        if fields.get(name) not in (None, b"", b"xxx", b"n/a")
    )
    size = _number(fields["size"])
    if size == 0 and _EMPTY not in digests:
        size = None  # the size was not checked
    taken = match["time"] or match["alerted"]
    return Entry(
        path=absolute(match["path"], None),
        kind=kind,
        mode=full_mode & 0o7777 if full_mode else None,
        uid=_number(fields["uid"]),
        gid=_number(fields["gid"]),
        size=size,
        mtime_s=_number(fields.get("mtime", b"")) or None,
        inode=_number(fields.get("inode", b"")) or None,
        digests=digests if kind is FileKind.FILE else (),
        taken_ns=number(taken, largest=1 << 33) * NS - DAY_NS if taken else None,  # it is when the server heard of it
    )


def _number(text: bytes) -> int | None:
    return number(text) if text else None
