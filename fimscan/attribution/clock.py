"""The time at which each file was last read. A window starts there, so it may be too early but never too late."""

from __future__ import annotations

import json
import zlib
from bisect import bisect_right

from fimscan.attribution.index import ancestors

_PATHS_PER_TICK = 256


class ReadClock:
    """The read times of one scan: one number for about every 256 paths (a tick).

    A file's row is written once per version, not once per scan. So the read times of *unchanged* files are kept here,
    in little space. Files are visited in order of path, and each tick keeps the earliest read time of its paths. An
    answer is thus too early by at most the duration of one tick, and never too late.

    A file that its ctime vouched for was *read* by an earlier scan and only *seen* by this one. Both times are kept.
    """

    def __init__(self) -> None:
        self._starts: list[bytes] = []
        self._times: list[int] = []
        self._seen: list[int] = []
        self._in_tick = _PATHS_PER_TICK

    def note(self, path: bytes, read_start_ns: int, count: int = 1, seen_ns: int | None = None) -> None:
        """Record the readings of ``path`` and the ``count - 1`` paths after it; paths come in increasing order.

        ``read_start_ns`` is the earliest of them. ``seen_ns`` is when the names were seen, if that was later.
        """
        seen_ns = read_start_ns if seen_ns is None else seen_ns
        if self._in_tick >= _PATHS_PER_TICK:
            self._starts.append(path)
            self._times.append(read_start_ns)
            self._seen.append(seen_ns)
            self._in_tick = 0
        else:
            self._times[-1] = min(self._times[-1], read_start_ns)
            self._seen[-1] = min(self._seen[-1], seen_ns)
        self._in_tick += count

    @property
    def earliest(self) -> int | None:
        """The earliest read time of all paths; ``None`` for an empty scan."""
        return min(self._times, default=None)

    def at(self, path: bytes) -> int | None:
        """Nanoseconds since the epoch before which ``path`` was certainly not read; ``None`` for an empty scan."""
        return self._of(self._times, path)

    def over(self, first: bytes, last: bytes) -> int | None:
        """As :meth:`at`, for all paths from ``first`` to ``last``."""
        if not self._times:
            return None
        return min(self._times[self._tick(first) : self._tick(last) + 1])

    def absent_at(self, path: bytes) -> int | None:
        """As :meth:`at`, for a path that did not exist.

        Its absence was seen when the directory above it was listed, or a higher one if that did not exist either. This
        may be long before the files beside it were read.
        """
        seen = [self._of(self._seen, place) for place in (path, *ancestors(path), b"/")]
        return min((time_ns for time_ns in seen if time_ns is not None), default=None)

    def _tick(self, path: bytes) -> int:
        return max(bisect_right(self._starts, path) - 1, 0)

    def _of(self, times: list[int], path: bytes) -> int | None:
        return times[self._tick(path)] if times else None

    def dump(self) -> bytes:
        """Serialize for the store: compressed JSON."""
        starts = [start.decode("utf-8", "surrogateescape") for start in self._starts]
        times = [self._times] if self._times == self._seen else [self._times, self._seen]
        return zlib.compress(json.dumps([starts, *times]).encode("ascii"))

    @classmethod
    def load(cls, data: bytes) -> ReadClock:
        """The inverse of :meth:`dump`; empty data is an empty clock."""
        clock = cls()
        if data:
            starts, times, *seen = json.loads(zlib.decompress(data))
            clock._starts = [start.encode("utf-8", "surrogateescape") for start in starts]
            clock._times = times
            clock._seen = seen[0] if seen else times
        return clock
