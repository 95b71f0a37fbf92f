"""Which ways of changing content fanotify does not show on this kernel, and whether they are closed."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from fimscan.model import WitnessHole

# splice(2) tells fsnotify since 6.5 (commit 983652c69199), io_uring since 5.19; 6.6 is the long-term kernel after both.
_SEES_SPLICE = (6, 6)
# What is mounted as ext3 is ext4's code, too. XFS_IOC_SWAPEXT was tried on 6.18.
_EXTENTS = frozenset(("ext3", "ext4", "xfs", "f2fs"))


def holes(kind: str) -> tuple[WitnessHole, ...]:
    """Those of a file system of this type, now. Stores to a mapping are not among them: the join excludes those."""
    found = []
    if not async_io_is_off():
        found.append(WitnessHole.ASYNC_IO)
    if kind in _EXTENTS:
        found.append(WitnessHole.MOVE_EXTENT)
    if release() < _SEES_SPLICE:
        found.append(WitnessHole.OLD_KERNEL)
    return tuple(found)


def async_io_is_off() -> bool:
    """Whether no process has a context for io_submit(2), and none can get one (io_setup in fs/aio.c)."""
    limit, used = _number("aio-max-nr"), _number("aio-nr")
    return limit == 0 and used == 0


def release() -> tuple[int, int]:
    """The kernel's version."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _number(name: str) -> int:
    """0 where the kernel was built without asynchronous I/O."""
    with suppress(FileNotFoundError), open(f"/proc/sys/fs/{name}", encoding="ascii") as file:
        return int(file.read())
    return 0
