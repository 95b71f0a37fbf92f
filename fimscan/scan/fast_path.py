"""Ordinary files, on the shortest way through the code: all of a request first, and only then what is made of them.

Of a small file it is neither the bytes nor the system calls that take the time. The kernel and the interpreter drive
each other out of the processor's innermost caches, so that code that runs between system calls costs three times what
it costs on its own: as little as possible is done there.

Only what is plain in every respect is read here: a regular file, small, settled, there to be read and left alone
meanwhile. All else is left to :meth:`fimscan.scan.reader.Reader.read`, which finds out what is the matter.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from itertools import repeat
from typing import Any, TypeAlias

from fimscan.scan.attributes import Changed, RawXattrs, read_flags, read_xattrs
from fimscan.scan.digest import PIECE_BYTES
from fimscan.scan.reader import OPEN_FLAGS, Reader, is_same, open_quietly
from fimscan.scan.state import Raw, taken_of, to_raw

_Known: TypeAlias = Sequence[Any] | None
"""What vouches for a file (:data:`fimscan.scan.state.STAT`), if anything does."""

_Read: TypeAlias = tuple[
    os.stat_result, os.stat_result, tuple[int, int], tuple[bytes, ...], RawXattrs | None, int | None
]
"""(stat before, stat after, when it began and ended, digest values, extended attributes, flags)."""

_VOUCHED = ()


def read_plain(
    reader: Reader,
    first: int,
    directory: int,
    names: Sequence[bytes],
    algorithms: tuple[str, ...],
    known: Sequence[_Known] | None,
) -> list[Raw | None]:
    """The state of each file that is plain, empty where it is still as ``known``; ``None`` where it is not plain.

    ``first`` is the number of the first one in its request.
    """
    taken = taken_of(algorithms)
    found: list[_Read | tuple[()] | None] = []
    for number, (name, one) in enumerate(zip(names, known or repeat(None), strict=False), first):
        reader.throttle.at(number)
        try:
            found.append(_read(reader, directory, name, algorithms, (taken, one)))
        except (OSError, Changed):
            found.append(None)
    return [_raw_of(*read) if read else read for read in found]


def _read(
    reader: Reader, directory: int, name: bytes, algorithms: tuple[str, ...], vouched: tuple[int, _Known]
) -> _Read | tuple[()] | None:
    start_ns = time.time_ns()
    before = os.stat(name, dir_fd=directory, follow_symlinks=False)
    taken, known = vouched
    if known is not None and reader.is_still(before, taken, known):
        return _VOUCHED
    if not stat.S_ISREG(before.st_mode) or before.st_size > PIECE_BYTES or not reader.is_settled(before, start_ns):
        return None
    fd = open_quietly(name, OPEN_FLAGS, directory)
    try:
        digests = reader.digester.digest_piece(fd, before.st_size, algorithms)
        if digests is None:
            return None
        xattrs, flags = read_xattrs(fd), read_flags(fd)
        reader.writers.ask(fd, before)
        after = os.fstat(fd)
    finally:
        os.close(fd)
    return before, after, (start_ns, time.time_ns()), digests, xattrs, flags


def _raw_of(
    before: os.stat_result,
    after: os.stat_result,
    read: tuple[int, int],
    digests: tuple[bytes, ...],
    xattrs: RawXattrs | None,
    flags: int | None,
) -> Raw | None:
    # Not the same is also a file that took the place of the one that was found, before it was opened.
    return to_raw(before, read, digests=digests, xattrs=xattrs, flags=flags) if is_same(before, after) else None
