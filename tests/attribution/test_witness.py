"""The second witness: which processes fanotify clears, which it adds, and what prevents both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan import model
from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.model import (
    Action,
    Actor,
    Attribution,
    Change,
    FileAccess,
    Holders,
    Reason,
    Verdict,
    Why,
    WitnessEvent,
    WitnessExtent,
    WitnessHole,
    WitnessMask,
)
from tests.attribution.test_attribute import HEALTHY, WHOLE
from tests.attribution.test_reasoning import whys
from tests.support import DEV, DIRECTORY_ID, SECOND, access, actor, change, changed_state, name, state

WROTE, CLOSED = WitnessMask.MODIFY | WitnessMask.CLOSE_WRITE, WitnessMask.CLOSE_WRITE
NOBODY_HELD = Holders(as_of_ns=990 * SECOND)
SINCE_BEFORE = (WitnessExtent(dev=DEV, start_ns=900 * SECOND, end_ns=2100 * SECOND),)
FOUND = replace(change(state(), changed_state(at=1600)), holders=NOBODY_HELD)


def opened(pid: int, at: float, *flags: str, **values: Any) -> FileAccess:
    who = actor(pid=pid, exe=b"/bin/%d" % pid, syscall="openat", flags=flags or ("O_WRONLY",))
    return access(Action.OPEN_WRITE, at, who, **values)


def reported(pid: int, mask: WitnessMask, at: float, **values: Any) -> WitnessEvent:
    times = {"since_ns": int((at - 0.1) * SECOND), "until_ns": int((at + 0.1) * SECOND)}
    defaults: dict[str, Any] = {"dev": DEV, "inode": 10, "handle": b"h", "name": b"f", "actor": Actor(pid=pid), **times}
    return WitnessEvent(mask=mask, **{**defaults, **values})


def ask(
    accesses: Iterable[FileAccess],
    events: Sequence[WitnessEvent],
    found: Change = FOUND,
    extents: tuple[WitnessExtent, ...] = SINCE_BEFORE,
    read: tuple[Extent, ...] = WHOLE,
) -> Attribution:
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    before = [found.before] if found.before is not None else []
    evidence = Evidence(
        index=AccessIndex(accesses, known),
        prior={one.identity: one for one in before},
        witness=model.WitnessData(events={(DEV, 10): tuple(events)}, extents={DEV: extents}),
    )
    return attribute(found, evidence, CoverageMap(HEALTHY, (), (read,)))


def pids(answer: Attribution) -> list[int]:
    return sorted(one.pid for one in answer.actors)


OPENS = (opened(1, 1400), opened(2, 1500))
EVENTS = (reported(1, CLOSED, 1401), reported(2, WROTE, 1501))


def test_a_process_that_wrote_nothing_is_cleared_and_the_writer_confirmed() -> None:
    """Two had the file open and one wrote: contested without fanotify, confirmed with it."""
    assert ask(OPENS, (), extents=()).verdict is Verdict.CONTESTED
    answer = ask(OPENS, EVENTS)
    assert (answer.verdict, pids(answer)) == (Verdict.CONFIRMED, [2])
    assert whys(answer)[1] == [Why.WROTE_NOTHING]
    assert any("process 2 write" in note for note in answer.notes)


def test_two_writers_stay_contested() -> None:
    """fanotify saw both write."""
    answer = ask(OPENS, (reported(1, WROTE, 1401), reported(2, WROTE, 1501)))
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [1, 2])


@pytest.mark.parametrize("hole", WitnessHole)
def test_a_hole_clears_nobody(hole: WitnessHole) -> None:
    """A write through the hole causes no event."""
    holed = tuple(replace(extent, holes=(hole,)) for extent in SINCE_BEFORE)
    answer = ask(OPENS, EVENTS, extents=holed)
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [1, 2])
    assert any("clears nobody" in note for note in answer.notes)


@pytest.mark.parametrize(
    "extents",
    [
        (WitnessExtent(dev=DEV, start_ns=1450 * SECOND, end_ns=2100 * SECOND),),
        (
            WitnessExtent(dev=DEV, start_ns=900 * SECOND, end_ns=1400 * SECOND, ended="overflow"),
            WitnessExtent(dev=DEV, start_ns=1401 * SECOND, end_ns=2100 * SECOND),
        ),
        (WitnessExtent(dev=DEV, start_ns=900 * SECOND, end_ns=1400 * SECOND),),
    ],
    ids=["started late", "overflow", "stopped"],
)
def test_an_incomplete_extent_clears_nobody(extents: tuple[WitnessExtent, ...]) -> None:
    """fanotify must have missed nothing from the open to the close."""
    answer = ask(OPENS, EVENTS, extents=extents)
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [1, 2])


@pytest.mark.parametrize(
    ("first", "events"),
    [
        ((opened(1, 1400, "O_RDWR"),), EVENTS),
        ((opened(1, 1400, "O_WRONLY", "O_TRUNC"),), EVENTS),
        ((opened(1, 1400), opened(1, 1450)), EVENTS),
        ((opened(1, 1400),), EVENTS[1:]),
        ((opened(1, 1400),), (reported(1, CLOSED, 1300), EVENTS[1])),
        ((opened(1, 1400),), (*EVENTS, reported(3, WROTE, 1450))),
        ((opened(1, 1400),), (*EVENTS, reported(2, CLOSED, 1550, handle=b"another"))),
        ((opened(1, 1400), access(Action.LINK, 1450, actor(pid=5), old=name("f"), name=name("g"))), EVENTS),
    ],
    ids=["may map", "truncates", "opened twice", "not closed", "closed before", "a stranger wrote", "reuse", "linked"],
)
def test_each_premise_is_needed(first: Sequence[FileAccess], events: Sequence[WitnessEvent]) -> None:
    """If any one premise fails, each process that had the file open stays a candidate."""
    answer = ask((*first, OPENS[1]), events)
    assert answer.verdict is not Verdict.CONFIRMED
    assert {1, 2} <= set(pids(answer))


@pytest.mark.parametrize(
    "found",
    [
        replace(FOUND, holders=None),
        replace(FOUND, holders=replace(NOBODY_HELD, complete=False)),
        replace(FOUND, holders=replace(NOBODY_HELD, later_ns=1900 * SECOND, later=(actor(pid=1, exe=b"/bin/1"),))),
        replace(change(state(nlink=2), changed_state(at=1600, nlink=2)), holders=NOBODY_HELD),
    ],
    ids=["nobody looked", "not all looked at", "still held", "two names"],
)
def test_another_way_to_write_clears_nobody(found: Change) -> None:
    """A mapping or another name may exist from before."""
    assert whys(ask(OPENS, EVENTS, found)).get(1) != [Why.WROTE_NOTHING]


def test_a_gap_of_audit_clears_nobody() -> None:
    """Audit may have missed an open that allows a mapping."""
    read = (Extent(start_ns=0, end_ns=1450 * SECOND), Extent(start_ns=1460 * SECOND, end_ns=3000 * SECOND))
    assert pids(ask(OPENS, EVENTS, read=read)) == [1, 2]


def test_an_earlier_holder_clears_nobody() -> None:
    """A holder may have mapped the file, and passed the mapping on."""
    held = replace(FOUND, holders=replace(NOBODY_HELD, actors=(actor(pid=9, exe=b"/bin/9"),)))
    assert pids(ask(OPENS, EVENTS, held)) == [1, 2, 9]


def test_no_write_event_at_all_clears_nobody() -> None:
    """The content changed, so an opener or an unseen process wrote: the only opener is not confirmed."""
    answer = ask(OPENS, (reported(1, CLOSED, 1401), reported(2, CLOSED, 1501)))
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [1, 2])
    assert any("investigate" in note for note in answer.notes)


def test_an_only_opener_that_wrote_nothing_is_not_confirmed() -> None:
    """The write went a way that neither witness sees, so an innocent opener must not be confirmed."""
    assert ask(OPENS[:1], (), extents=()).verdict is Verdict.CONFIRMED
    answer = ask(OPENS[:1], EVENTS[:1])
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [1])


# --- who wrote and was not seen opening it ---------------------------------------------------------------------------

STRANGER = actor(pid=7, exe=b"/bin/held")


def stranger(at: float = 1500, **values: Any) -> WitnessEvent:
    return reported(7, WROTE, at, **{"actor": STRANGER, "started_ns": 17, **values})


def test_a_writer_without_a_recorded_open_is_likely() -> None:
    """Not unattributed: fanotify saw the process write."""
    assert ask((), ()).reason is Reason.NO_EVENT
    answer = ask((), (stranger(),))
    assert (answer.verdict, answer.reason, pids(answer)) == (Verdict.LIKELY, Reason.WITNESS_ONLY, [7])
    assert whys(answer)[7] == [Why.WROTE]
    assert answer.actors[0].time_ns == stranger().until_ns


def test_a_writer_without_a_recorded_open_contests_an_opener() -> None:
    """Both may have contributed."""
    answer = ask((OPENS[1],), (EVENTS[1], stranger()))
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [2, 7])


def test_a_writer_with_the_pid_of_a_later_opener_is_another_process() -> None:
    """The pid was reused: the writer ended before the innocent opener got its pid."""
    answer = ask(
        (opened(7, 1500),), (stranger(at=1400, started_ns=None, actor=Actor(pid=7)), reported(7, CLOSED, 1501))
    )
    assert not any("fanotify saw process 7 write to it." in note for note in answer.notes)
    answer = ask(
        (opened(7, 1500), opened(2, 1520)), (stranger(at=1400), reported(2, WROTE, 1521), reported(7, CLOSED, 1501))
    )
    assert pids(answer) == [2, 7, 7]


@pytest.mark.parametrize(
    "event",
    [stranger(ancestors=(2, 1)), reported(7, WROTE, 1500)],
    ids=["a child of the opener", "of which only the number is known"],
)
def test_an_opener_answers_for_its_children(event: WitnessEvent) -> None:
    """'ls >> f' in a shell: the shell opened it, ls wrote. It stays confirmed, with a note."""
    answer = ask((OPENS[1],), (event,))
    assert (answer.verdict, pids(answer)) == (Verdict.CONFIRMED, [2])
    assert any("process 7" in note for note in answer.notes)


def test_in_a_gap_of_audit_an_opener_answers_only_for_known_children() -> None:
    """A process that has ended may have opened the file itself, unseen. The opener that was seen may be innocent."""
    until = (Extent(start_ns=0, end_ns=1450 * SECOND),)
    answer = ask((OPENS[1],), (reported(2, CLOSED, 1501), reported(7, WROTE, 1600)), read=until)
    assert (answer.verdict, pids(answer)) == (Verdict.CONTESTED, [2, 7])
    assert pids(ask((OPENS[1],), (stranger(ancestors=(2, 1)),), read=until)) == [2]


@pytest.mark.parametrize("event", [stranger(at=999.5), stranger(at=1700), stranger(inode=11), stranger(at=2200)])
def test_a_write_at_another_time_is_not_named(event: WitnessEvent) -> None:
    """Before the old content was read, after the last change by ctime, or after the window."""
    answer = ask((), (event,) if event.inode == 10 else ())
    assert answer.verdict is Verdict.UNATTRIBUTED


def test_a_file_that_had_the_inode_number_before_is_not_this_one() -> None:
    """Its writer wrote before this file was created."""
    made = access(Action.CREATE, 1500, actor(pid=2, exe=b"/bin/2", syscall="openat", flags=("O_WRONLY", "O_CREAT")))
    found = replace(change(None, changed_state(at=1600)), holders=NOBODY_HELD)
    assert pids(ask((made,), (stranger(at=1200), reported(2, WROTE, 1501)), found)) == [2]
