"""Assembling events, whatever order their records come in."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.audit import Assembler, accesses, events, parse_line, read_stream
from fimscan.model import AuditEvent, AuditRecord, EventId, FileAccess

Accesses = Callable[[bytes], list[FileAccess]]
STAMP = re.compile(rb"audit\(([^)]*)\)")


def record(kind: str, body: bytes = b"", *, serial: int = 1, ms: int = 0) -> AuditRecord:
    return AuditRecord(EventId(1_700_000_000_000_000_000 + ms * 1_000_000, serial), kind, body)


def by_event(log: bytes) -> list[list[bytes]]:
    events: dict[bytes, list[bytes]] = {}
    for line in log.splitlines(keepends=True):
        match = STAMP.search(line)
        assert match
        events.setdefault(match[1], []).append(line)
    return list(events.values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(min_value=0), name=st.sampled_from(["programs", "rename_order", "odd_names", "symlinks"]))
def test_interleaving_changes_nothing(
    seed: int, name: str, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """The accesses are the same, however the records of different events are interleaved."""
    log = recorded(name)
    chance = random.Random(seed)
    queues = [queue[::-1] for queue in by_event(log)]
    mixed = []
    while queues:
        queue = chance.choice(queues[:8])
        mixed.append(queue.pop())
        if not queue:
            queues.remove(queue)
    found = accesses_of(b"".join(mixed))
    assert sorted(found, key=lambda access: (access.event, access.item)) == accesses_of(log)


def test_an_event_is_finished_when_all_announced_records_are_there() -> None:
    """PROCTITLE does not end an event whose PATH records are not all there."""
    assembler = Assembler()
    assert not assembler.add(record("SYSCALL", b"arch=c000003e syscall=2 items=1 ppid=1"))
    assert not assembler.add(record("PROCTITLE"))
    (event,) = assembler.add(record("PATH", b"item=0"))
    assert event.complete
    assert [r.type for r in event.records] == ["SYSCALL", "PROCTITLE", "PATH"]
    assert assembler.oldest_open() is None


def test_a_repeated_line_does_not_stand_in_for_a_lost_one() -> None:
    """Two copies of one PATH record do not count as the two that were announced."""
    assembler = Assembler()
    for kind, body in (("SYSCALL", b"x items=2"), ("PATH", b"item=0 a"), ("PATH", b"item=0 a"), ("PROCTITLE", b"")):
        assert not assembler.add(record(kind, body))
    (event,) = assembler.flush()
    assert not event.complete


@pytest.mark.parametrize("damage", ["another's", "doubled", "lost"])
def test_contiguous_lines_are_one_event_only_if_all_belong_to_it(damage: str, recorded: Callable[[str], bytes]) -> None:
    """A repeated PATH record, or another host's with the same time and serial, does not complete an event."""
    whole = [lines for lines in by_event(recorded("programs")) if sum(b"type=PATH" in line for line in lines) == 2]
    lines = next(lines for lines in whole if b"nametype=CREATE" in lines[-2])

    def completeness() -> list[bool]:
        batches = read_stream(io.BytesIO(b"".join(lines)))
        return [event.complete for batch in batches for event in batch.events if not event.id.node]

    assert completeness() == [True]
    lines[-3] = {"another's": b"node=other " + lines[-3], "doubled": lines[-2], "lost": b""}[damage]
    assert completeness() == [False]


def test_the_record_clock_gives_up_an_event() -> None:
    """An event that lacks a record is returned, incomplete, when the record clock is 5 s further."""
    assembler = Assembler()
    assembler.add(record("SYSCALL", b"x items=2 ppid=1"), 7)
    assert not assembler.add(record("USER_CMD", serial=2, ms=4999))[1:]
    assert assembler.oldest_open() == 7
    given_up = assembler.add(record("SYSCALL", b"x items=0", serial=3, ms=5001))
    assert [(e.id.serial, e.complete) for e in given_up] == [(1, False)]


def test_a_clock_set_back_does_not_split_events() -> None:
    """After the clock was set back, events are still assembled."""
    assembler = Assembler()
    assembler.add(record("SYSCALL", b"x items=0", serial=1, ms=3_600_000))
    for serial in (2, 3):
        assert not assembler.add(record("SYSCALL", b"x items=0", serial=serial, ms=serial))
    (event,) = assembler.add(record("PROCTITLE", serial=2, ms=2))
    assert (event.id.serial, event.complete) == (2, True)
    assert not assembler.add(record("USER_CMD", serial=4, ms=3000))[1:]
    assert [e.id.serial for e in assembler.add(record("SYSCALL", b"x items=0", serial=5, ms=6000))] == [1, 3]


def test_memory_is_bounded() -> None:
    """With too many open events, the oldest is given up, incomplete."""
    assembler = Assembler(max_open=3)
    events: list[AuditEvent] = []
    for serial in range(1, 6):
        events += assembler.add(record("SYSCALL", b"x items=0", serial=serial))
    assert [e.id.serial for e in events] == [1, 2]
    assert not any(e.complete for e in events)


def test_a_late_record_is_kept_and_names_no_actor() -> None:
    """A record that comes after its event was given up becomes an incomplete event without an access."""
    assembler = Assembler()
    (done,) = (*assembler.add(record("SYSCALL", b"x items=0")), *assembler.add(record("PROCTITLE")))
    assert done.complete
    assembler.add(record("PATH", b'item=0 name="f" inode=1 dev=fe:00 mode=0100644 nametype=CREATE'))
    (late,) = assembler.flush()
    assert not late.complete
    assert accesses(late) == ()


def test_a_record_far_too_late_takes_no_access_away(recorded: Callable[[str], bytes]) -> None:
    """A record that comes after an event was no longer waited for does not replace that event in the same batch."""
    lines = next(lines for lines in by_event(recorded("programs")) if sum(b"type=PATH" in line for line in lines) == 2)
    torn = [re.sub(rb"audit\([^)]*\)", b"audit(1700000000.000:1)", line) for line in lines]
    cwd = next(line for line in torn if b"type=CWD" in line)
    meanwhile = [b"type=USER_CMD msg=audit(170000000%d.000:9): pid=1\n" % second for second in (4, 8)]
    rest = [line for line in torn if line is not cwd]
    (batch,) = read_stream(io.BytesIO(b"".join([*rest, *meanwhile, cwd])))
    assert [access.event.serial for access in batch.accesses] == [1]


@pytest.mark.parametrize("between", ["an event in one piece", "a record of user space"])
def test_both_parts_of_an_event_given_up_too_early_are_incomplete(
    between: str, recorded: Callable[[str], bytes]
) -> None:
    """An event given up before its last records is incomplete, and so is the rest: neither names an actor."""
    lines = next(lines for lines in by_event(recorded("programs")) if sum(b"type=PATH" in line for line in lines) == 2)
    stamp = re.compile(rb"audit\([^)]*\)")
    torn = [stamp.sub(b"audit(1700000000.000:1)", line) for line in lines]
    meanwhile = [b"type=USER_CMD msg=audit(1700000004.000:9): pid=1\n"]
    later, serials = {
        "an event in one piece": ([*meanwhile, *[stamp.sub(b"audit(1700000008.000:2)", line) for line in lines]], [2]),
        "a record of user space": ([*meanwhile, b"type=USER_CMD msg=audit(1700000008.000:2): pid=1\n"], []),
    }[between]
    batches = list(read_stream(io.BytesIO(b"".join([*torn[:2], *later, *torn[2:]]))))
    assert [event.id.serial for batch in batches for event in batch.events] == serials


def test_daemon_records_do_not_wait() -> None:
    """DAEMON_END is the last line of a log: no later record would release it."""
    assert Assembler().add(record("DAEMON_END"))


DAMAGE = st.sampled_from(["flip", "drop", "double", "cut", "swap"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(min_value=0), kinds=st.lists(DAMAGE, min_size=1, max_size=6))
def test_no_damage_raises(seed: int, kinds: list[str], recorded: Callable[[str], bytes]) -> None:
    """Flipped bytes, and lost, repeated, truncated and swapped lines of real events never raise."""
    chance = random.Random(seed)
    names = ("programs", "exchange", "hard_links", "openat2_record", "o_tmpfile_linkat", "failed_calls", "symlinks")
    lines = [line for event in chance.sample(by_event(recorded(chance.choice(names))), 2) for line in event]
    for kind in kinds:
        at = chance.randrange(len(lines))
        match kind:
            case "flip":
                flipped = bytearray(lines[at])
                for _ in range(3):
                    flipped[chance.randrange(len(flipped))] = chance.randrange(256)
                lines[at] = bytes(flipped)
            case "drop" if len(lines) > 1:
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "cut":
                lines[at] = lines[at][: chance.randrange(1, len(lines[at]) + 1)]
            case "swap":
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    assembler = Assembler()
    events: list[AuditEvent] = []
    for line in lines:
        if parsed := parse_line(line):
            events += assembler.add(parsed)
    for event in (*events, *assembler.flush()):
        for access in accesses(event, lambda _: "somebody"):
            assert access.actor.event == event.id


@pytest.mark.parametrize("lost", [b"item=0", b"item=1"])
def test_a_rename_with_a_lost_parent_record_has_no_directory(
    lost: bytes, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """If one of the two PARENT records is lost, the other is not taken for both directories."""
    event = next(e for e in by_event(recorded("rename_order")) if b'"d1/b"' in b"".join(e))
    kept = [line for line in event if lost not in line]
    assert len(kept) == len(event) - 1
    (access,) = accesses_of(b"".join(kept))
    assert access.old is not None
    assert access.name.parent is access.old.parent is None


def held(assembler: Assembler) -> int:
    """How many records the open and waiting events have."""
    return sum(
        len(group.records)
        for node in assembler._nodes.values()
        for group in (*node.open.values(), *node.waiting.values())
    )


@pytest.mark.parametrize(
    "event",
    [
        lambda number: EventId(1_700_000_000_000_000_000, 1),  # one event that never ends
        lambda number: EventId(1_700_000_000_000_000_000, number % 500),
        lambda number: EventId(1_700_000_000_000_000_000, 1, f"host{number}"),  # of another host each
    ],
    ids=["one", "some", "of many hosts"],
)
def test_events_that_never_end_are_given_up(event: Callable[[int], EventId], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded however long the log is, whatever its clock says; what was given up is told."""
    monkeypatch.setattr(events, "MOST_BYTES", 1 << 16)
    monkeypatch.setattr(events, "_CHECK_BYTES", 1 << 12)
    monkeypatch.setattr(events, "_MOST_NODES", 100)
    assembler = Assembler()
    most, returned, lost = 0, 0, 0
    for number in range(20_000):
        # Each announces more names than it ever gets.
        body = b"arch=c000003e syscall=2 items=900000" if number % 10 == 0 else b"item=%d" % number
        line = AuditRecord(event(number), "PATH" if number % 10 else "SYSCALL", body)
        returned += sum(len(one.records) for one in assembler.add(line, number * 100))
        lost += len(assembler.lost())
        most = max(most, held(assembler))
    assert most <= ((1 << 16) + (1 << 12)) // 100 + 500  # the records of the last 64 KiB, and of events begun there
    assert returned >= 20_000 - most and lost >= 20
    oldest = assembler.oldest_open()
    assert oldest is not None and oldest > 19_000 * 100 - (1 << 16)


def test_an_event_may_be_as_long_as_the_bound() -> None:
    """Its records may be spread over 16 MiB of other lines."""
    assembler = Assembler()
    assert not assembler.add(record("SYSCALL", b"arch=c000003e syscall=2 items=1 ppid=1"), 0)
    assert not assembler.add(record("SYSCALL", b"arch=c000003e syscall=2 items=1 ppid=1", serial=2), 15 << 20)
    assert not assembler.add(record("PROCTITLE"), events.MOST_BYTES - 1)
    (event,) = assembler.add(record("PATH", b"item=0"), events.MOST_BYTES)
    assert event.complete
