"""Core dumps: laid to a crash only if everything that a core file has agrees."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.attribution import CorePattern, attribute_core_dump
from fimscan.model import (
    Actor,
    Attribution,
    Change,
    ChangeKind,
    Coverage,
    Crash,
    EventId,
    FileKind,
    FileState,
    Reason,
    Verdict,
    Window,
)
from tests.support import DEV, SECOND

PLAIN = CorePattern(b"core")
NO_EVENT = Attribution(verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT, coverage=Coverage(complete=True))


def crashed(at: float = 10, pid: int = 77, **values: Any) -> Crash:
    event = EventId(int(at * SECOND), pid)
    actor = Actor(pid, exe=b"/usr/bin/tool", comm=b"tool", uid=1000, time_ns=event.time_ns, event=event)
    return Crash(event, actor._replace(**values), 11)


def core(path: bytes = b"/w/core", at: float = 10.5, **values: Any) -> Change:
    state = FileState(
        path=path,
        kind=FileKind.FILE,
        dev=DEV,
        inode=12,
        nlink=1,
        mode=0o600,
        uid=1000,
        gid=1000,
        size=300_000,
        mtime_ns=int(at * SECOND),
        ctime_ns=int(at * SECOND),
        read_start_ns=30 * SECOND,
        read_end_ns=30 * SECOND,
    )
    return Change(
        kind=ChangeKind.ADDED,
        before=None,
        after=replace(state, **values),
        window=Window(after_ns=5 * SECOND, before_ns=30 * SECOND),
    )


def answer(
    change: Change, *crashes: Crash, pattern: CorePattern = PLAIN, given: Attribution = NO_EVENT
) -> tuple[Verdict, list[int]]:
    found = attribute_core_dump(change, given, crashes, pattern)
    return found.verdict, [actor.pid for actor in found.actors]


LAID = (Verdict.LIKELY, [77])
OPEN: tuple[Verdict, list[int]] = (Verdict.UNATTRIBUTED, [])


def test_a_core_file_is_laid_to_the_only_crash() -> None:
    """Likely, because no record names the file that the kernel wrote; the note gives the reason."""
    assert answer(core(), crashed()) == LAID
    found = attribute_core_dump(core(), NO_EVENT, [crashed()], CorePattern(b"core"))
    assert found.reason is Reason.CORE_DUMP
    assert found.reasoning is not None and found.reasoning.rulings[0].why == "crashed"


@pytest.mark.parametrize(
    "values",
    [
        {"path": b"/w/hosts"},
        {"path": b"/w/core.old"},
        {"mode": 0o644},  # the kernel creates it for its owner only
        {"uid": 0},
        {"nlink": 2},
        {"size": 0},
        {"kind": FileKind.SYMLINK},
        {"mtime_ns": 9 * SECOND},  # written before the crash
        {"ctime_ns": 25 * SECOND},  # touched long after it
    ],
)
def test_a_file_unlike_a_core_dump_stays_unattributed(values: dict[str, Any]) -> None:
    """Another process created it, and audit did not see which."""
    assert answer(core(**values), crashed()) == OPEN


def test_a_crash_of_another_time_or_user_explains_nothing() -> None:
    """Before the window, after the file was written, or of a user who cannot own the file."""
    assert answer(core(), crashed(4)) == OPEN
    assert answer(core(), crashed(12)) == OPEN
    assert answer(core(), crashed(uid=1001)) == OPEN


def test_several_matching_crashes_are_all_listed() -> None:
    """All are listed, latest first."""
    assert answer(core(), crashed(10, 77), crashed(10.2, 78)) == (Verdict.CONTESTED, [78, 77])


def test_other_answers_are_left_unchanged() -> None:
    """A crash explains only changes for which audit had no gap and recorded no actor."""
    confirmed = NO_EVENT._replace(verdict=Verdict.CONFIRMED, reason=None)
    blind = NO_EVENT._replace(reason=Reason.COVERAGE_GAP)
    for given in (confirmed, blind):
        assert attribute_core_dump(core(), given, [crashed()], CorePattern(b"core")) is given


@pytest.mark.parametrize(
    ("pattern", "uses_pid", "path", "fits"),
    [
        (b"core", False, b"/w/core", True),
        (b"core", False, b"/w/score", False),
        (b"core", True, b"/w/core.77", True),
        (b"core", True, b"/w/core.78", False),
        (b"core.%p", True, b"/w/core.77", True),
        (b"core.%p", False, b"/w/core.78", False),
        (b"core.%e.%p.%t", False, b"/w/core.tool.77.1700000000", True),
        (b"core.%e.%p.%t", False, b"/w/core.other.77.1700000000", False),
        (b"%E-%u-%s", False, b"/w/!usr!bin!tool-1000-11", True),
        (b"100%%-%h", False, b"/w/100%-web1", True),
        (b"/var/crash/core.%p", False, b"/var/crash/core.77", True),
        (b"/var/crash/core.%p", False, b"/w/core.77", False),
        (b"cores/core", False, b"/w/cores/core", True),
        (
            b"|/usr/lib/systemd/systemd-coredump %P",
            False,
            b"/w/core",
            False,
        ),  # the program writes the file, and audit sees it
    ],
)
def test_the_name_matches_the_kernels_core_pattern(pattern: bytes, uses_pid: bool, path: bytes, fits: bool) -> None:
    """kernel.core_pattern, filled with what the record says of the crashed process."""
    expected = LAID if fits else OPEN
    assert answer(core(path), crashed(), pattern=CorePattern(pattern, uses_pid)) == expected
