"""A schedule of the configuration: a cron expression or an interval, and what is due by it.

Times are seconds since 1970.
"""

from __future__ import annotations

import hashlib
import re
from datetime import tzinfo

from msgspec import Struct
from msgspec.structs import replace

from fimscan.timing.cron import Cron, parse_cron

_INTERVAL = re.compile(r"(\d+)\s*([smhd])", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_SECONDS = 100 * 366 * 86400


def interval_seconds(text: str) -> int | None:
    """The seconds of an interval such as ``15m`` or ``2h``; ``None`` if the text is no interval."""
    match = _INTERVAL.fullmatch(text.strip())
    return int(match[1]) * _UNIT_SECONDS[match[2]] if match and int(match[1]) else None


class Interval(Struct, frozen=True):
    """Something that is due ``seconds`` after it was last done."""

    seconds: int


class Timetable(Struct, frozen=True, kw_only=True):
    """When one job is due.

    Attributes:
        when: a cron expression or an interval.
        zone: the time zone of a cron expression; ``None`` is the system's.
        delay: seconds by which each occurrence of a cron expression is later, so that many hosts do not start at once.
    """

    when: Cron | Interval
    zone: tzinfo | None = None
    delay: int = 0

    def after(self, instant: float) -> float:
        """Return the first occurrence after a time; for an interval, the time at which it was last done."""
        if isinstance(self.when, Interval):
            return instant + self.when.seconds
        return self.when.after(instant - self.delay, self.zone) + self.delay

    def due(self, done: float | None, now: float) -> float:
        """Return when to run next: now, if an occurrence has passed since it was last done, or if it never was."""
        return now if done is None else max(now, self.after(done))

    def following(self, run: float, now: float) -> float:
        """Return the occurrence after a run that was due at ``run``, in the future: none is made up for twice."""
        if isinstance(self.when, Interval):
            seconds = self.when.seconds
            return run + seconds * max(1, int((now - run) // seconds) + 1)
        return self.after(max(run, now))


class Missed(Struct, frozen=True, kw_only=True):
    """Occurrences that passed without a run: the first, the last, and how many there were."""

    first: float
    last: float
    count: int


def missed(table: Timetable, done: float, until: float) -> Missed | None:
    """Return the occurrences after something was last done, up to and including ``until``; ``None`` without one."""
    if until <= done:
        return None
    if isinstance(table.when, Interval):
        count = int((until - done) // table.when.seconds)
        if not count:
            return None
        return Missed(first=table.after(done), last=done + count * table.when.seconds, count=count)
    count, first, last = 0, until, done
    for time in table.when.between(done - table.delay, until - table.delay, table.zone):
        count, first, last = count + 1, min(first, time + table.delay), max(last, time + table.delay)
    return Missed(first=first, last=last, count=count) if count else None


def parse_timetable(text: str, *, zone: tzinfo | None = None, jitter: int = 0, share: float = 0.0) -> Timetable:
    """Parse a cron expression or an interval.

    Args:
        text: the expression.
        zone: see :class:`Timetable`.
        jitter: seconds over which the hosts are spread.
        share: this host's place among them, from 0 to 1.

    Raises:
        ValueError: it is neither, or it never fires.
    """
    if (seconds := interval_seconds(text)) is not None:
        if seconds > _MOST_SECONDS:
            raise ValueError("an interval of more than 100 years never ends")
        return Timetable(when=Interval(seconds))
    return replace(Timetable(when=parse_cron(text), zone=zone), delay=int(jitter * share))


def host_share(identity: str) -> float:
    """Return a host's place among others, from 0 to 1: the same at each start, and different for each identity."""
    return int.from_bytes(hashlib.sha256(b"fimscan schedule\0" + identity.encode()).digest()[:6]) / 2**48
