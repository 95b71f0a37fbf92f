"""Compute all digests of a file in one pass over its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import blake3
import xxhash

PIECE_BYTES = 256 * 1024
"""Bytes per read. A piece fits into the second-level cache of a core, where the second digest finds it."""
_ZEROS = memoryview(bytes(PIECE_BYTES))
_MOST_REMEMBERED = 64
OnHole: TypeAlias = Callable[[int], None]
"""Called with the length of a hole before it is hashed; raises an error if it is not to be hashed."""


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def digest(self) -> bytes: ...


ALGORITHMS: Mapping[str, Callable[[memoryview], _Hash]] = {
    "xxh3_128": xxhash.xxh3_128,
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "blake3": blake3.blake3,
}
"""Digest name -> constructor, which takes the first bytes of the file."""


class Digester:
    """Hashes open files through one reusable buffer, so each thread needs its own."""

    def __init__(self, on_piece: Callable[[int], None]) -> None:
        self._buffer = memoryview(bytearray(PIECE_BYTES))
        self._on_piece = on_piece
        self._of_zeros: dict[tuple[int, Sequence[str]], tuple[bytes, ...]] = {}  # by (size, algorithms)

    def digest(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """Digest everything from the descriptor's position on, in the order of ``algorithms``.

        ``size`` is what ``fstat`` said just before. ``None`` if the file grows: a file that is appended to faster than
        it is read would never end. ``on_piece`` is called with the size of each piece.

        Raises:
            OSError: as ``read(2)``.
            TimedOutError: as raised by ``on_piece``.
        """
        buffer = self._buffer
        count = total = os.readv(fd, [buffer])
        hashes = [ALGORITHMS[name](buffer[:count]) for name in algorithms]
        # The size marks the end only together with the caller's fstat afterwards. Files of procfs report 0 or 4096,
        # whatever they hold, so they are read until there is no more.
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
        """Digest a file of up to :data:`PIECE_BYTES` with one read; ``None`` if the read gives another size.

        Raises:
            OSError: as ``pread(2)``; it fails on a pipe, which is left untouched.
        """
        if os.preadv(fd, [self._buffer], 0) != size:
            return None
        content = self._buffer[:size]
        return tuple([ALGORITHMS[name](content).digest() for name in algorithms])

    def digest_sparse(
        self, fd: int, size: int, algorithms: tuple[str, ...], on_hole: OnHole
    ) -> tuple[bytes, ...] | None:
        """Digest a file with holes like :meth:`digest`. Holes are hashed as zeros, but not read.

        Reading them would fill the page cache with zeros; hashing them is what takes the time. Of files that are one
        single hole, those of the same size are hashed once.

        Raises:
            OSError: as ``read(2)``.
            TimedOutError: as :meth:`digest`.
            TooSparseError: as raised by ``on_hole``.
        """
        is_one_hole = _seek(fd, 0, os.SEEK_DATA, size) == size
        if is_one_hole and (known := self._of_zeros.get((size, algorithms))) is not None:
            return known
        hashes = [ALGORITHMS[name](self._buffer[:0]) for name in algorithms]
        if not self._update(hashes, fd, (0, size), on_hole):
            return None
        digests = tuple(one.digest() for one in hashes)
        if is_one_hole and _seek(fd, 0, os.SEEK_DATA, size) == size:
            if len(self._of_zeros) >= _MOST_REMEMBERED:
                self._of_zeros.clear()
            self._of_zeros[size, algorithms] = digests
        return digests

    def digest_log(
        self, fd: int, lengths: tuple[int, int], algorithms: Sequence[str], on_hole: OnHole | None = None
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...] | None] | None:
        """Digest a log in one pass, with ``lengths`` = (size, verified).

        Returns (digests of the first ``size`` bytes, digests of the first ``verified`` bytes). A log grows during the
        reading: bytes after ``size`` belong to the next scan. The second part is ``None`` if the log is shorter than
        ``verified``. The result is ``None`` if the file shrinks. With ``on_hole``, holes are not read.

        Raises:
            OSError: as ``read(2)``.
            TimedOutError: as :meth:`digest`.
            TooSparseError: as raised by ``on_hole``.
        """
        size, verified = lengths
        hashes = [ALGORITHMS[name](self._buffer[:0]) for name in algorithms]
        taken: list[tuple[bytes, ...]] = []
        begin = 0
        for end in (verified, size) if verified <= size else (size,):
            if not self._update(hashes, fd, (begin, end), on_hole):
                return None
            taken.append(tuple(one.digest() for one in hashes))
            begin = end
        return taken[-1], taken[0] if verified <= size else None

    def _update(self, hashes: Sequence[_Hash], fd: int, span: tuple[int, int], on_hole: OnHole | None) -> bool:
        """Hash the bytes of ``span``, (begin, end); whether they were all there."""
        position, size = span
        while position < size:
            data = _seek(fd, position, os.SEEK_DATA, size) if on_hole else position
            end = _seek(fd, data, os.SEEK_HOLE, size) if on_hole and data < size else size
            if on_hole and data > position:
                on_hole(data - position)
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
    """The offset of the next data or hole; ``size`` if there is none before that."""
    try:
        return min(os.lseek(fd, position, whence), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise
