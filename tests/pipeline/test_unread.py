"""A file that is kept from being read: reported until it is read again, with the processes that opened it meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fimscan.attribution import SLACK_NS
from fimscan.cli.context import exit_code
from fimscan.config import parse_config
from fimscan.evidence.database import verify_database
from fimscan.model import FileState, Unreadable, UnreadableReason
from fimscan.pipeline import AuditSource, run_scan
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.record.last_read import FullReading
from fimscan.pipeline.result import ScanResult
from fimscan.scan import leases
from fimscan.scan.limits import Limits
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec
from fimscan.store.database import Database
from tests.pipeline.test_audit_reading import event

# Sets the file's times all the time, so that they differ before and after each reading.
TOUCHED = "import os, sys\nfd = os.open(sys.argv[1], os.O_RDONLY)\nprint(flush=True)\nwhile True:\n    os.utime(fd)\n"
# Gives up its lease as soon as another process opens the file, and takes it again.
LEASED = """
import fcntl, os, signal, sys, time
def give_way(*_):
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    while True:
        try:
            return fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            time.sleep(0.0001)
fd = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, give_way)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
while True:
    time.sleep(1)
"""


# Keeps leases on several files until the kernel breaks them.
HELD = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
for name in sys.argv[1:]:
    fcntl.fcntl(os.open(name, os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK)
print(flush=True)
time.sleep(600)
"""


@contextmanager
def keeping(path: Path, program: str, *others: Path) -> Iterator[None]:
    """Run another process that does that to the file."""
    command = [sys.executable, "-c", program, str(path), *map(str, others)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


class Watched:
    """A directory with two files, scanned once."""

    def __init__(self, root: Path) -> None:
        self.directory = root / "w"
        self.directory.mkdir()
        self.path = self.directory / "f"
        self.path.write_text("content of f\n")
        (self.directory / "g").write_text("content of g\n")
        self.config = parse_config(f'[scan]\nworkers = 1\n[[watch]]\npath = "{self.directory}"\n')
        self.database = Database(f"sqlite:///{root}/x.db", host="h")
        self.scan()

    def scan(self) -> ScanResult:
        return run_scan(self.database, self.config, source=None)

    def leased(self) -> Any:
        return keeping(self.path, HELD)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait until the kernel breaks a lease."""
    monkeypatch.setattr(leases, "_break_time_s", lambda: -leases._SLACK_S)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.database.close()


def summary(result: ScanResult) -> list[tuple[str, UnreadableReason, bool]]:
    return [(os.path.basename(item.path).decode(), item.reason, bool(item.differs)) for item in result.alarming]


def test_it_is_reported_by_each_scan_until_it_is_read_again(watched: Watched, impatient: None) -> None:
    """Reported with the time of its last reading and what differs since; once readable, it is compared as usual."""
    read_ns = time.time_ns()
    with watched.leased():
        watched.path.chmod(0o600)
        results = [watched.scan() for _ in range(3)]
        waiting = diff_from_baseline(watched.database)
    for result in results:
        assert summary(result) == [("f", UnreadableReason.LEASED, True)]
        assert exit_code(result.diff) == exit_code(waiting) == 4
        (item,) = result.alarming
        assert item.since_ns is not None and item.since_ns < read_ns
        assert item.differs == ("mode", "ctime")
    assert len({result.alarming[0].since_ns for result in results}) == 1
    watched.path.write_text("something else\n")
    result = watched.scan()
    (row,) = result.diff.findings
    assert (row.change.kind.value, row.change.window.after_ns) == ("modified", results[0].alarming[0].since_ns)
    assert (result.alarming, diff_from_baseline(watched.database).unreadable) == ((), ())
    assert verify_database(watched.database, every_scan=True).ok


def test_making_a_file_huge_hides_no_change(watched: Watched) -> None:
    """A file with 8 TB of holes is not hashed: it counts as changed until it is read, and is then compared."""
    watched.path.write_text("an evil line\n")
    os.truncate(watched.path, 8 << 40)
    for _ in range(2):
        result = watched.scan()
        assert summary(result) == [("f", UnreadableReason.SPARSE, True)]
        assert exit_code(result.diff) == exit_code(diff_from_baseline(watched.database)) == 4
        assert {"size", "mtime"} <= set(result.alarming[0].differs)
    os.truncate(watched.path, len("an evil line\n"))
    (row,) = watched.scan().diff.findings
    assert (row.change.kind.value, row.change.window.after_ns) == ("modified", result.alarming[0].since_ns)


def test_it_is_reported_even_if_nothing_shows_a_change(watched: Watched, impatient: None) -> None:
    """A lease keeps it from being read without a trace, so it does not count as changed."""
    with keeping(watched.path, HELD):
        for _ in range(2):
            result = watched.scan()
            assert summary(result) == [("f", UnreadableReason.LEASED, False)]
            assert exit_code(result.diff) == 0
    assert watched.scan().alarming == ()


def test_a_file_that_never_could_be_read_is_reported_once(watched: Watched, impatient: None) -> None:
    """It is a file that is new to fimscan, and was unreadable from the beginning."""
    other = watched.directory / "new"
    other.write_text("x")
    with keeping(other, HELD):
        assert summary(watched.scan()) == [("new", UnreadableReason.LEASED, False)]
        assert watched.scan().alarming == ()


def test_the_last_reading_is_found_through_all_that_failed(watched: Watched, impatient: None) -> None:
    """The window begins at the last scan that read the file, with the holders of that time, not later ones."""
    for _ in range(2):
        watched.scan()
    with watched.database.read() as session:
        last_good = FullReading.load(session)
    path = os.fsencode(watched.path)
    assert last_good.last_verified(path, 0) > last_good.first_scan_ns
    with watched.leased():
        for _ in range(2):
            watched.scan()
    with watched.database.read() as session:
        blocked = FullReading.load(session)
    assert blocked.is_blocked(path)
    assert blocked.last_verified(path, 0) == last_good.last_verified(path, 0)
    assert blocked.last_read(path, None) == blocked.first_scan_ns, "no earlier scan is known to have seen it absent"
    assert last_good.scan is not None
    assert [writers.as_of_ns for writers in blocked.writers_of(path)][-1] == last_good.scan.started_ns
    beside = os.fsencode(watched.directory / "g")
    assert blocked.writers_of(beside) == blocked.writers
    assert list(blocked.resumed_since([])) == [last_good.scan.started_ns]
    assert list(blocked.resumed_since([path])) == []


@pytest.mark.parametrize("altered", [True, False])
def test_processes_that_opened_it_meanwhile_are_considered(tmp_path: Path, altered: bool, impatient: None) -> None:
    """When it is read again, they are candidates for its change or, if it is unchanged, reported as harmless opens."""
    host = Watched(tmp_path)
    log = tmp_path / "audit.log"
    log.write_text(event(host.path, 1, at=1_000_000_000))
    source = AuditSource(logs=(str(log),))

    def opened(pid: int) -> None:
        time.sleep(2 * SLACK_NS / 1e9)
        with log.open("a") as file:
            file.write(event(host.path, pid, pid=pid))
        time.sleep(2 * SLACK_NS / 1e9)

    run_scan(host.database, host.config, source=source)
    for pid in (1001, 1002):
        opened(pid)
        with host.leased():
            result = run_scan(host.database, host.config, source=source)
        assert result.diff.opened_unmodified == diff_from_baseline(host.database).opened_unmodified == ()
    opened(1003)
    if altered:
        host.path.write_text("something else\n")
    result = run_scan(host.database, host.config, source=source)
    found = result.diff.findings
    who = found[0].attribution.actors if altered else result.diff.opened_unmodified[0].actors
    assert bool(found) == altered
    assert {actor.pid for actor in who} == {1001, 1002, 1003}
    host.database.close()


def test_a_file_that_is_touched_all_the_time_is_read(watched: Watched) -> None:
    """Its content is equal at each reading, so it is known; that its times were set is a change of attributes."""
    with keeping(watched.path, TOUCHED):
        result = watched.scan()
        assert [(row.change.kind.value, row.change.path) for row in result.diff.findings] == [
            ("attributes", os.fsencode(watched.path))
        ]
        assert result.alarming == ()
    watched.path.write_text("CONTENT of f\n")
    with keeping(watched.path, TOUCHED):
        (row,) = watched.scan().diff.findings
        assert "content" in row.change.changed
        after = row.change.after
        assert after is not None and after.ctime_ns <= after.read_end_ns


def _read(path: Path, limits: Limits | None = None) -> FileState | Unreadable:
    (found,) = scan([WatchSpec(path=os.fsencode(path))], workers=1, limits=limits)
    return found


def test_a_leased_file_is_read_when_its_lease_is_broken(tmp_path: Path) -> None:
    """A holder that takes the lease again lets a waiting reader in first; without waiting, the file is not read."""
    path = tmp_path / "f"
    path.write_text("content\n")
    with keeping(path, LEASED):
        for _ in range(3):
            assert isinstance(_read(path), FileState)
    with keeping(path, HELD):
        begun = time.monotonic()
        found = _read(path, Limits(wait_for_leases=False))
        assert isinstance(found, Unreadable)
        assert (found.reason, found.detail) == (
            UnreadableReason.LEASED,
            "another process holds a lease, which was not waited for",
        )
        found = _read(path, Limits(file_timeout_s=0.5))
        assert isinstance(found, Unreadable) and found.reason is UnreadableReason.LEASED
        assert time.monotonic() - begun < 20


def test_all_leases_together_delay_a_scan_no_longer_than_one_file(tmp_path: Path) -> None:
    """Leases on a thousand files do not delay a scan for hours."""
    paths = [tmp_path / f"f{number}" for number in range(5)]
    for path in paths:
        path.write_text("content\n")
    watch = WatchSpec(path=os.fsencode(tmp_path))
    with keeping(paths[0], HELD, *paths[1:]):
        begun = time.monotonic()
        found = list(scan([watch], workers=1, limits=Limits(file_timeout_s=1)))
        assert time.monotonic() - begun < 20
    details = [one.detail for one in found if isinstance(one, Unreadable)]
    assert details == [
        "another process did not give up its lease within 1 s",
        *["another process holds a lease, which was not waited for"] * 4,
    ]
