"""fanotify(7) through the C library: which process modified which file. Needs Linux 5.15 and root.

Written with ctypes, because no maintained library reports both file handles and pidfds. The structures are those of
``linux/fanotify.h``, which the kernel keeps stable.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from fimscan.model import WitnessMask

CLOEXEC, NONBLOCK = 0x1, 0x2
REPORT_PIDFD, REPORT_FID, REPORT_DIR_FID, REPORT_NAME, REPORT_TARGET_FID = 0x80, 0x200, 0x400, 0x800, 0x1000
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_OVERFLOW, _ON_DIRECTORY = 0x4000, 0x4000_0000
_AT_FDCWD = -100
_INFO_FID, _INFO_DIR_FID_NAME, _INFO_PIDFD = 1, 2, 4
_HEADER = struct.Struct("=IBBHQii")  # length, version, reserved, length of the header, mask, descriptor, pid
_INFO = struct.Struct("=BxH")
_HANDLE = struct.Struct("=8sIi")  # file system id, length and type of the handle
_PIDFD_RECORD = 8
#: The reported events. Audit reports who created, removed or renamed a file, or set its attributes. Moves are included
#: because they take directories along.
MASK = int(WitnessMask.MODIFY | WitnessMask.CLOSE_WRITE | WitnessMask.MOVED_FROM | WitnessMask.MOVED_TO)


class Handle(NamedTuple):
    """A file handle (``name_to_handle_at(2)``): identifies a file permanently. ``fsid`` is its file system."""

    fsid: bytes
    type: int
    data: bytes


class Event(NamedTuple):
    """One event. ``pidfd`` is negative if the process has ended; else the caller closes it.

    ``directory`` and ``name`` give the file's name; a file opened by its handle has none. ``file`` is missing in events
    about names on kernels before 5.17.
    """

    mask: int
    pid: int
    pidfd: int
    directory: Handle | None
    name: bytes
    file: Handle | None

    @property
    def is_overflow(self) -> bool:
        """Whether events before this one were lost."""
        return bool(self.mask & _OVERFLOW)

    @property
    def is_about_directory(self) -> bool:
        """Whether the file is a directory."""
        return bool(self.mask & _ON_DIRECTORY)


_libc = ctypes.CDLL(None, use_errno=True)
_MARK_ARGUMENTS = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


def open_group(*, pidfds: bool = True) -> int:
    """Create a notification group with a limited queue; returns its descriptor, which never blocks.

    Raises:
        OSError: ``EPERM`` without privileges, ``EINVAL`` or ``ENOSYS`` if the kernel is too old.
    """
    flags = CLOEXEC | NONBLOCK | REPORT_FID | REPORT_DIR_FID | REPORT_NAME | (REPORT_PIDFD if pidfds else 0)
    try:
        return _call("fanotify_init", flags | REPORT_TARGET_FID, os.O_RDONLY)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return _call("fanotify_init", flags, os.O_RDONLY)


def mark_file_system(group: int, path: bytes, mask: int = MASK) -> None:
    """Report events on the whole file system of a path, through any mount.

    Raises:
        OSError: ``EOPNOTSUPP``, ``EXDEV`` or ``ENODEV`` if the file system has no file handles (overlayfs).
    """
    function = _libc.fanotify_mark
    function.argtypes = _MARK_ARGUMENTS
    if function(group, _MARK_ADD | _MARK_FILESYSTEM, mask | _ON_DIRECTORY, _AT_FDCWD, path) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _call(name: str, *arguments: int) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def marked_devices(group: int) -> frozenset[int]:
    """The devices with a mark. An unmount silently removes the mark (proc_pid_fdinfo(5))."""
    found = set()
    with open(f"/proc/self/fdinfo/{group}", "rb") as file:
        for line in file:
            if line.startswith(b"fanotify sdev:"):
                number = int(line[14:].split(b" ", 1)[0], 16)  # kernel-internal form: 12 and 20 bits
                found.add(os.makedev(number >> 20, number & 0xFFFFF))
    return frozenset(found)


def place_of(data: bytes, at: int) -> bytes | None:
    """The directory key (see :func:`handle_of`) of the event at an offset, without decoding the event.

    Most events are in directories that are not watched. The key alone is enough to drop them.
    """
    begin = at + int.from_bytes(data[at + 6 : at + 8], sys.byteorder)
    if begin >= len(data) or data[begin] != _INFO_DIR_FID_NAME:
        return None
    length = _HANDLE.unpack_from(data, begin + 4)[1]
    return data[begin + 4 : begin + 4 + _HANDLE.size + length]


def offsets(data: bytes) -> Iterator[tuple[int, int]]:
    """(offset, length) of each event in the data of one ``read(2)``."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], sys.byteorder)
        yield at, length
        at += length


def pidfd_of(data: bytes, at: int, length: int) -> int:
    """The pidfd of an event, negative for none. It must be closed whatever happens to the event."""
    begin = at + length - _PIDFD_RECORD
    return int.from_bytes(data[begin + 4 : begin + 8], sys.byteorder, signed=True) if data[begin] == _INFO_PIDFD else -1


def decode(data: bytes, at: int) -> Event:
    """Decode the event at an offset."""
    length, _, _, header, mask, _, pid = _HEADER.unpack_from(data, at)
    directory = file = None
    name, pidfd = b"", -1
    here, end = at + header, at + length
    while here < end:
        kind, size = _INFO.unpack_from(data, here)
        if kind == _INFO_PIDFD:
            pidfd = int.from_bytes(data[here + 4 : here + 8], sys.byteorder, signed=True)
        elif kind in (_INFO_FID, _INFO_DIR_FID_NAME):
            fsid, count, handle_type = _HANDLE.unpack_from(data, here + 4)
            begin = here + 4 + _HANDLE.size
            handle = Handle(fsid, handle_type, data[begin : begin + count])
            if kind == _INFO_DIR_FID_NAME:
                directory, name = handle, data[begin + count : here + size].split(b"\0", 1)[0]
            else:
                file = handle
        here += size
    return Event(mask, pid, pidfd, directory, name, file)


def handle_of(key: bytes) -> Handle:
    """The handle that a key is: the bytes that stand for it in an event."""
    fsid, _, handle_type = _HANDLE.unpack_from(key)
    return Handle(fsid, handle_type, key[_HANDLE.size :])
