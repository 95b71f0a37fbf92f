"""Which ways to change content fanotify does not report on this kernel, and whether they are open."""

from __future__ import annotations

import os
import re
from contextlib import suppress

from fimscan.model import WitnessHole

# splice(2) is reported since 6.5 (commit 983652c69199), io_uring since 5.19. 6.6 is the first long-term kernel with
# both.
_SEES_SPLICE = (6, 6)
# ext3 is mounted by the code of ext4, too. XFS_IOC_SWAPEXT was tried on 6.18.
_EXTENTS = frozenset(("ext3", "ext4", "xfs", "f2fs"))


def open_holes(kind: str) -> tuple[WitnessHole, ...]:
    """The holes of a file system of this type now. Writes to mappings are not listed: attribution excludes them."""
    found = []
    if not async_io_is_off():
        found.append(WitnessHole.ASYNC_IO)
    if kind in _EXTENTS:
        found.append(WitnessHole.MOVE_EXTENT)
    if release() < _SEES_SPLICE:
        found.append(WitnessHole.OLD_KERNEL)
    return tuple(found)


def async_io_is_off() -> bool:
    """Whether no process uses io_submit(2), and none can start to (io_setup in fs/aio.c)."""
    limit, used = _number("aio-max-nr"), _number("aio-nr")
    return limit == 0 and used == 0


def release() -> tuple[int, int]:
    """The kernel's version: (major, minor)."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _number(name: str) -> int:
    """A sysctl of fs; 0 where the kernel has no asynchronous I/O."""
    with suppress(FileNotFoundError), open(f"/proc/sys/fs/{name}", encoding="ascii") as file:
        return int(file.read())
    return 0
