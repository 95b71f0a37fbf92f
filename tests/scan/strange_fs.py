"""A FUSE file system whose files misbehave by name: ``python strange_fs.py MOUNT_POINT NAME...`` (root only).

It implements just enough of the kernel's FUSE protocol (linux/fuse.h). A name with a final slash is a directory with
one file, ``inner``. Names that begin with

* ``eio``: reading (of a directory: listing) fails with EIO;
* ``stale``: opening fails with ESTALE;
* ``hang``: reading (of a directory: listing) is never answered;
* ``lost``: reading the attributes is never answered;
* ``slow``: reading is answered, 4 kB at a time, each after 5 ms.

All others are files of 5 bytes. It ends when it is killed or unmounted.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import sys
import time

_READDIR = 28
_CONTENT = b"hello"
_SLOW_SIZE = 1 << 23


class _Refusal(Exception):  # noqa: N818  # an answer, not an error
    """An errno; 0 for no answer at all."""


class Server:
    """Answers FUSE requests. Nodes: 1 is the root, 2 and up the names in order, 1000 + n the file in directory n."""

    def __init__(self, mount_point: str, names: list[str]) -> None:
        self.names = dict(enumerate((os.fsencode(name) for name in names), 2))
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"strange", os.fsencode(mount_point), b"fuse.strange", 0, options):
            sys.exit(f"mount: {os.strerror(ctypes.get_errno())}")

    def serve(self) -> None:
        """Answer requests until the file system is unmounted."""
        while True:
            try:
                request = os.read(self.fd, 1 << 18)
            except OSError as error:
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise
            _, opcode, unique, node = struct.unpack_from("IIQQ", request)
            try:
                answer, error_number = self._answer(opcode, node, request[40:]), 0
            except _Refusal as refusal:
                answer, error_number = b"", refusal.args[0]
                if not error_number:
                    continue
            os.write(self.fd, struct.pack("IiQ", 16 + len(answer), -error_number, unique) + answer)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        name = self.names.get(node, b"")
        match opcode:
            case 26:
                print("ready", flush=True)
                return struct.pack("IIIIHHIIHHI", 7, 31, 0, 0, 0, 0, 1 << 16, 1, 0, 0, 0) + bytes(28)
            case 2 | 42 | 36:  # forget, interrupt
                raise _Refusal(0)
            case 1:
                return self._lookup(node, body.rstrip(b"\0"))
            case 3:
                if name.startswith(b"lost"):
                    raise _Refusal(0)
                return struct.pack("QII", 0, 0, 0) + self._attributes(node)
            case 14 | 27:
                if name.startswith(b"stale"):
                    raise _Refusal(errno.ESTALE)
                return struct.pack("QII", 0, 0, 0)
            case 15 | 28:
                return self._read(opcode, node, name, body)
            case 17:
                return bytes(80)
            case 18 | 25 | 29 | 38:  # release, flush, releasedir, destroy
                return b""
        raise _Refusal(errno.ENOSYS)

    def _lookup(self, parent: int, wanted: bytes) -> bytes:
        if parent != 1:
            node = 1000 + parent if wanted == b"inner" else 0
        else:
            node = next((number for number, name in self.names.items() if name.rstrip(b"/") == wanted), 0)
        if not node:
            raise _Refusal(errno.ENOENT)
        # No caching: the kernel asks again each time.
        return struct.pack("QQQQII", node, 0, 0, 0, 0, 0) + self._attributes(node)

    def _attributes(self, node: int) -> bytes:
        name = self.names.get(node, b"")
        is_directory = node == 1 or name.endswith(b"/")
        mode = stat.S_IFDIR | 0o755 if is_directory else stat.S_IFREG | 0o644
        size = 0 if is_directory else _SLOW_SIZE if name.startswith(b"slow") else len(_CONTENT)
        return struct.pack("6Q10I", node, size, 1, 1, 1, 1, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _read(self, opcode: int, node: int, name: bytes, body: bytes) -> bytes:
        if name.startswith(b"eio"):
            raise _Refusal(errno.EIO)
        if name.startswith(b"hang"):
            raise _Refusal(0)
        _, offset, size = struct.unpack_from("QQI", body)
        if opcode == _READDIR:
            return self._listing(node, offset, size)
        if name.startswith(b"slow"):
            time.sleep(0.005)
            return bytes(min(size, 4096)) if offset < _SLOW_SIZE else b""
        return _CONTENT[offset : offset + size]

    def _listing(self, node: int, begin: int, size: int) -> bytes:
        """Entries from number ``begin`` on, as many as fit."""
        entries = list(self.names.items()) if node == 1 else [(1000 + node, b"inner")]
        listing = b""
        for number, (child, entry) in enumerate(entries[begin:], begin + 1):
            name = entry.rstrip(b"/")
            kind = 4 if entry.endswith(b"/") else 8
            one = struct.pack("QQII", child, number, len(name), kind) + name + bytes(-len(name) % 8)
            if len(listing) + len(one) > size:
                break
            listing += one
        return listing


if __name__ == "__main__":
    Server(sys.argv[1], sys.argv[2:]).serve()
