"""Cron expressions are read and followed as Debian's cron does, also when clocks are changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.timing import parse_cron

# --------------------------------------------------------------------------------------------------------------------
# The reference: the main loop of Debian's cron.c, minute by minute. It knows nothing of our parser but its grammar.

_LOW = (0, 0, 1, 1, 0)
_HIGH = (59, 23, 31, 12, 7)
_SMALL, _MEDIUM = 5, 180  # minutes


def named(field: int, text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        low, high = (_LOW[field], _HIGH[field]) if span == "*" else map(int, (span + "-" + span).split("-")[:2])
        if "-" in span:
            low, high = map(int, span.split("-"))
        found.update(range(low, high + 1, int(step or 1)))
    return found


class Reference:
    """One job of cron."""

    def __init__(self, text: str) -> None:
        fields = text.split()
        self.minutes, self.hours, self.days, self.months, self.weekdays = (
            named(number, field) for number, field in enumerate(fields)
        )
        self.is_wild = fields[0][0] == "*" or fields[1][0] == "*"
        self.has_star_day = fields[2][0] == "*" or fields[4][0] == "*"

    def matches(self, local: int) -> bool:
        """Whether it is named by a minute of local time, counted from 1970."""
        at = datetime.fromtimestamp(local * 60, UTC)
        is_day = at.day in self.days
        is_weekday = at.isoweekday() % 7 in self.weekdays or (at.isoweekday() == 7 and 7 in self.weekdays)
        day = (is_day and is_weekday) if self.has_star_day else (is_day or is_weekday)
        return at.minute in self.minutes and at.hour in self.hours and at.month in self.months and day

    def runs(self, start: int, end: int, zone: ZoneInfo) -> Iterator[int]:
        """Yield the minutes since 1970 in which cron starts the job, once each; it has been running since ``start``."""
        virtual = clock_of(start, zone) - 1
        for minute in range(start, end):
            running = clock_of(minute, zone)
            ahead = running - virtual
            wild, fixed = [], []
            if ahead > _MEDIUM or ahead <= -_MEDIUM:
                virtual = running
                wild, fixed = [running], [running]
            elif ahead > _SMALL:
                wild, fixed = [running], list(range(virtual + 1, running + 1))
                virtual = running
            elif ahead > 0:
                fixed = list(range(virtual + 1, running + 1))
                wild = fixed
                virtual = running
            else:
                wild = [running]
            if any(map(self.matches, wild if self.is_wild else fixed)):
                yield minute


def clock_of(minute: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(minute * 60, zone).replace(tzinfo=UTC)
    return int(local.timestamp()) // 60


def minutes(text: str, start: int, end: int, zone: ZoneInfo) -> list[int]:
    """The same by our code: for the whole stretch, and now and then by asking for the next one."""
    cron = parse_cron(text)
    found = sorted(cron.between(start * 60 - 1, end * 60 - 1, zone))
    for at in range(start, end, 331):
        later = [time for time in found if time > at * 60 + 17]
        following = cron.after(at * 60 + 17, zone)
        assert following == later[0] if later else following >= end * 60
    return [time // 60 for time in found]


# Days on which clocks are changed: by an hour, by half an hour, by two hours, at midnight, and where nothing changes.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Antarctica/Troll", date(2026, 3, 29)),
    ("Antarctica/Troll", date(2026, 10, 25)),
    ("Africa/Cairo", date(2026, 4, 24)),
    ("Africa/Cairo", date(2026, 10, 30)),
    ("America/Havana", date(2026, 3, 8)),
    ("America/Havana", date(2026, 11, 1)),
    ("America/Santiago", date(2026, 9, 6)),
    ("America/Santiago", date(2026, 4, 5)),
    ("Asia/Beirut", date(2026, 3, 29)),
    ("Asia/Kathmandu", date(2026, 2, 28)),
    ("Etc/UTC", date(2028, 2, 29)),
]


def field(number: int, *, near: list[int]) -> st.SearchStrategy[str]:
    """A field of an expression, with values that are likely around a change."""
    value = st.sampled_from(near)
    step = st.sampled_from(["", "", "/2", "/7", "/20"])
    span = st.builds(
        lambda a, b, s: f"{min(a, b)}-{max(a, b)}{s}", value, st.integers(_LOW[number], _HIGH[number]), step
    )
    part = st.one_of(st.just("*"), st.builds("*{}".format, step), value.map(str), value.map(str), span)
    return st.lists(part, min_size=1, max_size=2).map(",".join)


EXPRESSIONS = st.tuples(
    field(0, near=[0, 15, 29, 30, 31, 59]),
    field(1, near=[0, 1, 2, 3, 4, 23]),
    st.one_of(st.just("*"), field(2, near=[1, 4, 5, 8, 25, 28, 29, 30])),
    st.one_of(st.just("*"), st.just("*"), field(3, near=[2, 3, 4, 9, 10, 11])),
    st.one_of(st.just("*"), field(4, near=[0, 1, 5, 6, 7])),
).map(" ".join)


@given(EXPRESSIONS, st.sampled_from(CHANGES))
def test_it_runs_when_cron_would(text: str, change: tuple[str, date]) -> None:
    """On the days around a change of the clocks, minute by minute."""
    name, day = change
    zone = ZoneInfo(name)
    try:
        parse_cron(text)
    except ValueError as error:
        assert "never fires" in str(error)
        return
    before = timedelta(days=1, hours=random.Random(text).randrange(9))
    start = int((datetime(day.year, day.month, day.day, tzinfo=zone) - before).timestamp()) // 60
    end = start + 68 * 60
    assert minutes(text, start, end, zone) == list(Reference(text).runs(start, end, zone))


def fires(text: str, start: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The first occurrences after a local time, as local times with their offset."""
    tz, found = ZoneInfo(zone), []
    at = datetime.fromisoformat(start).replace(tzinfo=tz).timestamp()
    for _ in range(count):
        at = parse_cron(text).after(at, tz)
        found.append(datetime.fromtimestamp(at, tz).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        # Either day is enough where both are restricted.
        ("0 3 1,15 * 0", "2026-11-02", ["2026-11-08T03:00+01:00", "2026-11-15T03:00+01:00", "2026-11-22T03:00+01:00"]),
        # A field that begins with * does not restrict.
        ("0 3 */2 * 0", "2026-11-02", ["2026-11-15T03:00+01:00", "2026-11-29T03:00+01:00"]),
        ("0 3 1 * */2", "2026-11-02", ["2026-12-01T03:00+01:00", "2027-04-01T03:00+02:00"]),
        ("0 3 * * 7", "2026-11-23", ["2026-11-29T03:00+01:00"]),
        ("0 3 * * Fri-Sun", "2026-11-26", [f"2026-11-{day}T03:00+01:00" for day in (26, 27, 28, 29)][1:]),
        ("0 3 29 2 *", "2026-11-23", ["2028-02-29T03:00+01:00", "2032-02-29T03:00+01:00"]),
        ("0 3 29 2 */7", "2096-01-01", ["2128-02-29T03:00+01:00"]),
        ("@weekly", "2026-11-23", ["2026-11-29T00:00+01:00"]),
        ("@hourly", "2026-10-25T01:30", ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]),
        ("10-30/10,45 0 1 JAN,mar *", "2026-11-23", [f"2027-01-01T00:{m}+01:00" for m in (10, 20, 30, 45)]),
        # Skipped: right after the gap, once. Repeated: once.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("0,30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        # By the minute: none is made up for, and the repeated hour has its own.
        ("*/30 2 * * *", "2026-03-28T12:00", ["2026-03-30T02:00+02:00"]),
        ("30 * * * *", "2026-10-25T01:45", ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
    ],
)
def test_examples(text: str, start: str, expected: list[str]) -> None:
    """What crontab(5) says, spelled out."""
    assert fires(text, start, len(expected)) == expected


def test_a_fixed_time_is_not_repeated_after_a_start_in_the_repeated_hour() -> None:
    """fimscan was started within the second 02:00 to 03:00."""
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=zone).timestamp()
    found = datetime.fromtimestamp(parse_cron("30 2 * * *").after(start, zone), zone)
    assert found.isoformat() == "2026-10-26T02:30:00+01:00"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # Debian's crontab refuses the first ones, too; it takes the last ones, and never runs them.
        ("60 * * * *", "minute: 60 is not in 0 to 59"),
        ("* 24 * * *", "hour: 24"),
        ("0 0 0 1 *", "day of month: 0"),
        ("* * * * 8", "day of week: 8"),
        ("* * * * Monday", "day of week: 'Monday'"),
        ("*/0 * * * *", "the step of '*/0' is 0"),
        ("5/10 * * * *", "instead of '5/10', write '5-59/10'"),
        ("1,,2 * * * *", "minute: ''"),
        ("-5 * * * *", "minute: '-5'"),
        ("? * * * *", "minute: '?'"),
        ("٣ * * * *", "minute: '٣'"),
        ("* * L * *", "day of month: 'L'"),
        ("* * * * 5L", "day of week: '5L'"),
        ("* * * *", "five fields, not 4"),
        ("* * * * * *", "five fields, not 6"),
        ("", "five fields, not 0"),
        ("@every 5m", "@every 5m is none of @yearly"),
        ("@reboot", "@reboot names no time"),
        (f"{'9' * 5000} * * * *", "is not in 0 to 59"),
        ("5-2 * * * *", "ends before it begins"),
        ("0 3 30 2 *", "it never fires: there is no day 30 in month 2"),
        ("0 3 31 4,6,9,11 *", "there is no day 31 in month 4 or 6 or 9 or 11"),
        ("0 3 31 2 */2", "it never fires"),
    ],
)
def test_what_is_no_expression_or_never_fires_is_refused(text: str, words: str) -> None:
    """The message says why."""
    with pytest.raises(ValueError) as caught:
        parse_cron(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "text", ["0 3 31 2 1", "07 * * * *", "*/100 * * * *", "* * * * mon-FRI", "0 0 * * 0-7", "*,5 * * * *"]
)
def test_what_cron_takes_is_taken(text: str) -> None:
    """Also where it is unusual."""
    assert parse_cron(text).after(0.0) > 0
