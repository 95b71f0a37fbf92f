"""Mounted file systems, as ``/proc/PID/mountinfo`` tells them (proc_pid_mountinfo(5)): none of them is asked itself."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fimscan.paths import is_within

# What answers from this host's memory and disks. All others (NFS, SMB, FUSE ...) wait for somebody, maybe for ever.
_LOCAL = frozenset(
    """
    autofs bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs efivarfs erofs exfat
    ext2 ext3 ext4 f2fs fusectl hugetlbfs iso9660 jfs mqueue nilfs2 nsfs ntfs3 overlay proc pstore ramfs reiserfs rootfs
    securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf vfat xfs zfs
    """.split()  # noqa: SIM905 - easier to read than a list
)
_ON_DEMAND = "autofs"  # whatever is mounted there when somebody goes on
_MOST_LINKS = 40  # path_resolution(7)
# Of a name, the kernel escapes a space, a tab, a newline and a backslash, but no other white space.
_LINE = re.compile(rb"(\d{1,18}) \d+ (\d{1,9}):(\d{1,9}) ([^ ]+) ([^ ]+) .*? - (\S+)(?: [^ ]* ([^ ]*))?")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system.

    ``id`` is that of descriptors' ``mnt_id``. ``dev`` is the device number of the superblock, which audit prints.
    ``stat(2)`` prints another one for files in btrfs subvolumes, and for some files on overlayfs. ``point`` is where it
    is mounted, ``kind`` its type: ``ext4``, ``tmpfs``, ``fuse.sshfs``. ``root`` is the part of the file system that is
    mounted (``/`` for all of it), ``options`` are those of the superblock, as text.
    """

    id: int
    dev: int
    point: bytes
    kind: str
    root: bytes = b"/"
    options: bytes = b""

    @property
    def may_hang(self) -> bool:
        """Whether it is not local: another machine or process answers for it, which may take for ever."""
        return self.kind not in _LOCAL


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """The mounts in order; of two on one place the later one hides the earlier. What is no mount is passed over."""
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
    """Those that this process sees."""
    with open("/proc/self/mountinfo", "rb") as file:
        return parse_mounts(file.read())


def some_may_hang() -> bool:
    """Whether this process sees any file system that is not local."""
    return any(mount.may_hang for mount in own_mounts())


def leads_where_it_may_hang(path: bytes) -> bool:
    """Whether a path, symlinks included, leads through a file system that is not local; none of those is asked."""
    mounts = own_mounts()
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
            if error.errno != errno.EINVAL:  # it leads nowhere
                return False
            continue
        links += 1
        if links > _MOST_LINKS:
            return False
        left += link.split(b"/")[::-1]
        at = b"" if link.startswith(b"/") else at.rpartition(b"/")[0]
    return False


def may_hang(fd: int) -> bool:
    """Whether the file system of a descriptor is not local; what is not known of it may be anything."""
    number = mount_id(fd)
    return next((mount.may_hang for mount in own_mounts() if mount.id == number), True)


def is_behind_what_may_hang(mounts: Sequence[Mount], path: bytes) -> bool:
    """Whether to look at a path takes an answer of a file system that is not local, or mounts one on demand."""
    return any((mount.may_hang or mount.kind == _ON_DEMAND) and is_within(path, mount.point) for mount in mounts)


def mount_id(fd: int) -> int | None:
    """The :attr:`Mount.id` of the mount that a descriptor was opened through; ``None`` where the kernel hides it."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        return next((int(line[7:]) for line in info if line.startswith(b"mnt_id:")), None)


def mount_of(mounts: Sequence[Mount], path: bytes) -> Mount | None:
    """The file system that a path lies on, as far as names tell."""
    best = None
    for mount in mounts:
        if is_within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best
