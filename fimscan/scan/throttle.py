"""Heartbeat, rate limits and per-file timeouts of a reader."""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Mapping
from typing import Any

from fimscan.scan.limits import Limits

HEARTBEAT_BYTES = 16
_BURST_S = 0.1
_MAX_SLEEP_S = 0.2


class TimedOutError(Exception):
    """A file or a system call exceeded its time."""


class Heartbeat:
    """A counter of signs of life and the number of the current file, in memory that worker and parent share."""

    def __init__(self, fd: int) -> None:
        self._cells = memoryview(mmap.mmap(fd, HEARTBEAT_BYTES)).cast("Q")

    def beat(self) -> None:
        """Show a sign of life."""
        self._cells[0] += 1

    def begin(self, number: int) -> None:
        """Record the number of the current file, counted from 0 in each request."""
        self._cells[1] = number
        self._cells[0] += 1

    @property
    def beats(self) -> int:
        """Signs of life so far."""
        return self._cells[0]

    @property
    def number(self) -> int:
        """The number of the current file."""
        return self._cells[1]


class _Limit:
    """A rate limit. Unused allowance is kept for a tenth of a second at most."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._due = 0.0

    def take(self, count: int) -> float:
        """Take ``count``; returns how many seconds to wait."""
        now = time.monotonic()
        self._due = max(self._due, now - _BURST_S) + count / self._per_second
        return max(self._due - now, 0.0)


class Throttle:
    """Applies the rate limits and the time limit per file; the reader calls it for every file and every piece."""

    def __init__(self, limits: Limits, heartbeat: Heartbeat | None = None) -> None:
        self._timeout_s = limits.file_timeout_s
        self.lease_wait_s = limits.file_timeout_s if limits.wait_for_leases else 0.0
        self._heartbeat = heartbeat
        self._files = _Limit(limits.max_files_per_s) if limits.max_files_per_s else None
        self._bytes = _Limit(limits.max_bytes_per_s) if limits.max_bytes_per_s else None
        self._refused: Mapping[int, Any] = {}
        self._deadline = math.inf

    def begin_request(self, refused: Mapping[int, Any]) -> None:
        """Start another request; ``refused`` are results known already, by number."""
        self._refused = refused

    @property
    def is_unlimited(self) -> bool:
        """Whether there is neither a known result nor a rate limit."""
        return not self._refused and self._files is self._bytes is None

    def note_file(self, number: int) -> None:
        """Record in the heartbeat which file of the request is current."""
        if self._heartbeat is not None:
            self._heartbeat.begin(number)

    def begin_file(self, number: int) -> Any:
        """Start a file: apply the rate limit and start its time. Returns its result if that is known already."""
        self.note_file(number)
        if self._files is not None:
            self._wait(self._files.take(1))
        self._deadline = time.monotonic() + self._timeout_s
        return self._refused.get(number)

    def beat(self) -> None:
        """Show a sign of life during a wait that ends by itself."""
        if self._heartbeat is not None:
            self._heartbeat.beat()

    def pause(self, seconds: float) -> None:
        """Extend the time for this file by a wait that is not its own fault."""
        self._deadline += seconds

    def count_bytes(self, count: int) -> None:
        """Count the bytes of one piece, and wait if they were read too fast.

        Raises:
            TimedOutError: the time for this file is up.
        """
        if self._heartbeat is not None:
            self._heartbeat.beat()
        if self._bytes is not None:
            self._deadline += self._wait(self._bytes.take(count))  # our own limit must not count against the file
        if time.monotonic() > self._deadline:
            raise TimedOutError(f"not completely read within {self._timeout_s:g} s")

    def _wait(self, seconds: float) -> float:
        left = seconds
        while left > 0:
            time.sleep(min(left, _MAX_SLEEP_S))
            left -= _MAX_SLEEP_S
            if self._heartbeat is not None:
                self._heartbeat.beat()
        return seconds
