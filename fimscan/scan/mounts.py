"""What is mounted, as ``/proc/self/mountinfo`` tells it: without a system call that a mounted file system answers."""

from __future__ import annotations

import os
from collections.abc import Iterator

# What answers from this host's memory and disks. All others (NFS, SMB, FUSE ...) wait for somebody, maybe for ever.
_LOCAL = frozenset(
    """
    autofs bcachefs binfmt_misc bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs efivarfs erofs exfat
    ext2 ext3 ext4 f2fs fusectl hugetlbfs iso9660 jfs mqueue nilfs2 nsfs ntfs3 overlay proc pstore ramfs reiserfs rootfs
    securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf vfat xfs zfs
    """.split()  # noqa: SIM905 - easier to read than a list
)


def file_system_types() -> dict[int, str]:
    """``st_dev`` -> type (``ext4``, ``tmpfs``, ``fuse.sshfs``), of everything that this process can see.

    btrfs subvolumes are not in it: they have device numbers of their own.
    """
    return {device: kind for _, device, kind in _mounts()}


def some_may_hang() -> bool:
    """Whether there is any file system that is not local."""
    return any(kind not in _LOCAL for _, _, kind in _mounts())


def may_hang(fd: int) -> bool:
    """Whether the file system of a descriptor is not local, which it is not asked itself."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        mount = next((int(line[7:]) for line in info if line.startswith(b"mnt_id:")), -1)
    return next((kind not in _LOCAL for number, _, kind in _mounts() if number == mount), True)


def _mounts() -> Iterator[tuple[int, int, str]]:
    """(mount id, ``st_dev``, type) of each."""
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            before, _, after = line.partition(b" - ")
            number, _, device, _ = before.split(b" ", 3)
            major, _, minor = device.partition(b":")
            yield int(number), os.makedev(int(major), int(minor)), os.fsdecode(after.split(b" ", 1)[0])
