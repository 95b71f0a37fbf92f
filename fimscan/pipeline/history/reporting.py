"""Report each change once, however many scans were not reported before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from fimscan.model import ScanStatus
from fimscan.pipeline.history.diff import diff_of_scans
from fimscan.pipeline.result import ScanResult
from fimscan.store import scans as scan_store
from fimscan.store.database import Database


@contextmanager
def report_once(database: Database, result: ScanResult) -> Iterator[ScanResult]:
    """Yield a scan's result, with the changes of earlier scans that were not reported, then mark them as reported.

    Each change alerts once. If the ``with`` block raises, nothing is marked, and the next result has these changes.
    """
    with database.read() as session:
        last_reported = scan_store.last_reported(session)
        unreported = [
            scan.id
            for scan in scan_store.all_scans(session)
            if scan.status is ScanStatus.FINISHED and scan.checkpoint is None
            if last_reported is None or scan.id > last_reported.id
        ]
    if last_reported is not None and unreported != [result.scan.id]:
        spanning = diff_of_scans(database, last_reported.id, result.scan.id)
        result = replace(result, diff=replace(spanning, unreadable=result.diff.unreadable))
    yield result
    with database.begin() as session:
        scan_store.mark_reported(session, unreported)
