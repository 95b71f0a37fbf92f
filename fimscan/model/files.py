"""Files as a scan finds them: states, digests, extended attributes, unreadable files."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct


class FileKind(StrEnum):
    """The type of an inode (``inode(7)``)."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHAR_DEVICE = "char-device"
    BLOCK_DEVICE = "block-device"


#: The type in a file's mode (``stat.S_IFMT``) -> its kind.
KIND_OF_TYPE = {
    stat.S_IFREG: FileKind.FILE,
    stat.S_IFDIR: FileKind.DIRECTORY,
    stat.S_IFLNK: FileKind.SYMLINK,
    stat.S_IFIFO: FileKind.FIFO,
    stat.S_IFSOCK: FileKind.SOCKET,
    stat.S_IFCHR: FileKind.CHAR_DEVICE,
    stat.S_IFBLK: FileKind.BLOCK_DEVICE,
}


class Digest(Struct, frozen=True, kw_only=True):
    """A hash value with the name of its algorithm (``xxh3_128``, ``sha256``, ``sha512``, ``blake3``)."""

    algorithm: str
    value: bytes


#: The value of a digest that nobody knows, of a content that is known to be another one (see ``fimscan import``).
UNKNOWN_DIGEST = b""


#: The owner of a file whose owner nobody knows (see ``fimscan import``).
UNKNOWN_OWNER = -1
_ZERO_IF_UNKNOWN = ("size", "mode", "inode", "nlink", "mtime_ns", "ctime_ns")

#: Extended attributes with a name of their own in :attr:`Change.changed`.
_XATTR_FIELDS = {
    b"system.posix_acl_access": "acl",
    b"system.posix_acl_default": "acl",
    b"system.nfs4_acl": "acl",
    b"security.capability": "capabilities",
    b"security.selinux": "selinux",
}


class Xattr(Struct, frozen=True, kw_only=True):
    """One extended attribute. ``data`` is its value, or the SHA-256 of a long value."""

    name: bytes
    size: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether ``data`` is the value itself."""
        return len(self.data) == self.size

    @property
    def field(self) -> str:
        """Its name in :attr:`Change.changed`: ``acl``, ``capabilities``, ``selinux`` or ``xattr``."""
        return _XATTR_FIELDS.get(self.name, "xattr")


class Prefix(Struct, frozen=True, kw_only=True):
    """The beginning of a file's content: ``size`` bytes and their digests."""

    size: int
    digests: tuple[Digest, ...]


class FileState(Struct, frozen=True, kw_only=True):
    """One file as it was observed.

    ``mode`` holds only the twelve permission bits (``st_mode & 0o7777``); sizes are bytes. ``dev`` is the ``st_dev`` of
    ``stat(2)`` when the file system was first seen. It is kept when a boot or a remount changes the number (see
    :mod:`fimscan.linux.filesystems`).

    ``digests`` is in the order of :data:`fimscan.state_row.ALGORITHMS`. It is empty except for regular files, and for
    those under a policy that reads no content. ``xattr_digest`` is SHA-256 over all extended attributes (ACLs, SELinux
    label, capabilities), ``None`` if there are none. ``xattrs`` are these attributes in byte order of their names,
    ``None`` if only the digest was recorded. ``flags`` are those of ``chattr(1)`` (``ioctl_iflags(2)``), ``None`` if
    the file system has none, or if they were not recorded.

    ``prefix`` belongs to an append-only log: its content up to the length that was last verified. ``None`` if that was
    not requested, or if the file is shorter now. It is used for the comparison only, and not recorded.

    The content was read between ``read_start_ns`` and ``read_end_ns``; a change seen later happened after
    ``read_start_ns``.
    """

    path: bytes
    kind: FileKind
    dev: int
    inode: int
    nlink: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    digests: tuple[Digest, ...] = ()
    link_target: bytes | None = None
    xattr_digest: bytes | None = None
    xattrs: tuple[Xattr, ...] | None = ()
    flags: int | None = None
    prefix: Prefix | None = None
    read_start_ns: int
    read_end_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """(device, inode): identifies the file under any name. The kernel reuses it once the file is gone."""
        return self.dev, self.inode

    @property
    def unknown(self) -> frozenset[str]:
        """The attributes that nobody knows. An imported file that is gone may be known by its content only."""
        if UNKNOWN_OWNER not in (self.uid, self.gid):
            return frozenset()
        owner = {name for name in ("uid", "gid") if getattr(self, name) == UNKNOWN_OWNER}
        return frozenset(owner | {name for name in _ZERO_IF_UNKNOWN if not getattr(self, name)})

    @property
    def is_on_disk(self) -> bool:
        """Whether the file system has a block device; false for tmpfs, overlayfs, btrfs and network file systems."""
        return os.major(self.dev) != 0

    def digest(self, algorithm: str) -> bytes | None:
        """The value of one digest; ``None`` if it was not taken, or is not known."""
        for digest in self.digests:
            if digest.algorithm == algorithm:
                return None if digest.value == UNKNOWN_DIGEST else digest.value
        return None

    @property
    def known_digests(self) -> tuple[Digest, ...]:
        """The digests, without those of which only is known that they are others."""
        return tuple(digest for digest in self.digests if digest.value != UNKNOWN_DIGEST)


class UnreadableReason(StrEnum):
    """Why a file that exists (or just existed) has no trustworthy state in this scan."""

    PERMISSION = "permission"  # EACCES, EPERM
    VANISHED = "vanished"  # listed in its directory, gone when it was opened
    LEASED = "leased"  # another process keeps a lease on it (fcntl(2), F_SETLEASE)
    UNSTABLE = "unstable"  # kept changing during the reading, so no digest describes one state of it
    IO_ERROR = "io-error"  # the medium or the file system failed
    TIMEOUT = "timeout"  # the file system did not answer, or reading the whole file took too long
    SPARSE = "sparse"  # its holes are longer than what one scan hashes of holes
    MISSING = "missing"  # a watch whose path does not exist


class Unreadable(Struct, frozen=True, kw_only=True):
    """A path that could not be read, and why. A known file is then reported neither as removed nor as unchanged.

    ``since_ns`` is when it was last read, so the start of the time without comparison; ``None`` if it never was.
    ``differs`` names the fields of ``lstat(2)`` that differ from that reading, in the order of
    :data:`fimscan.compare.states.FIELDS`. Then something was done to the file, but its content is unknown.
    """

    path: bytes
    reason: UnreadableReason
    detail: str = ""
    since_ns: int | None = None
    differs: tuple[str, ...] = ()


@lru_cache(256)
def device_text(dev: int) -> str:
    """A device number as audit prints it: major and minor in hexadecimal, ``fe:00``."""
    return f"{os.major(dev):02x}:{os.minor(dev):02x}"
