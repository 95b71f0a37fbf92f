"""The names below the watch roots, in byte order of their full paths, through directory descriptors only.

The order comes from one trick: a directory's list holds ``name`` for every entry and also ``name/`` for every
subdirectory, sorted as bytes. At ``name`` the entry itself is emitted, at ``name/`` its content, so that ``a``,
``a-b`` and ``a/c`` come out in just that order, and nothing has to be remembered but the lists of the directories
that are open.
"""

from __future__ import annotations

import errno
import heapq
import os
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import NamedTuple, TypeAlias

from fimscan.linux.mounts import leads_where_it_may_hang, may_hang, some_may_hang
from fimscan.model import Unreadable, UnreadableReason
from fimscan.paths import as_prefix
from fimscan.scan.attributes import Changed
from fimscan.scan.block import Entry
from fimscan.scan.dir_stack import NOTHING_THERE, Descriptors, Directory, DirStack
from fimscan.scan.dirfd import Entries, OpenDir, Standpoint, lstat, stand, visit, way
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.state import refusal, to_packed, to_unreadable
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.watch import WatchSpec
from fimscan.state_row import FIELDS

# So much is always a part of what is asked of a worker in one packet (and kept for each file).
_LONGEST_PATH = 64 * 1024
_TOO_LONG = f"a path of more than {_LONGEST_PATH:,} bytes"

HiddenNames: TypeAlias = Mapping[tuple[int, int], frozenset[bytes]]
"""(device, inode) of a directory -> names in it that are neither read nor reported."""


_STRETCH = 128
_DEV = FIELDS.index("dev")


class Stretch(NamedTuple):
    """Files that are still to be read, one after the other, in a directory that is open as long as the walk is here."""

    directory: Directory
    names: list[bytes]


Found: TypeAlias = Entry | Stretch


def path_of(entry: Entry) -> bytes:
    """The full path that an entry is about."""
    return entry.path if isinstance(entry, Unreadable) else entry[0]


def merged(streams: Sequence[Iterator[Found]]) -> Iterator[Found]:
    """One order out of several."""
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*map(_singly, streams), key=_begin_of)


def _singly(found: Iterator[Found]) -> Iterator[Found]:
    for one in found:
        if isinstance(one, Stretch):
            yield from (one._replace(names=[name]) for name in one.names)
        else:
            yield one


def _begin_of(found: Found) -> bytes:
    return found.directory.prefix + found.names[0] if isinstance(found, Stretch) else path_of(found)


class Walk:
    """Everything below one watch root, but for the subtrees that other watches speak for.

    Args:
        watch: the root, its excludes and its digests.
        others: the roots of all watches; those below this one are left to their own walks.
        hidden: names never to be read nor reported.
        cross_mounts: whether to enter directories on which another file system is mounted.
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
        hang_guard: HangGuard,
    ) -> None:
        self._watch = watch
        self._others = frozenset(other for other in others if other != watch.path)
        self._around_others = frozenset(as_prefix(other.rpartition(b"/")[0]) for other in self._others)
        self._hidden = hidden
        self._cross_mounts = cross_mounts
        self._dir_stack = DirStack(descriptors, hang_guard)
        self._hang_guard = hang_guard
        self._some_may_hang = some_may_hang()
        self._is_excluded = watch.excluder()
        self._root_prefix = len(as_prefix(watch.path))
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
        with closing(self._dir_stack) as dir_stack:
            dir_stack.begin(parent)
            yield from self._root(parent, name or b".")
            yield from self._below_entered(parent)

    def _above_root(self, path: bytes) -> Directory:
        """The way to the root is the administrator's choice, symlinks included; from the root on none is followed."""
        go = self._hang_guard.stand if leads_where_it_may_hang(path) else stand
        return self._directory(go(path or b"/"), as_prefix(path))

    def _directory(self, at: Standpoint, prefix: bytes) -> Directory:
        hanging = self._some_may_hang and may_hang(at[0])
        return Directory(at, b"", prefix, self._watch, may_hang=hanging)

    def found_at(self, path: bytes, *, below: bool) -> Generator[Found]:
        """What there is at one ``path`` of this watch and, where that is a directory, ``below`` it; nothing if nothing.

        It is reached as the whole walk reaches it: from the root on, without following a symlink or, unless that is
        allowed, entering another file system.
        """
        if path == self._watch.path:
            yield from self.found() if below else self._alone(self.found())
            return
        with closing(self._dir_stack) as dir_stack:
            try:
                parent = self._way_to(path)
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
                yield from self._below_entered(parent)

    def stat_at(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of one ``path`` of this watch, reached as the whole walk reaches it; ``None`` if nothing is."""
        above, _, name = path.rpartition(b"/")
        try:
            parent = self._above_root(above) if path == self._watch.path else self._way_to(path)
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

    def _way_to(self, path: bytes) -> Directory | None:
        """The directory that ``path`` is in; ``None`` where the walk would not come that far."""
        at = self._way(path[self._root_prefix :].split(b"/")[:-1])
        if at is None:
            return None
        self._device = at[1][0]
        return self._directory(at, as_prefix(path.rpartition(b"/")[0]))

    def _way(self, names: Sequence[bytes]) -> Standpoint | None:
        root, cross = self._watch.path, self._cross_mounts
        if not leads_where_it_may_hang(root):
            try:
                return way(root, names, cross=cross, same_mount=self._some_may_hang)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        return self._hang_guard.way(root, names, cross=cross)

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
        if not isinstance(found, Unreadable | Stretch):
            self._device = found[_DEV]
        yield found

    def _unreadable_root(self, error: OSError) -> Unreadable:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return Unreadable(path=self._watch.path, reason=UnreadableReason.MISSING, detail=os.strerror(error.errno))
        return _unreadable(self._watch.path, error)

    def _below_entered(self, first: Directory) -> Iterator[Found]:
        """All that is in the one directory that has been entered from the first one."""
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
        """Emit a subdirectory. It is opened and listed at once, since one that can't be has no state to emit.

        One that fails after it was opened stays in ``entered`` without names, and is closed when its turn comes.
        """
        try:
            _require_shorter(path)
            self._dir_stack.make_room(parent)
            seen, hanging = self._visit(parent, name)
            if seen is None:  # replaced since it was listed
                return Stretch(parent, [name])
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
        seen = self._hang_guard.visit(parent.fd, name, device, asked)
        return seen, seen is not None and seen.fd is not None and may_hang(seen.fd)

    def _list(self, directory: Directory, found: Entries) -> None:
        names = []
        subdirectories = set()
        for name, is_directory in self._wanted(directory, found):
            names.append(name)
            if is_directory:
                subdirectories.add(name)
                names.append(name + b"/")
        names.sort()
        directory.steps = _steps(names, subdirectories)

    def _wanted(self, directory: Directory, found: Entries) -> Entries:
        hidden = self._hidden_in(directory)
        if not hidden and self._is_excluded is None and directory.prefix not in self._around_others:
            return found
        return (
            (name, is_directory)
            for name, is_directory in found
            if name not in hidden and not self._belongs_elsewhere(directory.prefix + name, is_directory=is_directory)
        )

    def _belongs_elsewhere(self, path: bytes, *, is_directory: bool) -> bool:
        if path in self._others:
            return True
        if self._is_excluded is None:
            return False
        return self._is_excluded(path[self._root_prefix :] + (b"/" if is_directory else b""))

    def _hidden_in(self, directory: Directory) -> frozenset[bytes]:
        return self._hidden.get(directory.identity, frozenset())


def _steps(names: list[bytes], subdirectories: Collection[bytes]) -> Iterator[bytes | list[bytes]]:
    """Files in stretches; of subdirectories the name, and with a slash behind it where their content comes."""
    begin = 0
    for end, name in enumerate(names):
        is_file = name not in subdirectories and not name.endswith(b"/")
        if (not is_file or end - begin == _STRETCH) and begin < end:
            yield names[begin:end]
            begin = end
        if not is_file:
            yield name
            begin = end + 1
    if begin < len(names):
        yield names[begin:]


def _files(directory: Directory, names: list[bytes]) -> Iterator[Found]:
    if directory.loss is None:
        yield Stretch(directory, names)
    else:
        yield from (to_unreadable(directory.prefix + name, directory.loss) for name in names)


def _require_shorter(path: bytes) -> None:
    if len(path) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, _TOO_LONG)


def _unreadable(path: bytes, error: OSError) -> Unreadable:
    return to_unreadable(path, refusal(error))


def _timed_out(path: bytes, error: TimedOutError) -> Unreadable:
    return Unreadable(path=path, reason=UnreadableReason.TIMEOUT, detail=str(error))
