"""One name in an open directory -> what is known about the file that it names.

What a reader finds is a plain tuple (:data:`Raw`). With its path and its digest it is the form that travels between
processes (:func:`to_packed`), and :func:`to_result` makes the value of the vocabulary from it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from fimscan.model import FileKind, FileState, Unreadable, UnreadableReason
from fimscan.packed import ALGORITHMS, FIELDS, Packed, state_digest, unpack
from fimscan.scan.digest import Digester

Raw: TypeAlias = tuple[Any, ...]
"""Either (reason, detail), or the fields of a :class:`FileState`: ``st_mode, inode, dev, nlink, uid, gid, size,
mtime_ns, ctime_ns, digest values, link_target, xattr_digest, read_start_ns, read_end_ns``."""

STAT = (*FIELDS[FIELDS.index("kind") : FIELDS.index("size") + 1], "mtime_s", "mtime_nsec", "ctime_s", "ctime_nsec")
"""What ``lstat(2)`` tells of a file, as it is compared to vouch for one. The times are in two parts, as stored."""

_SECOND = 10**9
_ATTEMPTS = 3

# A write within the same tick of the kernel's coarse clock (10 ms at HZ=100) leaves the same ctime behind, so a file
# changed so recently could change again, unnoticed, while it is read. It is given this long to settle.
_SETTLE_NS = 20_000_000

_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFREG: FileKind.FILE,
    stat.S_IFDIR: FileKind.DIRECTORY,
    stat.S_IFLNK: FileKind.SYMLINK,
    stat.S_IFIFO: FileKind.FIFO,
    stat.S_IFSOCK: FileKind.SOCKET,
    stat.S_IFCHR: FileKind.CHAR_DEVICE,
    stat.S_IFBLK: FileKind.BLOCK_DEVICE,
}


class Changed(Exception):  # noqa: N818 - not an error: the attempt is repeated
    """The file is not what it was at the beginning of this attempt."""


class Reader:
    """Reads files, each by its name in an open directory. One for each thread: it owns a buffer."""

    def __init__(self) -> None:
        self._digester = Digester()

    def read(self, directory: int, name: bytes, algorithms: Sequence[str]) -> Raw:
        """The state of one file that is not a directory. Never follows a symlink; opens regular files only.

        ``directory`` is a descriptor (``O_PATH`` will do). Without ``algorithms`` nothing is opened.
        """
        for _ in range(_ATTEMPTS):
            start = time.time_ns()
            try:
                found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    return UnreadableReason.UNSTABLE.value, "became a directory while its parent was being read"
                if algorithms and stat.S_ISREG(found.st_mode):
                    after, digests, xattr = self._read_content(directory, name, found, algorithms)
                    link = None
                else:
                    after, link, xattr = _read_attributes(directory, name, found)
                    digests = ()
            except Changed:
                continue
            except OSError as error:
                return refusal(error)
            return to_raw(after, (start, time.time_ns()), digests=digests, link=link, xattr=xattr)
        return UnreadableReason.UNSTABLE.value, f"changed while it was read, {_ATTEMPTS} times in a row"

    def is_still(self, directory: int, name: bytes, known: Sequence[Any]) -> bool:
        """Whether all that ``lstat(2)`` tells of a file is as it is ``known`` (:data:`STAT`) to have been."""
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            return False
        mode, inode, dev, *others = found[:7]
        times = (*divmod(found.st_mtime_ns, _SECOND), *divmod(found.st_ctime_ns, _SECOND))
        kind = _KINDS[stat.S_IFMT(mode)].value
        return (kind, dev, inode, others[0], mode & 0o7777, *others[1:], *times) == tuple(known)

    def _read_content(
        self, directory: int, name: bytes, found: os.stat_result, algorithms: Sequence[str]
    ) -> tuple[os.stat_result, tuple[bytes, ...], bytes | None]:
        try:
            fd = open_quietly(name, _OPEN_FLAGS, directory)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # replaced by a symlink, by a socket
                raise Changed from error
            raise
        try:
            before = os.fstat(fd)
            if not stat.S_ISREG(before.st_mode) or (before.st_ino, before.st_dev) != (found.st_ino, found.st_dev):
                raise Changed
            # A ctime further in the future is not this clock's, so it does not hide a change made now.
            if abs(time.time_ns() - before.st_ctime_ns) < _SETTLE_NS:
                time.sleep(_SETTLE_NS / 1e9)
            digests = self._digester.digest(fd, before.st_size, algorithms)
            xattr = xattr_digest(fd)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if digests is None:
            raise Changed
        _require_same(before, after)
        return after, digests, xattr


def _read_attributes(
    directory: int, name: bytes, before: os.stat_result
) -> tuple[os.stat_result, bytes | None, bytes | None]:
    link = None
    if stat.S_ISLNK(before.st_mode):
        try:
            link = os.readlink(name, dir_fd=directory)
        except OSError as error:
            if error.errno == errno.EINVAL:  # no longer a symlink
                raise Changed from error
            raise
    # There is no llistxattrat(2) before Linux 6.13; the descriptor's entry in /proc stands for the directory.
    xattr = xattr_digest(b"/proc/self/fd/%d/%s" % (directory, name))
    after = os.stat(name, dir_fd=directory, follow_symlinks=False)
    _require_same(before, after)
    return after, link, xattr


def _require_same(before: os.stat_result, after: os.stat_result) -> None:
    # Every change of content, name count or attributes sets ctime (inode(7)), which no system call can set back.
    if (before.st_ctime_ns, before.st_mtime_ns, before.st_size, before.st_ino, before.st_dev) != (
        (after.st_ctime_ns, after.st_mtime_ns, after.st_size, after.st_ino, after.st_dev)
    ):
        raise Changed


def open_quietly(name: bytes, flags: int, directory: int | None) -> int:
    """``openat(2)`` that leaves the access time alone where the kernel allows it (owner, or CAP_FOWNER)."""
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=directory)
    except PermissionError as error:
        if error.errno != errno.EPERM:
            raise
        return os.open(name, flags, dir_fd=directory)


def xattr_digest(file: int | bytes) -> bytes | None:
    """SHA-256 over all extended attributes of a descriptor, or of a path whose last component is not followed.

    Names in byte order; each name and each value is preceded by its length (8 bytes, little-endian). ``None`` when
    there are none, or the file system has none.
    """
    follow = isinstance(file, int)
    try:
        names = os.listxattr(file, follow_symlinks=follow)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return None
        raise
    if not names:
        return None
    total = hashlib.sha256()
    for name in sorted(map(os.fsencode, names)):
        try:
            value = os.getxattr(file, name, follow_symlinks=follow)
        except OSError as error:
            if error.errno == errno.ENODATA:  # removed since it was listed
                raise Changed from error
            raise
        for part in (name, value):
            total.update(len(part).to_bytes(8, "little"))
            total.update(part)
    return total.digest()


def to_raw(
    found: os.stat_result,
    read: tuple[int, int],
    *,
    digests: tuple[bytes, ...] = (),
    link: bytes | None = None,
    xattr: bytes | None = None,
) -> Raw:
    """A file as a tuple of what ``marshal`` knows. ``found[:7]`` is mode, inode, dev, nlink, uid, gid, size."""
    return (*found[:7], found.st_mtime_ns, found.st_ctime_ns, digests, link, xattr, *read)


def refusal(error: OSError) -> Raw:
    """Why there is no state."""
    match error.errno:
        case errno.ENOENT | errno.ESTALE:
            reason = UnreadableReason.VANISHED
        case errno.EACCES | errno.EPERM:
            reason = UnreadableReason.PERMISSION
        case _:
            reason = UnreadableReason.IO_ERROR
    return reason.value, error.strerror or str(error)


def to_packed(path: bytes, raw: Raw, algorithms: Sequence[str]) -> Packed:
    """The compact form of a state (not of a refusal); ``algorithms`` are those that the file was read with."""
    mode, inode, dev, nlink, uid, gid, size, mtime_ns, ctime_ns, values, link, xattr, start, end = raw
    kind = _KINDS[stat.S_IFMT(mode)].value
    digests = map(dict(zip(algorithms, values, strict=False)).get, ALGORITHMS)
    mode &= 0o7777
    times = mtime_ns, ctime_ns
    values = (path, kind, dev, inode, nlink, mode, uid, gid, size, *times, *digests, link, xattr, start, end)
    return (*values, state_digest(values))


def to_unreadable(path: bytes, raw: Raw) -> Unreadable:
    """The value of a refusal."""
    return Unreadable(path=path, reason=UnreadableReason(raw[0]), detail=raw[1])


def to_result(path: bytes, raw: Raw, algorithms: Sequence[str]) -> FileState | Unreadable:
    """The value of the vocabulary."""
    return to_unreadable(path, raw) if len(raw) == 2 else unpack(to_packed(path, raw, algorithms))
