"""Who can write to a file without opening it again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from fimscan.model.audit import Actor


class Unseen(StrEnum):
    """Why it is not known which files a process can write to without opening them again."""

    REFUSED = "refused"  # the kernel does not show us what it has open
    ENDED = "ended"  # it ended before it was examined, and started others that did the same
    TOO_MANY = "too-many"  # it has more descriptors or mappings than there was time for
    IN_FLIGHT = "in-flight"  # descriptors wait in a socket until they are received
    RING = "ring"  # files are registered with an io_uring, and which ones is not known
    BUFFERS = "buffers"  # it has an io_uring, whose registered buffers can be memory of files that it has closed
    NAME = "name"  # not all of it is known, and it may keep a name of the file that was removed
    NO_PROCESS = "no-process"  # the kernel counts a writer, and no process shows the file among those it has open
    NOT_ALONE = (
        "not-alone"  # others may write to the file than those who show it, and the kernel does not say how many do
    )


class Rights(NamedTuple):
    """Which files a process may open for writing.

    ``uids`` and ``gids`` are all of its user and group ids, supplementary groups included (``None``: not known).
    ``any_file`` is set where
    its capabilities go past permissions, or where nothing is known of it. ``owned`` are the ranges (first, count) of
    user ids whose files it may write as the root user of a user namespace.
    """

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] | None = ()
    any_file: bool = False
    owned: tuple[tuple[int, int], ...] = ()


class Doubt(NamedTuple):
    """A process that may have a file open for writing without showing it; ``actor`` is ``None`` where none is known.

    ``rights`` is ``None`` once it was decided that they suffice for a certain file.
    """

    why: Unseen
    actor: Actor | None = None
    rights: Rights | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holders:
    """Who could write to a file without opening it again when the window of its change began.

    ``actors`` held a writable descriptor or mapping at ``as_of_ns``, which is no later than the reading of the old
    content: whoever had opened the file before that and is not among them had closed it. ``complete`` is false when
    not every process could be examined (only root may). ``later`` held one when that was looked at again, at
    ``later_ns``, before the new content was read: a descriptor can be handed on, so that its holder need not be who
    opened the file. ``earlier`` are those who held the file that had the path before, where that is another one than
    the file that has it now, at ``earlier_ns``: no later than the last reading of the old content. ``doubts`` are those
    who may have held the file as well, and ``earlier_doubts`` those of the earlier one: where there are any, nobody is
    proven to be the only one who could write.
    """

    as_of_ns: int
    actors: tuple[Actor, ...] = ()
    complete: bool = True
    later_ns: int = 0
    later: tuple[Actor, ...] = ()
    earlier_ns: int = 0
    earlier: tuple[Actor, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    earlier_doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process found holding a writable descriptor (or a writable shared mapping) of a file when a scan began."""

    dev: int
    inode: int
    actor: Actor
