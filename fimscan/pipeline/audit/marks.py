"""Mark the file systems of the monitored directories for fanotify, and recognise the directories in its events."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from fimscan.linux import fanotify, handles
from fimscan.linux.fanotify import Handle
from fimscan.linux.mounts import Mount, mount_of, own_mounts
from fimscan.model import WitnessHole
from fimscan.paths import is_within


class Root(Struct, frozen=True):
    """A monitored directory or, for a single monitored file, its directory (not ``recursive``).

    It is opened for each check: an open descriptor would keep the file system from being unmounted.
    """

    path: bytes
    identity: tuple[int, int]
    recursive: bool

    @property
    def directory(self) -> bytes:
        """The path of the directory."""
        return self.path if self.recursive else os.path.dirname(self.path)

    def has(self, directory: Handle) -> bool:
        """Whether the root contains a directory: compares the paths that both have now.

        Raises:
            OSError: that cannot be found out, for example since the root was replaced.
        """
        with _opened(self.path, recursive=self.recursive) as fd:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != self.identity:
                raise OSError(errno.ESTALE, "another directory is in its place")
            path, here = handles.path_of(directory, fd), os.fsencode(os.readlink(f"/proc/self/fd/{fd}"))
        return path is not None and (is_within(path, here) if self.recursive else path == here)


@contextmanager
def _opened(path: bytes, *, recursive: bool) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOATIME | (os.O_NOFOLLOW if recursive else 0)
    fd = os.open(path if recursive else os.path.dirname(path), flags)
    try:
        yield fd
    finally:
        os.close(fd)


class Marked(Struct):
    """One marked file system.

    Attributes:
        dev: its device number.
        kind: its type, such as ``ext4``.
        roots: the monitored directories on it.
        holes: kinds of writes that fanotify does not report there.
        start_ns: when the present extent began.
    """

    dev: int
    kind: str
    roots: list[Root]
    holes: tuple[WitnessHole, ...]
    start_ns: int


def mark(group: int, path: bytes) -> tuple[bytes, Mount, Root]:
    """Mark the file system of a monitored path: (its id in events, its mount, the root to look for in events).

    Raises:
        OSError: the file system cannot be marked.
    """
    recursive = os.path.isdir(path)
    with _opened(path, recursive=recursive) as fd:
        mount, found = _understood_mount(fd), os.fstat(fd)
        here = b"/proc/self/fd/%d" % fd
        fanotify.mark_file_system(group, here)
        return handles.fsid_of(here), mount, Root(path, (found.st_dev, found.st_ino), recursive)


def _understood_mount(fd: int) -> Mount:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        number = next((int(line[7:]) for line in file if line.startswith(b"mnt_id:")), -1)
    found = next((mount for mount in own_mounts() if mount.id == number), None)
    if found is None or found.kind not in handles.UNDERSTOOD:
        raise OSError(errno.EOPNOTSUPP, f"not supported on {found.kind if found else 'an unknown mount'}")
    return found


def is_in_place(root: Root, mounts: Sequence[Mount]) -> bool:
    """Whether the path still leads to the directory that was marked."""
    mount = mount_of(mounts, root.directory)
    if mount is None or mount.may_hang:
        return False
    try:
        found = os.stat(root.directory)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == root.identity


def reason(error: OSError) -> str:
    """Explain, in an administrator's words, why fanotify cannot be used."""
    words = {
        errno.EPERM: "it needs root (CAP_SYS_ADMIN)",
        errno.EINVAL: "it needs Linux 5.15 or later",
        errno.ENOSYS: "this kernel does not have it",
        errno.EXDEV: "a subvolume cannot be marked by itself",
        errno.ENODEV: "the file system has no id that events could carry",
    }
    return words.get(error.errno or 0, error.strerror or str(error))
