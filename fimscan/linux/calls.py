"""System calls for which Python has no function."""

from __future__ import annotations

import ctypes
import os
import platform
import stat
import struct

# asm/unistd.h; the generic number applies to all newer architectures.
_KCMP = {"x86_64": 312, "ppc64le": 354, "s390x": 343}.get(platform.machine(), 272)
_KCMP_FILES = 2  # linux/kcmp.h
_AT_STATX_DONT_SYNC = 0x4000  # linux/stat.h
_AT_FDCWD = -100
_STATX_BYTES = 256
# struct statx: stx_mode at 28, stx_ino at 32, stx_dev_major and _minor at 136.
_MODE_AND_INODE = struct.Struct("=H2xQ")
_DEVICE = struct.Struct("=II")
_STATX_MNT_ID = 0x1000  # since Linux 5.8
_MASK_AND_MOUNT = struct.Struct("=I140xQ")
_libc = ctypes.CDLL(None, use_errno=True)


def has_same_files(one: int, other: int) -> bool:
    """Whether two threads share one table of descriptors (:manpage:`kcmp(2)`); ``False`` also if that is unknown."""
    return bool(_libc.syscall(_KCMP, one, other, _KCMP_FILES, 0, 0) == 0)


def mount_id(path: str) -> int | None:
    """The id of the mount that a path leads to; ``None`` if the kernel does not say.

    Raises:
        OSError: as :manpage:`statx(2)`.
    """
    mask, number = _MASK_AND_MOUNT.unpack_from(_statx(path, _STATX_MNT_ID))
    return number if mask & _STATX_MNT_ID else None


def known_identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of a regular file from the kernel's cache, so that a file system that may hang is not accessed.

    ``None`` if it is no regular file. Also ``None`` on another user's FUSE file system, which hides its device number.

    Raises:
        OSError: as :manpage:`statx(2)`.
    """
    buffer = _statx(path, 0)
    mode, inode = _MODE_AND_INODE.unpack_from(buffer, 28)
    return (os.makedev(*_DEVICE.unpack_from(buffer, 136)), inode) if stat.S_ISREG(mode) else None


def _statx(path: str, wanted: int) -> ctypes.Array[ctypes.c_char]:
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if _libc.statx(_AT_FDCWD, os.fsencode(path), _AT_STATX_DONT_SYNC, wanted, buffer):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return buffer
