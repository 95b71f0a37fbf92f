"""RENAME_WHITEOUT: one call leaves a file under a new name and a device at the old one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.model import (
    Action,
    Attribution,
    AuditNotice,
    EventId,
    FileAccess,
    FileKind,
    GapReason,
    NoticeKind,
    Role,
    Verdict,
)
from tests.support import DIRECTORY_ID, SECOND, access, actor, change, changed_state, name, observation, state

A = actor(pid=1, exe=b"/bin/a", syscall="renameat2")
B = actor(pid=2, exe=b"/bin/b")
DEVICE: dict[str, Any] = {"kind": FileKind.CHAR_DEVICE, "inode": 12, "size": 0, "digests": ()}


def ask(accesses: Iterable[FileAccess], *notices: AuditNotice, **after: Any) -> Attribution:
    evidence = Evidence(index=AccessIndex(accesses, KnownDirectories.of([(b"/w", DIRECTORY_ID)])), prior={})
    found = change(state(), replace(changed_state(), **{**DEVICE, **after}))
    extents = (Extent(start_ns=0, end_ns=3000 * SECOND),)
    return attribute(found, evidence, CoverageMap((observation(900), observation(2100)), notices, (extents,)))


def renamed(by: Any = A, **values: Any) -> FileAccess:
    return access(Action.RENAME, 1500, by, **{"name": name("g"), "old": name("f"), **values})


def test_a_whiteout_is_the_renamers() -> None:
    """The device at the old name has no record of its own: the rename created it."""
    answer = ask([renamed()])
    assert (answer.verdict, [(a.pid, a.role) for a in answer.actors]) == (Verdict.CONFIRMED, [(1, Role.PLACER)])
    assert "RENAME_WHITEOUT" in answer.notes[0]


@pytest.mark.parametrize(
    ("accesses", "after"),
    [
        ([renamed(B)], {}),
        ([renamed()], {"kind": FileKind.FILE}),
        ([renamed(old=name("h"))], {}),
        ([access(Action.RENAME, 500, A, name=name("g"), old=name("f"))], {}),
    ],
)
def test_other_calls_leave_no_whiteout(accesses: list[FileAccess], after: dict[str, Any]) -> None:
    """rename(2) has no flags; another kind of file, another name or another time does not match."""
    assert ask(accesses, **after).verdict is Verdict.UNATTRIBUTED


def test_a_device_made_by_mknod_is_its_creators() -> None:
    """mknod(2) has records; a process that moved a file away before did not create the device."""
    made = access(Action.MKNOD, 1600, B, inode=12, mode=0o020644)
    assert [a.pid for a in ask([renamed(), made]).actors] == [2]


def test_an_exchange_leaves_no_whiteout() -> None:
    """It puts another file at the name, which an unseen call then removed."""
    event = EventId(1500 * SECOND, 5)
    both = [
        renamed()._replace(event=event),
        access(Action.RENAME, 1500, A, name=name("f"), old=name("g"), inode=13)._replace(event=event, item=1),
    ]
    assert ask(both).verdict is Verdict.UNATTRIBUTED


def test_a_suspended_log_is_a_gap() -> None:
    """auditd records when it resumes, but not since when it was suspended."""
    notice = AuditNotice(event=EventId(1700 * SECOND, 9), kind=NoticeKind.RESUMED)
    answer = ask([renamed()], notice)
    assert (answer.verdict, [gap.reason for gap in answer.coverage.gaps]) == (
        Verdict.LIKELY,
        [GapReason.DAEMON_STOPPED],
    )
