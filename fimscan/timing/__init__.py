"""When things are due: cron expressions and intervals, in the system's local time. It runs nothing.

cron       crontab(5): which minutes an expression names, also when clocks are changed
timetable  a cron expression or an interval: the next occurrence, and those that were missed
zones      whether the system knows the time zone that it is told to use
"""

from fimscan.timing.cron import Cron, NeverFiresError, parse_cron
from fimscan.timing.timetable import (
    Interval,
    Missed,
    Timetable,
    host_share,
    interval_seconds,
    missed,
    parse_timetable,
)
from fimscan.timing.zones import local_text, zone_problem

__all__ = [
    "Cron",
    "Interval",
    "Missed",
    "NeverFiresError",
    "Timetable",
    "host_share",
    "interval_seconds",
    "local_text",
    "missed",
    "parse_cron",
    "parse_timetable",
    "zone_problem",
]
