"""Collect what a bundle is made of, from the store and the configuration: :class:`BundleInput`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

from msgspec.structs import replace

from fimscan import __version__
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.evidence.found import found_changes
from fimscan.evidence.inputs import BundleInput, ClockAtScan, CriticalPattern, HostFacts
from fimscan.evidence.manifest import Previous
from fimscan.evidence.policies import monitored_logs, retained, route_of
from fimscan.model import Gap, NoticeKind, Reconfiguration, Scan, ScanStatus, Unreadable, Window
from fimscan.pipeline.history.continuity import audit_gaps
from fimscan.store import acceptance as acceptance_store
from fimscan.store import audit as audit_store
from fimscan.store import clock, files, journal, missed_runs, outbox, selftests
from fimscan.store import controls as control_store
from fimscan.store import findings as finding_store
from fimscan.store import hosts as host_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.bound_rows import SUBJECTS, bound_rows
from fimscan.store.database import Database
from fimscan.store.ledger import latest_checkpoint
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_NS_PER_SECOND = 10**9
_NS_PER_DAY = 86400 * _NS_PER_SECOND
# What the log says of audit itself. Added rules are no failure, and a busy host adds many.
_NOTICES = (
    *(NoticeKind.DAEMON_START, NoticeKind.DAEMON_END, NoticeKind.RULE_REMOVED, NoticeKind.URING_RULE_REMOVED),
    *(NoticeKind.ENABLED, NoticeKind.DISABLED, NoticeKind.BOOT, NoticeKind.RESUMED),
)

Reconfigured: TypeAlias = Callable[[Session, int, int], Sequence[Reconfiguration]]
"""(session, start, end) -> the configuration changes of the scans after ``start``, up to and including ``end``."""


@contextmanager
def collected(  # noqa: PLR0913  # each is asked for once
    database: Database,
    config: Config,
    start_ns: int,
    end_ns: int,
    *,
    audit_rules: str,
    reconfigured: Reconfigured,
    failed_checks: Callable[[Session], Sequence[str]] | None = None,
    previous: Previous | None = None,
) -> Iterator[BundleInput]:
    """Collect the input of a bundle for a period. Files are streamed: use it inside the ``with`` only.

    Args:
        database: of this host.
        config: the present configuration.
        start_ns: the beginning of the period.
        end_ns: its end.
        audit_rules: the text of the rules for this configuration.
        reconfigured: gives changes of the configuration.
        failed_checks: says what does not verify, of the state of the database that is then exported.
        previous: the bundle that this one follows: of its scans, no change is collected again.

    Raises:
        UsageError: no scan was finished before the end of the period.
    """
    with database.read() as session:
        _require_evidence(session, end_ns)
        # Before anything is loaded: its memory is free again then.
        failed = None if failed_checks is None else failed_checks(session)
        scans, later = _chain(scan_store.all_scans(session), end_ns)
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
        first, last = _inside(scans, start_ns, 0 if previous is None else previous.last_scan)
        before = max((scan.id for scan in finished if scan.id < first), default=first)
        decisions = acceptance_store.records_since(session, start_ns)
        failures = control_store.between(session, start_ns, end_ns)
        now_ns = time.time_ns()
        as_of_ns = _newest_ns(session, [*scans, *later], now_ns)
        period = start_ns, _sealed_ns([*scans, *later], end_ns, as_of_ns)
        tried = selftests.between(session, start_ns, end_ns)
        wanted = _touched(session, period)
        # And all that the tables show, whenever the journal mentions it.
        wanted[Subject.ACCEPTANCE].update(item.number for item in decisions)
        wanted[Subject.CAUSE].update(item.id for item in failures)
        wanted[Subject.CONTROL_NOTE].update(note.id for item in failures for note in item.notes)
        wanted[Subject.SELFTEST].update(item.id for item in tried)
        wanted[Subject.OUTBOX].update(outbox.numbers_between(session, start_ns, end_ns, (first or 1, last)))
        wanted[Subject.ANSWER].update(finding_store.numbers_between(session, first, last))
        wanted[Subject.CLOCK].update(number for number, _ in clock.between(session, first, last))
        first_name, identity = host_store.record_of(session)
        seen_ns = _seen(finished, start_ns, end_ns)
        yield BundleInput(
            host=database.host,
            addresses=_addresses(),
            organization=config.evidence.organization,
            start_ns=start_ns,
            end_ns=end_ns,
            as_of_ns=as_of_ns,
            elapsed_ns=now_ns // _NS_PER_DAY * _NS_PER_DAY,
            version=__version__,
            config_json=config.canonical(),
            audit_rules=audit_rules,
            schedule=_schedule(config),
            critical=[
                CriticalPattern(
                    path=os.fsencode(watch.path),
                    exclude=watch.exclude,
                    policy=watch.policy,
                    severity=watch.severity,
                    category=watch.category,
                    rationale=watch.rationale,
                )
                for watch in config.watch
            ],
            files=files.states_as_of(session, finished[-1].id),
            scans=scans,
            later=later,
            changes=found_changes(session, database, config, [scan for scan in scans if first and scan.id >= first]),
            unreadable=_unreadable(session, finished[-1].id),
            failures=failures,
            missed_runs=missed_runs.between(session, start_ns, end_ns),
            selftests=tried,
            reconfigurations=reconfigured(session, before, last) if first else (),
            host_facts=HostFacts(
                first_name=first_name, id=identity, events=host_store.events(session, start_ns, end_ns)
            ),
            routes=[route_of(output) for output in config.output],
            audit_gaps=_audit_gaps(session, config, seen_ns),
            alerts=outbox.between(session, start_ns, end_ns, (first or 1, last)),
            decisions=decisions,
            logs=monitored_logs(session, config, first, last) if first else (),
            notices=audit_store.notices_of(session, _NOTICES, start_ns, end_ns),
            clocks=_clocks(session, scans, first, last),
            retention=retained(session, config, latest_checkpoint([*scans, *later])),
            journal=_journal(session),
            rows=bound_rows(session, wanted),
            journal_period=period,
            previous=previous,
            failed_checks=failed,
        )


def _require_evidence(session: Session, end_ns: int) -> None:
    """Refuse a period for which there is nothing."""
    scans, _ = _chain(scan_store.all_scans(session), end_ns)
    last = max((scan.id for scan in scans if scan.status is ScanStatus.FINISHED), default=None)
    if last is None:
        raise UsageError(
            "no scan finished in or before this period, so there is no evidence to export; choose a later period"
        )
    sealed = scan_store.checkpoint(session)
    if sealed is not None and last < sealed.states_from:
        raise UsageError(
            f"what was monitored before scan {sealed.states_from} was pruned ([retention] findings), so there is no"
            " evidence to export for this period; choose a later one"
        )


def _newest_ns(session: Session, scans: Sequence[Scan], now_ns: int) -> int:
    """When the newest record was made. What was recorded while the clock was ahead of now does not count."""
    times = (scan.finished_ns or scan.started_ns for scan in scans)
    return max([time_ns for time_ns in (*times, journal.newest_ns(session, now_ns)) if time_ns <= now_ns], default=0)


def _sealed_ns(scans: Sequence[Scan], end_ns: int, as_of_ns: int) -> int:
    """The end of the first scan that ended after a period: its journal entry has what was noted before."""
    later = (scan.finished_ns for scan in scans if scan.finished_ns is not None and scan.finished_ns >= end_ns)
    return min(later, default=max(end_ns, as_of_ns)) + _NS_PER_SECOND


def _touched(session: Session, period: tuple[int, int]) -> dict[Subject, set[int]]:
    """The numbers of the rows that evidence shows and that the journal mentions within a period."""
    found: dict[Subject, set[int]] = {subject: set() for subject in SUBJECTS}
    codes = {int(subject): numbers for subject, numbers in found.items()}
    for entry in _journal(session):
        if period[0] <= entry.made_ns < period[1]:
            for code, number, _ in entry.codes():
                if code in codes:
                    codes[code].add(number)
    return found


def _journal(session: Session) -> Iterator[journal.Entry]:
    yield from journal.entries(session)
    if (still_open := journal.open_entry(session)) is not None:
        yield still_open


def _seen(finished: Sequence[Scan], start_ns: int, end_ns: int) -> tuple[int, int]:
    """From when until when the host was looked at within a period: from the first to the last scan."""
    ends = [scan.finished_ns or scan.started_ns for scan in finished]
    return max(start_ns, finished[0].started_ns), min(end_ns, max(ends))


def _audit_gaps(session: Session, config: Config, seen_ns: tuple[int, int]) -> list[tuple[bytes, Gap]]:
    """The gaps within a stretch of time."""
    start_ns, end_ns = seen_ns
    if start_ns >= end_ns:
        return []
    found = audit_gaps(session, config, Window(after_ns=start_ns, before_ns=end_ns))
    return [
        (path, replace(gap, start_ns=max(gap.start_ns, start_ns), end_ns=min(gap.end_ns, end_ns)))
        for path, gap in found
        if gap.end_ns > start_ns and gap.start_ns < end_ns
    ]


def _clocks(session: Session, scans: Sequence[Scan], first: int, last: int) -> Iterator[ClockAtScan]:
    started = {scan.id: scan.started_ns for scan in scans if scan.status is ScanStatus.FINISHED}
    for number, look in clock.between(session, first, last):
        if number in started:
            yield ClockAtScan(number, started[number], look)


def _schedule(config: Config) -> dict[str, str]:
    """When each job runs; a selftest that never runs is no job."""
    schedule = config.schedule
    jobs = {"scan": schedule.scan, "full": schedule.full, "audit": schedule.audit, "selftest": schedule.selftest}
    return {job: when for job, when in jobs.items() if when}


def _chain(every: Sequence[Scan], end_ns: int) -> tuple[list[Scan], list[Scan]]:
    """The scans of the chain up to the end of a period, and the finished ones after it."""
    sealed = latest_checkpoint(every)
    begin = 0 if sealed is None else sealed.scan
    # By number, not by time: where the clock was set back, a chain without its later times would have holes.
    end = max((scan.id for scan in every if scan.started_ns < end_ns), default=0)
    scans = [scan for scan in every if begin < scan.id <= end]
    return scans, [scan for scan in every if scan.status is ScanStatus.FINISHED and scan.id > max(begin, end)]


def _unreadable(session: Session, last: int) -> tuple[Unreadable, ...]:
    complete = scan_store.last_full(session, until=last)
    return scan_result_store.unreadable_in(session, complete.id) if complete is not None else ()


def _inside(scans: Sequence[Scan], start_ns: int, after: int) -> tuple[int, int]:
    """Numbers of the first and the last scan that ended in the period, without those up to ``after``; (0, 0) if none.

    Those that a previous bundle did not have are in this one, whenever they ended.
    """
    if after:
        inside = [scan.id for scan in scans if scan.id > after]
    else:
        inside = [scan.id for scan in scans if (scan.finished_ns or scan.started_ns) >= start_ns]
    return (min(inside), max(inside)) if inside else (0, 0)


def _addresses() -> tuple[str, ...]:
    """The FQDN and the addresses that this host's name resolves to, without loopback ones."""
    names = {socket.getfqdn()}
    with suppress(OSError):
        names.update(str(item[4][0]) for item in socket.getaddrinfo(socket.gethostname(), None))
    return tuple(sorted(names - {"localhost", "127.0.0.1", "::1"}))
