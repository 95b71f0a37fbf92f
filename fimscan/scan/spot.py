"""Single paths, or single subtrees, as a whole scan would see them."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial

from fimscan.model import FileState, Unreadable
from fimscan.scan.attributes import Changed
from fimscan.scan.rotated import Prefixes, read_prefixes
from fimscan.scan.scanner import Verified, all_descriptors, hidden_names
from fimscan.scan.state import Reader, open_found, to_result
from fimscan.scan.walk import Descriptors, Found, HiddenNames, Pending, Walk, path_of
from fimscan.scan.watch import WatchSpec


class Spotter:
    """Looks at one path after the other, within what the watches speak for."""

    def __init__(self, watches: Sequence[WatchSpec], *, cross_mounts: bool = False) -> None:
        self._watches = {watch.path: watch for watch in watches}
        self._cross_mounts = cross_mounts
        self._reader = Reader()

    def look(
        self,
        path: bytes,
        *,
        below: bool = False,
        skip: Collection[bytes] = (),
        verified: Verified = lambda _path: None,
    ) -> Generator[FileState | Unreadable]:
        """What is at ``path`` and, with ``below``, in the subtree there, in byte order; nothing where nothing is.

        ``path`` has to be one that the watches include (:class:`fimscan.scan.scope.Scope`). ``skip`` and
        ``verified`` are as for :func:`fimscan.scan.scan`.
        """
        hidden = hidden_names(skip)
        with all_descriptors() as limit, ExitStack() as stack:
            walk = partial(self._walk, hidden=hidden, descriptors=limit)
            streams: list[Generator[Found]] = [walk(self._owner(path)).found_at(path, below=below)]
            if below:
                prefix = path.rstrip(b"/") + b"/"
                streams += [walk(w).found() for w in self._watches.values() if w.path.startswith(prefix)]
            for stream in streams:
                stack.enter_context(closing(stream))
            for one in heapq.merge(*streams, key=path_of) if len(streams) > 1 else streams[0]:
                yield self._result(one, verified)

    def prefixes(self, state: FileState, lengths: Sequence[int], algorithms: Sequence[str]) -> list[Prefixes]:
        """What a file that was seen just now holds (:func:`fimscan.scan.rotated.read_prefixes`); nothing if it is gone.

        Raises:
            OSError: the medium failed.
        """
        with all_descriptors() as limit:
            walk = self._walk(self._owner(state.path), hidden={}, descriptors=limit)
            with closing(walk.found_at(state.path, below=False)) as found:
                for one in found:
                    if isinstance(one, tuple):
                        return self._prefixes(one, state, lengths, algorithms)
        return []

    @staticmethod
    def _prefixes(
        found: Pending, state: FileState, lengths: Sequence[int], algorithms: Sequence[str]
    ) -> list[Prefixes]:
        _, directory, name = found
        try:
            there = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
            fd, _ = open_found(directory.fd, name, there)
        except (Changed, FileNotFoundError):
            return []
        try:
            if (there.st_dev, there.st_ino) != state.identity:
                return []
            return read_prefixes(fd, lengths, algorithms)
        finally:
            os.close(fd)

    def stat(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of such a path, without following a symlink on the way there either; ``None`` if nothing is."""
        with all_descriptors() as limit:
            return self._walk(self._owner(path), hidden={}, descriptors=limit).stat_at(path)

    def _walk(self, watch: WatchSpec, *, hidden: HiddenNames, descriptors: Descriptors) -> Walk:
        return Walk(
            watch,
            others=self._watches,
            hidden=hidden,
            cross_mounts=self._cross_mounts,
            descriptors=descriptors,
        )

    def _result(self, found: Found, verified: Verified) -> FileState | Unreadable:
        if not isinstance(found, tuple):
            return found
        path, directory, name = found
        length = verified(path) or 0 if directory.append_only else None
        raw = self._reader.read(directory.fd, name, directory.algorithms, length)
        return to_result(path, raw, directory.algorithms)

    def _owner(self, path: bytes) -> WatchSpec:
        """The innermost watch around a path."""
        root = path
        while root not in self._watches:
            root = root.rpartition(b"/")[0] or b"/"
        return self._watches[root]
