"""Access directories on file systems that may hang from a separate process, so that this one never hangs."""

from __future__ import annotations

import errno
import marshal
import os
import select
import socket
from collections.abc import Sequence
from typing import Any

from fimscan.scan.attributes import Changed
from fimscan.scan.dirfd import DirHandle, OpenDir
from fimscan.scan.limits import Limits
from fimscan.scan.pool import Hangs, no_answer, skipped
from fimscan.scan.prefix_digests import RawPrefixes
from fimscan.scan.process import WorkerProcess
from fimscan.scan.throttle import TimedOutError

_LOOK_MS = 100


class HangGuard:
    """Runs the functions of :mod:`fimscan.scan.dirfd` in a worker, which is started at the first call."""

    def __init__(self, limits: Limits, hangs: Hangs) -> None:
        self._limits = limits
        self._hangs = hangs
        self._worker: WorkerProcess | None = None

    def visit(self, parent: int, name: bytes, device: int | None, asked: int | None) -> OpenDir | None:
        """As :func:`fimscan.scan.dirfd.visit`; ``asked`` is the device that has to answer, if known.

        Raises:
            TimedOutError: there was no answer.
        """
        if asked is not None and self._hangs.has_hung(asked):
            raise TimedOutError(skipped()[1])
        try:
            answer, fd = self._ask(("visit", name, device), [parent])
        except TimedOutError:
            if asked is not None:
                self._hangs.note(asked)
            raise
        return None if answer is None else OpenDir(answer[0], fd, answer[1])

    def open_path(self, path: bytes) -> DirHandle:
        """As :func:`fimscan.scan.dirfd.open_path`, or TimedOutError."""
        identity, fd = self._ask(("open_path", path), [])
        return fd, identity

    def open_below(self, root: bytes, names: Sequence[bytes], *, cross: bool) -> DirHandle | None:
        """As :func:`fimscan.scan.dirfd.open_below`, or TimedOutError."""
        identity, fd = self._ask(("open_below", root, list(names), cross), [])
        return None if fd is None else (fd, identity)

    def step(self, directory: int, name: bytes) -> DirHandle:
        """As :func:`fimscan.scan.dirfd.step`, or TimedOutError."""
        identity, fd = self._ask(("step", name), [directory])
        return fd, identity

    def lstat(self, directory: int, name: bytes) -> os.stat_result:
        """As :func:`fimscan.scan.dirfd.lstat`, or TimedOutError."""
        return os.stat_result(*self._ask(("lstat", name), [directory])[0])

    def prefixes(
        self,
        directory: int,
        name: bytes,
        identity: tuple[int, int],
        lengths: Sequence[int],
        algorithms: Sequence[str],
    ) -> list[RawPrefixes]:
        """As :func:`fimscan.scan.prefix_digests.read_prefixes`, or TimedOutError."""
        found: list[RawPrefixes] = self._ask(
            ("prefixes", name, identity, list(lengths), list(algorithms)), [directory]
        )[0]
        return found

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _ask(self, question: tuple[Any, ...], fds: Sequence[int]) -> tuple[Any, Any]:
        if self._worker is None:
            self._worker = WorkerProcess(self._limits)
        worker = self._worker
        worker.restart_stall_timer()
        worker.send(marshal.dumps(question), fds)
        poll = select.poll()
        poll.register(worker.answers_fd, select.POLLIN)
        while True:
            if poll.poll(_LOOK_MS):
                for error, answer, has_fd in worker.receive():
                    fd = socket.recv_fds(worker.channel, 1, 1)[1][0] if has_fd else None
                    return _checked(error, answer), fd
            elif worker.is_stalled:
                self.close()
                raise TimedOutError(no_answer(self._limits)[1])


def _checked(error: int, answer: Any) -> Any:
    if error == errno.EAGAIN:
        raise Changed
    if error:
        raise OSError(error, os.strerror(error))
    return answer
