"""Which known files need not be read again while their ctime, and all else that ``lstat(2)`` tells, stays the same.

Every change of a file sets its ctime, which no system call can set back. That is the kernel's word, and worth as much
as its clock, so it is only taken where the policy allows it, and not

* for a file that was *too fresh* when it was last read: one that is changed twice within a tick of the clock, or twice
  through one mapped page, has the same ctime both times, and the reading may have been between the two;
* for one that a process has open for writing, or mapped, now or when the last scan began: what is written to a page
  that is dirty already leaves no trace;
* on tmpfs, where what is written through a mapped page leaves none at all;
* for one that the last scan could not read, or with other digests than are wanted now.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from sqlalchemy import Connection

from fimscan.model import FileKind
from fimscan.packed import ALGORITHMS
from fimscan.pipeline.readings import FullReading
from fimscan.scan.block import Voucher
from fimscan.scan.state import FRESH_NS
from fimscan.scan.watch import WatchSpec
from fimscan.store import files

_FRESH_NS = FRESH_NS
_SECOND = 10**9

Wanted = Callable[[bytes], int]
"""Directory -> the algorithms of its files, as :func:`fimscan.store.files.stats` has them; -1: none is vouched for."""


def vouchers(
    connection: Connection,
    host_id: int,
    full: FullReading,
    trusted: Sequence[tuple[WatchSpec, bool]],
    held: Collection[tuple[int, int]],
) -> Iterator[Voucher]:
    """What is stored of the files that may be vouched for, in order of path.

    ``trusted`` are the watches, and whether ctime vouches for their files; ``held`` the files (device, inode) that
    somebody can write to now.
    """
    if not full.looks or not any(trust for _, trust in trusted):
        return
    wanted = _by_directory(trusted, full.blocked)
    excluded = {*full.blocked, *(watch.path for watch, _ in trusted)}
    mine = frozenset(held) | frozenset(full.looks[0].held)
    regular = FileKind.FILE.value
    directory, bits = b"", -1
    for rows in files.stats(connection, host_id):
        clock_ns = full.clock.over(rows[0][0], rows[-1][0]) or 0
        for path, digest, taken, read_ns, *stat in rows:
            parent = path[: path.rindex(b"/") + 1]
            if parent != directory:
                directory, bits = parent, wanted(parent)
            if bits < 0 or (stat[0] == regular and taken != bits) or path in excluded:
                continue
            last_ns = max(clock_ns, read_ns)
            if stat[10] * _SECOND + stat[11] + _FRESH_NS > last_ns or (stat[1], stat[2]) in mine:
                continue
            yield Voucher(path, digest, last_ns, tuple(stat))


def _by_directory(trusted: Sequence[tuple[WatchSpec, bool]], blocked: Sequence[bytes]) -> Wanted:
    bits = {
        watch.path: sum(1 << ALGORITHMS.index(name) for name in watch.algorithms) if trust else -1
        for watch, trust in trusted
    }

    def wanted(directory: bytes) -> int:
        """``directory`` ends in a slash. The innermost watch decides, as in the walk."""
        place = directory.rstrip(b"/") or b"/"
        if any(place == path or place.startswith(path.rstrip(b"/") + b"/") for path in blocked):
            return -1
        while place not in bits:
            if place == b"/":
                return -1
            place = place.rpartition(b"/")[0] or b"/"
        return bits[place]

    return wanted
