"""Controls that fail: what is judged from observations, and what is stored and reported of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.config import Config, parse_config
from fimscan.errors import InputError, StoreError
from fimscan.model import (
    AuditNotice,
    AuditObservation,
    AuditRule,
    Boot,
    ControlFailure,
    ControlKind,
    ControlReport,
    EventId,
    Gap,
    GapReason,
    MissedCause,
    MissedRuns,
    NoticeKind,
    Symptom,
    Unreadable,
    UnreadableReason,
)
from fimscan.pipeline import run_scan
from fimscan.pipeline.controls import evaluate, observe, record
from fimscan.pipeline.controls.facts import AuditFacts, ScanFacts, Space
from fimscan.report.controls import control_lines
from fimscan.store import controls as control_store
from fimscan.store.database import Database
from tests.evidence.site import problems
from tests.support import SECOND, actor

HOUR = 3600 * SECOND
GIGABYTE = 1 << 30


# --------------------------------------------------------------------------------------------------------------------
# Transitions


def symptom(start: int, end: int | None = None, **values: object) -> Symptom:
    given: dict[str, object] = {"kind": ControlKind.AUDIT, "subject": "/etc", "cause": "why"}
    return Symptom(**{**given, **values, "start_ns": start, "end_ns": end})  # type: ignore[arg-type]


def failure(start: int, end: int | None = None, **values: object) -> ControlFailure:
    given: dict[str, object] = {"id": 1, "kind": ControlKind.AUDIT, "subject": "/etc", "cause": "why"}
    return ControlFailure(**{**given, "detected_ns": start, **values, "start_ns": start, "end_ns": end})  # type: ignore[arg-type]


AUDIT = (ControlKind.AUDIT,)


def test_a_failure_begins_goes_on_and_ends_once() -> None:
    """The same symptom at the next look is no second failure; without it, the failure has ended."""
    first = evaluate.transitions([], [symptom(10)], AUDIT, 20)
    (began,) = first.began
    assert (began.start_ns, began.detected_ns, began.end_ns) == (10, 20, None)
    assert evaluate.transitions([began], [symptom(15)], AUDIT, 30) == evaluate.Transitions()
    last = evaluate.transitions([began], [], AUDIT, 40)
    assert not last.began
    assert [(item.start_ns, item.end_ns, bool(item.remedy)) for item in last.ended] == [(10, 40, True)]


def kernel(name: str, minute: int, began: int) -> Boot:
    """A kernel that a scan saw at a minute, and that began at another one, as it says."""
    return Boot(id=name, time_ns=minute * 60 * SECOND, up_ns=(minute - began) * 60 * SECOND)


@pytest.mark.parametrize(
    ("boots", "is_shared"),
    [
        # Two machines: x ran while y did.
        ([("x", 10, 0), ("y", 40, 5), ("x", 70, 0)], True),
        ([("y", 8, 5), ("x", 10, 0), ("y", 40, 5), ("x", 41, 0)], True),
        # Reboots, kexec.
        ([("x", 10, 0), ("y", 40, 30), ("z", 70, 60)], False),
        # A snapshot of x is started again after y had run: x did not run meanwhile.
        ([("x", 10, 0), ("y", 40, 30), ("x", 70, 45)], False),
        ([("x", 10, 0), ("y", 40, 12), ("x", 70, 29)], False),
        # The same, and y was seen as soon as it was started; x may have been stopped for seconds only.
        ([("x", 10, 0), ("y", 40, 40), ("x", 70, 0)], False),
        # A clock of the server that was set back, or a kernel that was seen once.
        ([("x", 10, 0), ("y", 40, 5), ("x", 30, 0)], False),
        ([("y", 40, 5), ("x", 70, 0)], False),
    ],
)
def test_only_a_kernel_that_ran_beside_another_one_proves_two_machines(
    boots: list[tuple[str, int, int]], is_shared: bool
) -> None:
    """Not a reboot, and not a virtual machine that was set back to a snapshot, which has the earlier kernel."""
    known = [kernel(*one) for one in boots]
    now_ns = known[-1].time_ns
    found = list(evaluate.shared_symptoms(known, now_ns))
    assert [item.kind for item in found] == [ControlKind.HOST] * is_shared
    assert list(evaluate.shared_symptoms(known, now_ns + 25 * HOUR)) == []


def test_what_was_not_looked_at_is_not_mended() -> None:
    """'scan --no-audit' knows nothing of audit: its failures stay."""
    assert evaluate.transitions([failure(10)], [], (ControlKind.DISK,), 40) == evaluate.Transitions()


def test_a_failure_between_two_looks_is_one_with_its_times() -> None:
    """Rules that were removed and loaded again are told, although all is well now; and once."""
    found = evaluate.transitions([], [symptom(10, 15)], AUDIT, 20)
    assert [(item.start_ns, item.end_ns) for item in found.began] == [(10, 15)]
    assert evaluate.transitions(list(found.began), [symptom(10, 15)], AUDIT, 30) == evaluate.Transitions()
    # Another one later is another failure.
    assert len(evaluate.transitions(list(found.began), [symptom(10, 15), symptom(25, 26)], AUDIT, 30).began) == 1


def test_the_log_says_when_an_open_failure_ended() -> None:
    """Not when fimscan looked next."""
    (ended,) = evaluate.transitions([failure(10)], [symptom(10, 15)], AUDIT, 40).ended
    assert ended.end_ns == 15
    # It ended, and began again: the open one stays open, and is not told a second time.
    assert evaluate.transitions([failure(10)], [symptom(10, 15), symptom(20)], AUDIT, 40) == evaluate.Transitions()


# --------------------------------------------------------------------------------------------------------------------
# Audit

RULE = AuditRule(
    scope=b"/etc", recursive=True, arches=frozenset({"b64", "b32"}), writes=True, attributes=True, key="k", text="r"
)


def seen(at: int, **values: object) -> AuditObservation:
    given: dict[str, object] = {"boot_id": "b", "boottime_ns": at, "enabled": 1, "daemon_pid": 7, "lost": 0}
    return AuditObservation(**{"rules": (RULE,), **given, **values, "time_ns": at})  # type: ignore[arg-type]


def gap(start: int, end: int, reason: GapReason, **values: object) -> Gap:
    return Gap(start_ns=start, end_ns=end, reason=reason, **values)  # type: ignore[arg-type]


def facts(latest: AuditObservation, *gaps: Gap, **values: object) -> AuditFacts:
    given: dict[str, object] = {"earlier": (seen(100),), "uncovered": {}, "gaps": {"/etc": gaps}}
    return AuditFacts(**{"latest": latest, **given, **values})  # type: ignore[arg-type]


def judged(of: AuditFacts) -> list[tuple[str, int, int | None]]:
    return [(item.subject, item.start_ns, item.end_ns) for item in evaluate.audit_symptoms(of)]


def test_audit_that_sees_everything_has_no_symptom() -> None:
    """Nor has a restart of the host, or a clock that NTP corrected."""
    assert judged(facts(seen(200), gap(100, 150, GapReason.BOOT))) == []
    assert judged(facts(seen(200), gap(100, 200, GapReason.LOG_MISSING))) == []  # what is read only after the look


def test_removed_rules_are_a_failure_with_time_and_process() -> None:
    """The gap has both, from the audit log; the first look has neither."""
    eve = actor(pid=5, exe=b"/usr/sbin/auditctl")
    removed = gap(150, 200, GapReason.RULE_REMOVED, actor=eve)
    (found,) = evaluate.audit_symptoms(facts(seen(200, rules=()), removed, uncovered={"/etc": False}))
    assert (found.subject, found.start_ns, found.end_ns, found.actor) == ("/etc", 150, None, eve)
    assert "removed" in found.cause
    # A later look finds no rule, either: that is the same failure.
    none = gap(200, 300, GapReason.NO_RULE)
    (found,) = evaluate.audit_symptoms(facts(seen(300, rules=()), removed, none, uncovered={"/etc": False}))
    assert (found.start_ns, found.actor, "removed" in found.cause) == (150, eve, True)
    first = facts(seen(200, rules=()), uncovered={"/etc": False}, earlier=())
    assert judged(first) == [("/etc", 200, None)]


def test_rules_that_were_away_for_a_while() -> None:
    """They are loaded now; the time without them is a failure that is over."""
    removed, none = gap(120, 160, GapReason.RULE_REMOVED), gap(160, 180, GapReason.NO_RULE)
    assert judged(facts(seen(200), removed)) == [("/etc", 120, 160)]
    assert judged(facts(seen(200), removed, none)) == [("/etc", 120, 180)]


def test_a_stopped_daemon_and_auditing_switched_off() -> None:
    """Since the record of it; without a record, since it was last seen to work. No second failure for the log."""
    stop = AuditNotice(event=EventId(170, 1, ""), kind=NoticeKind.DAEMON_END, actor=actor(pid=6))
    lost_log = gap(100, 180, GapReason.LOG_MISSING)
    assert judged(facts(seen(200, daemon_pid=0), lost_log, notices=(stop,))) == [(evaluate.DAEMON, 170, None)]
    assert judged(facts(seen(200, daemon_pid=0))) == [(evaluate.DAEMON, 100, None)]
    assert judged(facts(seen(200, enabled=0))) == [(evaluate.AUDITING, 100, None)]
    assert judged(facts(seen(200, error="no"))) == [(evaluate.AUDITING, 100, None)]


def test_lost_events_lost_logs_and_excluding_rules() -> None:
    """Each is a failure of its own; a log that auditd does not write is one that lasts."""
    lost = gap(110, 120, GapReason.EVENTS_LOST, lost=3)
    (found,) = evaluate.audit_symptoms(facts(seen(200), lost))
    assert (found.subject, found.end_ns) == (evaluate.EVENTS, 120) and "3 events" in found.cause
    assert judged(facts(seen(200), gap(110, 120, GapReason.LOG_MISSING))) == [(evaluate.LOG, 110, 120)]
    assert judged(facts(seen(200), is_logged=False, logs=("/l",))) == [(evaluate.LOG, 200, None)]
    assert judged(facts(seen(200, suppressed=("never",)), gap(100, 200, GapReason.NO_RULE))) == [
        (evaluate.EXCLUDING, 100, None)
    ]


def test_a_clock_that_was_set() -> None:
    """A jump is told; corrections of some seconds, and a restart, are not."""
    was = seen(100 * SECOND)
    for step, told in ((3600, True), (-3600, True), (5, False)):
        now = seen((200 + step) * SECOND, boottime_ns=200 * SECOND)
        assert bool(list(evaluate.clock_symptoms(facts(now, earlier=(was,))))) is told
    booted = seen(9999 * SECOND, boottime_ns=1, boot_id="other")
    assert not list(evaluate.clock_symptoms(facts(booted, earlier=(was,))))


# --------------------------------------------------------------------------------------------------------------------
# Scans, files, disks


def test_scans_that_were_missed_interrupted_or_in_the_past() -> None:
    """One missed run of cron, one scan that was killed, one clock set back; a scan in time is none of them."""

    def told(**values: object) -> list[tuple[ControlKind, str]]:
        given: dict[str, object] = {"last_ns": 0, "this_ns": HOUR}
        of = ScanFacts(**{**given, **values})  # type: ignore[arg-type]
        return [(item.kind, item.cause) for item in evaluate.scan_symptoms(of)]

    assert told(every_s=1800) == [] and told() == []
    assert told(every_s=1000, done_ns=HOUR - 5) == []  # it took long
    ((kind, cause),) = told(every_s=1000)
    assert kind is ControlKind.SCAN and "2 runs were missed" in cause
    noted = MissedRuns(job="scan", cause=MissedCause.DOWN, first_ns=1, last_ns=2, count=7, noted_ns=3)
    ((_, cause),) = told(every_s=1000, missed=(noted,))  # by a cron expression, there can be more
    assert "7 runs were missed" in cause
    ((kind, cause),) = told(interrupted=((7, 5),))
    assert kind is ControlKind.SCAN and "scan 7" in cause
    assert [kind for kind, _ in told(last_ns=2 * HOUR)] == [ControlKind.CLOCK]


def test_files_that_are_unreadable_for_long() -> None:
    """A day is long; the failure is that of the monitored path, not one for each file."""
    config = parse_config('[[watch]]\npath = "/srv"\n')
    days = [
        Unreadable(path=b"/srv/%d" % day, reason=UnreadableReason.PERMISSION, detail="", since_ns=day * 24 * HOUR)
        for day in (1, 3)
    ]
    never = Unreadable(path=b"/srv/x", reason=UnreadableReason.PERMISSION, detail="", since_ns=None)
    found = observe.unread_files(config, [*days, never])
    assert list(evaluate.unread_symptoms(found, 24 * HOUR + 5)) == []
    (item,) = evaluate.unread_symptoms(found, 3 * 24 * HOUR)
    assert (item.subject, item.start_ns) == ("/srv", 24 * HOUR)
    assert "2 files" in item.cause and "/srv/1" in item.cause


def test_a_disk_is_full_until_there_is_clearly_more_room() -> None:
    """Otherwise each block that is freed and taken again would be a message."""
    space = Space(path="/var", free=GIGABYTE - 1, total=100 * GIGABYTE, free_inodes=50, inodes=100)
    (found,) = evaluate.disk_symptoms([space], [], 5)
    assert (found.kind, found.subject, found.end_ns) == (ControlKind.DISK, "/var", None)
    more = replace(space, free=GIGABYTE + 1)
    assert not list(evaluate.disk_symptoms([more], [], 5))
    full = [failure(1, kind=ControlKind.DISK, subject="/var")]
    assert list(evaluate.disk_symptoms([more], full, 5))
    assert not list(evaluate.disk_symptoms([replace(space, free=2 * GIGABYTE)], full, 5))
    assert list(evaluate.disk_symptoms([replace(more, free_inodes=0)], [], 5))


# --------------------------------------------------------------------------------------------------------------------
# Stored and reported, with a real database


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "f").write_text("x")
    return parse_config(f'[[watch]]\npath = "{tmp_path}/watched"\n')


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(f"sqlite:///{tmp_path}/f.db", host="h")) as opened:
        yield opened


def scanned(database: Database, config: Config) -> ControlReport:
    """A scan as the command does it; what it reports of controls."""
    with record.noting_failure(database):
        record.before_scan(database)
        result = run_scan(database, config, source=None)
        record.after_scan(database, config, None, result)
    with record.report_once(database) as report:
        pass
    assert record.store_head(database) is None
    return report


class OnServer(Database):
    """A file, used as if it were on a server."""

    file = None


def test_the_head_of_a_server_is_stored_where_it_can_be(
    tmp_path: Path, database: Database, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory is made, for us only. A user who cannot make it is not told so by every scan."""
    run_scan(database, config, source=None)
    directory = tmp_path / "lib" / "fimscan"
    with closing(OnServer(f"sqlite:///{tmp_path}/f.db", host="h", directory=str(directory))) as server:
        with monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda: 1000)
            patched.setattr(os, "access", lambda *_: False)
            assert record.store_head(server) is None and not directory.exists()
            record.before_scan(server)
        assert record.store_head(server) is None
        assert server.head_file is not None and os.path.isfile(server.head_file)
        assert directory.stat().st_mode & 0o777 == 0o700


def test_a_failed_scan_is_stored_until_one_finishes(tmp_path: Path, database: Database, config: Config) -> None:
    """Its error message was the report; that scans work again is told once. The journal has both."""
    assert scanned(database, config) == ControlReport()
    os.rename(tmp_path / "watched", tmp_path / "away")
    with pytest.raises(InputError):
        scanned(database, config)
    with database.read() as session:
        (failed,) = control_store.still_open(session)
    assert failed.kind is ControlKind.SCAN and str(tmp_path / "watched") in failed.cause
    os.rename(tmp_path / "away", tmp_path / "watched")
    report = scanned(database, config)
    assert [item.id for item in report.mended] == [failed.id] and not report.began and not report.failed
    (line,) = control_lines(report)
    assert line.startswith("Control works again (scan)")
    assert scanned(database, config) == ControlReport()
    assert problems(database) == []


def test_a_scan_that_fails_late_has_failed_from_its_begin_on(database: Database) -> None:
    """A locked database gives its error after a quarter of a minute. Nothing was looked at in that time."""
    with pytest.raises(StoreError), record.noting_failure(database):
        late_ns = time.time_ns()
        raise StoreError("it is locked")
    with database.read() as session:
        (failed,) = control_store.still_open(session)
    assert failed.start_ns <= late_ns


def test_an_older_copy_of_the_database_is_noticed(tmp_path: Path, database: Database, config: Config) -> None:
    """The head that was reported last is not in it. It is told once; what the copy has goes on."""
    scanned(database, config)
    database.close()
    shutil.copy(tmp_path / "f.db", tmp_path / "copy.db")
    scanned(database, config)
    database.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"f.db{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "copy.db", tmp_path / "f.db")
    with closing(Database(f"sqlite:///{tmp_path}/f.db", host="h")) as restored:
        report = scanned(restored, config)
        assert [item.kind for item in report.began] == [ControlKind.DATABASE] and not report.failed
        assert "scan 2 was reported, and its newest is scan 1" in report.began[0].cause
        assert scanned(restored, config) == ControlReport()


def test_a_database_that_is_gone_is_no_new_beginning(tmp_path: Path, database: Database, config: Config) -> None:
    """Neither removed nor replaced by an empty one; without the file of the head it may begin anew."""
    scanned(database, config)
    database.close()
    for path in tmp_path.glob("f.db*"):
        if path.suffix != ".head":
            path.unlink()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"has no baseline, but .*f\.db\.head knows of scan 1"):
            Database(f"sqlite:///{tmp_path}/f.db", host="h")
    os.rename(tmp_path / "f.db.head", tmp_path / "kept")
    with closing(Database(f"sqlite:///{tmp_path}/f.db", host="h")) as empty:
        os.rename(tmp_path / "kept", tmp_path / "f.db.head")
        with pytest.raises(StoreError, match="knows of scan 1"):
            scanned(empty, config)
        (tmp_path / "f.db.head").unlink()
        scanned(empty, config)


def test_a_failure_is_altered_in_the_database(tmp_path: Path, database: Database, config: Config) -> None:
    """Evidence of failures is covered by the journal, as changes are."""
    import sqlite3

    scanned(database, config)
    with database.begin() as session:
        control_store.add(session, [failure(5)])
    assert problems(database) == []
    with closing(sqlite3.connect(tmp_path / "f.db")) as connection:
        connection.execute("UPDATE control_failure SET end_ns = 6")
        connection.commit()
    assert any("control failure 1" in line for line in problems(database))


def test_lines_about_failures_group_what_one_cause_did() -> None:
    """Ten paths whose rules one command removed are one line, with the process and since when."""
    by = actor(pid=5, exe=b"/usr/sbin/auditctl", login_user="eve")
    failed = tuple(failure(HOUR, id=number, subject=f"/d{number}", actor=by) for number in range(1, 6))
    (line,) = control_lines(ControlReport(began=failed, failed=failed))
    assert "/d1, /d2, /d3 and 2 more" in line and "/usr/sbin/auditctl" in line and "eve" in line
    assert "since 1970-01-01 01:00 UTC" in line
