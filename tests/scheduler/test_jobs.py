"""What is due follows from what was last done; what was missed is made up for once, and stored.

The clock is injected: these tests wait for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import pytest
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers import base
from apscheduler.schedulers.base import BaseScheduler

from fimscan.config import parse_config
from fimscan.errors import InputError, StoreError, VerificationError
from fimscan.model import MissedCause
from fimscan.pipeline.controls import record as controls
from fimscan.scheduler import Control, Past, Scheduler, ServiceManager, run
from fimscan.scheduler.jobs import Job
from fimscan.store import missed_runs, schema
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.timing import parse_timetable
from fimscan.upkeep.prune import Pruned

MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass
class Host:
    """A database, and a schedule of it that runs by a clock that the test sets. Scans are only recorded."""

    database: Database
    root: Path
    now: float = MONDAY
    said: list[str] = field(default_factory=list)
    scanned: list[tuple[str, float]] = field(default_factory=list)
    fails: bool = False
    takes: float = 0.0
    trigger: str = "schedule"

    def start(
        self, text: str = 'scan = "*/30 * * * *"\nfull = "0 3 * * 0"\n', past: Past | None = None
    ) -> Scheduler[None]:
        """Start the schedule, without its threads."""
        config = parse_config(f'[schedule]\n{text}[[watch]]\npath = "{self.root}"\n')
        made: Scheduler[None] = Scheduler(
            self.database,
            config,
            None,
            report=lambda _: None,
            report_controls=lambda: None,
            complain=self.said.append,
            started=lambda _: None,
            control=Control(),
            manager=ServiceManager(None),
            reload=lambda: None,
            now=lambda: self.now,
            past=past,
        )
        made.plan()
        made._engine.start()
        return made

    def run_until(self, schedule: Scheduler[None], end: float) -> None:
        """Let the time pass: APScheduler runs what is due."""
        while (due := min(job.next_run_time.timestamp() for job in schedule._engine.get_jobs())) <= end:
            self.now = max(self.now, due)
            schedule._engine._process_jobs()
        self.now = max(self.now, end)

    def run_scan(self, *_: Any, full: bool, **__: Any) -> None:
        """Stand in for a scan."""
        self.scanned.append(("full" if full else "scan", self.now))
        if self.fails:
            raise InputError("nothing can be read")
        self.record(full=full)
        self.now += self.takes

    def record(self, *, full: bool = True, at: float | None = None, status: str = "finished") -> None:
        """Record a scan as begun now."""
        with self.database.begin() as session:
            started_ns = int((self.now if at is None else at) * 1e9)
            number = scan_store.begin(
                session, trigger=self.trigger, started_ns=started_ns, config_digest="d" * 64, config_text="{}"
            )
            values = {"status": status, "counts": "{}" if full else '{"vouched": 3}'}
            session.execute(schema.scan.update().where(schema.scan.c.id == number).values(**values))

    def missed(self) -> list[tuple[str, MissedCause, float, float, int]]:
        with self.database.read() as session:
            stored = missed_runs.latest(session, 100)
        return [(m.job, m.cause, m.first_ns / 1e9, m.last_ns / 1e9, m.count) for m in stored]


class Engine(BaseScheduler):  # type: ignore[misc]  # APScheduler ships no types
    """APScheduler without a thread: the test says when it looks for due jobs."""

    def wakeup(self) -> None:
        pass

    def shutdown(self, *, wait: bool = True) -> None:
        super().shutdown(wait=wait)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    made = Host(Database(f"sqlite:///{tmp_path}/x.db", host="h"), tmp_path)
    monkeypatch.setattr(run, "run_scan", made.run_scan)
    monkeypatch.setattr(controls, "after_scan", lambda *_: None)  # it would ask for what a real scan stored
    monkeypatch.setattr(run, "BackgroundScheduler", Engine)
    monkeypatch.setattr(run, "ThreadPoolExecutor", lambda max_workers: DebugExecutor())

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(made.now, tz)

    monkeypatch.setattr(base, "datetime", Clock)
    yield made
    made.database.close()
    monkeypatch.undo()
    time.tzset()


def test_the_first_start_scans_at_once(host: Host) -> None:
    """One scan: a full one is also a scan."""
    schedule = host.start()
    host.run_until(schedule, MONDAY)
    assert host.scanned == [("full", MONDAY)]
    host.run_until(schedule, MONDAY + HOUR)
    assert host.scanned[1:] == [("scan", MONDAY + HOUR / 2), ("scan", MONDAY + HOUR)]
    assert host.missed() == []


def test_a_full_scan_at_the_time_of_a_scan_is_enough(host: Host) -> None:
    """Sunday, 03:00."""
    host.record(at=MONDAY - HOUR)
    sunday = MONDAY + 6 * DAY + 3 * HOUR
    schedule = host.start('scan = "0 3 * * *"\nfull = "0 3 * * 0"\n')
    host.run_until(schedule, sunday + DAY)
    kinds = [("scan", MONDAY + 3 * HOUR + day * DAY) for day in range(6)]
    assert host.scanned == [*kinds, ("full", sunday), ("scan", sunday + DAY)]


@pytest.mark.parametrize("text", ['scan = "20m"\nfull = "0 3 1 1 *"\n', 'scan = "*/20 * * * *"\nfull = "0 3 1 1 *"\n'])
def test_restarts_more_often_than_the_interval_do_not_starve_the_scans(host: Host, text: str) -> None:
    """Restarted every 13 minutes for six hours: a scan every 20."""
    host.record()
    for start in range(int(6 * HOUR // 780)):
        host.now = MONDAY + start * 780
        host.run_until(host.start(text), MONDAY + (start + 1) * 780 - 1)
    assert len(host.scanned) == 6 * 3 - 1
    assert host.missed() == []


def test_a_night_without_power_is_made_up_for_once_and_recorded(host: Host) -> None:
    """Also at the next start, nothing is recorded twice."""
    host.record(full=False)
    host.record(at=MONDAY - 2 * DAY, full=True)
    host.record(full=False)
    host.now = MONDAY + 8 * HOUR + 600
    host.fails = True
    host.run_until(host.start(), host.now)
    assert [kind for kind, _ in host.scanned] == ["full", "scan"]
    assert [(job, cause, count) for job, cause, _, _, count in host.missed()] == [
        ("full", MissedCause.DOWN, 1),
        ("scan", MissedCause.DOWN, 16),
    ]
    words = "16 scans were missed, from 2026-11-23 00:30 UTC to 2026-11-23 08:00 UTC: fimscan was not running"
    assert host.said[1].startswith(words)
    host.fails = False
    host.now += 60
    schedule = host.start()
    host.run_until(schedule, host.now)
    assert [kind for kind, _ in host.scanned] == ["full", "scan", "full"]
    assert len(host.missed()) == 2


def test_a_suspended_machine_catches_up_once(host: Host) -> None:
    """The engine wakes up eight hours late."""
    host.record()
    schedule = host.start()
    host.run_until(schedule, MONDAY + HOUR)
    host.now = MONDAY + 8 * HOUR + 1234
    schedule.plan()  # the wall clock is ahead of the monotonic one
    host.run_until(schedule, host.now)
    assert [time - MONDAY for _, time in host.scanned] == [HOUR / 2, HOUR, 8 * HOUR + 1234]
    assert host.missed() == [("scan", MissedCause.ASLEEP, MONDAY + 1.5 * HOUR, MONDAY + 8 * HOUR, 14)]


def test_a_stopped_process_catches_up_once(host: Host) -> None:
    """As the last one, but the clocks agree (SIGSTOP), so the engine just finds itself late."""
    host.record()
    schedule = host.start()
    host.now = MONDAY + 8 * HOUR + 1234
    host.run_until(schedule, MONDAY + 9 * HOUR)
    assert [time - MONDAY for _, time in host.scanned] == [8 * HOUR + 1234, 8.5 * HOUR, 9 * HOUR]
    assert [(cause, count) for _, cause, _, _, count in host.missed()] == [(MissedCause.ASLEEP, 16)]


def test_scans_that_a_long_one_displaced_are_recorded(host: Host) -> None:
    """A scan of two hours, every 30 minutes: no two at once, and three are missed each time."""
    host.record()
    host.takes = 2 * HOUR
    host.run_until(host.start(), MONDAY + 2.6 * HOUR)
    assert [time - MONDAY for _, time in host.scanned] == [HOUR / 2, 2.5 * HOUR]
    assert host.missed() == [("scan", MissedCause.BUSY, MONDAY + HOUR, MONDAY + 2 * HOUR, 3)]


def test_a_new_configuration_does_not_change_why_scans_were_missed(host: Host) -> None:
    """SIGHUP during a long scan: when it has ended, the next schedule of this process finds what it displaced."""
    host.record()
    schedule = host.start()
    host.takes = 2 * HOUR
    host.now = MONDAY + HOUR / 2
    schedule.scan(schedule._jobs[1])
    host.start(past=schedule.past)
    assert [(cause, count) for _, cause, _, _, count in host.missed()] == [(MissedCause.BUSY, 3)]


def test_a_clock_that_is_set_during_a_scan_does_not_change_why_scans_were_missed(host: Host) -> None:
    """What is due is worked out again at once: the running scan displaced what passed since it began."""
    host.record()
    schedule = host.start('scan = "*/30 * * * *"\nfull = "0 3 1 1 *"\n')

    def work() -> None:
        host.now += 1.3 * HOUR
        schedule.plan()

    host.now = MONDAY + HOUR / 2 - 1
    schedule._attempt(work, is_job=True)
    assert [(cause, count) for _, cause, _, _, count in host.missed()] == [(MissedCause.BUSY, 3)]


def test_a_database_that_does_not_answer_ends_no_schedule(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, and what was missed is stored as soon as it answers."""
    host.record()
    host.now = MONDAY + HOUR + 120

    def locked(*_: Any) -> None:
        raise StoreError("the database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(run, "store_missed", locked)
        schedule = host.start()
        schedule.plan()
        assert "next scan" not in schedule.status() and not schedule._is_planned
    assert host.said == ["the database is locked"]
    schedule.plan()
    assert "next scan" in schedule.status() and [count for *_, count in host.missed()] == [2]


def test_scans_of_others_count(host: Host) -> None:
    """A person scanned at 02:59; an import, a partial and an interrupted scan read too little."""
    sunday = MONDAY + 6 * DAY
    host.record(at=sunday)
    host.now = sunday + 3 * HOUR + 5
    text = 'scan = "0 3 * * 0"\nfull = "0 0 1 1 *"\n'
    for trigger, status in (("import", "finished"), ("live", "finished"), ("cron", "interrupted")):
        host.trigger = trigger
        host.record(status=status)
        assert host.start(text)._due(host.start(text)._jobs[1]) == host.now
    host.trigger = "manual"
    host.record()
    schedule = host.start(text)
    assert schedule._due(schedule._jobs[1]) == sunday + 7 * DAY + 3 * HOUR


def test_a_clock_that_was_wrong_does_not_stop_the_scans(host: Host) -> None:
    """The last scan is dated 2036: it says nothing. And a clock that is set back does not make the engine wait."""
    host.record(at=MONDAY + 3650 * DAY)
    schedule = host.start()
    host.run_until(schedule, MONDAY)
    assert [kind for kind, _ in host.scanned] == ["full"]
    host.now = MONDAY - 30 * DAY
    schedule.plan()
    host.run_until(schedule, host.now)
    assert host.scanned[1:] == [("full", MONDAY - 30 * DAY)]
    host.run_until(schedule, host.now + HOUR / 2)
    assert host.scanned[2:] == [("scan", MONDAY - 30 * DAY + HOUR / 2)]


def test_a_failed_scan_waits_for_its_next_time(host: Host) -> None:
    """It is not tried again at once, also not when what is due is worked out again."""
    host.record()
    host.fails = True
    schedule = host.start()
    host.run_until(schedule, MONDAY + HOUR / 2)
    host.now += 10
    schedule.plan()
    host.run_until(schedule, MONDAY + HOUR)
    assert [time - MONDAY for _, time in host.scanned] == [HOUR / 2, HOUR]
    assert host.said == ["nothing can be read"] * 2
    assert host.missed() == []


def test_a_run_that_waits_too_long_is_noticed(host: Host) -> None:
    """Then the watchdog gets no sign of life, unless a scan is why."""
    host.record()
    schedule = host.start()
    assert not schedule.is_stuck()
    host.now = MONDAY + HOUR / 2 + 301
    assert schedule.is_stuck()
    with schedule._busy:
        assert not schedule.is_stuck()


class BetweenScans:
    """A lock that is free for a moment between two scans: who waits gets it, who looks finds it taken."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return blocking and timeout != 0

    def release(self) -> None:
        pass

    def locked(self) -> bool:
        return True


def test_a_reload_comes_between_scans_that_follow_each_other(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scans take longer than their interval, SIGHUP still counts."""
    monkeypatch.setattr(run, "_IDLE_SECONDS", 0.01)
    schedule: Scheduler[Any] = host.start()
    monkeypatch.setattr(schedule, "_busy", BetweenScans())
    monkeypatch.setattr(schedule, "_reload", lambda: "another configuration")
    schedule._control.reload.set()
    threading.Timer(5, schedule._control.stop.set).start()
    assert schedule._until_stopped() == "another configuration"
    schedule._control.stop.set()


def test_a_pruning_ends_when_the_schedule_is_stopped(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a query that takes long, and without a word."""
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"

    def prune(database: Database, *_: object, **__: object) -> Pruned:
        threading.Timer(0.2, schedule._control.stop.set).start()
        with database.read() as session:
            session.connection.exec_driver_sql(endless)
        raise AssertionError("it has no end")

    monkeypatch.setattr(run, "prune", prune)
    schedule = host.start('scan = "0 0 * * *"\nfull = "0 3 * * 0"\n')
    schedule.prune(Job("prune", parse_timetable("1h")))
    assert host.said == []


def test_pruning_by_schedule(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only if it is configured; a database that does not verify stops no scan."""
    pruned: list[float] = []

    def prune(*_: object, **__: object) -> Pruned:
        pruned.append(host.now)
        if len(pruned) == 2:
            raise VerificationError("nothing is pruned")
        return Pruned(removed={}, checkpoint=None, space=0)

    monkeypatch.setattr(run, "prune", prune)
    text = 'scan = "0 0 * * *"\nfull = "0 3 * * 0"\n'
    host.run_until(host.start(text), MONDAY + 2 * DAY)
    assert pruned == []
    begun = host.now
    host.run_until(host.start(f'{text}[retention]\nprune = "0 4 * * *"\n'), begun + 3 * DAY)
    assert pruned == [begun, *(begun + 4 * HOUR + day * DAY for day in range(3))]
    assert host.said == ["nothing is pruned"] and len(host.scanned) == 6
