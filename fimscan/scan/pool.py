"""The parent's side of the worker processes: hand out batches, collect answers, leave nothing behind.

Workers are fresh interpreters (about 50 ms of start-up each, side by side) rather than forks: the parent may have
threads and an open database, neither of which survives a fork well, and a fresh worker is a few megabytes. They are
not :mod:`multiprocessing`'s either, whose ``spawn`` and ``forkserver`` import the caller's main module again and leave
helper processes running.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import fimscan
from fimscan.errors import InputError
from fimscan.scan.block import Answer
from fimscan.scan.worker import LENGTH_BYTES, Task, send_request

# -I and -S: whatever lies in the current directory or the environment is not run as root; our own path is handed over.
_BOOT = "import sys; sys.path[:] = sys.argv[2:]; from fimscan.scan.worker import main; main(int(sys.argv[1]))"

# Enough for a worker never to wait for the parent; few enough to fit into the socket, so that sending never blocks.
_QUEUE_LENGTH = 4
_PIPE_BYTES = 1024 * 1024


class Batch:
    """Some tasks, and the answer to them once it is there."""

    __slots__ = ("answer", "tasks")

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.answer: Answer | None = None


class _Worker:
    def __init__(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.queue: deque[Batch] = deque()
        self._received = bytearray()
        try:
            with _signals_blocked():
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _BOOT, str(theirs.fileno()), *_module_path()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    pass_fds=[theirs.fileno()],
                )
        except OSError as error:
            self.channel.close()
            raise InputError(f"cannot start a scan worker: {error.strerror}; set workers to 1 to do without") from error
        finally:
            theirs.close()
        assert self._process.stdout is not None
        self.answers_fd = self._process.stdout.fileno()
        # A larger pipe only saves waiting, and the system may refuse it (pipe-user-pages-soft).
        with suppress(OSError):
            fcntl.fcntl(self.answers_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def send(self, batch: Batch) -> None:
        try:
            send_request(self.channel, batch.tasks)
        except OSError as error:
            raise self._died() from error
        self.queue.append(batch)

    def receive(self) -> None:
        data = os.read(self.answers_fd, _PIPE_BYTES)
        if not data:
            raise self._died()
        self._received += data
        received = self._received
        while len(received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "little")
            if len(received) < end:
                break
            self.queue.popleft().answer = marshal.loads(received[LENGTH_BYTES:end])  # noqa: S302 - from our own worker
            del received[:end]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self.channel.close()

    def _died(self) -> InputError:
        self._process.kill()
        return InputError(
            f"a scan worker ended unexpectedly (status {self._process.wait()}; out of memory?); "
            "the scan is incomplete: run it again, with fewer workers"
        )


class Pool:
    """Some worker processes. ``close`` it, always."""

    def __init__(self, workers: int) -> None:
        self._workers: list[_Worker] = []
        self._poll = select.poll()  # unlike select(2), not limited to descriptors below 1024
        self._by_fd: dict[int, _Worker] = {}
        try:
            for _ in range(workers):
                worker = _Worker()
                self._workers.append(worker)
                self._by_fd[worker.answers_fd] = worker
                self._poll.register(worker.answers_fd, select.POLLIN)
        except BaseException:
            self.close()
            raise

    @property
    def has_room(self) -> bool:
        """Whether :meth:`submit` may be called."""
        return any(len(worker.queue) < _QUEUE_LENGTH for worker in self._workers)

    def submit(self, batch: Batch) -> None:
        """Give a batch to the worker with the least to do. Its descriptors may be closed afterwards.

        Raises:
            InputError: when the worker has died.
        """
        min(self._workers, key=lambda worker: len(worker.queue)).send(batch)

    def collect(self, *, wait: bool) -> None:
        """Take what answers there are, filling in their batches; with ``wait``, until there is at least some data.

        Raises:
            InputError: when a worker has died.
        """
        for fd, _ in self._poll.poll(None if wait else 0):
            self._by_fd[fd].receive()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.stop()
        self._workers.clear()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """What is started meanwhile inherits the mask and so never sees these signals, not even while it boots.

    A terminal, or a service manager, sends them to the whole group: it is the parent that decides what follows.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _module_path() -> list[str]:
    """Where the parent finds its modules; never the current directory, which ``''`` and relative entries mean."""
    ours = os.path.dirname(next(iter(fimscan.__path__)))
    return [os.path.abspath(ours), *(entry for entry in sys.path if os.path.isabs(entry))]
