"""Fuzz tests: no log content raises, and the result depends only on the records, not on how they arrive.

``FIMSCAN_FUZZ=100 pytest tests/audit/test_fuzz.py --timeout=0`` tries a hundred times as many cases.
"""

from __future__ import annotations

import io
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterable
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.audit import Assembler, AuditBatch, accesses, collector, parse_line, read_log, read_stream
from fimscan.model import AuditEvent, AuditRecord, EventId, FileAccess
from tests.audit.as_laurel import as_laurel

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "audit")
TIMES = int(os.environ.get("FIMSCAN_FUZZ", "1"))
HERE = os.uname().nodename.encode()
STAMP = re.compile(rb"audit\(([^)]*)\)|\"ID\":\"([^\"]*)\"")

Random = random.Random
Key = tuple[EventId, int]


def fuzz(examples: int) -> settings:
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=TIMES == 1,
        database=None,
    )


def _log(name: str) -> bytes:
    with open(f"{DATA}/{name}.log", "rb") as file:
        return file.read()


LOGS = {name[:-4]: _log(name[:-4]) for name in sorted(os.listdir(DATA)) if name.endswith(".log")}
_NUMBERS = {
    b"SYSCALL": 1300, b"PATH": 1302, b"SOCKADDR": 1306, b"CWD": 1307, b"PROCTITLE": 1327, b"URINGOP": 1336,
    b"OPENAT2": 1337,
}  # fmt: skip
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda log: log,
    "laurel": as_laurel,
    "syslog": lambda log: re.sub(rb"(?m)^(?=type)", b"Nov  3 04:51:21 %b audisp-syslog[12]: " % HERE, log),
    "kernel": lambda log: re.sub(
        rb"(?m)^type=(\w+) msg=",
        lambda match: b"Nov 03 04:51:21 %b kernel: audit: type=%d " % (HERE, _NUMBERS[match[1]]),
        re.sub(rb"\x1d[^\n]*", b"", log),
    ),
    "plain": lambda log: re.sub(rb"\x1d[^\n]*", b"", log),
    "glued": lambda log: log.replace(b"\x1d", b""),
}


class Chance(random.Random):
    """A random generator that prints its seed when a test fails. (Hypothesis' own would be shrunk for minutes.)"""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed

    def __repr__(self) -> str:
        return f"Chance({self._seed})"


NAMES, CHANCE = st.sampled_from(sorted(LOGS)), st.integers(0, 1 << 32).map(Chance)


class Pieces(io.RawIOBase):
    """A file whose reads return random amounts."""

    def __init__(self, content: bytes, chance: Random) -> None:
        super().__init__()
        self._file = io.BytesIO(content)
        self._chance = chance

    def read(self, size: int = -1) -> bytes:
        return self._file.read(min(size, self._chance.choice((1, 2, 30, 300, 5000))))

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)


def read(log: bytes, chance: Random | None = None) -> list[AuditBatch]:
    file = io.BytesIO(log) if chance is None else cast("BinaryIO", Pieces(log, chance))
    return list(read_stream(file, b"log", user_name={0: "root"}.get))


def found(batches: Iterable[AuditBatch]) -> list[FileAccess]:
    return sorted((access for batch in batches for access in batch.accesses), key=key)


def key(access: FileAccess) -> Key:
    return access.event, access.item


def by_event(log: bytes) -> list[list[bytes]]:
    events: dict[bytes, list[bytes]] = {}
    for line in log.splitlines(keepends=True):
        match = STAMP.search(line)
        assert match
        events.setdefault(match[1] or match[2], []).append(line)
    return list(events.values())


def interleaved(log: bytes, chance: Random, open_at_once: int = 8) -> list[bytes]:
    """Interleave the lines of different events; the lines of one event stay in order."""
    queues = [queue[::-1] for queue in by_event(log)]
    mixed = []
    while queues:
        queue = chance.choice(queues[:open_at_once])
        mixed.append(queue.pop())
        if not queue:
            queues.remove(queue)
    return mixed


def check(batches: list[AuditBatch]) -> None:
    """Check invariants of any reading: its events can be stored, and yield the same accesses when parsed again."""
    for batch in batches:
        again: list[FileAccess] = []
        for event in batch.events:
            assert all(b"\n" not in record.body and " " not in record.type for record in event.records)
            again += accesses(event, {0: "root"}.get)
        assert tuple(again) == batch.accesses
        for access in batch.accesses:
            assert access.actor.event == access.event
            assert access.actor.pid is not None
            for name in (access.name, access.old):
                assert name is None or name.path is None or name.path.startswith(b"/")


# --------------------------------------------------------------------------------------------------------------------
# Nothing raises


def damaged(lines: list[bytes], chance: Random) -> list[bytes]:
    lines = list(lines)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(lines))
        line = lines[at]
        match chance.randrange(9):
            case 0:
                lines[at] = flipped(line, chance)
            case 1:
                lines[at] = line[: chance.randrange(len(line) + 1)]  # the rest is followed by the next line at once
            case 2:
                lines[at] = line[: chance.randrange(len(line) + 1)] + b"\n"
            case 3:
                lines.insert(chance.randrange(len(lines)), line)
            case 4 if len(lines) > 1:
                del lines[at]
            case 5:
                other = chance.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case 6:
                start, end = sorted((chance.randrange(len(line) + 1), chance.randrange(len(line) + 1)))
                lines[at] = line[:start] + chance.choice(WORDS) + line[end:]
            case 7:
                lines[at] = line[chance.randrange(len(line) + 1) :]
            case 8:
                lines[at] = re.sub(rb"\d+", lambda m: chance.choice((m[0], m[0], m[0], *NUMBERS)), line)
    return lines


def flipped(line: bytes, chance: Random) -> bytes:
    changed = bytearray(line)
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


NUMBERS = (b"", b"0", b"-1", b"4294967295", b"18446744073709551616", b"9" * 30, b"7" * 5000, b"1_0", b"\xd9\xa1")
WORDS = (
    *(
        b"\x00",
        b"\x1d",
        b"\x01",
        b'"',
        b"\n",
        b"\r",
        b" ",
        b"=",
        b"{",
        b"}",
        b"[",
        b"\\",
        b"\\u0000",
        b"%",
        b"%0a",
        b"%zz",
    ),
    *(
        b"(null)",
        b"(none)",
        b"?",
        b"\xff\xfe",
        b"..",
        b"/",
        b"//..//",
        b"name=",
        b"item=0",
        b"items=999999",
        b"nametype=",
    ),
    *(b"type=SYSCALL msg=audit(1.000:1): ", b"node=x ", b"audit(", b"type=", b"kernel: audit: type=1300 ", b"a1[0]="),
    *(
        b"a0_len=9",
        b"null",
        b"[]",
        b"{}",
        b"1e999",
        b"NaN",
        b"[" * 2000,
        b'{"ID":' * 500,
        b"uring_op=",
        b"key=",
        b"\x80" * 99,
    ),
)


@fuzz(150)
@given(name=NAMES, form=st.sampled_from(sorted(FORMS)), chance=CHANCE)
def test_no_damage_raises(name: str, form: str, chance: Random) -> None:
    """Real logs in every format, with lines truncated, torn, repeated, lost, swapped and overwritten."""
    lines = FORMS[form](LOGS[name]).splitlines(keepends=True)
    start = chance.randrange(len(lines))
    lines = damaged(lines[start : start + 40], chance)
    other = FORMS[chance.choice(sorted(FORMS))](LOGS[chance.choice(sorted(LOGS))]).splitlines(keepends=True)
    check(read(b"".join(lines + other[: chance.randrange(9)]), chance))


@fuzz(100)
@given(st.lists(st.binary(max_size=80) | st.sampled_from(WORDS + NUMBERS), max_size=30), CHANCE)
def test_no_bytes_raise(parts: list[bytes], chance: Random) -> None:
    """Any bytes, and the words of the format in any order."""
    check(read(b"".join(parts), chance))
    check(read(b"\n".join(b"type=SYSCALL msg=audit(1.000:1): " + part for part in parts), chance))
    for part in parts:
        parse_line(part)


FIELDS = (
    *(
        "arch=c000003e",
        "arch=c00000b7",
        "arch=8",
        "syscall=2",
        "syscall=257",
        "syscall=82",
        "syscall=437",
        "syscall=316",
    ),
    *(
        "syscall=87",
        "syscall=265",
        "syscall=133",
        "success=yes",
        "success=no",
        "a0=ffffff9c",
        "a1=241",
        "a2=80241",
        "a3=1",
    ),
    *(
        "items=0",
        "items=1",
        "items=5",
        "ppid=1",
        "pid=2",
        "auid=1000",
        "auid=4294967295",
        "uid=0",
        "ses=3",
        'exe="/bin/x"',
    ),
    *('comm="x"', "key=(null)", "key=6101", "uring_op=36", "uring_op=18", "item=0", "item=1", "item=2", 'name="f"'),
    *("name=(null)", "name=2F61", 'name="../x"', 'name="/d/x"', "inode=5", "inode=6", "dev=fe:00", "mode=0100644"),
    *("mode=040755", "nametype=NORMAL", "nametype=CREATE", "nametype=DELETE", "nametype=PARENT", "nametype=UNKNOWN"),
    *(
        'cwd="/d"',
        "oflag=0101",
        "rdev=00:00",
        "proctitle=7800",
        'a0="x"',
        "a1_len=4",
        "a1[0]=6162",
        "op=add_rule",
        "res=1",
    ),
)
RECORDS = st.tuples(
    st.sampled_from(
        ["SYSCALL", "URINGOP", "PATH", "CWD", "OPENAT2", "EXECVE", "PROCTITLE", "EOE", "CONFIG_CHANGE", "1307"]
    ),
    st.lists(st.sampled_from(FIELDS), max_size=24),
)


@fuzz(150)
@given(st.lists(RECORDS, max_size=12), CHANCE)
def test_no_records_raise(records: list[tuple[str, list[str]]], chance: Random) -> None:
    """Records of any type with any fields in any order, as one event or as several."""
    texts = [
        f"type={kind} msg=audit({chance.choice((1, 1, 1, 2, 900))}.000:1): {' '.join(fields)}\n"
        for kind, fields in records
    ]
    check(read("".join(texts).encode(), chance))


# --------------------------------------------------------------------------------------------------------------------
# The result depends on the records alone


def over_minutes(log: bytes, chance: Random) -> list[bytes]:
    """Move the times of events far apart, out of order: some are given up, and continue later."""
    queues = []
    for number, lines in enumerate(by_event(log)):
        stamp = b"audit(1700000%03d.000:%d)" % (chance.randrange(0, 200, 4), chance.choice((1, number)))
        queues.append([_STAMP_ALONE.sub(stamp, line) for line in lines])
    mixed = []
    while queues:
        queue = chance.choice(queues[:8])
        some = chance.choice((1, 2, len(queue)))
        mixed += queue[:some]
        del queue[:some]
        if not queue:
            queues.remove(queue)
    return mixed


_STAMP_ALONE = re.compile(rb"audit\([^)]*\)")


def _all_of(batches: Iterable[AuditBatch]) -> list[object]:
    """All results together, because their division into batches does not matter."""
    those = list(batches)
    parts = ("found", "executions", "notices", "damaged")
    return [those[-1].cursor if those else None, *([x for b in those for x in getattr(b, part)] for part in parts)]


@fuzz(150)
@given(name=NAMES, form=st.sampled_from(["raw", "plain", "node", "returns", "syslog", "kernel"]), chance=CHANCE)
def test_contiguous_events_equal_those_assembled_line_by_line(name: str, form: str, chance: Random) -> None:
    """For real logs, whole and damaged, the fast parser finds what the assembler finds line by line."""
    log = LOGS[name]
    if form == "node":
        log = re.sub(rb"(?m)^type=", b"node=web1 type=", log)
    elif form == "returns":
        log = log.replace(b"\n", b"\r\n", chance.randrange(200))
    else:
        log = FORMS[form](log)
    lines = over_minutes(log, chance) if chance.random() < 0.5 else log.splitlines(keepends=True)
    start = chance.randrange(len(lines))
    lines = lines[start : start + 60]
    content = b"".join(damaged(lines, chance) if chance.random() < 0.5 else lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collector, "whole_event", lambda *_, **__: None)
        line_by_line = _all_of(read_stream(io.BytesIO(content), batch_events=7))
    assert _all_of(read_stream(io.BytesIO(content), batch_events=7)) == line_by_line


def test_most_events_are_contiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast parser halves the time; no other test would show that it no longer matches."""
    log = b"".join(LOGS.values())
    in_pieces = 0

    def add(assembler: Assembler, record: AuditRecord, position: int) -> tuple[AuditEvent, ...]:
        nonlocal in_pieces
        done = add_record(assembler, record, position)
        in_pieces += len(done)
        return done

    add_record = Assembler.add
    monkeypatch.setattr(Assembler, "add", add)
    events = sum(len(batch.events) for batch in read(log))
    assert in_pieces < 0.4 * events


@fuzz(60)
@given(name=NAMES, form=st.sampled_from(sorted(FORMS)), chance=CHANCE)
def test_the_order_of_events_and_the_size_of_blocks_change_nothing(name: str, form: str, chance: Random) -> None:
    """However the records of different events are mixed, and wherever a read ends, the accesses are the same."""
    log = FORMS[form](LOGS[name])
    batches = read(b"".join(interleaved(log, chance)), chance)
    assert found(batches) == found(read(log))
    assert not any(batch.damaged for batch in batches)


@fuzz(120)
@given(
    name=NAMES,
    form=st.sampled_from(["raw", "plain", "syslog", "glued"]),
    size=st.sampled_from([7, 5000]),
    chance=CHANCE,
)
def test_the_order_of_an_events_lines_changes_nothing(name: str, form: str, size: int, chance: Random) -> None:
    """The records of one event may come in any order, mixed with other events', even after its PROCTITLE."""
    log = FORMS[form](LOGS[name])
    queues = by_event(log)
    for queue in queues:
        chance.shuffle(queue)
    mixed = []
    while queues:
        queue = chance.choice(queues[:8])
        mixed.append(queue.pop())
        if not queue:
            queues.remove(queue)
    batches = list(read_stream(io.BytesIO(b"".join(mixed)), b"log", user_name={0: "root"}.get, batch_events=size))
    assert not any(batch.damaged for batch in batches)
    expected = found(read(log))
    if size > 1000 or name != "io_uring":  # the process of an operation is found within one batch only
        assert found(batches) == expected
    assert list(map(key, found(batches))) == list(map(key, expected))


@fuzz(200)
@given(name=NAMES, form=st.sampled_from(["raw", "plain", "glued"]), chance=CHANCE)
def test_a_truncated_line_changes_nothing_or_is_counted(name: str, form: str, chance: Random) -> None:
    """Truncated at any byte: either the accesses are the same in every detail, or the damage is reported.

    One case is not detected: the last, hexadecimal value of PROCTITLE truncated between two of its bytes.
    """
    log = FORMS[form](LOGS[name])
    event = chance.choice(by_event(log))
    expected = found(read(b"".join(event)))
    at = chance.randrange(len(event))
    line = event[at]
    for end in range(1, len(line) - 1):
        batches = read(b"".join([*event[:at], line[:end], b"\n", *event[at + 1 :]]))
        if any(batch.damaged for batch in batches):
            continue
        now = found(batches)
        if line.startswith(b"type=PROCTITLE"):
            now = [access._replace(actor=access.actor._replace(cmdline=None)) for access in now]
            before = [access._replace(actor=access.actor._replace(cmdline=None)) for access in expected]
            assert now == before, line[:end]
        elif not (form == "plain" and expected and not expected[0].success and _ends_as_before_2_6_39(line[:end])):
            assert now == expected, line[:end]


def _ends_as_before_2_6_39(line: bytes) -> bool:
    """Whether a PATH record looks like one of a kernel without nametype, so that a failed call's is not conclusive."""
    return re.search(rb" name=(?:\S+)(?: inode=.* rdev=[0-9a-f:]{5})? ?\Z", line) is not None


@fuzz(60)
@given(name=NAMES, form=st.sampled_from(sorted(FORMS)), chance=CHANCE)
def test_a_repeated_line_adds_no_access(name: str, form: str, chance: Random) -> None:
    """Lines repeated at once or later add no access."""
    log = FORMS[form](LOGS[name])
    expected = {key(access): access for access in found(read(log))}
    lines: list[bytes] = []
    for line in interleaved(log, chance):
        lines.append(line)
        while chance.random() < 0.2:
            again = chance.randrange(max(len(lines) - 12, 0), len(lines))
            lines.insert(chance.randrange(again, len(lines)) + 1, lines[again])
    first: dict[Key, FileAccess] = {}
    for batch in read(b"".join(lines)):
        for access in batch.accesses:
            first.setdefault(key(access), access)
    assert first == expected


@fuzz(80)
@given(name=NAMES, form=st.sampled_from(sorted(FORMS)), chance=CHANCE)
def test_a_damaged_line_affects_only_its_own_event(name: str, form: str, chance: Random) -> None:
    """Damage to one line changes no other event, and names no other actor for its own."""
    log = FORMS[form](LOGS[name])
    lines = interleaved(log, chance)
    at = chance.randrange(len(lines))
    whole = lines[at]
    match = STAMP.search(whole)
    assert match
    own = match[1] or match[2]
    start = match.end() + 2  # after the stamp, because the stamp identifies the event
    match chance.randrange(4):
        case 0:
            lines[at] = whole[:start] + flipped(whole[start:-1], chance).replace(b"\n", b"") + b"\n"
        case 1:
            lines[at] = whole[: chance.randrange(len(whole))] + b"\n"
        case 2:
            del lines[at]
        case 3:
            lines[at] = whole[: chance.randrange(len(whole))]  # the next line is torn, too
    lost = (
        {own, *(m[1] or m[2] for line in lines[at : at + 2] if (m := STAMP.search(line)))} if at < len(lines) else {own}
    )
    # (An io_uring operation can also lose what other events say about its process.)
    relevant = [access for access in found(read(log)) if _stamp(access) not in lost]
    others = [access for access in found(read(b"".join(lines))) if _stamp(access) not in lost]
    assert list(map(key, others)) == list(map(key, relevant))
    if name != "io_uring":
        assert others == relevant


def _stamp(access: FileAccess) -> bytes:
    return str(access.event).encode()


@fuzz(25)
@given(
    names=st.lists(NAMES, min_size=1, max_size=2, unique=True), form=st.sampled_from(["raw", "laurel"]), chance=CHANCE
)
def test_reading_a_growing_log_equals_reading_it_whole(names: list[str], form: str, chance: Random) -> None:
    """A log that grows by a few bytes at a time, and is rotated now and then, yields the same as read at once."""
    log = b"".join(line for name in names for line in interleaved(FORMS[form](LOGS[name]), chance))
    with tempfile.TemporaryDirectory() as directory:
        live = os.path.join(os.fsencode(directory), b"audit.log")
        cursor, batches, place, rotations = None, list[AuditBatch](), 0, 0
        while place < len(log):
            size = chance.choice((1, 40, 700, 9000))
            with open(live, "ab") as file:
                file.write(log[place : place + size])
            place += size
            if chance.random() < 0.3:
                batches += read_log(live, cursor, batch_events=chance.choice((1, 5, 5000)), user_name={0: "root"}.get)
            if log[place - 1 : place] == b"\n" and chance.random() < 0.2 and place < len(log):
                for number in range(rotations, 0, -1):
                    os.rename(b"%b.%d" % (live, number), b"%b.%d" % (live, number + 1))
                os.rename(live, live + b".1")
                rotations += 1
            cursor = batches[-1].cursor if batches else None
        batches += read_log(live, cursor, final=True, user_name={0: "root"}.get) if os.path.exists(live) else []
    assert not any(batch.lost_continuity or batch.damaged for batch in batches)
    again: dict[Key, FileAccess] = {}
    for batch in batches:
        again |= {key(access): access for access in batch.accesses if key(access) not in again}
    expected = {key(access): access for access in found(read(log))}
    assert again.keys() == expected.keys()
    if "io_uring" not in names:  # the process of an operation is found within one batch only
        assert again == expected


def test_the_logs_contain_every_kind_of_access() -> None:
    """The recorded logs contain accesses of every kind, so the tests above cover all kinds."""
    assert len({access.action for log in LOGS.values() for access in found(read(log))}) >= 13


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_form_is_read_without_damage(form: str) -> None:
    """The formats that are damaged above are first read undamaged."""
    for log in LOGS.values():
        assert [key(a) for a in found(read(FORMS[form](log)))] == [key(a) for a in found(read(log))]
