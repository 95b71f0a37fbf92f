"""A worker process as its parent sees it: how it is started, spoken to, watched and ended.

Workers are fresh interpreters (about 50 ms of start-up each, side by side) rather than forks: the parent may have
threads and an open database, neither of which survives a fork well, and a fresh worker is a few megabytes. They are
not :mod:`multiprocessing`'s either, whose ``spawn`` and ``forkserver`` import the caller's main module again and leave
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
from fimscan.scan.throttle import PULSE_BYTES, Heartbeat
from fimscan.scan.worker import LENGTH_BYTES

# -I and -S: whatever lies in the current directory or the environment is not run as root; our own path is handed over.
_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from fimscan.scan.worker import main; main(*sys.argv[1:4])"

PIPE_BYTES = 1024 * 1024
_END_SECONDS = 0.5
# Killed, but not gone: they are stuck in a system call that not even SIGKILL ends, until its file system answers.
_stuck: list[subprocess.Popen[bytes]] = []


class WorkerProcess:
    """One worker. ``stop`` it, always."""

    def __init__(self, limits: Limits) -> None:
        self._patience_s = limits.stall_timeout_s
        self._received = bytearray()
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create("fimscan-pulse", os.MFD_CLOEXEC)
        # Not ours: whoever reads it to its end would wait for one that is stuck, too.
        self._errors = open(os.memfd_create("fimscan-errors"), "rb")  # noqa: SIM115 - closed by stop
        try:
            os.ftruncate(memory, PULSE_BYTES)
            self.heartbeat = Heartbeat(memory)
            command = [sys.executable, "-I", "-S", "-c", _BOOT, str(theirs.fileno()), str(memory), limits.to_json()]
            with _signals_blocked():
                self._process = subprocess.Popen(
                    [*command, *_module_path()],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    pass_fds=[theirs.fileno(), memory],
                )
        except OSError as error:
            self.channel.close()
            self._errors.close()
            raise InputError(f"cannot start a scan worker: {error.strerror}; set workers to 1 to do without") from error
        finally:
            theirs.close()
            os.close(memory)
        assert self._process.stdout is not None
        self.answers_fd = self._process.stdout.fileno()
        self.show_interest()
        # A larger pipe only saves waiting, and the system may refuse it (pipe-user-pages-soft).
        with suppress(OSError):
            fcntl.fcntl(self.answers_fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, message: bytes, fds: Sequence[int]) -> None:
        """Make a request, with descriptors, which may be closed afterwards."""
        try:
            socket.send_fds(self.channel, [message], fds)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Iterator[Any]:
        """The answers that are there, some of which may be announced by ``answers_fd``'s being readable."""
        data = os.read(self.answers_fd, PIPE_BYTES)
        if not data:
            raise self._died()
        self.show_interest()
        self._received += data
        received = self._received
        while len(received) >= LENGTH_BYTES:
            end = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "little")
            if len(received) < end:
                break
            answer = marshal.loads(received[LENGTH_BYTES:end])  # noqa: S302 - from our own worker
            del received[:end]
            yield answer

    def show_interest(self) -> None:
        """From now on it is expected to show signs of life."""
        self._beats = self.heartbeat.beats
        self._alive_s = time.monotonic()

    @property
    def is_stalled(self) -> bool:
        """Whether it has shown no sign of life for too long. Ask only while it has work, and no answer waits."""
        if self.heartbeat.beats != self._beats:
            self.show_interest()
        # One that has never shown any is still starting.
        return self._beats > 0 and time.monotonic() - self._alive_s > self._patience_s

    def stop(self) -> None:
        """End it, whatever it is doing; one that cannot be ended is left behind."""
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
            "the scan is incomplete: run it again, with fewer workers"
        )


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
