"""Reading the audit log into the store: whose records count, and that a crash in between loses nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan import audit
from fimscan.config import Config, parse_config
from fimscan.model import AuditObservation, ControlKind, EventId, HostIdentity, IdSource, Reason, Verdict
from fimscan.pipeline import AuditSource, ScanResult, run_scan
from fimscan.pipeline.audit import reading
from fimscan.pipeline.audit.reading import AuditReader
from fimscan.pipeline.controls import record as controls
from fimscan.store import audit as audit_store
from fimscan.store import controls as control_store
from fimscan.store.database import Database
from tests.conftest import Cli, rows
from tests.support import rule

HOUR_NS = 3600 * 10**9


def event(path: Path, serial: int, *, node: str = "", pid: int = 4242, at: float | None = None) -> str:
    """Format the records of a process that opens a file for appending, as auditd writes them."""
    info = path.stat()
    stamp = f"{time.time() if at is None else at:.3f}:{serial}"
    front = f"node={node} " if node else ""
    dev = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}"
    return (
        f"{front}type=SYSCALL msg=audit({stamp}): arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=1 a2=441 "
        f'a3=1b6 items=1 ppid=1 pid={pid} auid=1000 uid=0 euid=0 tty=pts0 ses=1 comm="tool" '
        'exe="/usr/bin/tool" key="k"\n'
        f'{front}type=CWD msg=audit({stamp}): cwd="/"\n'
        f'{front}type=PATH msg=audit({stamp}): item=0 name="{path}" inode={info.st_ino} dev={dev} mode=0100644 ouid=0 '
        "ogid=0 rdev=00:00 nametype=NORMAL\n"
        f"{front}type=PROCTITLE msg=audit({stamp}): proctitle={b'tool'.hex().upper()}\n"
    )


@pytest.mark.parametrize("mark", ["node=web2 ", "Nov  3 04:51:21 web2 audisp-syslog[12]: "])
def test_records_of_another_host_name_no_process_here(cli: Cli, mark: str) -> None:
    """In a collected log, web2's inode 17 is another file than this host's: web2's processes changed nothing here."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli("scan", "--audit-log", str(log), code=0)
    target = cli.watched / "a"
    target.write_text("changed")
    log.write_text("".join(mark + line for line in event(target, 1).splitlines(keepends=True)))
    done = cli("scan", "--audit-log", str(log), code=4)
    assert "skipped 1 access of another host" in done.stderr
    document = cli.diff()
    assert rows(document) == [("modified", "a")]
    assert document["changes"][0]["attribution"]["actors"] == []


def test_a_host_may_have_other_names(cli: Cli) -> None:
    """[audit] nodes lists further names of this host in collected logs."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli.write_config(extra=f'[audit]\nnodes = ["web1.example"]\nlogs = ["{log}"]\n')
    cli("scan", code=0)
    target = cli.watched / "a"
    target.write_text("changed")
    log.write_text(event(target, 1, node="web1.example"))
    cli("scan", code=4)
    assert [a["pid"] for a in cli.diff()["changes"][0]["attribution"]["actors"]] == [4242]


def test_a_former_name_means_this_host_only_until_the_renaming(tmp_path: Path) -> None:
    """In collected logs, another host may have that name now: its processes changed nothing here."""
    url, old = f"sqlite:///{tmp_path}/x.db", HostIdentity(name="old", id=f"machine:{1:032x}", source=IdSource.MACHINE)
    Database(url, host=old).close()
    database = Database(url, host=replace(old, name="new"))
    source = AuditReader(database, AuditSource(logs=("/log",))).source
    database.close()
    assert source is not None
    now = time.time_ns()
    times = [now - 86400 * 10**9, now, now + 3600 * 10**9]
    assert [source.is_ours(EventId(node="old", time_ns=at, serial=1)) for at in times] == [True, True, False]
    assert not source.is_ours(EventId(node="other", time_ns=times[0], serial=1))


def test_content_is_compared_after_the_log_was_emptied(cli: Cli) -> None:
    """An intruder may empty the log first; content is compared all the same."""
    log = cli.root / "audit.log"
    log.write_text(event(cli.watched / "a", 1))
    cli("scan", "--audit-log", str(log), code=0)
    log.write_text("")
    for text in ("one", "two"):
        (cli.watched / "a").write_text(text)
        cli("scan", "--audit-log", str(log), code=4)


class Host:
    """A database, a watched file and a log, with a simulated audit system without problems."""

    def __init__(self, root: Path) -> None:
        self.watched = root / "watched"
        self.watched.mkdir()
        self.target = self.watched / "file"
        self.target.write_text("old")
        self.log = root / "audit.log"
        self.log.write_text(event(self.target, 1, at=1_000_000_000))
        self.database = Database(f"sqlite:///{root}/x.db", host="h")
        self.config: Config = parse_config(f'[[watch]]\npath = "{self.watched}"\n')
        self.source = AuditSource(logs=(str(self.log),))

    def scan(self) -> ScanResult:
        return run_scan(self.database, self.config, source=self.source)

    def append(self, text: str) -> None:
        with self.log.open("a") as file:
            file.write(text)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose audit reports everything and lost nothing, so that only the reading of the log is tested."""
    made = Host(tmp_path)

    def observe(now_ns: int) -> AuditObservation:
        return AuditObservation(
            time_ns=now_ns,
            boot_id="b",
            enabled=1,
            daemon_pid=os.getpid(),
            lost=0,
            backlog=0,
            rules=(rule(os.fsencode(made.watched)),),
        )

    monkeypatch.setattr(audit, "observe", observe)
    monkeypatch.setattr(reading, "_is_written_by", lambda _pid, _log: True)
    yield made
    made.database.close()


def test_with_complete_coverage_one_writer_is_confirmed(host: Host) -> None:
    """Reference for the tests below: with complete coverage, one writer is confirmed."""
    host.scan()
    host.append(event(host.target, 2))
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert finding.attribution.verdict is Verdict.CONFIRMED


def test_with_complete_coverage_a_change_without_a_writer_is_alarming(host: Host) -> None:
    """Reference for the tests below: with complete coverage, a change without a writer is alarming."""
    host.scan()
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert finding.attribution.reason is Reason.NO_EVENT


def test_a_crash_while_reading_does_not_hide_that_records_were_lost(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was replaced, and the process was killed after the first batch: the gap is still reported."""
    host.scan()
    host.target.write_text("new")
    host.log.unlink()
    host.log.write_text(event(host.watched, 1, at=time.time()))
    extend = audit_store.extend
    calls = []

    def killed(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        extend(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(audit_store, "extend", killed)
        with pytest.raises(KeyboardInterrupt):
            host.scan()
    (finding,) = host.scan().diff.findings
    assert finding.attribution.reason is Reason.COVERAGE_GAP


def test_a_crash_before_changes_are_attributed_again_loses_no_answer(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that came late was stored, and the process was killed before changes were attributed again."""
    host.scan()
    late = event(host.target, 2)
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert finding.attribution.verdict is Verdict.UNATTRIBUTED
    host.append(late)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reading, "attribute_again", killed)
        with pytest.raises(KeyboardInterrupt):
            host.scan()
    host.scan()
    from fimscan.pipeline.history.diff import diff_from_baseline

    (row,) = diff_from_baseline(host.database).findings
    assert [actor.pid for actor in row.attribution.actors] == [4242]


def test_a_call_that_ended_after_the_old_content_was_read_is_a_candidate(host: Host) -> None:
    """Its record has the time of its begin, an hour before; it was not in the log when the first scan read that."""
    begun = event(host.target, 3, pid=5151, at=time.time() - 3600)
    host.scan()
    host.append(event(host.target, 2) + begun)
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert finding.attribution.verdict is Verdict.CONTESTED
    assert [actor.pid for actor in finding.attribution.actors] == [4242, 5151]


def test_a_call_that_ended_before_the_old_content_was_read_is_none(host: Host) -> None:
    """The same record, in the log when the first scan read that."""
    host.append(event(host.target, 3, pid=5151, at=time.time() - 3600))
    host.scan()
    host.append(event(host.target, 2))
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert (finding.attribution.verdict, finding.attribution.actors[0].pid) == (Verdict.CONFIRMED, 4242)


def test_a_scan_waits_for_the_records_of_calls_that_have_ended(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's queue still has the record when the first scan begins. It is read before the first file is."""
    ended = event(host.target, 3, pid=5151, at=time.time() - 3600)
    observe, backlogs = audit.observe, iter([1])

    def emptying(now_ns: int) -> AuditObservation:
        backlog = next(backlogs, 0)
        if not backlog and "pid=5151" not in host.log.read_text():
            host.append(ended)
        return replace(observe(now_ns), backlog=backlog)

    monkeypatch.setattr(audit, "observe", emptying)
    host.scan()
    host.append(event(host.target, 2))
    host.target.write_text("new")
    (finding,) = host.scan().diff.findings
    assert (finding.attribution.verdict, finding.attribution.actors[0].pid) == (Verdict.CONFIRMED, 4242)


def test_a_clock_that_was_set_back_hides_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen at times that have not come yet is not the present: rules that are removed now are missed.

    Forward and back are two failures of the clock. The log counts as read until now, and no further. Equal observations
    are not kept, one for each reading.
    """
    from tests.evidence.site import problems  # which imports this module

    present, observe = time.time_ns, audit.observe
    ahead, rules = [0], [True]

    def answer(now_ns: int) -> AuditObservation:
        found = replace(observe(now_ns), boottime_ns=now_ns - ahead[0])
        return found if rules[0] else replace(found, rules=())

    def read() -> None:
        reading.read_audit(host.database, host.source)
        controls.after_reading(host.database, host.config, host.source)

    monkeypatch.setattr(time, "time_ns", lambda: present() + ahead[0])
    monkeypatch.setattr(audit, "observe", answer)
    host.scan()
    read()
    last = present()
    read()
    for ahead[0] in (HOUR_NS, 0):
        set_ns = present()
        read()
        first = present()
        read()
    rules[0] = False
    for _ in range(4):
        read()
    now_ns = present()
    with host.database.read() as session:
        failures = control_store.between(session, 0, now_ns + 2 * HOUR_NS)
        extents = audit_store.extents(session, host.source.paths[0])
        seen = audit_store.observations(session, 0, now_ns)
    assert [item.cause for item in failures if item.kind is ControlKind.CLOCK] == [
        f"the clock was set {way} by 3,600 s: times before and after cannot be compared" for way in ("forward", "back")
    ]
    (missed,) = [item for item in failures if item.kind is ControlKind.AUDIT]
    assert (missed.subject, missed.is_open) == (str(host.watched), True)
    assert extents[-1].end_ns <= now_ns
    assert len(seen) < 9
    # The last one before the clock was set, and the first one after it was set back, stay: the gap is between them.
    assert all(any(start <= one.time_ns <= end for one in seen) for start, end in ((last, set_ns), (set_ns, first)))
    assert problems(host.database) == []
