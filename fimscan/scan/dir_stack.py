"""The directories that a walk stands in, of which only so many are open at once, however deep it has gone.

One that has been closed for want of descriptors is opened again when the walk comes back to it: from a directory that
is in it by ``..``, else by the names that lead to it from the nearest one that is open. It has to be the very directory
that was left: the same inode, born at the same time. If it is not, somebody has moved it meanwhile, and what was still
to be seen in it is told as unreadable. Wherever ``..`` leads to, nothing is done there but to ask what it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from fimscan.linux.filesystems import birth
from fimscan.model import UnreadableReason
from fimscan.scan.dirfd import Standpoint, step
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.state import Raw, refusal
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.watch import WatchSpec

_NONE_LEFT = "more watches at once than there are file descriptors for (see ulimit -n)"
_KEPT = 256
_MOVED: Raw = UnreadableReason.UNSTABLE.value, "its directory was moved while what is below it was read"
_CLOSED = -1

# A directory on the way that is a symlink now, or no directory any more, is as good as gone.
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Directory:
    """A directory that has been listed, and what is left to be emitted of it.

    ``name`` is the one that it has in its parent, ``prefix`` its full path with a slash behind. ``fd`` is negative
    while it is closed; if it cannot be opened again, ``loss`` says why.
    """

    __slots__ = (
        "algorithms",
        "append_only",
        "birth",
        "entered",
        "fd",
        "identity",
        "loss",
        "may_hang",
        "name",
        "prefix",
        "steps",
        "vouched",
    )

    def __init__(self, at: Standpoint, name: bytes, prefix: bytes, watch: WatchSpec, *, may_hang: bool) -> None:
        self.fd, self.identity = at
        self.birth = b""
        self.loss: Raw | None = None
        # Nothing in it is asked for anything by this process: others wait for the answer.
        self.may_hang = may_hang
        self.name = name
        self.prefix = prefix
        self.algorithms = watch.algorithms
        self.append_only = watch.append_only
        self.vouched = watch.vouched
        self.steps: Iterator[bytes | list[bytes]] = iter(())
        # Subdirectories that have been emitted and not yet descended into: those between "a" and "a/". Such names
        # begin with one another ("a", "a-", "a--"), so these are hardly ever more than one.
        self.entered: dict[bytes, Directory] = {}


class Descriptors:
    """How many directories may be open at once: over all walks of a scan, and in each batch of what they find."""

    def __init__(self, limit: int, per_batch: int) -> None:
        self._left = limit
        self.per_batch = per_batch

    @property
    def are_used_up(self) -> bool:
        """Whether one has to be closed before another is opened."""
        return self._left <= 0

    def count(self) -> None:
        """One has been opened."""
        self._left -= 1

    def close(self, fd: int) -> None:
        """Close one that was counted."""
        os.close(fd)
        self._left += 1


class DirStack:
    """The directories from where a walk began to where it stands. ``close`` it, always.

    Args:
        descriptors: the budget, which others share.
        attendant: goes where it may hang.
    """

    def __init__(self, descriptors: Descriptors, hang_guard: HangGuard) -> None:
        self._descriptors = descriptors
        self._hang_guard = hang_guard
        self._stack: list[Directory] = []
        # Those that may be closed for others' sake, the one that was opened first in front.
        self._spare: dict[Directory, None] = {}

    @property
    def here(self) -> Directory | None:
        """The directory that the walk stands in; ``None`` when it is over."""
        return self._stack[-1] if self._stack else None

    def begin(self, directory: Directory) -> None:
        """Stand in the first one, which stays open."""
        self._descriptors.count()
        self._stack.append(directory)

    def make_room(self, needed: Directory) -> None:
        """See to it that one more may be opened, without closing the one that is ``needed`` for that.

        Raises:
            OSError: EMFILE, if that cannot be.
        """
        while self._descriptors.are_used_up or len(self._spare) >= _KEPT:
            oldest = next((one for one in self._spare if one is not needed), None)
            if oldest is None:
                raise OSError(errno.EMFILE, _NONE_LEFT)
            # It is asked for now: while it is open, its inode is nobody else's.
            oldest.birth = b"" if oldest.may_hang else birth(oldest.fd)
            self._shut(oldest)
            oldest.prefix = b""  # or a hostile tree would take memory by the square of its depth

    def add(self, parent: Directory, directory: Directory) -> None:
        """A subdirectory of where the walk stands has been opened and emitted."""
        self._descriptors.count()
        self._spare[directory] = None
        parent.entered[directory.name] = directory

    def descend(self, child: Directory) -> None:
        """Stand in one that was emitted before."""
        parent = self._stack[-1]
        self._stack.append(child)
        if child.fd == _CLOSED:
            child.prefix = parent.prefix + child.name + b"/"
            self._return_by_name()

    def ascend(self) -> None:
        """Leave this one for good, and stand in the one around it."""
        left = self._stack.pop()
        above = self.here
        try:
            if above is not None and not above.prefix:
                above.prefix = left.prefix[: -len(left.name) - 1]
            if above is not None and above.fd == _CLOSED and above.loss is None:
                self._return(left, above)
        finally:
            self._close(left)

    def close(self) -> None:
        """Close all of them."""
        while self._stack:
            self._close(self._stack.pop())

    def _return(self, left: Directory, above: Directory) -> None:
        if left.fd != _CLOSED:
            with suppress(OSError, TimedOutError, _MovedError):
                self._adopt(above, self._step(left, b"..", hanging=above.may_hang))
                return
        self._return_by_name()

    def _return_by_name(self) -> None:
        """Open where the walk stands again, beginning with the nearest one that is open."""
        index = next(i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i].fd != _CLOSED)
        at = self._stack[index]
        for lower in range(index + 1, len(self._stack)):
            directory = self._stack[lower]
            try:
                self._adopt(directory, self._step(at, directory.name, hanging=directory.may_hang))
            except TimedOutError as error:
                return self._lose(lower, (UnreadableReason.TIMEOUT.value, str(error)))
            except OSError as error:
                return self._lose(lower, _MOVED if error.errno in NOTHING_THERE else refusal(error))
            except _MovedError:
                return self._lose(lower, _MOVED)
            at = directory
        return None

    def _step(self, at: Directory, name: bytes, *, hanging: bool) -> Standpoint:
        self.make_room(at)
        return (self._hang_guard.step if at.may_hang or hanging else step)(at.fd, name)

    def _adopt(self, directory: Directory, found: Standpoint) -> None:
        fd, identity = found
        if identity != directory.identity or (directory.birth and birth(fd) != directory.birth):
            os.close(fd)
            raise _MovedError
        self._descriptors.count()
        directory.fd = fd
        self._spare[directory] = None

    def _lose(self, first: int, why: Raw) -> None:
        for directory in self._stack[first:]:
            directory.loss = why

    def _shut(self, directory: Directory) -> None:
        self._spare.pop(directory, None)
        if directory.fd != _CLOSED:
            self._descriptors.close(directory.fd)
            directory.fd = _CLOSED

    def _close(self, directory: Directory) -> None:
        for child in directory.entered.values():
            self._shut(child)  # nothing is entered below where the walk never stood
        directory.entered.clear()
        self._shut(directory)


class _MovedError(Exception):
    """Something else is in a directory's place."""
