"""Group the entries of the walks into batches to read, and the answers into blocks in the same order."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from fimscan.scan.block import Block, Entry, Voucher
from fimscan.scan.dir_stack import Directory
from fimscan.scan.pool import WorkBatch
from fimscan.scan.walk import Found, PendingFiles, path_of
from fimscan.scan.worker import MAX_REQUEST_DIRECTORIES, Task

_REQUEST_BYTES = 32 * 1024
_PATH_BYTES = 512 * 1024
_VOUCHER_BYTES = 64  # approximate size in a request
_NAME_BYTES = 256

Verified: TypeAlias = Callable[[bytes], int | None]
"""How many bytes of a log were verified before; called in the order of the walk."""


class Feed:
    """The entries of all walks, with what is known of them."""

    __slots__ = ("_found", "_rest", "directories", "verified", "vouchers")

    def __init__(
        self,
        found: Iterator[Found],
        verified: Verified,
        vouchers: Iterable[Sequence[Voucher]] = (),
        directories: int = MAX_REQUEST_DIRECTORIES,
    ) -> None:
        self.directories = directories  # maximum per batch
        self.verified = verified
        self.vouchers = _Vouchers(iter(vouchers))
        self._found = found
        self._rest: Found | None = None

    def __iter__(self) -> Iterator[Found]:
        return self

    def __next__(self) -> Found:
        rest, self._rest = self._rest, None
        return next(self._found) if rest is None else rest

    def put_back(self, rest: Found) -> None:
        """Return an entry, so that it comes next."""
        self._rest = rest


class WalkBatch(WorkBatch):
    """Consecutive entries of the walk, with the tasks to read those that the walk did not."""

    __slots__ = ("_own", "_path_bytes", "_paths", "_request_bytes", "_vouchers", "may_hang")

    def __init__(self, feed: Feed, limit: int) -> None:
        """Take up to ``limit`` names; the batch is empty (false) at the end of the walk."""
        super().__init__([])
        self._vouchers: list[tuple[int, Sequence[Voucher | None]]] = []
        self._paths: list[bytes] = []
        self._own: list[tuple[int, Entry]] = []
        self._request_bytes = 0
        self._path_bytes = _PATH_BYTES  # bytes left for paths
        self.may_hang = False
        try:
            self._fill(feed, limit)
        except BaseException:
            self.release()
            raise

    def _fill(self, feed: Feed, limit: int) -> None:
        last: Directory | None = None
        for one in feed:
            if isinstance(one, PendingFiles):
                directory, names = one
                if directory is not last:
                    if self.tasks and not self._has_room(directory, feed):
                        feed.put_back(one)
                        return
                    self._begin(directory)
                    last = directory
                room = min(limit - len(self._paths), 1 + self._path_bytes // (len(directory.prefix) + _NAME_BYTES))
                if room < len(names):
                    feed.put_back(one._replace(names=names[room:]))
                self._ask(feed, one._replace(names=names[:room]))
            else:
                self._own.append((len(self._paths), one))
                self._paths.append(path_of(one))
                self._path_bytes -= len(self._paths[-1])
            if len(self._paths) >= limit or self._path_bytes <= 0 or self._request_bytes > _REQUEST_BYTES:
                return

    def _has_room(self, directory: Directory, feed: Feed) -> bool:
        return len(self.tasks) < feed.directories and self._request_bytes + len(directory.prefix) < _REQUEST_BYTES

    def _begin(self, directory: Directory) -> None:
        lengths: list[int] | None = [] if directory.append_only else None
        # The walk closes its descriptor when it goes on; the duplicate belongs to the batch.
        fd = os.dup(directory.fd)
        known: list[Sequence[Any] | None] | None = [] if directory.vouched else None
        self.tasks.append(Task(fd, directory.prefix, directory.algorithms, [], lengths, known, directory.keep))
        self.devices.append(directory.identity[0])
        self.may_hang |= directory.may_hang
        self._request_bytes += len(directory.prefix)

    def _ask(self, feed: Feed, one: PendingFiles) -> None:
        """Add names to the last task, with verified lengths and vouchers."""
        task, (directory, names) = self.tasks[-1], one
        paths = [directory.prefix + name for name in names]
        task.names.extend(names)
        if task.lengths is not None:
            task.lengths.extend([feed.verified(path) or 0 for path in paths])
        if task.known is not None:
            vouchers = feed.vouchers.of(paths)
            if any(vouchers):
                self._vouchers.append((len(self._paths), vouchers))
            task.known.extend([None if voucher is None else voucher[3] for voucher in vouchers])
            self._request_bytes += _VOUCHER_BYTES * len(paths)
        self._paths.extend(paths)
        self._path_bytes -= sum(map(len, paths))
        self._request_bytes += sum(map(len, names))

    def __bool__(self) -> bool:
        return bool(self._paths)

    def block(self) -> Block:
        """Everything in the order of the walk. Needs the answer."""
        assert self.answer is not None
        return Block(self._paths, self.answer, self._own, self._vouchers)


class _Vouchers:
    """Reads vouchers in parallel with the walk; both are in increasing order of paths."""

    def __init__(self, chunks: Iterator[Sequence[Voucher]]) -> None:
        self._chunks = chunks
        self._known: Sequence[Voucher] = ()
        self._paths: list[bytes] = []

    def of(self, paths: list[bytes]) -> Sequence[Voucher | None]:
        """The voucher of each path, ``None`` where there is none. Vouchers of earlier paths are dropped."""
        while not self._paths or self._paths[-1] < paths[-1]:
            if not self._read_on(paths[0]):
                break
        begin = bisect_left(self._paths, paths[0])
        end = begin + len(paths)
        if self._paths[begin:end] == paths:
            return self._known[begin:end]
        end = bisect_right(self._paths, paths[-1])
        known = {voucher[0]: voucher for voucher in self._known[begin:end]}
        return [known.get(path) for path in paths]

    def _read_on(self, path: bytes) -> bool:
        """Read the next chunk and drop vouchers before ``path``; whether there was one."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        begin = bisect_left(self._paths, path)
        self._known = [*self._known[begin:], *chunk]
        self._paths = [*self._paths[begin:], *[voucher[0] for voucher in chunk]]
        return True
