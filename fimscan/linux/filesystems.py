"""Which file system a path is on, and its device numbers in stat(2), in audit records and in the database.

There are three numbers. ``stat(2)`` reports its own number for every btrfs subvolume and for some files on overlayfs.
Audit records the superblock's number, field 3 of ``/proc/self/mountinfo`` (tried on Linux 6.18). Both can differ after
a boot or a remount. So the database keeps the number with which a file system was first seen (*recorded*), as long as
it is the same file system.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

from msgspec import Struct
from msgspec.structs import replace

from fimscan.linux.mounts import Mount, is_below_mount_that_may_hang, mount_of, parse_mounts
from fimscan.paths import innermost, is_within

OVERLAY = "overlay"
SUBVOLUMES = frozenset({"btrfs", "bcachefs"})
"""File systems with separate inode numbers per subvolume: an inode number means nothing without the subvolume."""

# On these, f_fsid of statfs(2) comes from the UUID (on btrfs, also from the subvolume); elsewhere it comes from the
# device number.
_FSID_OF_UUID = frozenset({"ext2", "ext3", "ext4", "btrfs", "f2fs"})
_GET_UUID = 0x80111500  # FS_IOC_GETFSUUID: struct { u8 length; u8 uuid[16]; }, since Linux 6.9
_UUID_BYTES = 17

_libc = ctypes.CDLL(None, use_errno=True)
_statx = getattr(_libc, "statx", None)  # since glibc 2.28
_AT_EMPTY_PATH, _STATX_BTIME = 0x1000, 0x800
_STATX_BYTES = 256  # struct statx; its birth time is at 80

_FIRST_SPARE_MINOR = (
    0x80000  # first of the numbers that no kernel assigns: minor numbers have 20 bits and are assigned in order
)


class Root(Struct, frozen=True, kw_only=True):
    """A directory below which files have another device number: a watch, a mount point, or a btrfs subvolume.

    Attributes:
        dev: the recorded number, as in :attr:`fimscan.model.FileState.dev`.
        raw: the number of ``stat(2)``.
        superblock: the number in audit records.
        uuid: of the file system (on btrfs, with the subvolume); empty if unknown.
        birth_ns: birth time of the directory; 0 if unknown.
        point: the mount point, and ``part`` which part of the file system is mounted (``/`` for all of it).
        layers: (recorded, raw) numbers of files on overlayfs whose layers are on several file systems.
        is_directory: false where a file was mounted over a file.
    """

    path: bytes
    dev: int
    raw: int
    superblock: int
    inode: int
    kind: str
    uuid: str = ""
    birth_ns: int = 0
    point: bytes = b"/"
    part: bytes = b"/"
    layers: tuple[tuple[int, int], ...] = ()
    is_directory: bool = True

    def is_on(self, other: Root) -> bool:
        """Whether both are known to be on one file system (btrfs: one subvolume), whatever their numbers."""
        if self.kind != other.kind or bool(self.uuid) != bool(other.uuid):
            return False
        if self.uuid:
            return self.uuid == other.uuid
        return bool(self.birth_ns) and (self.inode, self.birth_ns) == (other.inode, other.birth_ns)

    def is_known_to_be_off(self, other: Root) -> bool:
        """Whether both are known to be on different file systems."""
        if self.kind != other.kind:
            return True
        return bool(self.uuid and other.uuid) and self.uuid != other.uuid

    @property
    def numbers(self) -> frozenset[int]:
        """All recorded numbers that files here can have."""
        return frozenset((self.dev, *(dev for dev, _ in self.layers)))

    @property
    def is_layered(self) -> bool:
        """Whether it is an overlay whose directories get a new number whenever they leave the kernel's cache.

        This is so if its layers are on several file systems, unless ``xino`` is on (seen on Linux 6.18).
        """
        return self.kind == OVERLAY and bool(self.layers)


class Devices(Struct, frozen=True, kw_only=True, dict=True):
    """The file systems that a scan met.

    Attributes:
        roots: sorted by path, each path once.
        images: backing files of loop devices.
        layers: (directory, mount point) of mounted overlays: a change below the mount point is a change in the layer.
    """

    roots: tuple[Root, ...] = ()
    images: tuple[bytes, ...] = ()
    layers: tuple[tuple[bytes, bytes], ...] = ()

    @cached_property
    def _by_path(self) -> dict[bytes, Root]:
        return {root.path: root for root in self.roots}

    def root_of(self, path: bytes) -> Root | None:
        """The nearest root at or above a path."""
        return nearest(self._by_path, path)

    def at(self, path: bytes) -> Root | None:
        """The root at exactly this path."""
        return self._by_path.get(path)


def nearest(roots: Mapping[bytes, Root], path: bytes) -> Root | None:
    """The nearest root at or above a path."""
    at = innermost(path, roots)
    return None if at is None else roots[at]


class Numbers(dict[int, int]):
    """Maps device numbers of ``stat(2)`` to recorded numbers.

    An unknown number maps to itself, unless another file system is recorded with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._taken: set[int] = set()
        self.is_trivial = True

    def take(self, dev: int) -> None:
        """Reserve a recorded number."""
        self._taken.add(dev)

    def set(self, raw: int, dev: int) -> None:
        """Map ``raw``, the number of ``stat(2)``, to the recorded number ``dev``."""
        self[raw] = dev
        self._taken.add(dev)
        self.is_trivial = self.is_trivial and raw == dev

    def fresh(self, raw: int) -> int:
        """An unused number: ``raw`` itself, or one that no kernel assigns."""
        number, minor = raw, _FIRST_SPARE_MINOR
        while number in self._taken:
            number = os.makedev(os.major(raw), minor)
            minor += 1
        return number

    def __missing__(self, raw: int) -> int:
        self.set(raw, self.fresh(raw))
        return self[raw]

    @property
    def raws(self) -> dict[int, int]:
        """The reverse mapping."""
        return {dev: raw for raw, dev in self.items()}


def birth(fd: int) -> bytes:
    """The birth time of an inode as raw bytes; empty if unknown. Nobody can set it, so a reused number differs."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)  # one per call, since other threads run during it
    if _statx is None or _statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, buffer):
        return b""
    found = buffer.raw
    return found[80:96] if int.from_bytes(found[:4], sys.byteorder) & _STATX_BTIME else b""


def probe(path: bytes, mounts: Sequence[Mount]) -> Root | None:
    """Describe what is at a path now; ``None`` if it is missing or a symlink. ``dev`` is preliminary.

    A file system that may hang is not accessed; its numbers are those of the mount.
    """
    mount = mount_of(mounts, path)
    if mount is None:
        return None
    root = Root(
        path=path,
        dev=mount.dev,
        raw=mount.dev,
        superblock=mount.dev,
        inode=0,
        kind=mount.kind,
        point=mount.point,
        part=mount.root,
    )
    if is_below_mount_that_may_hang(mounts, path):
        return root if path == mount.point else None
    try:
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if stat.S_ISLNK(found.st_mode):
            return None
        is_directory = stat.S_ISDIR(found.st_mode)
        return replace(
            root,
            dev=found.st_dev,
            raw=found.st_dev,
            inode=found.st_ino,
            uuid=_uuid(fd, mount.kind, is_directory=is_directory),
            birth_ns=_birth_ns(fd),
            is_directory=is_directory,
        )
    finally:
        os.close(fd)


def _birth_ns(fd: int) -> int:
    born = birth(fd)
    seconds = int.from_bytes(born[:8], sys.byteorder, signed=True)
    return seconds * 10**9 + int.from_bytes(born[8:12], sys.byteorder) if born else 0


def _uuid(fd: int, kind: str, *, is_directory: bool) -> str:
    """What identifies a file system (btrfs: with the subvolume). Only directories can be asked for it."""
    if kind in _FSID_OF_UUID:
        with suppress(OSError):
            number = os.fstatvfs(fd).f_fsid
            return f"{number:x}" if number else ""
    if is_directory:
        with suppress(OSError):
            opened = os.open(b"/proc/self/fd/%d" % fd, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                buffer = bytearray(_UUID_BYTES)
                fcntl.ioctl(opened, _GET_UUID, buffer)
                uuid = bytes(buffer[1 : 1 + buffer[0]])
                return uuid.hex() if any(uuid) else ""
            finally:
                os.close(opened)
    return ""


def loop_images() -> tuple[bytes, ...]:
    """The backing files of loop devices, by the names with which they were set up."""
    found = []
    with suppress(OSError):
        for name in os.listdir(b"/sys/block"):
            if name.startswith(b"loop"):
                with suppress(OSError), open(b"/sys/block/%b/loop/backing_file" % name, "rb") as file:
                    found.append(file.read().removesuffix(b"\n").removesuffix(b" (deleted)"))
    return tuple(sorted(found))


def overlay_layers(mounts: Iterable[Mount]) -> Iterator[tuple[bytes, bytes]]:
    """(upper layer, mount point) of mounted overlays: a change below the mount point is a change in that directory.

    Lower layers are left out, since an overlay never writes to them.
    """
    for mount in mounts:
        if mount.kind == OVERLAY:
            options = (option.partition(b"=") for option in mount.options.split(b","))
            for name, _, layer in options:
                if name == b"upperdir" and layer.startswith(b"/"):
                    yield layer, mount.point


def all_mounts() -> Iterator[Mount]:
    """The mounts of all mount namespaces that this process may see (root sees all)."""
    seen = set()
    for name in os.listdir(b"/proc"):
        if name.isdigit():
            with suppress(OSError):
                namespace = os.readlink(b"/proc/%b/ns/mnt" % name)
                if namespace not in seen:
                    seen.add(namespace)
                    with open(b"/proc/%b/mountinfo" % name, "rb") as file:
                        yield from parse_mounts(file.read())


def monitored_among(paths: Iterable[bytes], watched: Iterable[bytes]) -> list[bytes]:
    """The paths that are watched, or below a watched one."""
    roots = tuple(watched)
    return [path for path in paths if any(is_within(path, root) for root in roots)]
