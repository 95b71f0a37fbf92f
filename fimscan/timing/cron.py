"""Cron expressions by the rules of crontab(5), as Debian's cron (Vixie's) has them.

An expression names minutes of local time. Two kinds of expressions differ when clocks are changed. If minute or hour
starts with ``*``, the expression names minutes as they come: those of a skipped hour never come, and those of a
repeated hour come twice. Any other expression names fixed times. A fixed time that is skipped is due right after the
gap, and one that is repeated is due once, at the first time.

Times are seconds since 1970. ``zone`` is ``None`` for the system's local time, as the C library computes it.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo

from msgspec import Struct

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    "jan": 1,
    "feb": 2,
    "mar": 3,
    "apr": 4,
    "may": 5,
    "jun": 6,
    "jul": 7,
    "aug": 8,
    "sep": 9,
    "oct": 10,
    "nov": 11,
    "dec": 12,
}
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
# *, a value, or a range; only * and ranges may have a step.
_PART = re.compile(r"(?:\*|([0-9]+|[a-z]{3})(?:-([0-9]+|[a-z]{3}))?)(?:/([0-9]+))?", re.ASCII)
_LEAP_YEAR = 2024
_ONE_DAY = timedelta(days=1)
# The longest wait: a 29 February that is also a certain weekday, if a century without leap day is between.
_MOST_DAYS = 41 * 366


class NeverFiresError(ValueError):
    """A cron expression names no time that ever comes."""


class _Field(Struct, frozen=True):
    name: str
    low: int
    high: int
    names: Mapping[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


class Cron(Struct, frozen=True, kw_only=True):
    """A cron expression.

    Attributes:
        times: the times of a day, in seconds since midnight, ascending.
        days: days of the month.
        months: months.
        weekdays: days of the week; Sunday is 0.
        both_days: a day has to match ``days`` and ``weekdays``; otherwise one of them is enough.
        is_fixed: the expression names fixed times (see above).
    """

    times: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    is_fixed: bool

    def after(self, instant: float, zone: tzinfo | None = None) -> int:
        """Return the first occurrence after a time."""
        start = _local(instant, zone).date() - _ONE_DAY
        for number in range(_MOST_DAYS):
            day = start + number * _ONE_DAY
            if later := [time for time in self._on(day, zone) if time > instant]:
                # Where a clock is set back at midnight, the next day may begin before this one ends.
                return min(later + [time for time in self._on(day + _ONE_DAY, zone) if time > instant])
        raise AssertionError("an expression that never fires is refused")

    def between(self, since: float, until: float, zone: tzinfo | None = None) -> Iterator[int]:
        """Yield the occurrences after ``since``, up to and including ``until``, day by day."""
        day, last = _local(since, zone).date() - _ONE_DAY, _local(until, zone).date() + _ONE_DAY
        while day <= last:
            yield from (time for time in self._on(day, zone) if since < time <= until)
            day += _ONE_DAY

    def _on(self, day: date, zone: tzinfo | None) -> list[int]:
        """Return the occurrences that are due on a day, ascending."""
        if not self.matches(day):
            return []
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        starts = {midnight.replace(fold=fold).timestamp() for fold in (0, 1)}
        ends = {(midnight + _ONE_DAY).replace(fold=fold).timestamp() for fold in (0, 1)}
        if len(starts) == 1 and ends == {start + _ONE_DAY.total_seconds() for start in starts}:
            start = int(starts.pop())
            return [start + time for time in self.times]
        return sorted({found for time in self.times for found in self._instants(midnight + timedelta(seconds=time))})

    def _instants(self, local: datetime) -> list[int]:
        """Return when a local time comes, on a day on which clocks are changed."""
        while True:
            found = sorted({int(local.replace(fold=fold).timestamp()) for fold in (0, 1)})
            real = [time for time in found if _local(time, local.tzinfo) == local.replace(tzinfo=None)]
            if real or not self.is_fixed:
                return real[:1] if self.is_fixed else real
            local += timedelta(minutes=1)

    def matches(self, day: date) -> bool:
        """Whether the expression names a day."""
        if day.month not in self.months:
            return False
        is_day, is_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (is_day and is_weekday) if self.both_days else (is_day or is_weekday)


def _local(instant: float, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)


def parse_cron(text: str) -> Cron:
    """Parse a cron expression.

    Raises:
        ValueError: it is none.
        NeverFiresError: it names a day that no month has.
    """
    text = text.strip()
    if text == "@reboot":
        raise ValueError("@reboot names no time; 'fimscan schedule' makes up for missed scans whenever it starts")
    if text.startswith("@") and text not in _MACROS:
        raise ValueError(f"{text} is none of {', '.join(_MACROS)}")
    parts = _MACROS.get(text, text).split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"a cron expression has five fields, not {len(parts)}")
    minutes, hours, days, months, weekdays = (
        frozenset(_values(part, field)) for part, field in zip(parts, _FIELDS, strict=True)
    )
    made = Cron(
        times=tuple(hour * 3600 + minute * 60 for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        both_days=parts[2].startswith("*") or parts[4].startswith("*"),
        is_fixed=not (parts[0].startswith("*") or parts[1].startswith("*")),
    )
    if made.both_days and not any(min(days) <= monthrange(_LEAP_YEAR, month)[1] for month in months):
        raise NeverFiresError(
            f"it never fires: there is no day {min(days)} in month {' or '.join(map(str, sorted(months)))}"
        )
    return made


def _values(text: str, field: _Field) -> Iterator[int]:
    for part in text.split(","):
        match = _PART.fullmatch(part.lower())
        if match is None:
            raise ValueError(f"{field.name}: {part!r} is no number, name, range or *")
        first, last, step = match[1], match[2], int(match[3] or 1)
        low = field.low if first is None else _number(first, field)
        high = field.high if first is None else _number(last or first, field)
        if last == "sun":
            high = 7
        if step == 0:
            raise ValueError(f"{field.name}: the step of {part!r} is 0")
        if match[3] and first is not None and last is None:
            instead = f"{first}-{field.high}/{step}"
            raise ValueError(f"{field.name}: only * and ranges have steps; instead of {part!r}, write {instead!r}")
        if high < low:
            raise ValueError(f"{field.name}: the range {part!r} is empty, because it ends before it begins")
        yield from range(low, high + 1, step)


def _number(text: str, field: _Field) -> int:
    if not text.isdecimal():
        if text not in field.names:
            raise ValueError(f"{field.name}: {text!r} is no name")
        return field.names[text]
    number = int(text) if len(text) < 10 else field.high + 1
    if not field.low <= number <= field.high:
        raise ValueError(f"{field.name}: {text} is not in {field.low} to {field.high}")
    return number
