"""Single paths, or single subtrees, as a whole scan would see them."""

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
from fimscan.scan.limits import Limits
from fimscan.scan.pool import Hangs
from fimscan.scan.prefix_digests import Prefixes, read_prefixes, with_names
from fimscan.scan.scanner import ScanExecutor, all_descriptors, answered, hidden_names, nothing_verified
from fimscan.scan.throttle import TimedOutError
from fimscan.scan.walk import Found, HiddenNames, Stretch, Walk, merged
from fimscan.scan.watch import WatchSpec
from fimscan.scan.writers import Identity
from fimscan.state_row import unpack


class PathScanner:
    """Looks at one path after the other, within what the watches speak for.

    States have the device numbers that are to be recorded: ``numbers``.
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

    def look(
        self,
        path: bytes,
        *,
        below: bool = False,
        skip: Collection[bytes] = (),
        verified: Verified = nothing_verified,
        writable: set[Identity] | None = None,
    ) -> Generator[FileState | Unreadable]:
        """What is at ``path`` and, with ``below``, in the subtree there, in byte order; nothing where nothing is.

        ``path`` has to be one that the watches include (:class:`fimscan.scan.scope.Scope`). ``skip`` and
        ``verified`` are as for :func:`fimscan.scan.scan`. ``writable`` takes in which files somebody has open for
        writing (:class:`fimscan.scan.writers.WriterCheck`), each before it is given.
        """
        hidden = hidden_names(skip)
        with all_descriptors(1) as limit, ExitStack() as stack:
            executor = stack.enter_context(closing(ScanExecutor(1, self._limits)))
            walk = partial(self._walk, hidden=hidden, descriptors=limit, hang_guard=executor.hang_guard)
            streams: list[Generator[Found]] = [walk(self._owner(path)).found_at(path, below=below)]
            if below:
                streams += [walk(w).found() for w in self._watches.values() if is_below(w.path, path)]
            for stream in streams:
                stack.enter_context(closing(stream))
            feed = Feed(iter(merged(streams)), verified, directories=limit.per_batch)
            for batch in answered(feed, executor):
                block = batch.block()
                if not self.numbers.is_trivial:
                    block.renumber(self.numbers)
                if writable is not None:
                    writable.update(block.writable)
                for entry in block.entries():
                    yield entry if isinstance(entry, Unreadable) else unpack(entry)

    def prefixes(self, state: FileState, lengths: Sequence[int], algorithms: Sequence[str]) -> list[Prefixes]:
        """What a file that was seen just now holds; nothing if it is gone. See :mod:`fimscan.scan.prefix_digests`.

        Raises:
            OSError: the medium failed, or does not answer.
        """
        dev, inode = state.identity
        identity = self.numbers.raws.get(dev, dev), inode
        with all_descriptors(1) as limit, closing(HangGuard(self._limits, Hangs())) as hang_guard:
            walk = self._walk(self._owner(state.path), hidden={}, descriptors=limit, hang_guard=hang_guard)
            with closing(walk.found_at(state.path, below=False)) as found:
                for one in found:
                    if isinstance(one, Stretch):
                        return _prefixes(one, (identity, lengths, algorithms), hang_guard)
        return []

    def stat(self, path: bytes) -> os.stat_result | None:
        """``lstat(2)`` of such a path, with the device number as it is; ``None`` if nothing is.

        No symlink is followed on the way there either.
        """
        with all_descriptors(1) as limit, closing(HangGuard(self._limits, Hangs())) as hang_guard:
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
        """The innermost watch around a path."""
        root = innermost(path, self._watches)
        assert root is not None, "only what is watched is looked at"
        return self._watches[root]


def _prefixes(
    found: Stretch, asked: tuple[tuple[int, int], Sequence[int], Sequence[str]], hang_guard: HangGuard
) -> list[Prefixes]:
    directory, [name] = found
    read = hang_guard.prefixes if directory.may_hang else read_prefixes
    try:
        return [with_names(raw, asked[2]) for raw in read(directory.fd, name, *asked)]
    except TimedOutError as error:
        raise OSError(errno.ETIMEDOUT, str(error)) from error
