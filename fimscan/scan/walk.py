"""Walk the trees below the watch roots in byte order of full paths, using directory descriptors only.

How the order is achieved: the list of a directory holds ``name`` for every entry, and also ``name/`` for every
subdirectory, sorted as bytes. At ``name`` the entry itself is emitted, at ``name/`` its content. So ``a``, ``a-b`` and
``a/c`` come in that order, and only the lists of the open directories are kept in memory.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple, TypeAlias

from fimscan.linux.mounts import any_mount_may_hang, may_hang, path_may_hang
from fimscan.model import Unreadable, UnreadableReason
from fimscan.paths import as_prefix
from fimscan.scan.attributes import Changed
from fimscan.scan.block import Entry
from fimscan.scan.dir_stack import NOTHING_THERE, Descriptors, Directory, DirStack
from fimscan.scan.dirfd import DirHandle, Entries, OpenDir, lstat, open_below, open_path, visit
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.state import refusal, to_packed, to_unreadable
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.watch import WatchSpec
from fimscan.state_row import FIELDS

# A longer path would not fit into a request to a worker.
_LONGEST_PATH = 64 * 1024
_TOO_LONG = f"a path of more than {_LONGEST_PATH:,} bytes"

HiddenNames: TypeAlias = Mapping[tuple[int, int], frozenset[bytes]]
"""(device, inode) of a directory -> names in it that are neither read nor reported."""


_MAX_PENDING = 128
_DEV = FIELDS.index("dev")


class PendingFiles(NamedTuple):
    """Consecutive files of one directory, still to be read. The directory stays open while the walk is there."""

    directory: Directory
    names: list[bytes]


Found: TypeAlias = Entry | PendingFiles


def path_of(entry: Entry) -> bytes:
    """The full path of an entry."""
    return entry.path if isinstance(entry, Unreadable) else entry[0]


def merge_streams(streams: Sequence[Iterator[Found]]) -> Iterator[Found]:
    """Merge sorted streams into one."""
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*map(_one_name_each, streams), key=_first_path)


def _one_name_each(found: Iterator[Found]) -> Iterator[Found]:
    for one in found:
        if isinstance(one, PendingFiles):
            yield from (one._replace(names=[name]) for name in one.names)
        else:
            yield one


def _first_path(found: Found) -> bytes:
    return found.directory.prefix + found.names[0] if isinstance(found, PendingFiles) else path_of(found)


class Walk:
    """Walks the tree of one watch, except the subtrees that other watches cover.

    Args:
        watch: the root, its excludes and its digests.
        others: the roots of all watches; those below this root have walks of their own.
        hidden: names that are never read or reported.
        cross_mounts: whether to enter mount points.
        descriptors: the budget of open directories, shared by all walks.
        hang_guard: accesses file systems that may hang.
    """

    def __init__(
        self,
        watch: WatchSpec,
        *,
        others: Collection[bytes],
        hidden: HiddenNames,
        cross_mounts: bool,
        descriptors: Descriptors,
        hang_guard: HangGuard,
    ) -> None:
        self._watch = watch
        self._others = frozenset(other for other in others if other != watch.path)
        self._parents_of_others = frozenset(as_prefix(other.rpartition(b"/")[0]) for other in self._others)
        self._hidden = hidden
        self._cross_mounts = cross_mounts
        self._dir_stack = DirStack(descriptors, hang_guard)
        self._hang_guard = hang_guard
        self._some_may_hang = any_mount_may_hang()
        self._is_excluded = watch.excluder()
        self._root_prefix = len(as_prefix(watch.path))
        self._device: int | None = None  # device of the root

    @property
    def root(self) -> bytes:
        """The full path of the watch root."""
        return self._watch.path

    def found(self) -> Generator[Found]:
        """Yield all entries in byte order. Close the generator to release its descriptors."""
        parent_path, _, name = self._watch.path.rpartition(b"/")
        try:
            parent = self._open_root_parent(parent_path)
        except OSError as error:
            yield self._missing_or_unreadable(error)
            return
        except TimedOutError as error:
            yield _timed_out(self._watch.path, error)
            return
        with closing(self._dir_stack) as dir_stack:
            dir_stack.begin(parent)
            yield from self._enter_root(parent, name or b".")
            yield from self._walk_below(parent)

    def _open_root_parent(self, path: bytes) -> Directory:
        """Open the directory above the root. Symlinks are followed here, because the administrator chose this path."""
        go = self._hang_guard.open_path if path_may_hang(path) else open_path
        return self._directory(go(path or b"/"), as_prefix(path))

    def _directory(self, at: DirHandle, prefix: bytes) -> Directory:
        hanging = self._some_may_hang and may_hang(at[0])
        return Directory(at, b"", prefix, self._watch, may_hang=hanging)

    def found_at(self, path: bytes, *, below: bool) -> Generator[Found]:
        """Yield the entry at ``path`` and, with ``below``, those below it; nothing if the path does not exist.

        The path is reached as a full walk reaches it. From the root on, no symlink is followed, and no other file
        system is entered unless that is allowed.
        """
        if path == self._watch.path:
            yield from self.found() if below else self._first_only(self.found())
            return
        with closing(self._dir_stack) as dir_stack:
            try:
                parent = self._open_parent(path)
                if parent is None:
                    return
                dir_stack.begin(parent)
                name = path.rpartition(b"/")[2]
                if name in self._hidden_in(parent):
                    return
                self._lstat(parent, name)
            except OSError as error:
                if error.errno not in NOTHING_THERE:
                    yield _unreadable(path, error)
                return
            except TimedOutError as error:
                yield _timed_out(path, error)
                return
            yield self._enter(parent, name, path)
            if below:
                yield from self._walk_below(parent)

    def stat_at(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of a path in this watch, reached as a full walk reaches it; ``None`` if it cannot be reached."""
        above, _, name = path.rpartition(b"/")
        try:
            parent = self._open_root_parent(above) if path == self._watch.path else self._open_parent(path)
            if parent is None:
                return None
            with closing(self._dir_stack) as dir_stack:
                dir_stack.begin(parent)
                return self._lstat(parent, name or b".")
        except (OSError, TimedOutError):
            return None

    def _lstat(self, parent: Directory, name: bytes) -> os.stat_result:
        if not parent.may_hang:
            try:
                return lstat(parent.fd, name, same_mount=self._some_may_hang)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        return self._hang_guard.lstat(parent.fd, name)

    def _open_parent(self, path: bytes) -> Directory | None:
        """Open the directory that ``path`` is in; ``None`` where another file system begins that is not entered."""
        at = self._open_below_root(path[self._root_prefix :].split(b"/")[:-1])
        if at is None:
            return None
        self._device = at[1][0]
        return self._directory(at, as_prefix(path.rpartition(b"/")[0]))

    def _open_below_root(self, names: Sequence[bytes]) -> DirHandle | None:
        root, cross = self._watch.path, self._cross_mounts
        if not path_may_hang(root):
            try:
                return open_below(root, names, cross=cross, same_mount=self._some_may_hang)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        return self._hang_guard.open_below(root, names, cross=cross)

    @staticmethod
    def _first_only(found: Generator[Found]) -> Iterator[Found]:
        """The first entry of a walk, which then ends."""
        with closing(found):
            yield from islice(found, 1)

    def _enter_root(self, parent: Directory, name: bytes) -> Iterator[Found]:
        if name in self._hidden_in(parent):
            return
        found = self._enter(parent, name, self._watch.path)
        if isinstance(found, Unreadable) and found.reason is UnreadableReason.VANISHED:
            yield Unreadable(path=found.path, reason=UnreadableReason.MISSING, detail=found.detail)
            return
        if not isinstance(found, Unreadable | PendingFiles):
            self._device = found[_DEV]
        yield found

    def _missing_or_unreadable(self, error: OSError) -> Unreadable:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Unreadable(path=self._watch.path, reason=UnreadableReason.MISSING, detail=os.strerror(error.errno))
        return _unreadable(self._watch.path, error)

    def _walk_below(self, first: Directory) -> Iterator[Found]:
        """Yield everything below the directory that was entered from ``first``."""
        if first.entered:
            self._dir_stack.descend(first.entered.popitem()[1])
        dir_stack = self._dir_stack
        while directory := dir_stack.here:
            for step in directory.steps:
                if isinstance(step, list):
                    yield from _files(directory, step)
                elif step.endswith(b"/"):
                    child = directory.entered.pop(step[:-1], None)
                    if child is not None:
                        dir_stack.descend(child)
                        break
                elif directory.loss is not None:
                    yield to_unreadable(directory.prefix + step, directory.loss)
                else:
                    yield self._enter(directory, step, directory.prefix + step)
            else:
                dir_stack.ascend()

    def _enter(self, parent: Directory, name: bytes, path: bytes) -> Found:
        """Return the entry of a subdirectory. It is opened and listed at once: if that fails, it is unreadable.

        If listing fails after opening, the directory stays in ``entered`` without names. It is closed at its turn.
        """
        try:
            _require_short(path)
            self._dir_stack.make_room(parent)
            seen, hanging = self._visit(parent, name)
            if seen is None:  # no directory any more: read it as a file
                return PendingFiles(parent, [name])
            if seen.fd is not None:
                identity = (seen.raw[2], seen.raw[1])
                child = Directory((seen.fd, identity), name, as_prefix(path), self._watch, may_hang=hanging)
                self._dir_stack.add(parent, child)
                self._list(child, seen.entries)
        except OSError as error:
            return _unreadable(path, error)
        except TimedOutError as error:
            return _timed_out(path, error)
        except Changed:
            return Unreadable(path=path, reason=UnreadableReason.UNSTABLE, detail="changed while it was listed")
        return to_packed(path, seen.raw, ())

    def _visit(self, parent: Directory, name: bytes) -> tuple[OpenDir | None, bool]:
        """Open a subdirectory: (the directory, or ``None`` if it is none, whether its content may hang)."""
        device = None if self._cross_mounts else self._device
        asked: int | None = parent.identity[0]
        if not parent.may_hang:
            try:
                return visit(parent.fd, name, device, same_mount=True), False
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            # A file system is mounted there.
            if not any_mount_may_hang():
                return visit(parent.fd, name, device), False
            asked = None
        seen = self._hang_guard.visit(parent.fd, name, device, asked)
        return seen, seen is not None and seen.fd is not None and may_hang(seen.fd)

    def _list(self, directory: Directory, found: Entries) -> None:
        names = []
        subdirectories = set()
        for name, is_directory in self._kept_entries(directory, found):
            names.append(name)
            if is_directory:
                subdirectories.add(name)
                names.append(name + b"/")
        names.sort()
        directory.steps = _steps(names, subdirectories)

    def _kept_entries(self, directory: Directory, found: Entries) -> Entries:
        hidden = self._hidden_in(directory)
        if not hidden and self._is_excluded is None and directory.prefix not in self._parents_of_others:
            return found
        return (
            (name, is_directory)
            for name, is_directory in found
            if name not in hidden and not self._is_left_out(directory.prefix + name, is_directory=is_directory)
        )

    def _is_left_out(self, path: bytes, *, is_directory: bool) -> bool:
        if path in self._others:
            return True
        if self._is_excluded is None:
            return False
        return self._is_excluded(path[self._root_prefix :] + (b"/" if is_directory else b""))

    def _hidden_in(self, directory: Directory) -> frozenset[bytes]:
        return self._hidden.get(directory.identity, frozenset())


def _steps(names: list[bytes], subdirectories: Collection[bytes]) -> Iterator[bytes | list[bytes]]:
    """Group consecutive files into lists. A subdirectory gives its name, and name + slash before its content."""
    begin = 0
    for end, name in enumerate(names):
        is_file = name not in subdirectories and not name.endswith(b"/")
        if (not is_file or end - begin == _MAX_PENDING) and begin < end:
            yield names[begin:end]
            begin = end
        if not is_file:
            yield name
            begin = end + 1
    if begin < len(names):
        yield names[begin:]


def _files(directory: Directory, names: list[bytes]) -> Iterator[Found]:
    if directory.loss is None:
        yield PendingFiles(directory, names)
    else:
        yield from (to_unreadable(directory.prefix + name, directory.loss) for name in names)


def _require_short(path: bytes) -> None:
    if len(path) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, _TOO_LONG)


def _unreadable(path: bytes, error: OSError) -> Unreadable:
    return to_unreadable(path, refusal(error))


def _timed_out(path: bytes, error: TimedOutError) -> Unreadable:
    return Unreadable(path=path, reason=UnreadableReason.TIMEOUT, detail=str(error))
