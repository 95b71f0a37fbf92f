"""Which directories fanotify is to watch: a mark on the file system of each, and a descriptor to recognise it by."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass

from fimscan.linux import fanotify, handles
from fimscan.model import WitnessHole
from fimscan.mounts import Mount, is_within, mount_of, own_mounts


@dataclass(frozen=True, slots=True)
class Root:
    """A monitored directory or, for a single file, the directory that it lies in (not ``recursive``)."""

    path: bytes
    fd: int
    recursive: bool

    def has(self, directory: bytes) -> bool:
        """Whether a path, as this descriptor's mount shows it, is monitored: wherever both were moved to together."""
        here = os.fsencode(os.readlink(f"/proc/self/fd/{self.fd}"))
        return is_within(directory, here) if self.recursive else directory == here


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
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if recursive else 0)
    fd = os.open(path if recursive else os.path.dirname(path), flags)
    try:
        mount = _understood_mount(fd)
        here = b"/proc/self/fd/%d" % fd
        fanotify.mark_file_system(group, here)
        return handles.fsid_of(here), mount, Root(path, fd, recursive)
    except OSError:
        os.close(fd)
        raise


def _understood_mount(fd: int) -> Mount:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        number = next((int(line[7:]) for line in file if line.startswith(b"mnt_id:")), -1)
    found = next((mount for mount in own_mounts() if mount.id == number), None)
    if found is None or found.kind not in handles.UNDERSTOOD:
        raise OSError(errno.EOPNOTSUPP, f"not to be had on {found.kind if found else 'an unknown mount'}")
    return found


def is_in_place(root: Root, mounts: Sequence[Mount]) -> bool:
    """Whether the path still leads to the directory that the descriptor is of."""
    path = root.path if root.recursive else os.path.dirname(root.path)
    mount = mount_of(mounts, path)
    if mount is None or mount.may_hang:
        return False
    try:
        here, there = os.stat(path), os.fstat(root.fd)
    except OSError:
        return False
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def let_go(marked: Marked) -> None:
    """Close its descriptors."""
    for root in marked.roots:
        os.close(root.fd)


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
