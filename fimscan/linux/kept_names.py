"""Find files of which a mount keeps a removed name: an open through the mount leaves no audit record.

Audit's rules for a directory go by the directories above the name that was mounted, not by the mount point. If that
name was not below a watched directory, no rule reports the open. No process needs a descriptor for it.

``/proc/PID/mountinfo`` lists all mounts of the namespace if the root of the process is that of the namespace.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

from fimscan.linux.mounts import Mount
from fimscan.paths import is_within

_REMOVED = b"//deleted"  # at the end of the name that is mounted (dentry_path in fs/d_path.c)


def kept_by_mounts(process: str, mounts: Sequence[Mount]) -> Iterator[tuple[int, int] | None]:
    """Yield (device, inode) of each such file in the mount namespace of a process.

    ``process`` is its directory, ``/proc/PID``; ``mounts`` are those that it sees. A mount whose file cannot be
    identified yields ``None``.
    """
    for place, mount in enumerate(mounts):
        if not mount.root.endswith(_REMOVED) or mount.may_hang:
            continue
        if not _is_on_top(mounts, place):
            yield None
            continue
        try:
            found = os.stat(os.fsencode(f"{process}/root") + mount.point)
        except OSError:
            yield None
            continue
        if stat.S_ISREG(found.st_mode) and found.st_nlink:
            yield found.st_dev, found.st_ino


def _is_on_top(mounts: Sequence[Mount], place: int) -> bool:
    """Whether the path of the mount point leads to this mount, without crossing a file system that may never answer."""
    mount = mounts[place]
    if any(is_within(mount.point, later.point) for later in mounts[place + 1 :]):
        return False
    return not any(above.may_hang and is_within(mount.point, above.point) for above in mounts)
