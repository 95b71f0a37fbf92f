"""The second witness, fanotify: which process wrote to which file, and when it could not see."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag, StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from fimscan.model.audit import Actor


class WitnessMask(IntFlag):
    """The recorded bits of fanotify's events (``fanotify_mark(2)``): what a process did to a file."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80


class WitnessEvent(NamedTuple):
    """What one process did to one file, as fanotify reported it.

    fanotify gives no time. The event happened after ``since_ns``, when all earlier events had been read, and before
    ``until_ns``, when this one was read. Everything that a process does to a file in that time is one event. ``handle``
    is the file's handle (``name_to_handle_at(2)``), which is never reused; ``name`` is the last component of its name
    at that time. If the process had ended before it was inspected, ``actor`` has only the process id, and
    ``started_ns`` and ``ancestors`` (process ids, the parent first) are unknown.
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
    """A way to change a file's content that fanotify does not report and that needs no mapping of the file."""

    ASYNC_IO = "async-io"  # io_submit(2), as long as fs.aio-max-nr is not 0: no FAN_MODIFY (seen on 6.18)
    MOVE_EXTENT = "move-extent"  # ext4: EXT4_IOC_MOVE_EXT can zero blocks without an event (seen on 6.18)
    OLD_KERNEL = "old-kernel"  # before Linux 6.6: splice(2), and io_uring before 5.19


class WitnessExtent(Struct, frozen=True, kw_only=True):
    """A stretch of time in which fanotify was watching one file system, and all its events were read.

    ``ended`` says why it ended; it is empty while it continues, and if fimscan ended unexpectedly.
    """

    dev: int
    start_ns: int
    end_ns: int
    holes: tuple[WitnessHole, ...] = ()
    ended: str = ""


class WitnessData(Struct, frozen=True, kw_only=True):
    """What the second witness recorded: events by (device, inode), extents by device."""

    events: Mapping[tuple[int, int], tuple[WitnessEvent, ...]] = field(default_factory=dict)
    extents: Mapping[int, tuple[WitnessExtent, ...]] = field(default_factory=dict)
