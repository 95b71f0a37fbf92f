"""The second witness, fanotify: which process wrote to which file, and when it could not see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import NamedTuple

from fimscan.model.audit import Actor


class WitnessMask(IntFlag):
    """What fanotify saw a process do to a file: the bits of its events (``fanotify_mark(2)``) that are recorded."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80


class WitnessEvent(NamedTuple):
    """What one process did to one file, as fanotify told it.

    The kernel gives no time: it happened after ``since_ns``, when all earlier events had been read, and before
    ``until_ns``, when this one was read. What a process does to a file in that time is one event. ``handle`` is the
    file's handle (``name_to_handle_at(2)``), which no later file has; ``name`` the last component of its name then.
    ``actor`` has the process id alone where the process had ended before it could be looked at; ``started_ns`` and
    ``ancestors`` (process ids, the parent first) are unknown then, too.
    """

    dev: int
    inode: int
    handle: bytes
    mask: WitnessMask
    since_ns: int
    until_ns: int
    name: bytes
    actor: Actor
    started_ns: int | None = None
    ancestors: tuple[int, ...] = ()


class WitnessHole(StrEnum):
    """A way to change what a file holds that fanotify does not show, and that needs no mapping of the file."""

    ASYNC_IO = "async-io"  # io_submit(2), as long as fs.aio-max-nr is not 0: no FAN_MODIFY (seen on 6.18)
    MOVE_EXTENT = "move-extent"  # ext4's EXT4_IOC_MOVE_EXT: it can make blocks of a file zero, unseen (seen on 6.18)
    OLD_KERNEL = "old-kernel"  # before Linux 6.6: splice(2), and io_uring before 5.19


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessExtent:
    """A stretch of time over which fanotify told everything that it sees of one file system, and all was read.

    ``ended`` says why it did not go on; it is empty for the one that goes on, and where fimscan did not live to say it.
    """

    dev: int
    start_ns: int
    end_ns: int
    holes: tuple[WitnessHole, ...] = ()
    ended: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What the second witness says of some files: its events by (device, inode), its extents by device."""

    events: Mapping[tuple[int, int], tuple[WitnessEvent, ...]] = field(default_factory=dict)
    extents: Mapping[int, tuple[WitnessExtent, ...]] = field(default_factory=dict)
