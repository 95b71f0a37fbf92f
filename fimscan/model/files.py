"""Files as a scan finds them: what an inode is, and what could not be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum


class FileKind(StrEnum):
    """What an inode is (``inode(7)``, the file type)."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    CHAR_DEVICE = "char-device"
    BLOCK_DEVICE = "block-device"


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A hash value with the name of its algorithm (``xxh3_128``, ``sha256``, ``sha512``, ``blake3``)."""

    algorithm: str
    value: bytes


#: Extended attributes that differ under a name of their own, among those of :attr:`Change.changed`.
_XATTR_FIELDS = {
    b"system.posix_acl_access": "acl",
    b"system.posix_acl_default": "acl",
    b"system.nfs4_acl": "acl",
    b"security.capability": "capabilities",
    b"security.selinux": "selinux",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Xattr:
    """One extended attribute. ``data`` is its value or, where that is long, the SHA-256 of it."""

    name: bytes
    size: int
    data: bytes

    @property
    def is_whole(self) -> bool:
        """Whether ``data`` is the value itself."""
        return len(self.data) == self.size

    @property
    def field(self) -> str:
        """What it is called where it differs: ``acl``, ``capabilities``, ``selinux`` or ``xattr``."""
        return _XATTR_FIELDS.get(self.name, "xattr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """The beginning of a file's content: so many bytes, and their digests."""

    size: int
    digests: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file as it was observed.

    ``mode`` holds the twelve permission bits only (``st_mode & 0o7777``), sizes are bytes. ``dev`` is ``st_dev`` as
    ``stat(2)`` gave it when the file system was first seen: it is kept when a boot or a remount gives another one (see
    :mod:`fimscan.linux.filesystems`). ``digests`` is in the order of
    :data:`fimscan.state_row.ALGORITHMS` and empty for everything but regular files (and for
    regular files under a policy that reads no content). ``xattr_digest`` is SHA-256 over all extended attributes
    (ACLs, SELinux label, capabilities), ``None`` where there are none; ``xattrs`` are those attributes, in byte order
    of their names, ``None`` where nothing but the digest was recorded. ``flags`` are those that ``chattr(1)`` sets
    (``ioctl_iflags(2)``), ``None`` where the file system has none, or where they were not recorded.

    ``prefix`` is of a log that is only appended to, up to the length that it had when it was last verified; ``None``
    where nobody asked for that, or where the file is shorter now. It is a step of the comparison, and not recorded.

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
        """(device, inode): which file this is, whatever it is called. Reused by the kernel once the file is gone."""
        return self.dev, self.inode

    @property
    def is_on_disk(self) -> bool:
        """Whether the file system has a block device; tmpfs, overlayfs, btrfs and network file systems have none."""
        return os.major(self.dev) != 0

    def digest(self, algorithm: str) -> bytes | None:
        """The value of one digest, or ``None`` when it was not taken."""
        return next((d.value for d in self.digests if d.algorithm == algorithm), None)


class UnreadableReason(StrEnum):
    """Why a file that exists (or existed a moment ago) has no trustworthy state in this scan."""

    PERMISSION = "permission"  # EACCES, EPERM
    VANISHED = "vanished"  # listed by its directory, gone when it was opened
    LEASED = "leased"  # another process holds a lease on it (fcntl(2), F_SETLEASE) and does not give way
    UNSTABLE = "unstable"  # kept changing while it was read, so no digest describes one state of it
    IO_ERROR = "io-error"  # the medium or the file system failed
    TIMEOUT = "timeout"  # the file system did not answer, or the file was not read to its end in the time for it
    MISSING = "missing"  # a configured directory that does not exist


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """What could not be read, and why. A known file that is unreadable is reported neither as removed nor as the same.

    ``since_ns`` is when it was last read, so that nobody could compare it since; ``None`` where it never was.
    ``differs`` names what ``lstat(2)`` says otherwise than at that reading, in the order of
    :data:`fimscan.compare.states.FIELDS`: something was done to it, and nobody can say what it holds.
    """

    path: bytes
    reason: UnreadableReason
    detail: str = ""
    since_ns: int | None = None
    differs: tuple[str, ...] = ()


def device_text(dev: int) -> str:
    """A device number as audit prints it: hexadecimal major and minor, ``fe:00``."""
    return f"{os.major(dev):02x}:{os.minor(dev):02x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPath:
    """What is stored of a path: as it is accepted, as of ``accepted_scan``, and as it was last read.

    ``accepted`` is ``None`` where the baseline has nothing, ``accepted_scan`` where there is no baseline.
    """

    accepted: FileState | None = None
    accepted_scan: int | None = None
    latest: FileState | None = None
    last_read_ns: int | None = None
    unreadable: Unreadable | None = None
