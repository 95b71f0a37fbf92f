"""The names below the watch roots, in byte order of their full paths, through directory descriptors only.

The order comes from one trick: a directory's list holds ``name`` for every entry and also ``name/`` for every
subdirectory, sorted as bytes. At ``name`` the entry itself is emitted, at ``name/`` its content, so that ``a``,
``a-b`` and ``a/c`` come out in just that order, and nothing has to be remembered but the lists of the directories
that are open.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from typing import TypeAlias

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.mounts import may_hang, some_may_hang
from fimscan.scan.attendant import Attendant
from fimscan.scan.attributes import Changed
from fimscan.scan.pace import TimedOutError
from fimscan.scan.state import refusal, to_result
from fimscan.scan.visit import DIRECTORY, OTHER, Entries, Standpoint, Visit, lstat, stand, visit, way
from fimscan.scan.watch import WatchSpec

# A directory on the way that is a symlink now, or no directory any more, is as good as gone.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

_TOO_DEEP = "nested more deeply than there are file descriptors (see ulimit -n)"

HiddenNames: TypeAlias = Mapping[tuple[int, int], frozenset[bytes]]
"""(device, inode) of a directory -> names in it that are neither read nor reported."""


class Directory:
    """An open directory, and what is left to be emitted of it."""

    __slots__ = (
        "algorithms",
        "append_only",
        "entered",
        "fd",
        "identity",
        "may_hang",
        "names",
        "others",
        "prefix",
        "subdirectories",
    )

    def __init__(self, at: Standpoint, prefix: bytes, watch: WatchSpec, *, may_hang: bool) -> None:
        self.fd, self.identity = at
        # Nothing in it is asked for anything by this process: others wait for the answer.
        self.may_hang = may_hang
        self.prefix = prefix
        self.algorithms = watch.algorithms
        self.append_only = watch.append_only
        self.names: Iterator[bytes] = iter(())
        self.subdirectories: set[bytes] = set()
        self.others: set[bytes] = set()  # neither directories nor regular files
        # Subdirectories that have been emitted and not yet descended into: those between "a" and "a/". Such names
        # begin with one another ("a", "a-", "a--"), so these are hardly ever more than one.
        self.entered: dict[bytes, Directory] = {}


Pending: TypeAlias = tuple[bytes, Directory, bytes, bool]
"""A file that is still to be read: (full path, directory that is open as long as the walk stands here, name in it,
whether it was listed there as a regular file)."""

Found: TypeAlias = FileState | Unreadable | Pending


def path_of(found: Found) -> bytes:
    """The full path of whatever the walk has found."""
    return found[0] if isinstance(found, tuple) else found.path


class Descriptors:
    """How many directories may be open at once, over all walks of a scan: one for each level of depth."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def count(self, fd: int) -> int:
        """Count one that has been opened; raises ``OSError`` (EMFILE) when the limit had been reached."""
        if self._left <= 0:
            os.close(fd)
            raise OSError(errno.EMFILE, _TOO_DEEP)
        self._left -= 1
        return fd

    def close(self, fd: int) -> None:
        """Close one that was counted."""
        os.close(fd)
        self._left += 1


class Walk:
    """Everything below one watch root, but for the subtrees that other watches speak for.

    Args:
        watch: the root, its excludes and its digests.
        others: the roots of all watches; those below this one are left to their own walks.
        hidden: names never to be read nor reported.
        cross_mounts: whether to enter directories on other devices than the root's.
        descriptors: the budget that all walks share.
        attendant: goes where it may hang.
    """

    def __init__(
        self,
        watch: WatchSpec,
        *,
        others: Collection[bytes],
        hidden: HiddenNames,
        cross_mounts: bool,
        descriptors: Descriptors,
        attendant: Attendant,
    ) -> None:
        self._watch = watch
        self._others = frozenset(other for other in others if other != watch.path)
        self._hidden = hidden
        self._cross_mounts = cross_mounts
        self._descriptors = descriptors
        self._attendant = attendant
        self._some_may_hang = some_may_hang()
        self._is_excluded = watch.excluder()
        self._root_prefix = len(_prefix(watch.path))
        self._device: int | None = None  # the root's

    @property
    def root(self) -> bytes:
        """The full path that the walk begins with."""
        return self._watch.path

    def found(self) -> Generator[Found]:
        """What there is, in byte order. Close the generator to release its descriptors."""
        parent_path, _, name = self._watch.path.rpartition(b"/")
        try:
            parent = self._above_root(parent_path)
        except OSError as error:
            yield self._unreadable_root(error)
            return
        except TimedOutError as error:
            yield _timed_out(self._watch.path, error)
            return
        stack = [parent]
        try:
            yield from self._root(parent, name or b".")
            stack.extend(parent.entered.values())
            parent.entered.clear()
            yield from self._below(stack)
        finally:
            for directory in stack:
                self._close(directory)

    def _above_root(self, path: bytes) -> Directory:
        """The way to the root is the administrator's choice, symlinks included; from the root on none is followed."""
        go = self._attendant.stand if self._some_may_hang else stand
        return self._directory(go(path or b"/"), _prefix(path))

    def _directory(self, at: Standpoint, prefix: bytes) -> Directory:
        fd = self._descriptors.count(at[0])
        hanging = self._some_may_hang and may_hang(fd)
        return Directory((fd, at[1]), prefix, self._watch, may_hang=hanging)

    def found_at(self, path: bytes, *, below: bool) -> Generator[Found]:
        """What there is at one ``path`` of this watch and, where that is a directory, ``below`` it; nothing if nothing.

        It is reached as the whole walk reaches it: from the root on, without following a symlink or, unless that is
        allowed, entering another file system.
        """
        if path == self._watch.path:
            yield from self.found() if below else self._alone(self.found())
            return
        with ExitStack() as stack:
            try:
                parent = self._way_to(path)
                if parent is None:
                    return
                open_directories = [parent]
                stack.callback(self._close_all, open_directories)
                name = path.rpartition(b"/")[2]
                if name in self._hidden_in(parent):
                    return
                self._lstat(parent, name)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    yield _unreadable(path, error)
                return
            except TimedOutError as error:
                yield _timed_out(path, error)
                return
            yield self._enter(parent, name, path)
            if below:
                open_directories.extend(parent.entered.values())
                parent.entered.clear()
                yield from self._below(open_directories)

    def stat_at(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of one ``path`` of this watch, reached as the whole walk reaches it; ``None`` if nothing is."""
        above, _, name = path.rpartition(b"/")
        try:
            parent = self._above_root(above) if path == self._watch.path else self._way_to(path)
            if parent is None:
                return None
            try:
                return self._lstat(parent, name or b".")
            finally:
                self._close(parent)
        except (OSError, TimedOutError):
            return None

    def _lstat(self, parent: Directory, name: bytes) -> os.stat_result:
        # Something that may hang can be mounted at the name itself, too.
        return (self._attendant.lstat if self._some_may_hang else lstat)(parent.fd, name)

    def _way_to(self, path: bytes) -> Directory | None:
        """The directory that ``path`` is in; ``None`` where the walk would not come that far."""
        names = path[self._root_prefix :].split(b"/")[:-1]
        go = self._attendant.way if self._some_may_hang else way
        at = go(self._watch.path, names, cross=self._cross_mounts)
        if at is None:
            return None
        self._device = at[1][0]
        return self._directory(at, _prefix(path.rpartition(b"/")[0]))

    def _close_all(self, directories: list[Directory]) -> None:
        while directories:
            self._close(directories.pop())

    @staticmethod
    def _alone(found: Generator[Found]) -> Iterator[Found]:
        """The first that a walk finds; then the walk ends."""
        with closing(found):
            yield from islice(found, 1)

    def _root(self, parent: Directory, name: bytes) -> Iterator[Found]:
        if name in self._hidden_in(parent):
            return
        found = self._enter(parent, name, self._watch.path)
        if isinstance(found, Unreadable) and found.reason is UnreadableReason.VANISHED:
            yield Unreadable(path=found.path, reason=UnreadableReason.MISSING, detail=found.detail)
            return
        if isinstance(found, FileState):
            self._device = found.dev
        yield found

    def _unreadable_root(self, error: OSError) -> Unreadable:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Unreadable(path=self._watch.path, reason=UnreadableReason.MISSING, detail=os.strerror(error.errno))
        return _unreadable(self._watch.path, error)

    def _below(self, stack: list[Directory]) -> Iterator[Found]:
        while stack:
            directory = stack[-1]
            for name in directory.names:
                if name.endswith(b"/"):
                    child = directory.entered.pop(name[:-1], None)
                    if child is not None:
                        stack.append(child)
                        break
                elif name in directory.subdirectories:
                    yield self._enter(directory, name, directory.prefix + name)
                else:
                    yield directory.prefix + name, directory, name, name not in directory.others
            else:
                self._close(stack.pop())

    def _close(self, directory: Directory) -> None:
        for child in directory.entered.values():
            self._close(child)
        directory.entered.clear()
        self._descriptors.close(directory.fd)

    def _enter(self, parent: Directory, name: bytes, path: bytes) -> Found:
        """Emit a subdirectory. It is opened and listed at once, since one that can't be has no state to emit.

        One that fails after it was opened stays in ``entered`` without names, and is closed when its turn comes.
        """
        try:
            seen, hanging = self._visit(parent, name)
            if seen is None:  # replaced since it was listed
                return path, parent, name, False
            if seen.fd is not None:
                identity = (seen.raw[2], seen.raw[1])
                at = self._descriptors.count(seen.fd), identity
                child = Directory(at, _prefix(path), self._watch, may_hang=hanging)
                parent.entered[name] = child
                self._list(child, seen.entries)
        except OSError as error:
            return _unreadable(path, error)
        except TimedOutError as error:
            return _timed_out(path, error)
        except Changed:
            return Unreadable(path=path, reason=UnreadableReason.UNSTABLE, detail="changed while it was listed")
        return to_result(path, seen.raw, ())

    def _visit(self, parent: Directory, name: bytes) -> tuple[Visit | None, bool]:
        """(the subdirectory, whether what is in it may hang)."""
        device = None if self._cross_mounts else self._device
        asked: int | None = parent.identity[0]
        if not parent.may_hang:
            try:
                return visit(parent.fd, name, device, same_mount=True), False
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            # Something is mounted there.
            if not some_may_hang():
                return visit(parent.fd, name, device), False
            asked = None
        seen = self._attendant.visit(parent.fd, name, device, asked)
        return seen, seen is not None and seen.fd is not None and may_hang(seen.fd)

    def _list(self, directory: Directory, found: Entries) -> None:
        hidden = self._hidden_in(directory)
        names = []
        for name, kind in found:
            if name in hidden or self._belongs_elsewhere(directory.prefix + name, is_directory=kind == DIRECTORY):
                continue
            names.append(name)
            if kind == DIRECTORY:
                directory.subdirectories.add(name)
                names.append(name + b"/")
            elif kind == OTHER:
                directory.others.add(name)
        names.sort()
        directory.names = iter(names)

    def _belongs_elsewhere(self, path: bytes, *, is_directory: bool) -> bool:
        if path in self._others:
            return True
        if self._is_excluded is None:
            return False
        return self._is_excluded(path[self._root_prefix :] + (b"/" if is_directory else b""))

    def _hidden_in(self, directory: Directory) -> frozenset[bytes]:
        return self._hidden.get(directory.identity, frozenset())


def _prefix(path: bytes) -> bytes:
    return path if path.endswith(b"/") else path + b"/"


def _unreadable(path: bytes, error: OSError) -> Unreadable:
    result = to_result(path, refusal(error), ())
    assert isinstance(result, Unreadable)
    return result


def _timed_out(path: bytes, error: TimedOutError) -> Unreadable:
    return Unreadable(path=path, reason=UnreadableReason.TIMEOUT, detail=str(error))
