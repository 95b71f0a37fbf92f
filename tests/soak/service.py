"""``fimscan schedule`` as a real process: started, killed, stopped, measured."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_S = 120
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

    def size(self) -> Size:
        """What it takes now."""
        process = f"/proc/{self.process.pid}"
        pages = int(Path(f"{process}/statm").read_text().split()[1])
        descriptors, threads = len(os.listdir(f"{process}/fd")), len(os.listdir(f"{process}/task"))
        return Size(pages * _PAGE >> 20, descriptors, threads)

    def scans(self) -> int:
        """How many complete scans have finished."""
        query = "SELECT count(*) FROM scan WHERE status = 'finished' AND trigger != 'live'"
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=60)) as connection:
            try:
                return int(connection.execute(query).fetchone()[0])
            except sqlite3.OperationalError:  # the tables are not made yet
                return 0

    def wait_for_scans(self, number: int) -> None:
        """Wait until as many scans more have finished."""
        wanted = number + (self.scans() if self._database.exists() else 0)
        self.wait(lambda: self._database.exists() and self.scans() >= wanted)

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
