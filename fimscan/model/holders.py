"""Holders: processes that can write to a file without opening it again."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from fimscan.model.audit import Actor


class Unseen(StrEnum):
    """Why it is unknown which files a process can write to without opening them again."""

    REFUSED = "refused"  # the kernel does not let us inspect it
    ENDED = "ended"  # it ended before it was examined, after starting others that did the same
    TOO_MANY = "too-many"  # it has more descriptors or mappings than could be examined in time
    IN_FLIGHT = "in-flight"  # descriptors are in flight in a socket, not received yet
    RING = "ring"  # files are registered with an io_uring; which ones is unknown
    BUFFERS = "buffers"  # it has an io_uring, whose registered buffers can be memory of files that it has closed
    HIDDEN_RING = "hidden-ring"  # as BUFFERS: a user's process may have an io_uring that /proc does not show
    SERVES = "serves"  # it has a FUSE file system: a read from it can write to mapped memory of a file at any time
    NAME = "name"  # it could not be inspected completely, and may hold the file's removed name
    NO_PROCESS = "no-process"  # the kernel counts a writer, but no process shows the file as open
    NOT_ALONE = "not-alone"  # processes that do not show the file may write to it; the kernel does not say how many


class Rights(NamedTuple):
    """Which files a process may open for writing.

    ``uids`` and ``gids`` are all its user and group ids, including supplementary groups (``None``: unknown).
    ``any_file`` is set if its capabilities bypass permissions, or if nothing is known of it. ``owned`` are ranges
    (first, count) of user ids whose files it may write as root of a user namespace.
    """

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] | None = ()
    any_file: bool = False
    owned: tuple[tuple[int, int], ...] = ()


class Doubt(NamedTuple):
    """A process that may have a file open for writing without showing it; ``actor`` is ``None`` if unknown.

    ``rights`` is ``None`` once it is decided that they suffice for a certain file.
    """

    why: Unseen
    actor: Actor | None = None
    rights: Rights | None = None


class Holders(Struct, frozen=True, kw_only=True):
    """The processes that could write to a file without opening it when the window of its change began.

    ``actors`` had a writable descriptor or mapping at ``as_of_ns``, no later than the reading of the old content. Any
    process that had opened the file earlier and is not in ``actors`` had closed it by then. ``complete`` is false if
    not every process could be inspected (only root may).

    ``later`` had one at ``later_ns``, before the new content was read. Descriptors can be passed on, so a holder need
    not be the process that opened the file.

    ``earlier`` had the file open that had the path before, at ``earlier_ns``, if another file has the path now. That is
    no later than the last reading of the old content.

    ``doubts`` and ``earlier_doubts`` are processes that may have held the file, or the earlier one, as well. If there
    are any, no process is proven to be the only possible writer.
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


class Holder(Struct, frozen=True, kw_only=True):
    """A process with a writable descriptor (or writable shared mapping) of a file when a scan began."""

    dev: int
    inode: int
    actor: Actor
