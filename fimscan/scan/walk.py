"""The names below the watch roots, in byte order of their full paths, through directory descriptors only.

The order comes from one trick: a directory's list holds ``name`` for every entry and also ``name/`` for every
subdirectory, sorted as bytes. At ``name`` the entry itself is emitted, at ``name/`` its content, so that ``a``,
``a-b`` and ``a/c`` come out in just that order, and nothing has to be remembered but the lists of the directories
that are open.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import islice
from typing import TypeAlias

from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.scan.attributes import Changed, read_flags, read_xattrs
from fimscan.scan.state import open_quietly, refusal, to_raw, to_result
from fimscan.scan.watch import WatchSpec

# A directory on the way that is a symlink now, or no directory any more, is as good as gone.
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

HiddenNames: TypeAlias = Mapping[tuple[int, int], frozenset[bytes]]
"""(device, inode) of a directory -> names in it that are neither read nor reported."""


class Directory:
    """An open directory, and what is left to be emitted of it."""

    __slots__ = ("algorithms", "append_only", "entered", "fd", "names", "prefix", "subdirectories")

    def __init__(self, fd: int, prefix: bytes, watch: WatchSpec) -> None:
        self.fd = fd
        self.prefix = prefix
        self.algorithms = watch.algorithms
        self.append_only = watch.append_only
        self.names: Iterator[bytes] = iter(())
        self.subdirectories: set[bytes] = set()
        # Subdirectories that have been emitted and not yet descended into: those between "a" and "a/". Such names
        # begin with one another ("a", "a-", "a--"), so these are hardly ever more than one.
        self.entered: dict[bytes, Directory] = {}


Pending: TypeAlias = tuple[bytes, Directory, bytes]
"""(full path, directory that is open as long as the walk stands here, name in it): a file that is still to be read."""

Found: TypeAlias = FileState | Unreadable | Pending


def path_of(found: Found) -> bytes:
    """The full path of whatever the walk has found."""
    return found[0] if isinstance(found, tuple) else found.path


class Descriptors:
    """How many directories may be open at once, over all walks of a scan: one for each level of depth."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def open(self, name: bytes, flags: int, parent: int | None = None) -> int:
        """``openat(2)``; raises ``OSError`` (EMFILE) when the limit has been reached."""
        if self._left <= 0:
            raise OSError(errno.EMFILE, "nested more deeply than there are file descriptors (see ulimit -n)")
        fd = open_quietly(name, flags, parent)
        self._left -= 1
        return fd

    def close(self, fd: int) -> None:
        """Close what :meth:`open` has opened."""
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
    """

    def __init__(
        self,
        watch: WatchSpec,
        *,
        others: Collection[bytes],
        hidden: HiddenNames,
        cross_mounts: bool,
        descriptors: Descriptors,
    ) -> None:
        self._watch = watch
        self._others = frozenset(other for other in others if other != watch.path)
        self._hidden = hidden
        self._cross_mounts = cross_mounts
        self._descriptors = descriptors
        self._is_excluded = watch.excluder()
        self._root_prefix = len(_prefix(watch.path))
        self._device = 0

    @property
    def root(self) -> bytes:
        """The full path that the walk begins with."""
        return self._watch.path

    def found(self) -> Generator[Found]:
        """What there is, in byte order. Close the generator to release its descriptors."""
        parent_path, _, name = self._watch.path.rpartition(b"/")
        try:
            # The way to the root is the administrator's choice, symlinks included; from the root on none is followed.
            parent_fd = self._descriptors.open(parent_path or b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            yield self._unreadable_root(error)
            return
        parent = Directory(parent_fd, _prefix(parent_path), self._watch)
        stack = [parent]
        try:
            yield from self._root(parent, name or b".")
            stack.extend(parent.entered.values())
            parent.entered.clear()
            yield from self._below(stack)
        finally:
            for directory in stack:
                self._close(directory)

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
                parent = self._way_to(path, stack)
                name = path.rpartition(b"/")[2]
                if parent is None or name in self._hidden_in(os.fstat(parent.fd)):
                    return
                found = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NOTHING_THERE:
                    yield _unreadable(path, error)
                return
            open_directories = [parent]
            stack.callback(self._close_all, open_directories)
            yield self._enter(parent, name, path) if stat.S_ISDIR(found.st_mode) else (path, parent, name)
            if below:
                open_directories.extend(parent.entered.values())
                parent.entered.clear()
                yield from self._below(open_directories)

    def stat_at(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of one ``path`` of this watch, reached as the whole walk reaches it; ``None`` if nothing is."""
        name = path.rpartition(b"/")[2]
        try:
            if path == self._watch.path:
                return os.lstat(path)
            with ExitStack() as stack:
                parent = self._way_to(path, stack)
                if parent is None:
                    return None
                stack.callback(self._close, parent)
                return os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
        except OSError:
            return None

    def _way_to(self, path: bytes, stack: ExitStack) -> Directory | None:
        """The directory that ``path`` is in; ``None`` where the walk would not come that far."""
        fd = os.open(self._watch.path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        held = stack.enter_context(ExitStack())
        held.callback(os.close, fd)
        self._device = os.fstat(fd).st_dev
        for name in path[self._root_prefix :].split(b"/")[:-1]:
            inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            held.callback(os.close, inner)
            fd = inner
            if self._is_foreign(os.fstat(fd)):
                return None
        # Its own descriptor, out of the budget that it is given back to.
        parent = self._descriptors.open(b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, fd)
        held.close()
        return Directory(parent, _prefix(path.rpartition(b"/")[0]), self._watch)

    def _close_all(self, directories: list[Directory]) -> None:
        while directories:
            self._close(directories.pop())

    @staticmethod
    def _alone(found: Generator[Found]) -> Iterator[Found]:
        """The first that a walk finds; then the walk ends."""
        with closing(found):
            yield from islice(found, 1)

    def _root(self, parent: Directory, name: bytes) -> Iterator[Found]:
        try:
            found = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            if name in self._hidden_in(os.fstat(parent.fd)):
                return
        except OSError as error:
            yield self._unreadable_root(error)
            return
        self._device = found.st_dev
        path = self._watch.path
        yield self._enter(parent, name, path) if stat.S_ISDIR(found.st_mode) else (path, parent, name)

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
                    yield directory.prefix + name, directory, name
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
        start = time.time_ns()
        try:
            found = os.stat(name, dir_fd=parent.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):  # replaced since it was listed
                return path, parent, name
            if self._is_foreign(found):  # not even opened, which could mount it (autofs) or hang (NFS)
                xattrs, flags = read_xattrs(b"/proc/self/fd/%d/%s" % (parent.fd, name)), None
            else:
                child = self._open(parent, name, path)
                parent.entered[name] = child
                found, xattrs, flags = os.fstat(child.fd), read_xattrs(child.fd), read_flags(child.fd)
                self._list(child, found)
        except OSError as error:
            return _unreadable(path, error)
        except Changed:
            return Unreadable(path=path, reason=UnreadableReason.UNSTABLE, detail="changed while it was listed")
        return to_result(path, to_raw(found, (start, time.time_ns()), xattrs=xattrs, flags=flags), ())

    def _is_foreign(self, found: os.stat_result) -> bool:
        return found.st_dev != self._device and not self._cross_mounts

    def _open(self, parent: Directory, name: bytes, path: bytes) -> Directory:
        try:
            fd = self._descriptors.open(name, _DIRECTORY_FLAGS, parent.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):  # replaced in the last microseconds
                raise Changed from error
            raise
        return Directory(fd, _prefix(path), self._watch)

    def _list(self, directory: Directory, found: os.stat_result) -> None:
        if self._is_foreign(found):  # mounted upon since the check
            return
        hidden = self._hidden_in(found)
        names = []
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                is_directory = _is_directory(entry)
                if name in hidden or self._belongs_elsewhere(directory.prefix + name, is_directory=is_directory):
                    continue
                names.append(name)
                if is_directory:
                    directory.subdirectories.add(name)
                    names.append(name + b"/")
        names.sort()
        directory.names = iter(names)

    def _belongs_elsewhere(self, path: bytes, *, is_directory: bool) -> bool:
        if path in self._others:
            return True
        if self._is_excluded is None:
            return False
        return self._is_excluded(path[self._root_prefix :] + (b"/" if is_directory else b""))

    def _hidden_in(self, directory: os.stat_result) -> frozenset[bytes]:
        return self._hidden.get((directory.st_dev, directory.st_ino), frozenset())


def _prefix(path: bytes) -> bytes:
    return path if path.endswith(b"/") else path + b"/"


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # asked of the inode where the file system has no d_type; the reader will meet the error again
        return False


def _unreadable(path: bytes, error: OSError) -> Unreadable:
    result = to_result(path, refusal(error), ())
    assert isinstance(result, Unreadable)
    return result
