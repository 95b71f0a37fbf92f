"""Decide which files ctime vouches for: they are not read while ctime, and all else of ``lstat(2)``, stays the same.

Every change of a file sets its ctime, and no system call can set it back. This relies on the kernel and its clock, so
it is used only where the configuration allows it. ctime does not vouch for

* a file that was *too fresh* when it was last read: two changes within a tick of the clock, or through one mapped page,
  set the same ctime, and the reading may have been between them;
* a file that a process has open for writing, or mapped, now or when the last scan began: a write to a page that is
  already dirty sets no ctime;
* a file that users may write to, while one of them has mounted a file system: a read(2) from a FUSE file of theirs into
  mapped memory of the file takes as long as they want, and its end sets neither ctime nor mtime (tried on 6.18);
* a file on tmpfs, where a write through a mapped page never sets it;
* a file that the last scan could not read, or read with other digests than are wanted now (the scanner checks that).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from fimscan.errors import UsageError
from fimscan.linux.filesystems import Numbers
from fimscan.model import FileKind, NoticeKind
from fimscan.pipeline.record.last_read import FullReading
from fimscan.scan.block import Voucher
from fimscan.scan.reader import FRESH_NS
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import scan_results as scan_result_store
from fimscan.store.database import Database
from fimscan.store.files import KnownRow
from fimscan.store.session import Session

_FRESH_NS = FRESH_NS
_SECOND = 10**9
_FILE = FileKind.FILE.value


Vouch: TypeAlias = Callable[[Sequence[KnownRow]], Sequence[Voucher]]
"""Picks the files that need not be read from a chunk of :func:`fimscan.store.files.known_with_stats`."""


def moved_extents(session: Session, since_ns: int) -> str | None:
    """Report why ctime cannot be trusted: a process moved blocks between files since then. ``None`` if none did."""
    notices = audit_store.notices(session, since_ns, time.time_ns())
    moves = [notice for notice in notices if notice.kind is NoticeKind.EXTENTS_MOVED]
    if not moves:
        return None
    return (
        f"blocks were moved between files, which does not set their ctime (audit event {moves[-1].event}):"
        " this scan reads every file"
    )


def make_voucher(
    full: FullReading, held: Collection[tuple[int, int]], numbers: Numbers, *, users_mounted: bool = False
) -> Vouch | None:
    """Return a function that picks the files that ctime vouches for; ``None`` if it vouches for none.

    Args:
        full: when each file was last read.
        held: the files (device, inode) that a process can write to now.
        numbers: the device numbers by which file systems are recorded.
        users_mounted: a user may have a file system mounted.
    """
    if not full.writers:
        return None
    last = full.writers[0].held
    mine = frozenset(held) | frozenset(last.actors) | last.writable
    raws = {} if numbers.is_trivial else numbers.raws

    def vouched(known: Sequence[KnownRow]) -> list[Voucher]:
        clock_ns = full.clock.over(known[0][0], known[-1][0]) or 0
        found: list[Voucher] = []
        for row in known:
            path, digest, _, read_ns, _, kind, dev, inode, _, mode, uid, _, _, _, _, ctime_s, ctime_nsec = row
            last_ns = clock_ns if clock_ns > read_ns else read_ns
            if ctime_s * _SECOND + ctime_nsec + _FRESH_NS > last_ns or (dev, inode) in mine:
                continue
            if users_mounted and kind == _FILE and (uid or mode & 0o022):
                continue
            found.append((path, digest, last_ns, row[4:] if dev not in raws else (*row[4:6], raws[dev], *row[7:])))
        return [one for one in found if not full.is_blocked(one[0])] if full.blocked else found

    return vouched


def vouched_files(database: Database) -> Iterator[tuple[bytes, int]]:
    """Yield (path, when it was last read in ns) of the files that the last complete scan did not read, by path.

    Only one time, the earliest, is stored for files that lie together. If some of them were read and some were not, all
    are listed.

    Raises:
        UsageError: there is no finished scan yet.
    """
    with database.read() as session:
        full = FullReading.load(session)
        if full.scan is None:
            raise UsageError("no scan has been finished yet; 'fimscan scan' records the baseline")
        if "vouched" not in full.scan.counts:
            return
        rechecks = scan_result_store.rechecks(session)
        for rows in files.known_with_stats(session):
            for path, _, _, read_ns, _, kind, *_ in rows:
                if kind == FileKind.DIRECTORY.value or full.is_blocked(path):
                    continue
                looked_ns = rechecks[path].read_start_ns if path in rechecks else 0
                last_ns = max(full.last_verified(path, read_ns), looked_ns)
                if last_ns < full.scan.started_ns:
                    yield path, last_ns
