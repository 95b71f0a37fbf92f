"""Calls that began before the window, and are not known to have ended by then: audit's time is that of the begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, KnownDirectories, attribute
from fimscan.model import Action, Attribution, Change, ChangeKind, FileAccess, Holders, Reason, Role, Verdict, Why
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
