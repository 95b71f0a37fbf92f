"""Invariants of every answer, for any log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.attribution import AccessIndex, CoverageMap, Evidence, Extent, KnownDirectories, attribute
from fimscan.model import (
    Action,
    Actor,
    Attribution,
    AuditObservation,
    Change,
    ChangeKind,
    Doubt,
    EventId,
    FileAccess,
    FileState,
    GapReason,
    Holders,
    Name,
    Unseen,
    Verdict,
    Window,
)
from tests.support import DEV, DIRECTORY_ID, SECOND, actor, change, changed_state, name, observation, state

ACTORS = (
    actor(pid=1, exe=b"/bin/a"),
    actor(pid=2, exe=b"/bin/b"),
    actor(pid=1, exe=b"/bin/c"),
    actor(pid=2, exe=b"/bin/b", ppid=9),
)
SEEN = (observation(900, boottime_ns=0), observation(2100, boottime_ns=1200 * SECOND))
NOWHERE = Name(text=b"f", path=b"/elsewhere/f", parent=(DEV, 77))

_ACTIONS = st.sampled_from([*Action])
_NAMES = st.sampled_from([name("f"), name("g"), name("t"), name("f")._replace(path=None, parent=None), NOWHERE])


@st.composite
def logs(draw: st.DrawFn) -> list[FileAccess]:
    """Draw up to ten calls on three inode numbers and some names, inside and around the window."""
    found = []
    for serial in range(draw(st.integers(0, 10))):
        event = EventId(draw(st.integers(900, 2100)) * SECOND + draw(st.integers(0, 3)) * 10**6, serial)
        who = draw(st.sampled_from(ACTORS))._replace(event=event, time_ns=event.time_ns)
        action = draw(_ACTIONS)
        found.append(
            FileAccess(
                event=event,
                action=action,
                name=draw(_NAMES),
                dev=draw(st.sampled_from([DEV, DEV, DEV, None, DEV + 1])),
                inode=draw(st.sampled_from([10, 10, 11, 12])),
                mode=0o100644,
                old=draw(_NAMES) if action in (Action.RENAME, Action.LINK) else None,
                replaced=draw(st.sampled_from([None, (DEV, 10)])) if action is Action.RENAME else None,
                argument=draw(st.sampled_from([0o600, 0o640])) if action is Action.CHMOD else None,
                success=draw(st.sampled_from([True, True, True, False])),
                actor=who._replace(flags=draw(st.sampled_from([("O_WRONLY",), ("O_RDWR",), ()]))),
            )
        )
    return found


_AT = st.sampled_from([1200, 1500, 1500.25, 1999])
_HOLDERS = st.builds(
    Holders,
    as_of_ns=st.just(990 * SECOND),
    actors=st.lists(st.sampled_from(ACTORS), max_size=2).map(tuple),
    complete=st.booleans(),
    doubts=st.sampled_from([(), (), (Doubt(Unseen.NO_PROCESS),)]),
    later_ns=st.just(1900 * SECOND),
    later=st.lists(st.sampled_from(ACTORS), max_size=1).map(tuple),
)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Draw a change of any kind."""
    at = draw(_AT)
    dev = draw(st.sampled_from([DEV, DEV, 0x2A]))
    before = state(dev=dev)
    same: dict[str, Any] = {"dev": dev, "at": at}
    made: list[Change] = [
        change(before, changed_state(**same)),
        change(before, changed_state(inode=11, **same)),
        change(None, changed_state(**same)),
        change(None, changed_state(inode=11, **same)),
        change(before, None),
        change(before, changed_state(b"old", mode=0o600, **same)),
        change(before, changed_state(b"old", uid=5, xattr_digest=b"x", **same)),
        change(before, changed_state(b"old", **same)),
        replace(
            change(before, None),
            kind=ChangeKind.MOVED,
            after=changed_state(b"old", path=b"/w/g", mtime_ns=100 * SECOND, **same),
        ),
    ]
    return replace(draw(st.sampled_from(made)), holders=draw(_HOLDERS))


def ask(
    found: Change,
    log: Sequence[FileAccess],
    seen: Sequence[AuditObservation] = SEEN,
    extents: Sequence[Extent] = (Extent(start_ns=0, end_ns=9000 * SECOND),),
) -> Attribution:
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    prior = {s.identity: s for s in (found.before, state(b"/w/g", b"other", inode=11)) if s is not None}
    evidence = Evidence(index=AccessIndex(log, known), prior=prior)
    return attribute(found, evidence, CoverageMap(seen, (), [extents]))


def shifted(at_ns: int) -> int:
    return at_ns + 86_400 * SECOND


def shifted_state(found: FileState | None) -> FileState | None:
    if found is None:
        return None
    times = ("mtime_ns", "ctime_ns", "read_start_ns", "read_end_ns")
    return replace(found, **{field: shifted(getattr(found, field)) for field in times})


def shifted_change(found: Change) -> Change:
    held = found.holders
    assert held is not None
    return replace(
        found,
        before=shifted_state(found.before),
        after=shifted_state(found.after),
        window=Window(after_ns=shifted(found.window.after_ns), before_ns=shifted(found.window.before_ns)),
        holders=replace(held, as_of_ns=shifted(held.as_of_ns), later_ns=shifted(held.later_ns)),
    )


def shifted_access(found: FileAccess) -> FileAccess:
    event = found.event._replace(time_ns=shifted(found.event.time_ns))
    return found._replace(event=event, actor=found.actor._replace(event=event, time_ns=event.time_ns))


def core(answer: Attribution) -> object:
    """The verdict and the actors with their roles, without times."""
    return answer.verdict, answer.reason, {(a.process, a.role) for a in answer.actors}, answer.notes


@given(changes(), logs(), st.randoms())
def test_the_order_of_the_records_never_matters(found: Change, log: list[FileAccess], random: object) -> None:
    """Records may come out of order, and from several logs."""
    mixed = list(log)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert ask(found, mixed) == ask(found, log)


@given(changes(), logs(), st.integers(0, 10))
def test_an_unrelated_access_never_matters(found: Change, log: list[FileAccess], place: int) -> None:
    """An access to another file under another name is no evidence and gets no ruling."""
    event = EventId(1500 * SECOND, 500)
    other = actor(pid=66, exe=b"/bin/unrelated", event=event, time_ns=event.time_ns)
    noise = FileAccess(
        event=event, action=Action.OPEN_WRITE, name=name("unrelated"), dev=DEV, inode=900, mode=0o100644, actor=other
    )
    assert ask(found, [*log[:place], noise, *log[place:]]) == ask(found, log)


@given(changes(), logs())
def test_less_coverage_never_makes_a_stronger_answer(found: Change, log: list[FileAccess]) -> None:
    """A removed rule, an unread log, a stopped daemon, a clock that was set, a reboot."""
    whole = ask(found, log)
    for seen, extents in (
        ((SEEN[0], replace(SEEN[1], rules=())), None),
        ((SEEN[0], replace(SEEN[1], daemon_pid=0)), None),
        ((SEEN[0], replace(SEEN[1], boot_id="boot-2")), None),
        ((SEEN[0], replace(SEEN[1], boottime_ns=1100 * SECOND)), None),
        ((), None),
        (SEEN, (Extent(start_ns=0, end_ns=1500 * SECOND),)),
        (SEEN, ()),
    ):
        less = ask(found, log, seen) if extents is None else ask(found, log, seen, extents)
        assert less.verdict is not Verdict.CONFIRMED
        times_compare = not any(g.reason in (GapReason.CLOCK_CHANGED, GapReason.BOOT) for g in less.coverage.gaps)
        # Where they do not, the ctime clears nobody any more: then more are named, never fewer.
        if times_compare or whole.verdict is not Verdict.UNATTRIBUTED:
            assert less.verdict.strength <= whole.verdict.strength


@given(changes(), logs())
def test_every_actor_is_in_the_evidence(found: Change, log: list[FileAccess]) -> None:
    """By a successful access to this file or its name, or as a holder; and the reasoning has it."""
    answer = ask(found, log)
    seen = {a.actor.process for a in log if a.success and a.name != name("t")}
    seen |= {a.actor.process for a in log if a.success and a.inode != 12}
    seen |= {a.actor.process for a in log if a.success and a.old not in (None, name("t"))}
    held = {a.process for a in (*found.holders.actors, *found.holders.later)} if found.holders else set()
    named = {a.process for a in answer.actors}
    assert named or answer.verdict is Verdict.UNATTRIBUTED, "nobody has done nothing"
    assert named <= seen | held
    if answer.verdict is Verdict.CONFIRMED:
        assert named <= seen, "nobody is confirmed for holding a descriptor alone"
    assert answer.reasoning is not None
    assert {r.actor.process for r in answer.reasoning.rulings if r.why.names} == named


@given(changes(), logs())
def test_shifting_all_times_alike_keeps_the_answer(found: Change, log: list[FileAccess]) -> None:
    """Only differences between times matter."""
    later = [replace(o, time_ns=shifted(o.time_ns)) for o in SEEN]
    extents = (Extent(start_ns=0, end_ns=shifted(9000 * SECOND)),)
    moved = ask(shifted_change(found), [shifted_access(a) for a in log], later, extents)
    assert core(moved) == core(ask(found, log))


@given(changes(), logs())
def test_a_window_that_runs_backwards_confirms_nobody(found: Change, log: list[FileAccess]) -> None:
    """The clock was set back between the two readings, so times in the window do not compare."""
    turned = replace(found, window=Window(after_ns=found.window.before_ns, before_ns=found.window.after_ns))
    answer = ask(turned, log)
    assert answer.verdict is not Verdict.CONFIRMED
    assert not answer.coverage.complete


@given(changes(), logs())
def test_every_access_to_the_file_has_a_ruling(found: Change, log: list[FileAccess]) -> None:
    """Each process with an access to the file, in the window or outside of it, has a ruling."""
    answer = ask(found, log)
    identities = {s.identity for s in (found.before, found.after) if s is not None}
    touched: set[Actor | tuple[object, ...]] = {
        a.actor.process for a in log if a.success and (a.identity in identities or a.replaced in identities)
    }
    assert answer.reasoning is not None
    assert touched <= {r.actor.process for r in answer.reasoning.rulings}
