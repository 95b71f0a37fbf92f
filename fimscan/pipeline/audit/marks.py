"""Which directories fanotify is to watch: a mark on the file system of each, and what it is recognised by."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from fimscan.linux import fanotify, handles
from fimscan.linux.fanotify import Handle
from fimscan.linux.mounts import Mount, mount_of, own_mounts
from fimscan.model import WitnessHole
from fimscan.paths import is_within


@dataclass(frozen=True, slots=True)
class Root:
    """A monitored directory or, for a single file, the directory that it lies in (not ``recursive``).

    It is opened anew each time: a descriptor that is kept would keep the file system from being unmounted.
    """

    path: bytes
    identity: tuple[int, int]
    recursive: bool

    @property
    def directory(self) -> bytes:
        """Its path."""
        return self.path if self.recursive else os.path.dirname(self.path)

    def has(self, directory: Handle) -> bool:
        """Whether a directory is monitored, by the paths that both have at one time.

        Raises:
            OSError: when that cannot be found out, as when the path leads to something else now.
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


@dataclass(slots=True)
class Marked:
    """One file system: its monitored directories, and the extent that goes on."""

    dev: int
    kind: str
    roots: list[Root]
    holes: tuple[WitnessHole, ...]
    start_ns: int


def mark(group: int, path: bytes) -> tuple[bytes, Mount, Root]:
    """Mark the file system of a monitored path; gives what events call that, its mount, and the root to watch for.

    Raises:
        OSError: where that cannot be done.
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
        raise OSError(errno.EOPNOTSUPP, f"not to be had on {found.kind if found else 'an unknown mount'}")
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
    """Why fanotify is not to be had, in an administrator's words."""
    words = {
        errno.EPERM: "it takes root (CAP_SYS_ADMIN)",
        errno.EINVAL: "it takes Linux 5.15",
        errno.ENOSYS: "this kernel has none",
        errno.EXDEV: "a subvolume has no mark of its own",
        errno.ENODEV: "the file system has no number that events could name",
    }
    return words.get(error.errno or 0, error.strerror or str(error))
