"""An io_uring of one's own, and rules for it, without liburing and without an auditctl that knows of them."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct

AT_FDCWD = -100
ASYNC = 1 << 4  # IOSQE_ASYNC
OPENAT, WRITE, OPENAT2, RENAMEAT, UNLINKAT, MKDIRAT = 18, 23, 28, 35, 36, 37  # linux/io_uring.h
_SETUP, _ENTER = 425, 426
_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *args: object) -> int:
    result = int(_LIBC.syscall(ctypes.c_long(number), *args))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class _Parameters(ctypes.Structure):
    """struct io_uring_params; ``sq`` and ``cq`` are offsets, of which 1 is the tail, 2 the mask, 6 the array."""

    _fields_ = (
        ("sq_entries", ctypes.c_uint32),
        ("cq_entries", ctypes.c_uint32),
        ("flags", ctypes.c_uint32 * 8),
        ("sq", ctypes.c_uint32 * 10),
        ("cq", ctypes.c_uint32 * 10),
    )


class Ring:
    """Submits operations, each to be carried out before the next."""

    def __init__(self) -> None:
        self._parameters = _Parameters()
        self._fd = _call(_SETUP, ctypes.c_long(8), ctypes.byref(self._parameters))
        size = self._parameters.sq[6] + 4 * self._parameters.sq_entries
        self._queue = mmap.mmap(self._fd, max(size, mmap.PAGESIZE), flags=mmap.MAP_SHARED, offset=0)
        self._entries = mmap.mmap(self._fd, 64 * self._parameters.sq_entries, flags=mmap.MAP_SHARED, offset=0x10000000)
        self._kept: list[object] = []

    def submit(
        self,
        operation: int,
        path: bytes,
        *,
        offset: int = 0,
        size: int = 0,
        flags: int = 0,
        how: int = 0,
        fd: int = AT_FDCWD,
    ) -> None:
        """One operation on a path, or with bytes on a descriptor; the numbers are its own (io_uring_enter(2))."""
        sq = self._parameters.sq
        (tail,) = struct.unpack_from("=I", self._queue, sq[1])
        (mask,) = struct.unpack_from("=I", self._queue, sq[2])
        index = tail & mask
        entry = (operation, how, 0, fd, offset, self.pointer(path + b"\0"), size, flags, 0, 0, 0, 0, 0, 0)
        struct.pack_into("=BBHiQQIIQHHiQQ", self._entries, index * 64, *entry)
        struct.pack_into("=I", self._queue, sq[6] + index * 4, index)
        struct.pack_into("=I", self._queue, sq[1], tail + 1)
        one = ctypes.c_long(1)
        _call(_ENTER, ctypes.c_long(self._fd), one, one, one, ctypes.c_long(0), ctypes.c_long(0))

    def pointer(self, data: bytes) -> int:
        """The address of bytes that stay there."""
        buffer = ctypes.create_string_buffer(data, len(data))
        self._kept.append(buffer)
        return ctypes.addressof(buffer)


def rule(directory: bytes, key: bytes, *, add: bool) -> None:
    """The rule ``-a always,io_uring -F dir=directory -F key=key``, added or removed (linux/audit.h)."""
    fields = [(107, directory), (210, key)]  # AUDIT_DIR, AUDIT_FILTERKEY
    equal = 0x40000000
    numbers = [field for field, _ in fields] + [0] * 62
    lengths = [len(text) for _, text in fields] + [0] * 62
    operators = [equal] * 2 + [0] * 62
    text = directory + key
    data = struct.pack("=III", 7, 2, 2) + b"\xff" * 256  # AUDIT_FILTER_URING_EXIT, AUDIT_ALWAYS; every operation
    data += struct.pack("=64I64I64I", *numbers, *lengths, *operators) + struct.pack("=I", len(text)) + text
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as netlink:  # NETLINK_AUDIT
        netlink.bind((0, 0))
        netlink.settimeout(5)
        header = struct.pack("=IHHII", 16 + len(data), 1011 if add else 1012, 5, 1, 0)
        netlink.sendto(header + data, (0, 0))
        (error,) = struct.unpack_from("=i", netlink.recv(8192), 16)
        if error:
            raise OSError(-error, os.strerror(-error))
