"""Scan single paths or subtrees exactly as a full scan would see them."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial

from fimscan.linux.filesystems import Numbers
from fimscan.model import FileState, Unreadable
from fimscan.paths import innermost, is_below
from fimscan.scan.batches import Feed, Verified
from fimscan.scan.dir_stack import Descriptors
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.keeping import Keeping
from fimscan.scan.limits import Limits
from fimscan.scan.pool import Hangs
from fimscan.scan.prefix_digests import Prefixes, read_prefixes, with_names
from fimscan.scan.scanner import ScanExecutor, descriptor_budget, hidden_names, nothing_verified, read_batches
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.walk import Found, HiddenNames, PendingFiles, Walk, merge_streams
from fimscan.scan.watch import WatchSpec
from fimscan.scan.writers import Identity
from fimscan.state_row import unpack


class PathScanner:
    """Scans one path after the other, within what the watches cover.

    ``numbers`` maps ``stat(2)``'s device numbers to the recorded ones, which states have. ``keeping`` takes contents.
    """

    def __init__(
        self,
        watches: Sequence[WatchSpec],
        *,
        cross_mounts: bool = False,
        limits: Limits | None = None,
        numbers: Numbers | None = None,
    ) -> None:
        self.numbers = numbers if numbers is not None else Numbers()
        self._watches = {watch.path: watch for watch in watches}
        self._cross_mounts = cross_mounts
        self._limits = limits or Limits()
        self.keeping: Keeping | None = None

    def look(
        self,
        path: bytes,
        *,
        below: bool = False,
        skip: Collection[bytes] = (),
        verified: Verified = nothing_verified,
        writable: set[Identity] | None = None,
    ) -> Generator[FileState | Unreadable]:
        """Yield the state of ``path`` and, with ``below``, of the subtree there, in byte order; nothing if missing.

        A watch has to include ``path`` (:class:`fimscan.scan.scope.Scope`). ``skip`` and ``verified`` are as for
        :func:`fimscan.scan.scan`. Files that are open for writing (:class:`fimscan.scan.writers.WriterCheck`) are added
        to ``writable`` before their state is yielded.
        """
        hidden = hidden_names(skip)
        with descriptor_budget(1) as limit, ExitStack() as stack:
            executor = stack.enter_context(closing(ScanExecutor(1, self._limits, self.keeping)))
            walk = partial(self._walk, hidden=hidden, descriptors=limit, hang_guard=executor.hang_guard)
            streams: list[Generator[Found]] = [walk(self._owner(path)).found_at(path, below=below)]
            if below:
                streams += [walk(w).found() for w in self._watches.values() if is_below(w.path, path)]
            for stream in streams:
                stack.enter_context(closing(stream))
            feed = Feed(iter(merge_streams(streams)), verified, directories=limit.per_batch)
            for batch in read_batches(feed, executor):
                block = batch.block()
                if not self.numbers.is_trivial:
                    block.renumber(self.numbers)
                if writable is not None:
                    writable.update(block.writable)
                for entry in block.entries():
                    yield entry if isinstance(entry, Unreadable) else unpack(entry)

    def prefixes(self, state: FileState, lengths: Sequence[int], algorithms: Sequence[str]) -> list[Prefixes]:
        """Digest the beginnings of a file that was just scanned; empty if it is gone.

        See :mod:`fimscan.scan.prefix_digests`.

        Raises:
            OSError: the medium failed, or does not answer.
        """
        dev, inode = state.identity
        identity = self.numbers.raws.get(dev, dev), inode
        with descriptor_budget(1) as limit, closing(HangGuard(self._limits, Hangs())) as hang_guard:
            walk = self._walk(self._owner(state.path), hidden={}, descriptors=limit, hang_guard=hang_guard)
            with closing(walk.found_at(state.path, below=False)) as found:
                for one in found:
                    if isinstance(one, PendingFiles):
                        return _prefixes(one, (identity, lengths, algorithms), hang_guard)
        return []

    def stat(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of a watched path, with the kernel's device number; ``None`` if it is missing.

        No symlink above the path is followed.
        """
        with descriptor_budget(1) as limit, closing(HangGuard(self._limits, Hangs())) as hang_guard:
            return self._walk(self._owner(path), hidden={}, descriptors=limit, hang_guard=hang_guard).stat_at(path)

    def _walk(self, watch: WatchSpec, *, hidden: HiddenNames, descriptors: Descriptors, hang_guard: HangGuard) -> Walk:
        return Walk(
            watch,
            others=self._watches,
            hidden=hidden,
            cross_mounts=self._cross_mounts,
            descriptors=descriptors,
            hang_guard=hang_guard,
        )

    def _owner(self, path: bytes) -> WatchSpec:
        """The innermost watch that covers a path."""
        root = innermost(path, self._watches)
        assert root is not None, "only what is watched is looked at"
        return self._watches[root]


def _prefixes(
    found: PendingFiles, asked: tuple[tuple[int, int], Sequence[int], Sequence[str]], hang_guard: HangGuard
) -> list[Prefixes]:
    directory, [name] = found
    read = hang_guard.prefixes if directory.may_hang else read_prefixes
    try:
        return [with_names(raw, asked[2]) for raw in read(directory.fd, name, *asked)]
    except TimedOutError as error:
        raise OSError(errno.ETIMEDOUT, str(error)) from error
