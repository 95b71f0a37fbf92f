"""Processes that may have had a file open without showing it: then no writer is confirmed."""

from __future__ import annotations

import os

import pytest
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.linux.mounts import Mount
from fimscan.model import (
    Action,
    Attribution,
    Change,
    Doubt,
    FileAccess,
    FileState,
    Holders,
    Reason,
    Rights,
    Unseen,
    Verdict,
    Why,
)
from fimscan.pipeline.record.last_read import doubts_of
from fimscan.store.scan_results import HoldersAtScan
from tests.attribution.test_reasoning import whys
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
def test_a_doubt_makes_confirmed_likely(why: Unseen) -> None:
    """One process opened the file, but is not proven to be the writer; the note names the doubt."""
    assert ask(IN_PLACE, OPENED).verdict is Verdict.CONFIRMED
    answer = ask(IN_PLACE, OPENED, doubts=(Doubt(why, HIDDEN),))
    assert (answer.verdict, answer.reason, answer.actors[0].pid) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR, 1)
    assert len(answer.notes) == 1
    named = why not in (Unseen.NO_PROCESS, Unseen.NOT_ALONE)
    assert ("hidden (pid 9, user mallory)" in answer.notes[0]) is named
    assert "\x1b" not in answer.notes[0]


def test_a_doubt_about_the_file_that_was_replaced_counts_and_others_do_not() -> None:
    """Writes to the old file may be in the new one; no process had the new one open before its creation."""
    assert ask(REPLACED, SAVED).verdict is Verdict.CONFIRMED
    assert ask(REPLACED, SAVED, doubts=(Doubt(Unseen.RING, HIDDEN),)).verdict is Verdict.CONFIRMED
    answer = ask(REPLACED, SAVED, earlier_doubts=(Doubt(Unseen.NO_PROCESS),))
    assert (answer.verdict, answer.reason) == (Verdict.LIKELY, Reason.HELD_DESCRIPTOR)


B = actor(pid=2)
OPENED_BEFORE = [access(Action.OPEN_WRITE, 500, B), *OPENED]


@pytest.mark.parametrize("why", Unseen)
def test_an_earlier_opener_is_not_cleared_under_doubt(why: Unseen) -> None:
    """B opened it long ago. That it closed the file is known only if all open files were visible."""
    answer = ask(IN_PLACE, OPENED_BEFORE)
    assert (answer.verdict, whys(answer)[2]) == (Verdict.CONFIRMED, [Why.CLOSED_BEFORE])
    answer = ask(IN_PLACE, OPENED_BEFORE, doubts=(Doubt(why, HIDDEN),))
    if why is Unseen.NO_PROCESS:  # the kernel counted a writer: B may be the one
        assert (answer.verdict, whys(answer)[2]) == (Verdict.CONTESTED, [Why.HELD_OPEN])
        assert {a.pid for a in answer.actors} == {1, 2}
    else:
        assert (answer.verdict, whys(answer)[2]) == (Verdict.LIKELY, [Why.MAY_HOLD])


def test_a_file_whose_creation_was_seen_has_no_unknown_names() -> None:
    """No process can keep a removed name that the file never had."""
    log = [access(Action.CREATE, 300, A, inode=10), access(Action.OPEN_WRITE, 1500, A)]
    assert ask(IN_PLACE, log, doubts=(Doubt(Unseen.NAME, HIDDEN),)).verdict is Verdict.CONFIRMED


FLIGHT = Doubt(Unseen.IN_FLIGHT, HIDDEN, Rights(uids=(1003,), gids=(1003,)))
ROOT = Doubt(Unseen.RING, actor(pid=2, uid=0), Rights(uids=(0,), any_file=True))
UNKNOWN = Doubt(Unseen.ENDED, None, Rights(any_file=True))
ENDED_OF_ROOT = Doubt(Unseen.ENDED, None, Rights(uids=(0,), gids=None, any_file=True))
ENDED_OF_USER = Doubt(Unseen.ENDED, None, Rights(uids=(1003,), gids=None))
BUFFERS = Doubt(Unseen.BUFFERS, HIDDEN, Rights(uids=(1003,), gids=(1003,)))
SERVES = Doubt(Unseen.SERVES, HIDDEN, Rights(uids=(1003,), gids=(1003,)))
HIDDEN_RING = Doubt(Unseen.HIDDEN_RING, HIDDEN, Rights(uids=(1003,), gids=(1003,)))
OPEN_TO_ALL = state(mode=0o666)
IN_MEMORY = os.makedev(0, 23)


@pytest.mark.parametrize(
    ("held", "file", "was_read", "found"),
    [
        # The kernel counted no writer. A process may keep a removed name of a file that it may write to, or a mapping.
        (HoldersAtScan(doubts=(FLIGHT, ROOT)), OPEN_TO_ALL, True, [Unseen.NAME]),
        (HoldersAtScan(doubts=(FLIGHT, ROOT)), state(), True, []),
        (HoldersAtScan(doubts=(UNKNOWN,)), OPEN_TO_ALL, True, [Unseen.NAME]),
        (HoldersAtScan(doubts=(UNKNOWN,)), state(), True, []),
        (HoldersAtScan(doubts=(SERVES,)), OPEN_TO_ALL, True, [Unseen.SERVES]),
        (HoldersAtScan(doubts=(SERVES,)), state(), True, []),
        (HoldersAtScan(doubts=(BUFFERS,)), OPEN_TO_ALL, True, []),
        (HoldersAtScan(doubts=(BUFFERS,)), replace(OPEN_TO_ALL, dev=IN_MEMORY), True, [Unseen.BUFFERS]),
        (HoldersAtScan(doubts=(BUFFERS,), writable=frozenset({FILE})), OPEN_TO_ALL, True, [Unseen.NO_PROCESS]),
        # The kernel counted a writer, and these processes may be it.
        (HoldersAtScan(doubts=(FLIGHT,), writable=frozenset({FILE})), OPEN_TO_ALL, True, [Unseen.IN_FLIGHT]),
        (HoldersAtScan(doubts=(FLIGHT, ROOT), writable=frozenset({FILE})), state(), True, [Unseen.RING]),
        (HoldersAtScan(doubts=(), writable=frozenset({FILE})), state(), True, [Unseen.NO_PROCESS]),
        (HoldersAtScan(doubts=(FLIGHT,), writable=frozenset({FILE})), state(), True, [Unseen.NO_PROCESS]),
        # A process shows it. Other processes are in doubt if they may write to the file.
        (HoldersAtScan(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})), state(), True, []),
        (
            HoldersAtScan(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})),
            OPEN_TO_ALL,
            True,
            [Unseen.NOT_ALONE],
        ),
        (
            HoldersAtScan(actors={FILE: [A]}, doubts=(), writable=frozenset({FILE})),
            state(uid=7),
            True,
            [Unseen.NOT_ALONE],
        ),
        # The kernel's count is not available.
        (HoldersAtScan(doubts=(FLIGHT,), writable=frozenset({(DEV, 0)})), OPEN_TO_ALL, True, [Unseen.IN_FLIGHT]),
        (HoldersAtScan(doubts=(FLIGHT,), writable=frozenset({(DEV, 0)})), state(), True, []),
        (HoldersAtScan(doubts=(FLIGHT,)), OPEN_TO_ALL, False, [Unseen.IN_FLIGHT]),
        # Processes of root end all the time; only a count of the kernel's brings them into doubt.
        (HoldersAtScan(doubts=(ENDED_OF_ROOT,)), OPEN_TO_ALL, False, []),
        (HoldersAtScan(doubts=(ENDED_OF_ROOT,), writable=frozenset({FILE})), state(), True, [Unseen.ENDED]),
        (HoldersAtScan(doubts=(UNKNOWN,)), state(), False, []),
        (HoldersAtScan(doubts=(UNKNOWN,)), OPEN_TO_ALL, False, [Unseen.ENDED]),
        (HoldersAtScan(doubts=(ENDED_OF_USER,)), OPEN_TO_ALL, False, [Unseen.ENDED]),
        (HoldersAtScan(), OPEN_TO_ALL, True, []),  # a scan of an earlier version
    ],
)
def test_which_doubts_apply_to_a_file(
    held: HoldersAtScan, file: object, was_read: bool, found: list[Unseen], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A doubt applies if the process may write to the file, unless the count of writers excludes it."""
    assert isinstance(file, type(state()))
    monkeypatch.setattr("fimscan.pipeline.record.last_read.own_mounts", lambda: ())
    identity = (file.dev, file.inode)
    assert [doubt.why for doubt in doubts_of(held, identity, (file,), was_read=was_read)] == found


TMPFS = Mount(id=1, dev=IN_MEMORY, point=b"/", kind="tmpfs")
ON_TMPFS = Mount(
    id=2, dev=os.makedev(0, 24), point=b"/w", kind="overlay", options=b"rw,lowerdir=/l,upperdir=/u,workdir=/x"
)
DISK = Mount(id=1, dev=DEV, point=b"/", kind="ext4")


@pytest.mark.parametrize(
    ("mounts", "file", "applies"),
    [
        ((TMPFS,), replace(OPEN_TO_ALL, dev=IN_MEMORY), True),
        ((TMPFS,), replace(state(), dev=IN_MEMORY), False),
        ((TMPFS, ON_TMPFS), replace(OPEN_TO_ALL, dev=ON_TMPFS.dev), True),
        ((DISK, ON_TMPFS), replace(OPEN_TO_ALL, dev=ON_TMPFS.dev), False),
        ((DISK,), OPEN_TO_ALL, False),
    ],
    ids=("tmpfs", "root's file", "overlay on tmpfs", "overlay on a disk", "disk"),
)
def test_a_ring_that_does_not_show_is_a_doubt_in_memory(
    mounts: tuple[Mount, ...], file: FileState, applies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk the kernel refuses to keep a file's memory for a ring; a file that only root may write to is safe."""
    monkeypatch.setattr("fimscan.pipeline.record.last_read.own_mounts", lambda: mounts)
    found = doubts_of(HoldersAtScan(doubts=(HIDDEN_RING,)), (file.dev, file.inode), (file,), was_read=True)
    assert found == ((Doubt(Unseen.HIDDEN_RING, HIDDEN),) if applies else ())
