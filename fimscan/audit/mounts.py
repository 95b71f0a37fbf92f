"""Mounted file systems, from ``/proc/self/mountinfo`` (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

# Prefixes of the types; each has relatives ("fuse.sshfs", "nfs4", "smb3").
_ANSWERED_ELSEWHERE = ("fuse", "nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "gfs2", "ocfs2", "autofs")
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mounted file system: ``point`` is where, ``dev`` what ``stat(2)`` says of its files (not so on btrfs)."""

    id: int
    dev: int
    point: bytes
    kind: str

    @property
    def may_hang(self) -> bool:
        """Whether another machine or process answers for it, which may take forever."""
        return self.kind.startswith(_ANSWERED_ELSEWHERE)


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """The mounts in order; of two on one place the later one hides the earlier."""
    found = []
    for line in text.splitlines():
        before, dash, after = line.partition(b" - ")
        fields, kinds = before.split(b" "), after.split(b" ")
        if dash and len(fields) >= 5:
            point = _ESCAPE.sub(lambda match: bytes([int(match[1], 8) & 0xFF]), fields[4])
            major, _, minor = fields[2].partition(b":")
            dev = os.makedev(int(major), int(minor))
            found.append(Mount(id=int(fields[0]), dev=dev, point=point, kind=kinds[0].decode("latin-1")))
    return tuple(found)


def mount_of(mounts: Sequence[Mount], path: bytes) -> Mount | None:
    """The file system that a path lies on, as far as names tell."""
    best = None
    for mount in mounts:
        if is_within(path, mount.point) and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def is_within(path: bytes, directory: bytes) -> bool:
    """Whether a path is this directory or lies beneath it, by name."""
    return path == directory or path.startswith(directory.rstrip(b"/") + b"/")
