"""The directories from the root of a walk to its current position, of which only a limited number are open.

A directory that was closed to save descriptors is opened again when the walk returns to it. It is opened as ``..`` of
the directory below it, or else by name from the nearest open one above it. It must be the same directory: same inode,
same birth time. Otherwise it was moved in the meantime, and its remaining entries are reported as unreadable. Wherever
``..`` leads, only the identity is read there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress

from fimscan.linux.filesystems import birth
from fimscan.model import UnreadableReason
from fimscan.scan.dirfd import DirHandle, step
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.state import Raw, refusal
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.watch import WatchSpec

_NONE_LEFT = "too few file descriptors for this many watches; raise the limit (ulimit -n)"
_KEPT = 256
_MOVED: Raw = UnreadableReason.UNSTABLE.value, "its directory was moved during the scan"
_CLOSED = -1

# A directory that has become a symlink or a file counts as gone.
NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Directory:
    """A listed directory with the entries that are still to be emitted.

    ``name`` is its name in the parent, ``prefix`` its full path with a final slash. ``fd`` is negative while it is
    closed. ``loss`` says why it cannot be opened again.
    """

    __slots__ = (
        "algorithms",
        "append_only",
        "birth",
        "entered",
        "fd",
        "identity",
        "keep",
        "loss",
        "may_hang",
        "name",
        "prefix",
        "steps",
        "vouched",
    )

    def __init__(self, at: DirHandle, name: bytes, prefix: bytes, watch: WatchSpec, *, may_hang: bool) -> None:
        self.fd, self.identity = at
        self.birth = b""
        self.loss: Raw | None = None
        # This process makes no system call on its entries then: workers wait for the answer.
        self.may_hang = may_hang
        self.name = name
        self.prefix = prefix
        self.algorithms = watch.algorithms
        self.append_only = watch.append_only
        self.vouched = watch.vouched
        self.keep = watch.keep
        self.steps: Iterator[bytes | list[bytes]] = iter(())
        # Subdirectories that were emitted and not yet descended into: those between "a" and "a/". Such names are
        # prefixes of each other ("a", "a-", "a--"), so there is rarely more than one.
        self.entered: dict[bytes, Directory] = {}


class Descriptors:
    """The budget of open directories: for all walks of a scan together, and for each batch."""

    def __init__(self, limit: int, per_batch: int) -> None:
        self._left = limit
        self.per_batch = per_batch

    @property
    def is_used_up(self) -> bool:
        """Whether a directory must be closed before another is opened."""
        return self._left <= 0

    def count(self) -> None:
        """Count a directory that was opened."""
        self._left -= 1

    def close(self, fd: int) -> None:
        """Close a counted descriptor."""
        os.close(fd)
        self._left += 1


class DirStack:
    """The stack of directories of one walk. Always ``close`` it.

    Args:
        descriptors: the budget, shared by all walks.
        hang_guard: accesses file systems that may hang.
    """

    def __init__(self, descriptors: Descriptors, hang_guard: HangGuard) -> None:
        self._descriptors = descriptors
        self._hang_guard = hang_guard
        self._stack: list[Directory] = []
        # Directories that may be closed to save descriptors, the one opened first in front.
        self._spare: dict[Directory, None] = {}

    @property
    def here(self) -> Directory | None:
        """The current directory; ``None`` when the walk is over."""
        return self._stack[-1] if self._stack else None

    def begin(self, directory: Directory) -> None:
        """Enter the first directory, which is never closed to save descriptors."""
        self._descriptors.count()
        self._stack.append(directory)

    def make_room(self, needed: Directory) -> None:
        """Close directories until one more may be opened; ``needed`` stays open.

        Raises:
            OSError: EMFILE, if none can be closed.
        """
        while self._descriptors.is_used_up or len(self._spare) >= _KEPT:
            oldest = next((one for one in self._spare if one is not needed), None)
            if oldest is None:
                raise OSError(errno.EMFILE, _NONE_LEFT)
            # Read the birth time now: while the directory is open, no other can get its inode.
            oldest.birth = b"" if oldest.may_hang else birth(oldest.fd)
            self._shut(oldest)
            oldest.prefix = b""  # else the paths of a hostile tree would take memory by the square of its depth

    def add(self, parent: Directory, directory: Directory) -> None:
        """Register a subdirectory of ``parent`` that was opened and emitted."""
        self._descriptors.count()
        self._spare[directory] = None
        parent.entered[directory.name] = directory

    def descend(self, child: Directory) -> None:
        """Enter a subdirectory that was emitted before."""
        parent = self._stack[-1]
        self._stack.append(child)
        if child.fd == _CLOSED:
            child.prefix = parent.prefix + child.name + b"/"
            self._return_by_name()

    def ascend(self) -> None:
        """Leave the current directory for good and return to its parent."""
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
        """Close all directories."""
        while self._stack:
            self._close(self._stack.pop())

    def _return(self, left: Directory, above: Directory) -> None:
        if left.fd != _CLOSED:
            with suppress(OSError, TimedOutError, _MovedError):
                self._adopt(above, self._step(left, b"..", hanging=above.may_hang))
                return
        self._return_by_name()

    def _return_by_name(self) -> None:
        """Open the current directory again, by name from the nearest open directory above it."""
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

    def _step(self, at: Directory, name: bytes, *, hanging: bool) -> DirHandle:
        self.make_room(at)
        return (self._hang_guard.step if at.may_hang or hanging else step)(at.fd, name)

    def _adopt(self, directory: Directory, found: DirHandle) -> None:
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
            self._shut(child)  # only subdirectories of the stack are ever entered
        directory.entered.clear()
        self._shut(directory)


class _MovedError(Exception):
    """Another directory has the name of the one that was left."""
