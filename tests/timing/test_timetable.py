"""What is due, and what was missed, by a timetable."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.timing import Missed, host_share, missed, parse_timetable

MONDAY = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAY = 24 * HOUR


def test_an_interval_counts_from_when_it_was_last_done() -> None:
    """Restarted more often than the interval, it is due all the same."""
    table = parse_timetable("30m")
    assert table.due(MONDAY, MONDAY + 10 * 60) == MONDAY + 30 * 60
    assert table.due(MONDAY, MONDAY + 50 * 60) == MONDAY + 50 * 60
    assert table.due(None, MONDAY) == MONDAY


def test_a_cron_expression_is_due_if_an_occurrence_has_passed() -> None:
    """The host was off at 03:00 on Sunday."""
    table = parse_timetable("0 3 * * 0", zone=UTC)
    sunday = MONDAY - DAY + 3 * HOUR
    assert table.due(sunday - HOUR, MONDAY) == MONDAY
    assert table.due(sunday, MONDAY) == sunday + 7 * DAY


@pytest.mark.parametrize("text", ["30m", "*/30 * * * *"])
def test_what_follows_is_in_the_future(text: str) -> None:
    """After a night of sleep one run makes up for all."""
    table = parse_timetable(text, zone=UTC)
    assert table.following(MONDAY, MONDAY) == MONDAY + HOUR / 2
    assert table.following(MONDAY, MONDAY + 8 * HOUR + 60) == MONDAY + 8.5 * HOUR


@pytest.mark.parametrize("text", ["30m", "*/30 * * * *"])
def test_missed_occurrences(text: str) -> None:
    """First, last and number of those after it was done, up to and including the given time."""
    table = parse_timetable(text, zone=UTC)
    assert missed(table, MONDAY, MONDAY + HOUR / 2 - 1) is None
    assert missed(table, MONDAY, MONDAY - DAY) is None
    expected = Missed(first=MONDAY + HOUR / 2, last=MONDAY + 2 * HOUR, count=4)
    assert missed(table, MONDAY, MONDAY + 2 * HOUR) == expected
    assert missed(table, MONDAY, MONDAY + 2.4 * HOUR) == expected


@given(
    st.sampled_from(["7m", "13 * * * *", "5 4 * * 1"]),
    st.integers(0, 10**6),
    st.integers(0, 3 * 10**6),
    st.floats(0, 0.999),
)
def test_missed_ones_are_those_that_follow_each_other(text: str, done: int, more: int, share: float) -> None:
    """The count is that of steps from one to the next, with any delay of the host."""
    table = parse_timetable(text, zone=UTC, jitter=5000, share=share)
    found, at = [], float(done)
    while (at := table.after(at)) <= done + more:
        found.append(at)
    expected = Missed(first=found[0], last=found[-1], count=len(found)) if found else None
    assert missed(table, done, done + more) == expected


def test_hosts_are_spread_and_each_keeps_its_place() -> None:
    """The delay follows from the identity, is less than the jitter, and applies to cron expressions."""
    shares = [host_share(f"host {number}") for number in range(1000)]
    assert shares == [host_share(f"host {number}") for number in range(1000)]
    assert 0 <= min(shares) < 0.01 and 0.99 < max(shares) < 1
    table = parse_timetable("0 3 * * *", zone=UTC, jitter=600, share=0.5)
    assert table.after(MONDAY) == MONDAY + 3 * HOUR + 300
    assert table.after(MONDAY + 3 * HOUR + 299) == MONDAY + 3 * HOUR + 300
    assert table.after(MONDAY + 3 * HOUR + 300) == MONDAY + DAY + 3 * HOUR + 300
    assert parse_timetable("15m", jitter=600, share=0.5).after(MONDAY) == MONDAY + HOUR / 4


def test_an_interval_of_centuries_is_refused() -> None:
    """It would be no time that a clock can show."""
    with pytest.raises(ValueError, match="100 years"):
        parse_timetable("99999999999d")
