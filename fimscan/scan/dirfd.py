"""Open, list and stat directories relative to an open directory. No path is resolved."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from fimscan.linux.mounts import mount_id
from fimscan.scan.attributes import read_flags, read_xattrs
from fimscan.scan.reader import open_noatime
from fimscan.scan.state import Raw, to_raw

_ENCODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsencode, in half the time

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# Without O_DIRECTORY, which would trigger an automount (autofs).
_HOLD_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC

_OPENAT2 = 437  # on every architecture but alpha, where the call fails
_RESOLVE_NO_XDEV = 0x01
_libc = ctypes.CDLL(None, use_errno=True)

Entries: TypeAlias = Iterable[tuple[bytes, bool]]
"""(name, whether it is a directory) of each entry."""

DirHandle: TypeAlias = tuple[int, tuple[int, int]]
"""A descriptor (``O_PATH``) of a directory, with its (device, inode)."""


class OpenDir(Struct, frozen=True):
    """A directory with its state. ``fd`` is ``None`` and ``entries`` empty where it is not to be entered."""

    raw: Raw
    fd: int | None
    entries: Entries


def visit(parent: int, name: bytes, device: int | None, *, same_mount: bool = False) -> OpenDir | None:
    """Open a subdirectory if it is on ``device`` (``None``: on any); ``None`` if it is no directory.

    A directory on another device is opened if nothing is mounted there: a btrfs subvolume has its own device number.
    With ``same_mount``, nothing is asked of a file system mounted there.

    Raises:
        OSError: EXDEV, if ``same_mount`` forbids it; or as ``open(2)``.
        Changed: an attribute was removed meanwhile.
    """
    start = time.time_ns()
    held = _hold(parent, name, same_mount=same_mount)
    try:
        found = os.fstat(held)
        if not stat.S_ISDIR(found.st_mode):
            return None
        if device is not None and found.st_dev != device and not _on_one_mount(parent, held):
            xattrs = read_xattrs(b"/proc/self/fd/%d/." % held)
            return OpenDir(to_raw(found, (start, time.time_ns()), xattrs=xattrs), None, ())
        fd = _reopen(held)
    finally:
        os.close(held)
    try:
        xattrs, flags = read_xattrs(fd), read_flags(fd)
        return OpenDir(to_raw(os.fstat(fd), (start, time.time_ns()), xattrs=xattrs, flags=flags), fd, entries(fd))
    except BaseException:
        os.close(fd)
        raise


def entries(fd: int) -> Iterator[tuple[bytes, bool]]:
    """List an open directory, in no order."""
    with os.scandir(fd) as found:
        for entry in found:
            try:
                is_directory = entry.is_dir(follow_symlinks=False)
            except OSError:  # read from the inode where the file system has no d_type; the reader meets the error again
                is_directory = False
            yield entry.name.encode(*_ENCODING), is_directory


def open_path(path: bytes) -> DirHandle:
    """Open a directory by path, following symlinks."""
    return _standpoint(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))


def open_below(root: bytes, names: Sequence[bytes], *, cross: bool, same_mount: bool = False) -> DirHandle | None:
    """Open a directory below ``root``; ``None`` where another file system begins, unless ``cross``.

    A btrfs subvolume that is not mounted by itself belongs to the file system around it. Neither the last component
    of ``root`` nor any of ``names`` may be a symlink.

    Raises:
        OSError: EXDEV, if ``same_mount`` forbids to go on; or as ``open(2)``.
    """
    at = step(None, root)
    for name in names:
        try:
            inner = step(at[0], name, same_mount=same_mount)
            is_crossing = not cross and inner[1][0] != at[1][0] and not _on_one_mount(at[0], inner[0])
        finally:
            os.close(at[0])
        if is_crossing:
            os.close(inner[0])
            return None
        at = inner
    return at


def _on_one_mount(outer: int, inner: int) -> bool:
    """Whether two descriptors were opened through one mount. Called only if the device numbers differ."""
    mount = mount_id(outer)
    return mount is not None and mount == mount_id(inner)


def step(directory: int | None, name: bytes, *, same_mount: bool = False) -> DirHandle:
    """Open a subdirectory, or with ``..`` the parent, of an open directory; a symlink fails."""
    if same_mount and directory is not None:
        return _standpoint(_hold(directory, name, same_mount=True, how=_GO))
    return _standpoint(os.open(name, _GO.flags, dir_fd=directory))


def lstat(directory: int, name: bytes, *, same_mount: bool = False) -> os.stat_result:
    """``lstat(2)`` of a name in an open directory; EXDEV with ``same_mount`` if something is mounted there."""
    if not same_mount:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    held = _hold(directory, name, same_mount=True)
    try:
        return os.fstat(held)
    finally:
        os.close(held)


def _standpoint(fd: int) -> DirHandle:
    try:
        found = os.fstat(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd, (found.st_dev, found.st_ino)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOLD = _How(_HOLD_FLAGS, 0, _RESOLVE_NO_XDEV)
_GO = _How(_HOLD_FLAGS | os.O_DIRECTORY, 0, _RESOLVE_NO_XDEV)


def _hold(parent: int, name: bytes, *, same_mount: bool, how: _How = _HOLD) -> int:
    """An ``O_PATH`` descriptor of any kind of file, which is not opened."""
    if same_mount:
        fd: int = _libc.syscall(_OPENAT2, parent, name, ctypes.byref(how), ctypes.sizeof(how))
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        # ENOSYS before Linux 5.6; EPERM from sandboxes that do not know the system call.
        if number not in (errno.ENOSYS, errno.EPERM):
            raise OSError(number, os.strerror(number))
    return os.open(name, how.flags, dir_fd=parent)


def _reopen(held: int) -> int:
    try:
        return open_noatime(b".", _DIRECTORY_FLAGS, held)
    except PermissionError:  # looking up "." needs x permission, listing a directory does not
        return open_noatime(b"/proc/self/fd/%d" % held, _DIRECTORY_FLAGS & ~os.O_NOFOLLOW, None)
