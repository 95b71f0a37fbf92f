"""What really happened: every change with its process, every fault with its times. Kept in memory and in a file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One change: what was done to a path (for a rename: to ``path`` from ``other``), by whom, and when.

    ``open`` changes nothing: its process is innocent.
    """

    what: str
    path: str
    other: str
    pid: int
    exe: str
    user: int
    login: int | None
    began_ns: int
    ended_ns: int


@dataclass(slots=True, kw_only=True)
class Fault:
    """A time in which something did not work. ``end_ns`` is 0 while it lasts.

    ``ahead_ns`` is by how much fimscan's clock was ahead meanwhile.
    """

    name: str
    start_ns: int
    end_ns: int = 0
    ahead_ns: int = 0

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Whether it touches a stretch of time."""
        return self.start_ns <= end_ns and start_ns <= self.end_ns


@dataclass
class Truth:
    """All changes and faults of a soak; ``file`` gets a line of JSON for each."""

    file: IO[str]
    changes: list[Made] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def at(cls, path: Path) -> Truth:
        """Begin a truth log."""
        return cls(path.open("w", buffering=1))

    def add(self, changes: list[Made]) -> None:
        """Add changes that were made."""
        with self._lock:
            self.changes += changes
            self.file.writelines(json.dumps(asdict(change)) + "\n" for change in changes)

    @contextmanager
    def fault(self, name: str, ahead_ns: int = 0) -> Iterator[Fault]:
        """A fault, for as long as the block runs."""
        one = Fault(name=name, start_ns=time.time_ns(), ahead_ns=ahead_ns)
        try:
            yield one
        finally:
            one.end_ns = time.time_ns()
            with self._lock:
                self.faults.append(one)
                self.file.write(json.dumps(asdict(one)) + "\n")
