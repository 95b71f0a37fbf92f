"""One pass over the bytes of a file for all of its digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import blake3
import xxhash

# Fits into a core's second-level cache, so that the second digest reads what the first one has brought there.
_BUFFER_BYTES = 256 * 1024


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def digest(self) -> bytes: ...


ALGORITHMS: Mapping[str, Callable[[memoryview], _Hash]] = {
    "xxh3_128": xxhash.xxh3_128,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "blake3": blake3.blake3,
}
"""Digest name -> what begins one with the first bytes of the file."""


class Digester:
    """Hashes open files through one reusable buffer (so each thread needs its own)."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    def digest(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """The digests of everything from the descriptor's position on, in the order of ``algorithms``.

        ``size`` is what ``fstat`` said a moment ago. ``None`` when the file is seen to grow: one that is appended to
        faster than it is read would never come to an end.

        Raises:
            OSError: as ``read(2)``.
        """
        buffer = self._buffer
        count = total = os.readv(fd, [buffer])
        hashes = [ALGORITHMS[name](buffer[:count]) for name in algorithms]
        # The size is trusted as the end only together with the fstat that the caller does afterwards. Files of procfs
        # and the like say 0, or 4096, whatever they hold: those are read until there is no more.
        while count and total != size:
            if total > size and os.fstat(fd).st_size != size:
                return None
            count = os.readv(fd, [buffer])
            for one in hashes:
                one.update(buffer[:count])
            total += count
        return tuple(one.digest() for one in hashes)

    def digest_log(
        self, fd: int, size: int, verified: int, algorithms: Sequence[str]
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...] | None] | None:
        """(the digests of the first ``size`` bytes, those of the first ``verified`` bytes), in one pass.

        A log grows while it is read: what comes after ``size`` is left to the next time. The second is ``None`` where
        there are not so many bytes; all of it is ``None`` when the file is seen to shrink.

        Raises:
            OSError: as ``read(2)``.
        """
        hashes = [ALGORITHMS[name](self._buffer[:0]) for name in algorithms]
        taken: list[tuple[bytes, ...]] = []
        total = 0
        for end in (verified, size) if verified <= size else (size,):
            while total < end:
                count = os.readv(fd, [self._buffer[: end - total]])
                if not count:
                    return None
                for one in hashes:
                    one.update(self._buffer[:count])
                total += count
            taken.append(tuple(one.digest() for one in hashes))
        return taken[-1], taken[0] if verified <= size else None
