"""Conversions of a file's state: plain tuple (:data:`Raw`) -> packed form -> value of the vocabulary.

The packed form (:func:`to_packed`) adds path and digest, and travels between processes.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from functools import cache
from operator import itemgetter
from typing import Any, TypeAlias

from fimscan.model import KIND_OF_TYPE, Unreadable, UnreadableReason
from fimscan.scan.attributes import RawXattrs
from fimscan.state_row import ALGORITHMS, FIELDS, Packed, state_digest
from fimscan.xattrs import dump_raw_xattrs

Raw: TypeAlias = tuple[Any, ...]
"""Either (reason, detail), or the fields of a :class:`FileState`: ``st_mode, inode, dev, nlink, uid, gid, size,
mtime_ns, ctime_ns, digest values, link_target, xattrs, flags, read_start_ns, read_end_ns, prefix``. The last one is
(size, digest values) or ``None``.
"""

DIGESTS = 9
"""The position of the digest values in a :data:`Raw`."""

_STATTED = FIELDS[FIELDS.index("kind") : FIELDS.index("size") + 1]
STAT = ("taken", *_STATTED, "mtime_s", "mtime_nsec", "ctime_s", "ctime_nsec")
"""The fields that are compared to vouch for a file: which digests were taken (see :func:`taken_of`), and the fields of
``lstat(2)``. Times are in two parts, as stored.
"""

KINDS = {file_type: kind.value for file_type, kind in KIND_OF_TYPE.items()}


@cache
def taken_of(algorithms: tuple[str, ...]) -> int:
    """A bit mask of digests: one bit for each of :data:`fimscan.state_row.ALGORITHMS`, the first one lowest."""
    return sum(1 << ALGORITHMS.index(name) for name in algorithms)


def to_raw(
    found: os.stat_result,
    read: tuple[int, int],
    *,
    digests: tuple[bytes, ...] = (),
    link: bytes | None = None,
    xattrs: RawXattrs | None = None,
    flags: int | None = None,
    prefix: tuple[int, tuple[bytes, ...]] | None = None,
) -> Raw:
    """Build the tuple of a file from types that ``marshal`` knows.

    ``found[:7]`` is mode, inode, dev, nlink, uid, gid, size.
    """
    return (*found[:7], found.st_mtime_ns, found.st_ctime_ns, digests, link, xattrs, flags, *read, prefix)


def refusal(error: OSError) -> Raw:
    """(reason, detail) for a file that could not be read."""
    match error.errno:
        case errno.ENOENT | errno.ESTALE:
            reason = UnreadableReason.VANISHED
        case errno.EACCES | errno.EPERM:
            reason = UnreadableReason.PERMISSION
        case errno.EAGAIN:  # from open(2) with O_NONBLOCK (fcntl(2), "Leases")
            reason = UnreadableReason.LEASED
        case _:
            reason = UnreadableReason.IO_ERROR
    return reason.value, error.strerror or str(error)


def to_packed(path: bytes, raw: Raw, algorithms: tuple[str, ...]) -> Packed:
    """Pack a state (not a refusal); ``algorithms`` are those that the file was read with."""
    mode, inode, dev, nlink, uid, gid, size, mtime_ns, ctime_ns, taken, link, xattrs, flags, start, end, prefix = raw
    kind, mode = KINDS[stat.S_IFMT(mode)], mode & 0o7777
    xxh3_128, sha256, sha512, blake3 = _in_slots(algorithms, taken)
    xattr_digest, dumped = (None, b"") if xattrs is None else (xattrs[0], dump_raw_xattrs(xattrs[1]))
    beginning = None if prefix is None else (prefix[0], _in_slots(algorithms, prefix[1]))
    values = (
        path, kind, dev, inode, nlink, mode, uid, gid, size, mtime_ns, ctime_ns,
        xxh3_128, sha256, sha512, blake3, link, xattr_digest, dumped, flags, start, end, beginning,
    )  # fmt: skip
    return (*values, state_digest(values))


def _in_slots(algorithms: tuple[str, ...], taken: tuple[bytes, ...]) -> tuple[bytes | None, ...]:
    return _slots(algorithms)((*taken, None)) if taken else _NO_DIGESTS


_NO_DIGESTS = (None,) * len(ALGORITHMS)


@cache
def _slots(algorithms: tuple[str, ...]) -> Callable[[tuple[bytes | None, ...]], tuple[bytes | None, ...]]:
    """A function that puts the taken digests into the order of :data:`ALGORITHMS`, ``None`` for those not taken."""
    places = [algorithms.index(name) if name in algorithms else -1 for name in ALGORITHMS]
    return itemgetter(*places)


def to_unreadable(path: bytes, raw: Raw) -> Unreadable:
    """Convert a refusal."""
    return Unreadable(path=path, reason=UnreadableReason(raw[0]), detail=raw[1])
