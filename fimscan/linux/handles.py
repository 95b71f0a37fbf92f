"""Decode file handles (``open_by_handle_at(2)``): the inode of a file, the path of a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from fimscan.linux.fanotify import Handle

_libc = ctypes.CDLL(None, use_errno=True)
_O_PATH = 0o10000000  # the same on all architectures but alpha, parisc and sparc
_HEAD = struct.Struct("=Ii")
# Handle types of include/linux/exportfs.h that contain the inode number, with its place, by file system.
_INO32 = struct.Struct("=I")
_INO64 = struct.Struct("=Q")
_SHMEM = struct.Struct("=4xII")  # generation, inode: low and high half (shmem_encode_fh in mm/shmem.c)
_EXT = frozenset(("ext2", "ext3", "ext4"))
#: File systems whose handles can be decoded.
UNDERSTOOD = _EXT | {"xfs", "tmpfs"}


def inode_of(handle: Handle, kind: str) -> int | None:
    """The inode number in a handle of this type of file system; ``None`` if it is not known to be in it."""
    data = handle.data
    if kind in _EXT or kind == "xfs":
        if handle.type in (1, 2) and len(data) >= 8:  # FILEID_INO32_GEN, with or without the parent
            return int(_INO32.unpack_from(data)[0])
        if kind == "xfs" and handle.type in (0x81, 0x82) and len(data) >= 12:  # XFS's own 64-bit forms
            return int(_INO64.unpack_from(data)[0])
    elif kind == "tmpfs" and handle.type == 1 and len(data) == 12:
        low, high = _SHMEM.unpack(data)
        return int(low | high << 32)
    return None


def fsid_of(path: bytes) -> bytes:
    """The file system id that events have for a path: ``f_fsid`` of statfs(2)."""
    number = os.statvfs(path).f_fsid
    return struct.pack("=II", number & 0xFFFF_FFFF, number >> 32)


def path_of(handle: Handle, mount: int) -> bytes | None:
    """The path of a directory on the mount of a descriptor; ``None`` if it is gone, or outside of that mount.

    Raises:
        OSError: the path cannot be determined.
    """
    buffer = ctypes.create_string_buffer(_HEAD.pack(len(handle.data), handle.type) + handle.data)
    found = _libc.open_by_handle_at(mount, buffer, _O_PATH | os.O_CLOEXEC)
    if found < 0:
        number = ctypes.get_errno()
        if number == errno.ESTALE:
            return None
        raise OSError(number, os.strerror(number))
    try:
        path = os.fsencode(os.readlink(f"/proc/self/fd/{found}"))
    finally:
        os.close(found)
    return path if path.startswith(b"/") and not path.endswith(b" (deleted)") else None
