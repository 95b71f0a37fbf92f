"""Calls that perm=wa does not report, each made by a process of its own: ``python -m tests.lab.calls CALL PATH``."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

from tests.data.audit.uring import ASYNC, OPENAT, Ring

_AT_FDCWD = -100
_OPENAT2, _FILE_SETATTR = 437, 469
_NODUMP = 0x80  # FS_XFLAG_NODUMP
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> None:
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    if _LIBC.syscall(ctypes.c_long(number), *wide) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def empty_by_openat(path: bytes) -> None:
    """Truncate with O_RDONLY|O_TRUNC."""
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def empty_by_openat2(path: bytes) -> None:
    """The same, where the flags are in memory."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_RDONLY | os.O_TRUNC, 0, 0), 24)
    _call(_OPENAT2, _AT_FDCWD, path, how, 24)


def empty_by_uring(path: bytes) -> None:
    """The same, by a worker thread of io_uring."""
    Ring().submit(OPENAT, path, flags=os.O_RDONLY | os.O_TRUNC, how=ASYNC)
    time.sleep(0.3)


def look_by_openat2(path: bytes) -> None:
    """Only read."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_RDONLY, 0, 0), 24)
    _call(_OPENAT2, _AT_FDCWD, path, how, 24)


def set_flags(path: bytes) -> None:
    """What ``chattr +d`` sets, by the call of Linux 6.17."""
    _call(
        _FILE_SETATTR,
        _AT_FDCWD,
        path,
        ctypes.create_string_buffer(struct.pack("=QIIII", _NODUMP, 0, 0, 0, 0), 24),
        24,
        0,
    )


if __name__ == "__main__":
    globals()[sys.argv[1]](os.fsencode(sys.argv[2]))
