"""What is mounted, as ``/proc/self/mountinfo`` tells it: without a system call that a mounted file system answers."""

from __future__ import annotations

import os


def file_system_types() -> dict[int, str]:
    """``st_dev`` -> type (``ext4``, ``tmpfs``, ``fuse.sshfs``), of everything that this process can see.

    btrfs subvolumes are not in it: they have device numbers of their own.
    """
    types = {}
    with open("/proc/self/mountinfo", "rb") as mounts:
        for line in mounts:
            before, _, after = line.partition(b" - ")
            major, _, minor = before.split(b" ", 3)[2].partition(b":")
            types[os.makedev(int(major), int(minor))] = os.fsdecode(after.split(b" ", 1)[0])
    return types
