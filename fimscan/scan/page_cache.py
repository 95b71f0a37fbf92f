"""Leave the page cache as it was: nobody else needs what a scan reads once.

``mincore(2)`` tells the owner of a file and root page by page what is cached. ``cachestat(2)`` only counts, and exists
only since Linux 6.5. ``preadv2(RWF_NOWAIT)`` would have to read to find out.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

Spans: TypeAlias = Sequence[tuple[int, int]]
"""(offset, end) in bytes, ascending."""

_PAGE = mmap.PAGESIZE
_PIECE = 1 << 30  # bytes of a file at a time; the answer then has 256 kB
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_FAILED = ctypes.c_void_p(-1).value


def pages_cached(fd: int, size: int) -> Spans:
    """The parts of a file that are in the page cache. If that is unknown, all of it, so that nothing is dropped."""
    spans: list[tuple[int, int]] = []
    for begin in range(0, size, _PIECE):
        length = min(_PIECE, size - begin)
        # Mapped without reading any page. Python's mmap cannot be used, because it does not give the address.
        address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, begin)
        if address == _FAILED:
            return [(0, size)]
        pages = ctypes.create_string_buffer(-(-length // _PAGE))
        failed = _libc.mincore(address, length, pages)
        _libc.munmap(address, length)
        if failed:
            return [(0, size)]
        at = begin
        for is_cached, run in groupby(pages.raw, key=lambda page: page & 1):
            end = at + sum(1 for _ in run) * _PAGE
            if is_cached:
                spans.append((at, end))
            at = end
    return spans


def drop_except(fd: int, kept: Spans) -> None:
    """Drop a file from the page cache except the parts in ``kept``. The kernel keeps dirty and used pages."""
    at = 0
    for begin, end in kept:
        if begin > at:
            os.posix_fadvise(fd, at, begin - at, os.POSIX_FADV_DONTNEED)
        at = end
    os.posix_fadvise(fd, at, 0, os.POSIX_FADV_DONTNEED)  # 0: to the end of the file
