"""What a reader does beside reading: show that it is alive, and give up what takes too long."""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Mapping
from typing import Any

from fimscan.scan.limits import Limits

PULSE_BYTES = 16
_IN_HAND_S = 0.1
_NAP_S = 0.2


class TimedOutError(Exception):
    """A file, or a system call, took longer than it may."""


class Heartbeat:
    """Two numbers in memory that a worker shares with its parent: signs of life so far, and the file it is at."""

    def __init__(self, fd: int) -> None:
        self._cells = memoryview(mmap.mmap(fd, PULSE_BYTES)).cast("Q")

    def beat(self) -> None:
        """Show a sign of life."""
        self._cells[0] += 1

    def begin(self, number: int) -> None:
        """Say which file is next, counted from 0 in each request."""
        self._cells[1] = number
        self._cells[0] += 1

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        return self._cells[0]

    @property
    def number(self) -> int:
        """The file that the worker is at."""
        return self._cells[1]


class _Limit:
    """So many of something in a second, and no more in hand than a tenth of a second's."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._due = 0.0

    def take(self, count: int) -> float:
        """How many seconds to wait after having taken ``count``."""
        now = time.monotonic()
        self._due = max(self._due, now - _IN_HAND_S) + count / self._per_second
        return max(self._due - now, 0.0)


class Throttle:
    """Told of every file that is begun, and of every piece that was read; waits where that went too fast."""

    def __init__(self, limits: Limits, heartbeat: Heartbeat | None = None) -> None:
        self._timeout_s = limits.file_timeout_s
        self.lease_wait_s = limits.file_timeout_s if limits.wait_for_leases else 0.0
        self._heartbeat = heartbeat
        self._files = _Limit(limits.max_files_per_s) if limits.max_files_per_s else None
        self._bytes = _Limit(limits.max_bytes_per_s) if limits.max_bytes_per_s else None
        self._refused: Mapping[int, Any] = {}
        self._deadline = math.inf

    def request(self, refused: Mapping[int, Any]) -> None:
        """Another request begins; ``refused`` are answers, by number, that are known already."""
        self._refused = refused

    @property
    def is_free(self) -> bool:
        """Whether nothing is said of any file in advance, nor how fast they may be read."""
        return not self._refused and self._files is self._bytes is None

    def at(self, number: int) -> None:
        """Something is done with this file of the request."""
        if self._heartbeat is not None:
            self._heartbeat.begin(number)

    def file(self, number: int) -> Any:
        """The file of this number begins; gives the answer to it where that is known already."""
        self.at(number)
        if self._files is not None:
            self._wait(self._files.take(1))
        self._deadline = time.monotonic() + self._timeout_s
        return self._refused.get(number)

    def beat(self) -> None:
        """Show a sign of life while waiting for something that comes to an end by itself."""
        if self._heartbeat is not None:
            self._heartbeat.beat()

    def pause(self, seconds: float) -> None:
        """So long was waited for something else than the reading of this file, which takes no longer by that."""
        self._deadline += seconds

    def piece(self, count: int) -> None:
        """So many bytes were read.

        Raises:
            TimedOutError: this file has had its time.
        """
        if self._heartbeat is not None:
            self._heartbeat.beat()
        if self._bytes is not None:
            self._deadline += self._wait(self._bytes.take(count))  # it is not the file that takes so long
        if time.monotonic() > self._deadline:
            raise TimedOutError(f"not read to its end within {self._timeout_s:g} s")

    def _wait(self, seconds: float) -> float:
        left = seconds
        while left > 0:
            time.sleep(min(left, _NAP_S))
            left -= _NAP_S
            if self._heartbeat is not None:
                self._heartbeat.beat()
        return seconds
