"""A log and its rotated predecessors as one sequence of segments, each told apart by its first line.

Names and inodes change (``audit.log`` becomes ``audit.log.1`` becomes ``audit.log.2.gz``); the first line does not. It
holds a time and a serial, so no two segments share it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, cast

from fimscan.errors import InputError

_FIRST_LINE = 256
_PIECE = 4096  # decompressed bytes at once: what is lost in front of a damaged place
_PASSES = 50  # a log that is rotated each time that it is looked at is given up in the end
_GZIP_MAGIC = b"\x1f\x8b"
# auditd and logrotate count upwards (.1 is the newest); with "dateext", logrotate appends a date instead.
_SUFFIX = re.compile(rb"(?:\.(\d{1,4})|[.-](\d{8}(?:[-_]?\d{2,6}|-\d{10})?))(?:\.gz)?")

DAMAGED_COMPRESSION = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class LogCursor:
    """Where to read on: ``offset`` bytes (decompressed) into the segment that has this ``fingerprint``.

    ``path`` is the log that was asked for, whatever the segment is called by now; ``dev`` and ``inode`` are those of
    the segment when it was read. ``fingerprint`` is SHA-256 of the segment's first line, of at most 256 bytes of it;
    empty for a log that had no line at all when it was read (it had been emptied): then all that comes is new.
    """

    path: bytes
    dev: int
    inode: int
    offset: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of the sequence; ``live`` is the one that the audit daemon writes to."""

    path: bytes
    dev: int
    inode: int
    fingerprint: bytes
    live: bool


def empty_log(path: bytes) -> LogCursor:
    """The place before the first line of a log that has none."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return LogCursor(path, 0, 0, 0, b"")
    return LogCursor(path, info.st_dev, info.st_ino, 0, b"")


def decompressed(file: BinaryIO) -> BinaryIO:
    """The file as it is, or decompressed where it is gzip, by its first bytes; it may be a pipe."""
    if isinstance(file, io.BufferedReader):
        magic = file.peek(2)[:2]
    else:
        magic = file.read(2)
        file.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=file)) if magic == _GZIP_MAGIC else file


def read_block(file: BinaryIO, size: int) -> tuple[bytes, str]:
    """(up to ``size`` bytes, or none at the end; the problem, where a compressed file is damaged behind them).

    One large read of a damaged :class:`gzip.GzipFile` would lose what it has decompressed before it fails.
    """
    compressed: object = file
    if not isinstance(compressed, gzip.GzipFile):
        return file.read(size), ""
    block = bytearray()
    try:
        while len(block) < size and (piece := compressed.read1(min(_PIECE, size - len(block)))):
            block += piece
    except DAMAGED_COMPRESSION as error:
        return bytes(block), f"the compressed file is damaged: {error}"
    return bytes(block), ""


def open_segment(path: bytes) -> tuple[BinaryIO, os.stat_result, bytes, bool]:
    """The opened (decompressed) segment at its start, its identity, its fingerprint, whether its beginning is damaged.

    The fingerprint is empty before there is a line, and that of the compressed bytes where they cannot be read.

    Raises:
        OSError: it cannot be opened or read.
    """
    file: BinaryIO = open(path, "rb")  # noqa: SIM115 -- for the caller to close: held open, it survives a rotation
    try:
        info = os.fstat(file.fileno())
        raw = file.read(_FIRST_LINE)
        if raw.startswith(_GZIP_MAGIC):
            file.close()
            file = cast("BinaryIO", gzip.open(path))  # noqa: SIM115 -- as above
        file.seek(0)
        head, damage = read_block(file, _FIRST_LINE)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    line, newline, _ = head.partition(b"\n")
    complete = newline or len(head) == _FIRST_LINE
    damaged = bool(damage) and not complete
    return file, info, hashlib.sha256(raw if damaged else line).digest() if complete or damaged else b"", damaged


def segments(path: bytes) -> list[Segment]:
    """The segments of a log, oldest first. Those without a first line (just created) are left out.

    Raises:
        InputError: the log's directory, or one of its files, cannot be read; or there is no log at all.
    """
    for _ in range(_PASSES):
        names = _names(path)
        before = _inodes(names)
        found = _opened(path, names)
        # A rotation in between moves segments to names that were looked at already: one would be passed over in
        # silence, with all that it holds.
        if _inodes(_names(path)) == before:
            break
    if not names:
        raise InputError(f"no audit log at {os.fsdecode(path)}: check that auditd runs, and [audit] logs")
    return found


def _opened(path: bytes, names: list[bytes]) -> list[Segment]:
    found: dict[bytes, Segment] = {}
    for name in names:
        try:
            file, info, fingerprint, damaged = open_segment(name)
        except FileNotFoundError:
            continue  # rotated between the listing and now; it is found under its new name
        except OSError as error:
            raise unreadable(name, error) from error
        file.close()
        if damaged and name.removesuffix(b".gz") in set(names) - {name}:
            continue  # being written by logrotate
        # While logrotate compresses a segment, it is there twice: the plain one comes first, and is complete.
        if fingerprint and fingerprint not in found:
            found[fingerprint] = Segment(
                path=name, dev=info.st_dev, inode=info.st_ino, fingerprint=fingerprint, live=name == path
            )
    return list(found.values())


def _inodes(names: list[bytes]) -> list[tuple[bytes, int]]:
    found = []
    for name in names:
        with suppress(FileNotFoundError):
            found.append((name, os.lstat(name).st_ino))
    return found


def unreadable(path: bytes, error: OSError) -> InputError:
    """What to do about a log that cannot be read."""
    name = os.fsdecode(path)
    if isinstance(error, PermissionError):
        return InputError(f"cannot read the audit log {name}: permission denied; run as root or in the log's group")
    if isinstance(error, FileNotFoundError):
        return InputError(f"no audit log at {name}: check that auditd runs, and [audit] logs")
    return InputError(f"cannot read the audit log {name}: {error.strerror or error}")


def _names(path: bytes) -> list[bytes]:
    """The files of a log by name, oldest first, a plain one before its compressed twin."""
    directory, base = os.path.split(path)
    try:
        entries = os.listdir(directory or b".")
    except OSError as error:
        raise unreadable(path, error) from error
    keyed: list[tuple[tuple[int, int, bytes, int], bytes]] = []
    for entry in entries:
        if entry == base:
            keyed.append(((2, 0, b"", 0), path))
        elif entry.startswith(base) and (suffix := _SUFFIX.fullmatch(entry, len(base))):
            compressed = int(entry.endswith(b".gz"))
            number, date = suffix.groups()
            order = (1, -int(number), b"", compressed) if number else (0, 0, date, compressed)
            keyed.append((order, os.path.join(directory, entry)))
    return [name for _, name in sorted(keyed)]
