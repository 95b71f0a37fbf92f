"""What is due, worked out from what was last done, and what was missed until now."""

from __future__ import annotations

from msgspec import Struct

from fimscan.config import Config
from fimscan.model import MissedCause, MissedRuns
from fimscan.store import missed_runs, selftests
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.timing import Missed, Timetable, host_share, missed, parse_timetable

_NS = 10**9
GRACE_S = 60  # a run that begins this late is on time


class Job(Struct, frozen=True):
    """Something that runs by a timetable: ``full`` or ``scan``, reading the ``audit`` log, ``selftest``, ``prune``."""

    name: str
    table: Timetable


def jobs_of(config: Config, *, with_audit: bool, identity: str) -> tuple[Job, ...]:
    """Return the jobs of a configuration. A full scan comes first: it is also a scan, so both at once run once."""
    schedule = config.schedule
    jitter, share = schedule.jitter_s, host_share(identity)
    names = {"full": schedule.full, "scan": schedule.scan}
    names |= {"audit": schedule.audit} if with_audit else {}
    names |= {"selftest": schedule.selftest} if schedule.selftest else {}
    names |= {"prune": config.retention.prune} if config.retention.prune != "off" else {}
    return tuple(Job(name, parse_timetable(text, jitter=jitter, share=share)) for name, text in names.items())


def last_done(database: Database, job: Job, now: float) -> float | None:
    """Return when a job was last done, in seconds since 1970; ``None`` if it never was.

    A time in the future says nothing: the clock was set back since.
    """
    if job.name == "audit":
        return None  # reading what is new is cheap: it is due at each start
    with database.read() as session:
        if job.name == "selftest":
            last = selftests.last(session)
            time_ns = None if last is None else last.started_ns
        elif job.name == "prune":  # by a checkpoint; where nothing was old, it is tried again at the next start
            time_ns = scan_store.last_pruned_ns(session)
        else:
            time_ns = scan_store.last_done_ns(session, full=job.name == "full")
    return None if time_ns is None or time_ns / _NS > now + GRACE_S else time_ns / _NS


def missed_occurrences(database: Database, job: Job, now: float) -> Missed | None:
    """Return the occurrences of a job that passed between its last run and now, except those already stored."""
    done = last_done(database, job, now)
    if done is None:
        return None
    with database.read() as session:
        stored_ns = missed_runs.accounted_ns(session, job.name)
    since = done if stored_ns is None or stored_ns / _NS > now + GRACE_S else max(done, stored_ns / _NS)
    return missed(job.table, since, now - GRACE_S)


def store_missed(database: Database, job: Job, found: Missed, cause: MissedCause, now: float) -> MissedRuns:
    """Store missed occurrences."""
    record = MissedRuns(
        job=job.name,
        cause=cause,
        first_ns=int(found.first * _NS),
        last_ns=int(found.last * _NS),
        count=found.count,
        noted_ns=int(now * _NS),
    )
    with database.begin() as session:
        missed_runs.add(session, record)
    return record
