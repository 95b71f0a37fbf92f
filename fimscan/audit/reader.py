"""Read logs into batches: every record once, across rotations and restarts, in constant memory.

A caller that stores each batch together with its cursor, and restarts from that cursor, loses nothing. It gets a few
events twice, with the same identities. auditd rotates by renaming, so a file that is held open is read to its end under
any name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO

from fimscan.audit.actors import UserName
from fimscan.audit.collector import AuditBatch, Collector
from fimscan.audit.segments import LogCursor, Segment, decompressed, open_segment, read_block, segments, unreadable
from fimscan.decompression import DAMAGED_COMPRESSION, problem_of

CHUNK = 1 << 20
BATCH_EVENTS = 5000
MOST_NEW_BYTES = 8 << 20  # bytes written after a reading began that it still reads


def read_log(
    path: bytes,
    cursor: LogCursor | None = None,
    *,
    final: bool = False,
    settled: bool = False,
    batch_events: int = BATCH_EVENTS,
    user_name: UserName | None = None,
) -> Iterator[AuditBatch]:
    """Read a log with its rotated predecessors, from ``cursor`` (``None``: from the oldest record) to its end.

    Args:
        path: the live log; its predecessors are found beside it.
        cursor: that of the last batch that was stored.
        final: no process writes to the log any more: parse a last line without newline, and return incomplete events.
        settled: all that was recorded before the call is in the log already.
        batch_events: how many events a batch has, approximately.
        user_name: looks up user names where the log does not have them (see :func:`fimscan.audit.accesses.accesses`).

    Raises:
        InputError: there is no such log, or it is not readable.
    """
    collector = Collector(path, batch_events=batch_events, user_name=user_name)
    limit = _ReadLimit(path)
    segment, offset, collector.lost_continuity = _start(path, cursor)
    while segment is not None:
        file = _open(segment)
        if file is None:  # it was rotated after it was listed
            segment = _under_current_name(path, segment)
            if segment is None:
                segment, offset, collector.lost_continuity = next(iter(segments(path)), None), 0, True
            continue
        with file:
            collector.enter(segment, offset)
            limit.enter(segment, offset)
            end = _SegmentEnd(path, segment, final=final)
            yield from _read(file, collector, offset, end, enough=limit.is_over_after)
        # If the log is rotated just now, it may have got more lines before: the next call reads them.
        segment, offset = _successor(path, segment, collector) if end.reached and not limit.is_over else None, 0
    if final:
        collector.finish()
    elif settled:
        collector.settle()
    if collector.has_news:
        yield collector.batch()


def read_stream(
    file: BinaryIO, name: bytes = b"-", *, batch_events: int = BATCH_EVENTS, user_name: UserName | None = None
) -> Iterator[AuditBatch]:
    """Read one plain or compressed file, or a pipe (a buffered one), to its end.

    ``name`` appears in damaged lines and cursors.

    Raises:
        InputError: it cannot be read.
    """
    return read_streams([(name, file)], batch_events=batch_events, user_name=user_name)


def read_streams(
    files: Iterable[tuple[bytes, BinaryIO]], *, batch_events: int = BATCH_EVENTS, user_name: UserName | None = None
) -> Iterator[AuditBatch]:
    """Read several files, oldest first, as one: an event may begin in one and end in the next.

    Raises:
        InputError: a file cannot be read.
    """
    collector: Collector | None = None
    for number, (name, file) in enumerate(files):
        if collector is None:
            collector = Collector(name, batch_events=batch_events, user_name=user_name)
        collector.enter(Segment(path=name, dev=0, inode=0, fingerprint=b"%d" % number, live=False), 0)
        yield from _read(decompressed(file), collector, 0, lambda: True)
    if collector is not None:
        collector.finish()
        if collector.has_news:
            yield collector.batch()


def _read(
    file: BinaryIO,
    collector: Collector,
    offset: int,
    end: Callable[[], bool],
    *,
    enough: Callable[[int], bool] = lambda _read: False,
) -> Iterator[AuditBatch]:
    """Read an open segment from ``offset`` to its end; if more may be written to it, only to its last newline.

    ``end`` returns whether the end of the file is the end of the segment. ``enough`` gets the number of bytes of each
    block and returns whether to stop.
    """
    lines = _Lines(collector)
    ended = False
    resumed = offset > 0  # then damage at that position was reported by the last reading
    try:
        if offset:
            file.seek(offset)
        while True:
            block, damage = read_block(file, CHUNK)
            if block:
                yield from lines.add(block)
            if damage:
                if block or not resumed:
                    lines.broken(damage)
                return
            resumed = False
            if block:
                if enough(len(block)):
                    return
                continue
            if ended:
                break
            if not (ended := end()):
                return
        yield from collector.take(lines.rest)
    except DAMAGED_COMPRESSION as error:  # damage before the position where the last reading ended
        lines.broken(problem_of(error))
    except OSError as error:
        raise unreadable(collector.source, error) from error


class _Lines:
    """Splits blocks into whole lines for the collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._too_long = False
        self.rest = b""

    def add(self, block: bytes) -> Iterator[AuditBatch]:
        """Take the next block of the segment; an unfinished last line becomes the ``rest``."""
        if self._too_long:
            end = block.find(b"\n") + 1
            self._collector.skip(end or len(block))
            self._too_long = not end
            block = block[end:] if end else b""
        whole = block.rfind(b"\n") + 1
        if whole:
            yield from self._collector.take(self.rest + block[:whole])
            self.rest = block[whole:]
        else:
            self.rest += block
        if len(self.rest) > CHUNK:  # no record is that long; drop it to bound memory
            self._drop("the line is longer than 1 MiB")
            self._too_long = True

    def broken(self, problem: str) -> None:
        """Drop the unfinished line, because nothing more can be read and a number in it may be truncated."""
        self._drop(problem)
        self._collector.lost_continuity = True

    def _drop(self, problem: str) -> None:
        self._collector.damage(self.rest, self._collector.offset, problem)
        self._collector.skip(len(self.rest))
        self.rest = b""


class _ReadLimit:
    """Ends the reading of a log that grows faster than it is read; the next reading goes on from there.

    It reads everything that was there at the beginning, and up to ``MOST_NEW_BYTES`` bytes more.
    """

    def __init__(self, path: bytes) -> None:
        self._left: int | None = None  # unknown until the segment is reached that was live at the beginning
        self._live: os.stat_result | None = None
        with suppress(FileNotFoundError):
            self._live = os.lstat(path)

    def enter(self, segment: Segment, offset: int) -> None:
        """Note that a segment is read next, from this offset."""
        live = self._live
        if self._left is None and live is not None and (segment.dev, segment.inode) == (live.st_dev, live.st_ino):
            self._left = max(live.st_size - offset, 0) + MOST_NEW_BYTES

    @property
    def is_over(self) -> bool:
        """Whether enough was read."""
        return self._left is not None and self._left <= 0

    def is_over_after(self, read: int) -> bool:
        """Whether enough was read, with this many bytes more."""
        if self._left is not None:
            self._left -= read
        return self.is_over


class _SegmentEnd:
    """Whether a segment is complete, asked at the end of its file. A complete segment is read once more to its end."""

    def __init__(self, path: bytes, segment: Segment, *, final: bool) -> None:
        self._path = path
        self._segment = segment
        self.reached = final or not segment.live

    def __call__(self) -> bool:
        if not self.reached:
            try:
                info = os.stat(self._path)
            except FileNotFoundError:
                self.reached = True  # renamed, and its successor does not exist yet
            else:
                self.reached = (info.st_dev, info.st_ino) != (self._segment.dev, self._segment.inode)
        return self.reached


def _start(path: bytes, cursor: LogCursor | None) -> tuple[Segment | None, int, bool]:
    """(segment to start with, offset in it, whether something before it was lost)."""
    if cursor is not None and (live := _still_live(path, cursor)) is not None:
        return live, cursor.offset, False
    available = segments(path)
    oldest = next(iter(available), None)
    if cursor is None:
        return oldest, 0, False
    if not cursor.fingerprint:
        # The last reading reported the loss. A log that is still empty, or the same file, is not a new loss.
        here = any((segment.dev, segment.inode) == (cursor.dev, cursor.inode) for segment in available)
        return oldest, 0, not here and oldest is not None
    for segment in available:
        if segment.fingerprint == cursor.fingerprint and _reaches(segment, cursor.offset):
            return segment, cursor.offset, False
    return oldest, 0, True


def _still_live(path: bytes, cursor: LogCursor) -> Segment | None:
    """The segment of the cursor, if it is still the live log: then its predecessors need not be listed."""
    if not cursor.fingerprint:
        return None
    try:
        file, info, fingerprint, _ = open_segment(path)
    except OSError:
        return None  # the error is reported when the log is listed
    with file:
        if fingerprint != cursor.fingerprint or info.st_size < cursor.offset:
            return None
    return Segment(path=path, dev=info.st_dev, inode=info.st_ino, fingerprint=fingerprint, live=True)


def _reaches(segment: Segment, offset: int) -> bool:
    """Whether the segment still has the part that was read; it may have been truncated."""
    file = _open(segment)
    if file is None:
        return True  # rotated just now, so still whole
    try:
        with file:
            return file.seek(0, os.SEEK_END) >= offset
    except DAMAGED_COMPRESSION:
        return True  # damage is reported when it is read


def _open(segment: Segment) -> BinaryIO | None:
    """The segment's file at its start, decompressed; ``None`` if another segment has that name now."""
    try:
        file, _, fingerprint, _ = open_segment(segment.path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(segment.path, error) from error
    if fingerprint == segment.fingerprint:
        return file
    file.close()
    return None


def _under_current_name(path: bytes, segment: Segment) -> Segment | None:
    """The same segment under its current name."""
    return next((other for other in segments(path) if other.fingerprint == segment.fingerprint), None)


def _successor(path: bytes, segment: Segment, collector: Collector) -> Segment | None:
    """The segment after this one, ``None`` if there is none."""
    available = segments(path)
    for index, other in enumerate(available):
        if other.fingerprint == segment.fingerprint:
            return available[index + 1] if index + 1 < len(available) else None
    if available:  # rotated away while it was read, perhaps with others after it
        collector.lost_continuity = True
        return available[0]
    return None
