"""``fimscan schedule`` as a real process: started, killed, stopped, measured."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 240
_HALF_AN_HOUR_NS = 1800 * 10**9
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Size:
    """What a process takes: memory in MB, descriptors, threads."""

    memory: int
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory} MB, {self.descriptors} descriptors, {self.threads} threads"


class Service:
    """The scheduler of one configuration. Only one process of it runs at a time.

    Attributes:
        starts: how often it was started.
    """

    def __init__(self, config: Path, database: Path, said: Path, environment: Mapping[str, str]) -> None:
        self._config = config
        self._database = database
        self._said = said
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs."""
        assert self._process is not None, "it was started"
        return self._process

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "fimscan", "--config", str(self._config), "schedule"]
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self._environment
            )
        self.starts += 1

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.poll() is None, f"the scheduler ended by itself: {self.said[-2000:]}"
        self.process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; return its exit code."""
        self.send(signal.SIGTERM)
        return self.process.wait(_PATIENCE_S)

    @property
    def said(self) -> str:
        """All that it printed so far."""
        return self._said.read_text(errors="replace")

    def left_behind(self) -> Iterator[str]:
        """Yield the command lines of processes of this configuration that still run, when it has ended."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                command = path.read_bytes().replace(b"\0", b" ")
                if os.fsencode(self._config) in command:
                    yield command.decode(errors="replace")

    def size(self) -> Size:
        """What it takes now."""
        process = f"/proc/{self.process.pid}"
        pages = int(Path(f"{process}/statm").read_text().split()[1])
        descriptors, threads = len(os.listdir(f"{process}/fd")), len(os.listdir(f"{process}/task"))
        return Size(pages * _PAGE >> 20, descriptors, threads)

    def scans_since(self, time_ns: int) -> int:
        """How many complete scans have begun since a time and finished; not those of a clock that was ahead."""
        query = (
            "SELECT count(*) FROM scan WHERE status = 'finished' AND trigger != 'live' AND started_ns BETWEEN ? AND ?"
        )
        if not self._database.exists():
            return 0
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as connection:
            try:
                return int(connection.execute(query, (time_ns, time_ns + _HALF_AN_HOUR_NS)).fetchone()[0])
            except sqlite3.OperationalError:  # the tables are not made yet
                return 0

    def wait_for_scan(self) -> None:
        """Wait until a complete scan has begun and finished."""
        now_ns = time.time_ns()
        self.wait(lambda: self.scans_since(now_ns))

    def wait_to_say(self, words: str, times: int) -> None:
        """Wait until it has printed words so many times."""
        self.wait(lambda: self.said.count(words) >= times)

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        until = time.monotonic() + _PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"the scheduler ended by itself: {self.said[-2000:]}"
            assert time.monotonic() < until, f"nothing came: {self.said[-2000:]}"
            time.sleep(0.05)
