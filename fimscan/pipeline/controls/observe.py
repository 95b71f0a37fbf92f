"""Read the facts that :mod:`fimscan.pipeline.controls.evaluate` judges: from the store, the disks and the rules."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

from fimscan import attribution
from fimscan.attribution.coverage import in_scope
from fimscan.config import Config
from fimscan.model import (
    AuditObservation,
    MissedRuns,
    Scan,
    ScanStatus,
    Unreadable,
    UnreadableReason,
    Window,
)
from fimscan.paths import innermost
from fimscan.pipeline.audit.reading import AuditSource
from fimscan.pipeline.controls.facts import AuditFacts, ScanFacts, Space, Undelivered, UnreadFiles
from fimscan.pipeline.health.coverage.gather import longest_wait
from fimscan.report.display import show
from fimscan.store import audit as audit_store
from fimscan.store import missed_runs, outbox
from fimscan.store import scans as scan_store
from fimscan.store.contents import contents_file
from fimscan.store.database import Database
from fimscan.store.session import Session

_NEED = attribution.Need(writes=True, attributes=True)
_FEWEST = 3  # waits between scans of cron, from which their interval is known
_MOST = 10
_SCHEDULE = "schedule"


def audit_facts(session: Session, config: Config, source: AuditSource, since_ns: int, now_ns: int) -> AuditFacts | None:
    """What is known of audit from a time on; ``None`` if audit was never observed."""
    recent = audit_store.observations(session, now_ns, now_ns)
    if not recent:
        return None
    # Where the clock was set back, some are of times that have not come yet: they say nothing of the present.
    past = [seen for seen in recent if seen.time_ns <= now_ns]
    latest = max(past or recent, key=lambda seen: seen.time_ns)
    seen = sorted(audit_store.observations(session, since_ns, latest.time_ns), key=lambda one: one.time_ns)
    seen = [one for one in seen if one.time_ns <= latest.time_ns] or [latest]
    window = Window(after_ns=min(since_ns, latest.time_ns), before_ns=latest.time_ns)
    first_ns = max(window.after_ns, seen[0].time_ns)  # nothing is known of the time before the first observation
    notices = audit_store.notices(session, min(since_ns, seen[0].time_ns), latest.time_ns)
    extents = [audit_store.extents(session, log) for log in source.paths]
    coverage = attribution.CoverageMap(seen, notices, extents)
    paths = dict(_rulable(config))
    within = Window(after_ns=first_ns, before_ns=latest.time_ns)
    return AuditFacts(
        latest=latest,
        earlier=tuple(seen[:-1]),
        ahead=_ahead(session, now_ns) if past else None,
        uncovered=dict(_uncovered(paths, latest)),
        gaps={shown: coverage.over(path, within, _NEED).gaps for shown, path in paths.items()},
        notices=tuple(notices),
        logs=tuple(show(log) for log in source.paths),
        # A log that was given for once (--audit-log) is mostly a copy.
        is_logged=source.logs != config.audit.logs
        or any(extent.end_ns >= latest.time_ns for some in extents for extent in some),
    )


def _ahead(session: Session, now_ns: int) -> AuditObservation | None:
    """The newest observation of a time that has not come yet, unless it may be from before the last boot."""
    found = [seen for seen in audit_store.observations_after(session, now_ns) if seen.boottime_ns is not None]
    return max(found, key=lambda seen: seen.boottime_ns or 0, default=None)


def _rulable(config: Config) -> Iterator[tuple[str, bytes]]:
    """Yield the monitored paths for which there can be rules, with the path that these have to cover."""
    for watch in config.watch:
        path = os.fsencode(watch.path)
        if os.path.lexists(path) and not os.path.islink(path):
            yield show(path), path.rstrip(b"/") + b"/x" if os.path.isdir(path) else path


def _uncovered(paths: dict[str, bytes], latest: AuditObservation) -> Iterator[tuple[str, bool]]:
    for shown, path in paths.items():
        if not attribution.covers(latest.rules, path, _NEED):
            yield shown, any(rule.stale and in_scope(rule, path) for rule in latest.rules)


def scan_facts(session: Session, config: Config, this: Scan) -> ScanFacts:
    """When scans ran, as of a finished one."""
    earlier = [scan for scan in scan_store.all_scans(session) if scan.id < this.id and not scan.is_partial]
    done = [scan for scan in earlier if scan.status is ScanStatus.FINISHED]
    last = done[-1] if done else None
    since = 0 if last is None else last.id
    return ScanFacts(
        last_ns=None if last is None else last.started_ns,
        done_ns=None if last is None else last.finished_ns,
        this_ns=this.started_ns,
        every_s=_interval(done[-_MOST:], this, config),
        missed=_missed(session, last, this) if this.trigger == _SCHEDULE else None,
        interrupted=tuple(
            (scan.id, scan.started_ns) for scan in earlier if scan.status is ScanStatus.INTERRUPTED and scan.id > since
        ),
    )


def _missed(session: Session, last: Scan | None, this: Scan) -> tuple[MissedRuns, ...]:
    """The scans that the schedule noted as missed between two scans. A full scan is one, too, but not counted twice."""
    if last is None:
        return ()
    found = missed_runs.between(session, last.started_ns, this.started_ns)
    return tuple(one for one in found if one.job == "scan")


def _interval(done: Sequence[Scan], this: Scan, config: Config) -> int | None:
    """How often a scan is to run: as [schedule] says, or as cron did until now; ``None`` for scans by hand."""
    if this.trigger == _SCHEDULE:
        return longest_wait(config.schedule.scan)
    by_cron = [scan.started_ns for scan in done if scan.trigger == "cron"]
    waits = [(later - earlier) // 10**9 for earlier, later in pairwise(by_cron) if later > earlier]
    return int(statistics.median(waits)) or None if len(waits) >= _FEWEST else None


def unread_files(config: Config, unreadable: Iterable[Unreadable]) -> dict[str, UnreadFiles]:
    """The files that were readable before, by the monitored path that they are below."""
    roots = {os.fsencode(watch.path): watch for watch in config.watch}
    found: dict[str, UnreadFiles] = {}
    for item in unreadable:
        root = innermost(item.path, roots)
        if item.since_ns is None or root is None or item.reason is UnreadableReason.VANISHED:
            continue
        known = found.get(show(root))
        if known is None or item.since_ns < known.since_ns:
            example, since_ns = show(item.path), item.since_ns
        else:
            example, since_ns = known.example, known.since_ns
        count = 1 if known is None else known.count + 1
        found[show(root)] = UnreadFiles(count=count, since_ns=since_ns, example=example)
    return found


def undelivered(session: Session, config: Config) -> dict[str, Undelivered]:
    """What waits for each output; nothing where nothing waits."""
    found = {}
    for output in config.output:
        usage = outbox.usage(session, output.name)
        if usage.oldest_ns is not None:
            found[output.name] = Undelivered(
                waiting=usage.waiting,
                since_ns=usage.oldest_ns,
                given_up=outbox.count_given_up(session, output.name),
                answer=show(outbox.last_failure(session, output.name)),
            )
    return found


def spaces(database: Database, config: Config, source: AuditSource | None) -> list[Space]:
    """The file systems of the database, of kept contents and of the audit logs, each once."""
    files = [database.file, contents_file(database.file, config.contents.file)]
    if source is not None:
        files += [os.fsdecode(log) for log in source.paths]
    found: dict[int, Space] = {}
    for path in filter(None, files):
        directory = os.path.dirname(path)
        with suppress(OSError):
            space, device = os.statvfs(directory), os.stat(directory).st_dev
            if space.f_blocks and device not in found:
                found[device] = Space(
                    path=directory,
                    free=space.f_bavail * space.f_frsize,
                    total=space.f_blocks * space.f_frsize,
                    free_inodes=space.f_favail,
                    inodes=space.f_files,
                )
    return list(found.values())
