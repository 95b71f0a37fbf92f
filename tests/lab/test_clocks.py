"""A reboot and a clock that was set back, replayed from a recorded log: a test cannot do that to this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from fimscan import attribution
from fimscan.audit import read_log
from fimscan.model import (
    Attribution,
    AuditNotice,
    AuditObservation,
    AuditRule,
    Change,
    ChangeKind,
    Digest,
    EventId,
    FileAccess,
    FileKind,
    FileState,
    Holders,
    NoticeKind,
    Reason,
    Verdict,
    Window,
)

_RECORDED = Path(__file__).parents[1] / "data" / "audit" / "open_modes.log"
_SECOND = 10**9
_HOUR = 3600 * _SECOND


@pytest.fixture
def opened() -> FileAccess:
    """The first write-open in a log recorded from a real kernel."""
    batches = read_log(str(_RECORDED).encode(), final=True)
    return next(a for batch in batches for a in batch.accesses if a.action in attribution.WRITES and a.name.path)


def answer(
    access: FileAccess, window: Window, observed: list[AuditObservation], notices: list[AuditNotice] | None = None
) -> Attribution:
    """The answer for a modified file with this one access."""
    assert access.identity is not None and access.name.path is not None
    written_ns = access.event.time_ns

    def state(content: bytes, read_ns: int, changed_ns: int) -> FileState:
        return FileState(
            path=access.name.path or b"",
            kind=FileKind.FILE,
            dev=access.dev or 0,
            inode=access.inode or 0,
            nlink=1,
            mode=0o644,
            uid=0,
            gid=0,
            size=1,
            mtime_ns=changed_ns,
            ctime_ns=changed_ns,
            digests=(Digest(algorithm="sha256", value=content),),
            read_start_ns=read_ns,
            read_end_ns=read_ns,
        )

    before, after = state(b"old", window.after_ns, 1), state(b"new", window.before_ns, written_ns)
    change = Change(
        kind=ChangeKind.MODIFIED,
        before=before,
        after=after,
        changed=("content",),
        window=window,
        holders=Holders(as_of_ns=window.after_ns),
    )
    known = attribution.KnownDirectories.of([(access.name.path.rpartition(b"/")[0], (access.dev or 0, 1))])
    evidence = attribution.Evidence(index=attribution.AccessIndex([access], known), prior={before.identity: before})
    extent = attribution.Extent(start_ns=observed[0].time_ns, end_ns=observed[-1].time_ns)
    return attribution.attribute(change, evidence, attribution.CoverageMap(observed, notices or (), [[extent]]))


def observation(time_ns: int, boot: str = "first") -> AuditObservation:
    rule = AuditRule(
        scope=b"/", recursive=True, arches=frozenset(), writes=True, attributes=True, key="fimscan", text=""
    )
    return AuditObservation(time_ns=time_ns, boot_id=boot, enabled=1, daemon_pid=7, lost=0, rules=(rule,))


def around(access: FileAccess) -> Window:
    return Window(after_ns=access.event.time_ns - _SECOND, before_ns=access.event.time_ns + _SECOND)


def test_without_either_the_writer_is_confirmed(opened: FileAccess) -> None:
    """The same evidence as below, without a reboot and with a correct clock."""
    window = around(opened)
    found = answer(opened, window, [observation(window.after_ns), observation(window.before_ns)])
    assert (found.verdict, [a.pid for a in found.actors]) == (Verdict.CONFIRMED, [opened.actor.pid])


def test_after_a_reboot_the_writer_is_likely_at_best(opened: FileAccess) -> None:
    """Before auditd and its rules are loaded again, and near a crash, writes may be unrecorded."""
    window = around(opened)
    found = answer(opened, window, [observation(window.after_ns), observation(window.before_ns, "second")])
    assert (found.verdict, found.reason) == (Verdict.LIKELY, Reason.COVERAGE_GAP)
    assert {gap.reason for gap in found.coverage.gaps} == {"boot"}


def test_a_serial_that_returns_after_a_reboot_is_another_event(opened: FileAccess) -> None:
    """Serials restart at every boot: two events with one serial are two processes, and both are listed."""
    event = EventId(opened.event.time_ns - _SECOND // 2, opened.event.serial, opened.event.node)
    actor = opened.actor._replace(pid=opened.actor.pid + 1, event=event, time_ns=event.time_ns)
    assert len({opened.event, event}) == 2 and opened._replace(event=event, actor=actor) != opened


def test_a_clock_that_was_set_back_raises_no_alarm(opened: FileAccess) -> None:
    """The new content was read "before" the old one, so the window is empty and no event can lie in it.

    The reason is not no-event, and nobody is confirmed.
    """
    window = Window(after_ns=opened.event.time_ns + _HOUR, before_ns=opened.event.time_ns + _SECOND)
    notices = [AuditNotice(event=EventId(window.after_ns, 1), kind=NoticeKind.ENABLED)]
    found = answer(opened, window, [observation(window.before_ns), observation(window.after_ns)], notices)
    assert found.reason is Reason.COVERAGE_GAP and found.verdict is not Verdict.CONFIRMED
    assert not found.coverage.complete
