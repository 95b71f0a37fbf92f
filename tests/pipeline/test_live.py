"""Live looks at single files, with a simulated audit system."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fimscan import audit
from fimscan.attribution import SLACK_NS
from fimscan.audit import observer
from fimscan.config import Config, parse_config
from fimscan.errors import LockedError
from fimscan.evidence.continuity import continuity
from fimscan.model import AuditObservation, Breach, GapReason, ScanStatus, Verdict
from fimscan.pipeline import AuditSource, Live, ScanResult, run_scan
from fimscan.pipeline.audit import reading
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.live import monitor
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest, replay
from tests.pipeline.test_audit_reading import event
from tests.support import rule

SILENT = '[schedule]\nscan = "1h"\n'


class Host:
    """A watched file, its log, and a clock that the test sets."""

    def __init__(self, root: Path, extra: str = "") -> None:
        self.root = root
        self.watched = root / "watched"
        self.watched.mkdir()
        self.target = self.watched / "file"
        self.target.write_text("old")
        self.log = root / "audit.log"
        self.log.write_text(event(self.target, 1, at=1_000_000_000))
        self.database = Database(f"sqlite:///{root}/x.db", host="h")
        self.config: Config = parse_config(f'{extra}[[watch]]\npath = "{self.watched}"\nexclude = ["*.swp"]\n')
        self.source = AuditSource(logs=(str(self.log),))
        self.now = 1000.0
        self.live = self.new_live()
        self._serial = 10

    def new_live(self) -> Live:
        return Live(self.database, self.config, self.source, clock=lambda: self.now)

    def scan(self) -> ScanResult:
        return run_scan(self.database, self.config, source=self.source, reader=self.live.reader)

    def opened(self, path: Path | None = None, pid: int = 4242) -> None:
        """Write the records of a process that opened the file for writing to the log."""
        self._serial += 1
        with self.log.open("a") as file:
            file.write(event(path or self.target, self._serial, pid=pid))
        self.let_time_pass()

    def let_time_pass(self) -> None:
        """Wait until later events have a definite order: audit and file systems use different clocks."""
        time.sleep(2 * SLACK_NS / 1e9)

    def step(self, seconds: float = 2) -> ScanResult | None:
        """Read the log; look some time later."""
        first, _ = self.live.step()
        self.now += seconds
        second, _ = self.live.step()
        return second or first

    def rechecks(self) -> dict[bytes, scan_result_store.Recheck]:
        with self.database.read() as session:
            return scan_result_store.rechecks(session)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose audit reports everything and lost nothing."""
    watched = tmp_path / "watched"

    def observe(now_ns: int) -> AuditObservation:
        return AuditObservation(
            time_ns=now_ns, boot_id="b", enabled=1, daemon_pid=1, lost=0, rules=(rule(os.fsencode(watched)),)
        )

    monkeypatch.setattr(audit, "observe", observe)
    monkeypatch.setattr(observer.Observer, "observe", lambda _self, now_ns: observe(now_ns))
    monkeypatch.setattr(reading, "_is_written_by", lambda _pid, _log: True)
    monkeypatch.setattr(
        monitor, "_REST", 0
    )  # on a busy host, work takes long, and the rest after it would be longer than a step
    made = Host(tmp_path)
    yield made
    made.live.close()
    made.database.close()


def assert_consistent(database: Database) -> None:
    """The newest ledger entry matches the stored state, and the chain is intact."""
    with database.read() as session:
        digest = StateDigest()
        for one in files.state_digests(session):
            digest.add(one)
        scans = scan_store.all_scans(session)
        last = scan_store.last_finished(session)
    assert last is not None and last.state_digest == digest.hexdigest()
    assert replay(scans) == []


def test_a_change_is_a_partial_scan(host: Host) -> None:
    """It is in the history like any change, and the ledger covers it."""
    host.scan()
    host.target.write_text("new")
    host.opened()
    result = host.step()
    assert result is not None and result.scan.is_partial
    (finding,) = result.diff.findings
    assert finding.attribution.verdict is Verdict.CONFIRMED
    assert [row.change.path for row in diff_from_baseline(host.database).findings] == [os.fsencode(host.target)]
    assert_consistent(host.database)
    assert host.scan().diff.findings == ()
    assert_consistent(host.database)


def test_an_unchanged_file_begins_a_new_window(host: Host) -> None:
    """A opened the file, a look found it unchanged, then B wrote: B is named, and A's open is reported as harmless."""
    host.scan()
    host.opened(pid=1001)
    assert host.step() is None
    (recheck,) = host.rechecks().values()
    time.sleep(0.05)
    host.target.write_text("new")
    host.opened(pid=1002)
    result = host.step(5)
    assert result is not None
    (finding,) = result.diff.findings
    assert finding.change.window.after_ns == recheck.read_start_ns
    assert [a.pid for a in finding.attribution.actors] == [1002]
    assert finding.attribution.verdict is Verdict.CONFIRMED
    (opened,) = result.diff.opened_unmodified
    assert [a.pid for a in opened.actors] == [1001]


def test_nothing_is_lost_while_it_rests_after_a_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What becomes due during the rest is looked at afterwards."""
    host.scan()
    host.opened(pid=1001)
    monkeypatch.setattr(monitor, "_LEAST_REST_S", 6)
    assert host.step() is None
    host.target.write_text("new")
    host.opened(pid=1002)
    assert host.step(3) is None
    later = [result for result in (host.step(7), host.step(7)) if result is not None]
    assert [len(result.diff.findings) for result in later] == [1]


def test_without_the_look_both_are_candidates(host: Host) -> None:
    """Reference for the test above: without the look, both processes are candidates."""
    host.scan()
    host.opened(pid=1001)
    time.sleep(0.05)
    host.target.write_text("new")
    host.opened(pid=1002)
    (finding,) = host.scan().diff.findings
    assert finding.attribution.verdict is Verdict.CONTESTED


def test_a_complete_scan_uses_the_looks_too_and_then_forgets_them(host: Host) -> None:
    """The next complete scan finds the change: its window begins at the look."""
    host.scan()
    host.opened(pid=1001)
    host.step()
    time.sleep(0.05)
    host.target.write_text("new")
    host.opened(pid=1002)
    result = host.scan()
    (finding,) = result.diff.findings
    assert [a.pid for a in finding.attribution.actors] == [1002]
    assert [[a.pid for a in o.actors] for o in result.diff.opened_unmodified] == [[1001]]
    assert host.rechecks() == {}


def test_a_replaced_file_has_the_window_of_the_last_reading(host: Host) -> None:
    """The new file may have been written at any time, also before the look at the old one."""
    host.scan()
    host.opened(pid=1001)
    host.step()
    temporary = host.watched / "temporary"
    temporary.write_text("new")
    temporary.rename(host.target)
    (finding,) = host.scan().diff.findings
    assert finding.change.window.after_ns < finding.change.before.read_start_ns + 10**9  # type: ignore[union-attr]


def test_excluded_paths_and_our_own_are_left_alone(host: Host) -> None:
    """A look covers the same paths as a scan."""
    host.scan()
    for name in (".x.swp", "y.swp"):
        (host.watched / name).write_text("x")
        host.opened(host.watched / name)
    assert host.step() is None


def test_large_files_are_left_to_the_scans(tmp_path: Path, host: Host) -> None:
    """A look never takes long."""
    host.scan()
    host.live = Live(
        host.database,
        host.config.model_copy(update={"live": host.config.live.model_copy(update={"max_size": "2"})}),
        host.source,
        clock=lambda: host.now,
    )
    host.target.write_text("new")
    host.opened()
    assert host.step() is None
    assert len(host.scan().diff.findings) == 1


def test_another_configuration_needs_a_scan_first(host: Host) -> None:
    """A path that no scan covered before need not be new on the disk."""
    host.scan()
    wider = parse_config(f'[[watch]]\npath = "{host.watched}"\n')
    live = Live(host.database, wider, host.source, clock=lambda: host.now)
    assert not live.is_in_scope()
    (host.watched / "old.swp").write_text("x")
    host.opened(host.watched / "old.swp")
    live.step()
    host.now += 2
    assert live.step() == (None, ())
    live.close()


def test_a_scan_that_runs_makes_the_look_wait(host: Host) -> None:
    """Neither fails: the look comes later."""
    host.scan()
    host.target.write_text("new")
    host.opened()
    with host.database.scan_lock():
        assert host.step() is None
    assert host.step() is not None


def test_a_short_look_does_not_make_a_scan_fail(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan waits some seconds for the lock, and no longer."""
    from fimscan.pipeline import scan

    monkeypatch.setattr(scan, "_LIVE_LOOK_SECONDS", 0.3)
    with host.database.scan_lock(), pytest.raises(LockedError):
        host.scan()
    host.scan()


def test_a_look_does_not_count_as_a_complete_scan(host: Host) -> None:
    """PCI DSS 11.5.2 requires a comparison every seven days: looks at single files do not count."""
    host.scan()
    host.target.write_text("new")
    host.opened()
    host.step()
    with host.database.read() as session:
        scans = scan_store.all_scans(session)
    assert [scan.is_partial for scan in scans] == [False, True]
    later = (scans[-1].finished_ns or 0) + 10**9
    stretches = continuity(scans, 0, later, 10**18)
    assert {stretch.to_scan for stretch in stretches} == {1, None}


def test_looks_that_were_due_are_made_after_a_restart(host: Host) -> None:
    """The process ended between reading the record and looking at the file."""
    host.scan()
    host.target.write_text("new")
    host.opened()
    host.live.step()
    host.live = host.new_live()
    assert host.step() is not None


def test_the_socket_alone_leaves_a_gap_for_each_disconnection(host: Host) -> None:
    """audispd drops events while no process is connected: the answer is likely, not confirmed."""
    path = host.root / "events"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    host.source = AuditSource(logs=(), socket=str(path))
    host.live = host.new_live()
    host.live.wait(0)
    client, _ = listener.accept()
    host.scan()
    host.let_time_pass()

    def send(pid: int) -> None:
        client.sendall(event(host.target, pid, pid=pid).encode())
        host.live.wait(5)
        host.let_time_pass()

    host.target.write_text("one")
    send(1001)
    result = host.step()
    assert result is not None and result.diff.findings[0].attribution.verdict is Verdict.CONFIRMED
    client.close()
    host.live.wait(1)
    host.step(0.5)
    time.sleep(1.1)
    host.live.wait(0)
    client, _ = listener.accept()
    host.target.write_text("two")
    send(1002)
    result = host.step(10)
    assert result is not None
    answer = result.diff.findings[0].attribution
    assert (answer.verdict, [a.pid for a in answer.actors]) == (Verdict.LIKELY, [1002])
    assert {gap.reason for gap in answer.coverage.gaps} == {GapReason.LOG_MISSING}
    client.close()
    listener.close()


KILLS = int(os.environ.get("FIMSCAN_KILLS", "6"))
SERVICE = """
import os, sys, time
from fimscan import audit
from fimscan.audit import observer
from fimscan.config import parse_config
from fimscan.model import AuditObservation
from fimscan.pipeline import AuditSource, Live
from fimscan.pipeline.audit import reading
from fimscan.store.database import Database

audit.observe = lambda now: AuditObservation(time_ns=now, boot_id="b", enabled=1, daemon_pid=1, lost=0)
observer.Observer.observe = lambda self, now: audit.observe(now)
reading._is_written_by = lambda _pid, _log: True
reading._SETTLE_STEP = 0.001
root = sys.argv[1]
config = parse_config(sys.argv[2])
start = time.monotonic()
clock = lambda: (time.monotonic() - start) * 50
live = Live(Database(f"sqlite:///{root}/x.db", host="h"), config, AuditSource(logs=(f"{root}/audit.log",)), clock=clock)
print("ready", flush=True)
while True:
    live.step()
"""


def test_killed_while_looking(host: Host) -> None:
    """With ``kill -9`` at any moment, the last scan is intact, the next look works, and no change is reported twice."""
    host.scan()
    moments = random.Random(5)
    names = [host.watched / f"f{number}" for number in range(5)]
    config = f'[live]\ndebounce = "1s"\n[[watch]]\npath = "{host.watched}"\nexclude = ["*.swp"]\n'
    for kill in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVICE, str(host.root), config], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        until = time.monotonic() + moments.uniform(0, 1.5)
        number = 0
        while time.monotonic() < until:
            path = moments.choice(names)
            path.write_text(f"{kill} {number}")
            host.opened(path, pid=2000 + number)
            number += 1
            time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        assert err == b""
        assert_consistent(host.database)
    host.step()
    host.step(70)
    host.scan()
    assert_consistent(host.database)
    with host.database.read() as session:
        scans = scan_store.all_scans(session)
        found = {path: finding_store.history_of(session, os.fsencode(path)) for path in names}
    assert all(scan.status is ScanStatus.FINISHED for scan in scans)
    assert sum(scan.is_partial for scan in scans) > KILLS / 3
    for path, history in found.items():
        states: list[Any] = [None, *(finding.change.after for finding in history)]
        # Each change begins with the state in which the previous one ended: none is missing, none is stored twice.
        assert [f.change.before for f in history] == states[:-1], path
        assert states[-1].size == path.stat().st_size


# --- logs that are only appended to ---------------------------------------------------------------------------------


@pytest.fixture
def log_host(host: Host) -> Host:
    """The same host; its file is an append-only log."""
    text = f'[[watch]]\npath = "{host.watched}"\npolicy = "append-only"\n'
    host.config = parse_config(text)
    host.live.close()
    host.live = host.new_live()
    host.target.write_text("first line\n")
    host.scan()
    return host


def test_a_growing_log_causes_no_partial_scan(log_host: Host) -> None:
    """A growing log causes no partial scan and no report of harmless opens; a complete scan records the growth."""
    host = log_host
    with host.target.open("a") as file:
        file.write("second line\n")
    host.opened()
    assert host.step() is None
    assert host.rechecks() == {}
    result = host.scan()
    assert (result.diff.findings, result.diff.logs_grown, result.diff.opened_unmodified) == ((), 1, ())
    assert_consistent(host.database)


def test_an_altered_log_is_reported_at_once(log_host: Host) -> None:
    """The report names the process that had it open."""
    host = log_host
    host.target.write_text("FIRST line\nsecond line\n")
    host.opened(pid=77)
    result = host.step()
    assert result is not None
    (finding,) = result.diff.findings
    assert finding.change.breach is Breach.REWRITTEN
    assert [actor.pid for actor in finding.attribution.actors] == [77]
    assert_consistent(host.database)


def test_a_look_in_the_middle_of_a_rotation(log_host: Host) -> None:
    """The log reports only the new file: a look finds the old one beside it, and knows its new name later."""
    host = log_host
    host.target.rename(host.watched / "file.1")
    host.target.write_text("new\n")
    host.opened()
    first = host.step()
    assert first is not None and first.diff.findings == () and first.diff.logs_rotated == 1
    assert_consistent(host.database)
    host.opened(host.watched / "file.1")
    second = host.step(5)
    assert second is None or second.diff.findings == ()
    result = host.scan()
    assert result.diff.findings == () and diff_from_baseline(host.database).findings == ()
    assert_consistent(host.database)
