"""Open files on which another process holds a lease (``fcntl(2)``, F_SETLEASE), by waiting until it is broken.

``open(2)`` with O_NONBLOCK fails with EAGAIN (EWOULDBLOCK). The holder can give the lease up and take it again before
the next attempt. A blocking ``open`` counts as a reader while it waits, and a write lease is granted only while nobody
else has the file open. So the holder has to give way, or the kernel breaks the lease after
``/proc/sys/fs/lease-break-time`` seconds (45).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from contextlib import suppress

from fimscan.scan.attributes import Changed
from fimscan.scan.throttle import Throttle

_BREAK_TIME = "/proc/sys/fs/lease-break-time"
_USUAL_BREAK_S = 45.0
_SLACK_S = 2.0
_LOOK_S = 0.1


class Leases:
    """Opens leased files. All waiting together is limited to the time that one file may take.

    Args:
        throttle: gets a heartbeat during the wait.
    """

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._left_s = throttle.lease_wait_s

    def open(self, directory: int, name: bytes, found: os.stat_result) -> tuple[int, os.stat_result]:
        """Open a regular file once its lease is gone.

        Raises:
            OSError: EAGAIN if the lease still holds after that time; else as ``open(2)``.
            Changed: it is not the file that ``found`` describes.
        """
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            # Open exactly the inode that was checked: waiting for another one, such as a pipe, might never end.
            before = os.fstat(held)
            if not stat.S_ISREG(before.st_mode) or (before.st_ino, before.st_dev) != (found.st_ino, found.st_dev):
                raise Changed
            if self._left_s <= 0:
                raise BlockingIOError(errno.EAGAIN, "another process holds a lease, which was not waited for")
            fd = self._wait_for(_Opening(held))
        finally:
            os.close(held)
        return fd, os.fstat(fd)

    def _wait_for(self, opening: _Opening) -> int:
        begun = time.monotonic()
        patience_s = min(_break_time_s() + _SLACK_S, self._left_s)
        opening.start()
        try:
            while time.monotonic() - begun < patience_s and not opening.wait(_LOOK_S):
                self._throttle.beat()
        finally:
            waited_s = time.monotonic() - begun
            self._left_s -= waited_s
            self._throttle.pause(waited_s)
        return opening.result(waited_s)


class _Opening(threading.Thread):
    """A thread with one blocking ``open(2)``. The caller may give up; then the thread closes the descriptor itself."""

    def __init__(self, held: int) -> None:
        super().__init__(daemon=True, name="fimscan-open")
        # A duplicate, because the caller closes its descriptor when it gives up.
        self._held = os.dup(held)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._given_up = False
        self._fd: int | None = None
        self._error: OSError | None = None

    def run(self) -> None:
        """Open the file and publish the descriptor or the error."""
        fd, error = None, None
        try:
            fd = _open(self._held)
        except OSError as problem:
            error = problem
        finally:
            os.close(self._held)
        with self._lock:
            if self._given_up and fd is not None:
                os.close(fd)
            self._fd, self._error = fd, error
        self._done.set()

    def wait(self, seconds: float) -> bool:
        """Wait; whether the ``open`` has returned."""
        return self._done.wait(seconds)

    def result(self, waited_s: float) -> int:
        """The descriptor. Raises OSError as ``open(2)``, or EAGAIN if it has not returned yet."""
        with self._lock:
            self._given_up = True
            if self._error is not None:
                raise self._error
            if self._fd is None:
                raise BlockingIOError(
                    errno.EAGAIN, f"another process did not give up its lease within {waited_s:.0f} s"
                )
            return self._fd


def _open(held: int) -> int:
    name, flags = f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        return os.open(name, flags | os.O_NOATIME)
    except PermissionError:
        return os.open(name, flags)


def _break_time_s() -> float:
    with suppress(OSError, ValueError), open(_BREAK_TIME, encoding="ascii") as file:
        return float(file.read())
    return _USUAL_BREAK_S
