"""Reading every record once: rotation, compression, restarts, and lost logs."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from fimscan.audit import AuditBatch, LogCursor, read_log, read_stream, reader, segments
from fimscan.audit.collector import MOST_DAMAGED
from fimscan.errors import InputError
from fimscan.model import EventId, FileAccess

Accesses = Callable[[bytes], list[FileAccess]]
Key = tuple[EventId, int]


def keys(batches: list[AuditBatch]) -> list[Key]:
    return [(access.event, access.item) for batch in batches for access in batch.accesses]


@pytest.fixture
def log(recorded: Callable[[str], bytes]) -> bytes:
    return recorded("rename_order") + recorded("unlinks")


@pytest.fixture
def expected(log: bytes, accesses_of: Accesses) -> list[Key]:
    return [(access.event, access.item) for access in accesses_of(log)]


def test_a_crash_between_batches_loses_no_event_that_was_held_back(tmp_path: Path, log: bytes) -> None:
    """An event that may still get a record is given with a later batch: the cursor of the earlier one is before it."""
    without_cwd = [line for line in log.splitlines(keepends=True) if b"type=CWD" not in line]
    path = tmp_path / "audit.log"
    path.write_bytes(b"".join(without_cwd))
    expected = sorted(set(keys(list(read_log(os.fsencode(path))))))
    batches = list(read_log(os.fsencode(path), batch_events=1))
    assert len(batches) > 2
    for stored in range(1, len(batches)):
        again = list(read_log(os.fsencode(path), batches[stored - 1].cursor))
        assert sorted(set(keys(batches[:stored] + again))) == expected


def test_a_restart_at_any_byte_loses_nothing(
    tmp_path: Path, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Wherever the first reading ended, even before a rotation, every access is returned."""
    log = recorded("exchange")
    rest = recorded("hard_links")
    expected = [(access.event, access.item) for access in accesses_of(log + rest)]
    live = tmp_path / "audit.log"
    for size in range(300, len(log), 13):
        live.write_bytes(log[:size])
        first = list(read_log(os.fsencode(live)))
        with live.open("ab") as file:
            file.write(log[size:])
        live.rename(tmp_path / "audit.log.1")
        live.write_bytes(rest)
        second = list(read_log(os.fsencode(live), first[-1].cursor if first else None, final=True))
        assert not any(batch.lost_continuity or batch.damaged for batch in first + second)
        assert sorted(set(keys(first) + keys(second))) == sorted(expected)
        (tmp_path / "audit.log.1").unlink()


def test_an_event_may_span_a_rotation_at_any_line(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """An event that begins in one file and ends in the next is whole; a restart from any batch repeats nothing more."""
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    for cut in range(1, len(lines) - 1):
        (tmp_path / "audit.log.1").write_bytes(b"".join(lines[:cut]))
        live.write_bytes(b"".join(lines[cut:]))
        batches = list(read_log(os.fsencode(live), batch_events=1))
        assert keys(batches) == expected
        resumed = list(read_log(os.fsencode(live), batches[len(batches) // 2].cursor))
        assert set(keys(batches[: len(batches) // 2 + 1]) + keys(resumed)) == set(expected)


def test_rotation_while_reading_loses_nothing(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """A log that gets its last lines and is renamed while it is read is read to its end, and then the new one."""
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    live.write_bytes(b"".join(lines[:30]))
    reader = read_log(os.fsencode(live), batch_events=1)
    found = [next(reader)]
    with live.open("ab") as file:
        live.rename(tmp_path / "audit.log.1")
        file.write(b"".join(lines[30:40]))
    live.write_bytes(b"".join(lines[40:]))
    found += reader
    assert keys(found) == expected
    assert not any(batch.lost_continuity for batch in found)


def test_a_rotation_during_listing_hides_no_segment(
    tmp_path: Path, log: bytes, expected: list[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the segments are listed, each is renamed to the next name, oldest first: none is skipped."""
    live = tmp_path / "audit.log"
    lines = log.splitlines(keepends=True)
    names = [live.with_name("audit.log.3"), live.with_name("audit.log.2"), live.with_name("audit.log.1"), live]
    for number, name in enumerate(names):
        name.write_bytes(b"".join(lines[number * len(lines) // 4 : (number + 1) * len(lines) // 4]))
    really, looked_at = segments.open_segment, 0

    def rotate_meanwhile(path: bytes) -> tuple[BinaryIO, os.stat_result, bytes, bool]:
        nonlocal looked_at
        opened = really(path)
        looked_at += path.endswith(b".2")
        if path.endswith(b".2") and looked_at == 3:  # between the second and the third name
            for number in (3, 2, 1):
                live.with_name(f"audit.log.{number}").rename(live.with_name(f"audit.log.{number + 1}"))
            live.rename(live.with_name("audit.log.1"))
            live.touch()
        return opened

    monkeypatch.setattr(segments, "open_segment", rotate_meanwhile)
    assert keys(list(read_log(os.fsencode(live), final=True))) == expected
    assert looked_at > 3


def test_lines_written_just_before_a_rotation_are_read(
    tmp_path: Path, log: bytes, expected: list[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that auditd adds between the end of the reading and the rotation are not skipped."""
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    live.write_bytes(b"".join(lines[:30]))
    stat = os.stat

    def rotate_first(path: bytes) -> os.stat_result:
        monkeypatch.undo()
        with live.open("ab") as file:
            file.write(b"".join(lines[30:40]))
        live.rename(tmp_path / "audit.log.1")
        live.write_bytes(b"".join(lines[40:]))
        return stat(path)

    monkeypatch.setattr(os, "stat", rotate_first)
    assert keys(list(read_log(os.fsencode(live)))) == expected


@pytest.mark.parametrize("rotated", [False, True])
def test_reading_a_fast_growing_log_ends(
    tmp_path: Path, recorded: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch, *, rotated: bool
) -> None:
    """A log that grows as fast as it is read must not delay a scan; the next reading gets the rest."""
    live = tmp_path / "audit.log"
    rest = recorded("unlinks") + recorded("chmods")
    written = recorded("rename_order")
    live.write_bytes(written)
    expected = keys(list(read_log(os.fsencode(live), final=True)))
    blocks = 0

    def growing(file: BinaryIO, size: int) -> tuple[bytes, str]:
        nonlocal blocks
        block = segments.read_block(file, size)
        blocks += 1
        assert blocks < 100, "it never ends"
        if rotated and block[0]:
            live.rename(tmp_path / f"audit.log.{100 - blocks}")
        with live.open("ab") as more:
            more.write(re.sub(rb"audit\((\d+)", lambda m: b"audit(%d" % (int(m[1]) + 1000 * blocks), rest))
        return block

    monkeypatch.setattr(reader, "MOST_NEW_BYTES", 50_000)
    monkeypatch.setattr(reader, "read_block", growing)
    first = list(read_log(os.fsencode(live)))
    assert 2 < blocks < 20 and not any(batch.lost_continuity for batch in first)
    monkeypatch.undo()
    second = list(read_log(os.fsencode(live), first[-1].cursor, final=True))
    whole = keys(list(read_log(os.fsencode(live), final=True)))
    assert sorted(set(keys(first) + keys(second))) == sorted(whole)
    assert set(expected) <= set(keys(first))


def test_a_compressed_log_can_come_through_a_pipe(log: bytes, expected: list[Key]) -> None:
    """Standard input is read like a file, plain or compressed."""
    for content in (gzip.compress(log), log):
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(content)
            process.stdin.close()
            assert keys(list(read_stream(cast("BinaryIO", process.stdout)))) == expected


def test_a_cursor_finds_its_file_compressed(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """logrotate's compressed and dated predecessors are read in order, and a cursor stays valid after compression."""
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    live.write_bytes(b"".join(lines[:20]))
    first = list(read_log(os.fsencode(live)))
    (tmp_path / "audit.log.2.gz").write_bytes(gzip.compress(b"".join(lines[:25])))
    (tmp_path / "audit.log.1").write_bytes(b"".join(lines[25:50]))
    (tmp_path / "audit.log.1.swp").write_bytes(b"junk\n")
    live.write_bytes(b"".join(lines[50:]))
    second = list(read_log(os.fsencode(live), first[-1].cursor))
    assert not any(batch.lost_continuity for batch in second)
    assert sorted(set(keys(first) + keys(second))) == sorted(expected)
    assert keys(list(read_log(os.fsencode(live)))) == expected
    (tmp_path / "audit.log.1").rename(tmp_path / "audit.log-20260102")
    (tmp_path / "audit.log.2.gz").rename(tmp_path / "audit.log-20260101.gz")
    assert keys(list(read_log(os.fsencode(live)))) == expected


def test_a_lost_log_is_reported(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """If the cursor's file was rotated away or truncated, the first batch reports it.

    The rest is read from its start.
    """
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    live.write_bytes(b"".join(lines[5:10]))
    gone = LogCursor(os.fsencode(live), 1, 2, 300, b"another first line")
    live.write_bytes(log)
    batches = list(read_log(os.fsencode(live), gone, batch_events=1))
    assert [batch.lost_continuity for batch in batches] == [True] + [False] * (len(batches) - 1)
    assert keys(batches) == expected
    live.write_bytes(b"".join(lines[:5]))
    (shorter,) = read_log(os.fsencode(live), batches[-1].cursor)
    assert shorter.lost_continuity


def test_nothing_new_gives_no_batch(tmp_path: Path, log: bytes) -> None:
    """Reading again at the end of an unchanged log returns no batch."""
    live = tmp_path / "audit.log"
    live.write_bytes(log)
    (batch,) = read_log(os.fsencode(live))
    assert list(read_log(os.fsencode(live), batch.cursor)) == []


def test_an_unfinished_line_waits(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """A line that auditd is still writing is not damage: it is read when it is whole, or when the log is final."""
    live = tmp_path / "audit.log"
    live.write_bytes(log[:-40])
    (batch,) = read_log(os.fsencode(live))
    assert not batch.damaged
    assert keys([batch]) == expected[:-1]
    live.write_bytes(log[:-1])
    assert keys(list(read_log(os.fsencode(live), batch.cursor, final=True))) == expected[-1:]


def test_damaged_lines_are_kept_with_their_offset(log: bytes, expected: list[Key]) -> None:
    """A line that is not a record is kept; blank lines and ausearch's separators are not."""
    damaged = b"----\ntime->Thu Aug 10 18:43:24 2023\n\n" + log + b"type=UNKNOWN[1329] msg=g\n" + b"\xff\x00 tail"
    batches = list(read_stream(io.BytesIO(damaged), b"some.log"))
    assert keys(batches) == expected
    lines = [line for batch in batches for line in batch.damaged]
    assert [line.line for line in lines] == [b"type=UNKNOWN[1329] msg=g", b"\xff\x00 tail"]
    assert all(damaged[line.offset :].startswith(line.line) and line.source == b"some.log" for line in lines)


def test_prefixed_lines_and_carriage_returns_are_read(log: bytes, expected: list[Key]) -> None:
    """A log that went through syslog or a Windows machine yields the same accesses."""
    syslog = (
        re.sub(rb"(?m)^", b"Nov 23 04:51:21 %b audisp-syslog[12]: " % os.uname().nodename.encode(), log.rstrip(b"\n"))
        + b"\n"
    )
    for text in (syslog, log.replace(b"\n", b"\r\n"), log.replace(b"\x1d", b" "), log.replace(b"\x1d", b"")):
        assert keys(list(read_stream(io.BytesIO(text)))) == expected


def gzip_that_is_damaged(log: bytes, how: str) -> bytes:
    """A gzip of ``log`` and much more, damaged after the lines of ``log``."""
    noise = b"".join(b"type=EOE msg=audit(1.000:1): %s\n" % os.urandom(100).hex().encode() for _ in range(300))
    if how == "cut":
        return gzip.compress(log + noise)[:-400]
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(log + noise) + compressor.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 1000


@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_a_damaged_gzip_is_read_up_to_the_damage(how: str, log: bytes, expected: list[Key]) -> None:
    """A truncated compressed log is read as far as possible; the damage is one line, and a loss."""
    batches = list(read_stream(io.BytesIO(gzip_that_is_damaged(log, how)), b"x.gz"))
    assert keys(batches) == expected
    (damage,) = [line for batch in batches for line in batch.damaged]
    assert "compressed file is damaged" in damage.problem
    assert damage.offset > len(log)
    assert any(batch.lost_continuity for batch in batches)


@pytest.mark.parametrize("how", ["cut", "overwritten"])
def test_a_damaged_predecessor_does_not_stop_the_reading(
    how: str, tmp_path: Path, log: bytes, expected: list[Key]
) -> None:
    """After a damaged compressed log, the next one is read, and the damage is reported once."""
    lines = log.splitlines(keepends=True)
    live = tmp_path / "audit.log"
    (tmp_path / "audit.log.1.gz").write_bytes(gzip_that_is_damaged(b"".join(lines[:40]), how))
    live.write_bytes(b"".join(lines[40:]))
    batches = list(read_log(os.fsencode(live)))
    assert keys(batches) == expected
    assert len([line for batch in batches for line in batch.damaged]) == 1
    assert list(read_log(os.fsencode(live), batches[-1].cursor)) == []


def test_damage_at_the_end_of_the_last_predecessor_is_reported_once(tmp_path: Path, log: bytes) -> None:
    """While the live log is still empty, later readings do not report the same damage again."""
    live = tmp_path / "audit.log"
    (tmp_path / "audit.log.1.gz").write_bytes(gzip_that_is_damaged(log, "cut"))
    live.write_bytes(b"")
    first = list(read_log(os.fsencode(live), final=True))
    assert len([line for batch in first for line in batch.damaged]) == 1
    assert list(read_log(os.fsencode(live), first[-1].cursor, final=True)) == []


def test_a_gzip_without_a_readable_beginning_is_reported(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """A wholly unreadable compressed log is reported, but not one that logrotate is still writing."""
    live = tmp_path / "audit.log"
    live.write_bytes(log)
    (tmp_path / "audit.log.1.gz").write_bytes(gzip.compress(log)[:20])
    (batch,) = read_log(os.fsencode(live), final=True)
    assert keys([batch]) == expected
    assert [line.source for line in batch.damaged] == [os.fsencode(tmp_path / "audit.log.1.gz")]
    assert batch.lost_continuity
    live.rename(tmp_path / "audit.log.1")
    (batch,) = read_log(os.fsencode(live), final=True)
    assert not batch.damaged
    assert not batch.lost_continuity


def test_an_emptied_log_is_reported_as_lost_once(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """': > audit.log' is reported once, however long the file stays empty; later lines are read from its start."""
    live = tmp_path / "audit.log"
    path = os.fsencode(live)
    live.write_bytes(b"type=EOE msg=audit(1.000:1): \n" * 20)
    *_, batch = read_log(path, final=True)
    live.write_bytes(b"")
    (lost,) = read_log(path, batch.cursor)
    assert lost.lost_continuity
    assert (lost.accesses, lost.first_ns, lost.last_ns) == ((), None, None)
    assert list(read_log(path, lost.cursor)) == []
    live.write_bytes(log[:60])  # less than one line
    assert list(read_log(path, lost.cursor)) == []
    live.write_bytes(log)
    found = list(read_log(path, lost.cursor, final=True))
    assert keys(found) == expected
    assert not any(batch.lost_continuity for batch in found)
    live.rename(tmp_path / "audit.log.1")
    live.write_bytes(b"")
    assert keys(list(read_log(path, lost.cursor, final=True))) == expected
    assert not any(batch.lost_continuity for batch in read_log(path, lost.cursor))


def test_an_emptied_and_refilled_log_is_lost_once(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """Emptied and refilled between two readings: one loss, and the new lines are read from the first."""
    live = tmp_path / "audit.log"
    live.write_bytes(b"type=EOE msg=audit(1.000:1): \n" * 20)
    *_, batch = read_log(os.fsencode(live))
    live.write_bytes(log)
    (lost,) = read_log(os.fsencode(live), batch.cursor, final=True)
    assert lost.lost_continuity
    assert keys([lost]) == expected
    assert list(read_log(os.fsencode(live), lost.cursor)) == []


def test_a_deleted_and_recreated_log_is_a_loss(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """Deleted: an error. Recreated empty: one loss. Replaced by another file with lines: one more."""
    live = tmp_path / "audit.log"
    path = os.fsencode(live)
    live.write_bytes(b"type=EOE msg=audit(1.000:1): \n")
    *_, batch = read_log(path)
    live.unlink()
    with pytest.raises(InputError, match="check that auditd runs"):
        list(read_log(path, batch.cursor))
    live.touch()
    (lost,) = read_log(path, batch.cursor)
    assert lost.lost_continuity
    assert list(read_log(path, lost.cursor)) == []
    (tmp_path / "another").write_bytes(log)
    (tmp_path / "another").rename(live)
    (again,) = read_log(path, lost.cursor, final=True)
    assert again.lost_continuity
    assert keys([again]) == expected


def test_an_empty_log_is_no_loss_at_the_first_reading(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """The first reading of a log without lines returns nothing, and the next one everything."""
    live = tmp_path / "audit.log"
    live.touch()
    assert list(read_log(os.fsencode(live))) == []
    live.write_bytes(log)
    (batch,) = read_log(os.fsencode(live), final=True)
    assert keys([batch]) == expected
    assert not batch.lost_continuity


def test_a_cursor_in_a_predecessor_belongs_to_its_log(tmp_path: Path, log: bytes) -> None:
    """A log is emptied and its predecessor read again: the loss is reported once."""
    live = tmp_path / "audit.log"
    path = os.fsencode(live)
    (tmp_path / "audit.log.1").write_bytes(log)
    live.write_bytes(b"type=EOE msg=audit(1.000:1): \n")
    *_, batch = read_log(path)
    live.write_bytes(b"")
    *_, lost = read_log(path, batch.cursor, final=True)
    assert lost.lost_continuity
    assert lost.cursor.path == path
    assert list(read_log(path, lost.cursor)) == []


@pytest.mark.parametrize("size", [1, 3, 4, 100])
def test_batches_hold_every_event_and_their_times(size: int, log: bytes, expected: list[Key]) -> None:
    """Events that do not fill the last batch are returned, too.

    Each batch has the times of its first and last event.
    """
    text = log + b"".join(b"type=SERVICE_START msg=audit(9%09d.000:7): pid=1\n" % n for n in (5, 7, 6))
    batches = list(read_stream(io.BytesIO(text), batch_events=size))
    assert keys(batches) == expected
    for batch in batches:
        times = [access.event.time_ns for access in batch.accesses]
        assert not times or (batch.first_ns or 0) <= min(times) <= max(times) <= (batch.last_ns or 0)
    assert max(batch.last_ns or 0 for batch in batches) == 9_000_000_007_000_000_000
    (damaged,) = read_stream(io.BytesIO(b"no record\n"))
    assert (damaged.first_ns, damaged.last_ns) == (None, None)


def test_a_file_that_is_no_log_is_read_in_bounded_memory(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """Random bytes are damaged lines, in batches of bounded size, and a record after them is read."""
    live = tmp_path / "audit.log"
    junk = os.urandom(2_000_000).replace(b"\x1f\x8b", b"..") + b"\n" + b"x\n" * 60_000
    live.write_bytes(junk + log)
    tracemalloc.start()
    reader = read_log(os.fsencode(live), final=True)
    found: list[Key] = []
    damaged = kept = 0
    cursor = None
    for batch in reader:
        found += keys([batch])
        damaged += sum(line.count for line in batch.damaged)
        kept += sum(line.count == 1 for line in batch.damaged)
        cursor = cursor or batch.cursor
        assert all(junk[line.offset :].startswith(line.line) for line in batch.damaged[:5])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == expected
    assert damaged > 60_000 and kept == MOST_DAMAGED
    assert peak < 12_000_000
    (first,) = next(iter(read_log(os.fsencode(live), cursor, final=True))).damaged[:1]
    assert junk[first.offset - 1 : first.offset] == b"\n"


def test_an_endless_line_is_one_damaged_line(log: bytes, expected: list[Key]) -> None:
    """However long a line is, it is one damaged line of limited size, even with a record in the middle of it."""
    inside = b"x" * (5 << 20) + log.replace(b"\n", b" ") + b"x" * (1 << 20)
    batches = list(read_stream(io.BytesIO(inside + b"\n" + log)))
    assert keys(batches) == expected
    (line,) = [line for batch in batches for line in batch.damaged]
    assert line.offset == 0
    assert len(line.line) < 20_000


def test_memory_does_not_grow_with_the_log(tmp_path: Path, log: bytes) -> None:
    """A log of 8 MB, which is far larger as objects, is read in a few MB of memory; so is an endless line."""
    big = tmp_path / "audit.log"
    with big.open("wb") as file:
        for number in range(8_000_000 // len(log)):
            file.write(log.replace(b"audit(1", b"audit(%d" % (10 + number % 80)))
        file.write(b"x" * 20_000_000 + b"\n")
    tracemalloc.start()
    for _ in read_log(os.fsencode(big), batch_events=500):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_missing_or_unreadable_log_says_what_to_do(tmp_path: Path) -> None:
    """One line with the path and the action, not a traceback."""
    with pytest.raises(InputError, match="check that auditd runs"):
        list(read_log(os.fsencode(tmp_path / "audit.log")))
    with pytest.raises(InputError, match="check that auditd runs"):
        list(read_log(os.fsencode(tmp_path / "no" / "audit.log")))
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(InputError, match="cannot read the audit log"):
        list(read_log(os.fsencode(tmp_path / "audit.log")))
    shutil.rmtree(tmp_path / "audit.log")


@pytest.mark.parametrize("line", [b"x", b"", b"Nov 30 03:00:00 web kernel: type="], ids=["junk", "blank", "begun"])
def test_millions_of_lines_without_a_record_are_counted(
    tmp_path: Path, log: bytes, expected: list[Key], line: bytes
) -> None:
    """Anybody may write them to syslog. Few are kept, all are counted, and records after them are read."""
    live = tmp_path / "audit.log"
    count = 300_000
    live.write_bytes((line + b"\n") * count + log)
    batches = [*read_log(os.fsencode(live), final=True)]
    assert keys(batches) == expected
    damaged = [one for batch in batches for one in batch.damaged]
    assert sum(one.count for one in damaged) == (count if line else 0)
    assert len(damaged) < MOST_DAMAGED + 100


@pytest.mark.parametrize("name", ["audit.log", "audit.log.1"])
@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_pipe_or_device_is_no_log(tmp_path: Path, log: bytes, name: str, kind: str) -> None:
    """It may never end; opening it does not wait for a writer."""
    (tmp_path / "audit.log").write_bytes(log)
    odd = tmp_path / name
    odd.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a pipe or a device"):
        list(read_log(os.fsencode(tmp_path / "audit.log"), final=True))
