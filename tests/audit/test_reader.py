"""Every record once: rotation, compression, restarts, and what is lost."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from fimscan.audit import Batch, LogCursor, read_log, read_stream
from fimscan.errors import InputError
from fimscan.model import EventId, FileAccess

Accesses = Callable[[bytes], list[FileAccess]]
Key = tuple[EventId, int]


def keys(batches: list[Batch]) -> list[Key]:
    return [(access.event, access.item) for batch in batches for access in batch.accesses]


@pytest.fixture
def log(recorded: Callable[[str], bytes]) -> bytes:
    return recorded("rename_order") + recorded("unlinks")


@pytest.fixture
def expected(log: bytes, accesses_of: Accesses) -> list[Key]:
    return [(access.event, access.item) for access in accesses_of(log)]


def test_a_restart_at_any_byte_loses_nothing(
    tmp_path: Path, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Wherever the log ended when it was first read, and though it was rotated after that, each access comes."""
    log = recorded("exchange")
    rest = recorded("hard_links")
    expected = [(access.event, access.item) for access in accesses_of(log + rest)]
    live = tmp_path / "audit.log"
    for size in range(300, len(log), 7):
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


def test_an_event_may_straddle_a_rotation_at_any_line(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """An event that begins in one file and ends in the next is whole, and restarting from any batch repeats no more."""
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
    """A log that gets its last lines and is renamed while it is being read is read to its end, and then the new one."""
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


def test_lines_written_just_before_a_rotation_are_read(
    tmp_path: Path, log: bytes, expected: list[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What auditd adds between our reaching the end and its rotating the log is not skipped."""
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
    """logrotate's compressed and dated predecessors are read in order, and a cursor survives the compression."""
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


def test_a_log_that_is_gone_is_said(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """When the file of the cursor was rotated away or truncated, the first batch says so, and all there is is read."""
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
    """Reading again at the end of a log that did not grow gives nothing to store."""
    live = tmp_path / "audit.log"
    live.write_bytes(log)
    (batch,) = read_log(os.fsencode(live))
    assert list(read_log(os.fsencode(live), batch.cursor)) == []


def test_an_unfinished_line_waits(tmp_path: Path, log: bytes, expected: list[Key]) -> None:
    """A line that auditd is still writing is no damage: it is read when it is whole, or when the log is final."""
    live = tmp_path / "audit.log"
    live.write_bytes(log[:-40])
    (batch,) = read_log(os.fsencode(live))
    assert not batch.damaged
    assert keys([batch]) == expected[:-1]
    live.write_bytes(log[:-1])
    assert keys(list(read_log(os.fsencode(live), batch.cursor, final=True))) == expected[-1:]


def test_damaged_lines_are_kept_with_their_place(log: bytes, expected: list[Key]) -> None:
    """A line that is no record is kept with its offset; blank lines and ausearch's separators are none."""
    damaged = b"----\ntime->Thu Aug 10 18:43:24 2023\n\n" + log + b"type=UNKNOWN[1329] msg=g\n" + b"\xff\x00 tail"
    batches = list(read_stream(io.BytesIO(damaged), b"some.log"))
    assert keys(batches) == expected
    lines = [line for batch in batches for line in batch.damaged]
    assert [line.line for line in lines] == [b"type=UNKNOWN[1329] msg=g", b"\xff\x00 tail"]
    assert all(damaged[line.offset :].startswith(line.line) and line.source == b"some.log" for line in lines)


def test_prefixed_lines_and_carriage_returns_are_read(log: bytes, expected: list[Key]) -> None:
    """A log that went through syslog or a Windows machine gives the same accesses."""
    syslog = re.sub(rb"(?m)^", b"Nov 23 04:51:21 host audisp-syslog[12]: ", log.rstrip(b"\n")) + b"\n"
    for text in (syslog, log.replace(b"\n", b"\r\n"), log.replace(b"\x1d", b" "), log.replace(b"\x1d", b"")):
        assert keys(list(read_stream(io.BytesIO(text)))) == expected


def test_a_broken_gzip_gives_what_it_has(log: bytes) -> None:
    """A compressed log that was cut is read as far as it goes, and the damage is reported."""
    whole = gzip.compress(os.urandom(2000).hex().encode() + b"\n" + log)
    batches = list(read_stream(io.BytesIO(whole[:-200]), b"x.gz"))
    assert "compressed file is damaged" in [line for batch in batches for line in batch.damaged][-1].problem


def test_memory_does_not_grow_with_the_log(tmp_path: Path, log: bytes) -> None:
    """A log that is 20 MB long is read in a few MB of memory, as is a line without end."""
    big = tmp_path / "audit.log"
    with big.open("wb") as file:
        for number in range(20_000_000 // len(log)):
            file.write(log.replace(b"audit(1", b"audit(%d" % (10 + number % 80)))
        file.write(b"x" * 20_000_000 + b"\n")
    tracemalloc.start()
    for _ in read_log(os.fsencode(big), batch_events=500):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16_000_000


def test_a_log_that_is_not_there_or_not_readable_says_what_to_do(tmp_path: Path) -> None:
    """One line with the path and what to do, not a traceback."""
    with pytest.raises(InputError, match="check that auditd runs"):
        list(read_log(os.fsencode(tmp_path / "audit.log")))
    with pytest.raises(InputError, match="check that auditd runs"):
        list(read_log(os.fsencode(tmp_path / "no" / "audit.log")))
    (tmp_path / "audit.log").mkdir()
    with pytest.raises(InputError, match="cannot read the audit log"):
        list(read_log(os.fsencode(tmp_path / "audit.log")))
    shutil.rmtree(tmp_path / "audit.log")
