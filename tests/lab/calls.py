"""Make one system call that perm=wa does not report: ``python -m tests.lab.calls CALL PATH``."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

from tests.data.audit.uring import ASYNC, OPENAT, Ring

_AT_FDCWD = -100
_OPENAT2, _FILE_SETATTR = 437, 469
_NEWUSER, _NEWNS = 0x10000000, 0x00020000  # linux/sched.h
_SET_DUMPABLE = 4  # linux/prctl.h
USER = 54321
_NODUMP = 0x80  # FS_XFLAG_NODUMP
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> None:
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    if _LIBC.syscall(ctypes.c_long(number), *wide) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def empty_by_openat(path: bytes) -> None:
    """Truncate by an open with O_RDONLY|O_TRUNC."""
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def empty_by_openat2(path: bytes) -> None:
    """Truncate by openat2(2), whose flags are in memory."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_RDONLY | os.O_TRUNC, 0, 0), 24)
    _call(_OPENAT2, _AT_FDCWD, path, how, 24)


def empty_by_uring(path: bytes) -> None:
    """Truncate by a worker thread of io_uring."""
    Ring().submit(OPENAT, path, flags=os.O_RDONLY | os.O_TRUNC, how=ASYNC)
    time.sleep(0.3)


def look_by_openat2(path: bytes) -> None:
    """Open the file for reading only."""
    how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_RDONLY, 0, 0), 24)
    _call(_OPENAT2, _AT_FDCWD, path, how, 24)


def set_flags(path: bytes) -> None:
    """Set the flag of ``chattr +d`` by file_setattr(2) (Linux 6.17)."""
    _call(
        _FILE_SETATTR,
        _AT_FDCWD,
        path,
        ctypes.create_string_buffer(struct.pack("=QIIII", _NODUMP, 0, 0, 0, 0), 24),
        24,
        0,
    )


def write_through_overlay(path: bytes) -> None:
    """As a user, mount an overlay with the directory as its upper layer, and append to the file through it."""
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    _LIBC.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # makes /proc/self writable for this user
    if _LIBC.unshare(_NEWUSER | _NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {USER} 1"), ("gid_map", f"0 {USER} 1")):
        with open(f"/proc/self/{name}", "wb") as file:
            file.write(text.encode())
    base = os.path.dirname(path) + b"/base"
    for directory in (b"lower", b"work", b"merged"):
        os.mkdir(base + b"/" + directory)
    options = b"lowerdir=%b/lower,upperdir=%b,workdir=%b/work,userxattr" % (base, path, base)
    if _LIBC.mount(b"overlay", base + b"/merged", b"overlay", ctypes.c_ulong(0), options):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with open(base + b"/merged/file", "ab") as merged:
        merged.write(b"by the user\n")


if __name__ == "__main__":
    globals()[sys.argv[1]](os.fsencode(sys.argv[2]))
