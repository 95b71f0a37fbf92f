"""The fast path for ordinary files: first all system calls of a request, then the conversion of the results.

For a small file, neither bytes nor system calls take the time. Kernel and interpreter evict each other from the
processor's innermost caches: code between system calls costs three times what it costs alone. So as little as possible
runs there.

Only ordinary files are read here: regular, small, not changed recently, readable, and left alone during the reading.
All others go to :meth:`fimscan.scan.reader.Reader.read`, which finds out what is special about them.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from fimscan.scan.attributes import Changed, RawXattrs, read_flags, read_xattrs
from fimscan.scan.digest import PIECE_BYTES
from fimscan.scan.reader import OPEN_FLAGS, Reader, is_same, open_noatime
from fimscan.scan.state import Raw, taken_of, to_raw

_Known: TypeAlias = Sequence[Any] | None
"""The known :data:`fimscan.scan.state.STAT` that vouches for a file, if any."""

_Read: TypeAlias = tuple[
    os.stat_result, os.stat_result, tuple[int, int], tuple[bytes, ...], RawXattrs | None, int | None
]
"""(stat before, stat after, (start, end) in ns, digest values, extended attributes, flags)."""

_VOUCHED = ()


def read_ordinary(  # one call for a whole directory
    reader: Reader,
    first: int,
    directory: int,
    names: Sequence[bytes],
    algorithms: tuple[str, ...],
    known: Sequence[_Known] | None,
    after_each: Callable[[], None] | None = None,
) -> list[Raw | None]:
    """Read the ordinary files: the state, empty where the file is still as ``known``, ``None`` where not ordinary.

    ``first`` is the number of the first file in its request. ``after_each`` is called after each file.
    """
    taken = taken_of(algorithms)
    found: list[_Read | tuple[()] | None] = []
    for number, (name, one) in enumerate(zip(names, known or repeat(None), strict=False), first):
        reader.throttle.note_file(number)
        try:
            found.append(_read(reader, directory, name, algorithms, (taken, one)))
        except (OSError, Changed):
            found.append(None)
        if after_each is not None:
            after_each()
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
    fd = open_noatime(name, OPEN_FLAGS, directory)
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
    # This also excludes a file that replaced the one of the first stat before it was opened.
    return to_raw(before, read, digests=digests, xattrs=xattrs, flags=flags) if is_same(before, after) else None
