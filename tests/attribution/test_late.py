"""Calls that began before the window, and are not known to have ended by then: audit's time is that of the begin."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, KnownDirectories, attribute
from fimscan.model import (
    Action,
    Attribution,
    Change,
    ChangeKind,
    FileAccess,
    GapReason,
    Holders,
    Reason,
    Role,
    Verdict,
    Why,
)
from tests.attribution.test_attribute import HEALTHY, WHOLE, A, B
from tests.attribution.test_history import cleared
from tests.attribution.test_reasoning import whys
from tests.support import DEV, DIRECTORY_ID, SECOND, access, change, changed_state, name, state

IN_PLACE = change(state(), changed_state())
NEW_MODE = change(state(), changed_state(b"old", mode=0o600))


def ask(found: Change, log: list[FileAccess], *, read_at: float) -> Attribution:
    """``read_at``: when the record of the log's first event was read. The window is from 1,000 s to 2,000 s."""
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    prior = {found.before.identity: found.before} if found.before is not None else {}
    evidence = Evidence(index=AccessIndex(log, known), prior=prior, ended_by={log[0].event: int(read_at * SECOND)})
    found = replace(found, holders=Holders(as_of_ns=990 * SECOND))
    return attribute(found, evidence, CoverageMap(HEALTHY, (), (WHOLE,)))


@pytest.mark.parametrize(
    ("found", "late", "seen", "role"),
    [
        (IN_PLACE, access(Action.OPEN_WRITE, 900, A), access(Action.OPEN_WRITE, 1500, B), Role.WRITER),
        (IN_PLACE, access(Action.TRUNCATE, 900, A), access(Action.OPEN_WRITE, 1500, B), Role.WRITER),
        (
            NEW_MODE,
            access(Action.CHMOD, 900, A, argument=0o600),
            access(Action.CHMOD, 1500, B, argument=0o600),
            Role.CHANGER,
        ),
        (change(state(), None), access(Action.UNLINK, 900, A), access(Action.UNLINK, 1500, B), Role.REMOVER),
        (
            change(state(), changed_state(inode=11)),
            access(Action.RENAME, 900, A, inode=11, old=name("x"), replaced=(DEV, 10)),
            access(Action.RENAME, 1500, B, inode=11, old=name("y"), replaced=(DEV, 10)),
            Role.PLACER,
        ),
    ],
    ids=("open", "truncate", "chmod", "unlink", "rename"),
)
def test_a_call_that_had_not_ended_is_named(found: Change, late: FileAccess, seen: FileAccess, role: Role) -> None:
    """A's call began before the window, and its record was read after the old content: B is not alone."""
    answer = ask(found, [late, seen], read_at=1600)
    assert answer.verdict is Verdict.CONTESTED
    assert (1, role) in {(actor.pid, actor.role) for actor in answer.actors}
    assert cleared(answer) == set()
    ended = ask(found, [late, seen], read_at=950)
    assert (ended.verdict, {actor.pid for actor in ended.actors}) == (Verdict.CONFIRMED, {2})


def test_a_late_call_alone_is_likely_and_no_alarm() -> None:
    """Nothing was seen in the window, but a rename that began before it may have put the file there."""
    found = change(state(), changed_state(inode=11))
    log = [access(Action.RENAME, 900, A, inode=11, old=name("x"), replaced=(DEV, 10))]
    answer = ask(found, log, read_at=1600)
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)
    assert [(actor.pid, actor.role) for actor in answer.actors] == [(1, Role.PLACER)]
    assert whys(answer)[1] == [Why.UNFINISHED]
    assert answer.notes
    assert ask(found, log, read_at=950).verdict is Verdict.UNATTRIBUTED


def test_a_late_call_of_another_kind_has_no_part() -> None:
    """A chmod that had not ended, and content that differs; a chmod to another mode than the present one."""
    log = [access(Action.CHMOD, 900, A, argument=0o600), access(Action.OPEN_WRITE, 1500, B)]
    assert ask(IN_PLACE, log, read_at=1600).verdict is Verdict.CONFIRMED
    log = [access(Action.CHMOD, 900, A, argument=0o644), access(Action.CHMOD, 1500, B, argument=0o600)]
    assert ask(NEW_MODE, log, read_at=1600).verdict is Verdict.CONFIRMED


def test_a_directory_that_was_moved_late_is_named() -> None:
    """The directory above was exchanged by a call that began before the window; B opened the file that came with it."""
    found = change(state(b"/w/d/f"), changed_state(path=b"/w/d/f", inode=11))
    moved = access(Action.RENAME, 900, A, inode=50, name=name("d"), old=name("e"), mode=0o040755)
    answer = ask(found, [moved, access(Action.OPEN_WRITE, 1500, B, inode=11, name=name("d/f"))], read_at=1600)
    assert 1 in {actor.pid for actor in answer.actors}
    assert answer.verdict is not Verdict.CONFIRMED


def test_the_only_actor_may_have_begun_before_as_well() -> None:
    """The process that opened the file in the window began another open before it: it is one process."""
    log = [access(Action.OPEN_WRITE, 900, A), access(Action.OPEN_WRITE, 1500, A)]
    assert ask(IN_PLACE, log, read_at=1600).verdict is Verdict.CONFIRMED


def test_a_late_removal_says_who_may_have_removed_it() -> None:
    """Only a late unlink was seen."""
    found = change(state(), None)
    assert found.kind is ChangeKind.REMOVED
    answer = ask(found, [access(Action.UNLINK, 900, A)], read_at=1600)
    assert (answer.verdict, [actor.role for actor in answer.actors]) == (Verdict.LIKELY, [Role.REMOVER])


def test_a_call_that_ended_after_the_last_one_may_have_decided() -> None:
    """A's utimensat began before B's and ended after it, as its higher serial shows: either can have set the times."""
    found = change(state(), changed_state(b"old", at=1500))
    second = access(Action.UTIME, 1500, B)
    first = access(Action.UTIME, 1400, A)
    assert first.event.serial > second.event.serial
    answer = ask(found, [first, second], read_at=1600)
    assert (answer.verdict, {actor.pid for actor in answer.actors}) == (Verdict.CONTESTED, {1, 2})


@pytest.mark.parametrize("ended_first", [True, False])
@pytest.mark.parametrize("serial_at_end", [True, False])
@pytest.mark.parametrize("next_file", [Action.RENAME, Action.CREATE])
def test_a_late_call_on_an_earlier_file_with_the_number(
    next_file: Action, serial_at_end: bool, ended_first: bool
) -> None:
    """A wrote a file that was then removed; its number went to the file that B made or put there.

    A's record came late. Its serial shows whether it had ended before the number was free.
    """
    made = access(Action.CREATE, 800, A, inode=11, name=name("x"))
    wrote = access(Action.OPEN_WRITE, 900, A, inode=11, name=name("x"), serial_at_end=serial_at_end)
    removed = access(Action.UNLINK, 901, A, inode=11, name=name("x"))
    placed = access(next_file, 1500, B, inode=11, old=name("y") if next_file is Action.RENAME else None)
    if not ended_first:
        later = access(Action.UNLINK, 1600).event.serial
        wrote = wrote._replace(event=wrote.event._replace(serial=later))
    answer = ask(change(state(), changed_state(inode=11)), [wrote, made, removed, placed], read_at=1600)
    assert (1 not in {actor.pid for actor in answer.actors}) == (ended_first and serial_at_end)


def test_a_link_elsewhere_that_was_made_late_is_a_name_elsewhere() -> None:
    """A's link to a directory that is not watched began before the window: B's open need not be the only one."""
    made = access(Action.LINK, 900, A, name=name("alias", b"/elsewhere", (DEV, 77)), old=name("f"))
    answer = ask(IN_PLACE, [made, access(Action.OPEN_WRITE, 1500, B)], read_at=1600)
    assert (answer.verdict, [gap.reason for gap in answer.coverage.gaps]) == (Verdict.LIKELY, [GapReason.OTHER_NAME])
    assert ask(IN_PLACE, [made, access(Action.OPEN_WRITE, 1500, B)], read_at=950).verdict is Verdict.CONFIRMED


@pytest.mark.parametrize("serial_at_end", [True, False])
@pytest.mark.parametrize("inode", [11, 10], ids=("another number", "the same number"))
def test_an_open_that_ended_after_a_file_was_made_may_be_of_that_file(inode: int, serial_at_end: bool) -> None:
    """B's editor made a new file and renamed it to the path. A's open began long before, and ended after.

    If another record of its event came first (an AVC), the serial does not show that it ended after.
    """
    made = access(Action.CREATE, 1500, B, inode=inode, name=name("f.new"))
    if inode == 10:
        removed = [access(Action.UNLINK, 1490, B)]
        placed = access(Action.RENAME, 1501, B, inode=inode, old=name("f.new"))
    else:
        removed = []
        placed = access(Action.RENAME, 1501, B, inode=inode, old=name("f.new"), replaced=(DEV, 10))
    opened = access(Action.OPEN_WRITE, 1400, A, inode=inode, serial_at_end=serial_at_end)
    assert opened.event.serial > made.event.serial
    if not serial_at_end:
        opened = opened._replace(event=opened.event._replace(serial=0))
    found = change(state(), changed_state(inode=inode))
    answer = ask(found, [opened, *removed, made, placed], read_at=1600)
    assert answer.verdict is Verdict.CONTESTED
    assert {actor.pid for actor in answer.actors} == {1, 2}
    assert cleared(answer) == set()
