"""Who may have had a file open without showing it: nobody else is then proven to have written to it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.model import Action, Attribution, Change, Doubt, FileAccess, Holders, Reason, Rights, Unseen, Verdict
from fimscan.pipeline.record.last_read import doubts_of
from fimscan.store.sightings import Held
from tests.support import DEV, DIRECTORY_ID, SECOND, access, actor, change, changed_state, name, observation, state

A, HIDDEN = actor(pid=1), actor(pid=9, exe=b"/tmp/\x1b[31mhidden", uid=1003, user="mallory")
FILE = (DEV, 10)


def ask(found: Change, log: list[FileAccess], **held: object) -> Attribution:
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    prior = {found.before.identity: found.before} if found.before is not None else {}
    holders = Holders(as_of_ns=990 * SECOND, **held)  # type: ignore[arg-type]
    seen = CoverageMap([observation(900), observation(2100)], (), [[Extent(start_ns=0, end_ns=9000 * SECOND)]])
    return attribute(replace(found, holders=holders), Evidence(index=AccessIndex(log, known), prior=prior), seen)


IN_PLACE = change(state(), changed_state())
REPLACED = change(state(), changed_state(inode=11))
OPENED = [access(Action.OPEN_WRITE, 1500, A)]
SAVED = [
    access(Action.CREATE, 1490, A, inode=11, name=name("f.new")),
    access(Action.RENAME, 1500, A, inode=11, old=name("f.new"), replaced=FILE),
]


@pytest.mark.parametrize("why", Unseen)
def test_a_doubt_takes_the_proof_away(why: Unseen) -> None:
    """One process opened the file, and yet it is not proven to be the writer; the note says what is in doubt."""
    assert ask(IN_PLACE, OPENED).verdict is Verdict.CONFIRMED
    answer = ask(IN_PLACE, OPENED, doubts=(Doubt(why, HIDDEN),))
    assert (answer.verdict, answer.reason, answer.actors[0].pid) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR, 1)
    assert len(answer.notes) == 1
    named = why not in (Unseen.NO_PROCESS, Unseen.NOT_ALONE)
    assert ("hidden (pid 9, user mallory)" in answer.notes[0]) is named
    assert "\x1b" not in answer.notes[0]


def test_a_doubt_about_the_file_that_was_replaced_counts_and_others_do_not() -> None:
    """What was written to the old file may be in the new one; nobody had the new one open before it was made."""
    assert ask(REPLACED, SAVED).verdict is Verdict.CONFIRMED
    assert ask(REPLACED, SAVED, doubts=(Doubt(Unseen.RING, HIDDEN),)).verdict is Verdict.CONFIRMED
    answer = ask(REPLACED, SAVED, earlier_doubts=(Doubt(Unseen.NO_PROCESS),))
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)


FLIGHT = Doubt(Unseen.IN_FLIGHT, HIDDEN, Rights(uids=(1003,), gids=(1003,)))
ROOT = Doubt(Unseen.RING, actor(pid=2, uid=0), Rights(any_file=True))
OPEN_TO_ALL = state(mode=0o666)


@pytest.mark.parametrize(
    ("held", "file", "was_read", "found"),
    [
        # By the kernel's count nobody had it open: whoever hides something hides another file.
        (Held(doubts=(FLIGHT, ROOT)), OPEN_TO_ALL, True, []),
        # Somebody had, and these may have.
        (Held(doubts=(FLIGHT,), writable=frozenset({FILE})), OPEN_TO_ALL, True, [Unseen.IN_FLIGHT]),
        (Held(doubts=(FLIGHT, ROOT), writable=frozenset({FILE})), state(), True, [Unseen.RING]),
        (Held(doubts=(), writable=frozenset({FILE})), state(), True, [Unseen.NO_PROCESS]),
        (Held(doubts=(FLIGHT,), writable=frozenset({FILE})), state(), True, [Unseen.NO_PROCESS]),
        # A process shows it. Others are in doubt where the file is theirs to write to.
        (Held(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})), state(), True, []),
        (Held(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})), OPEN_TO_ALL, True, [Unseen.NOT_ALONE]),
        (Held(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})), state(uid=7), True, [Unseen.NOT_ALONE]),
        # The kernel was not, or could not be, asked.
        (Held(doubts=(FLIGHT,), writable=frozenset({(DEV, 0)})), OPEN_TO_ALL, True, [Unseen.IN_FLIGHT]),
        (Held(doubts=(FLIGHT,), writable=frozenset({(DEV, 0)})), state(), True, []),
        (Held(doubts=(FLIGHT,)), OPEN_TO_ALL, False, [Unseen.IN_FLIGHT]),
        (Held(), OPEN_TO_ALL, True, []),  # a scan of an earlier version
    ],
)
def test_who_is_in_doubt_about_a_file(held: Held, file: object, was_read: bool, found: list[Unseen]) -> None:
    """Those whose rights suffice for the file, and only where the kernel did not say that nobody had it open."""
    assert isinstance(file, type(state()))
    assert [doubt.why for doubt in doubts_of(held, FILE, (file,), was_read=was_read)] == found
