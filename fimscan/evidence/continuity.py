"""The time between comparisons (PCI DSS 11.5.2: at most seven days): every single stretch, not an average."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from fimscan.model import Scan, ScanStatus

NS_PER_HOUR = 3600 * 10**9


_Point = tuple[int, int | None]  # a time, and the scan that ended then


class StretchStatus(StrEnum):
    """What a stretch of time says about continuity."""

    OK = "ok"  # not longer than allowed
    GAP = "gap"  # longer, or of unknown length
    NOT_MONITORED = "not-monitored"  # before the first comparison of all
    PRUNED = "pruned"  # there were comparisons, but their records are removed


class Stretch(Struct, frozen=True, kw_only=True):
    """The time between the ends of two successive comparisons, or from or to an edge of the period.

    ``from_scan`` and ``to_scan`` are ``None`` at the edges. ``hours`` is ``None`` if the clock was set back within the
    stretch: its length is then unknown.
    """

    from_ns: int
    to_ns: int
    from_scan: int | None = None
    to_scan: int | None = None
    status: StretchStatus
    note: str = ""

    @property
    def is_between(self) -> bool:
        """Whether it is time in which comparisons had to be made: monitoring had begun, and its records are there."""
        return self.status in (StretchStatus.OK, StretchStatus.GAP)

    @property
    def hours(self) -> float | None:
        """Length in hours, or ``None`` if unknown."""
        return (self.to_ns - self.from_ns) / NS_PER_HOUR if self.to_ns >= self.from_ns else None


def continuity(
    scans: Iterable[Scan], start_ns: int, end_ns: int, max_gap_ns: int, *, pruned_since_ns: int | None = None
) -> list[Stretch]:
    """The stretches that overlap the period, in order; ``ok`` if not longer than ``max_gap_ns``.

    Only finished complete scans count, each at its end. The first stretch begins with the last comparison before the
    period, if any: otherwise the edge of the period would hide part of a gap. The time before the very first comparison
    is no gap between two. ``pruned_since_ns``: there were earlier ones since then, but they were removed.
    """
    done = [
        (scan.finished_ns, scan.id)
        for scan in sorted(scans, key=lambda scan: scan.id)
        if scan.status is ScanStatus.FINISHED and not scan.is_partial
        if scan.finished_ns is not None and scan.finished_ns <= end_ns
    ]
    if not done:
        nothing = "no comparison in or before the period"
        return [Stretch(from_ns=start_ns, to_ns=end_ns, status=StretchStatus.GAP, note=nothing)]
    first = next((at for at, (finished, _) in enumerate(done) if finished > start_ns), len(done))
    points: list[_Point] = list(done[max(first - 1, 0) :])
    if first == 0:
        points.insert(0, (start_ns, None))
    if points[-1][0] != end_ns:
        points.append((end_ns, None))
    found = [_stretch(begin, end, max_gap_ns) for begin, end in itertools.pairwise(points)]
    if first == 0 and pruned_since_ns is not None:
        return [*_pruned(found[0], pruned_since_ns), *found[1:]]
    return found


def _pruned(before: Stretch, since_ns: int) -> Iterator[Stretch]:
    """Divide the time before the first comparison that is left: without monitoring, then without records of it."""
    if before.from_ns < since_ns < before.to_ns:
        yield replace(before, to_ns=since_ns, to_scan=None, note="monitoring began when this ends")
        before = replace(before, from_ns=since_ns)
    yield replace(before, status=StretchStatus.PRUNED, note="comparisons of this time were pruned")


def _stretch(begin: _Point, end: _Point, max_gap_ns: int) -> Stretch:
    length = end[0] - begin[0]
    status = StretchStatus.OK if 0 <= length <= max_gap_ns else StretchStatus.GAP
    if length < 0:
        note = "the clock was set back: the true length is unknown"
    elif begin[1] is None:
        status, note = StretchStatus.NOT_MONITORED, "monitoring began with the comparison that ends here"
    elif end[1] is None:
        note = "to the end of the period, or to the newest record if the period goes on"
    else:
        note = ""
    return Stretch(
        from_ns=begin[0],
        to_ns=end[0],
        from_scan=begin[1],
        to_scan=end[1],
        status=status,
        note=note,
    )


def largest_hours(stretches: Iterable[Stretch]) -> float | None:
    """Length of the longest stretch between comparisons; ``None`` if one is unknown: that one may be the longest.

    The time before monitoring began, or of which the records were removed, is not among them.
    """
    lengths = [stretch.hours for stretch in stretches if stretch.is_between]
    known = [hours for hours in lengths if hours is not None]
    return max(known, default=0.0) if len(known) == len(lengths) else None
