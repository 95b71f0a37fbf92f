"""Remember which names each list of dpkg has, so that lists are not parsed again for each of many questions.

A report of 200,000 changes asks for 8,000 paths at a time, and most lists have none of them.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable
from typing import NamedTuple


class _Known(NamedTuple):
    """The state of a list when it was read, and CRC-32 of the last component of each line: 4 bytes a line."""

    stamp: tuple[int, ...]
    checksums: array[int]


def checksums_of(names: Iterable[bytes]) -> frozenset[int]:
    """What :meth:`ListIndex.lacks` takes for names."""
    return frozenset(map(zlib.crc32, names))


class ListIndex:
    """What is known of the lists that were read. A list that was replaced or written since is not known."""

    def __init__(self) -> None:
        self._known: dict[bytes, _Known] = {}

    def lacks(self, path: bytes, names: frozenset[int]) -> bool:
        """Whether a list has no line that ends with one of some names. ``False`` says nothing."""
        known = self._known.get(path)
        return known is not None and known.stamp == stamp_of(path) and names.isdisjoint(known.checksums)

    def learn(self, path: bytes, stamp: tuple[int, ...], text: bytes) -> None:
        """Remember the text of a list; ``stamp`` is from before it was read."""
        lines = text.split(b"\n")[:-1]
        self._known[path] = _Known(stamp, array("I", [zlib.crc32(line.rpartition(b"/")[2]) for line in lines]))


def stamp_of(path: bytes) -> tuple[int, ...]:
    """Changes whenever a file is written or replaced; empty if there is none."""
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
