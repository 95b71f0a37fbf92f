"""Start, talk to, watch and end one worker process.

Workers are fresh interpreters (about 50 ms of start-up each, in parallel), not forks. The parent may have threads and
an open database, and neither survives a fork well. A fresh worker also takes only a few megabytes. They are not
:mod:`multiprocessing`'s either: its ``spawn`` and ``forkserver`` import the caller's main module again and leave
helper processes running.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import fimscan
from fimscan.errors import InputError
from fimscan.scan.limits import Limits
from fimscan.scan.throttle import HEARTBEAT_BYTES, Heartbeat
from fimscan.scan.worker import LENGTH_BYTES

# -I and -S: no code from the current directory or the environment runs as root. Our own module path is passed instead.
_BOOT = "import sys; sys.path[:] = sys.argv[6:]; from fimscan.scan.worker import main; main(*sys.argv[1:6])"

PIPE_BYTES = 1024 * 1024
_END_SECONDS = 0.5
# Killed but still there: stuck in a system call that not even SIGKILL ends until the file system answers.
_stuck: list[subprocess.Popen[bytes]] = []


class WorkerProcess:
    """One worker process. Always ``stop`` it.

    ``known_fd`` is a file with the known contents (:mod:`fimscan.scan.keeping`), if contents are kept. ``holes_fd`` is
    the memory in which the processes of a scan count holes (:mod:`fimscan.scan.holes`).
    """

    def __init__(self, limits: Limits, known_fd: int | None = None, holes_fd: int | None = None) -> None:
        self._stall_timeout_s = limits.stall_timeout_s
        self._received = bytearray()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("fimscan-heartbeat", os.MFD_CLOEXEC)
        # A file of its own instead of our standard error: a reader of that would also wait for a stuck worker.
        self._errors = open(os.memfd_create("fimscan-errors"), "rb")  # noqa: SIM115 - closed by stop
        try:
            os.ftruncate(memory, HEARTBEAT_BYTES)
            self.heartbeat = Heartbeat(memory)
            passed = [theirs.fileno(), memory, *(fd for fd in (known_fd, holes_fd) if fd is not None)]
            known, holes = ("" if fd is None else str(fd) for fd in (known_fd, holes_fd))
            command = [sys.executable, "-I", "-S", "-c", _BOOT, *map(str, passed[:2]), holes, limits.to_json(), known]
            with _signals_blocked():
                self._process = subprocess.Popen(
                    [*command, *_module_path()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    pass_fds=passed,
                )
        except OSError as error:
            self.channel.close()
            self._errors.close()
            raise InputError(f"cannot start a scan worker: {error.strerror}; set [scan] workers = 1") from error
        finally:
            theirs.close()
            os.close(memory)
        assert self._process.stdout is not None
        self.answers_fd = self._process.stdout.fileno()
        self.restart_stall_timer()
        # A larger pipe only saves waiting; the system may refuse it (pipe-user-pages-soft).
        with suppress(OSError):
            fcntl.fcntl(self.answers_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, message: bytes, fds: Sequence[int]) -> None:
        """Send a request with descriptors, which may be closed afterwards."""
        try:
            socket.send_fds(self.channel, [message], fds)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Iterator[Any]:
        """Yield the answers that have arrived. Call it when ``answers_fd`` is readable."""
        data = os.read(self.answers_fd, PIPE_BYTES)
        if not data:
            raise self._died()
        self.restart_stall_timer()
        self._received += data
        received = self._received
        while len(received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "little")
            if len(received) < end:
                break
            answer = marshal.loads(received[LENGTH_BYTES:end])  # noqa: S302 - from our own worker
            del received[:end]
            yield answer

    def restart_stall_timer(self) -> None:
        """Restart the time after which the worker counts as stalled."""
        self._beats = self.heartbeat.beats
        self._alive_s = time.monotonic()

    @property
    def is_stalled(self) -> bool:
        """Whether the heartbeat stood still for too long. Call it only while there is work and no answer waits."""
        if self.heartbeat.beats != self._beats:
            self.restart_stall_timer()
        # Without any heartbeat yet, the worker is still starting.
        return self._beats > 0 and time.monotonic() - self._alive_s > self._stall_timeout_s

    def stop(self) -> None:
        """Kill the worker, whatever it is doing; one that cannot be killed is left behind."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self.channel.close()
        self._errors.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            _stuck.append(self._process)
        _stuck[:] = [process for process in _stuck if process.poll() is None]

    def _died(self) -> InputError:
        self._process.kill()
        status = self._process.wait()
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        return InputError(
            f"a scan worker ended unexpectedly (status {status}; {last or 'out of memory?'}); "
            "the scan is incomplete; run it again with fewer [scan] workers"
        )


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals: processes started meanwhile inherit the mask, so they never see them, not even while booting.

    A terminal or a service manager signals the whole process group; only the parent decides what follows. SIGIO is what
    a broken lease sends, which a worker ignores.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _module_path() -> list[str]:
    """The parent's module path, without the current directory (``''`` and relative entries)."""
    ours = os.path.dirname(next(iter(fimscan.__path__)))
    return [os.path.abspath(ours), *(entry for entry in sys.path if os.path.isabs(entry))]
