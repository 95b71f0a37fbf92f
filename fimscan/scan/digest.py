"""One pass over the bytes of a file for all of its digests."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import blake3
import xxhash

PIECE_BYTES = 256 * 1024
"""What is read at a time: it fits into a core's second-level cache, which the second digest finds it in."""
_ZEROS = memoryview(bytes(PIECE_BYTES))


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

    def __init__(self, on_piece: Callable[[int], None]) -> None:
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._on_piece = on_piece

    def digest(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """The digests of everything from the descriptor's position on, in the order of ``algorithms``.

        ``size`` is what ``fstat`` said a moment ago. ``None`` when the file is seen to grow: one that is appended to
        faster than it is read would never come to an end.

        Raises:
            OSError: as ``read(2)``.
            TimedOutError: what ``on_piece``, which is told the size of each piece that was read, raises.
        """
        buffer = self._buffer
        count = total = os.readv(fd, [buffer])
        hashes = [ALGORITHMS[name](buffer[:count]) for name in algorithms]
        # The size is trusted as the end only together with the fstat that the caller does afterwards. Files of procfs
        # and the like say 0, or 4096, whatever they hold: those are read until there is no more.
        while count and total != size:
            if total > size and os.fstat(fd).st_size != size:
                return None
            self._on_piece(count)
            count = os.readv(fd, [buffer])
            for one in hashes:
                one.update(buffer[:count])
            total += count
        self._on_piece(count)
        return tuple([one.digest() for one in hashes])

    def digest_piece(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """As :meth:`digest`, of what one call reads (up to :data:`PIECE_BYTES`); ``None`` if that is not ``size``.

        Raises:
            OSError: as ``pread(2)``, so of a pipe, which it leaves as it is, too.
        """
        if os.preadv(fd, [self._buffer], 0) != size:
            return None
        content = self._buffer[:size]
        return tuple([ALGORITHMS[name](content).digest() for name in algorithms])

    def digest_sparse(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """As :meth:`digest`, of a file with holes: they are hashed as the zeros that they stand for, but not read.

        Reading them would fill the page cache with zeros. It is the hashing, not the reading, that takes the time.
        """
        hashes = [ALGORITHMS[name](self._buffer[:0]) for name in algorithms]
        if not self._update(hashes, fd, (0, size), sparse=True):
            return None
        return tuple(one.digest() for one in hashes)

    def digest_log(
        self, fd: int, lengths: tuple[int, int], algorithms: Sequence[str], *, sparse: bool = False
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...] | None] | None:
        """Of ``lengths`` (size, verified): (the digests of the first ``size`` bytes, those of the first ``verified``).

        It is one pass. A log grows while it is read: what comes after ``size`` is left to the next time. The second is
        ``None`` where there are not so many bytes; all of it is ``None`` when the file is seen to shrink. With
        ``sparse``, holes are not read.

        Raises:
            OSError: as ``read(2)``.
            TimedOutError: as :meth:`digest`.
        """
        size, verified = lengths
        hashes = [ALGORITHMS[name](self._buffer[:0]) for name in algorithms]
        taken: list[tuple[bytes, ...]] = []
        begin = 0
        for end in (verified, size) if verified <= size else (size,):
            if not self._update(hashes, fd, (begin, end), sparse=sparse):
                return None
            taken.append(tuple(one.digest() for one in hashes))
            begin = end
        return taken[-1], taken[0] if verified <= size else None

    def _update(self, hashes: Sequence[_Hash], fd: int, span: tuple[int, int], *, sparse: bool) -> bool:
        """Hash a stretch of a file, (begin, end); whether there was so much."""
        position, size = span
        while position < size:
            data = _seek(fd, position, os.SEEK_DATA, size) if sparse else position
            end = _seek(fd, data, os.SEEK_HOLE, size) if sparse and data < size else size
            while position < end:
                if position < data:
                    piece = _ZEROS[: data - position]
                else:
                    piece = self._buffer[: os.preadv(fd, [self._buffer[: end - position]], position)]
                    if not piece:
                        return False
                for one in hashes:
                    one.update(piece)
                self._on_piece(len(piece) if position >= data else 0)
                position += len(piece)
        return True


def _seek(fd: int, position: int, whence: int, size: int) -> int:
    """Where the next data, or the next hole, begins; ``size`` when there is none before that."""
    try:
        return min(os.lseek(fd, position, whence), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise
