"""Every stretch without a comparison, the edges of the period included."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.evidence.continuity import Stretch, continuity, largest_hours
from fimscan.model import Scan, ScanStatus

DAY = 86400 * 10**9
WEEK = 7 * DAY
ScanAt = Callable[..., Scan]


def spans(stretches: list[Stretch]) -> list[tuple[float, float, bool]]:
    return [(stretch.from_ns / DAY, stretch.to_ns / DAY, stretch.status == "ok") for stretch in stretches]


def test_exactly_seven_days_is_in_time(scan_at: ScanAt) -> None:
    """Seven days to the nanosecond is no gap, one nanosecond more is."""
    scans = [scan_at(1, 10 * DAY), scan_at(2, 17 * DAY), scan_at(3, 24 * DAY + 1)]
    assert [x.status for x in continuity(scans, 10 * DAY, 24 * DAY + 1, WEEK)][-2:] == ["ok", "gap"]


def test_a_gap_across_the_start_has_its_full_length(scan_at: ScanAt) -> None:
    """A gap that began before the period counts from the comparison before it, not from the period's start."""
    scans = [scan_at(1, 1 * DAY), scan_at(2, 2 * DAY), scan_at(3, 12 * DAY)]
    assert spans(continuity(scans, 8 * DAY, 14 * DAY, WEEK)) == [(2, 12, False), (12, 14, True)]


def test_no_comparison_before_the_period(scan_at: ScanAt) -> None:
    """The time before monitoring began is no gap between two comparisons, and is named so."""
    stretches = continuity([scan_at(1, 20 * DAY)], 10 * DAY, 21 * DAY, WEEK)
    assert [(x.from_ns, x.status) for x in stretches] == [(10 * DAY, "not-monitored"), (20 * DAY, "ok")]
    assert "monitoring began" in stretches[0].note
    assert largest_hours(stretches) == 24
    assert (stretches[0].from_scan, stretches[0].to_scan, stretches[1].to_scan) == (None, 1, None)
    for began, wanted in (
        (5, [(10, 20, "pruned")]),
        (15, [(10, 15, "not-monitored"), (15, 20, "pruned")]),
    ):
        found = continuity([scan_at(5, 20 * DAY)], 10 * DAY, 21 * DAY, WEEK, pruned_since_ns=began * DAY)
        assert [(x.from_ns // DAY, x.to_ns // DAY, x.status) for x in found] == [*wanted, (20, 21, "ok")]
        assert largest_hours(found) == 24


def test_all_comparisons_before_the_period(scan_at: ScanAt) -> None:
    """When scanning stopped before the period, one stretch reaches from the last comparison to its end."""
    assert spans(continuity([scan_at(1, 1 * DAY)], 10 * DAY, 12 * DAY, WEEK)) == [(1, 12, False)]


def test_no_comparison_at_all_is_a_gap_however_short() -> None:
    """A period without any comparison is a gap, even if it is one day."""
    assert spans(continuity([], 10 * DAY, 11 * DAY, WEEK)) == [(10, 11, False)]


def test_an_interrupted_scan_compares_nothing(scan_at: ScanAt) -> None:
    """A scan that was interrupted does not shorten a gap."""
    scans = [scan_at(1, 10 * DAY), scan_at(2, None), scan_at(3, 18 * DAY)]
    assert spans(continuity(scans, 10 * DAY, 18 * DAY, WEEK)) == [(10, 18, False)]


def test_an_interrupted_scan_with_an_end_compares_nothing(scan_at: ScanAt) -> None:
    """Even if the time of the interruption is known."""
    scans = [scan_at(1, 10 * DAY), replace(scan_at(2, 14 * DAY), status=ScanStatus.INTERRUPTED), scan_at(3, 18 * DAY)]
    assert spans(continuity(scans, 10 * DAY, 18 * DAY, WEEK)) == [(10, 18, False)]


def test_a_comparison_after_the_period_does_not_count(scan_at: ScanAt) -> None:
    """A comparison that ended after the period is ignored."""
    scans = [scan_at(1, 10 * DAY), scan_at(2, 13 * DAY)]
    assert spans(continuity(scans, 10 * DAY, 12 * DAY, WEEK)) == [(10, 12, True)]


def test_a_clock_set_back_is_not_a_short_gap(scan_at: ScanAt) -> None:
    """When the clock was set back, the length is unknown, and so is the largest gap."""
    stretches = continuity([scan_at(1, 12 * DAY), scan_at(2, 11 * DAY)], 10 * DAY, 13 * DAY, WEEK)
    assert [(x.hours, x.status) for x in stretches] == [(48, "not-monitored"), (None, "gap"), (48, "ok")]
    assert "clock" in stretches[1].note
    assert largest_hours(stretches) is None


@given(st.lists(st.integers(0, 30 * DAY), unique=True, max_size=8), st.integers(0, 15 * DAY), st.integers(1, 15 * DAY))
def test_stretches_leave_nothing_out(times: list[int], start: int, length: int) -> None:
    """The stretches cover the period without holes, from its start (or earlier) to its end."""
    scans = [
        Scan(id=number, host="h", trigger="t", status=ScanStatus.FINISHED, started_ns=at, finished_ns=at)
        for number, at in enumerate(sorted(times), 1)
    ]
    stretches = continuity(scans, start, start + length, WEEK)
    assert stretches[0].from_ns <= start
    assert stretches[-1].to_ns == start + length
    assert all(one.to_ns == other.from_ns for one, other in itertools.pairwise(stretches))
    assert all(stretch.to_ns >= start for stretch in stretches)
