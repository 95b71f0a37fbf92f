"""List a log and its rotated predecessors as a sequence of segments, each identified by its first line.

Names and inodes change (``audit.log`` becomes ``audit.log.1`` becomes ``audit.log.2.gz``); the first line does not. It
holds a time and a serial, so no two segments share it.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from msgspec import Struct

from fimscan.decompression import (
    DAMAGED_COMPRESSION,
    LONGEST_MAGIC,
    SUFFIXES,
    Unpacked,
    problem_of,
    unpacked,
    without_suffix,
)
from fimscan.errors import InputError

_FIRST_LINE = 256
_FIRST_RECORDS = 1 << 16  # a log that has a record has one within this many bytes
_PIECE = 4096  # decompressed bytes per read; damage loses at most this much before it
_PASSES = 50  # give up on a log that is rotated each time it is listed
# auditd and logrotate count upwards (.1 is the newest). Others append a date and time: logrotate's "dateext", and
# scripts that rename a log to audit.log.2026-11-29_03:00:01. Any format of the date is accepted, because the records
# decide the order.
_SUFFIX = re.compile(
    rb"(?:[._-](\d{1,4})|[._-]\d(?=(?:[^\d.]*\d){5})[\d:_.T@+Zz-]{5,40}?)(?:"
    + b"|".join(map(re.escape, SUFFIXES)) + rb")?"
)  # fmt: skip
_TIME = re.compile(rb"audit\((\d{1,11})\.(\d{3}):|\"ID\": ?\"(\d{1,11})\.(\d{3}):")


class LogCursor(Struct, frozen=True):
    """Where to resume: ``offset`` bytes (decompressed) into the segment with this ``fingerprint``.

    ``path`` is the log as configured, whatever the segment is called by now; ``dev`` and ``inode`` are those of the
    segment when it was read. ``fingerprint`` is SHA-256 of the segment's first line, of at most 256 bytes of it. It is
    empty for a log that had no line when it was read (it had been emptied): then all later lines are new.
    """

    path: bytes
    dev: int
    inode: int
    offset: int
    fingerprint: bytes


class Segment(Struct, frozen=True, kw_only=True):
    """One file of the sequence; ``live`` marks the one that the audit daemon writes to."""

    path: bytes
    dev: int
    inode: int
    fingerprint: bytes
    live: bool


def empty_log(path: bytes) -> LogCursor:
    """The cursor of a log that has no line yet."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return LogCursor(path, 0, 0, 0, b"")
    return LogCursor(path, info.st_dev, info.st_ino, 0, b"")


def decompressed(file: BinaryIO) -> BinaryIO:
    """The file, decompressed if its first bytes say so; the file may be a pipe."""
    if isinstance(file, io.BufferedReader):
        magic = file.peek(LONGEST_MAGIC)[:LONGEST_MAGIC]
    else:
        magic = file.read(LONGEST_MAGIC)
        file.seek(0)
    return unpacked(file, magic)


def read_block(file: BinaryIO, size: int) -> tuple[bytes, str]:
    """(up to ``size`` bytes, none at the end; the problem, if a compressed file is damaged after them).

    A damaged file is read in small pieces: one large read would lose what was decompressed before the damage.
    """
    compressed: object = file
    if not isinstance(compressed, gzip.GzipFile | Unpacked):
        return file.read(size), ""
    block = bytearray()
    try:
        while len(block) < size and (piece := compressed.read1(min(_PIECE, size - len(block)))):
            block += piece
    except DAMAGED_COMPRESSION as error:
        return bytes(block), problem_of(error)
    return bytes(block), ""


def first_time_ns(head: bytes) -> int | None:
    """The time of the first record in the beginning of a log; ``None`` where there is none."""
    match = _TIME.search(head)
    if match is None:
        return None
    seconds, millis = match[1] or match[3], match[2] or match[4]
    return int(seconds + millis) * 1_000_000


def in_order_of_time(paths: Sequence[bytes]) -> list[bytes]:
    """Sort logs by the time of their first record.

    A log without one, or a path that is not a file, stays after the one before it.

    Raises:
        InputError: a log cannot be read.
    """
    last = 0
    keyed: list[tuple[int, bytes]] = []
    for path in paths:
        if os.path.isfile(path):
            try:
                file, *_ = open_segment(path)
                with file:
                    last = first_time_ns(read_block(file, _FIRST_RECORDS)[0]) or last
            except OSError as error:
                raise unreadable(path, error) from error
        keyed.append((last, path))
    return [path for _, path in sorted(keyed, key=lambda pair: pair[0])]


def open_segment(path: bytes) -> tuple[BinaryIO, os.stat_result, bytes, bool]:
    """(decompressed file at its start, its stat, its fingerprint, whether its beginning is damaged).

    The fingerprint is empty before there is a line. If the first line cannot be decompressed, the fingerprint is that
    of the compressed bytes.

    Raises:
        OSError: the segment cannot be opened or read.
    """
    # O_NONBLOCK: opening a FIFO must not block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    file: BinaryIO = open(descriptor, "rb")  # noqa: SIM115 -- the caller closes it: held open, it survives a rotation
    try:
        info = os.fstat(file.fileno())
        _require_regular(info)
        raw = file.read(_FIRST_LINE)
        file.seek(0)
        file = unpacked(file, raw)
        head, damage = read_block(file, _FIRST_LINE)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    line, newline, _ = head.partition(b"\n")
    complete = newline or len(head) == _FIRST_LINE
    damaged = bool(damage) and not complete
    return file, info, hashlib.sha256(raw if damaged else line).digest() if complete or damaged else b"", damaged


def _require_regular(info: os.stat_result) -> None:
    """Refuse a FIFO or a device, which may never end."""
    if stat.S_ISDIR(info.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a log; remove it, or correct [audit] logs")


def segments(path: bytes) -> list[Segment]:
    """The segments of a log, oldest first. Those without a first line (just created) are left out.

    Raises:
        InputError: the log's directory, or one of its files, cannot be read; or there is no log at all.
    """
    for _ in range(_PASSES):
        names = _names(path)
        before = _inodes(names)
        found = _open_segments(path, names)
        # A rotation meanwhile moves a segment to a name that was opened already: that segment would be skipped
        # silently.
        if _inodes(_names(path)) == before:
            break
    if not names:
        raise InputError(
            f"no audit log at {os.fsdecode(path)}: check that auditd runs, and that [audit] logs names its log"
        )
    return found


def _open_segments(path: bytes, names: list[bytes]) -> list[Segment]:
    found: dict[bytes, Segment] = {}
    times: dict[bytes, int | None] = {}
    for name in names:
        try:
            file, info, fingerprint, damaged = open_segment(name)
        except FileNotFoundError:
            continue  # rotated since the listing; it is found under its new name
        except OSError as error:
            raise unreadable(name, error) from error
        with file:
            times[name] = first_time_ns(read_block(file, _FIRST_LINE)[0])
        if damaged and without_suffix(name) in set(names) - {name}:
            continue  # logrotate is still writing it
        # While logrotate compresses a segment, both copies exist: the plain one comes first, and is complete.
        if fingerprint and fingerprint not in found:
            found[fingerprint] = Segment(
                path=name, dev=info.st_dev, inode=info.st_ino, fingerprint=fingerprint, live=name == path
            )
    return _in_order(list(found.values()), times)


def _in_order(segments: list[Segment], times: Mapping[bytes, int | None]) -> list[Segment]:
    """Sort by number in the name; if any name has a date, by the time of the first record."""
    rotated = [segment for segment in segments if not segment.live]
    if any(not _number(segment.path) for segment in rotated):
        last = 0
        keys: dict[bytes, int] = {}
        for segment in rotated:
            last = keys[segment.fingerprint] = times[segment.path] or last
        rotated.sort(key=lambda segment: keys[segment.fingerprint])
    return rotated + [segment for segment in segments if segment.live]


def _inodes(names: list[bytes]) -> list[tuple[bytes, int]]:
    found = []
    for name in names:
        with suppress(FileNotFoundError):
            found.append((name, os.lstat(name).st_ino))
    return found


def unreadable(path: bytes, error: OSError) -> InputError:
    """The error for a log that cannot be read, with what to do."""
    name = os.fsdecode(path)
    if isinstance(error, PermissionError):
        return InputError(f"cannot read the audit log {name}: permission denied; run as root or in the log's group")
    if isinstance(error, FileNotFoundError):
        return InputError(f"no audit log at {name}: check that auditd runs, and that [audit] logs names its log")
    return InputError(f"cannot read the audit log {name}: {error.strerror or error}")


def _names(path: bytes) -> list[bytes]:
    """The files of a log, oldest first as far as names tell, a plain one before its compressed copy."""
    directory, base = os.path.split(path)
    try:
        entries = os.listdir(directory or b".")
    except OSError as error:
        raise unreadable(path, error) from error
    keyed: list[tuple[tuple[int, int, bytes, bool], bytes]] = []
    for entry in entries:
        if entry == base:
            keyed.append(((2, 0, b"", False), path))
        elif (suffix := _suffix(entry, base)) is not None:
            plain = without_suffix(entry)
            number = suffix[1]
            order = (1, -int(number), b"", plain != entry) if number else (0, 0, plain, plain != entry)
            keyed.append((order, os.path.join(directory, entry)))
    return [name for _, name in sorted(keyed)]


def _suffix(entry: bytes, base: bytes) -> re.Match[bytes] | None:
    """The part that rotation added to a log's name: ``audit.log.1``.

    ``audit-20261129.log`` (logrotate's ``extension``).
    """
    if entry.startswith(base):
        return _SUFFIX.fullmatch(entry, len(base))
    stem, extension = os.path.splitext(base)
    plain = without_suffix(entry)
    if extension and entry.startswith(stem) and plain.endswith(extension):
        return _SUFFIX.fullmatch(plain, len(stem), len(plain) - len(extension))
    return None


def _number(path: bytes) -> bool:
    """Whether a rotated log's name ends with a number rather than a date."""
    return re.search(rb"[._-]\d{1,4}\Z", without_suffix(path)) is not None
