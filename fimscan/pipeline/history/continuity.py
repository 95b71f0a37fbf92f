"""When scans ran, and when audit is known to have missed events, over the time of a report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from fimscan import attribution
from fimscan.config import Config
from fimscan.model import Continuity, Diff, Gap, ScanStatus, Window
from fimscan.pipeline.audit.reading import AuditSource
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session


def continuity_of(database: Database, diff: Diff, config: Config | None) -> Continuity:
    """The scans from the first to the last one of a diff, and the gaps of audit at the watched paths in between.

    Without a configuration, only the scans are known.
    """
    with database.read() as session:
        scans = tuple(
            scan
            for scan in scan_store.all_scans(session)
            if diff.start.id <= scan.id <= diff.end.id and scan.status is not ScanStatus.RUNNING
            if scan.checkpoint is None
        )
        if config is None:
            return Continuity(scans=scans)
        window = Window(after_ns=diff.start.started_ns, before_ns=diff.end.finished_ns or diff.end.started_ns)
        gaps = (gap for _, gap in audit_gaps(session, config, window))
        return Continuity(scans=scans, gaps=tuple(dict.fromkeys(gaps)))


def audit_gaps(session: Session, config: Config, window: Window) -> list[tuple[bytes, Gap]]:
    """When audit is known to have missed events, for each watched path."""
    roots = tuple(os.fsencode(watch.path) for watch in config.watch)
    logs = AuditSource(logs=config.audit.logs, socket=config.audit.socket or None).paths
    return list(_gaps(session, roots, window, logs))


def _gaps(
    session: Session, roots: Sequence[bytes], window: Window, logs: Sequence[bytes]
) -> Iterator[tuple[bytes, Gap]]:
    seen = audit_store.observations(session, window.after_ns, window.before_ns)
    times = [observation.time_ns for observation in seen]
    # The time between two observations is judged by all notices in it, also by those before the window.
    since = min([window.after_ns, *times])
    notices = audit_store.notices(session, since, max([window.before_ns, *times]))
    extents = [audit_store.extents(session, log) for log in logs]
    coverage = attribution.CoverageMap(seen, notices, extents)
    need = attribution.Need()
    return ((root, gap) for root in roots for gap in coverage.over(root, window, need).gaps)
