"""Files that a scan could not read: when each was last read, and what lstat(2) shows as changed since."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable

from fimscan.model import FileKind, FileState, Unreadable, UnreadableReason
from fimscan.pipeline.record.last_read import Readings
from fimscan.scan.state import KINDS
from fimscan.store import files
from fimscan.store.session import Session

Stat = Callable[[bytes], os.stat_result | None]
"""``lstat(2)`` of a monitored path; ``None`` if it does not exist, or must not be asked since it may hang."""

# Without the device: the recorded number may differ from that of stat(2).
_COMPARED = ("kind", "size", "mode", "uid", "gid", "nlink", "inode", "mtime_ns", "ctime_ns")
_NOT_OF_DIRECTORIES = frozenset({"size", "nlink"})
# Another stat could take a timeout of a minute again; a vanished file has no stat.
_NOT_ASKED = frozenset({UnreadableReason.TIMEOUT, UnreadableReason.VANISHED})


def with_last_read(
    session: Session, scan_id: int, failed: Iterable[Unreadable], readings: Readings, look: Stat
) -> list[Unreadable]:
    """Add to unreadable files when they were last read, and what ``lstat(2)`` shows as changed since.

    Args:
        session: the store, with what this scan found.
        scan_id: the scan that could not read them.
        failed: what it could not read.
        readings: when each path was last read.
        look: ``lstat(2)`` of a path.
    """
    failed = list(failed)
    known = files.at_paths(session, [item.path for item in failed], scan_id)
    return [
        _add_last_read(item, known[item.path].state, readings, look)
        if item.path in known and item.reason is not UnreadableReason.MISSING
        else item
        for item in failed
    ]


def select_reported(failed: Iterable[Unreadable], before: Collection[Unreadable]) -> tuple[Unreadable, ...]:
    """Select the unreadable files that a scan reports.

    A file that could be read once is reported by every scan until it can be read again. Otherwise an attacker could
    keep it from being read, and cause only one alert. A file that never could be read is reported once.
    """
    known = {(item.path, item.reason) for item in before}
    return tuple(item for item in failed if item.since_ns is not None or (item.path, item.reason) not in known)


def _add_last_read(item: Unreadable, known: FileState, readings: Readings, look: Stat) -> Unreadable:
    since_ns = readings.last_read(known, None)
    found = look(item.path) if item.reason not in _NOT_ASKED else None
    return Unreadable(
        path=item.path,
        reason=item.reason,
        detail=item.detail,
        since_ns=since_ns,
        differs=() if found is None else _differing(known, found),
    )


def _differing(known: FileState, found: os.stat_result) -> tuple[str, ...]:
    now = {
        "kind": FileKind(KINDS[stat.S_IFMT(found.st_mode)]),
        "size": found.st_size,
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "nlink": found.st_nlink,
        "inode": found.st_ino,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }
    left_out = _NOT_OF_DIRECTORIES if known.kind is FileKind.DIRECTORY else frozenset()
    compared = (name for name in _COMPARED if name not in left_out)
    return tuple(name.removesuffix("_ns") for name in compared if getattr(known, name) != now[name])
