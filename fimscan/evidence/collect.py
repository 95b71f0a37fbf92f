"""Collect what a bundle is made of, from the store and the configuration: :class:`BundleInput`."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TypeAlias

from fimscan import __version__
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.evidence.inputs import BundleInput, CriticalPattern
from fimscan.model import Finding, Reconfiguration, Scan, ScanStatus, Unreadable
from fimscan.pipeline.importance import Importance
from fimscan.store import controls as control_store
from fimscan.store import files, missed_runs, selftests
from fimscan.store import findings as finding_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.ledger import latest_checkpoint
from fimscan.store.session import Session

Reconfigured: TypeAlias = Callable[[Session, int, int], Sequence[Reconfiguration]]
"""(session, start, end) -> the configuration changes of the scans after ``start``, up to and including ``end``."""


@contextmanager
def collected(
    database: Database,
    config: Config,
    start_ns: int,
    end_ns: int,
    *,
    audit_rules: str,
    reconfigured: Reconfigured,
) -> Iterator[BundleInput]:
    """Collect the input of a bundle for a period. Files are streamed: use it inside the ``with`` only.

    ``audit_rules`` is the text of the rules for this configuration.

    Raises:
        UsageError: no scan was finished before the end of the period.
    """
    with database.read() as session:
        scans, later = _chain(scan_store.all_scans(session), end_ns)
        finished = [scan for scan in scans if scan.status is ScanStatus.FINISHED]
        if not finished:
            raise UsageError(
                "no scan finished in or before this period, so there is no evidence to export; choose a later period"
            )
        sealed = scan_store.checkpoint(session)
        if sealed is not None and finished[-1].id < sealed.states_from:
            raise UsageError(
                f"what was monitored before scan {sealed.states_from} was pruned ([retention] findings), so there is no"
                " evidence to export for this period; choose a later one"
            )
        first, last = _inside(scans, start_ns)
        before = max((scan.id for scan in finished if scan.id < first), default=first)
        yield BundleInput(
            host=database.host,
            addresses=_addresses(),
            organization=config.evidence.organization,
            start_ns=start_ns,
            end_ns=end_ns,
            generated_ns=time.time_ns(),
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
            files=(files.as_digested(v) or v.state for v in files.as_of(session, finished[-1].id)),
            scans=scans,
            later=later,
            findings=Importance(config.watch).on_all(_findings(database, first, last)),
            unreadable=_unreadable(session, finished[-1].id),
            failures=control_store.between(session, start_ns, end_ns),
            missed_runs=missed_runs.between(session, start_ns, end_ns),
            selftests=selftests.between(session, start_ns, end_ns),
            reconfigurations=reconfigured(session, before, last) if first else (),
        )


def _schedule(config: Config) -> dict[str, str]:
    """When each job runs; a selftest that never runs is no job."""
    schedule = config.schedule
    jobs = {"scan": schedule.scan, "full": schedule.full, "audit": schedule.audit, "selftest": schedule.selftest}
    return {job: when for job, when in jobs.items() if when}


def _chain(every: Sequence[Scan], end_ns: int) -> tuple[list[Scan], list[Scan]]:
    """The scans of the chain up to the end of a period, and those after it that its checkpoint needs."""
    sealed = latest_checkpoint(every)
    begin = 0 if sealed is None else sealed.scan
    # By number, not by time: where the clock was set back, a chain without its later times would have holes.
    end = max((scan.id for scan in every if scan.started_ns < end_ns), default=0)
    scans = [scan for scan in every if begin < scan.id <= end]
    if not begin or any(scan.checkpoint == sealed for scan in scans):
        return scans, []
    later = [scan for scan in every if scan.status is ScanStatus.FINISHED and scan.id > max(begin, *_ids(scans))]
    needed = next(number for number, scan in enumerate(later) if scan.checkpoint == sealed)
    return scans, later[: needed + 1]


def _ids(scans: Sequence[Scan]) -> tuple[int, ...]:
    return tuple(scan.id for scan in scans) or (0,)


def _unreadable(session: Session, last: int) -> tuple[Unreadable, ...]:
    complete = scan_store.last_full(session, until=last)
    return scan_result_store.unreadable_in(session, complete.id) if complete is not None else ()


def _inside(scans: Sequence[Scan], start_ns: int) -> tuple[int, int]:
    """Numbers of the first and the last scan that ended in the period; (0, 0) if there is none."""
    inside = [scan.id for scan in scans if (scan.finished_ns or scan.started_ns) >= start_ns]
    return (min(inside), max(inside)) if inside else (0, 0)


def _findings(database: Database, first: int, last: int) -> list[Finding]:
    if not first:
        return []
    with database.read() as session:
        return finding_store.findings_between(session, first - 1, last)


def _addresses() -> tuple[str, ...]:
    """The FQDN and the addresses that this host's name resolves to, without loopback ones."""
    names = {socket.getfqdn()}
    with suppress(OSError):
        names.update(str(item[4][0]) for item in socket.getaddrinfo(socket.gethostname(), None))
    return tuple(sorted(names - {"localhost", "127.0.0.1", "::1"}))
