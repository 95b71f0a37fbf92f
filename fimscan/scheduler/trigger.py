"""A trigger for APScheduler that follows one of our timetables."""

from __future__ import annotations

from datetime import UTC, datetime

from apscheduler.triggers.base import BaseTrigger

from fimscan.timing import NeverFiresError, Timetable, parse_timetable


class Trigger(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Fires first at a given time, then at each occurrence of a timetable.

    Occurrences that pass while the scheduler is late are not fired one by one: the next one is always in the future.

    Attributes:
        current: the occurrence that fires, or has fired last, in seconds since 1970.

    Args:
        table: the timetable.
        first: when to fire first, in seconds since 1970; without it, at the next occurrence.
    """

    __slots__ = ("_first", "_table", "current")

    def __init__(self, table: Timetable, first: float | None = None) -> None:
        self._table = table
        self._first = first
        self.current = 0.0

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return when to fire next. APScheduler calls this before it runs a job, with the time of that run."""
        if previous_fire_time is not None:
            self.current = previous_fire_time.timestamp()
            found = self._table.following(self.current, now.timestamp())
        else:
            found = self._table.after(now.timestamp()) if self._first is None else self._first
        return datetime.fromtimestamp(found, UTC)


class Never(BaseTrigger):  # type: ignore[misc]  # APScheduler ships no types
    """Never fires."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> None:
        """Return ``None``, which is APScheduler's word for it."""


def trigger_of(text: str) -> Trigger | Never:
    """Convert a cron expression or an interval, for programs that ask when it fires.

    In a configuration, one that never fires is an error.
    """
    try:
        return Trigger(parse_timetable(text))
    except NeverFiresError:
        return Never()
