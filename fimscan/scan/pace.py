"""What a reader does beside reading: show that it is alive, and give up what takes too long."""

from __future__ import annotations

import mmap
import time
from collections.abc import Mapping
from typing import Any

from fimscan.scan.manners import Manners

PULSE_BYTES = 16


class TimedOutError(Exception):
    """A file, or a system call, took longer than it may."""


class Pulse:
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


class Pace:
    """Told of every file that is begun, and of every piece that was read."""

    def __init__(self, manners: Manners, pulse: Pulse | None = None) -> None:
        self._timeout_s = manners.file_timeout_s
        self._pulse = pulse
        self._next = 0
        self._refused: Mapping[int, Any] = {}
        self._deadline = 0.0

    def request(self, refused: Mapping[int, Any]) -> None:
        """Another request begins; ``refused`` are answers, by number, that are known already."""
        self._refused = refused
        self._next = 0

    def file(self) -> Any:
        """Another file begins; gives the answer to it where that is known already."""
        number = self._next
        self._next += 1
        if self._pulse is not None:
            self._pulse.begin(number)
        self._deadline = time.monotonic() + self._timeout_s
        return self._refused.get(number)

    def piece(self) -> None:
        """Some bytes were read.

        Raises:
            TimedOutError: this file has had its time.
        """
        if self._pulse is not None:
            self._pulse.beat()
        if time.monotonic() > self._deadline:
            raise TimedOutError(f"not read to its end within {self._timeout_s:g} s")
