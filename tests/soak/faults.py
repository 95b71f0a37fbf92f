"""What goes wrong in a soak. Each fault is a context: it begins at the entry and is mended at the exit."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from demo import auditd
from demo.auditd import Daemon
from tests.lab.ground import Installation, load_rules
from tests.soak.crew import Crew
from tests.soak.receivers import LATE_S, STEADY, Receivers
from tests.soak.service import Service
from tests.soak.truth import Truth

_PATIENCE_S = 60
_BLOCK = 4096
_LAST = 8 << 20  # bytes that are written block by block
_LOCKER = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@dataclass
class Faults:
    """All faults, with what they break."""

    truth: Truth
    daemon: Daemon
    installation: Installation
    rules: list[str]
    service: Service
    receivers: Receivers
    crew: Crew
    clock: Path | None
    random: random.Random

    def rotate(self) -> None:
        """auditd begins a new log."""
        with self.truth.fault("rotation"):
            self.daemon.rotate()

    @contextmanager
    def auditd_killed(self) -> Iterator[None]:
        """kill -9 of auditd; at the end it is started again."""
        with self.truth.fault("auditd killed"):
            pid = auditd.daemon_pid()
            os.kill(pid, signal.SIGKILL)
            _until(lambda: not Path(f"/proc/{pid}").exists())
            try:
                yield
            finally:
                self.daemon.start()
                _until(lambda: auditd.daemon_pid() not in (0, pid))

    @contextmanager
    def rules_removed(self) -> Iterator[None]:
        """Somebody removes the rules; at the end they are loaded again."""
        with self.truth.fault("rules removed"):
            auditd.remove_rules(self.rules)
            try:
                yield
            finally:
                self.rules[:] = load_rules(self.installation)

    @contextmanager
    def disk_full(self) -> Iterator[None]:
        """There is no space for the database."""
        filler = self.installation.root / "filler"
        with self.truth.fault("disk full"):
            _shorten_log(self.installation.root / "fimscan.db")
            with filler.open("wb", buffering=0) as file:
                _fill(file.fileno(), str(self.installation.root))
            try:
                yield
            finally:
                filler.unlink()

    @contextmanager
    def database_locked(self) -> Iterator[None]:
        """Another process has the database locked."""
        command = [sys.executable, "-ISc", _LOCKER, f"{self.installation.root}/fimscan.db"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            assert process.stdout.readline() == b"locked\n", "the database could not be locked"
            with self.truth.fault("database locked"):
                try:
                    yield
                finally:
                    process.stdin.close()
                    process.wait(_PATIENCE_S)

    @contextmanager
    def receivers_down(self) -> Iterator[None]:
        """No receiver can be reached, at least until messages to them were late, and a scan could see it."""
        with self.truth.fault("receivers down"), self.receivers.down():
            yield
            for output in STEADY:
                self.service.wait(partial(self._is_late, output))
            self.service.wait_for_scan()

    def _is_late(self, output: str) -> bool:
        """Whether the oldest message to an output has waited for too long."""
        query = "SELECT min(made_ns) FROM outbox WHERE output = ? AND state = 'waiting'"
        database = f"file:{self.installation.root}/fimscan.db?mode=ro"
        with closing(sqlite3.connect(database, uri=True, timeout=_PATIENCE_S)) as connection:
            (made_ns,) = connection.execute(query, (output,)).fetchone()
        return made_ns is not None and time.time_ns() - made_ns > LATE_S * 10**9

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """The scheduler is stopped, as if the machine were suspended."""
        with self.truth.fault("asleep"):
            self.service.send(signal.SIGSTOP)
            try:
                yield
            finally:
                self.service.send(signal.SIGCONT)

    @contextmanager
    def clock_set(self, seconds: int) -> Iterator[None]:
        """The clock that fimscan sees is set forward; at the end, back.

        The kernel's clock stays as it is: no worker runs meanwhile, because the times of files and of audit would not
        be those of fimscan.
        """
        assert self.clock is not None, "there is a C compiler"
        with self.crew.resting():
            self.service.wait_for_scan()  # all changes are recorded
            with self.truth.fault("clock set", seconds * 10**9):
                set_clock(self.clock, seconds)
                try:
                    yield
                finally:
                    set_clock(self.clock, 0)
            self.service.wait_for_scan()

    def killed(self) -> None:
        """kill -9 of the scheduler at a random moment, and a new start."""
        time.sleep(self.random.uniform(0.1, 2.5))
        with self.truth.fault("scheduler killed"):
            self.service.kill()
            self.service.start()

    def reloaded(self, before: str, after: str) -> None:
        """Another valid configuration is read: one text in it is replaced."""
        text = self.installation.config.read_text()
        assert before in text, "the configuration has what is to be replaced"
        with self.truth.fault("reloaded"):
            self._hang_up(text.replace(before, after), "SIGHUP: the configuration is valid")

    def reloaded_in_vain(self) -> None:
        """An invalid configuration is refused, and the old one stays in use."""
        text = self.installation.config.read_text()
        with self.truth.fault("reloaded in vain"):
            try:
                self._hang_up(text + "\n[schedule\n", "SIGHUP: the configuration is invalid")
            finally:
                _write(self.installation.config, text)

    def _hang_up(self, text: str, answer: str) -> None:
        times = self.service.said.count(answer)
        _write(self.installation.config, text)
        self.service.send(signal.SIGHUP)
        self.service.wait_to_say(answer, times + 1)


def set_clock(clock: Path, seconds: int) -> None:
    """Set the clock of the processes that have the library of ``clock.c``; they have the file mapped."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(struct.pack("=q", seconds))


def _write(path: Path, text: str) -> None:
    """Replace a file at once: nobody reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def _shorten_log(database: Path) -> None:
    """Empty SQLite's write-ahead log: its blocks would be used again, so that a full disk would hinder nobody."""
    with closing(sqlite3.connect(database, timeout=_PATIENCE_S)) as connection:
        _until(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0)


def _fill(descriptor: int, place: str) -> None:
    """Write until there is no block left; others may take some meanwhile."""
    found = os.statvfs(place)
    with suppress(OSError):
        os.posix_fallocate(descriptor, 0, max(found.f_bavail * found.f_frsize - _LAST, _BLOCK))
    os.lseek(descriptor, 0, os.SEEK_END)
    with suppress(OSError):
        while True:
            os.write(descriptor, b"\0" * _BLOCK)


def _until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.02)
