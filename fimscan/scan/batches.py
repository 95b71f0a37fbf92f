"""What the walks find -> batches of what is to be found out, and from the answers blocks in the walk's order."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from fimscan.scan.block import Block, Entry, Voucher
from fimscan.scan.dir_stack import Directory
from fimscan.scan.pool import WorkBatch
from fimscan.scan.walk import Found, Stretch, path_of
from fimscan.scan.worker import MAX_REQUEST_DIRECTORIES, Task

_REQUEST_BYTES = 32 * 1024
_PATH_BYTES = 512 * 1024
_VOUCHER_BYTES = 64  # in a request, about
_NAME_BYTES = 256

Verified: TypeAlias = Callable[[bytes], int | None]
"""How much of a log was verified before; asked in the order of the walk."""


class Feed:
    """What the walks find, and what was known of it."""

    __slots__ = ("_found", "_rest", "directories", "verified", "vouchers")

    def __init__(
        self,
        found: Iterator[Found],
        verified: Verified,
        vouchers: Iterable[Sequence[Voucher]] = (),
        directories: int = MAX_REQUEST_DIRECTORIES,
    ) -> None:
        self.directories = directories  # at most, in a batch
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
        """Have it come next."""
        self._rest = rest


class WalkBatch(WorkBatch):
    """A part of the walk: what it found, and the tasks of finding out the rest."""

    __slots__ = ("_own", "_path_bytes", "_paths", "_request_bytes", "_vouchers", "may_hang")

    def __init__(self, feed: Feed, limit: int) -> None:
        """Take up to ``limit`` names; empty when the walk has come to its end."""
        super().__init__([])
        self._vouchers: list[tuple[int, Sequence[Voucher | None]]] = []
        self._paths: list[bytes] = []
        self._own: list[tuple[int, Entry]] = []
        self._request_bytes = 0
        self._path_bytes = _PATH_BYTES  # that are left
        self.may_hang = False
        try:
            self._fill(feed, limit)
        except BaseException:
            self.release()
            raise

    def _fill(self, feed: Feed, limit: int) -> None:
        last: Directory | None = None
        for one in feed:
            if isinstance(one, Stretch):
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
        # The walk closes its own descriptor when it goes on; this one is the batch's.
        fd = os.dup(directory.fd)
        known: list[Sequence[Any] | None] | None = [] if directory.vouched else None
        self.tasks.append(Task(fd, directory.prefix, directory.algorithms, [], lengths, known))
        self.devices.append(directory.identity[0])
        self.may_hang |= directory.may_hang
        self._request_bytes += len(directory.prefix)

    def _ask(self, feed: Feed, one: Stretch) -> None:
        """Add names to the last task."""
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
        """Everything in the walk's order, once the answer is there."""
        assert self.answer is not None
        return Block(self._paths, self.answer, self._own, self._vouchers)


class _Vouchers:
    """Vouchers beside the paths of the walk, both in increasing order."""

    def __init__(self, chunks: Iterator[Sequence[Voucher]]) -> None:
        self._chunks = chunks
        self._known: Sequence[Voucher] = ()
        self._paths: list[bytes] = []

    def of(self, paths: list[bytes]) -> Sequence[Voucher | None]:
        """That of each path, where there is one; those before them are done with."""
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
        """Take in the next chunk, behind what is left of those before it from ``path`` on; whether there was one."""
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        begin = bisect_left(self._paths, path)
        self._known = [*self._known[begin:], *chunk]
        self._paths = [*self._paths[begin:], *[voucher[0] for voucher in chunk]]
        return True
