"""Mounted file systems from ``/proc/PID/mountinfo`` (proc_pid_mountinfo(5)), without accessing any of them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from msgspec import Struct

from fimscan.paths import is_within

# File systems in this host's memory and on its disks. All others (NFS, SMB, FUSE ...) may never answer.
_LOCAL = frozenset(
    """
    autofs bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs efivarfs erofs exfat
    ext2 ext3 ext4 f2fs fusectl hugetlbfs iso9660 jfs mqueue nilfs2 nsfs ntfs3 overlay proc pstore ramfs reiserfs rootfs
    securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf vfat xfs zfs
    """.split()  # noqa: SIM905 - easier to read than a list
)
_ON_DEMAND = "autofs"  # a lookup in it mounts something
_MOST_LINKS = 40  # path_resolution(7)
# In names, the kernel escapes space, tab, newline and backslash, but no other white space.
_LINE = re.compile(rb"(\d{1,18}) \d+ (\d{1,9}):(\d{1,9}) ([^ ]+) ([^ ]+) .*? - (\S+)(?: [^ ]* ([^ ]*))?")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


class Mount(Struct, frozen=True, kw_only=True):
    """One mounted file system.

    ``id`` is the ``mnt_id`` of descriptors. ``dev`` is the device number of the superblock, which audit records.
    ``stat(2)`` reports another number for files in btrfs subvolumes and for some files on overlayfs. ``point`` is the
    mount point, ``kind`` the type: ``ext4``, ``tmpfs``, ``fuse.sshfs``. ``root`` is the part of the file system that is
    mounted (``/`` for all of it), ``options`` are the superblock's options as text.
    """

    id: int
    dev: int
    point: bytes
    kind: str
    root: bytes = b"/"
    options: bytes = b""

    @property
    def may_hang(self) -> bool:
        """Whether it is not local: another machine or process serves it, and may never answer."""
        return self.kind not in _LOCAL


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """Parse the mounts in order; a later mount hides an earlier one on the same point. Other lines are ignored."""
    found = []
    for line in text.split(b"\n"):
        if match := _LINE.match(line):
            number, major, minor, root, point, kind, options = match.groups()
            found.append(
                Mount(
                    id=int(number),
                    dev=os.makedev(int(major), int(minor)),
                    point=_unescaped(point),
                    kind=kind.decode("latin-1"),
                    root=_unescaped(root),
                    options=options or b"",
                )
            )
    return tuple(found)


def _unescaped(name: bytes) -> bytes:
    return _ESCAPE.sub(lambda escape: bytes([int(escape[1], 8) & 0xFF]), name)


def own_mounts() -> tuple[Mount, ...]:
    """The mounts that this process sees."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse_mounts(file.read())


def distinct_mounts() -> tuple[Mount, ...]:
    """The mounts that this process sees, but for those that show what would be there without them."""
    return without_repeats(own_mounts())


def without_repeats(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Leave out each mount of a directory on itself: its files are those that the mount around it has at that place.

    systemd makes one for each ``ReadWritePaths=`` of a unit. The files there, and the audit rules for them, are the
    same with and without it.
    """
    kept: list[Mount] = []
    for mount in mounts:
        around = mount_of(kept, mount.point)
        if around is None or (around.dev, _root_at(around, mount.point)) != (mount.dev, mount.root):
            kept.append(mount)
    return tuple(kept)


def _root_at(mount: Mount, path: bytes) -> bytes:
    """Which part of the file system is at a path below a mount point."""
    below = path[len(mount.point.rstrip(b"/")) :]
    return (mount.root.rstrip(b"/") + below).rstrip(b"/") or b"/"


class MountTables:
    """The mounts that processes see, read once for each mount namespace: a user can have 100,000 of them in one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Mount, ...]] = {}
        self._own: tuple[Mount, ...] | None = None

    def of(self, process: str) -> tuple[Mount, ...]:
        """The mounts that a process (``/proc/PID``) sees.

        Raises:
            OSError: it has ended, or may not be inspected.
        """
        # With another root directory, mountinfo has only the mounts below that.
        namespace = os.readlink(f"{process}/ns/mnt") if os.readlink(f"{process}/root") == "/" else None
        found = None if namespace is None else self._known.get(namespace)
        if found is None:
            with open(f"{process}/mountinfo", "rb") as file:
                found = parse_mounts(file.read())
            if namespace is not None:
                self._known[namespace] = found
        return found

    @property
    def own(self) -> tuple[Mount, ...]:
        """The mounts that this process sees."""
        if self._own is None:
            self._own = own_mounts()
        return self._own


def any_mount_may_hang() -> bool:
    """Whether this process sees any file system that is not local."""
    return any(mount.may_hang for mount in own_mounts())


def path_may_hang(path: bytes, mounts: Sequence[Mount] | None = None) -> bool:
    """Whether a path leads through a file system that is not local, symlinks resolved; none of those is accessed.

    ``mounts`` are those of this process, if they were just read.
    """
    mounts = own_mounts() if mounts is None else mounts
    if not any(mount.may_hang or mount.kind == _ON_DEMAND for mount in mounts):
        return False
    left, at, links = path.split(b"/")[::-1], b"", 0
    while left:
        name = left.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            at = at.rpartition(b"/")[0]
            continue
        at += b"/" + name
        on = mount_of(mounts, at)
        if on is None or on.may_hang or on.kind == _ON_DEMAND:
            return True
        try:
            link = os.readlink(at)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the path does not exist
                return False
            continue
        links += 1
        if links > _MOST_LINKS:
            return False
        left += link.split(b"/")[::-1]
        at = b"" if link.startswith(b"/") else at.rpartition(b"/")[0]
    return False


def may_hang(fd: int) -> bool:
    """Whether a descriptor is on a file system that is not local; true also if that is unknown."""
    number = mount_id(fd)
    return next((mount.may_hang for mount in own_mounts() if mount.id == number), True)


def is_below_mount_that_may_hang(mounts: Sequence[Mount], path: bytes) -> bool:
    """Whether accessing a path waits for a file system that is not local, or triggers an automount."""
    return any((mount.may_hang or mount.kind == _ON_DEMAND) and is_within(path, mount.point) for mount in mounts)


def mount_id(fd: int) -> int | None:
    """The :attr:`Mount.id` of a descriptor; ``None`` where the kernel hides it."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        return next((int(line[7:]) for line in info if line.startswith(b"mnt_id:")), None)


def mount_of(mounts: Sequence[Mount], path: bytes) -> Mount | None:
    """The mount that a path is on, judged by names alone."""
    best = None
    for mount in mounts:
        if is_within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


_FUSE = re.compile(r"fuse(blk)?(\..*)?")
_USER_ID = re.compile(rb"(?:^|,)user_id=(\d+)")


def served_by(mount: Mount) -> int | None:
    """The uid of the user who serves a FUSE file system, in the mount's user namespace; ``None`` if it is no FUSE."""
    user = _USER_ID.search(mount.options)
    return int(user[1]) if user is not None and _FUSE.fullmatch(mount.kind) else None


_IN_MEMORY = frozenset({"tmpfs", "ramfs", "hugetlbfs"})
_UPPER = re.compile(rb"(?:^|,)upperdir=([^,]*)")


def is_in_memory(mount: Mount, mounts: Sequence[Mount]) -> bool:
    """Whether files that are written there are in memory: for an overlay, whether its upper layer is known to be."""
    if mount.kind != "overlay":
        return mount.kind in _IN_MEMORY
    upper = _UPPER.search(mount.options)
    below = mount_of(mounts, upper[1]) if upper is not None and upper[1].startswith(b"/") else None
    return below is not None and below.kind in _IN_MEMORY
